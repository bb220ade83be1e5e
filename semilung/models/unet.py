"""A partially reversible 3D U-Net."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semilung.models.conv import Conv3d, full_precision_if_small
from semilung.models.footprint import Footprint
from semilung.models.heads import NEGATIVE_SLOPE, StridedHead
from semilung.models.reversible import ReversibleStage
from semilung.models.skip_recompute import RecomputedSkip

Conv: TypeAlias = Literal["full", "separable"]
Padding: TypeAlias = Literal["zeros", "replicate"]

_BRANCH_GAIN = 0.1
"""Initial scale of the last convolution of F and G: couplings start near the identity, so that long
chains invert to fp32 accuracy."""


class ReversibleUNet3d(nn.Module):
    r"""3D U-Net with reversible stages, whose activation memory hardly depends on depth.

    Every encoder and decoder level is a `ReversibleStage` of `depth` couplings at constant
    resolution, with $F = G$ = leaky ReLU, dropout, convolution on half the channels. Between them:
    convolution of stride 2 down; 1x1 convolution, then trilinear interpolation up; skips are added.
    The head is activation and 1x1 convolution. With backend `fused`, skips are not stored
    either but reconstructed in backward (`RecomputedSkip`). After Brügger et al., "A Partially
    Reversible U-Net for Memory-Efficient Volumetric Image Segmentation" (2019).

    There is no normalisation. Instance statistics make each voxel's logit depend on everything
    else in the window: a network trained on small crops then fails in larger windows, and a nodule
    that fills a thousandth of a volume hardly affects its statistics. Couplings initialised
    near the identity train well without normalisation (Zhang et al., Fixup, 2019).

    Any input size is accepted: the volume is padded at its far ends, by repeating the border, to a
    multiple of the coarsest level's stride, and the output is cropped. Evaluation mode is a plain
    forward pass, suitable for export.

    Args:
        in_channels: Channels of the image.
        out_channels: Channels of the logits, each with a sigmoid.
        widths: Channels of each level, even, from full resolution down.
        depth: Couplings of every encoder and decoder stage, or one number for each level, from full
            resolution down; a level with 0 has no stage.
        backend: Autograd backend of the stages, see `ReversibleStage`.
        conv: `full` 3x3x3 convolution in F and G, or `separable`: depthwise 3x3x3, then pointwise.
        dropout: Probability to drop a channel inside F and G.
        stride: Of the stem, 1 or 2. With 2 the finest level has half the resolution, an eighth of
            the voxels; the stem's 2x2x2 patches lose no information if `widths[0]` is at least 8,
            and a transposed convolution upsamples the logits to full resolution.
        padding: What 3x3x3 convolutions read beyond the border: `zeros` or `replicate`. With zeros
            a network sees where its input ends; trained on small crops, in which every voxel is
            near the end, it then predicts a whole volume otherwise than a window. The configs
            choose `replicate`; runs from before this option were trained with zeros.
        prior: Mean foreground probability $p$ of the untrained network; the head's bias is
            initialised to $\log(p / (1 - p))$.

    Raises:
        ValueError: An odd or missing width, a negative depth or not one for each level, another
            stride or padding, a prior or dropout out of range.

    Example:
        >>> import torch
        >>> net = ReversibleUNet3d(1, 1, widths=(4, 8), depth=1)
        >>> net(torch.zeros(2, 1, 9, 8, 7)).shape
        torch.Size([2, 1, 9, 8, 7])
    """

    encoder_parts = ("stem", "encoder", "down")
    """Modules before the decoder."""

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        widths: Sequence[int] = (16, 32, 64, 128),
        depth: int | Sequence[int] = 2,
        backend: str = "fused",
        *,
        conv: Conv = "full",
        dropout: float = 0.0,
        stride: int = 1,
        padding: Padding = "zeros",
        prior: float = 0.01,
    ) -> None:
        super().__init__()
        depths = [depth] * len(widths) if isinstance(depth, int) else list(depth)
        _check(widths, depths, conv, padding, prior)

        def stage(width: int, couplings: int) -> ReversibleStage:
            def branch() -> nn.Module:
                return _branch(width // 2, conv, dropout, padding)

            pairs = [(branch(), branch()) for _ in range(couplings)]
            return ReversibleStage(pairs, backend=backend)

        steps = list(pairwise(widths))
        self.stride = stride
        self.widths = tuple(widths)
        self.stem = _stem(in_channels, widths[0], stride, padding)
        if out_channels < 1:
            raise ValueError(f"out_channels must be at least 1, got {out_channels}")
        self.head = self.make_head(out_channels)
        last: nn.Conv3d = self.head[-1]  # type: ignore[index]
        assert last.bias is not None
        nn.init.constant_(last.bias, math.log(prior / (1 - prior)))
        self.encoder = nn.ModuleList(map(stage, widths, depths))
        self.down = nn.ModuleList(nn.Conv3d(fine, coarse, 2, stride=2) for fine, coarse in steps)
        self.up = nn.ModuleList(Conv3d(coarse, fine, 1) for fine, coarse in steps)
        self.decoder = nn.ModuleList(map(stage, widths[:-1], depths))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits `(B, out_channels, X, Y, Z)` of `(B, in_channels, X, Y, Z)`."""
        *_, X, Y, Z = x.shape
        logits: Tensor = self.head(self.features(x))
        return logits[..., :X, :Y, :Z]

    @property
    def footprint(self) -> Footprint:
        """Reach and memory of a prediction of the logits."""
        strides = [self.stride * 2**level for level in range(len(self.encoder))]
        couplings = [len(stage.couplings) for stage in self.encoder]  # type: ignore[arg-type]
        # each coupling has two convolutions; all stages but the coarsest occur in both halves
        stages = sum(4 * n * stride for n, stride in zip(couplings, strides, strict=True))
        between = sum(3 * stride for stride in strides[:-1])  # patches down, interpolation up
        channels = [width / stride**3 for width, stride in zip(self.widths, strides, strict=True)]
        return Footprint(
            halo=1 + stages - 2 * couplings[-1] * strides[-1] + between,
            multiple=strides[-1],
            # skips of all levels, input and output of a branch, image, logits and their probability
            bytes_per_voxel=4 * (sum(channels) + 2 * max(channels) + 4),
        )

    def make_head(self, channels: int, stride: int = 1) -> nn.Module:
        """Make a new head from `features` to `channels` maps at a stride of the image.

        Raises:
            ValueError: The stride is not 1, nor a multiple of the network's.
        """
        if stride > 1:
            if stride % self.stride:
                raise ValueError(f"a head needs a multiple of stride {self.stride}, got {stride}")
            return StridedHead(self.widths[0], channels, stride // self.stride)
        last = (
            Conv3d(self.widths[0], channels, 1)
            if self.stride == 1
            else nn.ConvTranspose3d(self.widths[0], channels, 2, stride=2)
        )
        return nn.Sequential(nn.LeakyReLU(NEGATIVE_SLOPE), last)

    def features(self, x: Tensor) -> Tensor:
        """Return the input of the heads, `(B, widths[0], X', Y', Z')`, X' = ceil(X / stride)."""
        *_, X, Y, Z = x.shape
        multiple = self.stride * 2 ** len(self.down)
        far_ends = [side for size in (Z, Y, X) for side in (0, -size % multiple)]
        h = _channels_last(full_precision_if_small(self.stem, F.pad(x, far_ends, mode="replicate")))
        skips = []
        for k, down in enumerate(self.down):
            # Backward reaches the decoder stage first, and reconstructs there what the encoder
            # stage and the downsampling would otherwise have to store.
            invertible = self.encoder[k].inverts and self.decoder[k].inverts
            recomputed = RecomputedSkip(_upsampled) if invertible else None
            h = _run(self.encoder[k], h, output=recomputed)
            if not h.requires_grad:
                recomputed = None  # backward does not read it in the encoder
            skips.append((h, recomputed))
            h = recomputed.run(down, h) if recomputed else down(h)
        h = _run(self.encoder[-1], h)
        for k in reversed(range(len(skips))):
            skip, recomputed = skips.pop()
            coarse = self.up[k](h).to(skip.dtype)
            if recomputed:
                recomputed.record_sum(skip, coarse)
            h = _upsampled(coarse).add_(skip)
            del skip, coarse  # not needed after the sum
            h = _run(self.decoder[k], h, total=recomputed)
        x_, y_, z_ = (-(-size // self.stride) for size in (X, Y, Z))
        return h[..., :x_, :y_, :z_]


def _run(
    stage: nn.Module,
    h: Tensor,
    *,
    output: RecomputedSkip | None = None,
    total: RecomputedSkip | None = None,
) -> Tensor:
    run = partial(stage, output=output, total=total, in_place=True)  # nothing else reads `h`
    return full_precision_if_small(run, _channels_last(h))


def _channels_last(h: Tensor) -> Tensor:
    if h.device.type == "cpu":
        # Otherwise every convolution reorders its tensors to blocks of channels, padded to 16.
        return h.contiguous(memory_format=torch.channels_last_3d)
    return h


def _upsampled(coarse: Tensor) -> Tensor:
    return F.interpolate(coarse, scale_factor=2.0, mode="trilinear")


def _stem(in_channels: int, width: int, stride: int, padding: Padding) -> nn.Conv3d:
    if stride == 1:
        return Conv3d(in_channels, width, 3, padding=1, padding_mode=padding)
    if stride == 2:
        return nn.Conv3d(in_channels, width, 2, stride=2)
    msg = f"stride must be 1 or 2: found {stride}"
    raise ValueError(msg)


def _branch(channels: int, conv: Conv, dropout: float, padding: Padding) -> nn.Module:
    convs: list[nn.Conv3d]
    if conv == "full":
        convs = [Conv3d(channels, channels, 3, padding=1, padding_mode=padding)]
    else:
        depthwise = nn.Conv3d(
            channels, channels, 3, padding=1, groups=channels, padding_mode=padding
        )
        convs = [depthwise, Conv3d(channels, channels, 1)]
    for layer in convs:
        nn.init.kaiming_normal_(layer.weight, a=NEGATIVE_SLOPE)
    convs[-1].weight.data.mul_(_BRANCH_GAIN)
    return nn.Sequential(nn.LeakyReLU(NEGATIVE_SLOPE), nn.Dropout3d(dropout), *convs)


def _check(
    widths: Sequence[int], depths: Sequence[int], conv: str, padding: str, prior: float
) -> None:
    if not widths or any(width < 2 or width % 2 for width in widths):
        msg = f"widths must be even and positive, one for each level: found {list(widths)}"
        raise ValueError(msg)
    if len(depths) != len(widths) or min(depths) < 0:
        msg = f"depth must be 0 or more, one number or one for each level: found {list(depths)}"
        raise ValueError(msg)
    if conv not in ("full", "separable"):
        msg = f"conv must be 'full' or 'separable': found {conv!r}"
        raise ValueError(msg)
    if padding not in ("zeros", "replicate"):
        msg = f"padding must be 'zeros' or 'replicate': found {padding!r}"
        raise ValueError(msg)
    if not 0 < prior < 1:
        msg = f"prior must lie between 0 and 1: found {prior}"
        raise ValueError(msg)
