"""Dividing the graph of alignments into pieces, joining pieces, and what they teach."""

import numpy as np
import pytest

from seqscan.head import ClusterHead
from seqscan.neighbors import NeighborGraph, connected_parts
from seqscan.pieces import communities, divide, group_means, join_pieces, label_pieces
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
    ends = np.array([1, 2, 3, 4, -1, 6, 7, 8, 9, -1, -1], np.int32)[:, None]
    graph = NeighborGraph(ends, np.where(ends < 0, np.inf, 0).astype(np.float32), "test")
    vectors = np.array([[1, 0]] * 4 + [[0, 1]] + [[0, 1]] * 5 + [[1, 0]], np.float32)
    head = ClusterHead(EYE, np.zeros(2, np.float32), EYE, 0.1)
    assert label_pieces(head, vectors, divide(graph, None)).tolist() == [0] * 5 + [1] * 5 + [-1]


def test_pieces_are_connected_parts_where_they_suffice_for_the_clusters_wanted():
    """Two parts; one of them is two groups of six with a single link between them."""
    near = [[other for other in range(start, start + 6) if other != row]
            for start in (0, 6, 12) for row in range(start, start + 6)]  # fmt: skip
    near[5].append(6)
    indices = np.array([row + [-1] * (6 - len(row)) for row in near], np.int32)
    graph = NeighborGraph(indices, np.where(indices < 0, np.inf, 0).astype(np.float32), "test")
    for n_clusters, n_pieces in ((2, 2), (3, 3), (None, 3)):
        assert divide(graph, n_clusters).max() + 1 == n_pieces


def test_communities_are_not_chained_by_a_link_and_parts_are():
    """Twenty groups of ten, all linked within, and each with one link to the next."""
    near = np.full((200, 11), -1, np.int32)
    for row in range(200):
        start = row - row % 10
        own = [other for other in range(start, start + 10) if other != row]
        if row % 10 == 9 and row < 199:
            own.append(row + 1)
        near[row, : len(own)] = own
    graph = NeighborGraph(near, np.where(near < 0, np.inf, 0).astype(np.float32), "test")
    assert connected_parts(graph).max() == 0
    np.testing.assert_array_equal(communities(graph).reshape(20, 10), np.arange(20)[:, None].repeat(10, 1))
    assert (communities(graph, 11) == -1).all()
    alone = NeighborGraph(np.full((3, 1), -1, np.int32), np.full((3, 1), np.inf, np.float32), "test")
    assert communities(alone).tolist() == [0, 1, 2]
