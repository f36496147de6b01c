"""Pieces: what alignments hold together, which clusters begin from and which teaches them.

A piece is a part of a family that is certain to be one. Dividing the graph of alignments comes first; joining
the pieces whose proteins are alike needs vectors and comes with the heads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.metrics import adjusted_rand_score

from seqscan.head import ClusterHead
from seqscan.neighbors import NeighborGraph, connected_parts, links, number_by_size
from seqscan.store import unit

__all__ = [
    "MERGE_COSINE",
    "SAME_PART_COSINE",
    "communities",
    "divide",
    "group_means",
    "halves",
    "join_pieces",
    "label_pieces",
    "smallest_part",
    "stability",
]

RESOLUTION = 0.3
"""Of `communities`, in multiples of the graph's density."""

CLEARLY = 0.01
"""By how much communities must be more stable than connected parts to take their place."""

MERGE_COSINE = 0.5
"""Clusters of heads are one if the cosine of their means is above this, when no number is given."""

SAME_PART_COSINE = 0.8
"""The same for parts of the alignments: that no profile connects them speaks against joining them."""


def divide(graph: NeighborGraph, n_clusters: int | None) -> NDArray[np.int64]:
    """Number what alignments hold together and is large enough for a cluster; (N,), -1 in no such piece.

    Connected parts if they are as many as the clusters that are wanted, since what is linked is to stay
    together. Without a number, connected parts too, unless communities are clearly more alike in two random
    halves of the links: where chains of few links join families, connected parts depend on single links.
    """
    smallest = smallest_part(len(graph), n_clusters)
    parts = connected_parts(graph, smallest)
    if n_clusters is not None:
        enough = parts.max() + 1 >= n_clusters
    else:
        of_parts, of_communities = stability(graph, (connected_parts, communities))
        enough = of_communities < of_parts + CLEARLY
    return parts if enough else communities(graph, smallest)


def stability(
    graph: NeighborGraph,
    methods: Sequence[Callable[[NeighborGraph], NDArray[np.int64]]],
    n_repeats: int = 2,
) -> NDArray[np.float64]:
    """Return how alike each method divides two random halves of the links, (M,), adjusted Rand index."""
    found = []
    for seed in range(n_repeats):
        first, second = halves(graph, seed=seed)
        found.append([adjusted_rand_score(method(first), method(second)) for method in methods])
    return np.mean(found, axis=0)


def smallest_part(n_proteins: int, n_clusters: int | None) -> int:
    """Return from how many proteins on a piece speaks for a cluster of its own.

    A twentieth of the mean cluster if their number is given, so that a stray protein takes no place; 3 if
    not: less recurs too seldom to be a category.

    Examples
    --------
    >>> smallest_part(6000, 10), smallest_part(6000, None)
    (30, 3)
    """
    return 3 if n_clusters is None else max(3, n_proteins // (20 * n_clusters))


def communities(
    graph: NeighborGraph, smallest: int = 1, *, resolution: float = RESOLUTION
) -> NDArray[np.int64]:
    """Number the communities of a graph, largest first; (N,), -1 in those of fewer than `smallest`.

    Among many proteins a few links chain whole families together. Two groups come apart here if they
    have less than `resolution` times the links that as many pairs would have if the graph's links were spread
    evenly.

    Notes
    -----
    Constant Potts model (Traag, Van Dooren and Nesterov, Phys. Rev. E 84, 2011), by the Louvain algorithm as
    scikit-network has it. The result depends on the order of the proteins and on no seed.

    Examples
    --------
    >>> bridged = [[1, 2, -1], [0, 2, -1], [0, 1, 3], [4, 5, 2], [3, 5, -1], [3, 4, -1]]
    >>> indices = np.array(bridged, np.int32)
    >>> graph = NeighborGraph(indices, np.where(indices < 0, np.inf, 0).astype(np.float32), "cosine")
    >>> connected_parts(graph).tolist(), communities(graph).tolist()
    ([0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1])
    """
    from sknetwork.clustering import Louvain

    found = links(graph)
    if not found.nnz:
        return number_by_size(np.arange(len(graph)), smallest)
    method = Louvain(resolution=resolution, modularity="potts", sort_clusters=False)
    return number_by_size(method.fit_predict(found + found.T), smallest)


def halves(graph: NeighborGraph, *, seed: int) -> tuple[NeighborGraph, NeighborGraph]:
    """Divide the neighbor pairs of a graph at random into two graphs of the same proteins."""
    rest, pairs = graph.hold_out(0.5, seed=seed)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    place = np.arange(len(pairs)) - np.searchsorted(pairs[:, 0], pairs[:, 0])
    indices = np.full((len(graph), int(place.max(initial=0)) + 1), -1, dtype=np.int32)
    indices[pairs[:, 0], place] = pairs[:, 1]
    distances = np.where(indices < 0, np.inf, 0.0).astype(np.float32)
    return rest, NeighborGraph(indices, distances, "pairs")


def label_pieces(
    head: ClusterHead, vectors: NDArray[np.float32], pieces: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Give each piece (N,), as a whole, the cluster its mean points to; (N,), -1 in no piece."""
    labels = np.full(len(pieces), -1, dtype=np.int64)
    used = pieces >= 0
    if used.any():
        means = group_means(head.points(vectors), pieces)
        labels[used] = (means @ unit(head.prototypes).T).argmax(axis=1)[pieces[used]]
    return labels


def _sums(points: NDArray[np.float32], pieces: NDArray[np.int64]) -> NDArray[np.float64]:
    """Add up the points (N, Q) of each piece 0 to M - 1, (M, Q)."""
    membership = csr_matrix((np.ones(len(pieces)), (pieces, np.arange(len(pieces)))))
    return membership @ points.astype(np.float64)


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
    cosine = (means @ means.T).astype(np.float32)
    np.fill_diagonal(cosine, -np.inf)
    # The nearest of each, kept up to date, so that a step looks at one row and not at all of them.
    nearest = cosine.argmax(axis=1)
    value = cosine[np.arange(len(used)), nearest]
    alive = np.ones(len(used), dtype=bool)
    joined = np.arange(len(used))
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
        row = np.where(alive, means @ means[a], -np.inf)
        row[a] = -np.inf
        cosine[a], cosine[:, a] = row, row
        cosine[b], cosine[:, b] = -np.inf, -np.inf
        for changed in (a, *np.flatnonzero((nearest == a) | (nearest == b)).tolist()):
            nearest[changed] = cosine[changed].argmax()
        nearer = row > value
        nearest[nearer] = a
        value = np.where(alive, cosine[np.arange(len(used)), nearest], -np.inf)
    groups = np.full(len(pieces), -1, dtype=np.int64)
    groups[pieces >= 0] = np.unique(joined, return_inverse=True)[1][index]
    return groups


def group_means(points: NDArray[np.float32], groups: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the direction of the mean of the points (N, Q) of each group 0 to C - 1, (C, Q)."""
    return unit(_sums(points[groups >= 0], groups[groups >= 0])).astype(np.float32)
