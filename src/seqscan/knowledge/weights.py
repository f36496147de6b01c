"""What each kind of evidence for a term is worth, learnt from the annotated proteins of one aspect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from seqscan.knowledge.annotations import propagate
from seqscan.knowledge.cooccurrence import COOCCURRENCE_FEATURES, Cooccurrence, specific
from seqscan.knowledge.ontology import Ontology
from seqscan.knowledge.pairs import at, expand
from seqscan.knowledge.support import FEATURES, Evidence

__all__ = ["MISSING_SHARE", "Weights", "apply_true_path_rule"]

MISSING_SHARE = 0.2
"""Of the terms of a protein that has some, so many are taken to be missing; nobody knows how many are."""
_HIDDEN_SHARE = MISSING_SHARE / (1 - MISSING_SHARE)
"""Of the known terms, so many are hidden to learn from: as many as are missing already."""
_NOTHING_KNOWN, _OTHER_ASPECTS_KNOWN, _SOME_KNOWN = range(3)
"""Views of a protein."""
_N_FOLDS = 3
_MAX_LEARNT_FROM = 4000
_MAX_PAIRS = 300_000
_SUPPORTING = {
    "neighbors", "nearest", "cluster", "alignments", "best_alignment", "cooccurrence_best",
    "cooccurrence_mean",
}  # fmt: skip


@dataclass(frozen=True)
class Weights:
    """Learnt weights of the evidence for terms of one aspect.

    Attributes
    ----------
    evidence : Evidence
        Of the terms of the aspect alone: a protein without any says nothing about it.
    cooccurrence : Cooccurrence
        Of all terms.
    trees : function of features
        Gives raw values.
    calibrated : list of function
        From raw values to probabilities, for each view of a protein: nothing is known of it, nothing in this
        aspect, or some terms in this aspect.
    """

    evidence: Evidence
    cooccurrence: Cooccurrence
    trees: Any
    calibrated: list[Any]

    @classmethod
    def learn(cls, evidence: Evidence, cooccurrence: Cooccurrence, direct: Any, *, seed: int = 0) -> Weights:
        """Hide all, the aspect, or a share of each protein's annotations, and learn what betrays them.

        Parameters
        ----------
        evidence : Evidence
        cooccurrence : Cooccurrence
        direct : (N, T) sparse bool
            As annotated.
        seed : int

        Notes
        -----
        Boosted trees on `support.FEATURES` and `COOCCURRENCE_FEATURES`; more support never speaks against
        a term. What trees say of proteins of another fold is carried up the hierarchy and calibrated by
        isotonic regression; the trees that are kept have learnt from all folds.
        """
        generator = np.random.default_rng((seed, 61))
        rows = np.sort(generator.permutation(np.flatnonzero(evidence.known))[:_MAX_LEARNT_FROM])
        place, terms = evidence.pairs(rows)
        truth = at(evidence.propagated[rows], place, terms) > 0
        base = evidence.features(rows, place, terms)
        # All parts of a protein in one fold: they have its annotations in common.
        numbers, protein = np.unique(evidence.around.proteins[rows], return_inverse=True)
        fold_of = (generator.permutation(len(numbers)) % _N_FOLDS)[protein]
        ontology = cooccurrence.ontology
        views = []
        for held in _views(direct[rows], evidence, ontology, generator):
            # What follows from what is known is no question.
            open = at(propagate(held, ontology).astype(np.int32), place, terms) == 0
            more = cooccurrence.features(rows, held, place[open], terms[open])
            views.append((place[open], terms[open], np.hstack([base[open], more]), truth[open]))
        features = np.concatenate([view[2] for view in views])
        right = np.concatenate([view[3] for view in views])
        fold = np.concatenate([fold_of[view[0]] for view in views])
        raw = np.empty(len(right))
        for out in range(_N_FOLDS):
            raw[fold == out] = _trees(features[fold != out], right[fold != out], generator, seed)(
                features[fold == out]
            )
        calibrated = []
        ends = np.cumsum([len(view[0]) for view in views])
        for (p, t, _, truth), part in zip(views, np.split(raw, ends[:-1]), strict=True):
            calibrated.append(_isotonic(apply_true_path_rule(p, t, part, ontology), truth))
        return cls(evidence, cooccurrence, _trees(features, right, generator, seed), calibrated)

    def probabilities(
        self, rows: NDArray[np.int64], place: NDArray[np.int64], terms: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the probability of pairs of a protein, `rows[place]`, and a term of the aspect, (M,).

        What a protein is known to carry speaks for the terms it is not known to carry; for those it carries
        only others speak.
        """
        ontology = self.cooccurrence.ontology
        held = specific(self.cooccurrence.propagated[rows], ontology)
        aspect = ontology.aspects[terms[0]] if len(terms) else 0
        row_of, term_of = held.nonzero()
        here = np.bincount(row_of[ontology.aspects[term_of] == aspect], minlength=len(rows)) > 0
        elsewhere = np.where(np.diff(held.indptr) > 0, _OTHER_ASPECTS_KNOWN, _NOTHING_KNOWN)
        view = np.where(here, _SOME_KNOWN, elsewhere)[place]
        view[at(self.cooccurrence.propagated[rows], place, terms) > 0] = _NOTHING_KNOWN
        nothing = sparse.csr_array(held.shape, dtype=bool)
        base = self.evidence.features(rows, place, terms)
        p = np.zeros(len(place))
        for number in np.unique(view):
            own = view == number
            more = self.cooccurrence.features(
                rows, nothing if number == _NOTHING_KNOWN else held, place[own], terms[own]
            )
            features = np.hstack([base[own], more])
            raw = apply_true_path_rule(place[own], terms[own], self.trees(features), ontology)
            value = self.calibrated[number](raw)
            if number == _SOME_KNOWN:
                # Of the terms that were not known when this was learnt, those missing already counted as
                # wrong. There are as many of them as were hidden, so the odds are the probability.
                value = np.minimum(value / np.maximum(1.0 - value, 1e-9), 1.0)
            # Isotonic regression has steps; a little of the raw value keeps the order within a step.
            p[own] = 0.99 * value + 0.01 * raw
        return p


