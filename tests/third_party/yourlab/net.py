"""The network of CONTRIBUTING.md, in a package of its own."""

from monai.networks.nets import UNet
from torch import nn

from semilung.models import models


@models.register("yournet")
def yournet(*, width: int = 4) -> nn.Module:
    """MONAI's plain U-Net, which takes sizes that 4 divides."""
    return UNet(3, 1, 1, channels=(width, 2 * width, 4 * width), strides=(2, 2))
