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
from seqscan.knowledge.pairs import incidence, merged
from seqscan.knowledge.signs import n_kinds, signs_of
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
        1 is the most suspect. It orders; it is no probability, for nobody knows how many are wrong. It is 1
        where `denied`.
    support : (M,)
        Share of the votes for the term, of neighbors and of aligned proteins on average.
    instead, instead_support : (M,), int64 and float
        The term of the same aspect that the surroundings carry most and the protein does not, or -1.
    denied : (M,), int64
        The term, this one or an ancestor, that the annotations say NOT of the same protein, or -1.
    """

    evidence: Evidence
    ontology: Ontology
    rows: NDArray[np.int64]
    terms: NDArray[np.int64]
    suspicion: NDArray[np.float64]
    support: NDArray[np.float64]
    instead: NDArray[np.int64]
    instead_support: NDArray[np.float64]
    denied: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def head(self, n: int) -> Audit:
        """Return the `n` most suspect."""
        names = ("rows", "terms", "suspicion", "support", "instead", "instead_support", "denied")
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
        if self.denied[i] >= 0:
            denied = self.ontology.terms[int(self.denied[i])]
            parts.append(f"the annotations also say NOT '{denied.name}' ({denied.id}) of it")
        if self.evidence.around.labels[row] < 0:
            parts.append("it is in no cluster")
        elif members:
            parts.append(f"{carriers} of {members} other members of cluster "
                         f"{int(self.evidence.around.labels[row])} carry it")  # fmt: skip
        else:
            parts.append("no other annotated protein in its cluster")
        if n_kinds(self.evidence)[row]:
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


def audit(
    around: Surroundings, direct: Any, ontology: Ontology, *, negated: Any = None, seed: int = 0
) -> Audit:
    """Rank the annotations of N proteins by how much contradicts them.

    Parameters
    ----------
    around : Surroundings
    direct : (N, T) sparse bool
        As annotated; what they imply is worked out here.
    ontology : Ontology
    negated : (N, T) sparse bool, optional
        What the same annotations say NOT of; where one stands against another, one of the two is wrong.
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
    train, _, _ = signs_of(
        around.evidence(propagate(swapped, ontology)), swapped, ontology, train_rows, train_terms
    )
    evidence = around.evidence(propagate(direct, ontology))
    signs, instead, instead_support = signs_of(evidence, direct, ontology, rows, terms)
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
    denied = np.full(len(rows), -1, np.int64)
    if negated is not None:
        denied = _denied(rows, terms, negated.tocsr(), ontology)
        suspicion[denied >= 0] = 1.0
    order = np.lexsort((terms, rows, -suspicion))
    voted = signs[:, [FEATURES.index("neighbors"), FEATURES.index("alignments")]].sum(axis=1, dtype=float)
    support = voted / np.maximum(n_kinds(evidence)[rows], 1)
    return Audit(
        evidence, ontology, rows[order], terms[order], suspicion[order], support[order],
        instead[order], instead_support[order].astype(float), denied[order],
    )  # fmt: skip


def _denied(
    rows: NDArray[np.int64], terms: NDArray[np.int64], negated: Any, ontology: Ontology
) -> NDArray[np.int64]:
    """Return the deepest term that is said NOT to hold of a protein and that an annotation implies, or -1."""
    found = np.full(len(rows), -1, np.int64)
    for i in np.flatnonzero(np.diff(negated.indptr)[rows]).tolist():
        own = negated.indices[negated.indptr[rows[i]] : negated.indptr[rows[i] + 1]]
        against = np.intersect1d(own, ontology.above(int(terms[i])))
        if len(against):
            found[i] = against[ontology.depths[against].argmax()]
    return found


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
        counts = members @ merged(propagated[used], proteins[used], n_proteins)
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
