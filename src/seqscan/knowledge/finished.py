"""What a finished run left: its proteins, their vectors, who stands around them, and its categories.

`seqscan run` keeps sequences and vectors in `OUT/work`, beside `OUT/model` and `OUT/assignments.tsv`. What
builds on a run takes them from there; without that folder, the proteins have to be given again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from seqscan.alignment import find_mmseqs
from seqscan.artifact import read_manifest
from seqscan.corpus import Corpus
from seqscan.errors import ArtifactError, InputError
from seqscan.knowledge.candidates import Knowledge
from seqscan.knowledge.categories import Category, categories, cluster_means, covariance_within
from seqscan.knowledge.support import MAX_ALIGNED, Surroundings, aligned, nearest
from seqscan.model import load_clusters
from seqscan.results import Assignments
from seqscan.store import EmbeddingStore, unit
from seqscan.tables import Table

__all__ = ["FinishedRun", "categories_of_run", "find_run", "surroundings"]


@dataclass(frozen=True)
class FinishedRun:
    """N proteins of a run.

    Attributes
    ----------
    corpus : Corpus
    store : EmbeddingStore
        Their vectors by the encoder of the run's model, in the order of the corpus.
    """

    corpus: Corpus
    store: EmbeddingStore

    @property
    def ids(self) -> list[str]:
        """Of the proteins."""
        return self.corpus.ids

    def points(self) -> NDArray[np.float32]:
        """Return the vectors, centered and of length 1, (N, P)."""
        vectors = self.store.vectors()
        return unit(vectors - vectors.mean(axis=0))

    def rows(self, ids: Sequence[str], source: str) -> NDArray[np.int64]:
        """Return the rows of some proteins; raises `InputError` if the run has not seen one of them."""
        row_of = {id: row for row, id in enumerate(self.ids)}
        missing = [id for id in ids if id not in row_of]
        if missing:
            raise InputError(
                source,
                f"{len(missing)} of its {len(ids)} proteins (such as {missing[0]}) are not those of "
                f"the run in {self.corpus.path.parent}",
                remedy="Keep the table in the folder of its own run, or move it away from other runs.",
            )
        return np.array([row_of[id] for id in ids], dtype=np.int64)


def find_run(output: str | Path) -> FinishedRun | None:
    """Return what a run left in its folder OUT, or None if `OUT/work` is not there or not finished.

    Of a run on segments of whole proteins, what was clustered are the segments.
    """
    work = Path(output) / "work"
    try:
        finetuned = bool(read_manifest(Path(output) / "model", "model").content["config"]["finetune"])
        store = EmbeddingStore.open(work / ("tuned_store" if finetuned else "store"))
        segments = work / "segments"
        corpus = Corpus.open(segments if segments.exists() else work / "corpus")
    except (ArtifactError, KeyError, TypeError):
        return None
    # The stages see the proteins in an order of their own (`Corpus.canonical_order`).
    row_of = {id: row for row, id in enumerate(corpus.ids)}
    if row_of.keys() != set(store.ids):
        return None
    return FinishedRun(corpus.reordered(np.array([row_of[id] for id in store.ids])), store)


def surroundings(
    table: Assignments,
    path: str | Path,
    annotated: NDArray[np.int64],
    *,
    alignments: bool | None = None,
    threads: int = 2,
) -> tuple[Surroundings, str]:
    """Find who stands around the proteins of a table: by the run it comes from, else by cluster alone.

    Parameters
    ----------
    table : Assignments
        N proteins.
    path : path
        Of the table; the run is looked for in its folder.
    annotated : (A,), int64
        Rows that may speak for others.
    alignments : bool, optional
        Also align; if not given, where MMseqs2 is installed and there are at most `MAX_ALIGNED` proteins.
    threads : int

    Returns
    -------
    around : Surroundings
    how : str
        What there was to go by, in words.
    """
    n = len(table)
    nothing = sparse.csr_array((n, n), dtype=np.float32)
    run = find_run(Path(path).parent)
    if run is None:
        how = "clusters alone; no finished run lies beside the table"
        return Surroundings(table.ids, table.labels, table.probabilities, nothing, nothing), how
    rows = run.rows(table.ids, str(path))
    if alignments is None:
        alignments = n <= MAX_ALIGNED and find_mmseqs() is not None
    graph = aligned([run.corpus[int(row)] for row in rows], threads=threads) if alignments else nothing
    head, _ = load_clusters(Path(path).parent / "model")
    near = nearest(head.points(run.store.vectors())[rows], annotated)
    how = "clusters and neighbors by the run's vectors" + (", and alignments" if alignments else "")
    return Surroundings(table.ids, table.labels, table.probabilities, near, graph), how


def categories_of_run(output: str | Path) -> tuple[list[Category], Knowledge]:
    """Build the graph of categories of a run, from its tables and, if they are there, its vectors.

    Parameters
    ----------
    output : path
        Its folder. The prototypes of the model stand in for the vectors if `work` is gone.

    Returns
    -------
    found : list of Category
    known : Knowledge
        Ids, and descriptions and sequences if `work` is there; no annotations.

    Raises
    ------
    ArtifactError
        If there is no model, or it is damaged.
    InputError
        If no protein has a cluster, or a table does not fit the model.
    """
    head, tied = load_clusters(Path(output) / "model")
    path = Path(output) / "assignments.tsv"
    table = Assignments.read(path)
    numbers = np.unique(table.labels[table.assigned])
    if not len(numbers):
        raise InputError(str(path), "no protein has a cluster")
    if numbers[-1] >= head.n_clusters:
        reason = f"names cluster {numbers[-1]}, the model has {head.n_clusters}"
        raise InputError(str(path), reason, remedy="Run again.")
    run = find_run(output)
    means: NDArray[np.floating] = unit(head.prototypes)[numbers]
    covariance = None
    known = Knowledge(table.ids)
    if run is not None:
        rows = run.rows(table.ids, str(path))
        # Not whitened as for the heads: the strongest directions, which whitening levels, tell folds apart.
        points = run.points()[rows]
        means = cluster_means(points, table.labels, numbers)
        covariance = covariance_within(points, table.labels, means)
        texts = run.corpus.descriptions
        known = Knowledge(
            table.ids, [texts[int(row)] for row in rows], [run.corpus[int(row)] for row in rows]
        )
    known = replace(known, representatives=_representatives(Path(output) / "clusters.tsv"))
    return categories(table.labels, means, numbers, covariance=covariance, tied=tied), known


def _representatives(path: Path) -> dict[int, str]:
    """Return the representative of each cluster, none if there is no table."""
    if not path.exists():
        return {}
    table = Table.read(path, ("cluster", "representative"))
    numbers = table.numbers("cluster").astype(np.int64).tolist()
    return {number: id for number, id in zip(numbers, table.column("representative"), strict=True) if id}
