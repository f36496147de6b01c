"""Pieces: what alignments hold together, which clusters begin from and which teaches them.

A piece is what the profiles of its own members find. Joining pieces whose proteins are alike comes later,
with the heads, since it needs vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.metrics import adjusted_rand_score

from seqscan.alignment import Alignments, align_all
from seqscan.artifact import read_manifest, write_artifact
from seqscan.head import ClusterHead
from seqscan.neighbors.graph import NeighborGraph, best_hits, combine, halves
from seqscan.store import unit

__all__ = [
    "MERGE_COSINE",
    "N_BRIDGES",
    "SAME_PART_COSINE",
    "Pieces",
    "by_size",
    "communities",
    "find_pieces",
    "group_means",
    "join_pieces",
    "label_pieces",
    "pieces_suffice",
    "smallest_part",
]

LINKED_SHARE = 0.1
"""Groups are one community if this share of their pairs is linked."""

N_REPRESENTATIVES = 5
"""Proteins of each community, no two of them aligned, whose profiles search the others."""

N_SAMPLED = 50
"""Proteins of each community that the profiles search through."""

MIN_SHARE = 0.3
"""Two communities are one piece if this share of each is found from the other."""

N_BRIDGES = 20
"""Neighbors that profiles add to a protein."""

RESOLUTION = 0.3
"""Of communities where alignments chain clans, in multiples of the graph's density."""

MARGIN = 0.01
"""By how much communities of halves must be more alike than connected parts, as adjusted Rand index."""

MAX_LEFT_OUT = 0.02
"""Share of the proteins in small groups that may be left out where a number of clusters is given."""

MERGE_COSINE = 0.5
"""Clusters of heads are one if the cosine of their means is above this, when no number is given."""

SAME_PART_COSINE = 0.8
"""The same for parts of the alignments: that no profile connects them speaks against joining them."""


@dataclass(frozen=True)
class Pieces:
    """The division of N proteins by alignments, on two levels.

    Attributes
    ----------
    communities : (N,), int64
        Dense in links; numbered by size.
    groups : (N,), int64
        Communities that profiles join; numbered by size.
    graph : NeighborGraph
        Neighbors by alignment, then those that profiles add.
    chained : bool
        Chains of alignments join the families of clans, so that what the graph connects says nothing.
    """

    communities: NDArray[np.int64]
    groups: NDArray[np.int64]
    graph: NeighborGraph
    chained: bool = False

    def enough_for(self, n_clusters: int | None) -> NDArray[np.int64]:
        """Return the groups that are large enough for a cluster, (N,), -1 in smaller ones.

        With a number of clusters, what is linked at all stays together as long as there are so many pieces:
        connected parts (unless they are chained), else groups, else communities. Of chained alignments the
        smallest groups beyond the number are left out if they hold next to nothing: joined with those they
        resemble most they would spoil large ones.
        """
        smallest = smallest_part(len(self.groups), n_clusters)
        if n_clusters is None:
            return by_size(self.groups, smallest)
        first = () if self.chained else (self.connected_parts,)
        for division in (*first, self.groups, self.communities):
            pieces = by_size(division, smallest)
            if pieces.max() + 1 >= n_clusters:
                break
        beyond = pieces >= n_clusters
        return np.where(beyond, -1, pieces) if self.chained and beyond.mean() <= MAX_LEFT_OUT else pieces

    @cached_property
    def connected_parts(self) -> NDArray[np.int64]:
        """What the graph connects, (N,)."""
        return connected_components(_links(self.graph), directed=False)[1]

    def write(self, path: str | Path) -> None:
        """Write a pieces artifact."""
        content = {"metric": self.graph.metric, "chained": self.chained}
        with write_artifact(path, "pieces", content) as directory:
            for name, array in (
                ("communities", self.communities),
                ("groups", self.groups),
                ("indices", self.graph.indices),
                ("distances", self.graph.distances),
            ):
                np.save(directory / f"{name}.npy", array)

    @classmethod
    def read(cls, path: str | Path) -> Pieces:
        """Read a pieces artifact; raises `ArtifactError` if there is none."""
        manifest = read_manifest(path, "pieces")
        names = ("communities", "groups", "indices", "distances")
        communities, groups, indices, distances = (np.load(Path(path) / f"{name}.npy") for name in names)
        graph = NeighborGraph(indices, distances, manifest.content["metric"])
        return cls(communities, groups, graph, manifest.content.get("chained", False))


