"""Hinge losses of adversarial training."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from semilung.losses.activation import wide


def hinge_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    r"""Hinge loss of the discriminator, a mean over samples and their patches.

    $$ L_D = \mathbb{E}[\max(0, 1 - r)] + \mathbb{E}[\max(0, 1 + f)] $$

    Args:
        real_logits: r, `(B, ...)`, scores of the real samples.
        fake_logits: f, `(B', ...)`, scores of predictions, which the caller has detached.

    Returns:
        A scalar, at least 0.

    Source: Lim and Ye, Geometric GAN, 2017; Miyato et al., Spectral normalization, ICLR 2018.

    Example:
        >>> import torch
        >>> float(hinge_discriminator_loss(torch.tensor([0.5, 3.0]), torch.tensor([-0.5, -3.0])))
        0.5
    """
    real = F.relu(1 - real_logits).mean(dtype=wide(real_logits))
    return real + F.relu(1 + fake_logits).mean(dtype=wide(fake_logits))


def hinge_generator_loss(fake_logits: Tensor) -> Tensor:
    r"""Hinge loss of the generator, a mean over samples and their patches.

    $$ L_G = -\mathbb{E}[f] $$

    Args:
        fake_logits: f, `(B, ...)`, scores of its predictions by a discriminator without gradient.

    Returns:
        A scalar of either sign.

    Source: Lim and Ye, Geometric GAN, 2017; Miyato et al., Spectral normalization, ICLR 2018.

    Example:
        >>> import torch
        >>> float(hinge_generator_loss(torch.tensor([1.0, 3.0])))
        -2.0
    """
    return -fake_logits.mean(dtype=wide(fake_logits))
