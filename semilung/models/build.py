"""Models by name, and heads on top of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from semilung.models.unet import ReversibleUNet3d
from semilung.registry import Registry
from semilung.types import UserError

models: Registry[nn.Module] = Registry("model", group="semilung.models")
"""Segmentation backbones: name to a factory of a module `image -> logits`. One that also has
`features(x)` and `head`, with `logits = head(features(x))`, can carry further heads."""

models.register("reversible_unet")(ReversibleUNet3d)


class Segmenter(nn.Module):
    """A backbone with named heads on its full-resolution features.

    Args:
        backbone: Maps an image to logits; with heads, it must have `features` and `head`.
        heads: Name to a module that reads the features `(B, C, X, Y, Z)`.

    Raises:
        UserError: Heads are asked of a backbone without `features` and `head`.
        ValueError: A head is named `logits`.
    """

    def __init__(self, backbone: nn.Module, heads: Mapping[str, nn.Module] | None = None) -> None:
        super().__init__()
        heads = heads or {}
        if "logits" in heads:
            msg = "a head may not be named 'logits', which is the backbone's own output"
            raise ValueError(msg)
        if heads and not (hasattr(backbone, "features") and hasattr(backbone, "head")):
            msg = (
                f"the heads {', '.join(heads)} read the backbone's features, but "
                f"{type(backbone).__name__} offers logits only: choose another model "
                "(reversible_unet has features), or a strategy that needs no heads"
            )
            raise UserError(msg)
        self.backbone = backbone
        self.heads = nn.ModuleDict(heads)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """`logits` and one entry a head, of an image `(B, in_channels, X, Y, Z)`."""
        if not self.heads:
            return {"logits": self.backbone(x)}
        backbone: Any = self.backbone
        features = backbone.features(x)
        out = {name: head(features) for name, head in self.heads.items()}
        return {"logits": backbone.head(features)} | out


def build_model(
    name: str = "reversible_unet",
    options: Mapping[str, Any] | None = None,
    *,
    heads: Mapping[str, nn.Module] | None = None,
) -> Segmenter:
    """Build a registered model with heads.

    Args:
        name: One of `list(models)`.
        options: The model's own options.
        heads: Name to a module that reads the backbone's features.

    Returns:
        A module whose `forward(x)` gives `{"logits": ..., <head>: ...}`.

    Raises:
        UserError: Unknown name or option, a refused value, or heads on a model without features.

    Example:
        >>> import torch
        >>> model = build_model("reversible_unet", {"widths": (4, 8), "depth": 1})
        >>> {name: tuple(out.shape) for name, out in model(torch.zeros(1, 1, 8, 8, 8)).items()}
        {'logits': (1, 1, 8, 8, 8)}
    """
    return Segmenter(models.build(name, options or {}), heads)
