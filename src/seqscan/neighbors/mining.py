"""A neighbor graph over a store that does not fit into memory, shard by shard, resumable.

The index holds half-precision codes, the vectors stay on disk, and each shard's neighbors are written as they
are found.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqscan.artifact import read_manifest, write_artifact, write_atomically
from seqscan.errors import InvalidParameter
from seqscan.neighbors.chance import Chance, chance_rows
from seqscan.neighbors.graph import NeighborGraph
from seqscan.neighbors.inverted_file import build_index, nearest_others, training_rows
from seqscan.store import EmbeddingStore
from seqscan.wording import plural

__all__ = ["index_recall", "mine_neighbors"]

QUERY_ROWS = 8192


def mine_neighbors(
    store: EmbeddingStore,
    path: str | Path,
    n_neighbors: int,
    *,
    n_probe: int = 16,
    threads: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
) -> NeighborGraph:
    """Write the graph of nearest vectors by cosine, nearly all of them, and open it as a memory map.

    As of `vector_neighbors`, without those that chance explains.

    Parameters
    ----------
    store : EmbeddingStore
        N vectors.
    path : path
        The graph. What a killed call has finished waits in `<path>.partial`.
    n_neighbors : int
    n_probe : int
        Lists looked into for each query; more find more.
    threads : int
    on_progress : callable, optional
        Called with the rows done and in all.

    Notes
    -----
    `index_recall` measures which share of the true neighbors is found.
    """
    import faiss

    n = len(store)
    if n < 2 or n_neighbors < 1:
        raise InvalidParameter("n_neighbors", n_neighbors, f"there are none among {plural(n, 'vector')}")
    k = min(n_neighbors, n - 1)
    faiss.omp_set_num_threads(threads)
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    chance = _chance(store)
    recipe = json.dumps([k, n_probe, chance.mean, chance.spread, read_manifest(store.path, "store").files])
    if not (partial / "recipe.json").exists() or (partial / "recipe.json").read_text() != recipe:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        with write_atomically(partial / "recipe.json") as temporary:
            temporary.write_text(recipe)
    index: Any = None
    row = 0
    for number, shard in enumerate(store.shards):
        part = partial / f"part-{number:05d}.npz"
        if not part.exists():
            if index is None:
                index = _index(store, chance, partial / "vectors.faiss")
                index.nprobe = n_probe
            found = np.empty((len(shard), k), dtype=np.int32)
            distances = np.empty((len(shard), k), dtype=np.float16)
            for start in range(0, len(shard), QUERY_ROWS):
                block = shard[start : start + QUERY_ROWS]
                rows = slice(start, start + len(block))
                near = nearest_others(index, _directions(block, chance), row + start, k)
                found[rows], distances[rows] = chance.prune(*near)
            with write_atomically(part) as temporary, temporary.open("wb") as handle:
                np.savez(handle, indices=found, distances=distances)
        row += len(shard)
        if on_progress is not None:
            on_progress(row, n)
    with write_artifact(path, "graph", {"metric": "cosine", "n_probe": n_probe}) as directory:
        maps = {
            name: np.lib.format.open_memmap(directory / f"{name}.npy", "w+", dtype=dtype, shape=(n, k))
            for name, dtype in (("indices", np.int32), ("distances", np.float16))
        }
        row = 0
        for number in range(len(store.shards)):
            with np.load(partial / f"part-{number:05d}.npz") as part_arrays:
                stop = row + len(part_arrays["indices"])
                for name, array in maps.items():
                    array[row:stop] = part_arrays[name]
            row = stop
        for array in maps.values():
            array.flush()
    shutil.rmtree(partial)
    return NeighborGraph.read(path, mapped=True)


def index_recall(store: EmbeddingStore, graph: NeighborGraph, *, n_queries: int) -> float:
    """Return the share of a graph's neighbors that are the nearest there are, measured on a sample."""
    k, chance = graph.indices.shape[1], _chance(store)
    generator = np.random.default_rng((0, 61))
    queries = np.sort(generator.permutation(len(store))[:n_queries])
    wanted = _directions(store.gather(queries), chance)
    best = np.full((len(queries), k), -np.inf, dtype=np.float32)
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    for part, block in store.blocks():
        cosine = wanted @ _directions(block, chance).T
        inside = (queries >= part.start) & (queries < part.stop)
        cosine[inside, queries[inside] - part.start] = -np.inf
        kept = np.argpartition(-cosine, min(k, cosine.shape[1]) - 1, axis=1)[:, :k]
        best = np.concatenate([best, np.take_along_axis(cosine, kept, axis=1)], axis=1)
        rows = np.concatenate([rows, part.start + kept], axis=1)
        near = np.argpartition(-best, k - 1, axis=1)[:, :k]
        best, rows = np.take_along_axis(best, near, axis=1), np.take_along_axis(rows, near, axis=1)
    # A protein with fewer neighbors is asked for as many.
    found = graph.indices[queries]
    asked = np.arange(k) < (found >= 0).sum(axis=1)[:, None]
    held = (rows[:, :, None] == found[:, None, :]).any(axis=2)
    return float(held[asked].mean())


def _chance(store: EmbeddingStore) -> Chance:
    return Chance.of(store.gather(chance_rows(len(store))), len(store))


def _index(store: EmbeddingStore, chance: Chance, file: Path) -> Any:
    """Train an index and fill it, or read the one that an earlier call finished."""
    import faiss

    if file.exists():
        return faiss.read_index(str(file))
    n = len(store)
    sample = _directions(store.gather(training_rows(n)), chance)

    def blocks() -> Iterator[NDArray[np.float32]]:
        for shard in store.shards:
            for start in range(0, len(shard), QUERY_ROWS):
                yield _directions(shard[start : start + QUERY_ROWS], chance)

    index = build_index(n, sample, blocks)
    with write_atomically(file) as temporary:
        faiss.write_index(index, str(temporary))
    return index


def _directions(block: NDArray[Any], chance: Chance) -> NDArray[np.float32]:
    return chance.directions(np.asarray(block, dtype=np.float32))
