"""Joining pieces whose vectors are alike, and the cluster of a piece as a whole."""

import numpy as np
import pytest

from seqscan.head import ClusterHead
from seqscan.neighbors.merging import group_means, join_pieces, label_pieces
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
