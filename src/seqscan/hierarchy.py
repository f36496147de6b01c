"""From clusters to groups of clusters: the tree in which the clusters of a head join.

Those that profiles tie join first: they are homologous beyond what vectors tell. Then the likest do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist

from seqscan.errors import ShapeMismatch
from seqscan.store import unit

__all__ = ["HIERARCHY_COLUMNS", "Hierarchy", "join_clusters"]

HIERARCHY_COLUMNS = ("node", "parent", "distance", "n_clusters", "size")


@dataclass(frozen=True)
class Hierarchy:
    """A binary tree over C clusters with members: M = 2 C - 1 nodes (0 for C = 0), the root last.

    A node lies within its parent, so that every level is a coarser partition of the same proteins.

    Attributes
    ----------
    nodes : (M,), int64
        Numbers of the clusters, ascending; then those of the groups, in the order in which they join.
    parents : (M,), int64
        Number of the group that a node belongs to; -1 for the root.
    distances : (M,), float64
        Mean cosine distance of the prototypes on the two sides of a group, tied ones counted as 0; 0 for a
        cluster.
    n_clusters : (M,), int64
        Within the node.
    sizes : (M,), int64
        Proteins within the node.
    """

    nodes: NDArray[np.int64]
    parents: NDArray[np.int64]
    distances: NDArray[np.float64]
    n_clusters: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def rows(self) -> list[tuple[int, int | str, str, int, int]]:
        """Return the rows of `hierarchy.tsv`; the root has no parent."""
        columns = (self.nodes, self.parents, self.distances, self.n_clusters, self.sizes)
        return [
            (node, "" if parent < 0 else parent, f"{distance:.4f}", n, size)
            for node, parent, distance, n, size in zip(*(c.tolist() for c in columns), strict=True)
        ]

    def parent_of(self, cluster: int) -> int:
        """Return the group that a cluster belongs to, -1 if it is the only one."""
        return int(self.parents[np.searchsorted(self.nodes, cluster)])

    def cut(self, distance: float) -> dict[int, int]:
        """Return for each cluster the largest group it belongs to whose parts join below `distance`.

        A cluster that joins no other so early is its own group.
        """
        parent = dict(zip(self.nodes.tolist(), self.parents.tolist(), strict=True))
        height = dict(zip(self.nodes.tolist(), self.distances.tolist(), strict=True))
        groups = {}
        for cluster in self.nodes[self.n_clusters == 1].tolist():
            node = cluster
            while parent[node] >= 0 and height[parent[node]] < distance:
                node = parent[node]
            groups[cluster] = node
        return groups


def join_clusters(
    prototypes: NDArray[np.float32], sizes: NDArray[np.int64], tied: NDArray[np.int64] | None = None
) -> Hierarchy:
    """Join clusters whose prototypes are alike, by average linkage on cosine distance.

    Parameters
    ----------
    prototypes : (C, Q)
    sizes : (C,), proteins
        A cluster without members takes no part.
    tied : (T, 2), int64, optional
        Pairs of clusters without a distance, from `Pieces.tied_clusters`.

    Raises
    ------
    ShapeMismatch
        If the two differ in length.

    Examples
    --------
    >>> tree = join_clusters(np.array([[1, 0], [0.9, 0.1], [0, 1]], np.float32), np.array([5, 3, 2]))
    >>> tree.nodes.tolist(), tree.parents.tolist(), tree.sizes.tolist()
    ([0, 1, 2, 3, 4], [3, 3, 4, 4, -1], [5, 3, 2, 8, 10])
    """
    if len(prototypes) != len(sizes):
        raise ShapeMismatch(f"{len(prototypes)} prototypes and {len(sizes)} sizes.")
    used = np.flatnonzero(sizes)
    n = len(used)
    if n == 0:
        none = np.zeros(0, dtype=np.int64)
        return Hierarchy(none, none, np.zeros(0), none, none)
    nodes = np.concatenate([used, len(sizes) + np.arange(n - 1)])
    parents = np.full(2 * n - 1, -1)
    distances = np.zeros(2 * n - 1)
    counts = np.ones(2 * n - 1, dtype=np.int64)
    totals = np.concatenate([sizes[used], np.zeros(n - 1, dtype=np.int64)])
    if n > 1:
        apart = np.maximum(pdist(unit(prototypes[used]).astype(np.float64), "cosine"), 0.0)
        if tied is not None and len(tied):
            place = np.full(len(sizes), -1)
            place[used] = np.arange(n)
            pairs = np.sort(place[tied], axis=1)
            low, high = pairs[(pairs[:, 0] >= 0) & (pairs[:, 0] < pairs[:, 1])].T
            apart[low * n - low * (low + 1) // 2 + high - low - 1] = 0.0  # as pdist lays pairs out
        joins = linkage(apart, method="average")
        for number, (a, b, distance, n_joined) in enumerate(joins):
            group, parts = n + number, [int(a), int(b)]
            parents[parts] = nodes[group]
            distances[group], counts[group] = distance, int(n_joined)
            totals[group] = totals[parts].sum()
    return Hierarchy(nodes, parents, distances, counts, totals)
