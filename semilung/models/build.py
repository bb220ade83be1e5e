"""Model registry, and named heads on the features of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from semilung.models.footprint import Footprint
from semilung.models.monai_nets import dynunet, segresnet
from semilung.models.unet import ReversibleUNet3d
from semilung.registry import Registry
from semilung.types import UserError

models: Registry[nn.Module] = Registry("model", group="semilung.models")
"""Segmentation backbones: factories of modules `image -> logits` by name. A backbone with
`features(x)`, `head` such that `logits = head(features(x))`, and `make_head(channels)` can carry
further heads."""

models.register("reversible_unet")(ReversibleUNet3d)
models.register("segresnet")(segresnet)
models.register("dynunet")(dynunet)


class Segmenter(nn.Module):
    """A backbone with named heads on its features.

    Args:
        backbone: Maps an image to logits; to carry heads it needs `features`, `head` and
            `make_head`.
        heads: Number of channels of each head by name.
        logits: Whether the backbone's own head is one of them; without it, it is removed.

    Raises:
        UserError: Heads on a backbone without `features`, `head` and `make_head`.
        ValueError: A head is named `logits`, or there is none at all.
    """

    def __init__(
        self,
        backbone: nn.Module,
        heads: Mapping[str, int] | None = None,
        *,
        logits: bool = True,
    ) -> None:
        super().__init__()
        heads = heads or {}
        if "logits" in heads:
            msg = "a head may not be named 'logits', which is the backbone's own output"
            raise ValueError(msg)
        if not heads and not logits:
            raise ValueError("a model needs an output: name a head, or leave it its logits")
        if heads and not all(hasattr(backbone, n) for n in ("features", "head", "make_head")):
            msg = (
                f"the heads {', '.join(heads)} read the backbone's features, but "
                f"{type(backbone).__name__} offers logits only: choose another model "
                "(reversible_unet has features), or a strategy that needs no heads"
            )
            raise UserError(msg)
        self.backbone = backbone
        self._channels = dict(heads)
        with_features: Any = backbone
        self.logits = logits
        if not logits:
            with_features.head = nn.Identity()
        self.heads = nn.ModuleDict(
            {name: with_features.make_head(channels) for name, channels in heads.items()}
        )

    @property
    def footprint(self) -> Footprint | None:
        """Reach and memory of a prediction; None where the backbone has none."""
        footprint: Footprint | None = getattr(self.backbone, "footprint", None)
        if footprint is None or not self.heads:
            return footprint
        channels = sum(self._channels.values())
        return replace(footprint, bytes_per_voxel=footprint.bytes_per_voxel + 4 * channels)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the output of each head for an image `(B, in_channels, X, Y, Z)`."""
        if not self.heads:
            return {"logits": self.backbone(x)}
        backbone: Any = self.backbone
        features = backbone.features(x)
        heads = {**({"logits": backbone.head} if self.logits else {}), **self.heads}
        *_, X, Y, Z = x.shape  # heads of a strided net may return one voxel more
        return {name: head(features)[..., :X, :Y, :Z] for name, head in heads.items()}


def build_model(
    name: str = "reversible_unet",
    options: Mapping[str, Any] | None = None,
    *,
    heads: Mapping[str, int] | None = None,
    logits: bool = True,
) -> Segmenter:
    """Build a registered model with its heads.

    Args:
        name: One of `list(models)`.
        options: Options of the model.
        heads: Number of channels of each further output by name.
        logits: Whether the model has its own output, `logits`, too.

    Returns:
        A module whose `forward(x)` returns `{"logits": ..., <head>: ...}`.

    Raises:
        UserError: Unknown name or option, an invalid value, or heads on a model without features.

    Example:
        >>> import torch
        >>> model = build_model("reversible_unet", {"widths": (4, 8), "depth": 1})
        >>> {name: tuple(out.shape) for name, out in model(torch.zeros(1, 1, 8, 8, 8)).items()}
        {'logits': (1, 1, 8, 8, 8)}
    """
    return Segmenter(models.build(name, options or {}), heads, logits=logits)
