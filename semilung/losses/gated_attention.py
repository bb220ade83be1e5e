"""Gated attention pooling of instance embeddings (ABMIL)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semilung.losses.activation import wide


class GatedAttention(nn.Module):
    r"""Gated attention pooling of the instances h of a bag; bags may be padded.

    $$ z = \sum_n a_n h_n, \qquad
       a_n = \mathrm{softmax}_n \big( w^\top (\tanh(V h_n) \odot \sigma(U h_n)) \big) $$

    Args:
        features: D, the length of an embedding.
        hidden: Rows of V and U.

    Source: Ilse, Tomczak and Welling, Attention-based deep multiple instance learning, ICML 2018.

    Example:
        >>> bag, weights = GatedAttention(8)(torch.ones(1, 4, 8))
        >>> bag.shape, weights.tolist()
        (torch.Size([1, 8]), [[0.25, 0.25, 0.25, 0.25]])
    """

    def __init__(self, features: int, *, hidden: int = 128) -> None:
        super().__init__()
        self.v = nn.Linear(features, hidden)
        self.u = nn.Linear(features, hidden)
        self.w = nn.Linear(hidden, 1, bias=False)  # a bias would cancel in the softmax

    def forward(self, embeddings: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the embedding z of each bag and the weights a of its instances.

        Args:
            embeddings: h, `(B, N, D)`.
            mask: `(B, N)` bool, the real instances of padded bags; None for all.

        Returns:
            z, `(B, D)`, and a, `(B, N)`: sums to 1 over the real instances, 0 elsewhere. An empty
            bag gets zeros.

        Raises:
            ValueError: A mask of another shape.
        """
        if mask is None:
            mask = torch.ones(embeddings.shape[:2], dtype=torch.bool, device=embeddings.device)
        if mask.shape != embeddings.shape[:2]:
            msg = f"mask {tuple(mask.shape)} does not match embeddings {tuple(embeddings.shape)}"
            raise ValueError(msg)
        h = torch.where(mask[..., None], embeddings, 0.0)
        scores = self.w(torch.tanh(self.v(h)) * torch.sigmoid(self.u(h)))[..., 0]
        filled = mask.any(dim=1, keepdim=True)
        scores = scores.to(wide(scores)).masked_fill(~mask & filled, -torch.inf)
        weights = torch.where(mask, scores.softmax(dim=1), 0.0).to(embeddings.dtype)
        return (weights[:, None] @ h)[:, 0], weights
