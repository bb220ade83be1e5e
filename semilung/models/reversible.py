"""Reversible stage: a chain of additive couplings with interchangeable autograd backends."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.utils.checkpoint import checkpoint

from semilung.models.reversible_autograd import run_fused
from semilung.models.skip_recompute import RecomputedSkip
from semilung.types import UserError


class Coupling(nn.Module):
    r"""One additive coupling of two channel halves (Dinh et al., NICE, 2015).

    $$y_1 = x_1 + F(x_2), \quad y_2 = x_2 + G(y_1)$$

    Args:
        f: F, a module that preserves the shape of its input.
        g: G, likewise.
    """

    def __init__(self, f: nn.Module, g: nn.Module) -> None:
        super().__init__()
        self.f = f
        self.g = g

    def forward(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        """Return both halves, `(B, C/2, *spatial)` each, after one coupling."""
        y1 = x1 + self.f(x2)
        return y1, x2 + self.g(y1)

    def inverse(self, y1: Tensor, y2: Tensor) -> tuple[Tensor, Tensor]:
        """Return the halves that `forward` maps to `y1` and `y2`."""
        x2 = y2 - self.g(y1)
        return y1 - self.f(x2), x2


def _run_plain(couplings: Sequence[Coupling], x: Tensor) -> Tensor:
    x1, x2 = x.chunk(2, dim=1)
    for coupling in couplings:
        x1, x2 = coupling(x1, x2)
    return torch.cat((x1, x2), dim=1)


def _run_in_place(couplings: Sequence[Coupling], x: Tensor) -> Tensor:
    x1, x2 = x.chunk(2, dim=1)
    for coupling in couplings:
        x1 += coupling.f(x2)
        x2 += coupling.g(x1)
    return x


def _run_checkpoint(couplings: Sequence[Coupling], x: Tensor) -> Tensor:
    x1, x2 = x.chunk(2, dim=1)
    for coupling in couplings:
        x1, x2 = checkpoint(coupling, x1, x2, use_reentrant=False)
    return torch.cat((x1, x2), dim=1)


def _run_fused(
    couplings: Sequence[Coupling],
    x: Tensor,
    *,
    output: RecomputedSkip | None,
    total: RecomputedSkip | None,
) -> Tensor:
    branches = [branch for coupling in couplings for branch in (coupling.f, coupling.g)]
    return run_fused(branches, x, output=output, total=total)


def _run_memcnn(couplings: Sequence[Coupling], x: Tensor) -> Tensor:
    if torch.is_autocast_enabled(x.device.type) or x.dtype != torch.float32:
        msg = (
            "model backend 'memcnn' computes incorrect gradients under mixed precision: found "
            f"autocast or a {x.dtype} input. Train in fp32, or choose backend 'fused'"
        )
        raise UserError(msg)
    with warnings.catch_warnings():  # memcnn imports names that torch has deprecated
        warnings.simplefilter("ignore", FutureWarning)
        from memcnn import AdditiveCoupling, InvertibleModuleWrapper
    # memcnn writes `.grad` of its input and also returns it, which doubles a leaf's gradient: pass
    # a view. It frees the inputs that it does not store: all but the caller's.
    stream = x.view_as(x)
    for k, coupling in enumerate(couplings):
        block = AdditiveCoupling(coupling.f, coupling.g)
        stream = InvertibleModuleWrapper(block, keep_input=k == 0)(stream)
    return stream


_BACKENDS: dict[str, Callable[..., Tensor]] = {
    "fused": _run_fused,
    "memcnn": _run_memcnn,
    "checkpoint": _run_checkpoint,
    "plain": _run_plain,
}

BranchPair: TypeAlias = tuple[nn.Module, nn.Module]


class ReversibleStage(nn.Module):
    r"""Chain of additive couplings whose activations need not be stored.

    Coupling $k$ maps the channel halves $(x_1, x_2)$ to $y_1 = x_1 + F_k(x_2)$ and
    $y_2 = x_2 + G_k(y_1)$. In training, the backend determines how backward obtains each
    coupling's input; all have the same output, gradients and parameter names:

    | backend | stored activations | evaluations of F and G | |
    |---|---|---|---|
    | `fused` | one output per stage | 2 | the default |
    | `checkpoint` | one input per coupling | 2 | `torch.utils.checkpoint`, for comparison |
    | `memcnn` | a stage's input and output | 3 | memcnn's couplings; fp32, no dropout |
    | `plain` | everything | 1 | ordinary autograd; differentiable twice |

    `fused` and `plain` raise an error if a weight changed before backward; the other two use the
    weights that the module holds by then, so they do not work with `functional_call`.

    The residual stream is fp32 (or wider) also under autocast, which acts only inside F and G: a
    bf16 stream cannot be inverted accurately. In eval mode, and without gradients, every backend is
    a plain forward pass.

    Args:
        couplings: `(F, G)` pairs or `Coupling`s; F and G preserve the shape `(B, C/2, *spatial)`.
            An empty stage is the identity.
        backend: `fused`, `memcnn`, `checkpoint` or `plain`.

    Raises:
        ValueError: An unknown backend, or a layer in F or G whose recomputation differs:
            normalisation with running statistics, spectral norm.
        UserError: Dropout with backend `memcnn`, which draws other masks in recomputation.

    Example:
        >>> conv = lambda: nn.Conv3d(2, 2, 3, padding=1)
        >>> stage = ReversibleStage([(conv(), conv()) for _ in range(3)])
        >>> x = torch.randn(1, 4, 5, 5, 5)
        >>> y = stage(x)
        >>> bool(torch.allclose(stage.inverse(y), x, atol=1e-5))
        True
    """

    def __init__(
        self, couplings: Iterable[Coupling | BranchPair], *, backend: str = "fused"
    ) -> None:
        super().__init__()
        chain = [c if isinstance(c, Coupling) else Coupling(*c) for c in couplings]
        if backend not in _BACKENDS:
            msg = f"unknown backend {backend!r}; choose one of {', '.join(_BACKENDS)}"
            raise ValueError(msg)
        self.couplings = nn.ModuleList(chain)
        self.backend = backend
        for name, module in self.couplings.named_modules():
            _refuse_unrepeatable(name, module)
            random = isinstance(module, nn.RReLU) or (isinstance(module, _DropoutNd) and module.p)
            if backend == "memcnn" and random:
                msg = (
                    f"model backend 'memcnn' computes incorrect gradients with dropout: found "
                    f"{module} in coupling {name}. Set dropout to 0, or choose backend 'fused'"
                )
                raise UserError(msg)

    @property
    def inverts(self) -> bool:
        """Whether backward of a forward pass started now reconstructs the stage's input."""
        fused = self.backend == "fused" and len(self.couplings) > 0
        return fused and self.training and torch.is_grad_enabled()

    def forward(
        self,
        x: Tensor,
        *,
        output: RecomputedSkip | None = None,
        total: RecomputedSkip | None = None,
        in_place: bool = False,
    ) -> Tensor:
        """Run the chain.

        Args:
            x: `(B, C, *spatial)` with an even C.
            output: If the stage `inverts`, takes its output, which autograd then does not store.
            total: If the stage `inverts`, restores its skip from `x`, which is reconstructed in
                backward and must require a gradient.
            in_place: Without gradients, write the output over `x`, which saves its memory.

        Returns:
            The output, of the shape of `x`, in fp32 or wider.

        Raises:
            ValueError: C is odd.
            UserError: Backend `memcnn` in training under mixed precision.
        """
        if not self.couplings:
            return x
        x = self._stream(x)
        if in_place and not torch.is_grad_enabled():
            return _run_in_place(self._chain, x)
        run = _BACKENDS[self.backend] if self.training and torch.is_grad_enabled() else _run_plain
        skips = {"output": output, "total": total} if self.inverts else {}
        return run(self._chain, x, **skips)

    def inverse(self, y: Tensor) -> Tensor:
        """Return the input that `forward` maps to `y`, up to rounding; not with dropout."""
        y1, y2 = self._stream(y).chunk(2, dim=1)
        for coupling in reversed(self._chain):
            y1, y2 = coupling.inverse(y1, y2)
        return torch.cat((y1, y2), dim=1)

    def extra_repr(self) -> str:
        """Return the text that `print` shows."""
        return f"backend={self.backend!r}"

    @property
    def _chain(self) -> list[Coupling]:
        return list(self.couplings)  # type: ignore[arg-type]

    @staticmethod
    def _stream(x: Tensor) -> Tensor:
        if x.shape[1] % 2:
            msg = (
                f"a coupling splits the channels into two halves: found an odd number, {x.shape[1]}"
            )
            raise ValueError(msg)
        return x.to(torch.promote_types(x.dtype, torch.float32))


def _refuse_unrepeatable(name: str, module: nn.Module) -> None:
    hooks = module._forward_pre_hooks.values()
    if isinstance(module, _NormBase) and module.track_running_stats:
        what = f"{type(module).__name__} updates running statistics; use GroupNorm"
    elif isinstance(module, _SpectralNorm) or any(isinstance(h, SpectralNorm) for h in hooks):
        what = "spectral norm changes the weight at every training pass; use weight_norm"
    else:
        return
    msg = f"F and G of a reversible stage are recomputed in training, but in coupling {name} {what}"
    raise ValueError(msg)
