"""Cluster heads: probabilities, order, and who stays unassigned."""

import numpy as np
import pytest

from seqscan.errors import ShapeMismatch
from seqscan.head import ClusterHead, fit_whitening, fully_whitened, whiten

GENERATOR = np.random.default_rng(0)
VECTORS = GENERATOR.normal(size=(50, 4)).astype(np.float32)
EYE = np.eye(4, dtype=np.float32)
IDS = [f"p{i}" for i in range(50)]


@pytest.fixture
def head():
    prototypes, projection = (GENERATOR.normal(size=shape).astype(np.float32) for shape in ((5, 3), (4, 3)))
    return ClusterHead(prototypes, VECTORS.mean(axis=0), projection, 0.3)


def test_logits_are_cosines_by_temperature(head):
    for i in range(3):
        x = (VECTORS[i] - head.center).astype(np.float64) @ head.projection
        for c, w in enumerate(head.prototypes.astype(np.float64)):
            expected = w @ x / (np.linalg.norm(w) * np.linalg.norm(x) * 0.3)
            assert head.logits(VECTORS[i : i + 1])[0, c] == pytest.approx(expected, abs=1e-5)


def test_probabilities_sum_to_one(head):
    probabilities = head.probabilities(VECTORS)
    assert probabilities.shape == (50, head.n_clusters)
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-6)


def test_low_temperature_does_not_overflow():
    head = ClusterHead(EYE, np.zeros(4, np.float32), EYE, 1e-4)
    assert np.isfinite(head.probabilities(VECTORS)).all()


def test_assignments_hold_the_best_and_the_second(head):
    found = head.assign(IDS, VECTORS)
    probabilities = head.probabilities(VECTORS)
    order = np.argsort(-probabilities, axis=1)
    assert found.ids == IDS
    np.testing.assert_array_equal(found.labels, order[:, 0])
    np.testing.assert_array_equal(found.second_labels, order[:, 1])
    np.testing.assert_allclose(found.probabilities, probabilities.max(axis=1))
    np.testing.assert_allclose(found.second_probabilities, np.sort(probabilities, axis=1)[:, -2])
    assert found.labels.dtype == found.second_labels.dtype == np.int32


def test_unsure_proteins_stay_unassigned(head):
    found = head.assign(IDS, VECTORS, min_probability=0.5)
    unsure = head.probabilities(VECTORS).max(axis=1) < 0.5
    assert 0 < unsure.sum() < 50
    np.testing.assert_array_equal(found.labels == -1, unsure)
    np.testing.assert_array_equal(found.labels[~unsure], head.assign(IDS, VECTORS).labels[~unsure])


def test_one_cluster_has_no_second(head):
    found = ClusterHead(head.prototypes[:1], head.center, head.projection, 0.3).assign(IDS, VECTORS)
    assert set(found.labels) == {0}
    assert set(found.second_labels) == {-1}
    assert set(found.probabilities) == {1.0}


def test_no_vectors(head):
    assert len(head.assign([], VECTORS[:0])) == 0


def test_sizes_order_and_unused_prototypes_go():
    vectors = np.repeat(EYE[[2, 0, 3]], [5, 9, 2], axis=0)
    head = ClusterHead(EYE, np.zeros(4, np.float32), EYE, 0.1)
    ordered = head.ordered_by_size(head.labels(vectors))
    assert ordered.n_clusters == 3
    np.testing.assert_array_equal(ordered.prototypes, EYE[[0, 2, 3]])
    assert np.bincount(ordered.assign(IDS[:16], vectors).labels).tolist() == [9, 5, 2]


def test_vectors_of_another_encoder_are_refused(head):
    with pytest.raises(ShapeMismatch, match="another encoder"):
        head.logits(np.zeros((2, 5), np.float32))
    with pytest.raises(ShapeMismatch, match="do not fit"):
        ClusterHead(head.prototypes, np.zeros(3, np.float32), head.projection, 0.1)


def test_whitening_makes_variances_more_alike_and_full_whitening_equal():
    generator = np.random.default_rng(1)
    vectors = (generator.normal(size=(300, 4)) * [10, 1, 0.1, 0.01] + 3).astype(np.float32)
    center, projection = fit_whitening(vectors)
    softened = np.cov(((vectors - center) @ projection).T, bias=True)
    variances = np.linalg.eigvalsh(np.cov(vectors.T, bias=True))[::-1]
    np.testing.assert_allclose(softened, np.diag(variances**0.5), atol=1e-2)
    flat = (vectors - center) @ fully_whitened(projection, 3)
    np.testing.assert_allclose(np.cov(flat.T, bias=True), np.eye(3), atol=1e-3)
    points = whiten(vectors, center, projection)
    assert points.dtype == projection.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("n", [1, 3, 40])
def test_whitening_keeps_no_direction_without_variance(n):
    vectors = np.random.default_rng(2).normal(size=(n, 6)).astype(np.float32)
    vectors[:, 3:] = 1.0
    center, projection = fit_whitening(vectors)
    assert projection.shape == (6, max(1, min(3, n - 1)))
    assert np.isfinite(whiten(vectors, center, projection)).all()
