from __future__ import annotations

import pytest
import torch
from torch import nn

from semilung.models import Head, ReversibleUNet3d, Segmenter, build_model, models
from semilung.types import UserError

SMALL = {"widths": [4, 8], "depth": 1}


def test_without_heads_there_are_logits_alone() -> None:
    model, x = build_model(options=SMALL).eval(), torch.randn(1, 1, 6, 7, 8)
    assert isinstance(model.backbone, ReversibleUNet3d)
    out = model(x)
    assert list(out) == ["logits"]
    assert torch.equal(out["logits"], model.backbone(x))


def test_heads_read_the_features() -> None:
    model = build_model("reversible_unet", SMALL, heads={"anatomy": 3}).eval()
    x = torch.randn(2, 1, 6, 7, 8)
    out = model(x)
    assert {name: t.shape[1] for name, t in out.items()} == {"logits": 1, "anatomy": 3}
    features = model.backbone.features(x)
    assert torch.equal(out["anatomy"], model.heads["anatomy"](features))
    assert torch.equal(out["logits"], model.backbone(x))


@pytest.mark.parametrize("name", list(models))
def test_every_model_carries_heads_at_any_size(name) -> None:
    model = build_model(name, heads={"embedding": 5}).eval()
    with torch.no_grad():
        out = model(torch.randn(1, 1, 17, 18, 21))
    assert {n: tuple(t.shape) for n, t in out.items()} == {
        "logits": (1, 1, 17, 18, 21),
        "embedding": (1, 5, 17, 18, 21),
    }


def test_heads_of_a_strided_net_are_cropped_like_its_logits() -> None:
    model = build_model(options={**SMALL, "stride": 2}, heads={"embedding": 3}).eval()
    out = model(torch.randn(1, 1, 9, 8, 7))
    assert out["logits"].shape == (1, 1, 9, 8, 7)
    assert out["embedding"].shape == (1, 3, 9, 8, 7)


@pytest.mark.parametrize("name", list(models))
def test_every_model_learns_to_predict_an_empty_volume(name) -> None:
    # A norm on the logits themselves would make this impossible, whatever the weights.
    torch.manual_seed(0)
    model = build_model(name, {"prior": 0.3})
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for _ in range(60):
        optimizer.zero_grad()
        model(torch.rand(1, 1, 16, 16, 16))["logits"].sigmoid().mean().backward()
        optimizer.step()
    with torch.no_grad():
        logits = model.eval()(torch.rand(1, 1, 16, 16, 16))["logits"]
    assert logits.sigmoid().max() < 0.1


def test_the_prior_is_what_an_untrained_net_predicts() -> None:
    for name in models:
        logits = build_model(name, {"prior": 0.1}).eval()(torch.zeros(1, 1, 16, 16, 16))["logits"]
        assert logits.sigmoid().mean().item() == pytest.approx(0.1, abs=0.06), name


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dynunet", {"filters": [8]}),
        ("segresnet", {"blocks_up": [1, 1]}),
        ("segresnet", {"blocks_down": [1]}),
        ("segresnet", {"blocks_down": [], "blocks_up": []}),
    ],
)
def test_inconsistent_levels_are_refused(name, options) -> None:
    with pytest.raises(UserError, match="refuses its options"):
        build_model(name, options)


@pytest.mark.parametrize("size", [(2, 1, 3), (5, 3, 9)])
@pytest.mark.parametrize("training", [True, False])
def test_every_model_takes_a_volume_of_any_size(size, training) -> None:
    for name in models:
        net = build_model(name).train(training)
        assert net(torch.rand(1, 1, *size))["logits"].shape == (1, 1, *size), name


def test_padding_of_monais_nets_repeats_the_border() -> None:
    """With zeros beyond, a net would learn how far off the border of a crop is."""
    for name in ("segresnet", "dynunet"):
        net = build_model(name).eval()
        inputs: list[torch.Tensor] = []
        net.backbone.body.register_forward_pre_hook(lambda m, args, to=inputs: to.append(args[0]))
        net(torch.full((1, 1, 13, 13, 13), 0.7))
        assert (inputs[0] == 0.7).all(), name


def test_segresnet_dropout_option_is_used() -> None:
    net, x = build_model("segresnet", {"dropout": 0.5}).train(), torch.rand(1, 1, 8, 8, 8)
    torch.manual_seed(0)
    assert not torch.equal(net(x)["logits"], net(x)["logits"])


def test_heads_need_features() -> None:
    backbone = nn.Conv3d(1, 1, 1)
    assert list(Segmenter(backbone)(torch.zeros(1, 1, 2, 2, 2))) == ["logits"]
    with pytest.raises(UserError, match=r"heads anatomy read.*Conv3d offers logits only"):
        Segmenter(backbone, {"anatomy": 3})


def test_a_head_may_not_replace_the_logits() -> None:
    with pytest.raises(ValueError, match="logits"):
        build_model(options=SMALL, heads={"logits": 1})


def test_registry_and_its_errors() -> None:
    assert "reversible_unet" in list(models)
    with pytest.raises(UserError, match=r"did you mean reversible_unet\?"):
        build_model("reversible_unit")
    with pytest.raises(UserError, match=r"no option 'width'; did you mean widths\?"):
        build_model(options={"width": 4})
    with pytest.raises(UserError, match="even"):
        build_model(options={"widths": [3]})


@pytest.mark.parametrize("names", [("centres",), ("logits",), ("logits", "embedding")])
def test_segmenter_only_shares_the_weights_and_evaluates_no_other_head(names) -> None:
    heads = {"embedding": 3, "centres": Head(5, 2)}
    model, x = build_model(options=SMALL, heads=heads).eval(), torch.randn(1, 1, 9, 8, 7)
    part, whole = model.only(names), model(x)
    calls = []
    others = {"logits": model.backbone.head, **model.heads}
    for name, head in others.items():
        head.register_forward_hook(lambda *_, name=name: calls.append(name))
    outputs = part(x)
    assert set(calls) == set(outputs) == set(names)
    assert all(torch.equal(outputs[name], whole[name]) for name in names)
    assert set(model(x)) == {"logits", "embedding", "centres"}
    assert part.footprint.halo == model.footprint.halo - (0 if "centres" in names else 4)
    with pytest.raises(UserError, match="no head 'texture', it has "):
        part.only(["texture"])
