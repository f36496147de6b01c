"""Novelty: the stated share of known proteins, and proteins of other families beyond it."""

import numpy as np
import pytest

from seqscan import novelty as module
from seqscan.errors import InvalidParameter, ShapeMismatch
from seqscan.head import ClusterHead
from seqscan.neighbors import held_out_proteins
from seqscan.novelty import N_LANDMARKS, Novelty, fit_novelty

CENTERS = np.random.default_rng(3).normal(size=(12, 16))
HEAD = ClusterHead(
    CENTERS[:8].astype(np.float32), np.zeros(16, np.float32), np.eye(16, dtype=np.float32), temperature=0.1
)


def proteins(n, clusters, seed):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, clusters, n).astype(np.int32)
    vectors = CENTERS[labels] + generator.normal(0, 0.25, (n, 16))
    return vectors.astype(np.float32), labels


def sureness(vectors):
    return HEAD.probabilities(vectors).max(axis=1)


def fitted(vectors, labels, gather=None):
    rows = np.flatnonzero(held_out_proteins(len(vectors), seed=0))
    gather = gather or (lambda rows: vectors[rows])
    return fit_novelty(gather, labels, HEAD.center, rows, sureness(vectors[rows]), seed=0)


def scores(novelty, vectors):
    return novelty.scores(vectors, sureness(vectors))


@pytest.fixture(scope="module")
def novelty():
    return fitted(*proteins(4000, 8, 0))


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
def test_the_false_alarm_rate_is_what_it_says(novelty, rate):
    fresh = scores(novelty, proteins(20_000, 8, 1)[0])
    share = (fresh >= novelty.threshold(rate)).mean()
    # 400 proteins calibrate: the share is known to within its sampling error.
    assert abs(share - rate) < 4 * np.sqrt(rate * (1 - rate) / 400)


def test_other_families_are_novel(novelty):
    generator = np.random.default_rng(5)
    other = (CENTERS[8:].repeat(50, axis=0) + generator.normal(0, 0.25, (200, 16))).astype(np.float32)
    assert (scores(novelty, other) >= novelty.threshold(0.01)).mean() > 0.9


def test_between_two_clusters_is_more_novel_than_in_one(novelty):
    vectors, _ = proteins(50, 8, 4)
    far, doubtful = novelty.scores(vectors, np.ones(50, np.float32)), np.full(50, 0.5, np.float32)
    np.testing.assert_allclose(
        novelty.scores(vectors, doubtful), far + module.DOUBT_WEIGHT * np.log(2), rtol=1e-6
    )
    assert np.isfinite(novelty.scores(vectors, np.zeros(50, np.float32))).all()


def test_threshold_and_known_shares_agree(novelty):
    some = np.concatenate([novelty.calibration, np.linspace(0, 9, 500, dtype=np.float32)])
    for rate in (0.003, 0.01, 0.05, 0.5):
        beyond = some >= novelty.threshold(rate)
        np.testing.assert_array_equal(beyond, novelty.known_shares(some) <= np.float32(rate + 1e-9))


def test_rates_that_cannot_be(novelty):
    for rate in (0.0, 1.0, -1.0):
        with pytest.raises(InvalidParameter, match="between 0 and 1"):
            novelty.threshold(rate)
    with pytest.raises(ShapeMismatch):
        novelty.scores(np.zeros((3, 5), np.float32), np.ones(3, np.float32))


@pytest.mark.parametrize("n", [2, 56, 98, 99, 400])
def test_a_rate_too_small_to_tell_is_refused_and_the_smallest_named(n):
    calibration = np.linspace(1, 2, n, dtype=np.float32)
    novelty = Novelty(np.eye(2, 4, dtype=np.float32), np.ones(2, np.float32), np.zeros(4), calibration)
    with pytest.raises(InvalidParameter, match=f"calibrated on {n} proteins") as refused:
        novelty.threshold(0.98 * novelty.smallest_rate)
    assert float(refused.value.remedy.split()[1]) == novelty.smallest_rate
    assert novelty.smallest_rate == pytest.approx(1 / (n + 1), abs=1e-5)
    assert novelty.threshold(novelty.smallest_rate) == np.nextafter(calibration[-1], np.float32(3))
    assert novelty.default_rate == max(0.01, novelty.smallest_rate)


def test_read_back_it_says_the_same(novelty, tmp_path):
    novelty.write(tmp_path / "novelty.safetensors")
    again = Novelty.read(tmp_path / "novelty.safetensors")
    vectors, _ = proteins(100, 12, 2)
    np.testing.assert_array_equal(scores(again, vectors), scores(novelty, vectors))


def test_landmarks_are_few_whatever_the_number_of_members(novelty):
    assert len(novelty.landmarks) <= 8 * N_LANDMARKS
    asked = []
    vectors, labels = proteins(4000, 2, 0)
    fitted(vectors, labels, gather=lambda rows: asked.append(len(rows)) or vectors[rows])
    assert max(asked[:-1]) <= 256


def test_new_clusters_are_known_from_then_on(novelty):
    generator = np.random.default_rng(5)
    other = (CENTERS[8] + generator.normal(0, 0.25, (60, 16))).astype(np.float32)
    more = novelty.with_clusters(other[:40], np.where(np.arange(40) < 30, 8, -1), seed=0)
    sure = np.ones(20, np.float32)
    assert (novelty.scores(other[40:], sure) >= novelty.threshold(0.01)).mean() > 0.9
    assert (more.scores(other[40:], sure) >= novelty.threshold(0.01)).mean() < 0.2
    np.testing.assert_array_equal(more.landmarks[: len(novelty.landmarks)], novelty.landmarks)


def test_too_few_to_calibrate():
    vectors, labels = proteins(15, 2, 0)
    assert fitted(vectors, labels) is None


def test_no_more_calibrate_than_needed(monkeypatch):
    monkeypatch.setattr(module, "N_CALIBRATION", 30)
    assert len(fitted(*proteins(4000, 8, 0)).calibration) == 30


def test_sureness_is_that_of_the_proteins_that_calibrate():
    """Each of the held-out ones is as sure as its row says, whichever of them calibrate."""
    vectors, labels = proteins(400, 8, 0)
    rows = np.arange(0, 400, 10)
    labels[rows[::2]] = -1
    given = (1 / (2.0 + rows)).astype(np.float32)
    found = fit_novelty(lambda rows: vectors[rows], labels, HEAD.center, rows, given, seed=0)
    calibrate = rows[1::2]
    np.testing.assert_allclose(
        found.calibration,
        np.sort(found.distances(vectors[calibrate]) + module.DOUBT_WEIGHT * np.log(2.0 + calibrate)),
        rtol=1e-5,
    )
