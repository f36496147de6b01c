import json
import random
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from seqscan import baselines, pipeline
from seqscan.alphabet import AMINO
from seqscan.baselines import (
    BaselineRow,
    aggregate,
    composition,
    kmeans_on_pca,
    kmers,
    label_propagation,
    leiden,
    run_baselines,
    shuffled,
)
from seqscan.discovery import DiscoveryConfig
from seqscan.errors import InvalidParameter, MissingDependency, SeqscanWarning, ShapeMismatch
from seqscan.evaluate import label_scores


def encode(*texts):
    return [AMINO.encode(text) for text in texts]


def blobs(n_blobs=6, size=25, seed=0):
    """Vectors in well-separated blobs, their blob, and their exact neighbor graph."""
    generator = np.random.default_rng(seed)
    blob = np.repeat(np.arange(n_blobs), size)
    vectors = generator.normal(size=(n_blobs, 16))[blob] + 0.1 * generator.normal(size=(n_blobs * size, 16))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -2)
    indices = np.argsort(-cosine, axis=1)[:, :8].astype(np.int32)
    return vectors, blob, indices, np.take_along_axis(cosine, indices, axis=1).astype(np.float32)


def test_composition_leaves_uncertain_residues_out():
    features = composition(encode("AACX", "W", "XXA"))
    assert features.shape == (3, 20)
    assert features.sum(axis=1) == pytest.approx(1)
    assert features[0, :2] == pytest.approx([2 / 3, 1 / 3])
    assert features[2, 0] == 1


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("block", [1, 2, 8192])
def test_kmers_equal_a_loop(k, block, monkeypatch):
    monkeypatch.setattr(baselines, "_BLOCK_SEQUENCES", block)
    texts = ["MKVMKV", "ACX", "AC", "A", "YYYYXYYY"]
    expected = np.zeros((len(texts), 20**k))
    for row, text in enumerate(texts):
        for start in range(len(text) - k + 1):
            word = text[start : start + k]
            if "X" not in word:
                column = 0
                for symbol in word:
                    column = 20 * column + int(AMINO.encode(symbol)[0]) - 1
                expected[row, column] += 1
    length = np.linalg.norm(expected, axis=1, keepdims=True)
    expected = np.divide(expected, length, out=expected, where=length > 0)
    assert kmers(encode(*texts), k).toarray() == pytest.approx(expected, abs=1e-6)


def test_k_out_of_range():
    with pytest.raises(InvalidParameter):
        kmers(encode("MK"), 0)


def test_shuffled_keeps_composition_and_seed():
    sequences = encode("MKVLAAGGWYFPST" * 5, "ACDEFGHIKL" * 5)
    once, again, other = shuffled(sequences, 1), shuffled(sequences, 1), shuffled(sequences, 2)
    assert composition(once) == pytest.approx(composition(sequences))
    assert all((a == b).all() for a, b in zip(once, again, strict=True))
    assert any((a != b).any() for a, b in zip(once, other, strict=True))
    assert any((a != b).any() for a, b in zip(once, sequences, strict=True))


@pytest.mark.parametrize("limit", [0, 10**8])
def test_kmeans_finds_blobs(limit, monkeypatch):
    monkeypatch.setattr(baselines, "_MAX_DISTANCES", limit)
    vectors, blob, _, _ = blobs()
    labels = kmeans_on_pca(vectors, 6, seed=0)
    assert label_scores(blob, labels)["ari"] == pytest.approx(1)
    assert (labels == kmeans_on_pca(vectors, 6, seed=0)).all()


def test_kmeans_takes_sparse_features_and_checks_the_number():
    features = kmers(encode("AAAAAA", "AAAAAC", "WWWWWW"), 3)
    labels = kmeans_on_pca(features, 2, seed=0)
    assert labels[0] == labels[1] != labels[2]
    with pytest.raises(InvalidParameter, match="n_clusters"):
        kmeans_on_pca(features, 4, seed=0)


