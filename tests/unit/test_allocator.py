"""Freed memory stays with the process inside the context, and goes back to the system after it."""

import resource
import sys
from pathlib import Path

import numpy as np
import pytest

from seqscan.allocator import freed_memory_kept

MB = 1 << 20


def resident() -> int:
    """Return the resident memory of this process, bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc; elsewhere nothing is changed")
def test_kept_inside_and_given_back_after():
    before = resident()
    with freed_memory_kept():
        np.ones(400 * MB, dtype=np.uint8)
        assert resident() - before > 300 * MB, "but for what the process had free before"
    assert resident() - before < 50 * MB
    np.ones(400 * MB, dtype=np.uint8)
    assert resident() - before < 50 * MB
