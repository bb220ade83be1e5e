"""Multiple-instance learning (ABMIL): a scan label supervises crops and voxels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semilung.data import PreparedCase
from semilung.losses import GatedAttention, bag_loss, pool_instances
from semilung.strategies.core.learner import Step
from semilung.strategies.core.ramps import Ramp
from semilung.strategies.core.strategy import Needs, Strategy, Term, metric, register
from semilung.strategies.mil.bag_cohorts import require_both_labels, warn_of_predictive_cohorts
from semilung.strategies.mil.instances import Instances, describe_bags

Pooled = Literal["top_k", "log_sum_exp", "noisy_or"]
BagPooling = Literal[Pooled, "attention"]
STREAMS = ("weak", "labelled", "healthy")


@register("mil")
class MIL(Strategy):
    r"""Multiple-instance learning (ABMIL, noisy-or): a scan label supervises a bag of crops.

    $$ L = w(t) \, \mathrm{BCE}\big(\sigma(S(g(h_1), \dots, g(h_N))), y\big)
         + v(t) \, \mathrm{BCE}\big(\sigma(S(s_1, \dots, s_N)), y\big) $$

    h_n is the embedding of crop n, spatial mean and maximum of the student's head `embedding`; g is
    linear. s_n is the mean of the crop's largest voxel logits, so that y supervises the voxel head
    too: in a healthy scan it lowers the highest voxels of the highest crops. S pools the scores of
    a bag's real instances to the bag's logit: `top_k`, `log_sum_exp`, `noisy_or` (see
    `pool_instances`), or `attention`: gated attention a over the embeddings, with S = g(Σ a h) for
    the first term and S = Σ a s for the second, where a is detached, since it could otherwise
    lower the loss by ignoring the false positive.

    Where detection is a task, a third term bounds the loudest peak of the centre heatmap,

    $$ L_c = u(t) \, \mathrm{BCE}\big(1 - (1 - l) \prod_n (1 - c_n), y\big) $$

    c_n is the largest probability of a centre in crop n, and the product that of the k loudest
    crops: a leaky noisy-or, whatever the pooling of the others. A scan is positive if any of its
    peaks is a nodule, so a certain one leaves the others alone, which a mean would raise; in a
    negative scan all k are lowered at a step, of which the maximum would lower one.

    y is 0 for healthy scans, and `bag_label` of the manifest for weak and labelled ones. L is a
    mean over the bags of all streams. Crops run through the student `chunk` at a time, see
    `describe_bags`. `base_rate` is the loss of the constant prediction of the share of positive
    bags: a bag head that is not below it has learnt nothing from the images.

    Args:
        weight: w, the final weight of the bag term.
        voxel_weight: v, the final weight of the voxel term; 0 switches it off.
        centre_weight: u, the final weight of the term of centres; 0 switches it off.
        rampup: Share of the training over which the weights grow.
        pooling: S.
        k: Number of instances that `top_k`, `noisy_or` and the centres use. Crops tile a scan, so a
            nodule is in few of them.
        temperature: Of `log_sum_exp`, in logits, above 0.
        leak: l of `noisy_or` and the centres, in [0, 1).
        width: Channels of the head `embedding`; an embedding is twice as long.
        voxel_share: Share of a crop's voxels in the mean s_n, in (0, 1].
        chunk: Number of crops in a forward pass of the student.

    Raises:
        ValueError: An option out of its range.

    Source: Ilse, Tomczak and Welling, ICML 2018 (attention); Liao et al., IEEE TNNLS 2019 (leaky
    noisy-or over the likeliest); Pinheiro and Collobert, CVPR 2015 (voxels from image labels).
    """

    counts: Tensor

    def __init__(
        self,
        *,
        weight: float = 0.5,
        voxel_weight: float = 0.1,
        centre_weight: float = 0.1,
        rampup: float = 0.4,
        pooling: BagPooling = "top_k",
        k: int = 2,
        temperature: float = 1.0,
        leak: float = 0.01,
        width: int = 16,
        voxel_share: float = 0.001,
        chunk: int = 8,
    ) -> None:
        super().__init__()
        _check(pooling, k, temperature, leak, width, voxel_share, chunk)
        self.needs = Needs(
            views={},
            optional=dict.fromkeys(STREAMS, ("bag",)),
            fields=("bag_label",),
            heads={"embedding": width},
            tasks=("segmentation", "detection"),
        )
        self.ramp, self.voxel_ramp = Ramp(weight, rampup), Ramp(voxel_weight, rampup)
        self.centre_ramp = Ramp(centre_weight, rampup)
        self.pooling = pooling
        self.k = k
        self.temperature = temperature
        self.leak = leak
        self.voxel_share = voxel_share
        self.chunk = chunk
        self.scorer = nn.Linear(2 * width, 1)
        self.attention = GatedAttention(2 * width) if pooling == "attention" else None
        self.register_buffer("counts", torch.zeros(2))  # negative, positive bags
        self._latest = torch.zeros(2, dtype=torch.long)

    def before_training(self, streams: Mapping[str, Sequence[PreparedCase]]) -> None:
        """Require bags of both labels, and warn if the cohort predicts the label."""
        bags = {stream: streams[stream] for stream in STREAMS if streams.get(stream)}
        require_both_labels(bags)
        warn_of_predictive_cohorts(bags)

    def terms(self, step: Step) -> dict[str, Term]:
        """Return `bag`, `voxels` and `centre_bag`, and metrics.

        Those are `base_rate`, `p_positive` and `p_negative`.
        """
        batches = [step.batch(stream) for stream in STREAMS if step.has(stream)]
        bags = describe_bags(
            step.student,
            [(batch["bag"], batch["bag_mask"]) for batch in batches],
            chunk=self.chunk,
            voxel_share=self.voxel_share,
        )
        label = torch.cat([b["bag_label"][: len(b["bag"])] for b in batches])
        bag, attention = self._pool(bags)
        terms = {"bag": Term(_loss(bag, label, bags.mask), self.ramp(step.progress))}
        if bags.voxels is not None and self.voxel_ramp.weight:
            voxels = self._pool_scores(bags.voxels, bags.mask, attention)
            terms["voxels"] = Term(_loss(voxels, label, bags.mask), self.voxel_ramp(step.progress))
        if bags.peaks is not None and self.centre_ramp.weight:
            peaks = pool_instances(
                bags.peaks, pooling="noisy_or", k=self.k, leak=self.leak, mask=bags.mask
            )
            value = _loss(peaks, label, bags.mask)
            terms["centre_bag"] = Term(value, self.centre_ramp(step.progress))
        return terms | self._metrics(bag, label)

    def after_step(self, progress: float) -> None:
        """Add the step's bags to the counts of negative and positive ones."""
        self.counts += self._latest.to(self.counts.device)
        self._latest = torch.zeros_like(self._latest)

    def _pool(self, bags: Instances) -> tuple[Tensor, Tensor | None]:
        """Return bag logits from the embeddings `(B,)`, and the attention `(B, N)`, if any."""
        if self.attention is not None:
            embedding, attention = self.attention(bags.embeddings, bags.mask)
            return self.scorer(embedding)[:, 0], attention.detach()
        return self._pool_scores(self.scorer(bags.embeddings)[..., 0], bags.mask, None), None

    def _pool_scores(self, scores: Tensor, mask: Tensor, attention: Tensor | None) -> Tensor:
        """Return bag logits `(B,)` from scores of instances."""
        if attention is not None:
            return (attention * scores).sum(dim=1)
        return pool_instances(
            scores,
            pooling=cast(Pooled, self.pooling),
            k=self.k,
            temperature=self.temperature,
            leak=self.leak,
            mask=mask,
        )

    def _metrics(self, bag: Tensor, label: Tensor) -> dict[str, Term]:
        """Return the loss of the base rate, and mean probabilities of both kinds of bags."""
        self._latest = torch.bincount(label, minlength=2).detach()
        share = (self.counts[1] + 1) / (self.counts.sum() + 2)
        base_rate = F.binary_cross_entropy_with_logits(
            share.logit().expand(len(label)), label.to(share.dtype)
        )
        probability = bag.detach().sigmoid()
        groups = {"p_negative": probability[label == 0], "p_positive": probability[label == 1]}
        means = {name: metric(values.mean()) for name, values in groups.items() if len(values)}
        return {"base_rate": metric(base_rate), **means}


def _loss(logits: Tensor, label: Tensor, mask: Tensor) -> Tensor:
    """Return the cross-entropy of bag logits, a mean over bags; an empty bag adds 0."""
    filled = mask.any(dim=1, keepdim=True)
    return bag_loss(logits[:, None], label, pooling="mean", mask=filled)


def _check(
    pooling: str,
    k: int,
    temperature: float,
    leak: float,
    width: int,
    voxel_share: float,
    chunk: int,
) -> None:
    choices = ("top_k", "log_sum_exp", "noisy_or", "attention")
    problem = None
    if pooling not in choices:
        problem = f"pooling must be one of {', '.join(choices)}, got {pooling!r}"
    elif min(k, width, chunk) < 1:
        problem = f"k, width and chunk must be at least 1, got {k}, {width} and {chunk}"
    elif temperature <= 0:
        problem = f"temperature must be above 0, got {temperature}"
    elif not 0 <= leak < 1:
        problem = f"leak must lie in [0, 1), got {leak}"
    elif not 0 < voxel_share <= 1:
        problem = f"voxel_share must lie in (0, 1], got {voxel_share}"
    if problem:
        raise ValueError(problem)
