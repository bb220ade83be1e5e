"""Inputs that the loss tests share."""

import torch


def random_logits(channels, seed=0, batch=2, size=(4, 3, 5)):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((batch, channels, *size), generator=generator, dtype=torch.float64)


def random_target(channels, seed=0, batch=2, size=(4, 3, 5)):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, max(channels, 2), (batch, 1, *size), generator=generator)


def random_mask(seed=0, batch=2, size=(4, 3, 5)):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((batch, 1, *size), generator=generator) > 0.4


def extremes(dtype, channels, value=1e4):
    """Logits of +-value, no two channels alike."""
    generator = torch.Generator().manual_seed(channels)
    signs = 2 * torch.randint(0, 2, (1, channels, 3, 4), generator=generator) - 1
    return (value * signs).to(dtype)


def gradient(loss, *inputs):
    """The gradient of each input; None for one that the loss does not reach."""
    gradients = torch.autograd.grad(loss, inputs, allow_unused=True)
    return gradients if len(inputs) > 1 else gradients[0]
