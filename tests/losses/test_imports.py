"""Packages that importing semilung and its losses imports."""

import subprocess
import sys


def imported(code):
    """The names of the modules that a fresh interpreter has loaded after `code`."""
    command = [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in out.stdout.split()}, set(out.stdout.split())


def test_losses_import_torch_alone():
    packages, modules = imported("import semilung.losses")
    others = {"monai", "memcnn", "hydra", "omegaconf", "scipy", "pandas", "nibabel", "blosc2"}
    assert not packages & (others | {"lightning_fabric", "matplotlib", "rich", "yaml"})
    ours = {name for name in modules if name.startswith("semilung")}
    assert ours == {"semilung", *(name for name in ours if name.startswith("semilung.losses"))}


def test_using_every_loss_imports_nothing_more():
    code = """
import torch, semilung.losses as L
x = torch.zeros(1, 3, 4, 4, requires_grad=True)
p = L.probabilities(x)
forbidden = torch.eye(3).bool()
bag, _ = L.GatedAttention(4)(torch.zeros(1, 2, 4))
losses = [L.pseudo_label_loss(x, p, threshold=0), L.cross_pseudo_loss(x, x), L.entropy_loss(p)]
losses += [L.non_adjacency_loss(p, forbidden), L.bag_loss(x[:, 0, 0], torch.ones(1))]
losses += [L.hinge_discriminator_loss(x, x), L.hinge_generator_loss(x), bag.sum()]
losses += [L.heatmap_focal_loss(x, p)]
box = torch.ones(1, 1, 4)
losses += [L.box_tightness_loss(x, box), L.box_emptiness_loss(x, box), L.size_barrier_loss(x, box)]
losses += [L.pairwise_affinity_loss(x, x.detach())]
torch.stack(losses).sum().backward()
L.count_adjacency(torch.zeros(3, 3, dtype=torch.long), 2)"""
    _, modules = imported(code.strip() + "\nimport sys")
    ours = {name for name in modules if name.startswith("semilung")}
    assert ours == {"semilung", *(name for name in ours if name.startswith("semilung.losses"))}
    assert not modules & {"monai", "scipy", "pandas", "hydra", "nibabel", "lightning_fabric"}


def test_semilung_alone_does_not_import_torch():
    packages, _ = imported("import semilung")
    assert "torch" not in packages
