"""Nearest unit vectors among many, nearly all of them: an inverted file (faiss) with lists of one size.

L2 on unit vectors, not the inner product: the order is that of the cosine, and faiss loses recall without a
word for inner products on residual codes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["build_index", "nearest_others", "training_rows"]

LIST_SIZE = 64
"""Vectors in a list on average, whatever their number, so that a search takes the same time."""
SAMPLES_PER_LIST = 16
"""Vectors that each list is trained on, at most."""
FEW_LISTS = 4096
"""From this many lists on, a graph finds the lists to look into, and lists are trained within parts."""
PART_SAMPLES = 1024
"""Vectors for each centroid that k-means looks at, at most."""
ROUNDS = 10
"""Of k-means."""


def training_rows(n: int) -> NDArray[np.int64]:
    """Return which of n vectors the lists of their index are to be trained on, ascending."""
    rows = np.random.default_rng(0).permutation(n)[: SAMPLES_PER_LIST * _n_lists(n)]
    return np.sort(rows)


def build_index(
    n: int, sample: NDArray[np.float32], blocks: Callable[[], Iterable[NDArray[np.float32]]]
) -> Any:
    """Train an index and fill it, in half precision.

    Parameters
    ----------
    n : int
        Vectors in all.
    sample : (S, P), float32
        Those of `training_rows`.
    blocks : callable
        Returns all vectors, of length 1, as blocks (B, P), float32; called twice.
    """
    import faiss

    size = sample.shape[1]
    centroids = _centroids(sample, _n_lists(n))
    lists: Any = faiss.IndexFlatL2(size) if _n_lists(n) < FEW_LISTS else faiss.IndexHNSWFlat(size, 32)
    lists.add(centroids)
    index: Any = faiss.IndexIVFScalarQuantizer(lists, size, len(centroids), faiss.ScalarQuantizer.QT_fp16)
    index.train(centroids)  # half precision needs none; the lists are there already
    # Lists that grow as they are filled would take half as much memory again: each gets its size first.
    list_of = np.concatenate([lists.search(block, 1)[1][:, 0] for block in blocks()])
    inverted = faiss.downcast_InvertedLists(index.invlists)
    sizes = np.bincount(list_of, minlength=len(centroids)).tolist()
    for number, length in enumerate(sizes):
        inverted.resize(number, length)
        inverted.resize(number, 0)
    rows = np.arange(n)
    for block in blocks():
        part = slice(index.ntotal, index.ntotal + len(block))
        arrays = [np.ascontiguousarray(array) for array in (block, rows[part], list_of[part])]
        index.add_core(len(block), *map(faiss.swig_ptr, arrays))
    return index


def nearest_others(
    index: Any, queries: NDArray[np.float32], first: int, k: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the neighbors of the indexed vectors of rows `first` and on, without themselves.

    Returns
    -------
    rows : (B, k), int32
        Nearest first, -1 where fewer were found.
    distances : (B, k), float32
        1 - cosine; infinite where there is none.
    """
    squared, found = index.search(queries, k + 1)
    own = found == np.arange(first, first + len(queries))[:, None]
    # Without the vector itself or, if it was not found among its equals, without the last.
    own[~own.any(axis=1), -1] = True
    kept = np.argsort(own, axis=1, kind="stable")[:, :k]
    found, squared = np.take_along_axis(found, kept, axis=1), np.take_along_axis(squared, kept, axis=1)
    return found.astype(np.int32), np.where(found < 0, np.inf, squared / 2).astype(np.float32)


def _n_lists(n: int) -> int:
    return max(1, n // LIST_SIZE)


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
