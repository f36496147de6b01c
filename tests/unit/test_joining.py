"""Clusters that neighbors link are joined, whatever the size of the families."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.metrics import adjusted_rand_score

from seqscan.neighbors import NeighborGraph
from seqscan.neighbors import joining as module
from seqscan.neighbors.joining import count_links, join_linked


def graph_of(indices):
    indices = np.array(indices, np.int32)
    return NeighborGraph(indices, np.where(indices < 0, np.inf, 0.0).astype(np.float32), "cosine")


@pytest.fixture
def families():
    """Return a graph whose pairs stay within families of very different sizes, but for one in fifty."""
    generator = np.random.default_rng(0)
    family = np.repeat(np.arange(5), [2000, 400, 80, 40, 20])
    first, size = np.searchsorted(family, family), np.bincount(family)[family]
    near = first[:, None] + generator.integers(0, size[:, None], (len(family), 10))
    astray = generator.random(near.shape) < 0.02
    near = np.where(astray, generator.integers(0, len(family), near.shape), near)
    near[near == np.arange(len(family))[:, None]] = -1
    return graph_of(near), family


def test_links_are_the_pairs_between_clusters(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_ROWS", 2)
    graph = graph_of([[1, 2], [0, -1], [3, 0], [2, -1], [0, 1]])
    links = count_links(graph, np.array([0, 0, 1, 1, -1]), 2)
    # Within 0: 0-1 and 1-0; within 1: 2-3 and 3-2; between: 0-2 and 2-0. Each counts both ways.
    assert links.toarray().tolist() == [[4, 2], [2, 4]]


def test_what_hardly_links_two_clusters_is_left_out(families, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_ROWS", 100)
    graph, family = families
    labels = family * 3 + np.random.default_rng(1).integers(0, 3, len(family))
    labels[::50] = -1
    from_to = np.zeros((16, 16))  # the last cluster is empty
    for label, near in zip(labels, graph.indices, strict=True):
        for other in labels[near[near >= 0]]:
            if label >= 0 and other >= 0:
                from_to[label, other] += 1
    within = np.sqrt(np.outer(from_to.diagonal(), from_to.diagonal()))
    weak = from_to < module.WEAKEST_LINKED * within
    assert (from_to[weak] > 0).any()
    strong = np.where(weak, 0, from_to)
    np.testing.assert_array_equal(count_links(graph, labels, 16).toarray(), strong + strong.T)


@pytest.mark.parametrize("n_pieces", [2, 7, 20])
def test_families_cut_at_random_come_together(families, n_pieces):
    graph, family = families
    pieces = family * n_pieces + np.random.default_rng(1).integers(0, n_pieces, len(family))
    links = count_links(graph, pieces, 5 * n_pieces)
    groups = join_linked(links, np.bincount(pieces, minlength=5 * n_pieces))
    assert adjusted_rand_score(groups[pieces], family) > 0.999


def test_a_number_of_groups(families):
    graph, family = families
    pieces = family * 4 + np.random.default_rng(1).integers(0, 4, len(family))
    links, sizes = count_links(graph, pieces, 20), np.bincount(pieces, minlength=20)
    for n in (5, 6, 8):
        groups = join_linked(links, sizes, n)
        assert len(set(groups.tolist())) == n
        # A group is never in part in another.
        finer = join_linked(links, sizes, n + 1)
        assert len(set(zip(groups.tolist(), finer.tolist(), strict=True))) == n + 1
    assert join_linked(links, sizes, 3).max() + 1 == 5, "no fewer than links tell apart"
    # Of groups that are too small there may be more.
    groups = join_linked(links, sizes, 3, smallest=60)
    assert set(groups[groups >= 0].tolist()) == {0, 1, 2}
    totals = np.bincount(groups[groups >= 0], sizes[groups >= 0])
    assert totals.min() >= 60
    assert totals.tolist() == sorted(totals.tolist(), reverse=True)


def test_what_nothing_links_stays_apart():
    groups = join_linked(csr_matrix((3, 3)), np.array([2, 9, 4]), 2)
    assert groups.tolist() == [2, 0, 1]
    assert join_linked(csr_matrix((3, 3)), np.array([2, 9, 4]), smallest=3).tolist() == [-1, 0, 1]
