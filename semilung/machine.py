"""What a machine runs out of."""

from __future__ import annotations


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ended, the processor's or a device's.

    Torch has a type for the device's alone, and may not be imported here.

    Example:
        >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("shape"))
        (True, False)
    """
    named = type(error).__name__ in ("OutOfMemoryError", "_ArrayMemoryError")
    texts = ("DefaultCPUAllocator", "CUDA out of memory", "_ALLOC_FAILED")
    return isinstance(error, MemoryError) or named or any(text in str(error) for text in texts)
