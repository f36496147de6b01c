"""Area under the precision-recall curve of the matched clusters' probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqscan.evaluate.partition import Contingency
from seqscan.results import UNASSIGNED, Assignments

__all__ = ["average_precision", "family_areas"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def average_precision(
    scores: Floats, positive: NDArray[np.bool_], groups: Ints, n_positive: Ints, n_items: int
) -> Floats:
    """Return the area under each group's precision-recall curve, from its non-zero scores only.

    Parameters
    ----------
    scores : (M,), float, > 0
    positive : (M,), bool
    groups : (M,), int64, 0 to G - 1
    n_positive : (G,), > 0
        Positives among all items of a group, those with score 0 included.
    n_items : int
        Items of each group; those not listed have score 0 and come last, tied.

    Returns
    -------
    areas : (G,)
        Average precision, as scikit-learn's `average_precision_score`: no interpolation, ties as one step.

    Examples
    --------
    >>> import numpy as np
    >>> group = np.zeros(2, dtype=np.int64)
    >>> average_precision(np.array([0.9, 0.4]), np.array([True, False]), group, np.array([2]), 4).tolist()
    [0.75]
    """
    order = np.lexsort((-scores, groups))
    scores, positive, groups = scores[order], positive[order], groups[order]
    starts = np.searchsorted(groups, np.arange(len(n_positive)))
    found = np.concatenate([[0], np.cumsum(positive)])
    step = np.ones(len(scores), dtype=bool)
    step[:-1] = (np.diff(scores) != 0) | (np.diff(groups) != 0)
    end = np.flatnonzero(step)
    group = groups[end]
    begin = np.concatenate([[0], end + 1])[:-1]
    precision = (found[end + 1] - found[starts[group]]) / (end + 1 - starts[group])
    gained = np.bincount(group, (found[end + 1] - found[begin]) * precision, minlength=len(n_positive))
    missing = n_positive - np.bincount(groups, positive, minlength=len(n_positive))
    return (gained + missing * (n_positive / n_items)) / n_positive


def family_areas(
    table: Contingency,
    matched: Ints,
    family: Ints,
    assignments: Assignments,
    rows: Ints,
    matrix: Floats | None = None,
) -> tuple[float, Floats]:
    """Return the area of all families pooled, and that of each.

    Parameters
    ----------
    table : Contingency
        Of `family` and the labels of `rows`, its families numbered 0 to F - 1.
    matched : (F,), int64
        What `match_clusters` gives.
    family : (n,), int64
        Family of each scored protein.
    assignments : Assignments, N proteins
    rows : (n,), int64
        Which of them are scored.
    matrix : (N, C), optional
        Probability of every label; without it, of the two best only.

    Returns
    -------
    pooled : float
    areas : (F,)
    """
    has = np.flatnonzero(matched >= 0)
    if matrix is not None:
        chosen = matrix[np.ix_(rows, table.clusters[matched[has]])]
        item, position = np.nonzero(chosen)
        claimed, scores = has[position], chosen[item, position]
    else:
        claimed, scores, item = _two_best(table.clusters[matched[has]], has, assignments, rows)
    positive = family[item] == claimed
    sizes, n = table.family_sizes, table.n
    together = np.zeros(len(item), dtype=np.int64)
    pooled = average_precision(scores, positive, together, np.array([n]), n * len(sizes))
    return float(pooled[0]), average_precision(scores, positive, claimed, sizes, n)


def _two_best(
    labels: Ints, families: Ints, assignments: Assignments, rows: Ints
) -> tuple[Ints, Floats, Ints]:
    """Return the non-zero entries (family, probability, item) of the labels that have a family."""
    if not len(labels):
        return np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64)
    first, second = assignments.labels[rows], assignments.second_labels[rows]
    second = np.where(second == first, UNASSIGNED, second)
    found = np.concatenate([first, second])
    order = np.argsort(labels)
    place = np.searchsorted(labels, found, sorter=order)
    place = order[np.minimum(place, len(labels) - 1)]
    claimed = np.where(labels[place] == found, families[place], -1)
    scores = np.concatenate([assignments.probabilities[rows], assignments.second_probabilities[rows]])
    keep = np.flatnonzero((claimed >= 0) & (scores > 0))
    return claimed[keep], scores[keep], keep % len(rows)
