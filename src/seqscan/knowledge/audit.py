"""Annotations that cluster, neighbors and ontology contradict, the most suspect first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from seqscan.errors import InputError
from seqscan.knowledge.annotations import propagate
from seqscan.knowledge.ontology import Ontology
from seqscan.knowledge.pairs import incidence
from seqscan.knowledge.support import FEATURES, Evidence, Surroundings
from seqscan.tables import write_tsv
from seqscan.wording import percent

__all__ = ["AUDIT_COLUMNS", "TERM_COLUMNS", "Audit", "audit", "corrupted", "disagreement", "term_verdicts"]

AUDIT_COLUMNS = (
    "protein", "term", "suspicion", "reason", "name", "aspect", "cluster", "cluster_carriers",
    "cluster_annotated", "neighbor_support", "instead", "instead_name", "instead_support",
)  # fmt: skip
TERM_COLUMNS = ("term", "name", "aspect", "verdict", "proteins", "clusters", "mean_suspicion", "why")

MIN_ANNOTATIONS = 40
LEAST = 0.1
"""Share of its main cluster that a term must have to be called too narrow for it."""
CORRUPTED_SHARE = 0.1
"""Of the annotations, those that are swapped to learn what a wrong one looks like."""
MOST = 0.75
"""Share of a cluster's annotated members that must carry a term for the cluster to carry it."""
MIN_CARRIERS = 3
"""Members of one cluster; fewer say nothing of a term."""


@dataclass(frozen=True)
class Audit:
    """M annotations, the most suspect first.

    Attributes
    ----------
    evidence : Evidence
    ontology : Ontology
    rows, terms : (M,), int64
    suspicion : (M,), 0 to 1
        1 is the most suspect. It orders; it is no probability, for nobody knows how many are wrong.
    support : (M,)
        Share of the votes for the term, of neighbors and of aligned proteins on average.
    instead, instead_support : (M,), int64 and float
        The term of the same aspect that the surroundings carry most and the protein does not, or -1.
    """

    evidence: Evidence
    ontology: Ontology
    rows: NDArray[np.int64]
    terms: NDArray[np.int64]
    suspicion: NDArray[np.float64]
    support: NDArray[np.float64]
    instead: NDArray[np.int64]
    instead_support: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rows)

    def head(self, n: int) -> Audit:
        """Return the `n` most suspect."""
        names = ("rows", "terms", "suspicion", "support", "instead", "instead_support")
        return replace(self, **{name: getattr(self, name)[:n] for name in names})

    def table(self) -> list[tuple[object, ...]]:
        """Return the rows of the table `AUDIT_COLUMNS`."""
        around, terms = self.evidence.around, self.ontology.terms
        carriers, members = self.evidence.share_of_cluster(self.rows, np.arange(len(self)), self.terms)
        lines: list[tuple[object, ...]] = []
        for i, (row, t) in enumerate(zip(self.rows.tolist(), self.terms.tolist(), strict=True)):
            other = int(self.instead[i])
            lines.append(
                (
                    around.ids[row], terms[t].id, f"{self.suspicion[i]:.4f}",
                    self._reason(i, int(carriers[i]), int(members[i])), terms[t].name, terms[t].namespace,
                    int(around.labels[row]), int(carriers[i]), int(members[i]), f"{self.support[i]:.3f}",
                    terms[other].id if other >= 0 else "", terms[other].name if other >= 0 else "",
                    f"{self.instead_support[i]:.3f}" if other >= 0 else "",
                )
            )  # fmt: skip
        return lines

    def write(self, path: str | Path) -> None:
        """Write the table `AUDIT_COLUMNS`, atomically."""
        write_tsv(AUDIT_COLUMNS, self.table(), path)

    def _reason(self, i: int, carriers: int, members: int) -> str:
        row, term = int(self.rows[i]), int(self.terms[i])
        parts = []
        if self.evidence.around.labels[row] < 0:
            parts.append("it is in no cluster")
        elif members:
            parts.append(f"{carriers} of {members} other members of cluster "
                         f"{int(self.evidence.around.labels[row])} carry it")  # fmt: skip
        else:
            parts.append("no other annotated protein in its cluster")
        if _n_kinds(self.evidence)[row]:
            parts.append(f"{percent(self.support[i])} of the neighbors' votes are for it")
        other = int(self.instead[i])
        if other >= 0 and self.instead_support[i] > max(0.5, self.support[i]):
            held = set(self.ontology.above(term).tolist()) & set(self.ontology.above(other).tolist())
            shared = max(held, key=lambda t: (self.ontology.depths[t], -t), default=-1)
            where = (
                f"the branches part below '{self.ontology.terms[shared].name}'"
                if shared >= 0 and not self.ontology.roots[shared]
                else "in another branch of the ontology"
            )
            parts.append(
                f"{percent(self.instead_support[i])} are for '{self.ontology.terms[other].name}', "
                f"which it lacks ({where})"
            )
        return "; ".join(parts)


