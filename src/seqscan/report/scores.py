"""The scores: what each is called and means, and methods side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from seqscan.report.data import ReportData
from seqscan.wording import number, plural, thousandths

__all__ = ["COUNTS", "METRICS", "labelled_scores", "score_rows", "score_table"]

METRICS: dict[str, tuple[str, str, int]] = {
    "n_clusters": ("Clusters in use", "Clusters that hold at least one protein.", 0),
    "n_held_out_edges": ("Held-out neighbor pairs", "Pairs kept out of the training.", 0),
    "held_out_agreement": (
        "Agreement of held-out neighbors",
        "Share of the neighbor pairs kept out of the training whose two proteins lie in one cluster. "
        "Read it beside the agreement by chance: one single cluster would score 1.",
        1,
    ),
    "chance_agreement": ("Agreement by chance", "How often two proteins at random lie in one cluster.", 0),
    "hidden_proteins_placed": (
        "Hidden proteins placed",
        "Joint learning and a trial clustering did not see a tenth of the proteins, nor their alignments; "
        "then it placed them: the share that came to the proteins they align with. An estimate, without "
        "labels, of how well new members of these families are placed.",
        1,
    ),
    "unassigned_share": ("Share unassigned", "Of the proteins, those that fit no cluster.", 0),
    "largest_share": (
        "Share of the largest cluster", "Of the proteins; near 1 the clustering has collapsed.", 0
    ),
    "cluster_entropy_nats": (
        "Entropy of cluster sizes", "Nats; its exponential is the effective number of clusters.", 0
    ),
    "mean_probability": ("Mean probability", "How sure the model is, not how right.", 0),
    "accuracy": ("Accuracy", "Share of proteins in the one cluster that is matched with their family.", 1),
    "macro_accuracy": ("Macro accuracy", "The same as a mean over families, small ones count as much.", 1),
    "nmi": ("NMI", "Normalized mutual information, 0 to 1; grows with more clusters, even random ones.", 1),
    "ami": ("AMI", "Mutual information corrected for chance; 0 is random, 1 is perfect.", 1),
    "ari": ("ARI", "Agreement on pairs, corrected for chance; ruled by the largest families.", 1),
    "homogeneity": ("Homogeneity", "1 if each cluster holds one family; blind to splitting.", 1),
    "completeness": ("Completeness", "1 if each family lies in one cluster; blind to merging.", 1),
    "v_measure": ("V-measure", "Harmonic mean of the two; the same number as NMI.", 1),
    "pairwise_precision": ("Pair precision", "Of the pairs in one cluster, those of one family.", 1),
    "pairwise_recall": ("Pair recall", "Of the pairs of one family, those in one cluster.", 1),
    "pairwise_f1": ("Pair F1", "Harmonic mean of the two.", 1),
    "bcubed_precision": ("B-cubed precision", "Share of a protein’s cluster that is of its family.", 1),
    "bcubed_recall": ("B-cubed recall", "Share of a protein’s family that is in its cluster.", 1),
    "bcubed_f1": ("B-cubed F1", "Harmonic mean of the two.", 1),
    "purity": ("Purity", "Share of proteins of their cluster’s commonest family; blind to splitting.", 1),
    "aupr_micro": ("AUPR, micro", "Average precision over all pairs of protein and family.", 1),
    "aupr_macro": ("AUPR, macro", "Average precision, a mean over families.", 1),
    "seconds": ("Time, seconds", "", -1),
}  # fmt: skip
"""What the known metrics are called and mean; +1: higher is better, -1: lower, 0: neither. In full:
`docs/metrics.md`."""

COUNTS = {
    "n_scored": "proteins scored",
    "n_families": "families among them",
    "n_without_truth": "proteins without a label",
    "n_truth_unused": "labels without a protein",
}
"""Said in words above the table, not as rows of it."""

# The measures that methods are compared by: one of each kind, so that the table fits a page. No times: those
# that cluster our vectors would get the encoder's for nothing.
_COMPARED = ("accuracy", "macro_accuracy", "nmi", "ami", "ari", "bcubed_f1", "purity", "n_clusters")
# What `seqscan.baselines` calls its methods, in words.
_METHODS = {
    "random": "random clusters",
    "kmeans_length": "k-means on length",
    "kmeans_composition": "k-means on composition",
    "leiden_composition": "Leiden on composition",
    "kmeans_2mers": "k-means on 2-mers",
    "kmeans_3mers": "k-means on 3-mers",
    "kmeans_vectors": "k-means on the same vectors",
    "leiden_cpm": "Leiden (CPM) on the same graph",
    "leiden_modularity": "Leiden (modularity), same graph",
    "label_propagation": "label propagation, same graph",
    "mmseqs2": "MMseqs2, default",
    "mmseqs2_sensitive": "MMseqs2, connected components",
}


def score_rows(scores: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return the name, the meaning and the value of each score."""
    rows = []
    for name, value in scores.items():
        if name == "n_proteins":
            # Stands at the top already.
            continue
        label, meaning, _ = _metric(name)
        rows.append({"label": label, "meaning": meaning, "value": value})
    return rows


