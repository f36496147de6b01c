"""Join clusters that neighbors link: what more prototypes than families have taken apart comes together.

Two clusters belong together if the pairs of neighbors between them are many beside those within each. A
family that prototypes divide at random has as many between any two of its pieces as within them, however many
pieces there are and however large it is; so one limit serves families of all sizes, as a density of links
would not.
"""

from __future__ import annotations

import heapq
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix, vstack

from seqscan.neighbors.graph import NeighborGraph

__all__ = ["MIN_LINKED", "count_links", "join_linked", "linked_groups"]

MIN_LINKED = 0.05
"""Clusters are joined while the pairs between two of them are this share of those within."""

WEAKEST_LINKED = 0.1 * MIN_LINKED
"""Two clusters with less between them count as not linked: most pairs have less, and seldom join."""

BLOCK_ROWS = 65_536


def count_links(graph: NeighborGraph, labels: NDArray[np.integer], n_clusters: int) -> csr_matrix:
    """Count the neighbors that proteins of each cluster have in each, both ways, (C, C), symmetric.

    What is less than `WEAKEST_LINKED` of what two clusters have within is left out.

    Parameters
    ----------
    graph : NeighborGraph
        May be a memory map.
    labels : (N,)
        The cluster of each protein, -1 if none.
    n_clusters : int
    """
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(n_clusters + 1))

    def neighbors_of(first: int, last: int) -> csr_matrix:
        """Count for clusters from `first` to before `last`."""
        rows = order[starts[first] : starts[last]]
        near = np.asarray(graph.indices[rows])
        other = labels[near]  # of -1, no neighbor, that of the last protein
        kept = (near >= 0) & (other >= 0)
        own = np.broadcast_to(labels[rows, None] - first, near.shape)
        shape = (last - first, n_clusters)
        return coo_matrix((np.ones(kept.sum()), (own[kept], other[kept])), shape=shape).tocsr()

    blocks = _blocks(starts)
    within = np.concatenate([neighbors_of(*block).diagonal(block[0]) for block in blocks])
    parts = []
    for first, last in blocks:
        found = neighbors_of(first, last).tocoo()
        least = WEAKEST_LINKED * np.sqrt(within[first + found.row] * within[found.col])
        strong = found.data >= least
        entries = found.data[strong], (found.row[strong], found.col[strong])
        parts.append(coo_matrix(entries, shape=found.shape).tocsr())
    total = vstack(parts, format="csr")
    return (total + total.T).tocsr()


def _blocks(starts: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Divide clusters, by where each begins (C + 1,), to runs of about `BLOCK_ROWS` proteins."""
    inner = np.searchsorted(starts, np.arange(starts[0] + BLOCK_ROWS, starts[-1], BLOCK_ROWS))
    return list(pairwise(np.unique([0, *inner.tolist(), len(starts) - 1]).tolist()))


def join_linked(
    links: csr_matrix,
    sizes: NDArray[np.integer],
    n_clusters: int | None = None,
    *,
    smallest: int = 1,
    min_linked: float = MIN_LINKED,
) -> NDArray[np.int64]:
    """Join clusters while `min_linked` is exceeded, and return the group of each, (C,).

    Those with the most links come first. What two clusters have between them is compared with the geometric
    mean of what each has within, and counted again for what they have become.

    Parameters
    ----------
    links : (C, C)
        From `count_links`.
    sizes : (C,), proteins
    n_clusters : int, optional
        Stop earlier, at this many groups that are not too small.
    smallest : int, proteins
        Groups of fewer are too small.
    min_linked : share

    Returns
    -------
    groups : (C,)
        0 for the largest and so on; -1 in groups that are too small.

    Examples
    --------
    >>> links = csr_matrix([[8, 4, 0], [4, 6, 0], [0, 0, 9]])
    >>> join_linked(links, np.array([5, 4, 6])).tolist()
    [0, 0, 1]
    """
    merges = _merges(links, min_linked)
    members = np.array(sizes, dtype=np.int64)
    n_large = int((members >= smallest).sum())
    n_kept, best = 0, (n_large >= (n_clusters or 0), n_large)
    for number, (a, b) in enumerate(merges, 1):
        n_large -= int(members[a] >= smallest) + int(members[b] >= smallest)
        members[a] += members[b]
        n_large += int(members[a] >= smallest)
        # The last level with enough groups or, if none has them, the one with the most.
        enough = n_clusters is None or n_large >= n_clusters
        if enough or (not best[0] and n_large > best[1]):
            n_kept, best = number, (enough, n_large)
    group = np.arange(len(sizes))
    for a, b in reversed(merges[:n_kept]):  # the last first, so that each finds where its group went
        group[b] = group[a]
    totals = np.bincount(group, sizes, minlength=len(sizes))
    order = np.argsort(-totals, kind="stable")
    kept = order[totals[order] >= max(1, smallest)]
    number_of = np.full(len(sizes), -1, dtype=np.int64)
    number_of[kept] = np.arange(len(kept))
    return number_of[group]


def linked_groups(
    graph: NeighborGraph, labels: NDArray[np.integer], n_clusters: int | None, smallest: int
) -> NDArray[np.int64]:
    """Return the group of each protein, (N,), from its cluster (N,), -1 for none; see `join_linked`.

    The clusters stay where links say nothing: where a protein has more neighbors than the root of the number
    of proteins, so that they go beyond its family, or where fewer groups than wanted, or one, would be left.
    """
    if graph.indices.shape[1] ** 2 > len(graph):
        return labels.astype(np.int64)
    n = int(labels.max()) + 1
    sizes = np.bincount(labels[labels >= 0], minlength=n)
    group_of = join_linked(count_links(graph, labels, n), sizes, n_clusters, smallest=smallest)
    if group_of.max(initial=-1) + 1 < (n_clusters or 2):
        return labels.astype(np.int64)
    return np.where(labels >= 0, group_of[labels], -1)


def _merges(links: csr_matrix, min_linked: float) -> list[tuple[int, int]]:
    """Return pairs (a, b) in the order in which b is joined to a."""
    within = np.maximum(links.diagonal(), 1.0).tolist()
    near: list[dict[int, float]] = [{} for _ in within]
    entries = links.tocoo()
    for a, b, count in zip(entries.row.tolist(), entries.col.tolist(), entries.data.tolist(), strict=True):
        if a != b:
            near[a][b] = count
    changed = [0] * len(within)

    def entry(a: int, b: int) -> tuple[float, int, int, int, int]:
        a, b = min(a, b), max(a, b)
        return -near[a][b] / (within[a] * within[b]) ** 0.5, a, b, changed[a], changed[b]

    waiting = [entry(a, b) for a, others in enumerate(near) for b in others if a < b]
    heapq.heapify(waiting)
    merges = []
    while waiting:
        linked, a, b, seen_a, seen_b = heapq.heappop(waiting)
        if changed[a] != seen_a or changed[b] != seen_b:  # counted before one of them grew, or was joined
            continue
        if -linked <= min_linked:
            break
        if len(near[a]) < len(near[b]):
            a, b = b, a
        between = near[a].pop(b)
        del near[b][a]
        within[a] += within[b] + 2 * between
        for other, count in near[b].items():
            del near[other][b]
            near[a][other] = near[other][a] = near[a].get(other, 0.0) + count
        near[b] = {}
        changed[a] += 1
        changed[b] = -1
        for other in near[a]:
            heapq.heappush(waiting, entry(a, other))
        merges.append((a, b))
    return merges
