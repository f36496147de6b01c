"""The store of vectors: shards, and going on after a kill."""

import numpy as np
import pytest

from seqscan import store as module
from seqscan.artifact import read_manifest
from seqscan.errors import ArtifactError, ShapeMismatch
from seqscan.store import EmbeddingStore, unit, write_store

N = 10
IDS = [f"p{i}" for i in range(N)]
LENGTHS = np.arange(N, dtype=np.int64) + 5
VECTORS = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float16).astype(np.float32)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(module, "SHARD_ROWS", 4)


class Embedder:
    """Gives the vectors, notes which rows were asked for, and is killed at some row if told so."""

    def __init__(self, killed_at=None, sign=1):
        self.asked = []
        self.killed_at = killed_at
        self.sign = sign

    def __call__(self, rows):
        if self.killed_at is not None and rows.start >= self.killed_at:
            raise KeyboardInterrupt
        self.asked.append((rows.start, rows.stop))
        return self.sign * VECTORS[rows]


def write(path, embedder, content=None):
    return write_store(path, IDS, LENGTHS, embedder, content or {"encoder": "a"})


def test_round_trip(tmp_path):
    embedder = Embedder()
    store = write(tmp_path / "store", embedder)
    assert embedder.asked == [(0, 4), (4, 8), (8, 10)]
    assert len(store) == N
    assert store.n_dimensions == 3
    assert store.ids == IDS
    assert store.lengths.tolist() == LENGTHS.tolist()
    assert [len(shard) for shard in store.shards] == [4, 4, 2]
    assert store.vectors().dtype == np.float32
    np.testing.assert_array_equal(store.vectors(), VECTORS)
    assert read_manifest(tmp_path / "store", "store").content == {"encoder": "a"}


def test_gather_across_shards_in_any_order_and_repeated(tmp_path):
    store = write(tmp_path / "store", Embedder())
    rows = np.array([9, 0, 4, 4, 3, 8])
    np.testing.assert_array_equal(store.gather(rows), VECTORS[rows])
    assert store.gather(np.empty(0, np.int64)).shape == (0, 3)


def test_blocks_cover_every_row_once(tmp_path):
    store = write(tmp_path / "store", Embedder())
    again = np.full_like(VECTORS, np.nan)
    for rows, block in store.blocks():
        assert np.isnan(again[rows]).all()
        again[rows] = block
    np.testing.assert_array_equal(again, VECTORS)


def test_a_killed_store_goes_on_with_the_shards_it_has(tmp_path):
    killed = Embedder(killed_at=8)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "store", killed)
    assert killed.asked == [(0, 4), (4, 8)]
    with pytest.raises(ArtifactError):
        EmbeddingStore.open(tmp_path / "store")
    rest = Embedder()
    store = write(tmp_path / "store", rest)
    assert rest.asked == [(8, 10)]
    np.testing.assert_array_equal(store.vectors(), VECTORS)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_same_bytes_killed_or_not(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "killed", Embedder(killed_at=4))
    for name in ("killed", "whole"):
        write(tmp_path / name, Embedder())
    files = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "killed").iterdir())
    for name in files:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes(), name


def test_shards_of_another_recipe_are_dropped(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "store", Embedder(killed_at=8, sign=-1), {"encoder": "b"})
    rest = Embedder()
    store = write(tmp_path / "store", rest)
    assert rest.asked == [(0, 4), (4, 8), (8, 10)]
    np.testing.assert_array_equal(store.vectors(), VECTORS)


def test_a_new_store_replaces_the_old_one(tmp_path):
    write(tmp_path / "store", Embedder(sign=-1))
    np.testing.assert_array_equal(write(tmp_path / "store", Embedder()).vectors(), VECTORS)


def test_wrong_number_of_vectors_is_refused(tmp_path):
    with pytest.raises(ShapeMismatch, match="3 vectors for 4 records"):
        write(tmp_path / "store", lambda rows: VECTORS[:3])


def test_something_else_is_left_alone(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "thesis.txt").write_text("ten years of work")
    with pytest.raises(ArtifactError):
        write(tmp_path / "store", Embedder())
    assert (tmp_path / "store" / "thesis.txt").read_text() == "ten years of work"


def test_unit_keeps_a_row_of_zeros():
    scaled = unit(np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32))
    np.testing.assert_allclose(scaled, [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)
    assert scaled.dtype == np.float32
