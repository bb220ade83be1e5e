"""Nets that map each voxel by a linear function, and learners with them, for golden values."""

import torch
from torch import nn

from semilung.strategies import Learner


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


def pixel_learner(strategy, *, gain=1.0, offset=0.0, **options):
    """A learner of one strategy, named `s`, around a pixel net; a teacher starts as its equal."""
    return Learner(PixelNet(gain, offset), {"s": strategy}, **options)


def logit(probs):
    """Images for which a pixel net of gain 1 predicts these probabilities `(1, 1, n, 1, 1)`."""
    return torch.logit(torch.as_tensor(probs)).view(1, 1, -1, 1, 1)