def audit(around: Surroundings, direct: Any, ontology: Ontology, *, seed: int = 0) -> Audit:
    """Rank the annotations of N proteins by how much contradicts them.

    Parameters
    ----------
    around : Surroundings
    direct : (N, T) sparse bool
        As annotated; what they imply is worked out here.
    ontology : Ontology
    seed : int

    Raises
    ------
    InputError
        If there are fewer than `MIN_ANNOTATIONS`.

    Notes
    -----
    Which signs matter is learnt from the annotations themselves: a tenth is swapped, half for terms of other
    branches drawn by frequency and half for siblings, and boosted trees learn to tell those apart. Two
    halves of the proteins judge each other. Real errors need not look like swaps, so the rank is a proposal.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    rows, terms = _annotations(direct, ontology)
    if len(rows) < MIN_ANNOTATIONS:
        raise InputError(
            "annotations", f"{len(rows)} of these proteins' annotations are too few to learn from",
            remedy=f"At least {MIN_ANNOTATIONS} are needed.",
        )  # fmt: skip
    generator = np.random.default_rng((seed, 67))
    swapped, wrong = corrupted(direct, ontology, CORRUPTED_SHARE, generator, sibling_share=0.5)
    train_rows, train_terms = _annotations(swapped, ontology)
    is_wrong = np.asarray(wrong[train_rows, train_terms]).ravel().astype(bool)
    train, _, _ = _signs(
        around.evidence(propagate(swapped, ontology)), swapped, ontology, train_rows, train_terms
    )
    evidence = around.evidence(propagate(direct, ontology))
    signs, instead, instead_support = _signs(evidence, direct, ontology, rows, terms)
    half = (generator.random(int(around.proteins.max(initial=-1)) + 1) < 0.5)[around.proteins]
    # Where too little was swapped to learn from, the neighbors' votes against it.
    suspicion = 1.0 - signs[:, 0].astype(np.float64)
    for side in (True, False):
        own, other = half[rows] == side, half[train_rows] != side
        if not own.any() or is_wrong[other].all() or not is_wrong[other].any():
            continue
        trees = HistGradientBoostingClassifier(
            max_iter=120, learning_rate=0.08, max_leaf_nodes=15, min_samples_leaf=20, l2_regularization=1.0,
            early_stopping=False, random_state=seed,
        )  # fmt: skip
        trees.fit(train[other], is_wrong[other])
        suspicion[own] = trees.predict_proba(signs[own])[:, 1]
    order = np.lexsort((terms, rows, -suspicion))
    voted = signs[:, [FEATURES.index("neighbors"), FEATURES.index("alignments")]].sum(axis=1, dtype=float)
    support = voted / np.maximum(_n_kinds(evidence)[rows], 1)
    return Audit(
        evidence, ontology, rows[order], terms[order], suspicion[order], support[order],
        instead[order], instead_support[order].astype(float),
    )  # fmt: skip


def disagreement(
    around: Surroundings, direct: Any, ontology: Ontology
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return rows, terms and the share of the neighbors' votes against each annotation, a baseline."""
    rows, terms = _annotations(direct, ontology)
    evidence = around.evidence(propagate(direct, ontology))
    unique, place = np.unique(rows, return_inverse=True)
    return rows, terms, 1.0 - evidence.features(unique, place, terms)[:, 0].astype(float)


