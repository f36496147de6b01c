"""The tree of clusters: every cluster once, every node within its parent."""

import numpy as np
import pytest

from seqscan.errors import ShapeMismatch
from seqscan.hierarchy import HIERARCHY_COLUMNS, join_clusters


@pytest.fixture
def tree():
    generator = np.random.default_rng(0)
    clans = np.repeat(np.eye(8)[:5], 4, axis=0)
    prototypes = (clans + 0.1 * generator.normal(size=(20, 8))).astype(np.float32)
    sizes = np.arange(20, 0, -1)
    sizes[7] = 0
    return join_clusters(prototypes, sizes)


def test_every_node_lies_within_its_parent(tree):
    place = {node: row for row, node in enumerate(tree.nodes.tolist())}
    assert len(place) == 2 * 19 - 1
    assert 7 not in place
    assert tree.parents.tolist().count(-1) == 1
    for node, row in place.items():
        children = np.flatnonzero(tree.parents == node)
        if node < 20:
            assert (len(children), tree.n_clusters[row]) == (0, 1)
            continue
        assert len(children) == 2
        assert tree.sizes[row] == tree.sizes[children].sum()
        assert tree.n_clusters[row] == tree.n_clusters[children].sum()
        assert tree.distances[row] >= tree.distances[children].max()
    assert (tree.sizes[-1], tree.n_clusters[-1]) == (sum(range(21)) - 13, 19)


def test_tied_clusters_join_before_all_others():
    directions = np.array([[1, 0, 0], [0.9, 0.1, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    sizes = np.array([4, 3, 0, 1])
    alone = join_clusters(directions, sizes)
    assert (alone.parent_of(0), alone.parent_of(1), alone.parent_of(3)) == (4, 4, 5)
    tied = join_clusters(directions, sizes, np.array([[3, 0], [2, 1]]))  # one of them has no members
    assert (tied.parent_of(0), tied.parent_of(3), tied.parent_of(1)) == (4, 4, 5)
    assert tied.distances[3] == 0
    assert tied.distances[-1] == pytest.approx((alone.distances[3] + 1) / 2)
    same = join_clusters(directions, sizes, np.array([[2, 1], [0, 0]]))
    assert same.rows() == alone.rows()


def test_a_cut_finds_groups_and_finer_cuts_lie_within(tree):
    groups = tree.cut(0.5)
    clans = {cluster: cluster // 4 for cluster in range(20) if cluster != 7}
    assert len(set(groups.values())) == 5
    assert len({(groups[c], clans[c]) for c in clans}) == 5
    finer = tree.cut(float(np.median(tree.distances[19:])))
    assert len(set(finer.values())) > 5
    assert len({(finer[c], groups[c]) for c in clans}) == len(set(finer.values()))
    assert tree.cut(0.0) == {c: c for c in clans}


def test_rows_are_those_of_the_file(tree):
    rows = tree.rows()
    assert len(rows[0]) == len(HIERARCHY_COLUMNS)
    assert rows[0][0] == 0
    assert rows[0][1] == tree.parent_of(0) >= 20
    assert rows[-1][1] == ""


def test_one_cluster_is_its_own_root():
    tree = join_clusters(np.ones((2, 3), np.float32), np.array([0, 4]))
    assert tree.rows() == [(1, "", "0.0000", 1, 4)]
    assert tree.parent_of(1) == -1


def test_nothing_to_join():
    assert join_clusters(np.ones((2, 3), np.float32), np.zeros(2, np.int64)).rows() == []
    with pytest.raises(ShapeMismatch):
        join_clusters(np.ones((2, 3), np.float32), np.ones(3, np.int64))
