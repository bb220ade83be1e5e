"""Adversarial training with a discriminator of labelled and unlabelled predictions."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from monai.networks.nets import PatchDiscriminator
from torch import Tensor, nn
from torch.func import functional_call

from semilung.losses import hinge_discriminator_loss, hinge_generator_loss, probabilities
from semilung.strategies.core.learner import Step
from semilung.strategies.core.ramps import Ramp
from semilung.strategies.core.strategy import Needs, Strategy, Term, metric, register
from semilung.types import IGNORE, UserError

Real = Literal["prediction", "mask"]


@register("adversarial")
class Adversarial(Strategy):
    r"""Adversarial training: a discriminator scores image-mask pairs, and the student fools it.

    $$ L_D = \mathbb{E}[\max(0, 1 - D(l, s_l))] + \mathbb{E}[\max(0, 1 + D(u, p(u)))], \qquad
       L_S = -w(t) \, \mathbb{E}[D(u, p(u))] $$

    with p the student's foreground probability, l and u the weak views of labelled and unlabelled
    crops, $s_l = p(l)$ or the mask, and $w(t) = w \exp(-5 (1 - t / T)^2)$. D scores overlapping
    patches of the two channels (image, segmentation), so a nodule has to match the tissue around
    it. Both are trained in one backward pass: L_D reads detached predictions, and L_S runs D with
    detached weights. D uses instance norm and has no buffers, so its scores do not depend on the
    batch or the process.

    Args:
        weight: w, the final weight of the student's term, at least 0.
        rampup: T in [0, 1], share of the training over which the weight grows.
        real: Segmentation of labelled crops: the student's `prediction`, or the `mask` (with the
            prediction in ignored voxels). D soon separates binary masks from soft predictions.
        discriminator_lr: Factor on the learning rate for D, above 0.
        channels: Filters of D's first layer; each further layer doubles them.
        layers: Layers of D after the first, at least 1. Crops have `3 * 2^layers` voxels a side or
            more.

    Raises:
        ValueError: An option out of its range.

    Source: Zhang et al., Deep adversarial networks for biomedical image segmentation utilizing
    unannotated images, MICCAI 2017; hinge loss of Lim and Ye, Geometric GAN, 2017; patches of
    Isola et al., CVPR 2017.
    """

    def __init__(
        self,
        *,
        weight: float = 0.01,
        rampup: float = 0.4,
        real: Real = "prediction",
        discriminator_lr: float = 0.1,
        channels: int = 16,
        layers: int = 2,
    ) -> None:
        super().__init__()
        if real not in get_args(Real):
            msg = f"real must be one of {', '.join(get_args(Real))}, got {real!r}"
            raise ValueError(msg)
        if layers < 1 or channels < 1 or not discriminator_lr > 0:
            msg = (
                "layers and channels must be at least 1 and discriminator_lr above 0, got "
                f"{layers}, {channels} and {discriminator_lr}"
            )
            raise ValueError(msg)
        self.needs = Needs(
            views={"labelled": ("weak",), "unlabelled": ("weak",)},
            fields=("mask",) if real == "mask" else (),
        )
        self.ramp = Ramp(weight, rampup)
        self.real = real
        self.discriminator_lr = discriminator_lr
        self.layers = layers
        self.discriminator = PatchDiscriminator(
            spatial_dims=3, channels=channels, in_channels=2, num_layers_d=layers, norm="INSTANCE"
        )

    def terms(self, step: Step) -> dict[str, Term]:
        """Return `discriminator` and `student`, and the metric `discriminator_right`."""
        labelled, unlabelled = self._labelled(step), _pair(step, "unlabelled")
        real, fake = (self._score(pair.detach()) for pair in (labelled, unlabelled))
        frozen = {name: p.detach() for name, p in self.discriminator.named_parameters()}
        fooled = hinge_generator_loss(functional_call(self.discriminator, frozen, unlabelled)[-1])
        accuracy = ((real > 0).float().mean() + (fake < 0).float().mean()) / 2
        weight = self.ramp(step.progress)
        return {
            "discriminator": Term(hinge_discriminator_loss(real, fake)),
            "student": Term(fooled, weight),
            "discriminator_right": metric(accuracy),
        }

    def param_groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Return the discriminator with its factor on the learning rate."""
        return [(list(self.discriminator.parameters()), self.discriminator_lr)]

    def _labelled(self, step: Step) -> Tensor:
        """Return crop and segmentation of the labelled stream as two channels."""
        pair = _pair(step, "labelled")
        if self.real == "prediction":
            return pair
        image, predicted = pair[:, :1], pair[:, 1:]
        mask = step.batch("labelled")["mask"]
        return torch.cat([image, torch.where(mask == IGNORE, predicted, (mask > 0).float())], dim=1)

    def _score(self, pair: Tensor) -> Tensor:
        """Return the score of each patch by D."""
        if min(pair.shape[2:]) < 3 * 2**self.layers:
            msg = (
                f"a discriminator of {self.layers} layers needs crops of {3 * 2**self.layers} "
                f"voxels a side, got {tuple(pair.shape[2:])}: enlarge data.crop, or lower "
                "strategies.adversarial.layers"
            )
            raise UserError(msg)
        scores: Tensor = self.discriminator(pair)[-1]
        return scores


def _pair(step: Step, stream: str) -> Tensor:
    """Return a stream's weak view and the student's foreground probability as two channels."""
    probs = probabilities(step.out(stream)["logits"])
    foreground = probs if probs.shape[1] == 1 else 1 - probs[:, :1]
    return torch.cat([step.batch(stream)["weak"], foreground.float()], dim=1)
