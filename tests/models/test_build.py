from __future__ import annotations

import pytest
import torch
from torch import nn

from semilung.models import ReversibleUNet3d, Segmenter, build_model, models
from semilung.types import UserError

SMALL = {"widths": [4, 8], "depth": 1}


def test_without_heads_there_are_logits_alone() -> None:
    model, x = build_model(options=SMALL).eval(), torch.randn(1, 1, 6, 7, 8)
    assert isinstance(model.backbone, ReversibleUNet3d)
    out = model(x)
    assert list(out) == ["logits"]
    assert torch.equal(out["logits"], model.backbone(x))


def test_heads_read_the_features() -> None:
    heads = {"anatomy": nn.Conv3d(4, 3, 1)}
    model, x = build_model("reversible_unet", SMALL, heads=heads).eval(), torch.randn(2, 1, 6, 7, 8)
    out = model(x)
    assert {name: t.shape[1] for name, t in out.items()} == {"logits": 1, "anatomy": 3}
    assert torch.equal(out["anatomy"], heads["anatomy"](model.backbone.features(x)))
    assert torch.equal(out["logits"], model.backbone(x))
    assert "heads.anatomy.weight" in model.state_dict()


def test_heads_need_features() -> None:
    backbone = nn.Conv3d(1, 1, 1)
    assert list(Segmenter(backbone)(torch.zeros(1, 1, 2, 2, 2))) == ["logits"]
    with pytest.raises(UserError, match=r"heads anatomy read.*Conv3d offers logits only"):
        Segmenter(backbone, {"anatomy": nn.Conv3d(4, 3, 1)})


def test_a_head_may_not_replace_the_logits() -> None:
    with pytest.raises(ValueError, match="logits"):
        build_model(options=SMALL, heads={"logits": nn.Identity()})


def test_registry_and_its_errors() -> None:
    assert "reversible_unet" in list(models)
    with pytest.raises(UserError, match="did you mean 'reversible_unet'"):
        build_model("reversible_unit")
    with pytest.raises(UserError, match=r"no option 'width'.*'widths'"):
        build_model(options={"width": 4})
    with pytest.raises(UserError, match="even"):
        build_model(options={"widths": [3]})
