"""Tightness of a bounding box as multiple instances: lines through a nodule cross it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby, product

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from semilung.losses.activation import log_probabilities, voxel_mask
from semilung.losses.boxes import require_boxes

LEAST = math.sqrt(0.5) + 1e-4
"""Smallest radius of the bundle of lines: the line next to the centre is always in it."""


def box_tightness_loss(
    logits: Tensor,
    boxes: Tensor,
    *,
    core: float = 0.5,
    depth: float = 0.0,
    line_width: int = 1,
    mask: Tensor | None = None,
) -> Tensor:
    r"""Multiple-instance loss of the lines that cross the nodule of a box, a mean over samples.

    $$ L = \frac{1}{B} \sum_b \operatorname{mean}_{n} \operatorname{mean}_{g \in G_n}
       -\log \frac{1}{k_g} \sum_{x \in \mathrm{top}_{k_g}(g)} p(x), \qquad
       k_g = |g| \max(1, \mathrm{round}(\delta \ell)) $$

    The instances are lines of voxels through a box along each axis; |g| lines next to each other,
    a square of `line_width` voxels, are one bag g, and at least k of its voxels are nodule. With
    line_width 1 and δ = 0 it is the maximum along each line (Hsu et al.). A larger one lets lines
    stand in for one another, where the box is uncertain (Kervadec et al.: the probabilities of w
    lines sum to at least w).

    In a 2D image, as in the papers, a connected object projects onto the whole edge of its tight
    box, so every line through the box crosses it. In 3D that holds for planes, not for lines: a
    ball projects onto the disc in the box's face, and the 21 % of the lines that run through its
    corners miss it. Those near the rim cross it hardly, or not at all where centre or diameter are
    a tenth off. Therefore only lines within `core` half edges of the axis through the centre count.
    At 1/2 such a line runs within a ball for 87 % of its diameter, so that a `depth` δ of up to
    about 3/4 of the line's length ℓ may be required as well.

    Where the crop's border cuts a box, lines count as far as they are seen, and along axes on which
    the centre is outside of the crop not at all.

    Args:
        logits: `(B, C, *spatial)`; p is the probability of foreground.
        boxes: `(B, N, 2 D)`, centre and half edges in voxels; rows with NaN are padding.
        core: Largest distance of a line from the centre's, in half edges, in (0, 1]; 1 are all
            lines through the ellipse that the box projects to.
        depth: δ in [0, 1), least share of a line's voxels that are nodule; 0 is one voxel.
        line_width: Edge in voxels of the square of lines that is one bag, at least 1.
        mask: `(B, 1, *spatial)` bool; lines through voxels that are False do not count.

    Returns:
        A scalar, at least 0. A sample without boxes adds 0.

    Raises:
        ValueError: Shapes that do not match, or an option out of its range.

    Source: Hsu et al., Weakly supervised instance segmentation using the bounding box tightness
    prior, NeurIPS 2019; Kervadec et al., Bounding boxes for weakly supervised segmentation,
    MIDL 2020.

    Example:
        >>> box = torch.tensor([[[1.0, 1.0, 1.0, 1.0]]])
        >>> logits = torch.full((1, 1, 3, 3), -9.0); logits[0, 0, 1, 1] = 0
        >>> round(float(box_tightness_loss(logits, box)), 4)
        0.6931
    """
    require_boxes(boxes, logits)
    if not 0 < core <= 1:
        raise ValueError(f"core must be in (0, 1], got {core}")
    if not 0 <= depth < 1:
        raise ValueError(f"depth must be in [0, 1), got {depth}")
    if line_width < 1:
        raise ValueError(f"line_width must be at least 1, got {line_width}")
    valid = voxel_mask(mask, logits)
    if valid is not None:
        logits = torch.where(valid[:, None], logits, 0.0)
    log_p, _ = log_probabilities(logits)
    samples = []
    for number, rows in enumerate(boxes.tolist()):
        valid_here = None if valid is None else valid[number]
        values = [
            torch.cat(bags).mean()
            for row in rows
            if not any(map(math.isnan, row))
            and (bags := list(_bags(log_p[number], valid_here, row, core, depth, line_width)))
        ]
        # an empty sum is a zero with a graph
        samples.append(torch.stack(values).mean() if values else log_p[number].flatten()[:0].sum())
    return torch.stack(samples).mean()


def _bags(
    log_p: Tensor,
    valid: Tensor | None,
    box: Sequence[float],
    core: float,
    depth: float,
    line_width: int,
) -> Iterator[Tensor]:
    """Yield the losses of the bags along each axis, `(bags,)` each, of one box in one sample."""
    axes = log_p.ndim
    centre, half = box[:axes], box[axes:]
    spans = [_span(c, h, n) for c, h, n in zip(centre, half, log_p.shape, strict=True)]
    cut = tuple(slice(span.start, span.stop) for span in spans)
    for axis in range(axes):
        if not -0.5 <= centre[axis] <= log_p.shape[axis] - 0.5:
            continue
        others = [j for j in range(axes) if j != axis]
        positions = list(product(*(spans[j] for j in others)))
        radii = [max(core * half[j], LEAST) for j in others]
        offsets = [[x - centre[j] for x, j in zip(p, others, strict=True)] for p in positions]
        crosses = [math.hypot(*(o / r for o, r in zip(p, radii, strict=True))) for p in offsets]
        chosen = [i for i, distance in enumerate(crosses) if distance <= 1]
        lines = log_p[cut].movedim(axis, -1).flatten(0, -2)
        if valid is not None:
            visible = valid[cut].movedim(axis, -1).flatten(0, -2).all(dim=1).tolist()
            chosen = [i for i in chosen if visible[i]]
        if chosen and lines.shape[1]:
            first = [spans[j].start for j in others]
            tiles = [
                [(x - f) // line_width for x, f in zip(p, first, strict=True)] for p in positions
            ]
            ordered = sorted(chosen, key=lambda i, tiles=tiles: tiles[i])  # type: ignore[misc]
            counts = [len(list(g)) for _, g in groupby(ordered, key=tiles.__getitem__)]
            yield _multiple_instance(lines[ordered], counts, depth)


def _multiple_instance(lines: Tensor, counts: Sequence[int], depth: float) -> Tensor:
    """Return -log of the mean of the highest probabilities of each bag of lines.

    Args:
        lines: `(lines, voxels)` log-probabilities, bag after bag.
        counts: Lines of each bag.
        depth: Least share of a line's voxels that are nodule.
    """
    each = max(1, round(depth * lines.shape[1]))
    bags = [bag.flatten() for bag in torch.split(lines, list(counts))]
    padded = pad_sequence(bags, batch_first=True, padding_value=-torch.inf)
    k = torch.tensor(counts, device=lines.device)[:, None] * each
    top = padded.topk(each * max(counts), dim=1).values
    top = torch.where(torch.arange(top.shape[1], device=lines.device) < k, top, -torch.inf)
    return k[:, 0].log() - top.logsumexp(dim=1)


def _span(centre: float, half: float, size: int) -> range:
    """Return the voxels of a box along an axis of `size`; at least that of its centre, if any."""
    low, high = math.ceil(centre - half), math.floor(centre + half)
    if low > high:
        low = high = round(centre)
    return range(max(low, 0), min(high, size - 1) + 1)
