"""Vectors of proteins on disk: memory-mapped, sharded, with ids and provenance.

A store is an artifact: `vectors-00000.npy` and so on (float16, `SHARD_ROWS` rows each), and
`records.parquet` (id, length). Rows are gathered straight from the map, a thousandth of the time a Parquet
column would need.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from seqscan.artifact import read_manifest, write_artifact, write_atomically
from seqscan.errors import ShapeMismatch

__all__ = ["SHARD_ROWS", "EmbeddingStore", "StoreParts", "unit", "write_store"]

SHARD_ROWS = 65_536
PART_ROWS = 8_192
"""Vectors that are made at a time: what a kill loses, and what processes share out."""


class _Shards(Sequence[NDArray[np.float16]]):
    """Arrays on disk, each mapped anew when it is asked for: pages once read do not pile up in memory."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.float16]: ...
    @overload
    def __getitem__(self, index: slice) -> _Shards: ...
    def __getitem__(self, index: int | slice) -> NDArray[np.float16] | _Shards:
        if isinstance(index, slice):
            return _Shards(self.paths[index])
        return np.load(self.paths[index], mmap_mode="r")


@dataclass(frozen=True)
class EmbeddingStore:
    """N vectors with P dimensions.

    Attributes
    ----------
    path : Path
        The artifact.
    shards : sequence of (<= SHARD_ROWS, P), float16
        Memory maps.
    """

    path: Path
    shards: Sequence[NDArray[np.float16]]

    @classmethod
    def open(cls, path: str | Path) -> EmbeddingStore:
        """Open a store; raises `ArtifactError` if there is none."""
        path = Path(path)
        manifest = read_manifest(path, "store")
        names = sorted(name for name in manifest.files if name.startswith("vectors-"))
        return cls(path, _Shards([path / name for name in names]))

    def __len__(self) -> int:
        return self._n_rows

    @cached_property
    def _n_rows(self) -> int:
        return sum(len(shard) for shard in self.shards)

    @cached_property
    def n_dimensions(self) -> int:
        """Length P of a vector."""
        return self.shards[0].shape[1]

    @cached_property
    def ids(self) -> list[str]:
        """The records' ids."""
        return pq.read_table(self.path / "records.parquet", columns=["id"])["id"].to_pylist()

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Length of each sequence, (N,), residues."""
        return pq.read_table(self.path / "records.parquet", columns=["length"])["length"].to_numpy()

    def vectors(self) -> NDArray[np.float32]:
        """Return all vectors, (N, P), in memory."""
        return np.concatenate([np.asarray(shard, dtype=np.float32) for shard in self.shards])

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of some rows, (R,) -> (R, P)."""
        return _gather(self.shards, SHARD_ROWS, rows, np.float32)

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield all vectors, a shard at a time, with the rows they are."""
        start = 0
        for shard in self.shards:
            yield slice(start, start + len(shard)), np.asarray(shard, dtype=np.float32)
            start += len(shard)


class StoreParts:
    """A store that is being made, part by part; a part that was finished before a kill is not made again.

    Parts wait in `<path>.partial`. Any process that sees the folder can make any part, each only once.

    Parameters
    ----------
    path : path
        The store that is to be.
    n_vectors : int
        Vectors that must be made, M: records of equal sequences share one.
    """

    def __init__(self, path: str | Path, n_vectors: int) -> None:
        self.path = Path(path).absolute()
        self.n_vectors = n_vectors
        self.size = min(PART_ROWS, SHARD_ROWS)

    def __len__(self) -> int:
        return -(-self.n_vectors // self.size)

    @property
    def _folder(self) -> Path:
        return self.path.with_name(self.path.name + ".partial")

    def _file(self, part: int) -> Path:
        return self._folder / f"part-{part:06d}.npy"

    def begin(self, content: dict[str, Any]) -> None:
        """Keep the parts that were finished with the same `content`, JSON values; begin anew without."""
        self._folder.mkdir(parents=True, exist_ok=True)
        recipe = self._folder / "recipe.json"
        text = json.dumps(content, sort_keys=True)
        if recipe.exists() and recipe.read_text() == text:
            return
        for file in self._folder.iterdir():
            file.unlink()
        with write_atomically(recipe) as temporary:
            temporary.write_text(text)

    def make(self, part: int, embed_rows: Callable[[slice], NDArray[np.float32]]) -> None:
        """Make one part, unless it is there; `embed_rows` returns the vectors (R, P) of a slice of the M."""
        target = self._file(part)
        if target.exists():
            return
        wanted = slice(part * self.size, min((part + 1) * self.size, self.n_vectors))
        vectors = embed_rows(wanted)
        if len(vectors) != wanted.stop - wanted.start:
            raise ShapeMismatch(f"{len(vectors)} vectors for {wanted.stop - wanted.start} records.")
        with write_atomically(target) as temporary, temporary.open("wb") as handle:
            np.save(handle, vectors.astype(np.float16))

    def join(
        self,
        ids: Sequence[str],
        lengths: NDArray[np.int64],
        content: dict[str, Any],
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        """Write the store from all its parts, which are removed.

        Parameters
        ----------
        ids : N str
        lengths : (N,), residues
        content : dict
            Provenance for the manifest.
        rows : (N,), int64, optional
            Which of the M vectors each record has; without it, M is N and each has its own.
        """
        with write_artifact(self.path, "store", content) as directory:
            parts = [np.load(self._file(part), mmap_mode="r") for part in range(len(self))]
            for shard, start in enumerate(range(0, len(ids), SHARD_ROWS)):
                stop = min(start + SHARD_ROWS, len(ids))
                wanted = np.arange(start, stop) if rows is None else rows[start:stop]
                np.save(directory / f"vectors-{shard:05d}.npy", _gather(parts, self.size, wanted, np.float16))
            table = pa.table({"id": pa.array(ids, pa.string()), "length": pa.array(lengths, pa.int64())})
            pq.write_table(table, directory / "records.parquet", compression="zstd")
        for file in self._folder.iterdir():
            file.unlink()
        self._folder.rmdir()


def write_store(
    path: str | Path,
    ids: Sequence[str],
    lengths: NDArray[np.int64],
    embed_rows: Callable[[slice], NDArray[np.float32]],
    content: dict[str, Any],
) -> EmbeddingStore:
    """Write a store part by part, in one process; see `StoreParts`.

    Parameters
    ----------
    path : path
        Replaced if it is a store.
    ids : N str
    lengths : (N,), residues
    embed_rows : callable
        Returns the vectors (R, P) of a slice of the records.
    content : dict
        Provenance for the manifest; must name what the vectors depend on, for parts of a store with other
        content are not used again.
    """
    parts = StoreParts(path, len(ids))
    parts.begin(content)
    for part in range(len(parts)):
        parts.make(part, embed_rows)
    parts.join(ids, lengths, content)
    return EmbeddingStore.open(path)


def _gather(
    parts: Sequence[NDArray[np.float16]], size: int, rows: NDArray[np.int64], dtype: type[np.floating]
) -> NDArray[Any]:
    """Return some rows, (R,) -> (R, P), of arrays that hold `size` rows each."""
    vectors = np.empty((len(rows), parts[0].shape[1]), dtype=dtype)
    part_of = rows // size
    for part in np.unique(part_of):
        here = part_of == part
        vectors[here] = parts[part][rows[here] - part * size]
    return vectors


Real = TypeVar("Real", np.float32, np.float64)


def unit(vectors: NDArray[Real]) -> NDArray[Real]:
    """Scale rows (N, P) to length 1; a row of zeros stays.

    Examples
    --------
    >>> unit(np.array([[3.0, 4.0]], dtype=np.float32)).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, vectors.dtype.type(1e-12))
