"""The fast figures against slow or independent ones."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from sklearn import metrics

from seqscan.evaluate import average_precision, contingency, evaluate, label_scores, match_clusters
from seqscan.evaluate.partition import expected_mutual_information
from seqscan.results import Assignments

SHAPES = [(1, 1, 5), (2, 9, 40), (9, 2, 40), (30, 30, 60), (12, 50, 200), (50, 12, 200), (40, 40, 2000)]


def labelings(seed):
    generator = np.random.default_rng(seed)
    for n_families, n_clusters, n in SHAPES:
        share = 1 / np.arange(1, n_families + 1)
        families = generator.choice(n_families, n, p=share / share.sum())
        labels = np.where(
            generator.random(n) < 0.6, families % n_clusters, generator.integers(0, n_clusters, n)
        )
        yield families, labels


@pytest.mark.parametrize("limit", [0, 200_000])
@pytest.mark.parametrize("seed", range(40))
def test_sparse_matching_is_as_good_as_dense(seed, limit, monkeypatch):
    monkeypatch.setattr("seqscan.evaluate.partition._MAX_CELLS_TO_SETTLE_TIES", limit)
    for families, labels in labelings(seed):
        table = contingency(families, labels)
        dense = table.counts.toarray()
        matched = match_clusters(table)
        has = matched >= 0
        assert len(np.unique(matched[has])) == has.sum()
        assert dense[has, matched[has]].sum() == dense[linear_sum_assignment(dense, maximize=True)].sum()


@pytest.mark.parametrize("seed", range(5))
def test_information_and_rand_figures_equal_those_of_sklearn(seed):
    for families, labels in labelings(seed):
        scores = label_scores(families, labels)
        expected = {
            "nmi": metrics.normalized_mutual_info_score(families, labels),
            "ami": metrics.adjusted_mutual_info_score(families, labels),
            "ari": metrics.adjusted_rand_score(families, labels),
            "homogeneity": metrics.homogeneity_score(families, labels),
            "completeness": metrics.completeness_score(families, labels),
            "v_measure": metrics.v_measure_score(families, labels),
        }
        assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("n", [60, 1_000, 10_000])
@pytest.mark.parametrize("skew", [0.0, 1.0, 3.0])
def test_expected_mutual_information_equals_that_of_sklearn(n, skew):
    generator = np.random.default_rng(n)
    share = (1 / np.arange(1, 31)) ** skew
    families = generator.choice(30, n, p=share / share.sum())
    table = contingency(families, generator.choice(30, n, p=share / share.sum()))
    expected = metrics.cluster.expected_mutual_information(table.counts.tocsr(), n)
    found = expected_mutual_information(table.family_sizes, table.cluster_sizes)
    assert found == pytest.approx(expected, rel=1e-7 if n == 10_000 else 1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_pairwise_and_bcubed_equal_loops_over_pairs(seed):
    generator = np.random.default_rng(seed)
    families = generator.integers(0, 7, 60)
    labels = generator.integers(-1, 9, 60)
    n = len(labels)
    together = [[i == j or (labels[i] == labels[j] != -1) for j in range(n)] for i in range(n)]
    kin = [[families[i] == families[j] for j in range(n)] for i in range(n)]
    pairs = [(i, j) for i in range(n) for j in range(i)]
    both = sum(together[i][j] and kin[i][j] for i, j in pairs)
    precision = both / sum(together[i][j] for i, j in pairs)
    recall = both / sum(kin[i][j] for i, j in pairs)
    scores = label_scores(families, labels)
    assert scores["pairwise_precision"] == pytest.approx(precision)
    assert scores["pairwise_recall"] == pytest.approx(recall)
    assert scores["pairwise_f1"] == pytest.approx(2 * precision * recall / (precision + recall))
    shared = [sum(t and k for t, k in zip(*rows, strict=True)) for rows in zip(together, kin, strict=True)]
    assert scores["bcubed_precision"] == pytest.approx(
        np.mean([s / sum(t) for s, t in zip(shared, together, strict=True)])
    )
    assert scores["bcubed_recall"] == pytest.approx(
        np.mean([s / sum(k) for s, k in zip(shared, kin, strict=True)])
    )


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_equals_that_of_sklearn(seed):
    generator = np.random.default_rng(seed)
    dense = np.round(generator.random((80, 4)) * (generator.random((80, 4)) < 0.4), 1)  # ties and zeros
    positive = generator.random((80, 4)) < 0.3
    item, group = np.nonzero(dense)
    areas = average_precision(dense[item, group], positive[item, group], group, positive.sum(axis=0), 80)
    expected = [metrics.average_precision_score(positive[:, g], dense[:, g]) for g in range(4)]
    assert areas == pytest.approx(expected)


@pytest.mark.parametrize("n_clusters", [4, 8])
def test_aupr_of_assignments_equals_that_of_sklearn(n_clusters):
    generator = np.random.default_rng(n_clusters)
    n, names = 200, np.array(list("abcdef"))
    families = generator.integers(0, 6, n)
    matrix = generator.dirichlet(np.full(n_clusters, 0.3), n)
    matrix[np.arange(n), families % n_clusters] += 0.5
    matrix = (matrix / 1.5).astype(np.float32)
    best = np.argsort(-matrix, axis=1)[:, :2]
    rows = np.arange(n)
    found = Assignments(
        [f"p{i}" for i in rows], best[:, 0].astype(np.int32), matrix[rows, best[:, 0]],
        best[:, 1].astype(np.int32), matrix[rows, best[:, 1]],
    )  # fmt: skip
    truth = dict(zip(found.ids, names[families], strict=True))
    table = contingency(families, best[:, 0])
    matched = match_clusters(table)
    two_best = np.zeros_like(matrix)
    np.put_along_axis(two_best, best, np.take_along_axis(matrix, best, axis=1), axis=1)
    for given, known in ((None, two_best), (matrix, matrix)):
        claims = np.zeros((n, 6))
        for family, column in enumerate(matched):
            if column >= 0:
                claims[:, family] = known[:, table.clusters[column]]
        positive = np.eye(6, dtype=bool)[families]
        scores = evaluate(found, truth, probabilities=given).labelled
        assert scores["aupr_macro"] == pytest.approx(
            metrics.average_precision_score(positive, claims, average="macro")
        )
        assert scores["aupr_micro"] == pytest.approx(
            metrics.average_precision_score(positive, claims, average="micro")
        )
