"""Terms that a protein probably has, with a calibrated probability and the evidence for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqscan.artifact import write_atomically
from seqscan.errors import InputError
from seqscan.knowledge.ontology import Ontology
from seqscan.knowledge.support import FEATURES, Evidence, Surroundings
from seqscan.results import write_tsv

__all__ = ["PREDICTION_COLUMNS", "Predictions", "annotate", "marked_residues", "upward"]

PREDICTION_COLUMNS = (
    "protein", "term", "probability", "name", "aspect", "known", "cluster", "cluster_carriers",
    "cluster_annotated", "neighbors_that_carry_it", "residues",
)  # fmt: skip

MIN_ANNOTATED = 20
"""Fewer annotated proteins cannot calibrate anything."""
_MAX_LEARNT_FROM = 4000
_MAX_PAIRS = 400_000
_BLOCK_ROWS = 1024


@dataclass(frozen=True)
class Predictions:
    """M pairs of a protein and a term, by protein and then by falling probability.

    Attributes
    ----------
    evidence : Evidence
    ontology : Ontology
    rows, terms : (M,), int64
        Of the protein in the evidence; of the term. Roots are left out: they say nothing.
    probabilities : (M,)
        Calibrated; a term is never more probable than its ancestors.
    known : (M,), bool
        Which of them the annotations hold already.
    """

    evidence: Evidence
    ontology: Ontology
    rows: NDArray[np.int64]
    terms: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    known: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.rows)

    def write(self, path: str | Path, *, residues: Mapping[str, str] | None = None) -> None:
        """Write the table `PREDICTION_COLUMNS`; `residues` names what matters in each protein."""
        around, terms = self.evidence.around, self.ontology.terms
        carriers, members = self.evidence.share_of_cluster(self.rows, np.arange(len(self)), self.terms)

        def lines() -> Iterable[tuple[object, ...]]:
            for i, (row, t) in enumerate(zip(self.rows.tolist(), self.terms.tolist(), strict=True)):
                near = self.evidence.witnesses(row, t)
                yield (
                    around.ids[row], terms[t].id, f"{self.probabilities[i]:.3f}", terms[t].name,
                    terms[t].namespace, "yes" if self.known[i] else "no", int(around.labels[row]),
                    int(carriers[i]), int(members[i]), ",".join(f"{id}({value:.2f})" for id, value in near),
                    (residues or {}).get(around.ids[row], ""),
                )  # fmt: skip

        write_tsv(PREDICTION_COLUMNS, lines(), path)

    def write_cafa(self, path: str | Path) -> None:
        """Write protein, term and probability, no header, as the CAFA evaluators read it."""
        with write_atomically(path) as temporary, temporary.open("w") as handle:
            for row, term, p in zip(self.rows, self.terms, self.probabilities, strict=True):
                handle.write(f"{self.evidence.around.ids[row]}\t{self.ontology.terms[term].id}\t{p:.3f}\n")

    def write_gaf(self, path: str | Path, *, database: str = "UniProtKB") -> None:
        """Write the terms that are not known yet as rows in the columns of GAF 2.2, evidence IEA.

        The probability stands in the column "annotation extension", which a database must not take over.
        """
        aspects = {"biological_process": "P", "molecular_function": "F", "cellular_component": "C"}
        qualifiers = {"P": "involved_in", "F": "enables", "C": "located_in"}
        with write_atomically(path) as temporary, temporary.open("w") as handle:
            handle.write("!gaf-version: 2.2\n!generated-by: seqscan\n!predicted from sequence, not curated\n")
            for row, t, p, known in zip(self.rows, self.terms, self.probabilities, self.known, strict=True):
                if known:
                    continue
                term, id = self.ontology.terms[t], self.evidence.around.ids[row]
                aspect = aspects.get(term.namespace, "")
                columns = (
                    database, id, id, qualifiers.get(aspect, ""), term.id, "", "IEA", "", aspect, "", "",
                    "protein", "", "", "seqscan", f"probability({p:.3f})", "",
                )  # fmt: skip
                handle.write("\t".join(columns) + "\n")


def annotate(
    around: Surroundings,
    carried: Any,
    ontology: Ontology,
    queries: NDArray[np.int64],
    *,
    negated: Any = None,
    min_probability: float = 0.05,
    seed: int = 0,
) -> Predictions:
    """Predict the terms of some proteins from what stands around them.

    Parameters
    ----------
    around : Surroundings
        Of N proteins.
    carried : (N, T) sparse bool
        What is known of them, propagated; empty rows for new proteins.
    ontology : Ontology
    queries : (R,), int64
        Rows to predict; what is known of these very proteins is not used for them.
    negated : (N, T) sparse bool, optional
        Stated not to hold: neither such a term nor a descendant is predicted.
    min_probability : probability
        Less probable terms are left out.
    seed : int

    Raises
    ------
    InputError
        If fewer than `MIN_ANNOTATED` proteins are annotated.

    Notes
    -----
    The weight of each kind of evidence is learnt from annotated proteins, each one hidden from itself:
    boosted trees on `support.FEATURES`. On a quarter of those proteins, kept out, the result is carried up
    the hierarchy and calibrated by isotonic regression.
    """
    evidence = around.evidence(carried)
    known = np.flatnonzero(evidence.known)
    if len(known) < MIN_ANNOTATED:
        raise InputError(
            "annotations",
            f"only {len(known)} proteins have them; {MIN_ANNOTATED} are needed to weigh evidence",
            remedy="Give annotations of more of the proteins, or a larger reference.",
        )
    score = _learn(evidence, ontology, known, seed)
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []
    for start in range(0, len(queries), _BLOCK_ROWS):
        rows = queries[start : start + _BLOCK_ROWS]
        place, terms = evidence.pairs(rows)
        p = score(rows, place, terms)
        if negated is not None:
            p[_at_any(negated[rows], place, terms, ontology)] = 0.0
        kept = (p >= min_probability) & ~ontology.roots[terms]
        place, terms, p = place[kept], terms[kept], p[kept]
        order = np.lexsort((terms, -p, place))
        found.append((rows[place[order]], terms[order], p[order]))
    rows, terms, p = (np.concatenate(part) for part in zip(*found, strict=True)) if found else (
        np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    )  # fmt: skip
    have = np.asarray(carried[rows, terms]).ravel().astype(bool) if len(rows) else np.empty(0, bool)
    return Predictions(evidence, ontology, rows, terms, p, have)


def upward(
    place: NDArray[np.int64], terms: NDArray[np.int64], p: NDArray[np.float64], ontology: Ontology
) -> NDArray[np.float64]:
    """Raise each probability to the highest of the term's descendants in the same protein, (M,) -> (M,)."""
    ancestors, n_terms = ontology.ancestors, len(ontology)
    counts = np.diff(ancestors.indptr)[terms]
    lower = np.repeat(np.arange(len(terms)), counts)
    within = np.arange(len(lower)) - np.repeat(np.cumsum(counts) - counts, counts)
    wanted = place[lower] * n_terms + ancestors.indices[np.repeat(ancestors.indptr[terms], counts) + within]
    keys = place * n_terms + terms
    order = np.argsort(keys, kind="stable")
    at = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), max(len(keys) - 1, 0))]
    hit = keys[at] == wanted
    raised = p.copy()
    np.maximum.at(raised, at[hit], p[lower[hit]])
    return raised


