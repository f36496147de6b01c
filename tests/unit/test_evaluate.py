import numpy as np
import pytest

from seqscan.errors import InputError, InvalidParameter, ShapeMismatch
from seqscan.evaluate import contingency, evaluate, label_free_scores, label_scores, match_clusters
from seqscan.results import Assignments, Scores


def assignments(labels, probabilities=None, second=None, second_probabilities=None, ids=None):
    n = len(labels)
    return Assignments(
        [f"p{i}" for i in range(n)] if ids is None else ids,
        np.array(labels, dtype=np.int32),
        np.array([1.0] * n if probabilities is None else probabilities, dtype=np.float32),
        np.array([-1] * n if second is None else second, dtype=np.int32),
        np.array([0.0] * n if second_probabilities is None else second_probabilities, dtype=np.float32),
    )


def truth(families):
    return {f"p{i}": family for i, family in enumerate(families)}


def test_every_figure_of_a_small_example():
    scores = label_scores(["a"] * 4 + ["b"] * 2, [0, 0, 0, 1, 1, 1])
    assert scores["n_scored"] == 6
    assert (scores["n_families"], scores["n_clusters"]) == (2, 2)
    assert scores["accuracy"] == pytest.approx(5 / 6)
    assert scores["macro_accuracy"] == pytest.approx((3 / 4 + 1) / 2)
    assert scores["purity"] == pytest.approx(5 / 6)
    assert scores["pairwise_precision"] == pytest.approx(4 / 6)
    assert scores["pairwise_recall"] == pytest.approx(4 / 7)
    assert scores["bcubed_precision"] == pytest.approx((3 + 1 / 3 + 4 / 3) / 6)
    assert scores["bcubed_recall"] == pytest.approx((9 / 4 + 1 / 4 + 2) / 6)


def test_more_clusters_than_families_and_the_reverse():
    assert label_scores([0, 0, 0, 0], [0, 0, 1, 2])["accuracy"] == 0.5
    assert label_scores([0, 0, 1, 2], [0, 0, 0, 0])["accuracy"] == 0.5
    assert label_scores([0, 0, 1, 2], [0, 0, 0, 0])["macro_accuracy"] == pytest.approx(1 / 3)


def test_matching_leaves_the_greedy_choice_where_it_costs():
    # Family a prefers cluster 0, but b can only take that one.
    table = contingency(["a"] * 5 + ["b"] * 2, [0, 0, 0, 1, 1, 0, 0])
    assert match_clusters(table).tolist() == [1, 0]


def test_ties_go_to_the_larger_share_of_a_family():
    families, labels = ["a"] * 2 + ["b"] * 4, [0, 0, 0, 0, -1, -1]
    assert match_clusters(contingency(families, labels)).tolist() == [0, -1]
    renamed = np.array(["b"] * 2 + ["a"] * 4)
    assert label_scores(renamed, labels)["macro_accuracy"] == label_scores(families, labels)["macro_accuracy"]


def test_unassigned_proteins_are_errors_and_singletons():
    scores = label_scores([0, 0, 1], [-1, -1, 3])
    assert scores["accuracy"] == pytest.approx(1 / 3)
    assert scores["n_clusters"] == 1
    assert scores["pairwise_recall"] == 0.0
    assert scores["bcubed_recall"] == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert label_scores([0], [-1])["accuracy"] == 0.0


def test_nothing_assigned_at_all():
    scores = evaluate(assignments([-1, -1, -1], [0.2] * 3), truth("aab"), held_out_edges=[(0, 1)])
    assert scores.labelled["accuracy"] == 0.0
    assert scores.labelled["aupr_macro"] == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert scores.label_free["held_out_agreement"] == 0.0
    assert scores.label_free["unassigned_share"] == 1.0
    assert scores.label_free["cluster_entropy_nats"] == 0.0


def test_trivial_partitions():
    one = label_scores([0, 0, 0], [5, 5, 5])
    assert one["nmi"] == one["ami"] == one["ari"] == one["accuracy"] == 1.0
    alone = label_scores([0, 1, 2], [5, 6, 7])
    assert alone["nmi"] == alone["ami"] == alone["ari"] == alone["pairwise_f1"] == 1.0
    split = label_scores([0, 0, 0], [5, 6, 7])
    assert split["homogeneity"] == 1.0
    assert split["completeness"] == split["nmi"] == split["ami"] == split["ari"] == 0.0


@pytest.mark.parametrize(("families", "labels"), [([0, 1], [0]), ([], []), ([[0]], [[0]])])
def test_wrong_shapes(families, labels):
    with pytest.raises(ShapeMismatch):
        label_scores(families, labels)


def test_aupr_uses_the_two_best_clusters():
    found = assignments([0, 0, 1, 1], [0.9, 0.6, 0.8, 0.7], [1, 1, 0, 0], [0.1, 0.4, 0.2, 0.3])
    scores = evaluate(found, truth("aabb")).labelled
    assert scores["aupr_micro"] == scores["aupr_macro"] == 1.0
    wrong = assignments([0, 0, 1, 0], [0.9, 0.6, 0.8, 0.7], [1, 1, 0, 1], [0.1, 0.4, 0.2, 0.3])
    # Family a: ranked a .9, b .7, a .6, b .2. Family b: b .8, a .4, b .3, a .1.
    assert evaluate(wrong, truth("aabb")).labelled["aupr_macro"] == pytest.approx((1 + 2 / 3) / 2)


