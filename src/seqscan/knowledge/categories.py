"""A directed acyclic graph of categories from clusters.

Clusters are the leaves. What is above them comes from an average linkage of their members, in which clusters
that profiles tie are as near as can be. Only groups become categories that are nearer than chance explains
and that other members of the same clusters would form too. A category gets a second parent if it is nearer to
that parent's members than they are to each other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control, t

from seqscan.store import unit

__all__ = [
    "Category",
    "Linkage",
    "categories",
    "cluster_means",
    "covariance_within",
    "linkage",
    "stable_id",
]

MIN_Z = 1.645
"""How many standard errors the branch of a group must be longer than 0: 5 %, one-sided."""
MAX_Q = 0.1
"""False discovery rate of the groups that are nearer than chance explains, as among neighbors."""


@dataclass(frozen=True)
class Category:
    """A set of proteins.

    Attributes
    ----------
    clusters : tuple of int
        The clusters within it, ascending.
    rows : (n,), int64
        Members.
    parents : tuple of int
        Places of its parents in the list of categories; none for the topmost.
    cohesion : cosine
        At which its parts join, tied clusters counted as 1; 1 for a cluster.
    """

    clusters: tuple[int, ...]
    rows: NDArray[np.int64]
    parents: tuple[int, ...]
    cohesion: float


def cluster_means(
    points: NDArray[np.float32], labels: NDArray[np.integer], numbers: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Return the mean of each cluster's points, (C, Q): their products are mean cosines between members."""
    means = np.zeros((len(numbers), points.shape[1]))
    place = np.searchsorted(numbers, labels)
    place[place == len(numbers)] = 0
    inside = numbers[place] == labels
    np.add.at(means, place[inside], points[inside])
    return means / np.bincount(place[inside], minlength=len(numbers))[:, None]


