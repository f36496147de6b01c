"""Joining of pieces against loops that count every mean anew."""

import itertools
import math

import numpy as np
import pytest

from seqscan.neighbors.merging import group_means, join_pieces
from seqscan.store import unit


def slow_join(points, pieces, n_clusters, limit):
    """Join the two groups whose means have the largest cosine, again and again."""
    groups = [points[pieces == piece].astype(np.float64).tolist() for piece in sorted(set(pieces) - {-1})]

    def cosine(pair):
        one, two = ([sum(column) for column in zip(*groups[i], strict=True)] for i in pair)
        return sum(a * b for a, b in zip(one, two, strict=True)) / (math.hypot(*one) * math.hypot(*two))

    while len(groups) > (n_clusters or 1):
        a, b = max(itertools.combinations(range(len(groups)), 2), key=cosine)
        if n_clusters is None and cosine((a, b)) <= limit:
            break
        groups[a] += groups.pop(b)
    return np.stack([unit(np.sum(group, axis=0, keepdims=True))[0] for group in groups])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n_clusters", [1, 2, 5, None])
def test_pieces_are_joined_as_by_the_loops(seed, n_clusters):
    generator = np.random.default_rng(seed)
    points = unit(generator.normal(size=(40, 4)).astype(np.float32))
    pieces = generator.integers(-1, 9, 40)
    joined = group_means(points, join_pieces(points, pieces, n_clusters, min_cosine=0.3))
    np.testing.assert_allclose(joined, slow_join(points, pieces, n_clusters, 0.3), atol=1e-5)
