"""Pieces: what alignments hold together, which clusters begin from and which teaches them.

A piece is what the profiles of its own members find; what single alignments link may be one too, if vectors
do not speak against it. Joining pieces whose proteins are alike comes later: `seqscan.neighbors.merging`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from seqscan.alignment import Alignments, align_all
from seqscan.artifact import read_manifest, write_artifact
from seqscan.neighbors.graph import NeighborGraph, best_hits, combine
from seqscan.neighbors.linkage import average_linkage

__all__ = [
    "N_BRIDGES",
    "Pieces",
    "by_size",
    "communities",
    "connected_parts",
    "effective_number",
    "find_pieces",
    "join_communities",
    "needed_strength",
    "pieces_suffice",
    "potts_communities",
    "smallest_part",
]

LINKED_SHARE = 0.1
"""Groups are one community if this share of their pairs is linked."""

N_REPRESENTATIVES = 5
"""Proteins of each community, no two of them aligned, whose profiles search the others."""

N_SAMPLED = 50
"""Proteins of each community that the profiles search through."""

MIN_SHARE = 0.1
"""Two communities are tied if this share of each is found from the other."""

STRENGTH_PER_DECADE = 0.25
"""How much stronger ties must be in the mean, for ten times as many families; among ten, any join."""

MAX_STRENGTH = 0.6
"""No ties must be stronger than this: of more families nothing is known."""

N_BRIDGES = 20
"""Neighbors that profiles add to a protein."""

LINKS_SUFFICE = 100
"""Among so many families, by `effective_number`, or fewer, a link joins."""

LINKS_SUFFICE_FOR_A_NUMBER = 20
"""The same where a number of clusters is given, whatever vectors say."""

NEARER_THAN = 0.9
"""Linked groups join if the means of their vectors are nearer than this share of the pairs without links."""

MAX_COMPARED = 2_000
"""Groups, the largest ones, from which the pairs are taken."""

MAX_LEFT_OUT = 0.1
"""Share of the proteins in small groups that may be left out where a number of clusters is given."""

MeansOf = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""From groups of proteins (N,), numbered from 0, to the directions of their vectors' means, (G, Q)."""


