"""Nearest neighbors against loops over every pair."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqscan.neighbors import ExactNeighbors
from seqscan.neighbors import backends as module


def slow_neighbors(vectors, k):
    """Compare each pair by the definition of the cosine: rows of (distance, index), nearest first."""
    rows = []
    for i, x in enumerate(vectors.astype(float).tolist()):
        found = []
        for j, y in enumerate(vectors.astype(float).tolist()):
            if i == j:
                continue
            dot = sum(a * b for a, b in zip(x, y, strict=True))
            norms = math.hypot(*x) * math.hypot(*y)
            found.append((1.0 - dot / norms, j))
        rows.append(sorted(found)[:k])
    return rows


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(1, 6), st.integers(1, 50), st.integers(1, 17), st.integers(0, 1000))
def test_exact_neighbors_are_those_of_the_loops(n, n_dimensions, k, block, seed):
    vectors = np.random.default_rng(seed).normal(size=(n, n_dimensions)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_ROWS", block)
        graph = ExactNeighbors(vectors).neighbors(k)
    expected = slow_neighbors(vectors, k)
    assert graph.indices.shape == (n, min(k, n - 1))
    cosine = {(i, j): distance for i, row in enumerate(slow_neighbors(vectors, n)) for distance, j in row}
    for i, row in enumerate(expected):
        np.testing.assert_allclose(graph.distances[i], [distance for distance, _ in row], atol=1e-5)
        # Which of two equally near ones comes first, rounding may decide.
        own = [cosine[i, int(j)] for j in graph.indices[i]]
        np.testing.assert_allclose(own, [distance for distance, _ in row], atol=1e-5)
        assert len(set(graph.indices[i].tolist())) == len(row)