def corrupted(
    direct: Any, ontology: Ontology, share: float, generator: np.random.Generator, *, sibling_share: float
) -> tuple[Any, Any]:
    """Swap some annotations for wrong ones of the same aspect.

    Parameters
    ----------
    direct : (N, T) sparse bool
    share : of the annotations
    sibling_share : of the swaps
        Go to a term with the same parent; the others to any term of another branch, drawn by frequency.

    Returns
    -------
    swapped : (N, T) sparse bool
    wrong : (N, T) sparse bool
        Which of them are wrong.
    """
    rows, terms = _annotations(direct, ontology)
    chosen = np.flatnonzero(generator.random(len(rows)) < share)
    propagated = propagate(direct, ontology)
    frequency = np.bincount(terms, minlength=len(ontology)).astype(float)
    parents: dict[int, list[int]] = {}
    for t in np.flatnonzero(frequency).tolist():
        for _, id in ontology.terms[t].parents:
            if id in ontology.row_of:
                parents.setdefault(ontology.row_of[id], []).append(t)
    of_aspect = {
        a: np.flatnonzero((ontology.aspects == a) & (frequency > 0)) for a in set(ontology.aspects[terms])
    }
    new = terms.copy()
    gone = np.zeros(len(rows), bool)
    for i in chosen.tolist():
        row, term = int(rows[i]), int(terms[i])
        held = set(propagated.indices[propagated.indptr[row] : propagated.indptr[row + 1]].tolist())
        pool = of_aspect[ontology.aspects[term]]
        weights = frequency[pool] / frequency[pool].sum()
        if generator.random() < sibling_share:
            up = [ontology.row_of[id] for _, id in ontology.terms[term].parents if id in ontology.row_of]
            near = sorted({t for parent in up for t in parents.get(parent, ()) if t not in held})
            if near:
                pool, weights = np.array(near), frequency[near] / frequency[near].sum()
        for _ in range(10):
            drawn = int(generator.choice(pool, p=weights))
            related = term in ontology.above(drawn) or drawn in ontology.above(term)
            if drawn not in held and not related:
                new[i], gone[i] = drawn, True
                break
    shape = direct.shape
    swapped = sparse.csr_array((np.ones(len(rows), bool), (rows, new)), shape=shape)
    swapped.sum_duplicates()
    wrong = sparse.csr_array((np.ones(int(gone.sum()), bool), (rows[gone], new[gone])), shape=shape)
    wrong.sum_duplicates()
    return swapped, wrong


def _annotations(direct: Any, ontology: Ontology) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    table = direct.tocoo()
    rows, terms = (part.astype(np.int64) for part in table.coords)
    kept = ~ontology.roots[terms]
    rows, terms = rows[kept], terms[kept]
    order = np.lexsort((terms, rows))
    return rows[order], terms[order]


