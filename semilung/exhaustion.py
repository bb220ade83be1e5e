"""What a machine runs out of: memory, open files."""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator

MEMORY = ("DefaultCPUAllocator", "CUDA out of memory", "_ALLOC_FAILED", "Cannot allocate memory")
FILES = "Too many open files"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ended, the processor's or a device's.

    Torch has a type for the device's alone, and may not be imported here.

    Example:
        >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("shape"))
        (True, False)
    """
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or any(text in str(error) for text in MEMORY)


def exhausted(error: BaseException) -> str | None:
    """What ran out, as one sentence with a remedy; None for any other error.

    Example:
        >>> exhausted(ValueError("shape")) is None
        True
    """
    causes = list(_causes(error))
    if any(is_out_of_memory(cause) for cause in causes):
        reason = " ".join(str(error).split())[:200] or "MemoryError"
        return (
            f"out of memory ({reason}). End other programs, or choose smaller settings: "
            f"inference.window, inference.batch_size, data.crop, data.batch, data.workers"
        )
    if any(_is_of_files(cause) for cause in causes):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return f"too many open files: at most {limit} are allowed. Allow more with: ulimit -n 1024"
    return None


def _is_of_files(error: BaseException) -> bool:
    number = error.errno if isinstance(error, OSError) else None
    return number in (errno.EMFILE, errno.ENFILE) or FILES in str(error)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
