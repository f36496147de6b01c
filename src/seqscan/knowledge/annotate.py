"""Terms that a protein probably has, with a calibrated probability and the evidence for each."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from seqscan.artifact import write_atomically
from seqscan.errors import InputError
from seqscan.knowledge.annotations import propagate
from seqscan.knowledge.cooccurrence import Cooccurrence
from seqscan.knowledge.ontology import Ontology
from seqscan.knowledge.support import Evidence, Surroundings
from seqscan.knowledge.weights import Weights, apply_true_path_rule
from seqscan.tables import write_tsv
from seqscan.wording import plural

__all__ = ["PREDICTION_COLUMNS", "Predictions", "annotate", "marked_residues"]

logger = logging.getLogger(__name__)

PREDICTION_COLUMNS = (
    "protein", "term", "probability", "name", "aspect", "known", "cluster", "cluster_carriers",
    "cluster_annotated", "neighbors_that_carry_it", "residues",
)  # fmt: skip

MIN_ANNOTATED = 20
"""Fewer annotated proteins cannot calibrate anything."""
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
                yield (
                    around.ids[row], terms[t].id, f"{self.probabilities[i]:.3f}", terms[t].name,
                    terms[t].namespace, "yes" if self.known[i] else "no", int(around.labels[row]),
                    int(carriers[i]), int(members[i]), ",".join(self.evidence.witnesses(row, t)),
                    (residues or {}).get(around.ids[row], ""),
                )  # fmt: skip

        write_tsv(PREDICTION_COLUMNS, lines(), path)

    def write_cafa(self, path: str | Path) -> None:
        """Write protein, term and probability, no header, as the CAFA evaluators read it."""
        with write_atomically(path) as temporary, temporary.open("w") as handle:
            for row, term, p in zip(self.rows, self.terms, self.probabilities, strict=True):
                handle.write(f"{self.evidence.around.ids[row]}\t{self.ontology.terms[term].id}\t{p:.3f}\n")


def annotate(
    around: Surroundings,
    direct: Any,
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
    direct : (N, T) sparse bool
        What they are annotated with; empty rows for new proteins. What it implies is worked out here.
    ontology : Ontology
    queries : (R,), int64
        Rows to predict.
    negated : (N, T) sparse bool, optional
        Stated not to hold: neither such a term nor a descendant is predicted.
    min_probability : probability
        Less probable terms are left out.
    seed : int

    Raises
    ------
    InputError
        If there is no aspect in which `MIN_ANNOTATED` proteins are annotated.

    Notes
    -----
    Each aspect is learnt by itself, from the proteins annotated in it, see `weights.Weights`; one with too
    few of them is left out. For a term that a protein is not known to carry, the terms it is known to carry
    speak too. At last a term is raised to the most probable of its descendants, across aspects.
    """
    propagated = propagate(direct, ontology)
    evidence = around.evidence(propagated)
    cooccurrence = Cooccurrence(propagated, ontology, around.proteins)
    learnt, left_out = [], []
    for aspect in range(len(ontology.namespaces)):
        columns = ((ontology.aspects == aspect) & ~ontology.roots).astype(np.float32)
        own = (propagated.astype(np.float32) @ sparse.diags_array(columns)).tocsr()
        own.eliminate_zeros()
        within = around.evidence(own.astype(bool))
        n_known = int(within.known.sum())
        if n_known >= MIN_ANNOTATED:
            learnt.append(Weights.learn(within, cooccurrence, direct, seed=seed))
        elif n_known:
            left_out.append(f"{ontology.namespaces[aspect]} ({plural(n_known, 'protein')})")
    if not learnt:
        raise InputError(
            "annotations",
            f"of only {plural(int(evidence.known.sum()), 'protein')}; {MIN_ANNOTATED} are needed in an "
            "aspect to weigh evidence",
            remedy="Give annotations of more of the proteins, or a larger reference.",
        )
    if left_out:
        logger.warning(
            "nothing is predicted in an aspect with terms of fewer than %d proteins: %s",
            MIN_ANNOTATED,
            ", ".join(left_out),
        )
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []
    for start in range(0, len(queries), _BLOCK_ROWS):
        rows = queries[start : start + _BLOCK_ROWS]
        parts = []
        for weights in learnt:
            place, terms = weights.evidence.pairs(rows)
            parts.append((place, terms, weights.probabilities(rows, place, terms)))
        place, terms, p = (np.concatenate(part) for part in zip(*parts, strict=True))
        if negated is not None:
            p[_at_any(negated[rows], place, terms, ontology)] = 0.0
        p = apply_true_path_rule(place, terms, p, ontology)
        kept = p >= min_probability
        place, terms, p = place[kept], terms[kept], p[kept]
        order = np.lexsort((terms, -p, place))
        found.append((rows[place[order]], terms[order], p[order]))
    rows, terms, p = (np.concatenate(part) for part in zip(*found, strict=True)) if found else (
        np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    )  # fmt: skip
    have = np.asarray(propagated[rows, terms]).ravel().astype(bool) if len(rows) else np.empty(0, bool)
    return Predictions(evidence, ontology, rows, terms, p, have)


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