def _learn(evidence: Evidence, ontology: Ontology, known: NDArray[np.int64], seed: int) -> Any:
    """Learn from annotated proteins; return a function of (rows, place, terms) that gives probabilities."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.isotonic import IsotonicRegression

    generator = np.random.default_rng((seed, 61))
    chosen = generator.permutation(known)[:_MAX_LEARNT_FROM]
    parts = np.split(chosen, [max(1, len(chosen) * 3 // 4)])
    drawn: list[tuple[Any, ...]] = []
    for part in parts:
        rows = np.sort(part)
        place, terms = evidence.pairs(rows)
        informative = ~ontology.roots[terms]
        place, terms = place[informative], terms[informative]
        truth = np.asarray(evidence.carried[rows[place], terms]).ravel().astype(bool)
        drawn.append((rows, place, terms, evidence.features(rows, place, terms), truth))
    _, _, _, features, truth = drawn[0]
    sample = np.sort(generator.permutation(len(truth))[:_MAX_PAIRS])
    if truth[sample].all() or not truth[sample].any():
        constant = float(truth[sample].mean()) if len(sample) else 0.0
        return lambda rows, place, terms: np.full(len(place), constant)
    trees = HistGradientBoostingClassifier(
        max_iter=80, learning_rate=0.1, max_leaf_nodes=15, min_samples_leaf=50, l2_regularization=1.0,
        early_stopping=False, random_state=seed,
        # More support never speaks against a term.
        monotonic_cst=[int(name in _SUPPORTING) for name in FEATURES],
    )  # fmt: skip
    trees.fit(features[sample], truth[sample])
    _, place, terms, features, truth = drawn[1]
    raw = upward(place, terms, trees.predict_proba(features)[:, 1], ontology)
    isotonic = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(raw, truth)

    def score(
        rows: NDArray[np.int64], place: NDArray[np.int64], terms: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        if not len(place):
            return np.empty(0)
        raw = trees.predict_proba(evidence.features(rows, place, terms))[:, 1]
        raised = upward(place, terms, raw, ontology)
        # Isotonic regression has steps; a little of the raw score keeps the order within a step.
        return 0.99 * isotonic.predict(raised) + 0.01 * raised

    return score


_SUPPORTING = {"neighbors", "nearest", "cluster", "alignments", "best_alignment"}


def _at_any(
    negated: Any, place: NDArray[np.int64], terms: NDArray[np.int64], ontology: Ontology
) -> NDArray[np.bool_]:
    """Say which pairs are stated not to hold: the term or an ancestor of it is negated."""
    down = (negated.astype(np.int32) @ ontology.descendants.astype(np.int32)).tocsr()
    return np.asarray(down[place, terms]).ravel() > 0 if len(place) else np.empty(0, bool)


def marked_residues(contributions: Sequence[float]) -> str:
    """Return the stretch of residues that speaks most for the cluster, as `first-last` (1-based).

    Examples
    --------
    >>> marked_residues([0.0, 0.5, 0.6, 0.0, -0.2])
    '2-3'
    """
    values = np.asarray(contributions, dtype=np.float64) - max(float(np.mean(contributions)), 0.0)
    best, begin, end, total, start = 0.0, 0, 0, 0.0, 0
    for i, value in enumerate(values.tolist()):
        if total <= 0:
            total, start = 0.0, i
        total += value
        if total > best:
            best, begin, end = total, start, i + 1
    return f"{begin + 1}-{end}" if end else ""