def _signs(
    evidence: Evidence, direct: Any, ontology: Ontology, rows: NDArray[np.int64], terms: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Return what may betray a wrong annotation, (M, F), and the term that stands there instead."""
    unique, place = np.unique(rows, return_inverse=True)
    own = evidence.features(unique, place, terms)
    support = own[:, 0].astype(np.float64)
    # How well the protein's other annotations, and the term's other carriers, are supported.
    n_rows, n_terms = len(unique), len(ontology)
    per_protein = np.bincount(place, minlength=n_rows)
    of_protein = (np.bincount(place, support, minlength=n_rows)[place] - support) / np.maximum(
        per_protein[place] - 1, 1
    )
    per_term = np.bincount(terms, minlength=n_terms)
    of_term = (np.bincount(terms, support, minlength=n_terms)[terms] - support) / np.maximum(
        per_term[terms] - 1, 1
    )
    instead, instead_support = _alternatives(evidence, ontology, unique)
    aspect = ontology.aspects[terms]
    other, other_support = instead[place, aspect], instead_support[place, aspect]
    path = _path_support(evidence, ontology, unique, place, terms)
    given, least = _together(direct, rows, terms, evidence.around.proteins)
    signs = np.column_stack(
        [own, of_protein, per_protein[place], of_term, np.log1p(per_term[terms]), other_support,
         other_support - support, path, given, least, ontology.depths[terms]]
    ).astype(np.float32)  # fmt: skip
    return signs, other, other_support


def _n_kinds(evidence: Evidence) -> NDArray[np.int64]:
    """Return how many kinds of others vote on each protein: neighbors, aligned ones, both or none, (N,)."""
    kinds = (np.diff(votes.indptr) > 0 for votes in (evidence.vectors, evidence.alignments))
    return sum(kinds, start=np.zeros(len(evidence.known), np.int64))


def _alternatives(
    evidence: Evidence, ontology: Ontology, unique: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find for each protein and aspect the term that its neighbors vote for most and that it lacks.

    Of equal votes the deepest term: its ancestors come with it.
    """
    votes = (evidence.vectors[unique] + evidence.alignments[unique]) @ evidence.propagated.astype(np.float32)
    votes = (sparse.diags_array(1.0 / np.maximum(_n_kinds(evidence)[unique], 1)) @ votes).tocsr()
    missing = (votes - votes.multiply(evidence.propagated[unique].astype(np.float32))).tocoo()
    row, term, value = missing.coords[0], missing.coords[1].astype(np.int64), missing.data
    kept = (value > 1e-3) & ~ontology.roots[term]
    row, term, value = row[kept], term[kept], value[kept]
    aspect = ontology.aspects[term]
    order = np.lexsort((term, ontology.depths[term], value.round(4)))
    instead = np.full((len(unique), len(ontology.namespaces)), -1, np.int64)
    strength = np.zeros(instead.shape, np.float32)
    # Written in rising order, so that the strongest stays.
    instead[row[order], aspect[order]] = term[order]
    strength[row[order], aspect[order]] = value[order]
    return instead, strength


def _path_support(
    evidence: Evidence,
    ontology: Ontology,
    unique: NDArray[np.int64],
    place: NDArray[np.int64],
    terms: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the support of the term's ancestors, rare ones counting more, (M,): branch or leaf?"""
    n_known = max(int(evidence.known.sum()), 1)
    frequency = np.maximum(np.asarray(evidence.propagated.sum(axis=0)).ravel() / n_known, 1e-9)
    information = np.clip(-np.log(frequency), 0, None)
    weighted = sparse.csr_array(ontology.ancestors, dtype=np.float32) @ sparse.diags_array(
        information.astype(np.float32)
    )
    total = np.asarray(weighted.sum(axis=1)).ravel()
    votes = evidence.vectors[unique] @ evidence.propagated.astype(np.float32)
    # (protein x ancestor votes) . (ancestor weights of the term), only for the pairs that are asked for.
    result = np.zeros(len(terms))
    for start in range(0, len(terms), 20_000):
        at = slice(start, start + 20_000)
        both = votes[place[at]].multiply(weighted.tocsr()[terms[at]])
        result[at] = np.asarray(both.sum(axis=1)).ravel()
    return result / np.maximum(total[terms], 1e-9)


def _together(
    direct: Any, rows: NDArray[np.int64], terms: NDArray[np.int64], proteins: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how often a protein's other terms come with this one elsewhere: highest and mean share.

    Of the parts of a protein one is counted, and none for the others.
    """
    used, column = np.unique(terms, return_inverse=True)
    table = sparse.csr_array(
        (np.ones(len(rows), np.float32), (rows, column)), shape=(direct.shape[0], len(used))
    )
    counted = table[np.unique(proteins, return_index=True)[1]]
    n = np.asarray(counted.sum(axis=0)).ravel()
    joint = (counted.T @ counted).tocsr()
    best, mean = np.zeros(len(rows)), np.zeros(len(rows))
    begin = np.searchsorted(rows, np.unique(rows))
    for first, last in zip(begin, [*begin[1:], len(rows)], strict=True):
        own = column[first:last]
        if len(own) < 2:
            continue
        # Share of the carriers of u (rows) that carry t (columns), this protein left out.
        itself = counted[[proteins[rows[first]]]][:, own].toarray()[0]
        block = joint[own][:, own].toarray() - np.outer(itself, itself)
        block /= np.maximum(n[own] - itself, 1.0)[:, None]
        np.fill_diagonal(block, np.nan)
        best[first:last] = np.nanmax(block, axis=0)
        mean[first:last] = np.nanmean(block, axis=0)
    return best, mean


def term_verdicts(found: Audit, propagated: Any, *, min_proteins: int = 5) -> list[tuple[object, ...]]:
    """Return the terms that look too broad, too narrow or split, rows of `TERM_COLUMNS`.

    * too broad: carried by most members of several clusters, each of which has a narrower term of its own
    * split: carried by most members of several clusters that have no narrower term to tell them apart
    * too narrow: less than half of its main cluster carries it, but a tenth or more, and nine tenths carry a
      parent that is twice as frequent there as among all proteins

    Parameters
    ----------
    found : Audit
    propagated : (N, T) sparse bool
        Propagated annotations.
    min_proteins : int
        Of clusters; nothing is said of a term that fewer carry.
    """
    ontology = found.ontology
    around = found.evidence.around
    carriers = _Carriers.of(around.labels, propagated, ontology, around.proteins)
    n_ranked = np.bincount(found.terms, minlength=len(ontology))
    total = np.bincount(found.terms, found.suspicion, minlength=len(ontology))
    n_proteins = np.asarray(carriers.by_term.sum(axis=0)).ravel().astype(int)
    lines = []
    for t in np.flatnonzero((n_proteins >= min_proteins) & ~ontology.roots).tolist():
        verdict, why = carriers.verdict(t)
        if verdict:
            term, n, n_clusters = ontology.terms[t], int(n_proteins[t]), len(carriers.clusters_of(t)[0])
            suspicion = f"{total[t] / max(n_ranked[t], 1):.4f}"
            row = (term.id, term.name, term.namespace, verdict, n, n_clusters, suspicion, why)
            lines.append(((verdict, -n, term.id), row))
    return [row for _, row in sorted(lines)]


@dataclass(frozen=True)
class _Carriers:
    """How many annotated members of each of C clusters carry each of T terms; parts of a protein count once.

    Attributes
    ----------
    by_term, by_cluster : (C, T) sparse, by columns and by rows
    sizes : (C,)
        Annotated members.
    numbers : (C,)
        The clusters' numbers.
    ontology : Ontology
    """

    by_term: Any
    by_cluster: Any
    sizes: NDArray[np.int64]
    numbers: NDArray[np.int64]
    ontology: Ontology

    @classmethod
    def of(
        cls,
        labels: NDArray[np.integer],
        propagated: Any,
        ontology: Ontology,
        proteins: NDArray[np.int64],
    ) -> _Carriers:
        """Count; labels (N,) are -1 for those in no cluster, proteins (N,) as of `ids.whole_proteins`."""
        used = np.flatnonzero((np.diff(propagated.indptr) > 0) & (labels >= 0))
        numbers, cluster = np.unique(labels[used], return_inverse=True)
        n_proteins = int(proteins.max(initial=-1)) + 1
        members = incidence(cluster, proteins[used], (len(numbers), n_proteins))
        row, term = propagated[used].nonzero()
        counts = members @ incidence(proteins[used][row], term, (n_proteins, len(ontology)))
        return cls(counts.tocsc(), counts.tocsr(), members.sum(axis=1), numbers, ontology)

    def clusters_of(self, term: int) -> tuple[NDArray[np.integer], NDArray[np.float32]]:
        """Return the clusters in which a term occurs, and how many members carry it in each."""
        own = slice(self.by_term.indptr[term], self.by_term.indptr[term + 1])
        return self.by_term.indices[own], self.by_term.data[own]

    def verdict(self, term: int) -> tuple[str, str]:
        """Return what looks wrong with a term and why, "" if nothing does."""
        where, n = self.clusters_of(term)
        full = where[(n >= MOST * self.sizes[where]) & (n >= MIN_CARRIERS)].tolist()
        if len(full) >= 2:
            return self._verdict_on_several(term, full)
        if not full and n.max(initial=0) >= MIN_CARRIERS:
            return self._verdict_on_part(term, int(where[n.argmax()]), float(n.max()))
        return "", ""

    def _verdict_on_several(self, term: int, full: list[int]) -> tuple[str, str]:
        """Judge a term that several clusters carry as a whole."""
        below = self.ontology.descendants
        below = set(below.indices[below.indptr[term] : below.indptr[term + 1]].tolist()) - {term}
        narrower = [self._typical(cluster) & below for cluster in full]
        if all(narrower) and len({frozenset(terms) for terms in narrower}) == len(full):
            return "too broad", f"most of {len(full)} clusters carry it, each with narrower terms of its own"
        if not any(narrower):
            return "split", f"most of {len(full)} clusters carry it, and no narrower term tells them apart"
        return "", ""

    def _typical(self, cluster: int) -> set[int]:
        """Return the terms that most members of a cluster carry."""
        own = slice(self.by_cluster.indptr[cluster], self.by_cluster.indptr[cluster + 1])
        return set(
            self.by_cluster.indices[own][self.by_cluster.data[own] >= MOST * self.sizes[cluster]].tolist()
        )

    def _verdict_on_part(self, term: int, main: int, n: float) -> tuple[str, str]:
        """Judge a term that no cluster carries as a whole, and n members of its main one."""
        ontology, size = self.ontology, self.sizes[main]
        if not LEAST * size <= n < 0.5 * size:
            return "", ""
        for _, id in ontology.terms[term].parents:
            parent = ontology.row_of.get(id)
            if parent is None or ontology.roots[parent]:
                continue
            # What nearly all proteins carry does not say that the cluster should be called by it.
            usual = self.clusters_of(parent)[1].sum() / self.sizes.sum()
            n_parent = self.by_cluster[main, parent]
            if n_parent >= size * max(0.9, 2 * usual):
                return "too narrow", (
                    f"{percent(n / size)} of cluster {int(self.numbers[main])} carry it, "
                    f"{percent(n_parent, size)} its parent '{ontology.terms[parent].name}'"
                )
        return "", ""
