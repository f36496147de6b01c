"""Neighbors that chance explains are none; relatives and the nearest stay."""

import numpy as np
import pytest

from seqscan.neighbors import vector_neighbors
from seqscan.neighbors.chance import ALWAYS, N_SAMPLED, Chance, chance_rows
from seqscan.store import unit

P = 64


def families(sizes, *, noise=0.05, offset=0.0, seed=0):
    """Return vectors of families (N, P) and the family of each."""
    generator = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    centers = unit(generator.normal(size=(len(sizes), P)))
    vectors = centers[truth] + generator.normal(0, noise, (len(truth), P)) + offset
    return vectors.astype(np.float32), truth


def test_small_families_keep_their_members_and_the_nearest_alone():
    vectors, truth = families([8] * 100)
    graph = vector_neighbors(vectors, 20)
    assert graph.counts.min() == 7  # the other members
    assert (truth[graph.indices[:, :7]] == truth[:, None]).all()
    assert 7 / graph.counts.mean() > 0.6, "of twenty neighbors it would be 0.35"
    lonely, _ = families([1] * 400)
    assert set(vector_neighbors(lonely, 20).counts.tolist()) == {ALWAYS}


def test_large_families_keep_all():
    vectors, _ = families([60] * 5)  # a fifth of the random pairs are of one family
    assert set(vector_neighbors(vectors, 17).counts.tolist()) == {17}


def test_distribution_is_that_of_unrelated_pairs():
    generator = np.random.default_rng(1)
    chance = Chance.of(generator.normal(size=(5000, P)).astype(np.float32), 5000)
    assert chance.mean == pytest.approx(0.0, abs=0.01)
    assert chance.spread == pytest.approx(P**-0.5, rel=0.05)
    related, _ = families([500] * 10)
    assert Chance.of(related, 5000).spread < 0.2, "a tenth of the pairs has a cosine near 1"


def test_what_all_vectors_share_is_left_out():
    vectors, truth = families([8] * 100)
    shifted = vectors + 3.0
    assert not Chance.of(vectors, 800).origin.any()
    np.testing.assert_allclose(Chance.of(shifted, 800).origin, shifted.mean(axis=0), rtol=1e-5)
    graph = vector_neighbors(shifted, 20)
    assert (truth[graph.indices[:, :7]] == truth[:, None]).all()


def test_more_proteins_ask_for_nearer_neighbors():
    distances = np.linspace(0.3, 0.8, 20)[None]
    kept = [Chance(n, np.zeros(P, np.float32), 0.0, 0.1).n_neighbors(distances)[0] for n in (10**3, 10**7)]
    assert kept[0] > kept[1] >= ALWAYS
    # Benjamini and Hochberg's procedure, written out.
    z = (1 - distances[0]) / 0.1
    expected = 10**3 * 0.5 * np.array([1 - erf(value / 2**0.5) for value in z])
    assert kept[0] == max(rank for rank in range(1, 21) if expected[rank - 1] <= 0.1 * rank)


def erf(x):
    from math import erf as of_math

    return of_math(x)


def test_gaps_stay_gaps():
    distances = np.array([[0.1, 0.2, np.inf, np.inf, np.inf, np.inf]])
    assert Chance(100, np.zeros(P, np.float32), 0.0, 0.1).n_neighbors(distances).tolist() == [2]


def test_sample_is_of_all_or_of_many():
    assert chance_rows(10).tolist() == list(range(10))
    rows = chance_rows(10 * N_SAMPLED)
    assert len(rows) == N_SAMPLED
    assert (np.diff(rows) > 0).all()
