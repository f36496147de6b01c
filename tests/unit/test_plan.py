"""Predicting the time of a stage."""

import numpy as np
import pytest

from seqscan import plan as module
from seqscan.discovery import DiscoveryConfig
from seqscan.neighbors import AlignmentNeighbors


@pytest.mark.parametrize("n", [60, 2000])
def test_alignments_take_a_start_and_a_time_for_each_query(monkeypatch, n):
    clock = [0.0]

    def search(self, n_neighbors, queries):
        clock[0] += 5.0 + 0.01 * len(queries)

    monkeypatch.setattr(AlignmentNeighbors, "search", search)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    seconds = module._align_seconds([None] * n, np.arange(n), DiscoveryConfig())
    assert seconds == pytest.approx(5.0 + 0.01 * n)
