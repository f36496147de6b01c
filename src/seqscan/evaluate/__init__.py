"""Figures of merit: without labels always, against labels if they are given.

This is the only code that reads labels. All figures against labels come from one sparse table of families by
clusters, so two million proteins in 15,000 families take seconds. `docs/metrics.md` defines each figure.

Unassigned proteins (label -1) are never left out: for the accuracies each is an error, for the partition
figures each is a cluster of its own.
"""

from seqscan.evaluate.partition import Contingency, contingency, label_scores, match_clusters
from seqscan.evaluate.ranking import average_precision
from seqscan.evaluate.scoring import evaluate, label_free_scores

__all__ = [
    "Contingency",
    "average_precision",
    "contingency",
    "evaluate",
    "label_free_scores",
    "label_scores",
    "match_clusters",
]
