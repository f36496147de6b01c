"""Clusters of a store: their number is found, given or taken from pieces; a killed call goes on."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from seqscan.errors import InvalidParameter
from seqscan.model import load_head
from seqscan.neighbors import mine_neighbors
from seqscan.scan import StoreScan, StreamConfig, n_prototypes, stream_labels, stream_whitening
from seqscan.scan import store_scan as module
from seqscan.stages import StageLog
from seqscan.store import write_store
from seqscan.threads import use_threads

N, K, P = 1600, 8, 16


@pytest.fixture
def truth():
    return np.random.default_rng(0).choice(K, N, p=np.array([8, 6, 4, 3, 2, 1, 1, 1]) / 26)


@pytest.fixture
def scan(tmp_path, truth):
    """Return a function that scans vectors of these families; options are those of `StoreScan`."""
    use_threads(1)
    generator = np.random.default_rng(1)
    vectors = (generator.normal(size=(K, P))[truth] + generator.normal(0, 0.3, (N, P))).astype(np.float32)
    ids = [f"p{row}" for row in range(N)]
    store = write_store(tmp_path / "store", ids, np.ones(N, np.int64), lambda rows: vectors[rows], {})
    whitening = stream_whitening(store)
    graph = mine_neighbors(store, tmp_path / "graph", 10, n_probe=64, threads=1)

    def run(name="out", *, log=None, **options):
        folder = tmp_path / name
        (folder / "stages").mkdir(parents=True, exist_ok=True)
        log = log or StageLog(folder / "stages")
        options = {"n_clusters": None, "seed": 0} | options
        StoreScan(
            store, graph, whitening, folder, log, {"a": 1}, StreamConfig(batch_size=256), **options
        ).run(folder / "head")
        head = load_head(folder / "head")
        return stream_labels(head, store), log.stages

    return run


def test_number_is_found(scan, truth):
    found, stages = scan()
    assert adjusted_rand_score(found, truth) > 0.98
    assert found.max() + 1 <= K + 1
    assert [stage.stage for stage in stages] == ["begin", "over_provision", "join", "scan"]
    sizes = np.bincount(found)
    assert (np.diff(sizes) <= 0).all()


@pytest.mark.parametrize("n", [3, K, 12])
def test_number_is_given(scan, n):
    found, _ = scan(n_clusters=n)
    assert found.max() + 1 == n


def test_pieces_stand_in_for_prototypes(scan, truth):
    pieces = np.where(np.arange(N) % 3 == 0, truth, -1)
    found, stages = scan(pieces=pieces, suffix="_again")
    assert adjusted_rand_score(found, truth) > 0.98
    assert found.max() + 1 == K
    assert [stage.stage for stage in stages] == ["join_again", "scan_again"]
    fewer, _ = scan("fewer", pieces=pieces, n_clusters=4)
    assert fewer.max() + 1 == 4


def test_training_is_kept_until_its_stage_is_noted(scan, monkeypatch, tmp_path):
    write = module.save_head

    def killed(*arguments, **options):
        write(*arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "save_head", killed)
    with pytest.raises(KeyboardInterrupt):
        scan("killed")
    assert (tmp_path / "killed" / "over_provisioned.training.safetensors").exists()


def test_same_after_kills(scan, monkeypatch, tmp_path):
    monkeypatch.setattr("seqscan.scan.streaming.BLOCK_ROWS", 400)
    whole, _ = scan()
    step = module.stream_head

    def killed(*arguments, **options):
        def at(row):
            if row["step"] >= 100:
                raise KeyboardInterrupt

        return step(*arguments, **options | {"on_step": at})

    monkeypatch.setattr(module, "stream_head", killed)
    with pytest.raises(KeyboardInterrupt):
        scan("killed")
    assert (tmp_path / "killed" / "over_provisioned.training.safetensors").exists()
    monkeypatch.setattr(module, "stream_head", step)
    found, stages = scan("killed")
    assert stages[0].status == "skipped"
    assert not list(Path(tmp_path / "killed").glob("*.training.safetensors"))
    np.testing.assert_array_equal(found, whole)


def test_all_alike(scan):
    with pytest.raises(InvalidParameter, match="all proteins come into one cluster"):
        scan(pieces=np.zeros(N, np.int64))


def test_more_prototypes_than_clusters_and_fewer_than_proteins():
    for n in (2, 9, 100, 5_851, 10**6):
        for k in (None, 2, n // 4):
            if k is None or k >= 2:
                assert max(2, k or 2) <= n_prototypes(n, k) <= max(2, n // 3, k or 2)
