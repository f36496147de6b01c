"""What each cluster is, counted block by block while its members pass by, and written as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqscan.alphabet import AMINO
from seqscan.corpus import Corpus
from seqscan.head import ClusterHead
from seqscan.hierarchy import HIERARCHY_COLUMNS, Hierarchy, join_clusters
from seqscan.results import Assignments, ClusterSummary
from seqscan.store import unit
from seqscan.tables import write_tsv

__all__ = ["ClusterTally", "compositions", "shown", "summarize", "write_clusters"]


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


def summarize(
    assignments: Assignments,
    corpus: Corpus,
    head: ClusterHead,
    vectors: NDArray[np.float32],
    tied: NDArray[np.int64],
    previous: NDArray[np.int64] | None = None,
) -> tuple[list[ClusterSummary], Hierarchy]:
    """Describe each cluster that has members, and join the clusters to a tree.

    Parameters
    ----------
    assignments : Assignments
    corpus : Corpus
    head : ClusterHead
    vectors : (N, P)
        Of the corpus.
    tied : (M, 2)
        Pairs of clusters, for `join_clusters`.
    previous : (C,), int64, optional
        Further members that the tree counts, and the descriptions do not.
    """
    tally = ClusterTally(head)
    tally.add(assignments, vectors, corpus.lengths)
    sizes = tally.sizes if previous is None else tally.sizes + previous
    tree = join_clusters(head.prototypes, sizes, tied)
    numbers = np.flatnonzero(tally.sizes).tolist()
    shares, background = compositions(corpus, assignments.labels, numbers)
    enriched = {}
    for number, share in zip(numbers, shares, strict=True):
        ratio = share / np.maximum(background, 1e-9)
        order = np.argsort(-ratio, kind="stable")
        enriched[number] = "".join(AMINO.symbols[i + 1] for i in order if ratio[i] >= 1.25)
    return tally.summaries(tree, enriched), tree


def compositions(
    codes: Iterable[NDArray[np.uint8]], labels: NDArray[np.int32], clusters: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Count how frequent each residue is in each cluster and in the whole input.

    Parameters
    ----------
    codes : N arrays of uint8
        Encoded sequences, for instance a `Corpus`; read once.
    labels : (N,), int32
    clusters : C int
        Which clusters, in the order of the rows that are wanted.

    Returns
    -------
    composition : (C, 20), fractions
    background : (20,), fractions

    Examples
    --------
    >>> rows, background = compositions([AMINO.encode("AAC"), AMINO.encode("C")], np.array([0, 1]), [0, 1])
    >>> rows[:, :2].round(2).tolist(), background[:2].tolist()
    ([[0.67, 0.33], [0.0, 1.0]], [0.5, 0.5])
    """
    row_of = {cluster: row for row, cluster in enumerate(clusters)}
    counts = np.zeros((len(clusters), AMINO.n_residues))
    total = np.zeros(AMINO.n_residues)
    for sequence, label in zip(codes, labels.tolist(), strict=True):
        count = np.bincount(sequence, minlength=len(AMINO))[1 : 1 + AMINO.n_residues]
        total += count
        if label in row_of:
            counts[row_of[label]] += count
    return (
        counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0),
        total / max(float(total.sum()), 1.0),
    )


def write_clusters(folder: Path, clusters: list[ClusterSummary], tree: Hierarchy) -> None:
    """Write `clusters.tsv` and `hierarchy.tsv`."""
    rows = (tuple(map(shown, asdict(row).values())) for row in clusters)
    write_tsv(tuple(ClusterSummary.__dataclass_fields__), rows, folder / "clusters.tsv")
    write_tsv(HIERARCHY_COLUMNS, tree.rows(), folder / "hierarchy.tsv")


def shown(value: object) -> str:
    """Return a cell of `clusters.tsv`: four decimals of what is not whole."""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
