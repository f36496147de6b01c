"""Dividing the graph of alignments into pieces, joining pieces, and what they teach."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from seqscan.alignment import Alignments, find_mmseqs
from seqscan.head import ClusterHead
from seqscan.neighbors import AlignmentNeighbors, NeighborGraph, Pieces, find_pieces, label_pieces
from seqscan.neighbors import pieces as module
from seqscan.neighbors.pieces import communities, group_means, join_pieces
from seqscan.store import unit

EYE = np.eye(2, dtype=np.float32)


def blobs(sizes, *, spread=0.15, seed=0):
    """Points around the axes: vectors (N, P) and which axis each belongs to."""
    generator = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    vectors = np.eye(len(sizes))[truth] + generator.normal(0, spread, (len(truth), len(sizes)))
    return vectors.astype(np.float32), truth


def same_partition(labels, truth):
    return len(set(zip(labels.tolist(), truth.tolist(), strict=True))) == len(set(truth)) == len(set(labels))


class TestJoinPieces:
    @staticmethod
    def split(truth, n_pieces):
        """Cut each blob into pieces."""
        return truth * n_pieces + np.arange(len(truth)) % n_pieces

    @pytest.mark.parametrize("n_clusters", [4, None])
    def test_pieces_come_together(self, n_clusters):
        vectors, truth = blobs([40, 30, 20, 10])
        points = unit(vectors - vectors.mean(axis=0))
        joined = group_means(points, join_pieces(points, self.split(truth, 3), n_clusters))
        assert joined.shape == (4, 4)
        assert joined.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(joined, axis=1), 1.0, atol=1e-6)
        assert same_partition((points @ joined.T).argmax(axis=1), truth)

    @pytest.mark.parametrize(("limit", "n_left"), [(1.01, 12), (-1.01, 1)])
    def test_without_a_number_the_cosine_decides(self, limit, n_left):
        vectors, truth = blobs([40, 30, 20, 10])
        groups = join_pieces(unit(vectors), self.split(truth, 3), None, min_cosine=limit)
        assert groups.max() + 1 == n_left

    def test_never_more_than_there_are(self):
        vectors, truth = blobs([20, 20])
        assert join_pieces(unit(vectors), truth, 7).tolist() == truth.tolist()

    def test_proteins_of_no_piece_take_no_part(self):
        vectors, truth = blobs([20, 20, 20])
        points = unit(vectors)
        pieces = np.where(truth == 2, -1, truth)
        groups = join_pieces(points, pieces, 2)
        assert (groups[truth == 2] == -1).all()
        assert groups[truth < 2].tolist() == join_pieces(points[truth < 2], truth[truth < 2], 2).tolist()


def test_a_connected_piece_gets_one_label_even_where_its_members_point_elsewhere():
    vectors = np.array([[1, 0]] * 4 + [[0, 1]] + [[0, 1]] * 5 + [[1, 0]], np.float32)
    head = ClusterHead(EYE, np.zeros(2, np.float32), EYE, 0.1)
    assert label_pieces(head, vectors, np.array([0] * 5 + [1] * 5 + [-1])).tolist() == [0] * 5 + [1] * 5 + [
        -1
    ]


def test_the_coarsest_division_with_enough_pieces_is_taken():
    """One connected part of two groups, one of them two communities of six, and a stray protein."""
    chain = np.where(np.arange(19) < 17, np.arange(1, 20), -1).astype(np.int32)[:, None]
    graph = NeighborGraph(chain, np.where(chain < 0, np.inf, 0).astype(np.float32), "test")
    pieces = Pieces(np.arange(19) // 6, np.array([0] * 12 + [1] * 6 + [2]), graph)
    for n_clusters, n_pieces in ((1, 1), (2, 2), (3, 3), (4, 3), (None, 2)):
        found = pieces.enough_for(n_clusters)
        assert found.max() + 1 == n_pieces
        assert found[-1] == -1


def test_chained_parts_are_no_pieces():
    chain = np.arange(1, 13, dtype=np.int32)[:, None]
    chain[-1] = -1
    graph = NeighborGraph(chain, np.where(chain < 0, np.inf, 0).astype(np.float32), "test")
    groups = np.arange(12) // 6
    assert Pieces(groups, groups, graph).enough_for(1).max() + 1 == 1
    assert Pieces(groups, groups, graph, chained=True).enough_for(1).max() + 1 == 2


def test_small_groups_beyond_the_number_are_left_out_of_chained_ones():
    groups = np.repeat(np.arange(4), [150, 100, 50, 5])
    graph = NeighborGraph(np.full((305, 1), -1, np.int32), np.full((305, 1), np.inf, np.float32), "test")
    chained = Pieces(groups, groups, graph, chained=True)
    assert chained.enough_for(3).tolist() == np.where(groups < 3, groups, -1).tolist()
    assert chained.enough_for(2).max() + 1 == 3, "a sixth is more than next to nothing"
    assert Pieces(groups, groups, graph).enough_for(3).max() + 1 == 4


def test_pieces_survive_writing(tmp_path):
    graph = NeighborGraph(np.array([[1], [0]], np.int32), np.zeros((2, 1), np.float32), "test")
    Pieces(np.array([0, 1]), np.array([0, 0]), graph, chained=True).write(tmp_path / "pieces")
    found = Pieces.read(tmp_path / "pieces")
    assert found.chained
    assert (found.communities.tolist(), found.groups.tolist()) == ([0, 1], [0, 0])
    assert found.graph.indices.tolist() == [[1], [0]]
    assert found.graph.metric == "test"


class TestFoundPieces:
    """Profiles as if they had found what is written here."""

    dense = np.array([0] * 10 + [1] * 10 + [2] * 4 + [3] * 4 + [4], np.int64)

    def find(self, monkeypatch, hits):
        query, target, bits = np.array(hits).T
        empty = np.zeros(len(hits), np.int32)
        found = Alignments(query, target, empty, empty, empty, empty, empty, bits.astype(np.float32))
        monkeypatch.setattr(module, "communities", lambda aligned: self.dense)
        monkeypatch.setattr(module, "_unchained", lambda aligned: None)
        monkeypatch.setattr(module, "align_all", lambda *_, **__: found)
        n = len(self.dense)
        alone = NeighborGraph(np.full((n, 1), -1, np.int32), np.full((n, 1), np.inf, np.float32), "test")
        return find_pieces([np.ones(50, np.uint8)] * n, alone)

    def test_a_good_share_of_each_joins_two_and_becomes_neighbors(self, monkeypatch):
        there, back = [(0, row, 40) for row in (10, 11, 12)], [(10, row, 40) for row in (1, 2, 3)]
        one_sided = [(0, row, 40) for row in (20, 21, 22, 23)]
        pieces = self.find(monkeypatch, there + back + one_sided)
        assert pieces.groups.tolist() == [0] * 20 + [1] * 4 + [2] * 4 + [3]
        assert set(pieces.graph.indices[0].tolist()) - {-1} == {10, 11, 12}
        assert set(pieces.graph.indices[11].tolist()) - {-1} == {0}
        few = self.find(monkeypatch, there[:2] + back)
        np.testing.assert_array_equal(few.groups, few.communities, "two of ten are too few")

    def test_a_stray_protein_ties_nothing_together(self, monkeypatch):
        pieces = self.find(monkeypatch, [(0, 28, 40), (10, 28, 50), (28, 20, 30), (28, 21, 30)])
        assert pieces.groups.tolist() == [1] * 10 + [0] * 10 + [2] * 4 + [3] * 4 + [0]

    def test_nothing_found(self, monkeypatch):
        pieces = self.find(monkeypatch, [(0, 1, 90)])
        np.testing.assert_array_equal(pieces.groups, pieces.communities)
        assert not pieces.graph.counts.any()


@pytest.mark.skipif(find_mmseqs() is None, reason="MMseqs2 is not installed")
def test_relatives_make_a_piece_and_a_stranger_none():
    generator = np.random.default_rng(0)
    sequences = []
    for ancestor in generator.integers(1, 21, (2, 120)).astype(np.uint8):
        for n_changed in (0, 12, 36):
            member = ancestor.copy()
            places = generator.choice(120, n_changed, replace=False)
            member[places] = generator.integers(1, 21, n_changed)
            sequences.append(member)
    sequences.append(generator.integers(1, 21, 120).astype(np.uint8))
    pieces = find_pieces(sequences, AlignmentNeighbors(sequences, threads=1).neighbors(5), threads=1)
    assert pieces.enough_for(None).tolist() == [0] * 3 + [1] * 3 + [-1]


def test_communities_are_not_chained_by_a_link():
    """Twenty groups of ten, all linked within, and each with one link to the next."""
    near = np.full((200, 11), -1, np.int32)
    for row in range(200):
        start = row - row % 10
        own = [other for other in range(start, start + 10) if other != row]
        if row % 10 == 9 and row < 199:
            own.append(row + 1)
        near[row, : len(own)] = own
    graph = NeighborGraph(near, np.where(near < 0, np.inf, 0).astype(np.float32), "test")
    np.testing.assert_array_equal(communities(graph).reshape(20, 10), np.arange(20)[:, None].repeat(10, 1))
    assert communities(graph, share=1e-5).max() == 0
    alone = NeighborGraph(np.full((3, 1), -1, np.int32), np.full((3, 1), np.inf, np.float32), "test")
    assert communities(alone).tolist() == [0, 1, 2]


def test_chained_families_come_apart():
    """Forty cliques of ten in a row, one link from each to the next: connected, and yet forty."""
    n = 40
    rows = [[] for _ in range(10 * n)]
    for family in range(n):
        own = range(10 * family, 10 * family + 10)
        for row in own:
            rows[row] += [other for other in own if other != row]
    for family in range(n - 1):
        rows[10 * family].append(10 * (family + 1) + 1)
    indices = np.array([line + [-1] * (10 - len(line)) for line in rows], np.int32)
    distances = np.where(indices < 0, np.inf, 0.0).astype(np.float32)
    graph = NeighborGraph(indices, distances, "test")
    found = module._unchained(graph)
    # All but a pair or two: the resolution is that of the whole graph.
    assert n - 2 <= found.max() + 1 <= n
    assert adjusted_rand_score(found, np.arange(10 * n) // 10) > 0.9
    bare = NeighborGraph(indices[:, :9], distances[:, :9], "test")
    assert module._unchained(bare) is None, "nothing is chained"


def test_without_links_nothing_is_chained():
    alone = NeighborGraph(np.full((4, 1), -1, np.int32), np.full((4, 1), np.inf, np.float32), "test")
    assert module._unchained(alone) is None
