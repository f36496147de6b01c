"""From assignments, and labels if there are any, to `Scores`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from seqscan.errors import InvalidParameter, ShapeMismatch
from seqscan.evaluate.partition import (
    Contingency,
    bcubed_sums,
    contingency,
    entropy,
    f1,
    match_clusters,
    matched_members,
    table_scores,
)
from seqscan.evaluate.ranking import family_areas
from seqscan.results import UNASSIGNED, Assignments, Scores, check_truth

__all__ = ["evaluate", "label_free_scores"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def _by_decile(table: Contingency, matched: Ints, areas: Floats) -> list[dict[str, float]]:
    sizes, hits = table.family_sizes, matched_members(table, matched)
    precision, recall = bcubed_sums(table)
    # Mean ranks keep families of one size together, so a decile may be empty.
    decile = np.floor(10 * (rankdata(sizes) - 0.5) / len(sizes)).astype(np.int64) + 1
    rows: list[dict[str, float]] = []
    for number in np.unique(decile).tolist():
        part = decile == number
        n = int(sizes[part].sum())
        p, r = float(precision[part].sum()) / n, float(recall[part].sum()) / n
        rows.append(
            {
                "decile": number,
                "n_families": int(part.sum()),
                "n_proteins": n,
                "min_size": int(sizes[part].min()),
                "max_size": int(sizes[part].max()),
                "accuracy": float(hits[part].sum()) / n,
                "macro_accuracy": float((hits[part] / sizes[part]).mean()),
                "bcubed_precision": p,
                "bcubed_recall": r,
                "bcubed_f1": f1(p, r),
                "aupr_macro": float(areas[part].mean()),
            }
        )
    return rows


def label_free_scores(assignments: Assignments, held_out_edges: ArrayLike | None = None) -> dict[str, float]:
    """Return the figures that need no labels.

    Parameters
    ----------
    assignments : Assignments
    held_out_edges : (M, 2), int, optional
        Pairs of rows of `assignments` that are neighbors and were not trained on.

    Raises
    ------
    ShapeMismatch
        If the edges are no pairs.
    InvalidParameter
        If an edge names a row that does not exist.

    Examples
    --------
    >>> import numpy as np
    >>> one, none = np.ones(4, np.float32), np.full(4, -1, np.int32)
    >>> found = Assignments(list("abcd"), np.array([0, 0, 1, 1], np.int32), one, none, 0 * one)
    >>> scores = label_free_scores(found, [(0, 1), (1, 2)])
    >>> scores["held_out_agreement"], scores["chance_agreement"]
    (0.5, 0.5)
    """
    labels, n = assignments.labels, len(assignments)
    sizes = np.unique(labels[assignments.assigned], return_counts=True)[1]
    result: dict[str, float] = {
        "n_proteins": n,
        "n_clusters": len(sizes),
        "unassigned_share": 1.0 - float(sizes.sum()) / n if n else 0.0,
        "largest_share": float(sizes.max(initial=0)) / n if n else 0.0,
        "cluster_entropy_nats": entropy(sizes),
        "mean_probability": float(assignments.probabilities.mean(dtype=np.float64)) if n else 0.0,
        "chance_agreement": float(np.square(sizes / n).sum()) if n else 0.0,
    }
    if held_out_edges is not None:
        edges = np.asarray(held_out_edges)
        if edges.ndim != 2 or edges.shape[1] != 2:
            raise ShapeMismatch(f"held_out_edges has shape {edges.shape}; it must be (M, 2).")
        if edges.size and (edges.min() < 0 or edges.max() >= n):
            raise InvalidParameter(
                "held_out_edges", (int(edges.min()), int(edges.max())), f"rows are 0 to {n - 1}"
            )
        left, right = labels[edges[:, 0]], labels[edges[:, 1]]
        result["n_held_out_edges"] = len(edges)
        if len(edges):
            result["held_out_agreement"] = float(((left == right) & (left != UNASSIGNED)).mean())
    return result


def _known(ids: Sequence[str], truth: Mapping[str, str]) -> tuple[Ints, Ints]:
    """Return the rows that have a family, and the number of its family for each."""
    check_truth(truth, "truth", ids)
    held = [truth.get(id) or "" for id in ids]
    names = sorted(set(held) - {""})
    number = {name: index for index, name in enumerate(names)} | {"": -1}
    family = np.fromiter((number[name] for name in held), dtype=np.int64, count=len(held))
    rows = np.flatnonzero(family >= 0)
    return rows, family[rows]


def evaluate(
    assignments: Assignments,
    truth: Mapping[str, str] | None = None,
    *,
    held_out_edges: ArrayLike | None = None,
    probabilities: Floats | None = None,
) -> Scores:
    """Score assignments: without labels, and against labels if they are given.

    Parameters
    ----------
    assignments : Assignments
    truth : dict of id to family, optional
        An id with an empty family counts as one without truth.
    held_out_edges : (M, 2), int, optional
        Pairs of rows of `assignments` that are neighbors and were not trained on.
    probabilities : (N, C), optional
        Of every cluster; column c belongs to label c. Without it the two best clusters in `assignments` are
        known and the rest counts as 0. Takes N times the number of families in memory.

    Raises
    ------
    InputError
        If no id has a family.
    ShapeMismatch, InvalidParameter
        If `held_out_edges` or `probabilities` do not fit the assignments.

    Notes
    -----
    Only proteins with a family are scored against labels (`n_scored`); `n_without_truth` and `n_truth_unused`
    say how many on either side were not. A family with no cluster matched to it has an AUPR of its share.

    Examples
    --------
    >>> import numpy as np
    >>> one, none = np.ones(4, np.float32), np.full(4, -1, np.int32)
    >>> found = Assignments(list("abcd"), np.array([0, 0, 1, -1], np.int32), one, none, 0 * one)
    >>> scores = evaluate(found, {"a": "kinase", "b": "kinase", "c": "globin", "d": "globin", "e": "globin"})
    >>> scores.labelled["accuracy"], scores.labelled["n_truth_unused"], scores.label_free["unassigned_share"]
    (0.75, 1, 0.25)
    """
    label_free = label_free_scores(assignments, held_out_edges)
    if truth is None:
        return Scores(label_free)
    if probabilities is not None:
        least = int(assignments.labels.max(initial=-1)) + 1
        if (
            probabilities.ndim != 2
            or len(probabilities) != len(assignments)
            or probabilities.shape[1] < least
        ):
            raise ShapeMismatch(
                f"probabilities has shape {probabilities.shape}, "
                f"{len(assignments)} assignments need ({len(assignments)}, {least} or more)."
            )
    rows, family = _known(assignments.ids, truth)
    table = contingency(family, assignments.labels[rows])
    matched = match_clusters(table)
    micro, areas = family_areas(table, matched, family, assignments, rows, probabilities)
    labelled = {
        **table_scores(table, matched),
        "aupr_micro": micro,
        "aupr_macro": float(areas.mean()),
        "n_without_truth": len(assignments) - len(rows),
        "n_truth_unused": len(truth) - sum(id in truth for id in assignments.ids),
    }
    return Scores(label_free, labelled, _by_decile(table, matched, areas))
