"""Heads from a store: the gradient of autograd, the clusters of the data, and the same after a kill."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from seqscan import store as store_module
from seqscan.artifact import read_manifest
from seqscan.encoder import load_encoder
from seqscan.errors import InvalidParameter
from seqscan.head import fit_whitening
from seqscan.losses import scan_loss
from seqscan.neighbors import (
    ExactNeighbors,
    NeighborGraph,
    index_recall,
    inverted_file,
    mine_neighbors,
    vector_neighbors,
)
from seqscan.results import Assignments
from seqscan.scaling import ScalingConfig, cluster_store
from seqscan.scan import StreamConfig, stream_head, stream_labels, stream_whitening
from seqscan.scan import streaming as module
from seqscan.scan.streaming import pair_gradient, spread_prototypes
from seqscan.store import write_store

N, K, P = 1200, 12, 16
CONFIG = StreamConfig(n_epochs=4, min_steps=1, batch_size=128, learning_rate=0.05)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(store_module, "SHARD_ROWS", 500)
    monkeypatch.setattr(module, "BLOCK_ROWS", 400)


@pytest.fixture
def truth():
    return np.random.default_rng(0).integers(0, K, N)


@pytest.fixture
def store(tmp_path, truth, one_thread):
    generator = np.random.default_rng(1)
    centers = generator.normal(size=(K, P))
    vectors = (centers[truth] + generator.normal(0, 0.3, (N, P)) + 2.0).astype(np.float32)
    ids = [f"p{row}" for row in range(N)]
    return write_store(tmp_path / "store", ids, np.ones(N, np.int64), lambda rows: vectors[rows], {})


@pytest.fixture
def graph(store, tmp_path):
    return mine_neighbors(store, tmp_path / "graph", 8, n_probe=64, threads=1)


@pytest.mark.parametrize("taught", [False, True])
@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_gradient_is_that_of_autograd(weight, taught, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_LOGITS", 70)  # 7 pairs at a time
    torch.manual_seed(0)
    x, y = (F.normalize(torch.randn(33, 5, dtype=torch.float64), dim=1) for _ in range(2))
    directions = (torch.randn(10, 5, dtype=torch.float64) * 3).requires_grad_(True)
    shares = torch.softmax(torch.randn(10, dtype=torch.float64), dim=0)
    known = torch.randint(-1, 10, (33,)) if taught else None
    # The clusters' shares so far, with the gradient of the batch's own mean.
    p = torch.softmax(x @ directions.T, dim=1).mean(dim=0)
    consistency = scan_loss(x @ directions.T, y @ directions.T, entropy_weight=0.0).consistency
    loss = consistency + weight * ((shares + p - p.detach()) * (shares + p - p.detach()).log()).sum()
    if known is not None:
        taught_loss = F.cross_entropy((x @ directions.T)[known >= 0], known[known >= 0], reduction="sum")
        loss = loss + 3.0 * taught_loss / 33
    (expected,) = torch.autograd.grad(loss, directions)
    found, mean, said = pair_gradient(
        x, y, directions.detach(), shares, entropy_weight=weight, known=known, label_weight=3.0
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)  # the loss computes in float32
    torch.testing.assert_close(mean, p.detach())
    assert float(said) == pytest.approx(float(consistency.detach()), rel=1e-5)


def test_frame_is_that_of_all_vectors_at_once(store):
    center, projection = stream_whitening(store)
    expected_center, expected = fit_whitening(store.vectors())
    np.testing.assert_allclose(center, expected_center, rtol=1e-5)
    np.testing.assert_allclose(projection, expected, rtol=2e-3, atol=2e-4)


def test_graph_is_nearly_that_of_all_pairs(store, graph):
    exact = vector_neighbors(store.vectors(), 8)
    found = graph.indices >= 0
    np.testing.assert_array_equal(found, exact.indices >= 0)
    shared = (exact.indices[:, None, :] == graph.indices[:, :, None]).any(axis=2)[found].mean()
    assert shared > 0.95
    assert index_recall(store, graph, n_queries=N) == pytest.approx(shared, abs=0.01)
    others = np.where(found & (np.arange(8) % 2 == 0), np.arange(N)[:, None] - 1, graph.indices)
    assert index_recall(store, replace(graph, indices=others), n_queries=N) < 0.7


def test_many_lists_are_trained_within_parts(tmp_path, monkeypatch, one_thread):
    monkeypatch.setattr(inverted_file, "LIST_SIZE", 8)
    monkeypatch.setattr(inverted_file, "FEW_LISTS", 10)
    generator = np.random.default_rng(2)
    vectors = generator.normal(size=(60, P))[generator.integers(0, 60, 1200)]
    vectors[300:] += generator.normal(0, 0.2, (900, P))  # of the others many are equal
    store = write_store(
        tmp_path / "store",
        list(map(str, range(1200))),
        np.ones(1200, np.int64),
        lambda rows: vectors[rows],
        {},
    )
    graph = mine_neighbors(store, tmp_path / "graph", 8, n_probe=16, threads=1)
    fewer = mine_neighbors(store, tmp_path / "fewer", 8, n_probe=2, threads=1)
    queries = np.arange(300, 1200)  # equals of a vector are as near as each other
    near = ExactNeighbors(store.vectors()).neighbors(8).distances[queries, 4]
    found = (graph.distances[queries, 4] <= near + 1e-3).mean()
    assert found > 0.9
    assert found > (fewer.distances[queries, 4] <= near + 1e-3).mean()


def test_graph_goes_on_after_a_kill(store, graph, tmp_path):
    def killed(done, total):
        if done >= 500:
            raise KeyboardInterrupt

    options = {"n_probe": 64, "threads": 1}
    with pytest.raises(KeyboardInterrupt):
        mine_neighbors(store, tmp_path / "again", 8, on_progress=killed, **options)
    assert len(list((tmp_path / "again.partial").glob("part-*"))) == 1
    made = (tmp_path / "again.partial" / "part-00000.npz").stat().st_mtime_ns
    seen = []

    def watch(done, total):
        seen.append((tmp_path / "again.partial" / "part-00000.npz").stat().st_mtime_ns)

    again = mine_neighbors(store, tmp_path / "again", 8, on_progress=watch, **options)
    np.testing.assert_array_equal(again.indices, graph.indices)
    assert set(seen) == {made}
    assert not (tmp_path / "again.partial").exists()


def test_finds_the_clusters(store, graph, truth):
    whitening = stream_whitening(store)
    begin = spread_prototypes(store, K, whitening, seed=0, candidates=20)
    head, held_out = stream_head(store, graph, begin, whitening, CONFIG, seed=0)
    labels = stream_labels(head, store)
    assert len(set(zip(labels.tolist(), truth.tolist(), strict=True))) <= K + 3
    assert held_out["agreement"] > 0.9


def test_same_after_a_kill(store, graph, tmp_path):
    whitening = stream_whitening(store)
    begin = spread_prototypes(store, K, whitening, seed=0)
    rows = []
    whole, _ = stream_head(store, graph, begin, whitening, CONFIG, seed=0, on_step=rows.append)
    checkpoint = tmp_path / "state.safetensors"

    def killed(row):
        if row["step"] >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stream_head(store, graph, begin, whitening, CONFIG, seed=0, checkpoint=checkpoint, on_step=killed)
    assert checkpoint.exists()
    # Another seed does not go on from it.
    other, other_steps = {"seed": 1, "checkpoint": tmp_path / "other"}, []
    (tmp_path / "other").write_bytes(checkpoint.read_bytes())
    expected, _ = stream_head(store, graph, begin, whitening, CONFIG, seed=1)
    found, _ = stream_head(store, graph, begin, whitening, CONFIG, **other)
    np.testing.assert_array_equal(found.prototypes, expected.prototypes)
    # Nor does another beginning, as other vectors of as many proteins give it.
    (tmp_path / "other").write_bytes(checkpoint.read_bytes())
    expected, _ = stream_head(store, graph, begin[::-1], whitening, CONFIG, seed=0)
    found, _ = stream_head(
        store, graph, begin[::-1], whitening, CONFIG, seed=0, checkpoint=tmp_path / "other"
    )
    np.testing.assert_array_equal(found.prototypes, expected.prototypes)
    # Nor does another graph.
    (tmp_path / "other").write_bytes(checkpoint.read_bytes())
    stream_head(
        store, graph, begin, whitening, CONFIG, seed=0, made_from="another search",
        checkpoint=tmp_path / "other", on_step=other_steps.append,
    )  # fmt: skip
    assert len(other_steps) == len(rows)
    again = []
    resumed, _ = stream_head(
        store, graph, begin, whitening, CONFIG, seed=0, checkpoint=checkpoint, on_step=again.append
    )
    np.testing.assert_array_equal(resumed.prototypes, whole.prototypes)
    assert len(again) < len(rows)
    finished, _ = stream_head(store, graph, begin, whitening, CONFIG, seed=0, checkpoint=checkpoint)
    np.testing.assert_array_equal(finished.prototypes, whole.prototypes, "nothing is left to do")


def test_proteins_without_neighbors_take_no_part(store, graph):
    alone = np.arange(N) % 3 == 0
    indices = np.where(alone[:, None], -1, graph.indices)
    whitening = stream_whitening(store)
    begin = spread_prototypes(store, K, whitening, seed=0)
    sparse = NeighborGraph(indices, np.where(indices < 0, np.inf, graph.distances), "cosine")
    head, _ = stream_head(store, sparse, begin, whitening, CONFIG, seed=0)
    assert np.isfinite(head.prototypes).all()
    sparse = NeighborGraph(*(np.where(np.arange(N)[:, None] < 300, a, gap) for a, gap in (
        (graph.indices, -1), (graph.distances, np.inf))), "cosine")  # fmt: skip
    steps = []
    head, _ = stream_head(store, sparse, begin, whitening, CONFIG, seed=0, on_step=steps.append)
    assert np.isfinite(head.prototypes).all()
    assert not np.allclose(head.prototypes, begin, atol=0.01)
    assert len(steps) == 2  # as many as of whole blocks
    empty = NeighborGraph(np.full((N, 1), -1, np.int32), np.full((N, 1), np.inf, np.float32), "cosine")
    with pytest.raises(InvalidParameter, match=r"no protein has a neighbor\. Add more proteins"):
        stream_head(store, empty, begin, whitening, CONFIG, seed=0)


def test_more_clusters_than_proteins(store):
    with pytest.raises(InvalidParameter, match="number of proteins"):
        spread_prototypes(store, N + 1, stream_whitening(store), seed=0)


def test_no_cluster_at_all_is_not_auto(store, tmp_path):
    with pytest.raises(InvalidParameter, match="clusters=0"):
        cluster_store(store, tmp_path / "out", ScalingConfig(n_clusters=0, threads=1))


def test_tables_of_proteins_and_clusters(store, tmp_path):
    head, _ = cluster_store(store, tmp_path / "out", ScalingConfig(n_clusters=K, threads=1, stream=CONFIG))
    found = Assignments.read(tmp_path / "out" / "assignments.tsv")
    rows = [line.split("\t") for line in (tmp_path / "out" / "clusters.tsv").read_text().splitlines()[1:]]
    assert [int(row[1]) for row in rows] == np.bincount(found.labels).tolist()
    assert len(rows) == head.n_clusters
    assert all(found.labels[found.ids.index(row[2])] == int(row[0]) for row in rows)
    assert read_manifest(tmp_path / "out" / "head", "head").content["notes"]["graph_recall"] > 0.9
    last = (tmp_path / "out" / "hierarchy.tsv").read_text().splitlines()[-1].split("\t")
    assert last[-2:] == [str(head.n_clusters), str(N)]


def test_scan_of_another_store_or_a_run_is_not_replaced(store, tmp_path):
    out = tmp_path / "out"
    cluster_store(store, out, ScalingConfig(n_clusters=K, threads=1, stream=CONFIG))
    table = (out / "assignments.tsv").read_bytes()
    vectors = store.vectors()[::-1]
    other = write_store(tmp_path / "other", store.ids, store.lengths, lambda rows: vectors[rows], {})
    with pytest.raises(InvalidParameter, match=r"out': holds another scan, of store\. Give another folder"):
        cluster_store(other, out, ScalingConfig(n_clusters=K, threads=1, stream=CONFIG))
    assert (out / "assignments.tsv").read_bytes() == table
    # The same store again, with other options: what is the same is not done again.
    _, stages = cluster_store(store, out, ScalingConfig(n_clusters=K - 2, threads=1, stream=CONFIG))
    assert {stage.stage for stage in stages if stage.status == "skipped"} == {"frame", "neighbors"}
    (out / "scan.json").rename(out / "run.json")
    with pytest.raises(InvalidParameter, match="holds another run, of store"):
        cluster_store(store, out, ScalingConfig(n_clusters=K, threads=1, stream=CONFIG))


def test_store_of_another_encoder_or_of_one_protein(tmp_path):
    encoder = load_encoder()
    content = {"encoder": "that of another"}
    vectors = np.ones((4, encoder.n_dimensions), np.float32)
    store = write_store(
        tmp_path / "s", list("abcd"), np.ones(4, np.int64), lambda rows: vectors[rows], content
    )
    with pytest.raises(InvalidParameter, match="did not make the store"):
        cluster_store(store, tmp_path / "out", ScalingConfig(encoder="default", threads=1))
    one = write_store(tmp_path / "one", ["a"], np.ones(1, np.int64), lambda rows: vectors[rows], {})
    with pytest.raises(InvalidParameter, match="at least 2 are needed"):
        cluster_store(one, tmp_path / "out", ScalingConfig(threads=1))
