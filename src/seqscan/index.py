"""A neighbor graph over a store that does not fit into memory, shard by shard, resumable.

The index holds half-precision codes, the vectors stay on disk, and each shard's neighbors are written as they
are found.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqscan.artifact import read_manifest, write_artifact, write_atomically
from seqscan.errors import InvalidParameter
from seqscan.neighbors import NeighborGraph
from seqscan.store import EmbeddingStore, unit

__all__ = ["index_recall", "mine_neighbors"]

LIST_SIZE = 64
"""Vectors in a list of the index on average, whatever their number, so that a search takes the same time."""
SAMPLES_PER_LIST = 16
"""Vectors that each list of the index is trained on, at most."""
FEW_LISTS = 4096
"""From this many lists on, a graph finds the lists to look into, and lists are trained within parts."""
PART_SAMPLES = 1024
"""Vectors for each centroid that k-means looks at, at most."""
ROUNDS = 10
"""Of k-means."""
QUERY_ROWS = 8192


def mine_neighbors(
    store: EmbeddingStore,
    path: str | Path,
    n_neighbors: int,
    center: NDArray[np.float32],
    *,
    n_probe: int = 16,
    threads: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
) -> NeighborGraph:
    """Write the graph of nearest vectors by cosine, nearly all of them, and open it as a memory map.

    Parameters
    ----------
    store : EmbeddingStore
        N vectors.
    path : path
        The graph. What a killed call has finished waits in `<path>.partial`.
    n_neighbors : int
    center : (P,)
        Subtracted first.
    n_probe : int
        Lists looked into for each query; more find more.
    threads : int
    on_progress : callable, optional
        Called with the rows done and in all.

    Notes
    -----
    faiss, `IVF..,SQfp16` with L2 on unit vectors: the order is that of the cosine, and residual codes lose
    recall without a word for inner products. `index_recall` measures what was lost.
    """
    import faiss

    n = len(store)
    if n < 2 or n_neighbors < 1:
        raise InvalidParameter("n_neighbors", n_neighbors, f"{n} vectors have no neighbors")
    k = min(n_neighbors, n - 1)
    faiss.omp_set_num_threads(threads)
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    recipe = json.dumps([k, n_probe, read_manifest(store.path, "store").files])
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
                index = _index(store, center, partial / "vectors.faiss")
                index.nprobe = n_probe
            found = np.empty((len(shard), k), dtype=np.int32)
            distances = np.empty((len(shard), k), dtype=np.float16)
            for start in range(0, len(shard), QUERY_ROWS):
                block = shard[start : start + QUERY_ROWS]
                rows = slice(start, start + len(block))
                found[rows], distances[rows] = _search(index, _directions(block, center), row + start, k)
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


def index_recall(
    store: EmbeddingStore,
    graph: NeighborGraph,
    center: NDArray[np.float32],
    *,
    n_queries: int = 500,
    seed: int = 0,
) -> float:
    """Return the share of the true nearest neighbors that a graph holds, measured on a sample."""
    k = graph.indices.shape[1]
    generator = np.random.default_rng((seed, 61))
    queries = np.sort(generator.permutation(len(store))[:n_queries])
    wanted = _directions(store.gather(queries), center)
    best = np.full((len(queries), k), -np.inf, dtype=np.float32)
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    for part, block in store.blocks():
        cosine = wanted @ _directions(block, center).T
        inside = (queries >= part.start) & (queries < part.stop)
        cosine[inside, queries[inside] - part.start] = -np.inf
        best = np.concatenate([best, cosine], axis=1)
        candidates = np.broadcast_to(np.arange(part.start, part.stop), cosine.shape)
        rows = np.concatenate([rows, candidates], axis=1)
        near = np.argpartition(-best, k - 1, axis=1)[:, :k]
        best, rows = np.take_along_axis(best, near, axis=1), np.take_along_axis(rows, near, axis=1)
    held = (rows[:, :, None] == graph.indices[queries][:, None, :]).any(axis=2)
    return float(held.mean())


def _index(store: EmbeddingStore, center: NDArray[np.float32], file: Path) -> Any:
    """Train an index and fill it, or read the one that an earlier call finished."""
    import faiss

    if file.exists():
        return faiss.read_index(str(file))
    n, size = len(store), store.n_dimensions
    n_lists = max(1, n // LIST_SIZE)
    rows = np.random.default_rng(0).permutation(n)[: SAMPLES_PER_LIST * n_lists]
    centroids = _centroids(_directions(store.gather(np.sort(rows)), center), n_lists)
    lists: Any = faiss.IndexFlatL2(size) if n_lists < FEW_LISTS else faiss.IndexHNSWFlat(size, 32)
    lists.add(centroids)
    index: Any = faiss.IndexIVFScalarQuantizer(lists, size, len(centroids), faiss.ScalarQuantizer.QT_fp16)
    index.train(centroids)  # half precision needs none; the lists are there already
    for shard in store.shards:
        for start in range(0, len(shard), QUERY_ROWS):
            index.add(_directions(shard[start : start + QUERY_ROWS], center))
    with write_atomically(file) as temporary:
        faiss.write_index(index, str(temporary))
    return index


def _centroids(sample: NDArray[np.float32], n_lists: int) -> NDArray[np.float32]:
    """Return the centroids of about `n_lists` lists by k-means.

    Many are trained within parts, each the share of its vectors: all at once they take time by their square.
    """
    import faiss

    def kmeans(vectors: NDArray[np.float32], k: int) -> Any:
        trained = faiss.Kmeans(
            vectors.shape[1], k, niter=ROUNDS, seed=0, min_points_per_centroid=1,
            max_points_per_centroid=PART_SAMPLES,
        )  # fmt: skip
        trained.train(vectors)
        return trained

    if n_lists < FEW_LISTS:
        return kmeans(sample, n_lists).centroids
    part = kmeans(sample, round(n_lists**0.5)).index.search(sample, 1)[1][:, 0]
    order = np.argsort(part, kind="stable")
    pieces = np.split(order, np.flatnonzero(np.diff(part[order])) + 1)
    return np.concatenate(
        [kmeans(sample[piece], max(1, len(piece) * n_lists // len(sample))).centroids for piece in pieces]
    )


def _search(
    index: Any, queries: NDArray[np.float32], first: int, k: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the neighbors of the vectors of rows `first` and on, without themselves."""
    squared, found = index.search(queries, k + 1)
    own = found == np.arange(first, first + len(queries))[:, None]
    # Without the vector itself or, if it was not found among its equals, without the last.
    own[~own.any(axis=1), -1] = True
    kept = np.argsort(own, axis=1, kind="stable")[:, :k]
    found, squared = np.take_along_axis(found, kept, axis=1), np.take_along_axis(squared, kept, axis=1)
    return found.astype(np.int32), np.where(found < 0, np.inf, squared / 2).astype(np.float32)


def _directions(block: NDArray[Any], center: NDArray[np.float32]) -> NDArray[np.float32]:
    return unit(np.asarray(block, dtype=np.float32) - center)