def labelled_scores(data: ReportData) -> dict[str, Any] | None:
    """Lay out the scores against truth: all of this run, and a table of the chief ones, a row a method."""
    scores = data.scores.labelled
    if not scores:
        return None
    methods = [{"method": "seqscan, this run", **scores}, *data.baselines] if data.baselines else []
    columns = [name for name in _COMPARED if sum(row.get(name) is not None for row in methods) > 1]
    cells = {name: [_mean_sd(row.get(name)) for row in methods] for name in columns}
    best = {name: _best(cells[name], _metric(name)[2]) for name in columns}
    judged = [name for name in columns if _metric(name)[2] and cells[name][0] is not None]
    n_best = sum(best[name][0] for name in judged)
    return {
        "own": score_rows({k: v for k, v in scores.items() if k not in COUNTS | data.scores.label_free}),
        "columns": [{"label": _metric(name)[0], "meaning": _metric(name)[1]} for name in columns],
        "rows": [
            {
                "method": _METHODS.get(str(row["method"]), str(row["method"])),
                "cells": [
                    {"mean": cell[0] if cell else None, "sd": _sd(cell), "best": best[name][place]}
                    for name in columns
                    for cell in (cells[name][place],)
                ],
            }
            for place, row in enumerate(methods)
        ],
        "counts": ", ".join(
            f"{number(scores[name])} {words}" for name, words in COUNTS.items() if scores.get(name)
        ),
        "verdict": f"This run is best, or level, in {n_best or 'none'} of {plural(len(judged), 'measure')}.",
    }


def score_table(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return rows of scores as columns and cells; None if there are none."""
    if not rows:
        return None
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {
        "columns": [_metric(name)[0] for name in names],
        "rows": [[row.get(name) for name in names] for row in rows],
    }


def _metric(name: str) -> tuple[str, str, int]:
    """Return what a metric is called and means, and whether higher is better; see `METRICS`."""
    label = name.removeprefix("n_").replace("_", " ")
    return METRICS.get(name, (label[:1].upper() + label[1:], "", 0 if name.startswith("n_") else 1))


def _mean_sd(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    if isinstance(value, Mapping):
        mean, sd = value["mean"], value.get("sd", math.nan)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        mean, sd = value
    else:
        mean, sd = value, math.nan
    mean, sd = float(mean), math.nan if sd is None else float(sd)
    return (mean, sd) if math.isfinite(mean) else None


def _best(cells: Sequence[tuple[float, float] | None], direction: int) -> list[bool]:
    """Mark the best of some means; compared as printed: a difference that cannot be seen is a tie."""
    ranks = [-math.inf if cell is None else direction * thousandths(cell[0]) for cell in cells]
    return [bool(direction) and rank == max(ranks) for rank in ranks]


def _sd(cell: tuple[float, float] | None) -> float | None:
    return cell[1] if cell is not None and math.isfinite(cell[1]) else None
