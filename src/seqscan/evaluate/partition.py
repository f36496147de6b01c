"""Figures that compare two partitions, all from one sparse table of families by clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.special import gammaln

from seqscan.errors import ShapeMismatch
from seqscan.results import UNASSIGNED

__all__ = [
    "Contingency",
    "bcubed_scores",
    "bcubed_sums",
    "contingency",
    "entropy",
    "expected_mutual_information",
    "f1",
    "information_scores",
    "label_scores",
    "match_clusters",
    "matched_members",
    "pair_scores",
    "table_scores",
]

_MAX_CELLS_TO_SETTLE_TIES = 200_000

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Contingency:
    """How many proteins of each family lie in each cluster.

    Attributes
    ----------
    counts : (F, C + U) sparse array, int64
        Families by clusters; the last U columns are the unassigned proteins, a column each.
    families : (F,)
        What the rows stand for.
    clusters : (C,)
        What the first C columns stand for.
    """

    counts: Any
    families: NDArray[Any]
    clusters: NDArray[Any]

    @property
    def n(self) -> int:
        """Number of proteins."""
        return int(self.counts.sum())

    @property
    def family_sizes(self) -> Ints:
        """Proteins in each family, (F,)."""
        return np.asarray(self.counts.sum(axis=1))

    @property
    def cluster_sizes(self) -> Ints:
        """Proteins in each cluster, (C + U,)."""
        return np.asarray(self.counts.sum(axis=0))


def contingency(truth: ArrayLike, labels: ArrayLike) -> Contingency:
    """Count the proteins of each family in each cluster.

    Parameters
    ----------
    truth : (N,), int or str
        Family of each protein.
    labels : (N,), int or str
        Cluster of each protein; the integer -1 is unassigned.

    Raises
    ------
    ShapeMismatch
        If the two differ in shape or are empty.

    Examples
    --------
    >>> contingency(["a", "a", "b", "b"], [0, 0, 0, -1]).counts.toarray().tolist()
    [[2, 0], [1, 1]]
    """
    truth, labels = np.asarray(truth), np.asarray(labels)
    if truth.shape != labels.shape or truth.ndim != 1 or not len(truth):
        raise ShapeMismatch(f"truth {truth.shape} and labels {labels.shape} must be of one length above 0.")
    families, rows = np.unique(truth, return_inverse=True)
    assigned = labels != UNASSIGNED if labels.dtype.kind in "iu" else np.ones(len(labels), dtype=bool)
    clusters, inverse = np.unique(labels[assigned], return_inverse=True)
    columns = np.empty(len(labels), dtype=np.int64)
    columns[assigned] = inverse
    n_unassigned = len(labels) - len(inverse)
    columns[~assigned] = len(clusters) + np.arange(n_unassigned)
    ones = np.ones(len(rows), dtype=np.int64)
    shape = (len(families), len(clusters) + n_unassigned)
    return Contingency(sparse.coo_array((ones, (rows, columns)), shape=shape).tocsr(), families, clusters)


def match_clusters(table: Contingency) -> Ints:
    """Match families and clusters one to one so that the most proteins lie in matched cells.

    Of equally good matchings, one with the highest mean share of a family is taken, so that the accuracy by
    families is as well defined as the one by proteins. Above 200,000 non-zero cells any of them is: settling
    ties takes ten times as long there.

    Returns
    -------
    matched : (F,), int64
        Column of each family's cluster, -1 if it has none.

    Notes
    -----
    The Hungarian problem on the non-zero cells only. Each family and each cluster gets a slack partner, at
    the cost of an empty cell, and the slack partners of a matched pair take each other; thus a perfect
    matching always exists and the optimum is that of the dense problem, whatever the two numbers are.

    Examples
    --------
    >>> match_clusters(contingency(["a", "a", "b", "c"], [5, 5, 5, 3])).tolist()
    [1, -1, 0]
    """
    n_clusters = len(table.clusters)
    counts = table.counts[:, :n_clusters].tocoo()
    sizes = table.family_sizes
    gain = counts.data.astype(np.float64)
    if len(gain) <= _MAX_CELLS_TO_SETTLE_TIES:
        # Over all families this sums to less than 1, so it decides between ties only.
        gain += gain / sizes[counts.row] / (len(sizes) + 1)
    none = gain.max(initial=0.0) + 1.0
    cost = sparse.coo_array((none - gain, (counts.row, counts.col)), shape=counts.shape)
    slack = sparse.coo_array((np.full(len(gain), none), (counts.col, counts.row)), shape=counts.shape[::-1])
    families, clusters = (none * sparse.eye_array(n) for n in counts.shape)
    whole = sparse.block_array([[cost, families], [clusters, slack]], format="csr")
    columns = min_weight_full_bipartite_matching(whole)[1][: len(sizes)].astype(np.int64)
    return np.where(columns < n_clusters, columns, -1)


def information_scores(table: Contingency) -> dict[str, float]:
    """Return `nmi`, `ami`, `homogeneity`, `completeness` and `v_measure`.

    Normalised and adjusted mutual information both divide by the arithmetic mean of the entropies; so `nmi`
    and `v_measure` are one number under its two names.

    Notes
    -----
    AMI after Vinh, Epps and Bailey, JMLR 11, 2010. Its expectation depends on the sizes only, and is summed
    over the distinct ones.

    Examples
    --------
    >>> information_scores(contingency([0, 0, 1, 1], [7, 7, 8, 8]))["ami"]
    1.0
    """
    a, b, n = table.family_sizes, table.cluster_sizes, table.n
    cells = table.counts.tocoo()
    mutual = max(0.0, float(cells.data @ np.log(n * cells.data / (a[cells.row] * b[cells.col]))) / n)
    h_families, h_clusters = entropy(a), entropy(b)
    perfect = cells.nnz == len(a) == len(b)
    if perfect:
        return dict.fromkeys(("nmi", "ami", "homogeneity", "completeness", "v_measure"), 1.0)
    # A partition into one part has no entropy to explain.
    homogeneity = min(1.0, mutual / h_families) if h_families else 1.0
    completeness = min(1.0, mutual / h_clusters) if h_clusters else 1.0
    nmi = min(1.0, 2 * mutual / (h_families + h_clusters))
    ami = 0.0
    if h_families and h_clusters:
        expected = expected_mutual_information(a, b)
        ami = (mutual - expected) / ((h_families + h_clusters) / 2 - expected)
    return {
        "nmi": nmi, "ami": ami, "homogeneity": homogeneity, "completeness": completeness, "v_measure": nmi,
    }  # fmt: skip


def entropy(sizes: Ints) -> float:
    """Return the entropy of a partition, nats."""
    shares = sizes[sizes > 0] / max(int(sizes.sum()), 1)
    return float(-(shares @ np.log(shares))) if len(shares) > 1 else 0.0


def expected_mutual_information(a: Ints, b: Ints) -> float:
    """Return the mean mutual information of two random partitions with parts of sizes a and b, nats."""
    n = int(a.sum())
    (a, n_a), (b, n_b) = np.unique(a, return_counts=True), np.unique(b, return_counts=True)
    log_factorial = gammaln(np.arange(1.0, n + 2.0))
    expected = 0.0
    for size, count in zip(a.tolist(), n_a.tolist(), strict=True):
        # The overlap is hypergeometric; beyond this reach its mass is below 1e-19 (Bernstein's inequality).
        mean = size * b / n
        reach = 10 * np.sqrt(mean * (1 - size / n)) + 30
        low = np.maximum(np.maximum(1, size + b - n), np.floor(mean - reach).astype(np.int64))
        high = np.minimum(np.minimum(size, b), np.ceil(mean + reach).astype(np.int64))
        lengths = np.maximum(high - low + 1, 0)
        part = np.repeat(np.arange(len(b)), lengths)
        overlap = np.arange(len(part)) + np.repeat(low - np.cumsum(lengths) + lengths, lengths)
        other = b[part]
        log_mass = (
            (log_factorial[size] + log_factorial[n - size] - log_factorial[n])
            + (log_factorial[b] + log_factorial[n - b])[part]
            - log_factorial[overlap] - log_factorial[size - overlap]
            - log_factorial[other - overlap] - log_factorial[n - size - other + overlap]
        )  # fmt: skip
        terms = np.exp(log_mass) * overlap / n * np.log(n * overlap / (float(size) * other))
        expected += count * float(terms @ n_b[part])
    return expected


def pair_scores(table: Contingency) -> dict[str, float]:
    """Return `ari`, `pairwise_precision`, `pairwise_recall` and `pairwise_f1`.

    Precision is 1 if no two proteins are put together, recall is 1 if none belong together.

    Examples
    --------
    >>> pair_scores(contingency([0, 0, 1, 1], [0, 0, 0, 1]))["pairwise_recall"]
    0.5
    """

    def pairs(counts: Ints) -> float:
        return float((counts * (counts - 1) // 2).sum())

    both, true, found = pairs(table.counts.data), pairs(table.family_sizes), pairs(table.cluster_sizes)
    n = table.n
    chance = true * found / (n * (n - 1) / 2) if n > 1 else 0.0
    spread = (true + found) / 2 - chance
    precision = both / found if found else 1.0
    recall = both / true if true else 1.0
    return {
        "ari": (both - chance) / spread if spread else 1.0,
        "pairwise_precision": precision,
        "pairwise_recall": recall,
        "pairwise_f1": f1(precision, recall),
    }


def f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def bcubed_sums(table: Contingency) -> tuple[Floats, Floats]:
    """Sum BCubed precision and recall over the members of each family, (F,) each."""
    cells = table.counts.tocoo()
    squares = cells.data.astype(np.float64) ** 2
    sizes = table.family_sizes
    precision = np.bincount(cells.row, squares / table.cluster_sizes[cells.col], minlength=len(sizes))
    recall = np.bincount(cells.row, squares, minlength=len(sizes)) / sizes
    return precision.astype(np.float64), recall


def bcubed_scores(table: Contingency) -> dict[str, float]:
    """Return `bcubed_precision`, `bcubed_recall` and `bcubed_f1`.

    Notes
    -----
    Bagga and Baldwin, COLING-ACL 1998: the share of a protein's cluster that is of its family, and the share
    of its family that is in its cluster, each averaged over the proteins.

    Examples
    --------
    >>> bcubed_scores(contingency([0, 0, 1, 1], [0, 0, 0, 0]))["bcubed_precision"]
    0.5
    """
    precision, recall = (float(sums.sum()) / table.n for sums in bcubed_sums(table))
    return {"bcubed_precision": precision, "bcubed_recall": recall, "bcubed_f1": f1(precision, recall)}


def matched_members(table: Contingency, matched: Ints) -> Ints:
    """Count the members of each family in its matched cluster, (F,)."""
    cells = table.counts.tocoo()
    hit = matched[cells.row] == cells.col
    return np.bincount(cells.row[hit], cells.data[hit], minlength=len(matched)).astype(np.int64)


def label_scores(truth: ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """Score a partition against families: every figure that needs no probabilities.

    Takes and raises what `contingency` does.

    Examples
    --------
    >>> scores = label_scores(["a", "a", "b", "b"], [1, 1, 0, -1])
    >>> scores["accuracy"], scores["macro_accuracy"], scores["purity"]
    (0.75, 0.75, 1.0)
    """
    table = contingency(truth, labels)
    return table_scores(table, match_clusters(table))


def table_scores(table: Contingency, matched: Ints) -> dict[str, float]:
    """Score a table, given its matching: every figure that needs no probabilities."""
    hits = matched_members(table, matched)
    return {
        "n_scored": table.n,
        "n_families": len(table.families),
        "n_clusters": len(table.clusters),
        "accuracy": float(hits.sum()) / table.n,
        "macro_accuracy": float((hits / table.family_sizes).mean()),
        **information_scores(table),
        **pair_scores(table),
        **bcubed_scores(table),
        "purity": float(table.counts.max(axis=0).toarray().sum()) / table.n,
    }
