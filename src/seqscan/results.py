"""The values a run yields, each with its file format: the one thing later stages read.

Labels are cluster numbers: 0 is the largest cluster, -1 is "unassigned". Positions are 0-based in memory and
1-based in files.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from numpy.typing import NDArray

from seqscan.artifact import write_atomically
from seqscan.errors import InputError, NoUsableRecord, ShapeMismatch
from seqscan.fasta import Rejected, RejectionLedger
from seqscan.ids import Found, Names, of_one_record
from seqscan.tables import Table, read_rows, tsv_writer, write_tsv
from seqscan.wording import plural

if TYPE_CHECKING:
    from _csv import Writer

    import pyarrow as pa

__all__ = [
    "ASSIGNMENT_COLUMNS",
    "NOVELTY_COLUMNS",
    "WHY_UNSURE",
    "Assignments",
    "ClusterSummary",
    "Domains",
    "Scores",
    "check_truth",
    "kept_ledger",
    "match_truth",
    "read_rejected",
    "read_truth",
    "write_rejected",
]

logger = logging.getLogger(__name__)

ASSIGNMENT_COLUMNS = ("id", "cluster", "probability", "second_cluster", "second_probability", "status")
NOVELTY_COLUMNS = ("novelty", "known_share", "reason")
"""Further columns of assignments that say how novel a protein is."""
UNASSIGNED = -1

WHY_UNSURE = (
    "the input may hold one family, few proteins that are alike, or fewer kinds than there are clusters"
)
"""What is said of a partition that is `mostly_unsure`."""

_FOUND_BY = {
    Found.NOT: "not at all",
    Found.WHOLE: "as they are",
    Found.ACCESSION: "by accession",
    Found.PLAIN: "by accession without isoform or version",
}


@dataclass(frozen=True)
class Assignments:
    """Which cluster each protein belongs to.

    Attributes
    ----------
    ids : N str
    labels : (N,), int32
        0 is the largest cluster of the training data; -1 is unassigned.
    probabilities : (N,), float32
        Of `labels`; for an unassigned protein, of the cluster it comes nearest to.
    second_labels : (N,), int32
        The runner-up, -1 if there is none.
    second_probabilities : (N,), float32
    novelty : (N,), float32, optional
        Distance from all clusters, in units of their spread.
    known_shares : (N,), float32, optional
        Share of the proteins of known clusters that are at least as far.
    novel : (N,), bool, optional
        Unassigned because too far.
    """

    ids: Sequence[str]
    labels: NDArray[np.int32]
    probabilities: NDArray[np.float32]
    second_labels: NDArray[np.int32]
    second_probabilities: NDArray[np.float32]
    novelty: NDArray[np.float32] | None = None
    known_shares: NDArray[np.float32] | None = None
    novel: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        n = len(self.ids)
        for name in ("labels", "probabilities", "second_labels", "second_probabilities"):
            if getattr(self, name).shape != (n,):
                raise ShapeMismatch(f"{name} has shape {getattr(self, name).shape}, {n} ids need ({n},).")

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        n, n_clusters = int(self.assigned.sum()), len(np.unique(self.labels[self.assigned]))
        return (
            f"<Assignments: {plural(n, 'protein')} in {plural(n_clusters, 'cluster')}, "
            f"{len(self) - n:,} unassigned>"
        )

    @property
    def assigned(self) -> NDArray[np.bool_]:
        """Which proteins have a cluster, (N,)."""
        return self.labels != UNASSIGNED

    @property
    def unsure(self) -> NDArray[np.bool_]:
        """Which proteins have a cluster of a probability below one half, (N,)."""
        return self.assigned & (self.probabilities < 0.5)

    @property
    def mostly_unsure(self) -> bool:
        """Whether more than half of those with a cluster have a probability below one half."""
        return 2 * int(self.unsure.sum()) > int(self.assigned.sum())

    def write(self, path: str | Path) -> None:
        """Write the table `ASSIGNMENT_COLUMNS`, tab-separated, atomically."""
        with write_atomically(path) as temporary, temporary.open("w", newline="") as handle:
            writer = self.begin(handle, with_novelty=self.novelty is not None)
            self.append(writer)

    def to_arrow(self) -> pa.Table:
        """Return a table with the columns `id`, `cluster`, ... of `write`; `to_pandas` of it is a data frame.

        There is no column `status`, since cluster -1 says it; `novel` stands for `reason`.
        """
        import pyarrow as pa

        names = (*ASSIGNMENT_COLUMNS[:-1], *NOVELTY_COLUMNS[:-1], "novel")
        columns = zip(names, vars(self).values(), strict=True)
        return pa.table({name: column for name, column in columns if column is not None})

    @staticmethod
    def begin(handle: TextIO, *, with_novelty: bool = False) -> Writer:
        """Write the header and return a writer for `append`."""
        writer = tsv_writer(handle)
        writer.writerow(ASSIGNMENT_COLUMNS + (NOVELTY_COLUMNS if with_novelty else ()))
        return writer

    def append(self, writer: Writer) -> None:
        """Write the rows; a stream of assignments is written block by block."""
        columns = (self.labels, self.probabilities, self.second_labels, self.second_probabilities)
        further = self._novelty_cells()
        for id, label, probability, second, second_probability in zip(
            self.ids, *(column.tolist() for column in columns), strict=True
        ):
            status = "unassigned" if label == UNASSIGNED else "assigned"
            row = (id, label, f"{probability:.4f}", second, f"{second_probability:.4f}", status)
            writer.writerow(row + next(further))

    def _novelty_cells(self) -> Iterator[tuple[str, ...]]:
        if self.novelty is None or self.known_shares is None or self.novel is None:
            yield from repeat((), len(self))
            return
        for distance, share, novel, label in zip(
            *(column.tolist() for column in (self.novelty, self.known_shares, self.novel, self.labels)),
            strict=True,
        ):
            reason = "novel" if novel else "not sure" if label == UNASSIGNED else ""
            yield f"{distance:.3f}", f"{share:.5f}", reason

    @classmethod
    def joined(cls, blocks: Sequence[Assignments]) -> Assignments:
        """Return one or more blocks as one; what is said of novelty stays if all say it."""

        def column(name: str) -> Any:
            parts = [getattr(block, name) for block in blocks]
            return None if any(part is None for part in parts) else np.concatenate(parts)

        ids = [id for block in blocks for id in block.ids]
        return cls(ids, **{name: column(name) for name in cls.__dataclass_fields__ if name != "ids"})

    @classmethod
    def certain(cls, ids: list[str], labels: NDArray[np.integer]) -> Assignments:
        """Return a partition (N,) that knows no doubt, as other methods give it."""
        sure, none = np.ones(len(labels), np.float32), np.full(len(labels), -1, np.int32)
        return cls(ids, labels.astype(np.int32), sure, none, 0 * sure)

    @classmethod
    def read(cls, path: str | Path) -> Assignments:
        """Read a table of assignments.

        Only the columns `id` and `cluster` are needed, so other tools' tables can be scored too; clusters
        that are no whole numbers are numbered by size. A protein with -1, or with nothing, has none.

        Raises
        ------
        InputError
            If the file is missing, empty or lacks a column, an id occurs twice, or a cluster is below -1.
        """
        table = Table.read(path, ("id", "cluster"))
        ids, names = table.unique("id"), table.column("cluster")
        try:
            labels = np.array([int(name) for name in names], dtype=np.int32)
        except (ValueError, OverflowError):  # the second: whole numbers too large to be cluster numbers
            labels = _number_by_size(names)
        if (labels < UNASSIGNED).any():
            row = int(np.flatnonzero(labels < UNASSIGNED)[0])
            raise table.error(
                row,
                f"{names[row]} is no cluster",
                remedy="Number clusters from 0; -1 is for proteins without one.",
            )
        return cls(
            ids,
            labels,
            table.numbers("probability", 1.0).astype(np.float32),
            table.numbers("second_cluster", -1.0).astype(np.int32),
            table.numbers("second_probability", 0.0).astype(np.float32),
        )


@dataclass(frozen=True)
class ClusterSummary:
    """One row of `clusters.tsv`.

    Attributes
    ----------
    cluster : int
    size : int
        Members.
    representative : str
        Id of the member nearest to the prototype.
    mean_probability : float
    mean_length, sd_length : float, residues
    enriched_residues : str
        Residues that are more frequent than in the whole input by a quarter and more, strongest first.
    parent : int
        The group in `hierarchy.tsv` that the cluster joins first; -1 if there is no other cluster.
    """

    cluster: int
    size: int
    representative: str
    mean_probability: float
    mean_length: float
    sd_length: float
    enriched_residues: str
    parent: int = -1


@dataclass(frozen=True)
class Scores:
    """Figures of merit; see `docs/metrics.md` for each definition.

    Attributes
    ----------
    label_free : dict of str to float
        Need no truth.
    labelled : dict of str to float
        Against labels; empty if none were given.
    by_decile : list of dict
        Results for families grouped by size; empty if no labels were given.
    """

    label_free: dict[str, float] = field(default_factory=dict)
    labelled: dict[str, float] = field(default_factory=dict)
    by_decile: list[dict[str, float]] = field(default_factory=list)

    def write(self, path: str | Path) -> None:
        """Write as JSON, atomically."""
        with write_atomically(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: str | Path) -> Scores:
        """Read what `write` wrote."""
        return cls(**json.loads(Path(path).read_text()))


@dataclass(frozen=True)
class Domains:
    """Parts of proteins, each with its cluster; a protein has any number of them.

    Attributes
    ----------
    proteins : M str
        Ids, in the order of the input; the domains of a protein from its first residue to its last.
    starts, ends : (M,), int64
        0-based and half-open, residues.
    labels : (M,), int32
        -1 in the one row of a protein in which no domain was found.
    probabilities : (M,), float32
        That the part is a domain of its cluster rather than of another or of none.
    """

    proteins: Sequence[str]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    labels: NDArray[np.int32]
    probabilities: NDArray[np.float32]

    def __post_init__(self) -> None:
        n = len(self.proteins)
        for name in ("starts", "ends", "labels", "probabilities"):
            if getattr(self, name).shape != (n,):
                raise ShapeMismatch(f"{name} has shape {getattr(self, name).shape}, {n} rows need ({n},).")
        if (self.starts >= self.ends).any() or (self.starts < 0).any():
            raise ShapeMismatch("a domain must begin before it ends, at 0 or later.")

    def __len__(self) -> int:
        return len(self.proteins)

    @classmethod
    def read(cls, path: str | Path) -> Domains:
        """Read the table `protein, start, end, cluster, probability`; raises `InputError` if it is none."""
        table = Table.read(path, ("protein", "start", "end", "cluster", "probability"))
        return cls(
            table.column("protein"),
            table.numbers("start").astype(np.int64) - 1,
            table.numbers("end").astype(np.int64),
            table.numbers("cluster").astype(np.int32),
            table.numbers("probability").astype(np.float32),
        )


def write_rejected(rows: Iterable[Rejected], path: str | Path) -> None:
    """Write `record (1-based number in the input), id, reason`, atomically."""
    write_tsv(("record", "id", "reason"), ((row.number, row.id, row.reason) for row in rows), path)


def read_rejected(path: str | Path) -> list[Rejected]:
    """Read what `write_rejected` wrote."""
    rows = read_rows(path, ("record", "id", "reason"))
    return [Rejected(int(row["record"]), row["id"], row["reason"]) for row in rows]


@contextmanager
def kept_ledger(path: str | Path) -> Iterator[RejectionLedger]:
    """Give a ledger that is written to `path` at the end, also if every record was rejected."""
    ledger = RejectionLedger()
    try:
        yield ledger
    except NoUsableRecord as error:
        write_rejected(ledger.rows, path)
        remedy = f"{error.remedy} {path} says what is wrong with each.".lstrip()
        raise NoUsableRecord(error.path, error.reason, remedy=remedy) from None
    write_rejected(ledger.rows, path)


def read_truth(path: str | Path, column: str = "pfam", *, id_column: str = "id") -> dict[str, str]:
    """Read labels: a tab-separated table, perhaps compressed, with the columns `id_column` and `column`.

    Raises
    ------
    InputError
        If the file is missing, empty or lacks a column, or an id occurs twice.
    """
    remedy = (
        "The first line must name the columns, separated by tabs; --id-column says which has the ids, "
        "--truth-column which has the families."
    )
    table = Table.read(path, (id_column, column), remedy=remedy)
    return dict(zip(table.unique(id_column), table.column(column), strict=True))


def check_truth(truth: Mapping[str, str], path: str | Path, ids: Sequence[str]) -> None:
    """Raise `InputError` if no id has a label; `path` is where the labels are from."""
    if not any(truth.get(id) for id in ids):
        raise InputError(
            str(path),
            f"its {plural(len(truth), 'id')} and the {plural(len(ids), 'clustered id')} share no label",
            remedy=f"It has ids like {next(iter(truth), '')!r}, they are like {next(iter(ids), '')!r}. Write "
            "them there as they are in the assignments: the first words of the FASTA headers.",
        )


def match_truth(truth: Mapping[str, str], path: str | Path, ids: Sequence[str]) -> dict[str, str]:
    """Return labels under the ids that were clustered; those of no such id stay as they are.

    A label belongs to its whole id, and only if there is no such label to one that means the same record, see
    `ids.Names`. An id that may mean several labelled ones gets none. A warning says how ids were found unless
    all that were found are whole.

    Parameters
    ----------
    truth : dict of id to label
    path : path
        Where the labels are from.
    ids : N str

    Raises
    ------
    InputError
        If no id has a label.

    Examples
    --------
    >>> match_truth({"P12345": "kinase", "x": "globin"}, "labels.tsv", ["sp|P12345|A_B", "y"])
    {'x': 'globin', 'sp|P12345|A_B': 'kinase'}
    """
    labelled = list(truth)
    names = Names(labelled)
    found: dict[str, str] = {}
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for id in ids:
        rows, by = names.rows(id)
        how = _FOUND_BY[by]
        if by not in (Found.NOT, Found.WHOLE):
            meant = [labelled[row] for row in rows if of_one_record(id, labelled[row])]
            if len(meant) == 1:
                found[id] = meant[0]
            else:
                how = "ambiguously, so that they get no label" if meant else _FOUND_BY[Found.NOT]
            if meant:
                examples.setdefault(how, f" (such as {id}: {' or '.join(meant)})")
        counts[how] += 1
    if examples:
        told = "; ".join(f"{n:,} {how}{examples.get(how, '')}" for how, n in counts.most_common())
        logger.warning("%s names the %s clustered ids: %s", path, f"{len(ids):,}", told)
    renamed = set(found.values()).difference(ids)
    matched = {id: label for id, label in truth.items() if id not in renamed}
    matched |= {id: truth[entry] for id, entry in found.items()}
    check_truth(matched, path, ids)
    return matched


def _number_by_size(names: Sequence[str]) -> NDArray[np.int32]:
    values, first, inverse, counts = np.unique(
        np.array(names), return_index=True, return_inverse=True, return_counts=True
    )
    none = np.isin(values, ("", str(UNASSIGNED)))
    rank = np.empty(len(values), dtype=np.int32)
    rank[np.lexsort((first, -counts, none))] = np.arange(len(values))
    rank[none] = UNASSIGNED
    return rank[inverse]
