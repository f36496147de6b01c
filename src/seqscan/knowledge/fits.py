"""How categories lie among the terms of an ontology: the same as one, below some, or across."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from seqscan.knowledge.categories import Category
from seqscan.knowledge.enrich import hypergeometric_p
from seqscan.knowledge.ontology import Ontology
from seqscan.knowledge.pairs import at, expand, incidence, merged

__all__ = ["MIN_ANNOTATED", "MIN_JACCARD", "MIN_SHARE", "Fit", "fit", "narrowed"]

MIN_JACCARD = 0.5
"""From this overlap of members on, a category and a term are the same thing."""
MIN_SHARE = 0.8
"""Of the annotated members: a term that so many carry stands above the category."""
MAX_FREQUENCY = 0.25
"""What more of all proteins carry says little."""
MIN_ANNOTATED = 3
MIN_NARROWED = 5
MAX_Q = 0.05
_MAX_PARENTS = 4


@dataclass(frozen=True)
class Fit:
    """How one category lies among the terms.

    Attributes
    ----------
    n_annotated : int
        Members with any term, parts of one protein counted once.
    match : int
        Row of the term with the largest overlap of members, or -1.
    jaccard, q : float
        Of that overlap.
    above : tuple of int
        Rows of the terms above it.
    shares : tuple of float
        Of the members annotated in the term's aspect, those that carry it.
    """

    n_annotated: int = 0
    match: int = -1
    jaccard: float = 0.0
    q: float = 1.0
    above: tuple[int, ...] = ()
    shares: tuple[float, ...] = ()

    @property
    def status(self) -> str:
        """See `candidates.Candidate.status`."""
        if self.n_annotated < MIN_ANNOTATED:
            return "unknown"
        return "existing" if self.jaccard >= MIN_JACCARD and self.q <= MAX_Q else "new"


@dataclass(frozen=True)
class _Counts:
    """How many members of each of G categories carry each of T terms; parts of one protein count once.

    A protein without any term of an aspect says nothing about it, so sizes are counted by aspect.
    """

    table: Any
    annotated: NDArray[np.int64]
    sizes: NDArray[np.int64]
    n: NDArray[np.int64]
    totals: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        found: Sequence[Category],
        propagated: Any,
        ontology: Ontology,
        proteins: NDArray[np.int64] | None,
    ) -> _Counts:
        place = np.repeat(np.arange(len(found)), [len(c.rows) for c in found])
        rows = np.concatenate([c.rows for c in found]) if found else place
        proteins = np.arange(propagated.shape[0]) if proteins is None else proteins
        n_proteins = int(proteins.max(initial=-1)) + 1
        members = incidence(place, proteins[rows], (len(found), n_proteins))
        counts = merged(propagated, proteins, n_proteins)
        table = (members @ counts).tocsr()
        table.sort_indices()
        names = np.arange(len(ontology.namespaces))
        in_aspect = (ontology.aspects[:, None] == names).astype(np.int32)
        has = (counts @ in_aspect > 0).astype(np.int32)
        return cls(
            table, members @ (np.diff(counts.indptr) > 0).astype(np.int64), members @ has,
            has.sum(axis=0), np.asarray(counts.sum(axis=0)).ravel(),
        )  # fmt: skip

    def entries(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return category, term and count wherever a member carries a term."""
        category = np.repeat(np.arange(self.table.shape[0]), np.diff(self.table.indptr))
        return category, self.table.indices.astype(np.int64), self.table.data.astype(np.int64)