@pytest.mark.parametrize("objective", ["CPM", "modularity"])
def test_leiden_reaches_the_number_asked_for(objective):
    _, blob, indices, similarities = blobs()
    found = leiden(indices, similarities, n_clusters=6, objective=objective)
    assert found.n_clusters == len(np.unique(found.labels)) == 6
    assert label_scores(blob, found.labels)["ari"] == pytest.approx(1)
    assert leiden(indices, similarities, n_clusters=150, objective=objective).n_clusters == 150
    again = leiden(indices, similarities, resolution=found.resolution, objective=objective)
    assert again.n_clusters == 6


def test_leiden_says_what_it_got_if_the_number_is_out_of_reach():
    indices = np.array([[1], [0], [3], [2], [-1]], dtype=np.int32)
    assert leiden(indices, np.ones((5, 1), np.float32), n_clusters=2).n_clusters == 3


def test_same_seed_same_communities_and_no_trace_in_the_random_module():
    _, _, indices, similarities = blobs(n_blobs=12, size=12, seed=1)
    random.seed(7)
    expected = random.random()
    random.seed(7)
    runs = [leiden(indices, similarities, n_clusters=30, seed=3) for _ in range(2)]
    assert (runs[0].labels == runs[1].labels).all()
    runs = [label_propagation(indices, similarities, seed=3) for _ in range(2)]
    assert (runs[0].labels == runs[1].labels).all()
    assert random.random() == expected


def test_igraph_draws_from_the_random_module_again_afterwards():
    igraph = pytest.importorskip("igraph")
    _, _, indices, similarities = blobs()
    drawn = []
    for _ in range(2):
        random.seed(7)
        drawn.append(igraph.Graph.Erdos_Renyi(20, 0.5).get_edgelist())
        leiden(indices, similarities, resolution=0.5)
    assert drawn[0] == drawn[1]


def test_label_propagation_finds_blobs():
    _, blob, indices, similarities = blobs()
    found = label_propagation(indices, similarities)
    assert found.n_clusters == len(np.unique(found.labels))
    assert label_scores(blob, found.labels)["homogeneity"] == pytest.approx(1)


def test_edges_without_similarity_and_to_oneself_do_not_count():
    indices = np.array([[0, 1], [0, 2], [1, 2]], dtype=np.int32)
    similarities = np.array([[1, 0.5], [0.5, -0.1], [-0.1, 1]], dtype=np.float32)
    for objective in ("CPM", "modularity"):
        found = leiden(indices, similarities, resolution=0.01, objective=objective)
        assert found.labels.tolist() == [0, 0, 1]
    opposed = np.array([[1], [0]], np.int32), np.full((2, 1), -0.5, np.float32)
    assert label_propagation(*opposed).n_clusters == 2


@pytest.mark.parametrize("indices", [[[-1], [0]], [[1], [-1]]])
def test_one_protein_naming_the_other_is_an_edge(indices):
    one = np.ones((2, 1), np.float32)
    assert leiden(np.array(indices, np.int32), one, resolution=0.01).n_clusters == 1


def test_malformed_graphs_and_arguments():
    one = np.ones((2, 1), np.float32)
    with pytest.raises(ShapeMismatch):
        leiden(np.zeros((2, 2), np.int32), one, n_clusters=1)
    with pytest.raises(InvalidParameter, match="rows are 0 to 1"):
        leiden(np.array([[2], [0]], np.int32), one, n_clusters=1)
    for both in ({}, {"n_clusters": 1, "resolution": 1.0}):
        with pytest.raises(InvalidParameter, match="resolution"):
            leiden(np.array([[1], [0]], np.int32), one, **both)
    with pytest.raises(InvalidParameter, match="max_tries"):
        leiden(np.array([[1], [0]], np.int32), one, n_clusters=1, max_tries=0)


def test_missing_igraph_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "igraph", None)
    with pytest.raises(MissingDependency, match="pip install"):
        leiden(np.array([[1], [0]], np.int32), np.ones((2, 1), np.float32), n_clusters=1)


