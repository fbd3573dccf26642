"""Telling glibc to keep memory that was freed.

A training step frees and takes the same large tensors over and over. By default glibc maps each anew and the kernel
zeroes its pages on first touch. How much that costs depends on the machine: benchmarks/allocator.py measures it.
"""

from __future__ import annotations

import ctypes
import sys

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Takes large blocks from the heap and never gives the heap back; one heap for all threads.

    Returns:
        Whether the C library took it; false on systems without glibc, where nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_ARENA_MAX, 1))
    taken = [mallopt(name, value) == 1 for name, value in settings]  # a list: none is skipped
    return all(taken)
