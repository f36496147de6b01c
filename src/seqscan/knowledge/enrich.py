"""Which terms are more frequent in a cluster than chance allows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import false_discovery_control, hypergeom

from seqscan.errors import InputError, InvalidParameter, ShapeMismatch
from seqscan.knowledge.ontology import Ontology
from seqscan.knowledge.pairs import incidence, merged
from seqscan.tables import write_tsv

__all__ = ["BACKGROUNDS", "ENRICHMENT_COLUMNS", "Enrichment", "enrich"]

BACKGROUNDS = ("annotated", "all")
ENRICHMENT_COLUMNS = (
    "cluster", "term", "name", "aspect", "members", "cluster_size", "annotated", "background",
    "fold", "log2_odds", "p", "q", "folded_into",
)  # fmt: skip


@dataclass(frozen=True)
class Enrichment:
    """M pairs of a cluster and a term that is enriched in it, by cluster and then by p.

    Attributes
    ----------
    ontology : Ontology
    clusters, terms : (M,), int64
        Number of the cluster, row of the term.
    members, cluster_sizes, annotated : (M,), int64
        Members that carry the term; members; proteins of the background that carry it.
    background : int
        Proteins in the background.
    n_tests : int
        Pairs that were tested: those with one member and more.
    p, q : (M,)
        Of the hypergeometric test, and after Benjamini and Hochberg over all tests.
    folded_into : (M,), int64
        Row of a more specific term of the cluster without which this one would not be enriched, or -1.
    """

    ontology: Ontology
    clusters: NDArray[np.int64]
    terms: NDArray[np.int64]
    members: NDArray[np.int64]
    cluster_sizes: NDArray[np.int64]
    annotated: NDArray[np.int64]
    background: int
    n_tests: int
    p: NDArray[np.float64]
    q: NDArray[np.float64]
    folded_into: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.p)

    @property
    def fold(self) -> NDArray[np.float64]:
        """How many times as frequent as in the background, (M,)."""
        return self.members / self.cluster_sizes * self.background / self.annotated

    @property
    def log2_odds(self) -> NDArray[np.float64]:
        """Logarithm of the odds ratio, half a protein added to each cell, (M,)."""
        a = self.members + 0.5
        b = self.cluster_sizes - self.members + 0.5
        c = self.annotated - self.members + 0.5
        d = self.background - self.cluster_sizes - self.annotated + self.members + 0.5
        return np.log2(a * d / (b * c))

    def rows(self) -> list[tuple[object, ...]]:
        """Return the rows of the table `ENRICHMENT_COLUMNS`."""
        terms = self.ontology.terms
        return [
            (
                int(self.clusters[i]), terms[t].id, terms[t].name, terms[t].namespace, int(self.members[i]),
                int(self.cluster_sizes[i]), int(self.annotated[i]), self.background, f"{fold:.2f}",
                f"{odds:.2f}", f"{self.p[i]:.3g}", f"{self.q[i]:.3g}", terms[f].id if f >= 0 else "",
            )
            for i, (t, f, fold, odds) in enumerate(
                zip(self.terms.tolist(), self.folded_into.tolist(), self.fold, self.log2_odds, strict=True)
            )
        ]  # fmt: skip

    def write(self, path: str | Path) -> None:
        """Write the table, atomically."""
        write_tsv(ENRICHMENT_COLUMNS, self.rows(), path)


def enrich(
    labels: NDArray[np.integer],
    annotated: Any,
    ontology: Ontology,
    *,
    proteins: NDArray[np.integer] | None = None,
    background: str = "annotated",
    max_q: float = 0.05,
) -> Enrichment:
    """Test every cluster against every term that a member of it carries, but for the roots.

    Parameters
    ----------
    labels : (N,)
        Cluster of each protein, -1 for none.
    annotated : (N, T) sparse bool
        Propagated annotations.
    ontology : Ontology
    proteins : (N,), optional
        Number of the whole protein that each is a part of, see `ids.whole_proteins`: parts of a protein in
        one cluster count once, for they have its annotations in common. By default each is one by itself.
    background : str
        "annotated": the proteins in a cluster that carry a term; others say nothing about function.
        "all": also those that carry none.
    max_q : probability
        What is kept, and what counts as enriched when ancestors are folded.

    Raises
    ------
    InputError
        If no protein of the background is in a cluster.
    """
    if background not in BACKGROUNDS:
        raise InvalidParameter(
            "background", background, "unknown", remedy=f"Choose from {', '.join(BACKGROUNDS)}."
        )
    if annotated.shape != (len(labels), len(ontology)):
        raise ShapeMismatch(f"annotations {annotated.shape} do not fit {len(labels)} proteins.")
    # A root is carried by all that is annotated below it.
    tested = sparse.diags_array((~ontology.roots).astype(np.int32), dtype=np.int32)
    annotated = (annotated.astype(np.int32) @ tested).tocsr()
    annotated.eliminate_zeros()
    used = np.asarray(labels) >= 0
    if background == "annotated":
        used &= np.diff(annotated.indptr) > 0
    if not used.any():
        n_clustered = int((np.asarray(labels) >= 0).sum())
        raise InputError(
            "assignments",
            f"no protein is in a cluster and annotated; {n_clustered} of {len(labels)} are in a cluster",
            remedy="Give assignments and annotations that have proteins in common.",
        )
    numbers, cluster_of = np.unique(np.asarray(labels)[used], return_inverse=True)
    named = np.arange(len(labels)) if proteins is None else np.asarray(proteins)
    protein_of = np.unique(named[used], return_inverse=True)[1]
    n = int(protein_of.max()) + 1
    carries = merged(annotated[np.flatnonzero(used)], protein_of, n)
    membership = incidence(cluster_of, protein_of, (len(numbers), n))
    table = (membership @ carries).tocoo()
    sizes = membership.sum(axis=1)
    totals = np.asarray(carries.sum(axis=0)).ravel()
    row, term, members = table.coords[0].astype(np.int64), table.coords[1].astype(np.int64), table.data
    log_p = log_hypergeometric_p(members, n, totals[term], sizes[row])
    p = _probability(log_p)
    q = false_discovery_control(p)
    kept = np.flatnonzero(q <= max_q)
    # By the logarithm, which tells apart what is below the smallest number; of equal p, the deepest term
    # first: it says most.
    kept = kept[np.lexsort((term[kept], -ontology.depths[term[kept]], log_p[kept], row[kept]))]
    row, term, members, p, q = row[kept], term[kept], members[kept].astype(np.int64), p[kept], q[kept]
    folded = _fold(row, term, members, sizes, totals, n, ontology, max_q)
    return Enrichment(
        ontology, numbers[row].astype(np.int64), term, members, sizes[row].astype(np.int64),
        totals[term].astype(np.int64), n, table.nnz, p, q, folded,
    )  # fmt: skip


def hypergeometric_p(
    members: Any, n: int | NDArray[Any], annotated: Any, sizes: Any, *, exact: bool = True
) -> NDArray[np.float64]:
    """Return P(X >= members) of the hypergeometric law, element by element, see `log_hypergeometric_p`.

    Where it is below the smallest number, the result is that.
    """
    return _probability(log_hypergeometric_p(members, n, annotated, sizes, exact=exact))


def _probability(log_p: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(np.exp(log_p), np.nextafter(0, 1), 1.0)


def log_hypergeometric_p(
    members: Any, n: int | NDArray[Any], annotated: Any, sizes: Any, *, exact: bool = True
) -> NDArray[np.float64]:
    """Return the natural logarithm of P(X >= members), element by element; equal questions are asked once.

    Where P is below the smallest normal number, the result is right only if `exact`.
    """
    cells = [np.asarray(c, dtype=np.int64) for c in np.broadcast_arrays(members, n, annotated, sizes)]
    place = np.zeros(len(cells[0]), dtype=np.int64)
    for column in cells:
        place = np.unique(place * (int(column.max(initial=0)) + 1) + column, return_inverse=True)[1]
    first = np.zeros(int(place.max(initial=-1)) + 1, dtype=np.int64)
    first[place] = np.arange(len(place))
    k, total, carrying, drawn = (column[first] for column in cells)
    p = hypergeom.sf(k - 1, total, carrying, drawn)
    log = np.log(np.maximum(p, np.nextafter(0, 1)))
    # The logarithm itself is right there, but a hundred times as slow.
    lost = (p < np.finfo(p.dtype).tiny) & exact
    if lost.any():
        log[lost] = hypergeom.logsf(k[lost] - 1, total[lost], carrying[lost], drawn[lost])
    return log[place]


def _fold(
    row: NDArray[np.int64],
    term: NDArray[np.int64],
    members: NDArray[np.int64],
    sizes: NDArray[np.int64],
    totals: NDArray[np.int64],
    n: int,
    ontology: Ontology,
    alpha: float,
) -> NDArray[np.int64]:
    """Find for each enriched term the most specific one that explains it.

    A term is explained by a descendant, at least as significant, if the proteins that carry the term and not
    the descendant are not enriched in the rest of the cluster.
    """
    folded = np.full(len(term), -1, dtype=np.int64)
    if not len(term):
        return folded
    ancestors, n_terms = ontology.ancestors, len(ontology)
    counts = np.diff(ancestors.indptr)[term]
    lower = np.repeat(np.arange(len(term)), counts)
    starts = np.repeat(ancestors.indptr[term], counts)
    within = np.arange(len(lower)) - np.repeat(np.cumsum(counts) - counts, counts)
    keys = row * n_terms + term
    order = np.argsort(keys)
    wanted = row[lower] * n_terms + ancestors.indices[starts + within]
    at = np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)
    upper = order[at]
    # Entries stand by p, so a lower place is at least as significant.
    pairs = (keys[upper] == wanted) & (lower < upper)
    lower, upper = lower[pairs], upper[pairs]
    rest = members[upper] - members[lower], totals[term[upper]] - totals[term[lower]]
    drawn, left = sizes[row[upper]] - members[lower], n - totals[term[lower]]
    # At most the expected number is surely no enrichment; only the others need the law itself.
    explained = rest[0] * left <= drawn * rest[1]
    unsure = np.flatnonzero(~explained)
    explained[unsure] = (
        hypergeometric_p(rest[0][unsure], left[unsure], rest[1][unsure], drawn[unsure], exact=False) > alpha
    )
    lower, upper = lower[explained], upper[explained]
    # Written from the last to the first, so that the most significant explanation stays.
    order = np.argsort(-lower, kind="stable")
    folded[upper[order]] = term[lower[order]]
    return folded