def find_pieces(
    sequences: Sequence[NDArray[np.uint8]],
    aligned: NeighborGraph,
    *,
    min_coverage: float = 0.3,
    threads: int = 2,
) -> Pieces:
    """Divide proteins by their alignments, then join what profiles recognise unless alignments chain clans.

    Alignments of single sequences leave a family in parts, chain families of a clan, and say little of how
    much of a large family is alike, since only the best hits of each protein are kept. So they are trusted
    only where they are dense. Representatives of each community then search a sample of all others with the
    profile of what they find, without a limit that a large family would reach. A family is what one profile
    recognises: two communities are one piece where a good share of each is found from the other; from one
    side alone, other families of the clan are found too.

    Parameters
    ----------
    sequences : N arrays of codes, each (L_i,)
    aligned : NeighborGraph
        From `AlignmentNeighbors`.
    min_coverage : share of both sequences that an alignment must cover
    threads : int

    Raises
    ------
    MissingDependency
        If there is no MMseqs2.
    """
    unchained = _unchained(aligned)
    if unchained is not None:
        # Profiles would tie clans together all the more.
        return Pieces(unchained, unchained, aligned, chained=True)
    dense = communities(aligned)
    if dense.max() == 0:
        return Pieces(dense, dense, aligned)
    order = np.lexsort((np.arange(len(dense)), -aligned.counts, dense))
    place = np.arange(len(dense)) - np.searchsorted(dense[order], dense[order])
    # A sample of a large community: its own members must not crowd out the hits in others.
    step = -(-np.bincount(dense) // N_SAMPLED)[dense[order]]
    sampled = order[place % step == 0]
    hits = align_all(
        sequences,
        rows=np.sort(sampled),
        queries=np.sort(_unlike(order, dense, aligned)),
        n_iterations=3,
        max_hits=1000,
        min_coverage=min_coverage,
        threads=threads,
    )
    groups = _joined(dense, hits, np.bincount(dense[sampled]))
    added = (dense[hits.query] != dense[hits.target]) & (groups[hits.query] == groups[hits.target])
    if not added.any():
        return Pieces(dense, groups, aligned)
    query, target, bits = hits.query[added], hits.target[added], hits.bits[added]
    lengths = np.fromiter((len(s) for s in sequences), dtype=np.int64, count=len(sequences))
    bridges = best_hits(
        np.concatenate([query, target]), np.concatenate([target, query]), np.tile(bits, 2), lengths, N_BRIDGES
    )
    return Pieces(dense, groups, combine(aligned, bridges))


def _unchained(aligned: NeighborGraph) -> NDArray[np.int64] | None:
    """Return communities (N,) if chains of few links join the families of clans, else None.

    Such a link is in one random half of the links and not in the other: connected parts of the halves are
    then clearly less alike than communities are.
    """
    share = RESOLUTION * 2 * _links(aligned).nnz / len(aligned) ** 2
    alike = np.zeros(2)
    for seed in range(2):
        both = halves(aligned, seed=seed)
        parts = [connected_components(_links(half), directed=False)[1] for half in both]
        # A half has half the links.
        dense = [communities(half, share=share / 2) for half in both]
        alike += adjusted_rand_score(*parts), adjusted_rand_score(*dense)
    return communities(aligned, share=share) if alike[1] > alike[0] + 2 * MARGIN else None


def communities(graph: NeighborGraph, *, share: float = LINKED_SHARE) -> NDArray[np.int64]:
    """Number the communities of a graph, largest first, (N,).

    Two groups come apart if less than `share` of the pairs between them is linked: a few links chain families
    together, many links make one.

    Notes
    -----
    Constant Potts model (Traag, Van Dooren and Nesterov, Phys. Rev. E 84, 2011), by the Louvain algorithm as
    scikit-network has it. The result depends on the order of the proteins and on no seed.

    Examples
    --------
    >>> bridged = [[1, 2, -1], [0, 2, -1], [0, 1, 3], [4, 5, 2], [3, 5, -1], [3, 4, -1]]
    >>> indices = np.array(bridged, np.int32)
    >>> graph = NeighborGraph(indices, np.where(indices < 0, np.inf, 0).astype(np.float32), "cosine")
    >>> communities(graph, share=0.1).tolist(), communities(graph, share=0.5).tolist()
    ([0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1])
    """
    from sknetwork.clustering import Louvain

    links = _links(graph)
    if not links.nnz:
        return np.arange(len(graph))
    # Its resolution is in multiples of the density of the whole graph.
    resolution = share * len(graph) ** 2 / (2 * links.nnz)
    method = Louvain(resolution=resolution, modularity="potts", sort_clusters=False)
    return by_size(method.fit_predict(links + links.T))


def _links(graph: NeighborGraph) -> csr_matrix:
    """Return the neighbor pairs as an upper triangle, (N, N)."""
    edges = graph.edges()
    return csr_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(len(graph),) * 2)


