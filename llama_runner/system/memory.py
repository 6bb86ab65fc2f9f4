"""What the C library does with memory that was freed."""

import ctypes
import sys
from typing import Final

# glibc's name of the setting, from malloc.h.
_M_ARENA_MAX: Final = -8


def share_freed_memory() -> None:
    """Have all threads take memory from one pool; to be called before there are several.

    glibc gives each thread a pool of its own, so that they need not wait for each other, and what one of them
    freed is of no use to the others: with a dozen worker threads that is megabytes which only ever grow.
    Threads of Python wait for each other anyway. Other C libraries have one pool, as Windows has.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_M_ARENA_MAX, 1)
