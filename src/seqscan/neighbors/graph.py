"""A graph of the neighbors of each protein, and what is made of two of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from seqscan.alignment import mmseqs_version
from seqscan.artifact import read_manifest, write_artifact
from seqscan.errors import InvalidParameter, ShapeMismatch

__all__ = [
    "BLOCK_ROWS",
    "NeighborGraph",
    "best_hits",
    "combine",
    "fill",
    "held_out_proteins",
    "sensible_n_neighbors",
]

BLOCK_ROWS = 1024
"""Proteins whose neighbors are compared at once."""


@dataclass(frozen=True)
class NeighborGraph:
    """Up to K neighbors of each of N proteins.

    Attributes
    ----------
    indices : (N, K), int32
        Rows of the neighbors, nearest first; -1 where a protein has fewer. Never the protein itself.
    distances : (N, K), float32, or float16 if mined in shards
        Ascending; infinite where there is no neighbor.
    metric : str
        What the distances are.
    """

    indices: NDArray[np.int32]
    distances: NDArray[np.float32]
    metric: str

    def __post_init__(self) -> None:
        if self.indices.shape != self.distances.shape or self.indices.ndim != 2:
            raise ShapeMismatch(f"indices {self.indices.shape} and distances {self.distances.shape} differ.")
        if (self.indices == np.arange(len(self.indices))[:, None]).any():
            raise InvalidParameter("indices", "...", "a protein is its own neighbor")

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of neighbors of each protein, (N,)."""
        return (self.indices >= 0).sum(axis=1)

    def edges(self) -> NDArray[np.int64]:
        """Return the neighbor pairs, (M, 2), each once, smaller row first, in order."""
        anchors = np.repeat(np.arange(len(self), dtype=np.int64), self.indices.shape[1])
        neighbors = self.indices.astype(np.int64).ravel()
        keep = neighbors >= 0
        low = np.minimum(anchors, neighbors)[keep]
        high = np.maximum(anchors, neighbors)[keep]
        keys = np.unique(low * len(self) + high)
        return np.stack([keys // len(self), keys % len(self)], axis=1)

    def reordered(self, rows: NDArray[np.int64], place: NDArray[np.int64]) -> NeighborGraph:
        """Return the graph of the same proteins in another order.

        Parameters
        ----------
        rows : (N,)
            What row each protein here has there.
        place : (N,)
            What row each protein there has here: the inverse.
        """
        indices = self.indices[place]
        moved = np.where(indices >= 0, rows[indices], -1).astype(np.int32)
        return NeighborGraph(moved, self.distances[place], self.metric)

    def hold_out(self, fraction: float, *, seed: int) -> tuple[NeighborGraph, NDArray[np.int64]]:
        """Take a random share of the pairs out, in both directions.

        Returns
        -------
        rest : NeighborGraph
        held_out : (M, 2), int64
        """
        edges = self.edges()
        generator = np.random.default_rng((seed, 11))
        chosen = edges[generator.random(len(edges)) < fraction]
        keys = chosen[:, 0] * len(self) + chosen[:, 1]
        anchors = np.arange(len(self), dtype=np.int64)[:, None]
        neighbors = self.indices.astype(np.int64)
        own = np.minimum(anchors, neighbors) * len(self) + np.maximum(anchors, neighbors)
        return self._without(np.isin(own, keys) & (neighbors >= 0)), chosen

    def without_proteins(self, chosen: NDArray[np.bool_]) -> NeighborGraph:
        """Return the graph in which chosen proteins, (N,), have no neighbors and are none."""
        return self._without((chosen[:, None] | chosen[self.indices]) & (self.indices >= 0))

    def _without(self, gone: NDArray[np.bool_]) -> NeighborGraph:
        """Return the graph without some of its entries (N, K)."""
        return _packed(np.where(gone, -1, self.indices), np.where(gone, np.inf, self.distances), self.metric)

    def write(self, path: str | Path, content: dict[str, Any]) -> None:
        """Write a graph artifact."""
        with write_artifact(path, "graph", content | {"metric": self.metric}) as directory:
            np.save(directory / "indices.npy", self.indices)
            np.save(directory / "distances.npy", self.distances)

    @classmethod
    def read(cls, path: str | Path, *, mapped: bool = False) -> NeighborGraph:
        """Read a graph artifact, or map it; raises `ArtifactError` if there is none."""
        manifest = read_manifest(path, "graph")
        mode: Literal["r"] | None = "r" if mapped else None
        indices = np.load(Path(path) / "indices.npy", mmap_mode=mode)
        distances = np.load(Path(path) / "distances.npy", mmap_mode=mode)
        return cls(indices, distances, manifest.content["metric"])


def held_out_proteins(n: int, *, seed: int) -> NDArray[np.bool_]:
    """Return which of n proteins, (N,), are kept out of training until the last one: a tenth, one at least.

    They choose how sharp clusters are, and say how new members of known families will look.
    """
    chosen = np.zeros(n, dtype=bool)
    generator = np.random.default_rng((seed, 12))
    chosen[generator.permutation(n)[: max(1, n // 10)]] = True
    return chosen


def best_hits(
    query: NDArray[np.int32],
    target: NDArray[np.int32],
    bits: NDArray[np.float32],
    lengths: NDArray[np.int64],
    n_neighbors: int,
) -> NeighborGraph:
    """Return the best M hits of each of N proteins, nearest the one with most bits for its length.

    Parameters
    ----------
    query, target : (M,), rows
    bits : (M,)
    lengths : (N,), residues
    n_neighbors : int
    """
    n, k = len(lengths), n_neighbors
    per_residue = bits / np.maximum(lengths[query], lengths[target])
    # Identical proteins reach about 2 bits a residue.
    distance = (1.0 / (1.0 + per_residue)).astype(np.float32)
    # Two hits of one pair: the nearer one counts.
    order = np.lexsort((distance, target, query))
    fresh = np.ones(len(order), dtype=bool)
    fresh[1:] = (np.diff(query[order]) != 0) | (np.diff(target[order]) != 0)
    order = order[fresh]
    order = order[np.lexsort((target[order], distance[order], query[order]))]
    query, target, distance = query[order], target[order], distance[order]
    place = np.arange(len(query)) - np.searchsorted(query, query)
    keep = place < k
    indices = np.full((n, k), -1, dtype=np.int32)
    distances = np.full((n, k), np.inf, dtype=np.float32)
    indices[query[keep], place[keep]] = target[keep]
    distances[query[keep], place[keep]] = distance[keep]
    return NeighborGraph(indices, distances, f"alignment (MMseqs2 {mmseqs_version()})")


def sensible_n_neighbors(n_neighbors: int, n_proteins: int) -> int:
    """Return `n_neighbors`, but no more than the root of the number of proteins, and 2 at least.

    Where every protein is a neighbor of every other, agreement of neighbors means one single cluster.

    Examples
    --------
    >>> [sensible_n_neighbors(20, n) for n in (5, 12, 40, 5000)]
    [2, 3, 6, 20]
    """
    return min(n_neighbors, max(2, int(n_proteins**0.5)))


def combine(first: NeighborGraph, second: NeighborGraph) -> NeighborGraph:
    """Join two graphs of the same proteins: all of the first's neighbors, then the second's other ones.

    The distances of the two are not comparable, so a neighbor's rank stands for its distance.
    """
    if len(first) != len(second):
        raise ShapeMismatch(f"graphs of {len(first)} and {len(second)} proteins cannot be combined.")
    known = np.empty(second.indices.shape, dtype=bool)
    for start in range(0, len(first), BLOCK_ROWS):  # all at once, the comparison would outgrow the graphs
        rows = slice(start, start + BLOCK_ROWS)
        known[rows] = (second.indices[rows, :, None] == first.indices[rows, None, :]).any(axis=2)
    indices = np.concatenate([first.indices, np.where(known, -1, second.indices)], axis=1)
    rank = np.arange(indices.shape[1], dtype=np.float32)[None]
    return _packed(indices, np.where(indices < 0, np.inf, rank), f"rank ({first.metric}; {second.metric})")


def fill(first: NeighborGraph, second: NeighborGraph) -> NeighborGraph:
    """Return the first graph; a protein that has no neighbor in it gets those of the second."""
    if len(first) != len(second):
        raise ShapeMismatch(f"graphs of {len(first)} and {len(second)} proteins cannot be joined.")
    width = max(first.indices.shape[1], second.indices.shape[1])
    rows = first.counts == 0
    parts = []
    for left, right, gap in (
        (first.indices, second.indices, -1),
        (first.distances, second.distances, np.inf),
    ):
        wide = np.full((len(first), width), gap, dtype=left.dtype)
        wide[~rows, : left.shape[1]] = left[~rows]
        wide[rows, : right.shape[1]] = right[rows]
        parts.append(wide)
    return NeighborGraph(parts[0], parts[1], f"{first.metric}, else {second.metric}")


def _packed(indices: NDArray[Any], distances: NDArray[Any], metric: str) -> NeighborGraph:
    """Move the gaps of each row to its end."""
    order = np.argsort(indices < 0, axis=1, kind="stable")
    return NeighborGraph(
        np.take_along_axis(indices, order, axis=1).astype(np.int32),
        np.take_along_axis(distances, order, axis=1).astype(np.float32),
        metric,
    )