def fit(
    found: Sequence[Category],
    propagated: Any,
    ontology: Ontology,
    *,
    proteins: NDArray[np.int64] | None = None,
) -> list[Fit]:
    """Match categories to terms.

    Parameters
    ----------
    found : G Category
    propagated : (N, T) sparse bool
        Propagated annotations.
    ontology : Ontology
    proteins : (N,), int64, optional
        Number of the whole protein that each is a part of, see `ids.whole_proteins`; by default each is one.
    """
    counts = _Counts.of(found, propagated, ontology, proteins)
    aspects, totals = ontology.aspects, counts.totals
    best: list[tuple[int, float, int]] = []
    for i in range(len(found)):
        own = slice(counts.table.indptr[i], counts.table.indptr[i + 1])
        terms, overlap = counts.table.indices[own], counts.table.data[own]
        inner = ~ontology.roots[terms]
        terms, overlap = terms[inner], overlap[inner]
        if not len(terms):
            best.append((-1, 0.0, 0))
            continue
        jaccard = overlap / (counts.sizes[i, aspects[terms]] + totals[terms] - overlap)
        # Of equal overlap the deepest term.
        top = np.lexsort((terms, -ontology.depths[terms], -jaccard.round(9)))[0]
        best.append((int(terms[top]), float(jaccard[top]), int(overlap[top])))
    p = np.ones(len(found))
    have = np.flatnonzero([term >= 0 for term, _, _ in best])
    if len(have):
        matched, overlap = (np.array([best[i][part] for i in have]) for part in (0, 2))
        p[have] = hypergeometric_p(
            overlap, counts.n[aspects[matched]], totals[matched], counts.sizes[have, aspects[matched]]
        )
    # Each best was chosen among all terms its members carry: as many tests as that.
    q = false_discovery_control(np.minimum(p * np.maximum(np.diff(counts.table.indptr), 1), 1.0))
    fits = []
    for i, (term, jaccard, _) in enumerate(best):
        own = slice(counts.table.indptr[i], counts.table.indptr[i + 1])
        terms = counts.table.indices[own]
        share = counts.table.data[own] / np.maximum(counts.sizes[i, aspects[terms]], 1)
        # One protein that is annotated in an aspect does not place a category in it.
        enough = counts.table.data[own] >= min(MIN_ANNOTATED, counts.annotated[i])
        common = terms[(share >= MIN_SHARE) & enough & ~ontology.roots[terms]]
        above = sorted(ontology.most_specific(common.tolist()), key=lambda t: (totals[t], t))
        # What says little stands in only where nothing better does.
        telling = [t for t in above if totals[t] <= MAX_FREQUENCY * counts.n[aspects[t]]]
        above = telling[:_MAX_PARENTS] or above[:1]
        value = dict(zip(terms.tolist(), share.tolist(), strict=True))
        fits.append(
            Fit(int(counts.annotated[i]), term, jaccard, float(q[i]), tuple(above),
                tuple(value[t] for t in above))
        )  # fmt: skip
    return fits


def narrowed(
    found: Sequence[Category],
    propagated: Any,
    ontology: Ontology,
    *,
    proteins: NDArray[np.int64] | None = None,
) -> list[Category]:
    """Cut categories down to the members that carry a term in which the category is enriched.

    Families take in proteins of other functions, and annotations have gaps, so that fewer than `MIN_SHARE` of
    the members carry the term that a part of them has in common.

    Parameters
    ----------
    found : G Category
    propagated : (N, T) sparse bool
        Propagated annotations.
    ontology : Ontology
    proteins : (N,), int64, optional
        As for `fit`.

    Returns
    -------
    list of Category
        Their parents are places in `found`, or in `found` followed by this list. Left out is what a narrower
        term or a smaller category holds four fifths of.
    """
    counts = _Counts.of(found, propagated, ontology, proteins)
    category, term, n = counts.entries()
    aspect = ontology.aspects[term]
    p = hypergeometric_p(n, counts.n[aspect], counts.totals[term], counts.sizes[category, aspect])
    fits = (
        (false_discovery_control(p) <= MAX_Q)
        & (n >= MIN_NARROWED)
        & (n < MIN_SHARE * counts.sizes[category, aspect])
        & (counts.totals[term] <= MAX_FREQUENCY * counts.n[aspect])
        & ~ontology.roots[term]
    )
    held = np.flatnonzero(n >= MIN_SHARE * MIN_NARROWED)
    # By a narrower term of the same category.
    lower, above = expand(ontology.ancestors, term[held])
    lower = held[lower]
    inner = above != term[lower]
    lower, above = lower[inner], above[inner]
    full = n[lower] >= MIN_SHARE * at(counts.table, category[lower], above)
    told = {(int(c), int(t)) for c, t in zip(category[lower[full]], above[full], strict=True)}
    # By a category within it.
    links = np.array([(c, up) for c, own in enumerate(found) for up in own.parents], np.int64).reshape(-1, 2)
    link, within = expand(counts.table, links[:, 0])
    outer = links[link, 1]
    full = at(counts.table, links[link, 0], within) >= MIN_SHARE * at(counts.table, outer, within)
    told |= {(int(c), int(t)) for c, t in zip(outer[full], within[full], strict=True)}
    kept = [(int(category[i]), int(term[i])) for i in np.flatnonzero(fits)]
    kept = [pair for pair in kept if pair not in told]
    place_of = {pair: len(found) + place for place, pair in enumerate(kept)}
    by_term = propagated.T.tocsr()
    made = []
    for c, t in kept:
        carriers = by_term.indices[by_term.indptr[t] : by_term.indptr[t + 1]]
        waiting, parents = list(found[c].parents), [c]
        while waiting:
            up = waiting.pop()
            if (up, t) in place_of:
                parents.append(place_of[up, t])
            else:
                waiting += found[up].parents
        made.append(
            Category(found[c].clusters, np.intersect1d(found[c].rows, carriers), tuple(parents),
                     found[c].cohesion)
        )  # fmt: skip
    return made
