"""Loss functions that need nothing but torch.

Every function takes tensors first and options by keyword, reads `logits` or `probs` as the
argument's name says, accepts 2D and 3D, and returns the mean over samples of a per-sample value, so
that the loss over two processes equals the loss over one.
"""

from semilung.losses.activation import hard_labels, probabilities
from semilung.losses.adjacency import soft_adjacency
from semilung.losses.bag import bag_loss
from semilung.losses.box_emptiness import box_emptiness_loss
from semilung.losses.box_tightness import box_tightness_loss
from semilung.losses.consistency import consistency_loss
from semilung.losses.contacts import count_adjacency
from semilung.losses.cross_pseudo import cross_pseudo_loss
from semilung.losses.dice_ce import dice_ce_loss
from semilung.losses.entropy import entropy_loss, voxel_entropy
from semilung.losses.gated_attention import GatedAttention
from semilung.losses.healthy import healthy_loss
from semilung.losses.heatmap_consistency import heatmap_consistency_loss
from semilung.losses.heatmap_focal import heatmap_focal_loss
from semilung.losses.hinge import hinge_discriminator_loss, hinge_generator_loss
from semilung.losses.masked_l1 import masked_l1_loss
from semilung.losses.non_adjacency import non_adjacency_loss
from semilung.losses.ordinal import cumulative_logits, ordinal_loss, ordinal_probabilities
from semilung.losses.pairwise_affinity import pairwise_affinity_loss
from semilung.losses.pooling import pool_instances
from semilung.losses.pseudo_label import confident_mask, pseudo_label_loss
from semilung.losses.size_barrier import size_barrier_loss
from semilung.losses.soft_focal import soft_focal_loss
from semilung.losses.thresholds import adaptive_threshold, confidence_statistics

__all__ = [
    "GatedAttention",
    "adaptive_threshold",
    "bag_loss",
    "box_emptiness_loss",
    "box_tightness_loss",
    "confidence_statistics",
    "confident_mask",
    "consistency_loss",
    "count_adjacency",
    "cross_pseudo_loss",
    "cumulative_logits",
    "dice_ce_loss",
    "entropy_loss",
    "hard_labels",
    "healthy_loss",
    "heatmap_consistency_loss",
    "heatmap_focal_loss",
    "hinge_discriminator_loss",
    "hinge_generator_loss",
    "masked_l1_loss",
    "non_adjacency_loss",
    "ordinal_loss",
    "ordinal_probabilities",
    "pairwise_affinity_loss",
    "pool_instances",
    "probabilities",
    "pseudo_label_loss",
    "size_barrier_loss",
    "soft_adjacency",
    "soft_focal_loss",
    "voxel_entropy",
]
