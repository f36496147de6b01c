"""New clusters of novel proteins: as many as there are families, however few the proteins."""

import numpy as np
import pytest

from seqscan.growth import grow
from seqscan.head import ClusterHead, fit_whitening, whiten
from seqscan.model import Model
from seqscan.neighbors import held_out_proteins
from seqscan.novelty import fit_novelty
from seqscan.store import unit

N_KNOWN = 4


def around(directions, size, generator):
    noise = 0.3 * generator.normal(size=(len(directions) * size, directions.shape[1]))
    return (np.repeat(3.0 * directions, size, axis=0) + noise).astype(np.float32)


@pytest.fixture
def known():
    """A model of four families, and twelve directions at right angles to theirs."""
    generator = np.random.default_rng(0)
    directions = np.linalg.qr(generator.normal(size=(16, 16)))[0]
    vectors = around(directions[:N_KNOWN], 40, generator)
    labels = np.repeat(np.arange(N_KNOWN), 40)
    center, projection = fit_whitening(vectors)
    points = whiten(vectors, center, projection)
    means = unit(np.stack([points[labels == label].mean(axis=0) for label in range(N_KNOWN)]))
    head = ClusterHead(means, center, projection, 0.1)
    rows = np.flatnonzero(held_out_proteins(len(vectors), seed=0))
    sureness = head.probabilities(vectors[rows]).max(axis=1)
    novelty = fit_novelty(lambda rows: vectors[rows], labels, center, rows, sureness, seed=0)
    return Model(None, head, novelty=novelty), directions[N_KNOWN:]


@pytest.mark.parametrize(("n_families", "size"), [(1, 6), (2, 6), (2, 12), (3, 8), (3, 30)])
def test_each_family_has_a_cluster_of_its_own(known, n_families, size):
    model, directions = known
    vectors = around(directions[:n_families], size, np.random.default_rng(1))
    grown, labels = grow(model, vectors, seed=0, false_alarm_rate=0.1, threads=1)
    of = [set(own.tolist()) for own in labels.reshape(n_families, size)]
    assert all(len(own) == 1 for own in of)
    assert set.union(*of) == set(range(N_KNOWN, N_KNOWN + n_families))
    assert grown.head.n_clusters == N_KNOWN + n_families
    np.testing.assert_array_equal(grown.head.prototypes[:N_KNOWN], model.head.prototypes)


def test_few_that_are_unlike_each_other_are_no_cluster(known):
    model, directions = known
    grown, labels = grow(
        model, around(directions[:8], 1, np.random.default_rng(1)), seed=0, false_alarm_rate=0.1, threads=1
    )
    assert grown is model
    assert (labels == -1).all()
