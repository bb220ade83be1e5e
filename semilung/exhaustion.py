"""Messages for exhausted resources: memory, open files."""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager

from semilung.types import UserError

MEMORY = ("DefaultCPUAllocator", "CUDA out of memory", "_ALLOC_FAILED", "Cannot allocate memory")
FILES = "Too many open files"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, the processor's or a device's.

    Torch has a type for the device's alone, and may not be imported here.

    Example:
        >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("shape"))
        (True, False)
    """
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or any(text in str(error) for text in MEMORY)


def exhausted(error: BaseException) -> str | None:
    """Return which resource ran out, as one sentence with a remedy; None for any other error.

    Example:
        >>> exhausted(ValueError("shape")) is None
        True
    """
    causes = list(_causes(error))
    if any(is_out_of_memory(cause) for cause in causes):
        reason = " ".join(str(error).split())[:200] or "MemoryError"
        return (
            f"out of memory ({reason}). End other programs, or choose smaller settings: "
            f"inference.memory_gib, inference.window, data.crop, data.batch, data.workers"
        )
    if any(_is_of_files(cause) for cause in causes):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return f"too many open files: at most {limit} are allowed. Allow more with: ulimit -n 1024"
    return None


@contextmanager
def explain_memory_errors(remedy: str) -> Iterator[None]:
    """Raise out-of-memory errors, of the processor or a device, as one clear message.

    Args:
        remedy: Settings that need less memory.

    Raises:
        UserError: Memory ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"out of memory ({str(error).strip()[:200]}); try {remedy}") from error


def _is_of_files(error: BaseException) -> bool:
    number = error.errno if isinstance(error, OSError) else None
    return number in (errno.EMFILE, errno.ENFILE) or FILES in str(error)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