def test_a_runner_up_that_repeats_the_winner_counts_once():
    twice = assignments([0, 0, 1, 0], [0.9, 0.6, 0.8, 0.7], [0, 0, 1, 0], [0.9, 0.6, 0.8, 0.7])
    once = assignments([0, 0, 1, 0], [0.9, 0.6, 0.8, 0.7])
    assert evaluate(twice, truth("aabb")).labelled == evaluate(once, truth("aabb")).labelled


def test_full_matrix_gives_the_same_aupr_as_the_two_best_of_two():
    matrix = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]])
    found = assignments([0, 0, 1, 0], [0.9, 0.6, 0.8, 0.7], [1, 1, 0, 1], [0.1, 0.4, 0.2, 0.3])
    full = evaluate(found, truth("aabb"), probabilities=matrix).labelled
    short = evaluate(found, truth("aabb")).labelled
    assert full == pytest.approx(short, abs=1e-7)
    with pytest.raises(ShapeMismatch, match="probabilities"):
        evaluate(found, truth("aabb"), probabilities=matrix[:, :1])


def test_deciles_keep_families_of_one_size_together():
    families = [f for f in range(20) for _ in range(1 + f // 2)]
    scores = evaluate(assignments(families), {f"p{i}": str(f) for i, f in enumerate(families)})
    assert [row["decile"] for row in scores.by_decile] == list(range(1, 11))
    assert [row["n_families"] for row in scores.by_decile] == [2] * 10
    assert [row["min_size"] for row in scores.by_decile] == list(range(1, 11))
    assert all(row["accuracy"] == row["bcubed_f1"] == row["aupr_macro"] == 1.0 for row in scores.by_decile)
    assert len(evaluate(assignments([0, 1, 2]), truth("abc")).by_decile) == 1
    ten = [f for f in range(10) for _ in range(f + 1)]
    rows = evaluate(assignments(ten), truth(map(str, ten))).by_decile
    assert [(row["decile"], row["min_size"]) for row in rows] == [(d, d) for d in range(1, 11)]


def test_deciles_add_up_to_the_whole():
    generator = np.random.default_rng(0)
    families = generator.integers(0, 30, 300) // 2
    scores = evaluate(assignments(generator.integers(-1, 12, 300)), truth(map(str, families)))
    rows = scores.by_decile
    total = sum(row["n_proteins"] for row in rows)
    assert total == scores.labelled["n_scored"] == 300
    for name in ("accuracy", "bcubed_precision", "bcubed_recall"):
        assert sum(row[name] * row["n_proteins"] for row in rows) / total == pytest.approx(
            scores.labelled[name]
        )
    for name in ("macro_accuracy", "aupr_macro"):
        whole = sum(row[name] * row["n_families"] for row in rows) / scores.labelled["n_families"]
        assert whole == pytest.approx(scores.labelled[name])


def test_ids_that_do_not_match_are_counted():
    known = {"p0": "a", "p1": "", "other": "a"}
    scores = evaluate(assignments([0, 0, 1]), known)
    counts = {name: scores.labelled[name] for name in ("n_scored", "n_without_truth", "n_truth_unused")}
    assert counts == {"n_scored": 1, "n_without_truth": 2, "n_truth_unused": 1}


@pytest.mark.parametrize("known", [{}, {"x": "a"}, {"p0": ""}])
def test_no_id_in_common_is_an_error(known):
    with pytest.raises(InputError, match="share no label"):
        evaluate(assignments([0, 0]), known)


def test_label_free_figures():
    found = assignments([0, 0, 0, 1, -1, -1], [0.9, 0.8, 0.7, 0.6, 0.3, 0.3])
    scores = label_free_scores(found, [(0, 1), (1, 3), (4, 5), (0, 2)])
    assert scores["n_proteins"] == 6
    assert scores["n_clusters"] == 2
    assert scores["unassigned_share"] == pytest.approx(2 / 6)
    assert scores["largest_share"] == 0.5
    assert scores["held_out_agreement"] == 0.5
    assert scores["chance_agreement"] == pytest.approx((9 + 1) / 36)
    assert scores["cluster_entropy_nats"] == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))
    assert scores["mean_probability"] == pytest.approx(0.6)


def test_no_truth_gives_no_labelled_figure():
    scores = evaluate(assignments([0, 1]))
    assert scores.labelled == {}
    assert scores.by_decile == []
    assert "held_out_agreement" not in scores.label_free
    assert "held_out_agreement" not in label_free_scores(assignments([0, 1]), np.empty((0, 2), int))


@pytest.mark.parametrize("edges", [[0, 1], [[0, 1, 2]]])
def test_edges_must_be_pairs(edges):
    with pytest.raises(ShapeMismatch, match="held_out_edges"):
        label_free_scores(assignments([0, 1, 2]), edges)


@pytest.mark.parametrize("edge", [(0, 3), (-1, 0)])
def test_edges_must_name_rows(edge):
    with pytest.raises(InvalidParameter, match="rows are 0 to 2"):
        label_free_scores(assignments([0, 1, 2]), [edge])


def test_scores_survive_their_file(tmp_path):
    scores = evaluate(assignments([0, 0, 1, -1]), truth("aabb"), held_out_edges=[(0, 1)])
    scores.write(tmp_path / "scores.json")
    assert Scores.read(tmp_path / "scores.json") == scores


def test_foreign_tables_may_use_large_cluster_numbers(tmp_path):
    path = tmp_path / "other.tsv"
    path.write_text("id\tcluster\np0\t2000000000\np1\t2000000000\np2\t7\n")
    assert evaluate(Assignments.read(path), truth("aab")).labelled["aupr_macro"] == 1.0
