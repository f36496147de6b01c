"""Where neighbors come from, behind one protocol: vectors, compared all or searched, and alignments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from seqscan.alignment import Alignments, align_all
from seqscan.errors import InvalidParameter
from seqscan.neighbors.chance import Chance, chance_rows
from seqscan.neighbors.graph import BLOCK_ROWS, NeighborGraph, best_hits
from seqscan.neighbors.inverted_file import build_index, nearest_others, training_rows
from seqscan.store import unit

__all__ = [
    "EXACT_LIMIT",
    "AlignmentNeighbors",
    "ExactNeighbors",
    "FaissNeighbors",
    "KnnBackend",
    "nearest_rows",
    "nearest_vectors",
    "vector_neighbors",
]

EXACT_LIMIT = 50_000
"""Up to this many vectors every pair is compared; above, faiss searches an inverted file."""


class KnnBackend(Protocol):
    """Anything that finds neighbors: vectors, alignments, or what a user brings."""

    def neighbors(self, n_neighbors: int) -> NeighborGraph:
        """Return up to `n_neighbors` neighbors of each protein."""
        ...


@dataclass(frozen=True)
class ExactNeighbors:
    """Compare every pair of vectors, (N, P), by cosine; the result depends on no index or seed.

    Examples
    --------
    >>> vectors = np.eye(3, dtype=np.float32) + 0.1
    >>> ExactNeighbors(vectors).neighbors(2).indices.shape
    (3, 2)
    """

    vectors: NDArray[np.float32]

    def neighbors(self, n_neighbors: int) -> NeighborGraph:
        """Return the nearest vectors by cosine distance."""
        k = _checked(n_neighbors, len(self.vectors))
        indices, cosines = nearest_rows(unit(self.vectors), k)
        return NeighborGraph(indices, 1.0 - cosines, "cosine")


@dataclass(frozen=True)
class FaissNeighbors:
    """Search an inverted file of half-precision vectors, (N, P), with faiss.

    Attributes
    ----------
    vectors : (N, P), float32
    n_probe : int
        Lists looked into for each query; more find more.
    threads : int
    """

    vectors: NDArray[np.float32]
    n_probe: int = 16
    threads: int = 2

    def neighbors(self, n_neighbors: int) -> NeighborGraph:
        """Return the nearest vectors by cosine distance, nearly all of them."""
        import faiss

        n = len(self.vectors)
        k = _checked(n_neighbors, n)
        faiss.omp_set_num_threads(self.threads)
        vectors = unit(self.vectors)
        index = build_index(n, vectors[training_rows(n)], lambda: [vectors])
        index.nprobe = self.n_probe
        return NeighborGraph(*nearest_others(index, vectors, 0, k), "cosine")


@dataclass(frozen=True)
class AlignmentNeighbors:
    """Search sequences against each other with MMseqs2.

    The hits are almost pure, but leave a family in pieces; `seqscan.neighbors.pieces` puts them together.

    Attributes
    ----------
    sequences : N arrays of codes, each (L_i,)
    sensitivity : dimensionless, 1 to 7.5
        MMseqs2's `-s`.
    min_coverage : share of both sequences that an alignment must cover
    threads : int
    """

    sequences: Sequence[NDArray[np.uint8]]
    sensitivity: float = 5.7
    min_coverage: float = 0.3
    threads: int = 2

    def neighbors(self, n_neighbors: int) -> NeighborGraph:
        """Return the best hits of each protein; some proteins have none."""
        k = _checked(n_neighbors, len(self.sequences))
        hits = self.search(k)
        lengths = np.fromiter((len(s) for s in self.sequences), dtype=np.int64, count=len(self.sequences))
        return best_hits(hits.query, hits.target, hits.bits, lengths, k)

    def search(self, n_neighbors: int, queries: NDArray[np.int64] | None = None) -> Alignments:
        """Return the hits of all proteins, or of some rows (Q,), among all."""
        return align_all(
            self.sequences,
            queries=queries,
            sensitivity=self.sensitivity,
            min_coverage=self.min_coverage,
            max_hits=max(n_neighbors, 100),
            identity=False,
            threads=self.threads,
        )


def vector_neighbors(vectors: NDArray[np.float32], n_neighbors: int, *, threads: int = 2) -> NeighborGraph:
    """Return the nearest vectors by cosine that are nearer than chance explains; see `Chance`."""
    chance = Chance.of(vectors[chance_rows(len(vectors))], len(vectors))
    near = nearest_vectors(chance.directions(vectors), n_neighbors, threads=threads)
    return NeighborGraph(*chance.prune(near.indices, near.distances), near.metric)


def nearest_vectors(vectors: NDArray[np.float32], n_neighbors: int, *, threads: int = 2) -> NeighborGraph:
    """Return the nearest vectors by cosine: exact up to `EXACT_LIMIT` vectors, faiss above."""
    backend: KnnBackend = (
        ExactNeighbors(vectors) if len(vectors) <= EXACT_LIMIT else FaissNeighbors(vectors, threads=threads)
    )
    return backend.neighbors(n_neighbors)


def nearest_rows(
    points: NDArray[np.float32], k: int, among: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the `k` rows of the highest cosine with each row, never the row itself, and their cosines.

    Parameters
    ----------
    points : (N, P), of length 1
    k : int, 1 or more
        Less than there are rows to choose from.
    among : (R,), int64, optional
        Rows to choose from, ascending; all if not given.

    Returns
    -------
    indices : (N, k), nearest first
    cosines : (N, k)
    """
    n = len(points)
    among = np.arange(n) if among is None else among
    others = points if len(among) == n else points[among]
    column_of = np.full(n, -1)
    column_of[among] = np.arange(len(among))
    indices, cosines = np.empty((n, k), np.int32), np.empty((n, k), np.float32)
    for start in range(0, n, BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        cosine = points[rows] @ others.T
        own = column_of[rows]
        cosine[own >= 0, own[own >= 0]] = -np.inf
        near = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
        value = np.take_along_axis(cosine, near, axis=1)
        order = np.lexsort((near, -value), axis=1)
        indices[rows] = among[np.take_along_axis(near, order, axis=1)]
        cosines[rows] = np.take_along_axis(value, order, axis=1)
    return indices, cosines


def _checked(n_neighbors: int, n: int) -> int:
    if n_neighbors < 1:
        raise InvalidParameter("n_neighbors", n_neighbors, "must be 1 or more")
    if n < 2:
        raise InvalidParameter("vectors", n, "neighbors need two proteins and more")
    return min(n_neighbors, n - 1)
