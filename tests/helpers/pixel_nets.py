"""Nets that map each voxel by a linear function, and learners with them, for golden values."""

import torch
from torch import nn

from semilung.strategies import Learner
from semilung.strategies.core.centre_maps import centre_maps

PRIOR = float(centre_maps(torch.zeros(1, 5, 1, 1, 1)).logits)


class PixelNet(nn.Module):
    """logits = gain * x + offset, voxel by voxel; records its inputs and outputs."""

    def __init__(self, gain=1.0, offset=0.0):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))
        self.offset = nn.Parameter(torch.tensor(offset))
        self.inputs, self.outputs = [], []

    def forward(self, x):
        logits = self.gain * x + self.offset
        if logits.requires_grad:
            logits.retain_grad()
        self.inputs.append(x)
        self.outputs.append(logits)
        return {"logits": logits}


class CentreNet(nn.Module):
    """Centre maps whose logit is x at every even (or odd) voxel; offsets 0, diameters 8 mm."""

    def __init__(self, odd=False):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))
        self.odd = int(odd)
        self.inputs, self.outputs = [], []

    def forward(self, x):
        logits = self.gain * x[..., self.odd :: 2, self.odd :: 2, self.odd :: 2]
        if logits.requires_grad:
            logits.retain_grad()
        self.inputs.append(x)
        self.outputs.append(logits)
        rest = torch.zeros_like(logits).expand(-1, 4, -1, -1, -1)
        return {"centres": torch.cat([logits - PRIOR, rest], dim=1)}


def peaks(*rows, size=16, background=0.001):
    """An image `(1, 1, n, n, n)` in which a `CentreNet` sees probability p at each (x, y, z, p)."""
    image = torch.full((1, 1, size, size, size), background)
    for x, y, z, p in rows:
        image[0, 0, x, y, z] = p
    return torch.logit(image)


def pixel_learner(strategy, *, gain=1.0, offset=0.0, **options):
    """A learner of one strategy, named `s`, around a pixel net; a teacher starts as its equal."""
    return Learner(PixelNet(gain, offset), {"s": strategy}, **options)


def logit(probs):
    """Images for which a pixel net of gain 1 predicts these probabilities `(1, 1, n, 1, 1)`."""
    return torch.logit(torch.as_tensor(probs)).view(1, 1, -1, 1, 1)
