"""What an import brings along."""

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
    own = {name for name in modules if name.startswith("semilung")}
    assert own == {"semilung", *(name for name in own if name.startswith("semilung.losses"))}


def test_semilung_alone_does_not_import_torch():
    packages, _ = imported("import semilung")
    assert "torch" not in packages
