"""Whether the C library keeps the memory that is freed, for loops that ask for it again and again."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["freed_memory_kept"]

# Parameters of mallopt(3), and the values that glibc reaches by itself once large blocks have been freed.
TRIM_THRESHOLD, TRIM_BYTES = -1, 64 << 20
MMAP_THRESHOLD, MMAP_BYTES = -3, 32 << 20
MMAP_MAX, MMAP_BLOCKS = -4, 65536


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Let the process keep what it frees until the end, when all of it is given back.

    A training step asks for tensors as large as the encoder's table and frees them. glibc returns blocks of
    32 MB and more to the system at once, which then has to clear each page again for the next step: that
    took half of the time. Results are the same. Without glibc nothing is changed.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        mallopt, malloc_trim = libc.mallopt, libc.malloc_trim
    except (OSError, AttributeError):
        yield
        return
    mallopt(MMAP_MAX, 0)
    mallopt(TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        mallopt(MMAP_MAX, MMAP_BLOCKS)
        mallopt(MMAP_THRESHOLD, MMAP_BYTES)
        mallopt(TRIM_THRESHOLD, TRIM_BYTES)
        malloc_trim(0)
