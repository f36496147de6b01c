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
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from seqscan.artifact import read_manifest, write_artifact, write_atomically
from seqscan.errors import ShapeMismatch

__all__ = ["SHARD_ROWS", "EmbeddingStore", "unit", "write_store"]

SHARD_ROWS = 65_536


@dataclass(frozen=True)
class EmbeddingStore:
    """N vectors with P dimensions.

    Attributes
    ----------
    path : Path
        The artifact.
    shards : list of (<= SHARD_ROWS, P), float16
        Memory maps.
    """

    path: Path
    shards: list[NDArray[np.float16]]

    @classmethod
    def open(cls, path: str | Path) -> EmbeddingStore:
        """Open a store; raises `ArtifactError` if there is none."""
        path = Path(path)
        manifest = read_manifest(path, "store")
        names = sorted(name for name in manifest.files if name.startswith("vectors-"))
        return cls(path, [np.load(path / name, mmap_mode="r") for name in names])

    def __len__(self) -> int:
        return sum(len(shard) for shard in self.shards)

    @property
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
        vectors = np.empty((len(rows), self.n_dimensions), dtype=np.float32)
        shard_of = rows // SHARD_ROWS
        for shard in np.unique(shard_of):
            here = shard_of == shard
            vectors[here] = self.shards[shard][rows[here] - shard * SHARD_ROWS]
        return vectors

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield all vectors, a shard at a time, with the rows they are."""
        start = 0
        for shard in self.shards:
            yield slice(start, start + len(shard)), np.asarray(shard, dtype=np.float32)
            start += len(shard)


def write_store(
    path: str | Path,
    ids: Sequence[str],
    lengths: NDArray[np.int64],
    embed_rows: Callable[[slice], NDArray[np.float32]],
    content: dict[str, Any],
    *,
    on_shard: Callable[[int], None] | None = None,
) -> EmbeddingStore:
    """Write a store shard by shard; a shard that was finished before a kill is not made again.

    Parameters
    ----------
    path : path
        Replaced if it is a store. Finished shards wait in `<path>.partial`.
    ids : N str
    lengths : (N,), residues
    embed_rows : callable
        Returns the vectors (R, P) of a slice of rows.
    content : dict
        Provenance for the manifest; must name what the vectors depend on, for shards of a store with other
        content are not used again.
    on_shard : callable, optional
        Called with the number of finished rows.
    """
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    _keep_only(partial, content)
    for shard, start in enumerate(range(0, len(ids), SHARD_ROWS)):
        rows = slice(start, min(start + SHARD_ROWS, len(ids)))
        target = partial / f"vectors-{shard:05d}.npy"
        if not target.exists():
            vectors = embed_rows(rows)
            if len(vectors) != rows.stop - rows.start:
                raise ShapeMismatch(f"{len(vectors)} vectors for {rows.stop - rows.start} records.")
            with write_atomically(target) as temporary, temporary.open("wb") as handle:
                np.save(handle, vectors.astype(np.float16))
        if on_shard is not None:
            on_shard(rows.stop)
    with write_artifact(path, "store", content) as directory:
        for file in sorted(partial.glob("vectors-*.npy")):
            # A link, not a move: a kill before the end leaves the finished shards where they are.
            (directory / file.name).hardlink_to(file)
        table = pa.table({"id": pa.array(ids, pa.string()), "length": pa.array(lengths, pa.int64())})
        pq.write_table(table, directory / "records.parquet", compression="zstd")
    for file in partial.iterdir():
        file.unlink()
    partial.rmdir()
    return EmbeddingStore.open(path)


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


def _keep_only(partial: Path, content: dict[str, Any]) -> None:
    """Keep finished shards if they were made the same way, else begin anew."""
    partial.mkdir(parents=True, exist_ok=True)
    recipe = partial / "recipe.json"
    text = json.dumps(content, sort_keys=True)
    if recipe.exists() and recipe.read_text() == text:
        return
    for file in partial.iterdir():
        file.unlink()
    with write_atomically(recipe) as temporary:
        temporary.write_text(text)