def test_run_baselines_yields_each_method_and_seed(monkeypatch):
    monkeypatch.setattr(baselines, "find_mmseqs", lambda: "mmseqs")
    calls = []

    def clusters(sequences, *, options, threads):
        calls.append(options)
        return np.arange(len(sequences))

    monkeypatch.setattr(baselines, "mmseqs_clusters", clusters)
    vectors, blob, indices, similarities = blobs(n_blobs=3, size=10)
    sequences = [np.full(12, 1 + b, dtype=np.uint8) for b in blob]
    rows = list(run_baselines(sequences, 3, seeds=[0, 1], vectors=vectors, graph=(indices, similarities)))
    seeded = [
        "random", "kmeans_length", "kmeans_composition", "leiden_composition", "kmeans_2mers", "kmeans_3mers",
        "kmeans_vectors", "leiden_cpm", "leiden_modularity", "label_propagation",
    ]  # fmt: skip
    expected = [(m, s) for m in seeded for s in (0, 1)] + [("mmseqs2", None), ("mmseqs2_sensitive", None)]
    assert [(row.method, row.seed) for row in rows] == expected
    assert all(row.labels.shape == (30,) and row.seconds >= 0 for row in rows)
    assert calls == [(), baselines.MMSEQS_SENSITIVE]
    summaries = {s.method: s for s in aggregate(rows, lambda labels: label_scores(blob, labels))}
    assert summaries["kmeans_composition"].mean["accuracy"] == 1.0
    assert summaries["leiden_cpm"].sd["accuracy"] == pytest.approx(0)
    assert summaries["mmseqs2"].sd == {}
    assert summaries["random"].n_runs == 2


def test_what_is_not_installed_is_left_out_with_a_warning(monkeypatch):
    monkeypatch.setattr(baselines, "find_mmseqs", lambda: None)
    monkeypatch.setitem(sys.modules, "igraph", None)
    _, blob, indices, similarities = blobs(n_blobs=2, size=10)
    sequences = [np.full(12 + b, 1 + b, dtype=np.uint8) for b in blob]
    with pytest.warns(SeqscanWarning) as caught:
        rows = list(run_baselines(sequences, 2, seeds=[0], graph=(indices, similarities)))
    assert {row.method for row in rows} == {
        "random", "kmeans_length", "kmeans_composition", "kmeans_2mers", "kmeans_3mers",
    }  # fmt: skip
    assert [str(w.message).split()[0] for w in caught] == [
        "leiden_composition", "leiden_cpm", "leiden_modularity", "label_propagation", "mmseqs2",
    ]  # fmt: skip


def test_mean_and_deviation():
    rows = [BaselineRow("a", s, np.full(3, s), float(s)) for s in (1, 2, 6)]
    (summary,) = aggregate(rows, lambda labels: {"first": float(labels[0])})
    assert summary.mean == {"first": 3.0, "seconds": 3.0}
    assert summary.sd["first"] == pytest.approx(np.std([1, 2, 6], ddof=1))
    assert rows[0].n_clusters == 1


def test_an_empty_label_is_none(tmp_path, monkeypatch):
    row = BaselineRow("m", 0, np.array([0, 0, 1]), 0.0)
    monkeypatch.setattr(pipeline, "run_baselines", lambda *rest, **options: [row])
    graph = SimpleNamespace(indices=np.zeros((3, 1), np.int32))
    partition = SimpleNamespace(
        corpus=SimpleNamespace(ids=["a", "b", "c"]), found=SimpleNamespace(graph=graph, vectors=None)
    )
    job = SimpleNamespace(config=pipeline.RunConfig(DiscoveryConfig(n_clusters=2)))
    pipeline._baselines(job, partition, {"a": "PF1", "b": "PF2", "c": ""}, tmp_path / "b.json")
    (scores,) = json.loads((tmp_path / "b.json").read_text())
    assert (scores["n_scored"], scores["n_families"]) == (2, 2)
