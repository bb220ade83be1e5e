"""Reconstruction baseline of anomaly detection: an adversarial autoencoder of healthy crops.

Of the f-AnoGAN family (Schlegl et al., Medical Image Analysis 2019), with an encoder from the start
in place of an inverted generator: L1 and a hinge adversary on patches. The score of a voxel is its
error of reconstruction plus the distance of the discriminator's features there.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.networks.nets import PatchDiscriminator
from torch import Tensor, nn

from semilung.losses import hinge_discriminator_loss, hinge_generator_loss

ADVERSARIAL = 0.05
FEATURES = 0.1


class Autoencoder(nn.Module):
    """Encoder, decoder and discriminator; `forward` gives a score map as `anomaly`."""

    def __init__(self, width: int = 12, code: int = 16) -> None:
        super().__init__()

        def down(i: int, o: int) -> nn.Module:
            return nn.Sequential(nn.Conv3d(i, o, 4, 2, 1), nn.LeakyReLU(0.1))

        def up(i: int, o: int) -> nn.Module:
            return nn.Sequential(nn.ConvTranspose3d(i, o, 4, 2, 1), nn.LeakyReLU(0.1))

        self.encoder = nn.Sequential(
            down(1, width), down(width, 2 * width), down(2 * width, 4 * width)
        )
        self.code = nn.Conv3d(4 * width, code, 1)
        self.decoder = nn.Sequential(
            nn.Conv3d(code, 4 * width, 1), up(4 * width, 2 * width), up(2 * width, width)
        )
        self.last = nn.ConvTranspose3d(width, 1, 4, 2, 1)
        self.discriminator = PatchDiscriminator(3, width, 1, num_layers_d=2, norm="INSTANCE")

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return the reconstruction of crops `(B, 1, X, Y, Z)`."""
        return torch.sigmoid(self.last(self.decoder(self.code(self.encoder(x)))))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return scores `(B, 1, X, Y, Z)`; their logarithm avoids a saturated sigmoid."""
        reconstruction = self.reconstruct(x)
        error = F.avg_pool3d((x - reconstruction).abs(), 3, 1, 1)
        real, fake = (self.discriminator(y)[1] for y in (x, reconstruction))
        distance = (real - fake).abs().mean(1, keepdim=True)
        wide = F.interpolate(distance, size=x.shape[2:], mode="trilinear", align_corners=False)
        return {"anomaly": torch.log(error + FEATURES * wide + 1e-6)}


def train_autoencoder(volumes: list[Tensor], *, crop: int, steps: int, seed: int) -> Autoencoder:
    """Train on random crops of healthy volumes `(X, Y, Z)` scaled to [0, 1]."""
    torch.manual_seed(seed)
    net = Autoencoder()
    discriminator = set(net.discriminator.parameters())
    makers = torch.optim.Adam([p for p in net.parameters() if p not in discriminator], 2e-3)
    discriminator_optimizer = torch.optim.Adam(discriminator, 5e-4, betas=(0.5, 0.9))
    for _ in range(steps):
        x = torch.stack([_crop(volumes, crop) for _ in range(6)])[:, None]
        reconstruction = net.reconstruct(x)
        fake = net.discriminator(reconstruction)[-1]
        loss = (x - reconstruction).abs().mean() + ADVERSARIAL * hinge_generator_loss(fake)
        makers.zero_grad()
        loss.backward()
        makers.step()
        discriminator_optimizer.zero_grad()
        real, fake = net.discriminator(x)[-1], net.discriminator(reconstruction.detach())[-1]
        hinge_discriminator_loss(real, fake).backward()
        discriminator_optimizer.step()
    return net.eval()


def _crop(volumes: list[Tensor], size: int) -> Tensor:
    volume = volumes[int(torch.randint(len(volumes), ()))]
    starts = [int(torch.randint(n - size + 1, ())) for n in volume.shape]
    x, y, z = (slice(s, s + size) for s in starts)
    return volume[x, y, z]
