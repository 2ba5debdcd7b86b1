"""What a closed study leaves behind in memory: nothing."""

import ctypes
import sys
from contextlib import suppress

M_MMAP_THRESHOLD = -3  # of malloc.h
ARRAY_BYTES = 1 << 20


def give_arrays_back() -> None:
    """Have arrays go back to the system when they are freed, for the rest of this process.

    glibc does so with what is larger than the largest block that was freed so far; everything
    else, such as one patient's scans after another's, stays with the process and in its memory.
    Other systems' allocators have no such rule: nothing is changed there.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, ARRAY_BYTES)
