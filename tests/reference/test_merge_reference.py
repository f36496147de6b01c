"""Joining of clusters against SciPy's Ward linkage."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage

from seqscan.head import ClusterHead
from seqscan.scan import _merge_costs, merge_clusters
from seqscan.store import unit


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n_clusters", [2, 3, 7, 14])
def test_single_points_are_joined_as_by_ward(seed, n_clusters):
    points = unit(np.random.default_rng(seed).normal(size=(15, 4)).astype(np.float32))
    head = ClusterHead(points, np.zeros(4, np.float32), 0.1)
    # Each point is a cluster of its own: it is its own prototype.
    assert head.logits(points).argmax(axis=1).tolist() == list(range(15))
    merged = merge_clusters(head, points, n_clusters)
    expected = fcluster(linkage(points.astype(np.float64), "ward"), n_clusters, "maxclust")
    means = np.stack([points[expected == label].mean(axis=0) for label in np.unique(expected)])
    assert len(merged) == n_clusters
    order, wanted = (np.lexsort(np.round(rows, 4).T) for rows in (merged, unit(means)))
    np.testing.assert_allclose(merged[order], unit(means)[wanted], atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_weighted_clusters_are_joined_as_by_ward(seed):
    # A point that is there five times weighs five times as much; SciPy joins the copies first, at no cost.
    generator = np.random.default_rng(seed)
    singles = unit(generator.normal(size=(9, 4)).astype(np.float32))
    points = np.repeat(singles, generator.integers(1, 6, 9), axis=0)
    merged = merge_clusters(ClusterHead(singles, np.zeros(4, np.float32), 0.1), points, 4)
    expected = fcluster(linkage(points.astype(np.float64), "ward"), 4, "maxclust")
    means = unit(np.stack([points[expected == label].mean(axis=0) for label in np.unique(expected)]))
    order, wanted = (np.lexsort(np.round(rows, 4).T) for rows in (merged, means))
    np.testing.assert_allclose(merged[order], means[wanted], atol=1e-5)


def test_cost_is_the_growth_of_the_squared_error():
    generator = np.random.default_rng(0)
    groups = [generator.normal(size=(size, 3)) for size in (1, 4, 7)]
    sums = np.stack([group.sum(axis=0) for group in groups])
    sizes = np.array([1.0, 4.0, 7.0])
    cost = _merge_costs(sums, sizes, by_ward=True)

    def error(rows):
        return ((rows - rows.mean(axis=0)) ** 2).sum()

    for a in range(3):
        assert cost[a, a] == np.inf
        for b in range(3):
            if a != b:
                grown = error(np.concatenate([groups[a], groups[b]])) - error(groups[a]) - error(groups[b])
                assert cost[a, b] == pytest.approx(grown)
        row = _merge_costs(sums, sizes, by_ward=True, row=a)
        np.testing.assert_allclose(np.delete(row, a), np.delete(cost[a], a))


def test_cosine_cost_is_the_mean_over_pairs():
    generator = np.random.default_rng(1)
    groups = [unit(generator.normal(size=(size, 3)).astype(np.float32)) for size in (2, 5)]
    sums = np.stack([group.sum(axis=0) for group in groups]).astype(np.float64)
    cost = _merge_costs(sums, np.array([2.0, 5.0]), by_ward=False)
    assert cost[0, 1] == pytest.approx(-float((groups[0] @ groups[1].T).mean()), abs=1e-6)
