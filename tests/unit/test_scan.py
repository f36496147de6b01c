"""Training heads: the sampler, the running mean, self-labelling, merging, and the clusters they find."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from seqscan.errors import InvalidParameter, OneCluster
from seqscan.head import ClusterHead, Whitening
from seqscan.losses import scan_loss
from seqscan.neighbors import ExactNeighbors, NeighborGraph, held_out_proteins
from seqscan.scan import ScanConfig, discover, over_provision
from seqscan.scan import heads as module
from seqscan.scan.heads import (
    NeighborSampler,
    RunningMean,
    fit_heads,
    held_out_scores,
    self_label,
    spread_points,
)
from seqscan.store import unit

EYE = np.eye(2, dtype=np.float32)
SMALL = ScanConfig(n_heads=2, n_steps=60)


def blobs(sizes, *, spread=0.15, seed=0):
    """Points around the axes: vectors (N, P) and which axis each belongs to."""
    generator = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    vectors = np.eye(len(sizes))[truth] + generator.normal(0, spread, (len(truth), len(sizes)))
    return vectors.astype(np.float32), truth


def corners(sizes, *, spread=0.1):
    """Blobs around the corners of a triangle, or around two points: no direction is noise alone."""
    vectors, truth = blobs(sizes, spread=spread)
    _, _, directions = np.linalg.svd(np.eye(len(sizes)) - 1 / len(sizes))
    return (vectors @ directions[: len(sizes) - 1].T).astype(np.float32), truth


def same_partition(labels, truth):
    return len(set(zip(labels.tolist(), truth.tolist(), strict=True))) == len(set(truth)) == len(set(labels))


def near(vectors, k=8):
    return ExactNeighbors(vectors - vectors.mean(axis=0)).neighbors(k)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


class TestNeighborSampler:
    graph = NeighborGraph(
        np.array([[1, 2], [2, -1], [-1, -1], [0, -1]], np.int32),
        np.array([[0, 1], [0, np.inf], [np.inf, np.inf], [0, np.inf]], np.float32),
        "test",
    )

    def test_draws_neighbors_and_never_itself(self):
        pairs = NeighborSampler(self.graph).draw(500, np.random.default_rng(0))
        assert pairs.shape == (500, 2)
        assert {tuple(pair) for pair in pairs.tolist()} == {(0, 1), (0, 2), (1, 2), (3, 0)}

    def test_anchors_and_neighbors_come_evenly(self):
        pairs = NeighborSampler(self.graph).draw(3000, np.random.default_rng(0))
        anchors = np.bincount(pairs[:, 0], minlength=4)
        assert anchors[2] == 0
        np.testing.assert_allclose(anchors[[0, 1, 3]], 1000, atol=120)
        assert abs((pairs[pairs[:, 0] == 0, 1] == 1).mean() - 0.5) < 0.06

    def test_small_batches_hold_no_anchor_twice(self):
        pairs = NeighborSampler(self.graph).draw(3, np.random.default_rng(0))
        assert sorted(pairs[:, 0].tolist()) == [0, 1, 3]

    def test_same_seed_same_pairs(self):
        sampler = NeighborSampler(self.graph)
        first, second = (sampler.draw(20, np.random.default_rng(4)) for _ in range(2))
        np.testing.assert_array_equal(first, second)

    def test_no_neighbors_at_all(self):
        empty = NeighborGraph(np.full((3, 2), -1, np.int32), np.full((3, 2), np.inf, np.float32), "test")
        with pytest.raises(InvalidParameter, match="no protein has a neighbor"):
            NeighborSampler(empty)


class TestRunningMean:
    def test_gradient_is_that_of_the_batch_mean(self):
        torch.manual_seed(0)
        mean = RunningMean(5, 4)
        mean(torch.softmax(torch.randn(4, 5), dim=1))
        logits = torch.randn(4, 5, requires_grad=True)
        weights = torch.arange(5.0)
        (mean(torch.softmax(logits, dim=1)) @ weights).backward()
        own = logits.detach().clone().requires_grad_()
        (torch.softmax(own, dim=1).mean(dim=0) @ weights).backward()
        torch.testing.assert_close(logits.grad, own.grad)

    def test_value_is_a_mean_over_a_window_of_ten_c_samples(self):
        mean = RunningMean(5, 10)
        assert mean.keep == pytest.approx(1 - 10 / 50)
        first, second = (torch.eye(5)[[c] * 10] for c in (0, 1))
        torch.testing.assert_close(mean(first), torch.eye(5)[0])
        torch.testing.assert_close(mean(second), 0.8 * torch.eye(5)[0] + 0.2 * torch.eye(5)[1])
        for _ in range(5):
            value = mean(second)
        assert value[0] == pytest.approx(0.8**6)

    def test_large_batches_need_no_window(self):
        mean = RunningMean(5, 50)
        for c in (0, 1):
            torch.testing.assert_close(mean(torch.eye(5)[[c] * 50]), torch.eye(5)[c])

    def test_keeps_no_graph(self):
        mean = RunningMean(3, 4)
        for _ in range(3):
            mean(torch.softmax(torch.randn(4, 3, requires_grad=True), dim=1)).sum().backward()
        assert not mean.value.requires_grad


class TestFitHeads:
    def test_two_clear_blobs_are_found(self):
        vectors, truth = corners([30, 20])
        rest, held_out = near(vectors).hold_out(0.1, seed=0)
        fits = fit_heads(vectors, rest, held_out, 2, SMALL, seed=0)
        assert len(fits) == 2
        assert fits[0].loss <= fits[1].loss
        assert fits[0].agreement == 1.0
        assert fits[0].clusters_used == 2
        assert same_partition(fits[0].head.logits(vectors).argmax(axis=1), truth)

    def test_same_seed_same_head(self):
        vectors, _ = blobs([30, 20, 10])
        graph = near(vectors)
        first, second, other = (
            fit_heads(vectors, graph, graph.edges(), 4, SMALL, seed=seed)[0].head.prototypes
            for seed in (1, 1, 2)
        )
        np.testing.assert_array_equal(first, second)
        assert not np.array_equal(first, other)

    def test_begins_from_what_is_given_and_tells_its_losses(self):
        vectors, _ = blobs([10, 10])
        graph = near(vectors)
        rows = []
        begin = unit(np.random.default_rng(0).normal(size=(1, 2, 2)).astype(np.float32)[0])[None]
        config = ScanConfig(n_steps=1, learning_rate=1e-9)
        (fit,) = fit_heads(
            vectors, graph, graph.edges(), 2, config, seed=0, initial=begin, on_step=rows.append
        )
        np.testing.assert_allclose(fit.head.prototypes, begin[0], atol=1e-5)
        assert [set(row) for row in rows] == [{"step", "total", "consistency", "entropy"}]

    def test_distant_members_of_a_piece_stay_with_it(self):
        # A tenth of the first piece points where the second is: neighbors alone would give it away.
        generator = np.random.default_rng(0)
        angles = np.concatenate([np.full(90, 0.0), np.full(10, 1.1), np.full(12, 1.6)])
        angles += generator.normal(0, 0.1, len(angles))
        vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
        pieces = np.repeat([0, 1], [100, 12])
        graph = near(vectors)
        whitening = Whitening(np.zeros(2, np.float32), EYE)
        begin = np.array([[[1.0, 0.0], [0.0, 1.0]]], np.float32)

        def followed(label_weight: float) -> float:
            config = replace(SMALL, n_steps=200, label_weight=label_weight)
            (fit,) = fit_heads(
                vectors,
                graph,
                graph.edges(),
                2,
                config,
                seed=0,
                initial=begin,
                whitening=whitening,
                labels=pieces,
            )
            return float((fit.head.logits(vectors).argmax(axis=1) == pieces).mean())

        assert followed(ScanConfig().label_weight) > 0.95 > followed(0.0)

    @pytest.mark.parametrize("n_clusters", [1, 21])
    def test_impossible_numbers_are_refused(self, n_clusters):
        vectors, _ = blobs([10, 10])
        graph = near(vectors)
        with pytest.raises(InvalidParameter, match="must be 2 to 20"):
            fit_heads(vectors, graph, graph.edges(), n_clusters, SMALL, seed=0)


def test_held_out_scores_are_those_of_all_vectors_and_the_pairs():
    vectors, _ = blobs([6, 4])
    head = ClusterHead(EYE, vectors.mean(axis=0), EYE, 0.1)
    pairs = np.array([[0, 1], [0, 9], [8, 9]])
    fit = held_out_scores(head, vectors, pairs)
    assert fit.agreement == pytest.approx(2 / 3)
    assert fit.modularity == pytest.approx(2 / 3 - 0.6**2 - 0.4**2)
    assert fit.clusters_used == 2
    logits = torch.from_numpy(head.logits(vectors))
    shares = torch.from_numpy(head.probabilities(vectors).mean(axis=0))
    expected = scan_loss(logits[[0, 0, 8]], logits[[1, 9, 9]], entropy_weight=1.0, mean=lambda _: shares)
    assert fit.loss == pytest.approx(float(expected.total), abs=1e-5)


def test_no_held_out_pairs_is_no_error():
    vectors, _ = blobs([6, 4])
    head = ClusterHead(EYE, vectors.mean(axis=0), EYE, 0.1)
    assert np.isfinite(held_out_scores(head, vectors, np.empty((0, 2), np.int64)).loss)


class TestSelfLabel:
    @staticmethod
    def begun():
        vectors, truth = blobs([30, 20])
        pairs = near(vectors).edges()
        directions = np.eye(2, dtype=np.float32) - vectors.mean(axis=0)
        head = ClusterHead(unit(directions), vectors.mean(axis=0), EYE, 0.1)
        return vectors, truth, pairs, held_out_scores(head, vectors, pairs)

    def test_sharpens_what_is_clear(self):
        vectors, truth, pairs, fit = self.begun()
        new, kept = self_label(fit, vectors, pairs, seed=0, n_steps=20)
        assert kept
        assert new.agreement >= fit.agreement
        assert same_partition(new.head.logits(vectors).argmax(axis=1), truth)

    def test_rolls_back_when_agreement_falls(self, monkeypatch):
        vectors, _, pairs, fit = self.begun()
        worse = replace(fit, loss=fit.loss - 1, agreement=fit.agreement - 0.01)
        monkeypatch.setattr(module, "held_out_scores", lambda *arguments: worse)
        kept_fit, kept = self_label(fit, vectors, pairs, seed=0, n_steps=2)
        assert not kept
        assert kept_fit is fit

    def test_rolls_back_when_a_cluster_dies(self, monkeypatch):
        vectors, _, pairs, fit = self.begun()
        fewer = replace(fit, loss=fit.loss - 1, clusters_used=fit.clusters_used - 1)
        monkeypatch.setattr(module, "held_out_scores", lambda *arguments: fewer)
        assert self_label(fit, vectors, pairs, seed=0, n_steps=2) == (fit, False)

    def test_does_nothing_when_nothing_is_sure(self):
        vectors, _, pairs, fit = self.begun()
        assert self_label(fit, vectors, pairs, seed=0, threshold=1.01) == (fit, False)

    def test_leaves_the_old_head_as_it_was(self):
        vectors, _, pairs, fit = self.begun()
        before = fit.head.prototypes.copy()
        self_label(fit, vectors, pairs, seed=0, n_steps=5)
        np.testing.assert_array_equal(fit.head.prototypes, before)


def test_known_clusters_teach_a_head():
    vectors, truth = corners([30, 30, 30])
    begin = unit(np.random.default_rng(0).normal(size=(3, vectors.shape[1])).astype(np.float32))
    for shift in range(3):  # whatever the prototypes begin as, each becomes the cluster it is told to be
        known = np.where(np.arange(90) % 3 == 0, (truth + shift) % 3, -1)
        (fit,) = fit_heads(
            vectors,
            near(vectors),
            np.zeros((0, 2), np.int64),
            3,
            replace(SMALL, n_steps=300, learning_rate=0.05),
            seed=0,
            initial=begin[None],
            labels=known,
        )
        assert fit.head.logits(vectors).argmax(axis=1).tolist() == ((truth + shift) % 3).tolist()


class TestDiscover:
    @pytest.mark.parametrize("n_clusters", [3, None])
    def test_clear_clusters_are_found_and_numbered_by_size(self, n_clusters):
        vectors, truth = corners([15, 40, 25])
        found = discover(vectors, near(vectors), n_clusters, SMALL, seed=0)
        fit, notes = found.fit, found.notes
        labels = fit.head.logits(vectors).argmax(axis=1)
        assert same_partition(labels, truth)
        assert np.bincount(labels).tolist() == [40, 25, 15]
        assert found.held_out.shape[1] == 2
        assert len(found.sureness) == held_out_proteins(80, seed=0).sum() == 8
        assert ((found.sureness > 1 / 3) & (found.sureness <= 1)).all()
        assert notes["began_from"] in notes["excess_agreement"]
        assert fit.modularity == pytest.approx(0.62, abs=0.05)

    def test_heads_begin_from_the_parts_of_the_alignments(self):
        vectors, truth = blobs([15, 40, 25])
        own = np.arange(80)
        chain = np.where(np.roll(truth, -1) == truth, np.roll(own, -1), -1).astype(np.int32)[:, None]
        trusted = NeighborGraph(chain, np.where(chain < 0, np.inf, 0).astype(np.float32), "alignment")
        found = discover(vectors, near(vectors), 3, SMALL, seed=0, trusted=trusted, pieces=truth)
        fit, notes = found.fit, found.notes
        assert notes["began_from"] == "alignment"
        assert list(notes["excess_agreement"])[:2] == ["alignment", "alignment, temperature 0.05"]
        assert len(notes["excess_agreement"]) == 2, "the sharper one was no better"
        assert notes["hidden_proteins_placed"] == 1.0
        assert same_partition(fit.head.logits(vectors).argmax(axis=1), truth)

    def test_one_family_is_an_error_that_says_what_to_do(self):
        vectors, _ = blobs([30, 30])
        with pytest.raises(OneCluster, match=r"one cluster.*Give a number of clusters.*other families"):
            discover(vectors, near(vectors), None, SMALL, seed=0, pieces=np.zeros(60, dtype=np.int64))

    def test_same_seed_same_result(self):
        vectors, _ = blobs([15, 40, 25], spread=0.5)
        graph = near(vectors)
        first, second = (discover(vectors, graph, 3, SMALL, seed=5) for _ in range(2))
        np.testing.assert_array_equal(first.fit.head.prototypes, second.fit.head.prototypes)
        np.testing.assert_array_equal(first.sureness, second.sureness)
        assert first.notes == second.notes


@pytest.mark.parametrize(
    ("n_proteins", "n_clusters", "expected"),
    [(4, 2, 2), (5, 4, 4), (999, 10, 20), (45, 10, 15), (9999, None, 198)],
)
def test_over_provision(n_proteins, n_clusters, expected):
    assert over_provision(n_proteins, n_clusters) == expected


def test_spread_points_come_from_every_blob():
    vectors, truth = blobs([200, 5, 5], spread=0.02)
    points = unit(vectors)
    for seed in range(5):
        chosen = spread_points(points, 3, np.random.default_rng(seed))
        rows = [int(np.flatnonzero((points == point).all(axis=1))[0]) for point in chosen]
        assert set(truth[rows]) == {0, 1, 2}


def test_spread_points_of_copies():
    assert spread_points(np.ones((5, 1), np.float32), 3, np.random.default_rng(0)).shape == (3, 1)
