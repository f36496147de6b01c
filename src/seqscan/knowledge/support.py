"""How much the proteins around a protein speak for a term: its cluster, its neighbors, its alignments.

A protein never speaks for itself, nor one part of it for another, so the same figures hold for proteins with
annotations and for new ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from seqscan.alignment import align_all
from seqscan.errors import ShapeMismatch
from seqscan.ids import whole_proteins
from seqscan.knowledge.pairs import at
from seqscan.neighbors import nearest_rows

__all__ = ["FEATURES", "MAX_ALIGNED", "Evidence", "Surroundings", "aligned", "nearest"]

MAX_ALIGNED = 50_000
"""Up to this many proteins are aligned with each other if nothing else is asked for."""
N_NEIGHBORS = 20
N_ALIGNED = 50
_SHARPNESS = 10.0
"""A neighbor whose cosine is 0.1 lower counts e times less."""

FEATURES = (
    "neighbors", "nearest", "nearest_cosine", "cluster", "cluster_size", "cluster_probability", "alignments",
    "best_alignment", "best_bits", "frequency",
)  # fmt: skip


@dataclass(frozen=True)
class Surroundings:
    """Who stands around each of N proteins.

    Attributes
    ----------
    ids : N str
    labels : (N,), int
        Clusters, -1 for none.
    probabilities : (N,)
        Of the clusters.
    neighbors : (N, N) sparse float32
        Cosine of the nearest proteins by the model's vectors; empty if there are no vectors.
    alignments : (N, N) sparse float32
        Bits a residue of aligned proteins; empty if none were sought.
    """

    ids: Sequence[str]
    labels: NDArray[np.integer]
    probabilities: NDArray[np.floating]
    neighbors: Any
    alignments: Any

    def __post_init__(self) -> None:
        n = len(self.ids)
        if self.labels.shape != (n,) or self.neighbors.shape != (n, n) or self.alignments.shape != (n, n):
            raise ShapeMismatch(f"clusters, neighbors and alignments do not fit {n} proteins.")

    @cached_property
    def proteins(self) -> NDArray[np.int64]:
        """Number of the whole protein that each is or is a part of, (N,)."""
        return whole_proteins(self.ids)

    def evidence(self, propagated: Any) -> Evidence:
        """Prepare the support for terms; `propagated` (N, T) sparse bool marks what is known."""
        known = np.diff(propagated.indptr) > 0
        vectors, alignments = (_votes(g, known, self.proteins) for g in (self.neighbors, self.alignments))
        return Evidence(self, propagated, vectors, alignments, known)


@dataclass(frozen=True)
class Evidence:
    """Support of each protein for each term.

    Attributes
    ----------
    around : Surroundings
    propagated : (N, T) sparse bool
    vectors, alignments : (N, N) sparse float32
        Votes of the neighbors that are annotated; each row sums to 1, or is empty.
    known : (N,), bool
        Which proteins are annotated.
    """

    around: Surroundings
    propagated: Any
    vectors: Any
    alignments: Any
    known: NDArray[np.bool_]

    def pairs(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the terms that anything around some proteins carries, as (places in `rows`, terms)."""
        propagated = self.propagated.astype(np.float32)
        # A term needs a tenth of the cluster, or each member of a large one would bring all its own.
        cluster = self._cluster_share(rows)
        cluster.data[cluster.data < 0.1] = 0
        cluster.eliminate_zeros()
        sums = self.vectors[rows] @ propagated + self.alignments[rows] @ propagated + cluster
        sums = sums.tocsr()
        sums.sort_indices()
        return np.repeat(np.arange(len(rows)), np.diff(sums.indptr)), sums.indices.astype(np.int64)

    def features(
        self, rows: NDArray[np.int64], place: NDArray[np.int64], terms: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return the figures `FEATURES` for pairs of a protein, `rows[place]`, and a term, (M, F)."""
        propagated = self.propagated.astype(np.float32)
        n_known = max(int(self.known.sum()), 1)
        first, cosine = _strongest(self.vectors[rows], self.around.neighbors[rows])
        aligned, bits = _strongest(self.alignments[rows], self.around.alignments[rows])
        labels = self.around.labels[rows]
        sizes = np.bincount(self.around.labels[self.known & (self.around.labels >= 0)], minlength=1)
        size = np.where(labels >= 0, sizes[np.clip(labels, 0, len(sizes) - 1)], 0)
        frequency = np.asarray(propagated.sum(axis=0)).ravel() / n_known
        columns = (
            at(self.vectors[rows] @ propagated, place, terms),
            at(first @ propagated, place, terms),
            cosine[place],
            at(self._cluster_share(rows), place, terms),
            np.log1p(size)[place],
            self.around.probabilities[rows][place],
            at(self.alignments[rows] @ propagated, place, terms),
            at(aligned @ propagated, place, terms),
            bits[place],
            np.log(np.maximum(frequency[terms], 1e-9)),
        )
        return np.stack([np.asarray(column, dtype=np.float32) for column in columns], axis=1)

    def share_of_cluster(
        self, rows: NDArray[np.int64], place: NDArray[np.int64], terms: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return how many annotated members of the cluster carry a term, and how many there are.

        The protein itself and its other parts are not among them.
        """
        counts, sizes = self._cluster_counts(rows)
        return at(counts, place, terms).astype(np.int64), sizes[place].astype(np.int64)

    def witnesses(self, row: int, term: int, limit: int = 3) -> list[str]:
        """Return the nearest proteins that carry a term, `id(cosine)`, else aligned ones, `id(1.20 bits)`.

        Bits are those a residue of the longer protein.
        """
        for matrix, unit in ((self.around.neighbors, ""), (self.around.alignments, " bits")):
            own = slice(matrix.indptr[row], matrix.indptr[row + 1])
            near, value = matrix.indices[own], matrix.data[own]
            others = self.around.proteins[near] != self.around.proteins[row]
            near, value = near[others], value[others]
            if not len(near):
                continue
            carries = np.asarray(self.propagated[near][:, [term]].todense()).ravel()
            order = np.flatnonzero(carries)[np.argsort(-value[carries], kind="stable")][:limit]
            if len(order):
                return [f"{self.around.ids[int(near[i])]}({value[i]:.2f}{unit})" for i in order]
        return []

    def _cluster_counts(self, rows: NDArray[np.int64]) -> tuple[Any, NDArray[np.float64]]:
        """Return, for each protein, the carriers of each term in its cluster, and the members.

        The protein itself and its other parts are left out.
        """
        labels = self.around.labels
        used = np.flatnonzero(self.known & (labels >= 0))
        n_clusters = int(labels.max(initial=0)) + 1
        members = sparse.csr_array(
            (np.ones(len(used), np.float32), (labels[used], used)), shape=(n_clusters, len(labels))
        )
        propagated = self.propagated.astype(np.float32)
        own = np.flatnonzero(labels[rows] >= 0)
        pick = sparse.csr_array(
            (np.ones(len(own), np.float32), (own, labels[rows][own])), shape=(len(rows), n_clusters)
        )
        parts = self.around.proteins * n_clusters + labels
        keys, place = np.unique(parts[used], return_inverse=True)
        parts_of = sparse.csr_array(
            (np.ones(len(used), np.float32), (place, used)), shape=(len(keys), len(labels))
        )
        held = own[np.isin(parts[rows[own]], keys)]
        same = sparse.csr_array(
            (np.ones(len(held), np.float32), (held, np.searchsorted(keys, parts[rows[held]]))),
            shape=(len(rows), len(keys)),
        )
        counts = (pick @ (members @ propagated) - same @ (parts_of @ propagated)).tocsr()
        counts.eliminate_zeros()
        return counts, (pick @ members.sum(axis=1) - same @ parts_of.sum(axis=1)).astype(np.float64)

    def _cluster_share(self, rows: NDArray[np.int64]) -> Any:
        """Return the share of the cluster that carries each term, drawn towards 0 in a small one."""
        counts, size = self._cluster_counts(rows)
        return (sparse.diags_array((1.0 / (size + 1.0)).astype(np.float32)) @ counts).tocsr()


def nearest(points: NDArray[np.float32], among: NDArray[np.int64], n_neighbors: int = N_NEIGHBORS) -> Any:
    """Return the cosine of the nearest rows, never a row with itself, (N, N) sparse float32.

    Parameters
    ----------
    points : (N, Q), of length 1
    among : (R,), int64
        Rows that may be neighbors, ascending.
    n_neighbors : int
    """
    n, k = len(points), min(n_neighbors, max(len(among) - 1, 0))
    if k == 0:
        return sparse.csr_array((n, n), dtype=np.float32)
    indices, values = nearest_rows(points, k, among)
    # Zero would vanish from a sparse matrix.
    values = np.where(values == 0, np.float32(1e-6), values)
    graph = sparse.csr_array((values.ravel(), indices.ravel(), np.arange(n + 1) * k), shape=(n, n))
    graph.sort_indices()
    return graph


def aligned(sequences: Sequence[NDArray[np.uint8]], *, threads: int = 2) -> Any:
    """Return the bits a residue of the longer protein of all alignments by MMseqs2, (N, N) sparse float32."""
    n = len(sequences)
    hits = align_all(sequences, sensitivity=5.7, max_hits=N_ALIGNED, threads=threads)
    lengths = np.fromiter((len(s) for s in sequences), dtype=np.int64, count=n)
    bits = hits.bits / np.maximum(lengths[hits.query], lengths[hits.target])
    order = np.lexsort((-bits, hits.target, hits.query))
    query, target, bits = hits.query[order], hits.target[order], bits[order]
    best = np.ones(len(query), bool)
    best[1:] = (query[1:] != query[:-1]) | (target[1:] != target[:-1])
    return sparse.csr_array((bits[best].astype(np.float32), (query[best], target[best])), shape=(n, n))


def _votes(graph: Any, known: NDArray[np.bool_], proteins: NDArray[np.int64]) -> Any:
    """Turn similarities into votes of the annotated neighbors, of other proteins, that sum to 1."""
    similar = graph.tocoo()
    row, column = similar.coords
    kept = known[column] & (proteins[row] != proteins[column]) & (similar.data != 0)
    votes = sparse.csr_array(
        (similar.data[kept].astype(np.float32), (row[kept], column[kept])), shape=graph.shape
    )
    if not votes.nnz:
        return votes
    row = np.repeat(np.arange(votes.shape[0]), np.diff(votes.indptr))
    top = np.full(votes.shape[0], -np.inf, np.float32)
    np.maximum.at(top, row, votes.data)
    votes.data = np.exp(_SHARPNESS * (votes.data - top[row]))
    sums = np.bincount(row, votes.data, minlength=votes.shape[0])
    votes.data = (votes.data / sums[row]).astype(np.float32)
    return votes


def _strongest(votes: Any, values: Any) -> tuple[Any, NDArray[np.float32]]:
    """Keep the strongest vote of each row, as 1, and return its value in `values`, 0 where there is none."""
    n = votes.shape[0]
    row = np.repeat(np.arange(n), np.diff(votes.indptr))
    order = np.lexsort((votes.indices, -votes.data, row))
    first = np.ones(len(order), bool)
    first[1:] = row[order][1:] != row[order][:-1]
    top = order[first]
    best = sparse.csr_array(
        (np.ones(len(top), np.float32), (row[top], votes.indices[top])), shape=votes.shape
    )
    found = np.zeros(n, np.float32)
    found[row[top]] = np.asarray(values.tocsr()[row[top], votes.indices[top]]).ravel()
    return best, found
