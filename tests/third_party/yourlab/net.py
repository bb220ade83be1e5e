"""Network of CONTRIBUTING.md in a package of another lab."""

from monai.networks.nets import UNet
from torch import nn

from semilung.models import models


@models.register("yournet")
def yournet(*, width: int = 4) -> nn.Module:
    """MONAI's plain U-Net, for sizes that are multiples of 4."""
    return UNet(3, 1, 1, channels=(width, 2 * width, 4 * width), strides=(2, 2))
