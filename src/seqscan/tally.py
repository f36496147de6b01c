"""What each cluster is, counted block by block while its members pass by, and written as tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqscan.head import ClusterHead
from seqscan.hierarchy import HIERARCHY_COLUMNS, Hierarchy
from seqscan.results import Assignments, ClusterSummary
from seqscan.store import unit
from seqscan.tables import write_tsv

__all__ = ["ClusterTally", "shown", "write_clusters"]


class ClusterTally:
    """Members, means and the nearest member of each cluster of a head.

    Parameters
    ----------
    head : ClusterHead

    Attributes
    ----------
    sizes : (C,), int64
        Members so far.
    """

    def __init__(self, head: ClusterHead) -> None:
        n = head.n_clusters
        self.sizes = np.zeros(n, dtype=np.int64)
        self._head = head
        self._probabilities, self._lengths, self._squares = np.zeros((3, n))
        self._nearest = np.full(n, -np.inf)
        self._representatives: list[str] = [""] * n

    def add(self, found: Assignments, vectors: NDArray[np.float32], lengths: NDArray[np.integer]) -> None:
        """Count a block of proteins: where they were assigned, their vectors (N, P) and lengths (N,)."""
        rows = np.flatnonzero(found.assigned)
        labels, n = found.labels[rows], len(self.sizes)
        lengths = lengths[rows].astype(np.float64)
        self.sizes += np.bincount(labels, minlength=n)
        self._probabilities += np.bincount(labels, found.probabilities[rows], minlength=n)
        self._lengths += np.bincount(labels, lengths, minlength=n)
        self._squares += np.bincount(labels, lengths**2, minlength=n)
        # The cosine with the own prototype alone: all logits of a large input would not fit into memory.
        own = np.einsum("nq,nq->n", self._head.points(vectors[rows]), unit(self._head.prototypes)[labels])
        order = np.lexsort((-own, labels))
        present, first = np.unique(labels[order], return_index=True)
        for label, place in zip(present.tolist(), order[first].tolist(), strict=True):
            if own[place] > self._nearest[label]:
                self._nearest[label] = own[place]
                self._representatives[label] = found.ids[rows[place]]

    def summaries(self, tree: Hierarchy, enriched: Mapping[int, str] | None = None) -> list[ClusterSummary]:
        """Describe each cluster that has members, by number.

        Parameters
        ----------
        tree : Hierarchy
            Of these clusters.
        enriched : dict of int to str, optional
            Residues that are frequent in each.
        """
        rows = []
        for label in np.flatnonzero(self.sizes).tolist():
            size = int(self.sizes[label])
            mean = float(self._lengths[label]) / size
            rows.append(
                ClusterSummary(
                    cluster=label,
                    size=size,
                    representative=self._representatives[label],
                    mean_probability=float(self._probabilities[label]) / size,
                    mean_length=mean,
                    sd_length=max(0.0, float(self._squares[label]) / size - mean**2) ** 0.5,
                    enriched_residues="" if enriched is None else enriched.get(label, ""),
                    parent=tree.parent_of(label),
                )
            )
        return rows


def write_clusters(folder: Path, clusters: list[ClusterSummary], tree: Hierarchy) -> None:
    """Write `clusters.tsv` and `hierarchy.tsv`."""
    rows = (tuple(map(shown, asdict(row).values())) for row in clusters)
    write_tsv(tuple(ClusterSummary.__dataclass_fields__), rows, folder / "clusters.tsv")
    write_tsv(HIERARCHY_COLUMNS, tree.rows(), folder / "hierarchy.tsv")


def shown(value: object) -> str:
    """Return a cell of `clusters.tsv`: four decimals of what is not whole."""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
