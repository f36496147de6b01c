"""What vectors say of pieces: their means, which of them are alike, and the cluster each belongs to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from seqscan.head import ClusterHead
from seqscan.store import unit

__all__ = ["MERGE_COSINE", "SAME_PART_COSINE", "group_means", "join_pieces", "label_pieces"]

MERGE_COSINE = 0.5
"""Clusters of heads are one if the cosine of their means is above this, when no number is given."""

SAME_PART_COSINE = 0.8
"""The same for parts of the alignments: that no profile connects them speaks against joining them."""

BLOCK_COSINES = 1 << 24
"""Cosines of pairs of pieces that are in memory at once."""


def join_pieces(
    points: NDArray[np.float32],
    pieces: NDArray[np.int64],
    n_clusters: int | None,
    *,
    min_cosine: float = MERGE_COSINE,
) -> NDArray[np.int64]:
    """Join pieces that are alike, those with the nearest means first, and return the groups, (N,).

    Parameters
    ----------
    points : (N, Q)
        Of length 1.
    pieces : (N,)
        -1 for proteins that take no part.
    n_clusters : int, optional
        How many to leave; without it, join while the cosine of two means is above `min_cosine`.
    min_cosine : cosine

    Returns
    -------
    groups : (N,)
        0 to their number - 1, -1 for proteins of no piece.
    """
    used, index = np.unique(pieces[pieces >= 0], return_inverse=True)
    sums = _sums(points[pieces >= 0], index)
    means = unit(sums)
    alive = np.ones(len(used), dtype=bool)
    joined = np.arange(len(used))
    # The nearest of each, kept up to date, so that a step looks at few pieces, and never at all pairs.
    nearest, value = np.zeros(len(used), np.int64), np.full(len(used), -np.inf, np.float32)
    size = max(1, BLOCK_COSINES // max(1, len(used)))

    def look_again(rows: slice | NDArray[np.int64]) -> None:
        cosine = (means[rows] @ means.T).astype(np.float32)
        cosine[:, ~alive] = -np.inf
        places = np.arange(len(cosine))
        cosine[places, np.arange(len(used))[rows]] = -np.inf
        nearest[rows] = cosine.argmax(axis=1)
        value[rows] = cosine[places, nearest[rows]]

    for start in range(0, len(used), size):
        look_again(slice(start, start + size))
    for _ in range(len(used) - (n_clusters or 1)):
        a = int(value.argmax())
        b = int(nearest[a])
        if n_clusters is None and value[a] <= min_cosine:
            break
        a, b = min(a, b), max(a, b)
        sums[a] += sums[b]
        alive[b] = False
        joined[joined == b] = a
        means[a] = unit(sums[a : a + 1])[0]
        value[b] = -np.inf
        row = np.where(alive, means @ means[a], -np.inf)
        row[a] = -np.inf
        nearer = row > value
        changed = np.append(np.flatnonzero(alive & ((nearest == a) | (nearest == b))), a)
        for start in range(0, len(changed), size):
            look_again(changed[start : start + size])
        nearest[nearer], value[nearer] = a, row[nearer]
    groups = np.full(len(pieces), -1, dtype=np.int64)
    groups[pieces >= 0] = np.unique(joined, return_inverse=True)[1][index]
    return groups


def label_pieces(
    head: ClusterHead, vectors: NDArray[np.float32], pieces: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Give each piece (N,), as a whole, the cluster its mean points to; (N,), -1 in no piece."""
    labels = np.full(len(pieces), -1, dtype=np.int64)
    used = pieces >= 0
    if used.any():
        means, prototypes = group_means(head.points(vectors), pieces), unit(head.prototypes)
        size = max(1, BLOCK_COSINES // len(prototypes))
        cluster_of = [
            (means[start : start + size] @ prototypes.T).argmax(axis=1)
            for start in range(0, len(means), size)
        ]
        labels[used] = np.concatenate(cluster_of)[pieces[used]]
    return labels


def group_means(points: NDArray[np.float32], groups: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the direction of the mean of the points (N, Q) of each group 0 to C - 1, (C, Q)."""
    return unit(_sums(points[groups >= 0], groups[groups >= 0])).astype(np.float32)


def _sums(points: NDArray[np.float32], pieces: NDArray[np.int64]) -> NDArray[np.float64]:
    """Add up the points (N, Q) of each piece 0 to M - 1, (M, Q)."""
    membership = csr_matrix((np.ones(len(pieces)), (pieces, np.arange(len(pieces)))))
    return membership @ points.astype(np.float64)
