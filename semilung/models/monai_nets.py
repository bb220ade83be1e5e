"""MONAI's SegResNet and DynUNet with the interface of the project's networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from monai.networks.nets import DynUNet, SegResNet
from torch import Tensor, nn
from torch.nn import functional as F

from semilung.models.conv import full_precision_if_small


class Backbone(nn.Module):
    """Network split before its last layer, so that further heads can use its features.

    Volumes are padded at their far ends, by repeating the border, to a multiple of the network's
    stride, and the output is cropped.

    Args:
        body: Image to features `(B, width, X, Y, Z)`, of sizes that are multiples of `multiple`.
        head: Features to logits; the bias of its last convolution is set by `prior`.
        width: Channels of the features.
        multiple: Input sizes of the body must be multiples of it.
        prior: Mean foreground probability of the untrained network, in (0, 1).
        smallest: Minimum side in voxels; smaller images are padded to it.
        encoder: Modules of the body before its decoder.

    Raises:
        ValueError: `prior` out of range.
    """

    def __init__(
        self,
        body: nn.Module,
        head: nn.Module,
        *,
        width: int,
        multiple: int,
        prior: float,
        smallest: int = 1,
        encoder: Sequence[str] = (),
    ) -> None:
        super().__init__()
        if not 0 < prior < 1:
            msg = f"prior must lie between 0 and 1: found {prior}"
            raise ValueError(msg)
        self.body, self.head, self.width = body, head, width
        self.multiple, self.smallest = multiple, smallest
        self.encoder_parts = tuple(f"body.{part}" for part in encoder)
        last = [module for module in head.modules() if isinstance(module, nn.Conv3d)][-1]
        assert last.bias is not None
        nn.init.constant_(last.bias, math.log(prior / (1 - prior)))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits `(B, out_channels, X, Y, Z)` of `(B, in_channels, X, Y, Z)`."""
        logits: Tensor = self.head(self.features(x))
        return logits

    def features(self, x: Tensor) -> Tensor:
        """Return the input of the heads, `(B, width, X, Y, Z)`."""
        *_, X, Y, Z = x.shape
        far_ends = []
        for size in (Z, Y, X):
            far_ends += [0, max(size + -size % self.multiple, self.smallest) - size]
        padded = F.pad(x, far_ends, mode="replicate")
        h: Tensor = full_precision_if_small(
            self.body, padded, halvings=self.multiple.bit_length() - 1
        )
        return h[..., :X, :Y, :Z]

    def make_head(self, channels: int) -> nn.Module:
        """Make a new head from `features` to `channels` maps."""
        return nn.Conv3d(self.width, channels, 1)


def segresnet(
    in_channels: int = 1,
    out_channels: int = 1,
    *,
    init_filters: int = 8,
    blocks_down: Sequence[int] = (1, 2, 2, 4),
    blocks_up: Sequence[int] = (1, 1, 1),
    dropout: float = 0.0,
    prior: float = 0.01,
) -> Backbone:
    """SegResNet: residual encoder, light decoder, group norm (Myronenko, BraTS 2018).

    Args:
        in_channels: Channels of the image.
        out_channels: Channels of the logits.
        init_filters: Channels at full resolution, a multiple of 8; doubled at each level.
        blocks_down: Residual blocks of each level of the encoder.
        blocks_up: Residual blocks of each level of the decoder.
        dropout: Probability of dropping a channel after the first convolution; 0 disables it.
        prior: Mean foreground probability of the untrained network.

    Raises:
        ValueError: Fewer than two levels, or inconsistent numbers of levels.
    """
    if len(blocks_down) < 2 or len(blocks_up) != len(blocks_down) - 1:
        msg = (
            "blocks_down must have at least two levels and blocks_up one level less: found "
            f"{list(blocks_down)} and {list(blocks_up)}"
        )
        raise ValueError(msg)
    net: Any = SegResNet(
        in_channels=in_channels,
        out_channels=out_channels,
        init_filters=init_filters,
        blocks_down=tuple(blocks_down),
        blocks_up=tuple(blocks_up),
        dropout_prob=dropout or None,
    )
    head, net.conv_final = net.conv_final, nn.Identity()
    multiple = 2 ** (len(blocks_down) - 1)
    encoder = ("convInit", "down_layers")
    return Backbone(net, head, width=init_filters, multiple=multiple, prior=prior, encoder=encoder)


def dynunet(
    in_channels: int = 1,
    out_channels: int = 1,
    *,
    filters: Sequence[int] = (16, 32, 64, 128),
    residual: bool = True,
    prior: float = 0.01,
) -> Backbone:
    """DynUNet: nnU-Net's architecture with instance norm (Isensee et al., 2021).

    Args:
        in_channels: Channels of the image.
        out_channels: Channels of the logits.
        filters: Channels of each level, from full resolution down.
        residual: Whether blocks have a residual connection.
        prior: Mean foreground probability of the untrained network.

    Raises:
        ValueError: Fewer than three levels.
    """
    levels = len(filters)
    if levels < 3:
        raise ValueError(f"filters must have at least three levels: found {list(filters)}")
    net: Any = DynUNet(
        spatial_dims=3,
        in_channels=in_channels,
        out_channels=out_channels,
        kernel_size=[3] * levels,
        strides=[1] + [2] * (levels - 1),
        upsample_kernel_size=[2] * (levels - 1),
        filters=list(filters),
        res_block=residual,
    )
    head, net.output_block = net.output_block, nn.Identity()
    multiple = 2 ** (levels - 1)
    smallest = 2 * multiple  # instance norm needs more than one voxel at the coarsest level
    return Backbone(
        net,
        head,
        width=filters[0],
        multiple=multiple,
        prior=prior,
        smallest=smallest,
        encoder=("input_block", "downsamples", "bottleneck"),
    )