def apply_true_path_rule(
    place: NDArray[np.int64], terms: NDArray[np.int64], p: NDArray[np.float64], ontology: Ontology
) -> NDArray[np.float64]:
    """Raise each probability to the highest of the term's descendants in the same protein, (M,) -> (M,).

    GO's true path rule: what a term is said of, its ancestors are said of too.
    """
    if not len(terms):
        return p.copy()
    lower, above = expand(ontology.ancestors, terms)
    n_terms = len(ontology)
    wanted = place[lower] * n_terms + above
    keys = place * n_terms + terms
    order = np.argsort(keys, kind="stable")
    found = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)]
    hit = keys[found] == wanted
    raised = p.copy()
    np.maximum.at(raised, found[hit], p[lower[hit]])
    return raised


def _views(direct: Any, evidence: Evidence, ontology: Ontology, generator: np.random.Generator) -> list[Any]:
    """Return the most specific terms that count as known in each view, (R, T) sparse bool each."""
    row_of, term_of = direct.nonzero()
    here = np.asarray(evidence.propagated.sum(axis=0)).ravel()[term_of] > 0
    kept = (np.zeros(len(row_of), bool), ~here, generator.random(len(row_of)) >= _HIDDEN_SHARE)
    shown = [
        sparse.csr_array((np.ones(int(k.sum()), bool), (row_of[k], term_of[k])), shape=direct.shape)
        for k in kept
    ]
    return [specific(propagate(known, ontology), ontology) for known in shown]


def _trees(
    features: NDArray[np.float32], truth: NDArray[np.bool_], generator: np.random.Generator, seed: int
) -> Any:
    """Return a function of features that gives raw probabilities."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    sample = np.sort(generator.permutation(len(truth))[:_MAX_PAIRS])
    if not len(sample) or truth[sample].all() or not truth[sample].any():
        constant = float(truth[sample].mean()) if len(sample) else 0.0
        return lambda features: np.full(len(features), constant)
    trees = HistGradientBoostingClassifier(
        max_iter=80, learning_rate=0.1, max_leaf_nodes=15, min_samples_leaf=50, l2_regularization=1.0,
        early_stopping=False, random_state=seed,
        monotonic_cst=[int(name in _SUPPORTING) for name in (*FEATURES, *COOCCURRENCE_FEATURES)],
    )  # fmt: skip
    trees.fit(features[sample], truth[sample])
    return lambda features: trees.predict_proba(features)[:, 1] if len(features) else np.empty(0)


def _isotonic(raw: NDArray[np.float64], truth: NDArray[np.bool_]) -> Any:
    """Return a function from raw to calibrated probabilities; where nothing was kept out they stay."""
    from sklearn.isotonic import IsotonicRegression

    if not len(raw):
        return lambda raw: raw
    fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(raw, truth)
    return lambda raw: fitted.predict(raw) if len(raw) else raw