def covariance_within(
    points: NDArray[np.float32], labels: NDArray[np.integer], means: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return the covariance of members around the mean of their cluster, pooled over clusters, (Q, Q).

    Parameters
    ----------
    points : (N, Q)
    labels : (N,)
        Cluster of each, -1 for none.
    means : (C, Q)
        Of the clusters that occur, see `cluster_means`.
    """
    inside = labels >= 0
    place = np.unique(labels[inside], return_inverse=True)[1]
    apart = points[inside] - means[place].astype(np.float32)
    # One degree of freedom for each mean; of clusters of one alone nothing is known, and 0 is returned.
    return (apart.T @ apart).astype(np.float64) / max(len(apart) - len(means), 1)


def linkage(
    means: NDArray[np.floating], sizes: NDArray[np.integer], tied: NDArray[np.integer] | None = None
) -> NDArray[np.float64]:
    """Join clusters by the mean cosine between their members, every member counting the same.

    Parameters
    ----------
    means : (C, Q)
        Of points of length 1.
    sizes : (C,), proteins
    tied : (T, 2), optional
        Pairs of clusters whose cosine counts as 1.

    Returns
    -------
    tree : (C - 1, 4)
        As SciPy's linkages, whose average one knows no sizes: two nodes, 1 - cosine, clusters.

    Notes
    -----
    Chains of nearest neighbors (Murtagh 1983): memory and time grow with the square of C.

    Examples
    --------
    >>> linkage(np.array([[1.0, 0], [0.8, 0.6], [0, 1]]), np.array([1, 1, 4])).round(2).tolist()
    [[0.0, 1.0, 0.2, 2.0], [2.0, 3.0, 0.7, 3.0]]
    """
    n = len(means)
    alike = np.asarray(means @ means.T, dtype=np.float32)
    if tied is not None:
        alike[tied[:, 0], tied[:, 1]] = alike[tied[:, 1], tied[:, 0]] = 1.0
    np.fill_diagonal(alike, -np.inf)
    weight = np.asarray(sizes, dtype=np.float32).copy()
    joins: list[tuple[int, int, float]] = []
    chain: list[int] = []
    while len(joins) < n - 1:
        if not chain:
            chain.append(int(np.flatnonzero(weight)[0]))
        row = alike[chain[-1]]
        near = int(row.argmax())
        if len(chain) == 1 or row[chain[-2]] < row[near]:
            chain.append(near)
            continue
        one, other = chain.pop(), chain.pop()
        joins.append((one, other, float(row[other])))
        mixed = (weight[one] * alike[one] + weight[other] * alike[other]) / (weight[one] + weight[other])
        alike[one] = alike[:, one] = mixed
        alike[other] = alike[:, other] = -np.inf
        weight[one] += weight[other]
        weight[other] = 0
    # The chain finds joins of one branch after the other; the tree lists them by height.
    node, count = np.arange(n), np.ones(2 * n, dtype=np.int64)
    tree = np.zeros((max(n - 1, 0), 4))
    for step, i in enumerate(np.argsort([-value for _, _, value in joins], kind="stable").tolist()):
        one, other, value = joins[i]
        left, right = sorted((int(node[one]), int(node[other])))
        count[n + step] = count[left] + count[right]
        tree[step] = left, right, max(1.0 - value, 0.0), count[n + step]
        node[one] = n + step
    return tree


def categories(
    labels: NDArray[np.integer],
    means: NDArray[np.floating],
    numbers: NDArray[np.integer],
    *,
    covariance: NDArray[np.floating] | None = None,
    tied: NDArray[np.integer] | None = None,
    min_z: float = MIN_Z,
    max_q: float = MAX_Q,
) -> list[Category]:
    """Build the graph.

    Parameters
    ----------
    labels : (N,)
        Cluster of each protein, -1 for none.
    means : (C, Q)
        Of the clusters, or their prototypes.
    numbers : (C,)
        The clusters' numbers, ascending.
    covariance : (Q, Q), optional
        Within clusters, see `covariance_within`; if not given, the means are taken to be exact.
    tied : (T, 2), optional
        Numbers of clusters that profiles find from each other; those that do not occur are passed over.
    min_z : standard errors
        See `Linkage.branch_z`.
    max_q : false discovery rate
        See `Linkage.chance`.

    Returns
    -------
    list of Category
        The leaves first, by number, then from small to large.
    """
    rows_of = [np.flatnonzero(labels == number) for number in numbers]
    sizes = np.array([len(rows) for rows in rows_of])
    if tied is not None:
        tied = np.searchsorted(numbers, tied[np.isin(tied, numbers).all(axis=1)])
    tree = Linkage.of(means, sizes, covariance, tied)
    # All proteins together are no category.
    kept = (tree.branch_z() >= min_z) & (false_discovery_control(tree.chance()) <= max_q)
    kept = np.append(kept, False)[: len(tree.tree)]
    joins = np.flatnonzero(kept)
    cohesion = np.concatenate([np.ones(len(means)), 1.0 - tree.tree[joins, 2]])
    groups, up = _merged(tree.sides, kept)
    links = {child: {parent} for child, parent in up.items()}
    _add_second_parents(links, groups, tree, joins, min_z)
    # A category holds what is below it, by every way.
    below = [set(group) for group in groups]
    for place, group in enumerate(groups):
        for ancestor in _ancestors(place, links):
            below[ancestor] |= group
    return [
        Category(
            tuple(sorted(int(numbers[i]) for i in held)),
            np.sort(np.concatenate([rows_of[i] for i in held])),
            tuple(sorted(links.get(place, ()))),
            float(cohesion[place]),
        )
        for place, held in enumerate(below)
    ]


@dataclass(frozen=True)
class Linkage:
    """A linkage with the means of its 2 C - 1 nodes, clusters first.

    Attributes
    ----------
    tree : (C - 1, 4)
        From `linkage`.
    means : (2 C - 1, Q)
    sizes : (2 C - 1,), proteins
    spread : (2 C - 1, Q)
        The means times a root of the covariance within clusters.
    """

    tree: NDArray[np.float64]
    means: NDArray[np.float64]
    sizes: NDArray[np.float64]
    spread: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        means: NDArray[np.floating],
        sizes: NDArray[np.integer],
        covariance: NDArray[np.floating] | None = None,
        tied: NDArray[np.integer] | None = None,
    ) -> Linkage:
        """Link C clusters, as `linkage`; without a covariance (Q, Q), their means are taken to be exact."""
        tree = linkage(means, sizes, tied)
        centers = np.concatenate([means, np.zeros((len(tree), means.shape[1]))])
        weights = np.concatenate([sizes, np.zeros(len(tree))])
        for node, sides in enumerate(tree[:, :2].astype(np.int64), len(means)):
            weights[node] = weights[sides].sum()
            centers[node] = weights[sides] @ centers[sides] / weights[node]
        if covariance is None:
            return cls(tree, centers, weights, np.zeros_like(centers))
        variances, axes = np.linalg.eigh(covariance)
        return cls(tree, centers, weights, centers @ (axes * np.sqrt(np.maximum(variances, 0))))

    @property
    def sides(self) -> NDArray[np.int64]:
        """The two nodes of each join, (C - 1, 2)."""
        return self.tree[:, :2].astype(np.int64)

    def branch_z(self) -> NDArray[np.float64]:
        """Test whether the sides of a join are nearer to each other than both are to what joins them next.

        Returns
        -------
        z : (C - 2,), standard errors
            Length of the branch above each join but the last, which has none.

        Notes
        -----
        The internal-branch test of Nei, Stephens and Saitou (Mol Biol Evol 2:66, 1985), made for trees by
        average linkage. The error is that of another sample of members: a mean of n varies by the covariance
        within clusters over n, and a length, to first order, by what each of the three means has in it.

        Examples
        --------
        >>> means = np.array([[1, 0], [0.8, 0.6], [0, 1]])
        >>> Linkage.of(means, np.array([4, 4, 4]), 0.1 * np.eye(2)).branch_z().round(2).tolist()
        [1.89]
        """
        sides = self.sides
        sibling = np.zeros(len(self.means), dtype=np.int64)
        sibling[sides] = sides[:, ::-1]
        joins = len(sides) + 1 + np.arange(len(sides) - 1)
        return self.length_z(sides[:-1, 0], sides[:-1, 1], sibling[joins])

    def chance(self) -> NDArray[np.float64]:
        """Return how probable it is that unrelated groups are as near as those of a join, (C - 2,).

        The last join is left out, as in `branch_z`; a join at a cosine of 0 or less is chance.

        Notes
        -----
        Cosines of the mean directions of unrelated clusters are taken to be normal. The median of all pairs
        of clusters is their mean, and the pairs below it, where relatives do not reach, tell their spread
        (`neighbors.chance` takes quantiles, for which a few clusters are too few); of C clusters it is known
        with C - 1 degrees of freedom. A side of a join had as many groups to choose from as were left at that
        step. Where a tie adds to the cosine of a join, profiles have shown what chance does not explain.
        """
        n, (left, right) = len(self.tree) + 1, self.sides[:-1].T
        if n < 3:
            return np.zeros(0)
        directions = unit(self.means)
        pairs = (directions[:n] @ directions[:n].T)[np.triu_indices(n, 1)]
        usual = np.median(pairs)
        spread = np.sqrt(np.mean((pairs[pairs <= usual] - usual) ** 2))
        cosine = 1.0 - self.tree[:-1, 2]
        by_ties = cosine > (self.means[left] * self.means[right]).sum(axis=1) + 1e-4  # joined in 32 bits
        z = ((directions[left] * directions[right]).sum(axis=1) - usual) / max(spread, 1e-6)
        others = n - 1 - np.arange(n - 2)
        chance = np.where(cosine > 0, np.minimum(others * t.sf(z, n - 1), 1.0), 1.0)
        return np.where(by_ties, 0.0, chance)

    def length_z(
        self, left: NDArray[np.integer], right: NDArray[np.integer], other: NDArray[np.integer] | int
    ) -> NDArray[np.float64]:
        """Return by how many standard errors nodes are nearer to each other than both to a third, (M,)."""
        share = (self.sizes[left] / (self.sizes[left] + self.sizes[right]))[:, None]
        a, b, c = self.means[left], self.means[right], self.means[other]
        length = (a * b - (share * a + (1 - share) * b) * c).sum(axis=1)
        a, b, c = self.spread[left], self.spread[right], self.spread[other]
        variance = (
            ((b - share * c) ** 2).sum(axis=1) / self.sizes[left]
            + ((a - (1 - share) * c) ** 2).sum(axis=1) / self.sizes[right]
            + ((share * a + (1 - share) * b) ** 2).sum(axis=1) / self.sizes[other]
        )
        return length / np.sqrt(np.maximum(variance, np.finfo(np.float64).tiny))


def _merged(sides: NDArray[np.int64], kept: NDArray[np.bool_]) -> tuple[list[set[int]], dict[int, int]]:
    """Return clusters, and the joins that are kept, as groups of clusters, and the parent of each."""
    n = len(sides) + 1
    groups: list[set[int]] = [{i} for i in range(n)]
    up: dict[int, int] = {}
    held: dict[int, set[int]] = {i: {i} for i in range(n)}
    parts: dict[int, list[int]] = {i: [i] for i in range(n)}
    for node, (left, right) in enumerate(sides.tolist(), n):
        held[node] = held.pop(left) | held.pop(right)
        # Places of the categories that have no parent yet.
        parts[node] = parts.pop(left) + parts.pop(right)
        if kept[node - n]:
            up |= dict.fromkeys(parts[node], len(groups))
            parts[node] = [len(groups)]
            groups.append(held[node])
    return groups, up


def _add_second_parents(
    links: dict[int, set[int]], groups: list[set[int]], tree: Linkage, joins: NDArray[np.int64], min_z: float
) -> None:
    """Add to the parents of each category a further one that it is near enough to, where there is one.

    The groups are the clusters, then those of `joins`. No cycle is made.
    """
    n_clusters = len(groups) - len(joins)
    nodes = np.concatenate([np.arange(n_clusters), n_clusters + joins])
    left, right = tree.sides[joins].T
    within = (tree.means[left] * tree.means[right]).sum(axis=1)
    centers = tree.means[nodes[n_clusters:]]
    below = [set(group) for group in groups]
    for child, node in enumerate(nodes.tolist()):
        # The nearest of those that it is nearer to than their sides are to each other.
        near = centers @ tree.means[node]
        nearer = np.flatnonzero(near >= within)
        nearer = nearer[-tree.length_z(left[nearer], right[nearer], node) >= min_z]
        fits = [
            (float(near[i]), n_clusters + i)
            for i in nearer.tolist()
            if not below[child] & below[n_clusters + i] and len(groups[child]) <= len(groups[n_clusters + i])
        ]
        if fits:
            _, parent = max(fits, key=lambda fit: (fit[0], -fit[1]))
            for other in _ancestors(parent, links) | {parent}:
                below[other] |= below[child]
            links.setdefault(child, set()).add(parent)


def _ancestors(place: int, links: dict[int, set[int]]) -> set[int]:
    found: set[int] = set()
    waiting = list(links.get(place, ()))
    while waiting:
        parent = waiting.pop()
        if parent not in found:
            found.add(parent)
            waiting += links.get(parent, ())
    return found


def stable_id(members: Iterable[str], prefix: str = "SEQSCAN") -> str:
    """Return an id that depends on the members alone: the same set has the same id in every run.

    Examples
    --------
    >>> stable_id(["b", "a"]) == stable_id(["a", "b"])
    True
    """
    digest = hashlib.sha256("\n".join(sorted(members)).encode()).hexdigest()
    # Of a million sets, two share 16 digits in one run of twenty thousand; they share ten in every run.
    return f"{prefix}:{int(digest[:16], 16) % 10**16:016d}"
