import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqscan.evaluate import evaluate, label_scores
from seqscan.results import Assignments

COUNTS = {"n_scored", "n_families", "n_clusters"}
pairs = st.lists(st.tuples(st.integers(0, 6), st.integers(-1, 6)), min_size=1, max_size=60)


def assign(labels, order):
    n = len(labels)
    probabilities = (1 + np.arange(n, dtype=np.float32)) / n
    none = np.full(n, -1, np.int32)
    return Assignments(
        [f"p{i}" for i in order],
        labels[order].astype(np.int32),
        probabilities[order],
        none,
        0 * probabilities,
    )


@given(pairs, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_order_of_proteins_changes_nothing(rows, random):
    families, labels = np.array(rows).T
    order = list(range(len(rows)))
    truth = {f"p{i}": str(family) for i, family in enumerate(families)}
    straight = evaluate(assign(labels, order), truth)
    random.shuffle(order)
    shuffled = evaluate(assign(labels, order), truth)
    assert shuffled.labelled == pytest.approx(straight.labelled)
    assert shuffled.label_free == pytest.approx(straight.label_free)
    assert len(shuffled.by_decile) == len(straight.by_decile)


@given(pairs, st.permutations(range(7)), st.permutations(range(7)))
@settings(max_examples=60, deadline=None)
def test_names_of_clusters_and_families_change_nothing(rows, family_names, cluster_names):
    families, labels = np.array(rows).T
    renamed = np.where(labels < 0, -1, np.array(cluster_names)[labels])
    other = label_scores(np.array(family_names)[families].astype(str), renamed)
    assert other == pytest.approx(label_scores(families, labels))


@given(st.lists(st.integers(0, 8), min_size=1, max_size=60), st.permutations(range(9)))
@settings(max_examples=60, deadline=None)
def test_a_perfect_clustering_has_1_everywhere(families, names):
    families = np.array(families)
    labels = np.array(names)[families]
    truth = {f"p{i}": str(family) for i, family in enumerate(families)}
    scores = evaluate(assign(labels, list(range(len(labels)))), truth)
    figures = {k: v for k, v in scores.labelled.items() if not k.startswith("n_")}
    assert figures == pytest.approx(dict.fromkeys(figures, 1.0))
    assert all(row["accuracy"] == row["aupr_macro"] == 1.0 for row in scores.by_decile)


@given(pairs)
@settings(max_examples=60, deadline=None)
def test_figures_lie_in_their_ranges(rows):
    families, labels = np.array(rows).T
    scores = label_scores(families, labels)
    for name, value in scores.items():
        if name not in COUNTS | {"ami", "ari"}:
            assert 0 <= value <= 1 + 1e-12, name
    assert -1 <= scores["ari"] <= 1
    assert scores["ami"] <= 1 + 1e-9
    assert scores["accuracy"] <= scores["purity"]
