"""Telling glibc to keep memory that was freed, and to keep it in one piece.

A training step frees and takes the same large tensors over and over. By default glibc maps each anew and the kernel
zeroes its pages on first touch. Kept in the heap instead, tensors lie a few bytes apart, for they are aligned. glibc
puts these bits into caches of small blocks, and while they wait there their large neighbours cannot be joined: the heap
grows to a multiple of what is alive. Without the caches it does not. What both are worth, benchmarks/allocator.py
measures.
"""

from __future__ import annotations

import ctypes
import os
import sys

# From glibc's malloc.h.
_M_MXFAST, _M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = 1, -1, -4, -8
_TUNABLES, _SMALL_BLOCKS = "GLIBC_TUNABLES", "glibc.malloc.tcache_count"


def keep_freed_memory() -> bool:
    """Take large blocks from the heap and never gives the heap back; one heap for all threads.

    And no lists of free small blocks ("fastbins"), which keep their neighbours from being joined as the caches do.

    Returns:
        Whether the C library took it; false on systems without glibc, where nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_ARENA_MAX, 1), (_M_MXFAST, 0))
    taken = [mallopt(name, value) == 1 for name, value in settings]  # a list: none is skipped
    return all(taken)


def caches_small_blocks() -> bool:
    """Whether glibc was left to keep freed small blocks in its caches, which breaks the heap into pieces."""
    return f"{_SMALL_BLOCKS}=0" not in os.environ.get(_TUNABLES, "")


def restart_without_small_caches() -> None:
    """Start this program anew, in the same process, with glibc told to cache no small blocks.

    glibc takes that from the environment, as a program starts and never later. Does nothing where it was told, where
    somebody chose another size of the caches, and on systems without glibc.
    """
    if _SMALL_BLOCKS in os.environ.get(_TUNABLES, "") or not (_has_glibc() and sys.executable and sys.orig_argv):
        return
    told = os.environ.get(_TUNABLES)
    os.environ[_TUNABLES] = f"{told}:{_SMALL_BLOCKS}=0" if told else f"{_SMALL_BLOCKS}=0"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 (itself, as it was called)


def _has_glibc() -> bool:
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, ValueError, OSError):
        return False
