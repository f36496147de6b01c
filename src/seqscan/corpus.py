"""Residue codes of a whole input, memory-mapped: read once, then any record at once.

A corpus is an artifact of three files: `codes.npy` (uint8, all sequences end to end), `offsets.npy` (int64,
N + 1) and `records.parquet` (id, description). It takes one byte a residue on disk and next to no memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from seqscan.alphabet import AMINO
from seqscan.artifact import read_manifest, write_artifact
from seqscan.fasta import Record, check_record

__all__ = ["Corpus", "write_corpus"]

_FLUSH_RESIDUES = 1 << 24


@dataclass(frozen=True)
class Corpus(Sequence[NDArray[np.uint8]]):
    """N sequences of residue codes; `corpus[i]` is an array (L_i,) that is not copied.

    Attributes
    ----------
    codes : (sum of L_i,), uint8
    offsets : (N + 1,), int64
        Sequence i stands at `offsets[i]` to `offsets[i + 1]`.
    path : Path
        The artifact.
    rows : (N,), int64, optional
        The order in which the sequences are shown, if not the one in which they are stored.
    """

    codes: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    path: Path
    rows: NDArray[np.int64] | None = None

    @classmethod
    def open(cls, path: str | Path) -> Corpus:
        """Open a corpus artifact; raises `ArtifactError` if there is none."""
        path = Path(path)
        read_manifest(path, "corpus")
        return cls(np.load(path / "codes.npy", mmap_mode="r"), np.load(path / "offsets.npy"), path)

    def __reduce__(self) -> tuple[Any, ...]:
        # To another process it goes as a place on disk: maps would travel as all they show.
        return _reopen, (self.path.absolute(), self.rows)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, index: slice) -> list[NDArray[np.uint8]]: ...
    def __getitem__(self, index: int | slice) -> NDArray[np.uint8] | list[NDArray[np.uint8]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index = index % len(self)
        if self.rows is not None:
            index = int(self.rows[index])
        return self.codes[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Length of each sequence, (N,), residues."""
        lengths = np.diff(self.offsets)
        return lengths if self.rows is None else lengths[self.rows]

    @cached_property
    def ids(self) -> list[str]:
        """The records' ids."""
        return self._column("id")

    @cached_property
    def descriptions(self) -> list[str]:
        """The records' descriptions."""
        return self._column("description")

    def _column(self, name: str) -> list[str]:
        column = pq.read_table(self.path / "records.parquet", columns=[name])[name].to_pylist()
        return column if self.rows is None else [column[row] for row in self.rows]

    def canonical_order(self) -> NDArray[np.int64]:
        """Return the rows, (N,), in an order that depends on sequences and ids alone, not on the input.

        What draws, batches or breaks ties by row then does the same for any order of the input.
        """
        digests = (hashlib.blake2b(self[row].tobytes(), digest_size=8).digest() for row in range(len(self)))
        keys = np.fromiter((int.from_bytes(digest) for digest in digests), np.uint64, len(self))
        order = np.argsort(keys, kind="stable")
        # Equal sequences by their ids; an array of all ids would be as wide as the longest of them.
        ids = self.ids
        starts = np.flatnonzero(np.diff(keys[order], prepend=~keys[order[:1]]))
        for start, stop in pairwise([*starts.tolist(), len(order)]):
            if stop - start > 1:
                order[start:stop] = sorted(order[start:stop].tolist(), key=ids.__getitem__)
        return order

    def reordered(self, rows: NDArray[np.int64]) -> Corpus:
        """Return the same sequences, shown in the order of `rows`, (N,)."""
        return replace(self, rows=rows if self.rows is None else self.rows[rows])

    def records(self, rows: Iterable[int] | None = None) -> Iterator[Record]:
        """Yield the records of some rows, by default of all; symbols as `residues` gives them."""
        ids, descriptions = self.ids, self.descriptions
        for row in range(len(self)) if rows is None else rows:
            yield Record(ids[row], descriptions[row], self.residues(row))

    def residues(self, index: int) -> str:
        """Return sequence `index` as symbols; B, J and Z come back as X, U as C, O as K."""
        return AMINO.decode(self[index])


def write_corpus(
    path: str | Path, records: Iterable[Record], content: dict[str, object] | None = None
) -> Corpus:
    """Write records to a corpus artifact, in bounded memory, and open it.

    Parameters
    ----------
    path : path
        Replaced if it is a corpus.
    records : iterable of Record
    content : dict, optional
        Provenance for the manifest.

    Raises
    ------
    InvalidSequence
        At an empty sequence, or one with a symbol that is no residue.

    Examples
    --------
    >>> import tempfile
    >>> corpus = write_corpus(tempfile.mkdtemp() + "/c", [Record("a", "", "MKV"), Record("b", "", "ML")])
    >>> corpus.residues(1), corpus.ids
    ('ML', ['a', 'b'])
    """
    content = {} if content is None else content
    with write_artifact(path, "corpus", content) as directory:
        lengths: list[int] = []
        schema = pa.schema([("id", pa.string()), ("description", pa.string())])
        with (
            (directory / "codes.raw").open("wb") as raw,
            pq.ParquetWriter(directory / "records.parquet", schema, compression="zstd") as table,
        ):
            held: list[Record] = []
            n_held = 0

            def flush() -> None:
                raw.write(b"".join(AMINO.encode(record.sequence).tobytes() for record in held))
                columns = [[record.id for record in held], [record.description for record in held]]
                table.write_table(pa.table(columns, schema=schema))
                held.clear()

            for number, record in enumerate(records, start=1):
                check_record(record, number)
                held.append(record)
                lengths.append(len(record))
                n_held += len(record)
                if n_held >= _FLUSH_RESIDUES:
                    flush()
                    n_held = 0
            flush()
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
        _prepend_header(directory / "codes.raw", directory / "codes.npy", int(offsets[-1]))
        np.save(directory / "offsets.npy", offsets)
        content["n_records"] = len(lengths)
        content["n_residues"] = int(offsets[-1])
    return Corpus.open(path)


def _reopen(path: Path, rows: NDArray[np.int64] | None) -> Corpus:
    return replace(Corpus.open(path), rows=rows)


def _prepend_header(raw: Path, target: Path, size: int) -> None:
    """Turn raw bytes into an .npy file."""
    array = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=(size,))
    with raw.open("rb") as handle:
        for start in range(0, size, _FLUSH_RESIDUES):
            block = handle.read(_FLUSH_RESIDUES)
            array[start : start + len(block)] = np.frombuffer(block, dtype=np.uint8)
    array.flush()
    raw.unlink()