@dataclass(frozen=True)
class Pieces:
    """The division of N proteins by alignments: communities, and ties that join them to groups.

    Attributes
    ----------
    communities : (N,), int64
        Dense in links; numbered by size.
    ties : (T, 2), int64
        Pairs of communities that profiles find from each other.
    strength : (T,), float32, 0 to 1
        What a tenth of each community at least scores with the other's profiles, as a share of what it
        scores with its own; infinite where one is too small for a cluster of its own.
    graph : NeighborGraph
        Neighbors by alignment, then those that profiles add.
    """

    communities: NDArray[np.int64]
    ties: NDArray[np.int64]
    strength: NDArray[np.float32]
    graph: NeighborGraph

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """What ties join that are strong enough for so many families, (N,); numbered by size."""
        return self.joined(needed_strength(self.communities))

    @cached_property
    def _joins(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Pairs of communities whose groups join, (J, 2), and the mean strength of the ties between."""
        return average_linkage(self.ties, self.strength)

    def linked(self, means_of: MeansOf | None = None) -> NDArray[np.int64]:
        """Return what links join, whatever their number, beside strong ties, (N,); numbered by size.

        With `means_of`, the vectors must not speak against it: the means of two linked groups must be nearer
        than `NEARER_THAN` of all pairs of groups that no link connects. Of groups too small for a cluster of
        their own the vectors say little: they join.
        """
        groups = self.groups
        pairs = np.unique(np.sort(groups[self.graph.edges()], axis=1), axis=0)
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        if means_of is not None and len(pairs):
            n_large = int((np.bincount(groups) >= smallest_part(len(groups), None)).sum())
            small = (pairs >= n_large).any(axis=1)
            pairs = pairs[small | _nearer_than_unlinked(means_of(groups), pairs, n_large)]
        return join_communities(groups, pairs)

    def joined(self, needed: float) -> NDArray[np.int64]:
        """Join groups while the ties between two are at least so strong in the mean, (N,); by size."""
        pairs, strength = self._joins
        return join_communities(self.communities, pairs[strength >= needed])

    def enough_for(self, n_clusters: int | None, means_of: MeansOf | None = None) -> NDArray[np.int64]:
        """Return the groups that are large enough for a cluster, (N,), -1 in smaller ones.

        Where families are few, what is linked at all stays together, unless vectors speak against it (see
        `linked`): that two of them are of one clan is rare. Where a number of clusters is given, it does so
        as long as there are so many pieces, whatever vectors say. Else smaller groups make up for missing
        ones, down to two proteins; after that the weakest ties are cut. If there are more groups, the
        smallest are left out as long as they hold little: joined with those they resemble most they would
        spoil large ones.
        """
        smallest = smallest_part(len(self.communities), n_clusters)
        n_families = effective_number(self.communities)
        if n_clusters is None:
            few = n_families <= LINKS_SUFFICE
            return by_size(self.linked(means_of) if few else self.groups, smallest)
        if n_families <= LINKS_SUFFICE_FOR_A_NUMBER:
            pieces = by_size(connected_parts(self.graph), smallest)
            if pieces.max() + 1 >= n_clusters:
                return pieces
        needed, strength = needed_strength(self.communities), self._joins[1]
        for cut in (needed, *np.unique(strength[strength > needed])):
            groups = self.joined(cut)
            if (np.bincount(groups) > 1).sum() >= n_clusters:
                break
        sizes = np.bincount(groups)
        pieces = by_size(groups, min(smallest, max(2, sizes[min(n_clusters, len(sizes)) - 1])))
        beyond = pieces >= n_clusters
        return np.where(beyond, -1, pieces) if beyond.mean() <= MAX_LEFT_OUT else pieces

    def tied_clusters(self, labels: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the pairs of clusters of the proteins (N,) that most of two tied communities are in, (T, 2).

        What was too weakly tied to be one piece is homologous still; what is too small to be a cluster says
        nothing of others. Pairs ascend.
        """
        members = csr_matrix((np.ones(len(labels)), (self.communities, labels)))
        cluster = np.asarray(members.argmax(axis=1)).ravel()
        pairs = np.sort(cluster[self.ties[np.isfinite(self.strength)]], axis=1)
        return np.unique(pairs[pairs[:, 0] < pairs[:, 1]], axis=0).astype(np.int64)

    def write(self, path: str | Path) -> None:
        """Write a pieces artifact."""
        arrays = {name: getattr(self, name) for name in ("communities", "ties", "strength")}
        arrays |= {name: getattr(self.graph, name) for name in ("indices", "distances")}
        with write_artifact(path, "pieces", {"metric": self.graph.metric}) as directory:
            for name, array in arrays.items():
                np.save(directory / f"{name}.npy", array)

    @classmethod
    def read(cls, path: str | Path) -> Pieces:
        """Read a pieces artifact; raises `ArtifactError` if there is none."""
        manifest = read_manifest(path, "pieces")
        names = ("communities", "ties", "strength", "indices", "distances")
        communities, ties, strength, indices, distances = (
            np.load(Path(path) / f"{name}.npy") for name in names
        )
        return cls(communities, ties, strength, NeighborGraph(indices, distances, manifest.content["metric"]))


def find_pieces(
    sequences: Sequence[NDArray[np.uint8]],
    aligned: NeighborGraph,
    *,
    min_coverage: float = 0.3,
    threads: int = 2,
) -> Pieces:
    """Divide proteins by their alignments, then join what profiles recognise like their own.

    Alignments of single sequences leave a family in parts, chain families of a clan, and say little of how
    much of a large family is alike, since only the best hits of each protein are kept. So they are trusted
    only where they are dense. Representatives of each community then search a sample of all others with the
    profile of what they find, without a limit that a large family would reach. A family is what one profile
    recognises: communities are one piece where the profiles of each give a share of the other scores that
    are not much below those of its own. Other families of a clan are found too, but score less; and one pair
    of communities joins no two groups that the other pairs between them hold apart.

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
    dense = communities(aligned)
    if dense.max() == 0:
        return Pieces(dense, np.empty((0, 2), np.int64), np.empty(0, np.float32), aligned)
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
    found = Pieces(dense, *_ties(dense, hits, np.bincount(dense[sampled])), aligned)
    groups = found.groups
    added = (dense[hits.query] != dense[hits.target]) & (groups[hits.query] == groups[hits.target])
    if not added.any():
        return found
    query, target, bits = hits.query[added], hits.target[added], hits.bits[added]
    lengths = np.fromiter((len(s) for s in sequences), dtype=np.int64, count=len(sequences))
    bridges = best_hits(
        np.concatenate([query, target]), np.concatenate([target, query]), np.tile(bits, 2), lengths, N_BRIDGES
    )
    return replace(found, graph=combine(aligned, bridges))


def effective_number(dense: NDArray[np.int64]) -> float:
    """Return how many communities of one size would hold as large a share of all pairs as those of (N,).

    Notes
    -----
    Hill number of order 2 (M. O. Hill, Ecology 54:427, 1973): the inverse of Simpson's index.

    Examples
    --------
    >>> round(effective_number(np.array([0, 0, 1, 1])), 2), round(effective_number(np.array([0, 0, 0, 1])), 2)
    (2.0, 1.6)
    """
    shares = np.bincount(dense) / len(dense)
    return float(1.0 / (shares @ shares))


def needed_strength(dense: NDArray[np.int64]) -> float:
    """Return how strong ties must be, in the mean, to join groups of communities (N,).

    That two proteins drawn at random are of two families of one clan is about as likely however many
    families there are; that they are of one family is the less likely the more there are. So among many
    families more of the ties hold clans together, and a weak one says less. How many there are is judged by
    the share of all pairs that are of one community.

    Notes
    -----
    Of ties among 747 families the odds that they hold a family together, not a clan, rise tenfold with 0.2
    of strength (docs/experiments/scale.md).

    Examples
    --------
    >>> ten, thousand = np.repeat(np.arange(10), 100), np.arange(1000)
    >>> round(needed_strength(ten), 2), round(needed_strength(thousand), 2)
    (0.0, 0.5)
    """
    decades = np.log10(effective_number(dense) / 10)
    return float(np.clip(STRENGTH_PER_DECADE * decades, 0.0, MAX_STRENGTH))


def communities(graph: NeighborGraph, *, share: float = LINKED_SHARE) -> NDArray[np.int64]:
    """Number the communities of a graph, largest first, (N,).

    Two groups come apart if less than `share` of the pairs between them is linked: a few links chain families
    together, many links make one.

    Examples
    --------
    >>> bridged = [[1, 2, -1], [0, 2, -1], [0, 1, 3], [4, 5, 2], [3, 5, -1], [3, 4, -1]]
    >>> indices = np.array(bridged, np.int32)
    >>> graph = NeighborGraph(indices, np.where(indices < 0, np.inf, 0).astype(np.float32), "cosine")
    >>> communities(graph, share=0.1).tolist(), communities(graph, share=0.5).tolist()
    ([0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1])
    """
    links = _links(graph)
    return by_size(potts_communities(links, share)) if links.nnz else np.arange(len(graph))


def potts_communities(links: csr_matrix, share: float) -> NDArray[np.int64]:
    """Number the communities of linked things, (N,).

    Parameters
    ----------
    links : (N, N)
        1 for each linked pair, once; at least one.
    share : fraction
        Two groups come apart if less of the pairs between them is linked.

    Notes
    -----
    Constant Potts model (Traag, Van Dooren and Nesterov, Phys. Rev. E 84, 2011), by the Louvain algorithm as
    scikit-network has it. The result depends on the order of the things and on no seed.
    """
    from sknetwork.clustering import Louvain

    # Its resolution is in multiples of the density of the whole graph.
    resolution = share * links.shape[0] ** 2 / (2 * links.nnz)
    return Louvain(resolution=resolution, modularity="potts", sort_clusters=False).fit_predict(
        links + links.T
    )


def connected_parts(graph: NeighborGraph) -> NDArray[np.int64]:
    """Number what the neighbor pairs of a graph connect, (N,)."""
    return connected_components(_links(graph), directed=False)[1]


def _links(graph: NeighborGraph) -> csr_matrix:
    """Return the neighbor pairs as an upper triangle, (N, N)."""
    edges = graph.edges()
    return csr_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(len(graph),) * 2)


def _ties(
    dense: NDArray[np.int64], hits: Alignments, n_sampled: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return pairs of communities (N,) that find each other, (T, 2), and how strong they are, (T,)."""
    n = len(n_sampled)
    small = np.bincount(dense) < smallest_part(len(dense), None)
    pairs, strength, bits = _finds(dense, hits, n_sampled)
    _, there, back = np.intersect1d(pairs @ [n, 1], pairs @ [1, n], return_indices=True)
    mutual = (pairs[there, 0] < pairs[there, 1]) & ~small[pairs[there]].any(axis=1)
    there, back = there[mutual], back[mutual]
    # What is too small for a cluster of its own goes where its best hit is, and ties nothing else together.
    crumbs, bits = np.concatenate([pairs, pairs[:, ::-1]]), np.tile(bits, 2)
    order = np.lexsort((crumbs[:, 1], -bits, crumbs[:, 0]))
    crumbs = crumbs[order][np.unique(crumbs[order, 0], return_index=True)[1]]
    crumbs = crumbs[small[crumbs[:, 0]]]
    strength = np.r_[np.minimum(strength[there], strength[back]), np.full(len(crumbs), np.inf)]
    return np.concatenate([pairs[there], crumbs]), strength.astype(np.float32)


def _finds(
    dense: NDArray[np.int64], hits: Alignments, n_sampled: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Return which communities (N,) find a share of which, (F, 2), how strongly, and the best score, (F,)."""
    n = len(n_sampled)
    source, target = dense[hits.query], dense[hits.target]
    inside = source == target
    own = np.zeros(len(dense), dtype=np.float32)
    np.maximum.at(own, hits.target[inside], hits.bits[inside])
    # The best hit of each community on each protein of another, the strongest of each pair first.
    order = np.lexsort((-hits.bits, hits.target, source))
    order = order[~inside[order]]
    _, first = np.unique(np.stack([source, hits.target])[:, order], axis=1, return_index=True)
    best = order[first]
    bits, pair = hits.bits[best], source[best] * n + target[best]
    ratio = bits / np.maximum(own[hits.target[best]], bits)
    order = np.lexsort((-ratio, pair))
    pairs, first, n_found = np.unique(pair[order], return_index=True, return_counts=True)
    share = np.ceil(MIN_SHARE * n_sampled[pairs % n]).astype(np.int64)
    enough = n_found >= share
    strength = ratio[order][(first + share - 1)[enough]]
    best_bits = np.zeros(len(pairs), dtype=np.float32)
    np.maximum.at(best_bits, np.searchsorted(pairs, pair), bits)
    return np.stack(np.divmod(pairs[enough], n), axis=1), strength, best_bits[enough]


def _nearer_than_unlinked(
    means: NDArray[np.float32], pairs: NDArray[np.int64], n_large: int
) -> NDArray[np.bool_]:
    """Say which linked pairs (L, 2) are nearer than `NEARER_THAN` of the pairs of large groups without."""
    n = min(n_large, MAX_COMPARED)
    cosine = means[:n] @ means[:n].T
    unlinked = np.triu(np.ones_like(cosine, dtype=bool), 1)
    compared = pairs[(pairs < n).all(axis=1)]
    unlinked[compared[:, 0], compared[:, 1]] = False
    bound = np.quantile(cosine[unlinked], NEARER_THAN) if unlinked.any() else -np.inf
    return np.einsum("pq,pq->p", means[pairs[:, 0]], means[pairs[:, 1]]) > bound


def join_communities(dense: NDArray[np.int64], ties: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number what pairs of communities (N,), (T, 2), join, largest first, (N,)."""
    graph = csr_matrix((np.ones(len(ties)), (ties[:, 0], ties[:, 1])), shape=(dense.max() + 1,) * 2)
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
