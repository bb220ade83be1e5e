"""Model registry, and named heads on the features of a model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import copy
from dataclasses import replace
from math import lcm
from typing import Any

from torch import Tensor, nn

from semilung.models.footprint import Footprint
from semilung.models.heads import HIDDEN, Head
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
        heads: Channels of each head by name, or channels and stride (`Head`).
        logits: Whether the backbone's own head is one of them; without it, it is removed.

    Raises:
        UserError: Heads on a backbone without `features`, `head` and `make_head`.
        ValueError: A head is named `logits`, or there is none at all.
    """

    def __init__(
        self,
        backbone: nn.Module,
        heads: Mapping[str, int | Head] | None = None,
        *,
        logits: bool = True,
    ) -> None:
        super().__init__()
        sizes = {name: Head.of(size) for name, size in (heads or {}).items()}
        if "logits" in sizes:
            msg = "a head may not be named 'logits', which is the backbone's own output"
            raise ValueError(msg)
        if not sizes and not logits:
            raise ValueError("a model needs an output: name a head, or leave it its logits")
        if sizes and not all(hasattr(backbone, n) for n in ("features", "head", "make_head")):
            msg = (
                f"the heads {', '.join(sizes)} read the backbone's features, but "
                f"{type(backbone).__name__} offers logits only: choose another model "
                "(reversible_unet has features), or a strategy that needs no heads"
            )
            raise UserError(msg)
        self.backbone = backbone
        self._sizes = sizes
        with_features: Any = backbone
        self.logits = logits
        if not logits:
            with_features.head = nn.Identity()
        self.heads = nn.ModuleDict(
            {name: _make_head(with_features, head) for name, head in sizes.items()}
        )

    def only(self, names: Collection[str]) -> Segmenter:
        """Return a model of some of the outputs, which shares the weights and computes no other.

        Args:
            names: Of heads; `logits` is the backbone's own.

        Raises:
            UserError: The model has no such output.
        """
        outputs = [*(["logits"] if self.logits else []), *self.heads]
        if missing := [name for name in names if name not in outputs]:
            raise UserError(
                f"the model has no head {missing[0]!r}, it has {', '.join(outputs)}: choose one of "
                "these, or a run that was trained with the head"
            )
        model = copy(self)
        heads = {name: head for name, head in self.heads.items() if name in names}
        model._modules = {**self._modules, "heads": nn.ModuleDict(heads)}  # copy shares the dict
        model._sizes = {name: self._sizes[name] for name in heads}
        model.logits = "logits" in names
        return model

    @property
    def footprint(self) -> Footprint | None:
        """Reach and memory of a prediction; None where the backbone has none."""
        footprint: Footprint | None = getattr(self.backbone, "footprint", None)
        if footprint is None or not self.heads:
            return footprint
        coarse = [head for head in self._sizes.values() if head.stride > 1]
        voxels = sum(head.channels / head.stride**3 for head in self._sizes.values())
        voxels += sum(2 * HIDDEN / head.stride**3 for head in coarse)
        return replace(
            footprint,
            halo=footprint.halo + max((2 * head.stride for head in coarse), default=0),
            multiple=lcm(footprint.multiple, *(head.stride for head in coarse)),
            bytes_per_voxel=footprint.bytes_per_voxel + 4 * voxels,
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the output of each head for an image `(B, in_channels, X, Y, Z)`."""
        if not self.heads:
            return {"logits": self.backbone(x)}
        backbone: Any = self.backbone
        features = backbone.features(x)
        heads = {**({"logits": backbone.head} if self.logits else {}), **self.heads}
        outputs = {}
        for name, head in heads.items():
            X, Y, Z = self._sizes.get(name, Head(1)).extent(x.shape[2:])
            outputs[name] = head(features)[..., :X, :Y, :Z]  # a strided net may return one more
        return outputs


def _make_head(backbone: Any, head: Head) -> nn.Module:
    if head.stride == 1:
        return backbone.make_head(head.channels)  # type: ignore[no-any-return]
    try:
        return backbone.make_head(head.channels, stride=head.stride)  # type: ignore[no-any-return]
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{type(backbone).__name__} offers no head at stride {head.stride} ({error}): choose "
            f"another model (reversible_unet has them), or another stride"
        ) from error


def build_model(
    name: str = "reversible_unet",
    options: Mapping[str, Any] | None = None,
    *,
    heads: Mapping[str, int | Head] | None = None,
    logits: bool = True,
) -> Segmenter:
    """Build a registered model with its heads.

    Args:
        name: One of `list(models)`.
        options: Options of the model.
        heads: Channels of each further output by name, or channels and stride (`Head`).
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
