"""Labelled sets and the figures that judge an encoder's vectors on them; for the benchmarks alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.preprocessing import normalize

from seqscan.alphabet import AMINO
from seqscan.datasets import pfam10_labels, pfam10_sequences
from seqscan.fasta import RejectionLedger, read_fasta
from seqscan.results import read_truth

SETS = ("pfam10", "draw0", "draw1", "draw2", "draw3", "pfam_all_dev", "cath")
_BLOCK_ROWS = 512


@dataclass(frozen=True)
class LabelledSet:
    """N domains and the family or superfamily of each.

    Attributes
    ----------
    name : str
    ids : N str
    codes : N arrays of codes, each (L_i,)
    labels : (N,), int64
        0 to the number of families - 1.
    """

    name: str
    ids: list[str]
    codes: list[NDArray[np.uint8]]
    labels: NDArray[np.int64]

    def sample(self, size: int | None, seed: int = 0) -> LabelledSet:
        """Return a random part, or all if it is not larger than `size`."""
        if size is None or size >= len(self.ids):
            return self
        rows = np.sort(np.random.default_rng((seed, 71)).choice(len(self.ids), size, replace=False))
        labels = np.unique(self.labels[rows], return_inverse=True)[1]
        return LabelledSet(self.name, [self.ids[i] for i in rows], [self.codes[i] for i in rows], labels)


def set_files(name: str, data: Path) -> tuple[Path, Path | None]:
    """Return the FASTA file of a set and its labels; CATH has them in its headers."""
    if name == "pfam10":
        return pfam10_sequences(), pfam10_labels()
    if name == "cath":
        return data / "cath" / "cath41_s35.fasta.gz", None
    if name == "pfam_all_dev":
        folder = data / "pfam_all_dev"
        return folder / "pfam_all_dev.fasta.gz", folder / "pfam_all_dev.labels.tsv.gz"
    return data / "pfam10_more" / f"{name}.fasta", data / "pfam10_more" / f"{name}.labels.tsv"


def read_set(name: str, data: Path) -> LabelledSet | None:
    """Read one of `SETS`; None, and a line that says so, where its files are missing."""
    sequences, labels = set_files(name, data)
    for path in (sequences, labels):
        if path is not None and not path.exists():
            print(f"{name}: {path} is missing, left out (give its folder with --data)", flush=True)
            return None
    records = list(read_fasta(str(sequences), rejected=RejectionLedger()))
    if labels is None:
        names = [record.description.split()[0] for record in records]
    else:
        truth = read_truth(labels)
        records = [record for record in records if record.id in truth]
        names = [truth[record.id] for record in records]
    numbers = np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)
    return LabelledSet(
        name, [record.id for record in records], [AMINO.encode(r.sequence) for r in records], numbers
    )


def nearest(vectors: Any, n_neighbors: int, queries: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the nearest rows by cosine of some rows, (Q, K), never the row itself.

    Parameters
    ----------
    vectors : (N, P), dense or sparse
    n_neighbors : int
    queries : (Q,), int64
    """
    k = min(n_neighbors, vectors.shape[0] - 1)
    if sparse.issparse(vectors):
        unit = sparse.csr_array(normalize(vectors.astype(np.float32)))
        transposed = sparse.csr_array(unit.T)
    else:
        unit = normalize(np.asarray(vectors, dtype=np.float32))
        transposed = unit.T
    found = np.empty((len(queries), k), dtype=np.int64)
    for start in range(0, len(queries), _BLOCK_ROWS):
        rows = queries[start : start + _BLOCK_ROWS]
        cosine = unit[rows] @ transposed
        cosine = cosine.toarray() if sparse.issparse(cosine) else cosine
        cosine[np.arange(len(rows)), rows] = -np.inf
        near = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
        order = np.lexsort((near, -np.take_along_axis(cosine, near, axis=1)), axis=1)
        found[start : start + len(rows)] = np.take_along_axis(near, order, axis=1)
    return found


def purity(
    neighbors: NDArray[np.int64], labels: NDArray[np.int64], queries: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the share of each query's neighbors, (Q, K), in its own family, (Q,).

    Of a family with fewer than K + 1 members only as many neighbors count as there are other members, so that
    1 can be reached. A neighbor -1 is none, and the share is of those there are; nan without any.
    """
    sizes = np.bincount(labels)[labels[queries]] - 1
    counted = (neighbors >= 0) & (np.arange(neighbors.shape[1]) < sizes[:, None])
    same = (labels[np.maximum(neighbors, 0)] == labels[queries][:, None]) & counted
    return same.sum(axis=1) / np.where(counted.any(axis=1), counted.sum(axis=1), np.nan)


def by_decile(
    values: NDArray[np.float64], labels: NDArray[np.int64], queries: NDArray[np.int64]
) -> list[float]:
    """Return the mean of the queries' values in each tenth of the families, smallest families first."""
    sizes = np.bincount(labels)
    tenth = np.empty(len(sizes), dtype=np.int64)
    tenth[np.argsort(sizes, kind="stable")] = np.arange(len(sizes)) * 10 // len(sizes)
    of_query = tenth[labels[queries]]
    return [_mean(values[of_query == number]) for number in range(10)]


def _mean(values: NDArray[np.float64]) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")


def with_mate(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows, (Q,), whose family has another member."""
    return np.flatnonzero(np.bincount(labels)[labels] > 1)


def recall_at_1(first: NDArray[np.int64], labels: NDArray[np.int64], queries: NDArray[np.int64]) -> float:
    """Return the share of queries whose first neighbor, (Q,), -1 for none, is of their family."""
    return float(((labels[np.maximum(first, 0)] == labels[queries]) & (first >= 0)).mean())


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    lines += ["| " + " | ".join(_shown(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _shown(cell: object) -> str:
    if cell is None or (isinstance(cell, float) and np.isnan(cell)):
        return ""
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)
