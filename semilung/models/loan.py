"""Tensors that nobody keeps for backward, because backward itself comes past them again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks


class Loan:
    """Stands in the graph for a tensor that backward makes anew before it is read.

    A skip connection is kept from the encoder's stage to the end of the step only because backward
    reads it there. The decoder's stage, undone, ends at the sum of skip and upsampled: so the skip
    can be let go after that sum, and be `returned` from it.

    Example:
        >>> import torch
        >>> x, w = torch.ones(3), torch.ones(3, requires_grad=True)
        >>> loan = Loan()
        >>> with loan.standing_in_for(x):
        ...     y = x * w
        >>> loan.give_back(2 * x)  # what was borrowed would have been given back as it was
        >>> y.sum().backward()
        >>> w.grad
        tensor([2., 2., 2.])
    """

    def __init__(self) -> None:
        self._returned: Tensor | None = None

    def give_back(self, value: Tensor) -> None:
        """The tensor, made anew."""
        self._returned = value

    def returned(self) -> Tensor:
        """The tensor that was given back.

        Raises:
            RuntimeError: None was, for backward did not begin at the net's own output.
        """
        if self._returned is None:
            msg = (
                "backward reached an encoder's stage of a reversible U-Net without its decoder: "
                "a loss on inner features needs model backend checkpoint or plain"
            )
            raise RuntimeError(msg)
        return self._returned

    def close(self) -> Tensor:
        """`returned`, for its last reader."""
        value, self._returned = self.returned(), None
        return value

    @contextmanager
    def standing_in_for(self, lent: Tensor) -> Iterator[None]:
        """Of `lent`, operations inside save this loan for their backward."""
        where, shape = lent.data_ptr(), lent.shape

        def pack(saved: Tensor) -> Loan | tuple[Tensor, int]:
            is_lent = saved.data_ptr() == where and saved.shape == shape
            return self if is_lent else (saved, saved._version)

        def unpack(packed: Loan | tuple[Tensor, int]) -> Tensor:
            if isinstance(packed, Loan):
                return packed.returned()
            # Autograd looks for changes of what it saved by itself, but not where hooks are.
            saved, version = packed
            if saved._version != version:
                msg = (
                    f"a tensor of shape {tuple(saved.shape)} that backward needs was modified in "
                    "place; call backward before the optimizer's step"
                )
                raise RuntimeError(msg)
            return saved

        with saved_tensors_hooks(pack, unpack):
            yield