def _joined(dense: NDArray[np.int64], hits: Alignments, n_sampled: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the groups of communities (N,) of which a good share each is found from the other, (N,)."""
    sizes = np.bincount(dense)
    n = len(sizes)
    found = np.unique(np.stack([dense[hits.query], hits.target], axis=1), axis=0)
    ties, n_found = np.unique(np.stack([found[:, 0], dense[found[:, 1]]], axis=1), axis=0, return_counts=True)
    ties = ties[(ties[:, 0] != ties[:, 1]) & (n_found >= MIN_SHARE * n_sampled[ties[:, 1]])]
    # What is too small for a cluster of its own goes where its best hit is, and ties nothing else together.
    order = np.argsort(-hits.bits, kind="stable")
    keys, first = np.unique((dense[hits.query] * n + dense[hits.target])[order], return_index=True)
    bits = hits.bits[order][first][np.searchsorted(keys, ties @ np.array([n, 1]))]
    small = sizes < smallest_part(len(dense), None)
    crumbs, bits = np.concatenate([ties, ties[:, ::-1]]), np.tile(bits, 2)
    order = np.lexsort((crumbs[:, 1], -bits, crumbs[:, 0]))
    best = crumbs[order][np.unique(crumbs[order, 0], return_index=True)[1]]
    mutual = np.isin(ties @ np.array([n, 1]), ties @ np.array([1, n]))
    ties = np.concatenate([ties[mutual & ~small[ties].any(axis=1)], best[small[best[:, 0]]]])
    graph = csr_matrix((np.ones(len(ties)), (ties[:, 0], ties[:, 1])), shape=(n, n))
    return by_size(connected_components(graph, directed=False)[1][dense])


def _unlike(order: NDArray[np.int64], piece: NDArray[np.int64], aligned: NeighborGraph) -> NDArray[np.int64]:
    """Choose representatives: in `order`, those that no earlier one of their piece is aligned with."""
    taken: set[int] = set()
    n_chosen = np.zeros(piece.max() + 1, dtype=np.int64)
    chosen = []
    for row in order.tolist():
        if n_chosen[piece[row]] < N_REPRESENTATIVES and row not in taken:
            chosen.append(row)
            n_chosen[piece[row]] += 1
            taken.update(aligned.indices[row].tolist())  # -1, for none, is no row
    return np.array(chosen, dtype=np.int64)


def by_size(group: NDArray[np.integer], smallest: int = 1) -> NDArray[np.int64]:
    """Number groups (N,) again, largest first, -1 in those of fewer than `smallest`."""
    sizes = np.bincount(group)
    order = np.argsort(-sizes, kind="stable")
    kept = order[sizes[order] >= smallest]
    number = np.full(len(sizes), -1, dtype=np.int64)
    number[kept] = np.arange(len(kept))
    return number[group]


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


def pieces_suffice(pieces: NDArray[np.int64], n_clusters: int | None) -> bool:
    """Say whether clusters can begin from pieces (N,), -1 for proteins in none.

    A few aligned proteins do not tell how many clusters the others make.
    """
    n_pieces = int(pieces.max()) + 1
    return n_pieces >= (n_clusters or 1) and (n_clusters is not None or float((pieces >= 0).mean()) > 0.5)


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
