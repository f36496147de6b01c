"""Read protein records from FASTA or FASTQ, plain or compressed, a file or standard input.

Every record that is read either comes out or is written down in the ledger of rejected records, with its
number, id and reason. What counts as a residue is decided in `seqscan.alphabet`.
"""

from __future__ import annotations

import io
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

from dnaio import FastaReader, FastqReader
from xopen import xopen

from seqscan.alphabet import AMINO
from seqscan.errors import DuplicateId, InputError, InvalidParameter, InvalidSequence, NoUsableRecord
from seqscan.wording import plural

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["MAX_LENGTH", "Record", "Rejected", "RejectionLedger", "check_record", "read_fasta"]

MAX_LENGTH = 100_000
"""Longest accepted sequence, residues; the longest known protein has about 45,000."""

_COMPRESSIONS = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zst"}
_UTF8_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Record:
    """One protein.

    Attributes
    ----------
    id : str
        First word of the header.
    description : str
        The rest of the header.
    sequence : str
        Residues, upper case, without gaps.
    """

    id: str
    description: str
    sequence: str

    def __len__(self) -> int:
        return len(self.sequence)


def check_record(record: object, number: int) -> None:
    """Raise `InvalidSequence` if record `number` is empty or has a symbol that is no residue.

    That it is no record at all, such as a letter of a path, is an `InvalidParameter`.
    """
    if not isinstance(record, Record):
        raise InvalidParameter(
            "records", record, "is not a Record",
            remedy="Give what read_fasta(path) yields, or Record(id, description, sequence).",
        )  # fmt: skip
    codes = AMINO.encode(record.sequence)
    if not len(codes) or not codes.all():
        raise InvalidSequence(
            number,
            record.id,
            AMINO.fault(record.sequence),
            remedy="read_fasta rejects such records; AMINO.clean removes gaps and a final '*'.",
        )


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that was not used: its 1-based number in the input, its id and the reason."""

    number: int
    id: str
    reason: str


@dataclass
class RejectionLedger:
    """Where `read_fasta` writes down what it does not use.

    Attributes
    ----------
    n_read : int
        Records seen, used and rejected.
    rows : list of Rejected
        In input order.
    """

    n_read: int = 0
    rows: list[Rejected] = field(default_factory=list)

    def summary(self) -> str:
        """Return the reasons with their counts, most frequent first; positions, ids and lengths left out."""
        counts = Counter(re.split(" at position|, first|: ", row.reason)[0] for row in self.rows)
        told = counts.most_common(5)
        n_others = counts.total() - sum(count for _, count in told)
        return "; ".join(
            [f"{count} x {reason}" for reason, count in told]
            + [f"{n_others} x other reasons"] * (n_others > 0)
        )


def read_fasta(
    path: str | Path | BinaryIO,
    *,
    rejected: RejectionLedger | None = None,
    max_length: int = MAX_LENGTH,
) -> Iterator[Record]:
    """Stream the records of a FASTA or FASTQ file.

    Parameters
    ----------
    path : str, Path or binary file
        Plain, gzip, bzip2, xz or zstd, told apart by content; `-` is standard input.
    rejected : RejectionLedger, optional
        Takes the records that cannot be used. Without it the first such record raises.
    max_length : int, residues
        Longer records are rejected, never cut.

    Yields
    ------
    Record

    Raises
    ------
    InputError
        If the file is missing, empty, truncated or neither FASTA nor FASTQ, or (`NoUsableRecord`) each of its
        records was rejected.
    InvalidSequence, DuplicateId
        If a record cannot be used and no ledger was given.

    Examples
    --------
    >>> import io
    >>> [record.id for record in read_fasta(io.BytesIO(b">a first\\nMKV\\n>b\\nmkl*\\n"))]
    ['a', 'b']
    """
    name = _name(path)
    ledger = rejected if rejected is not None else RejectionLedger()
    first_seen: dict[str, int] = {}
    for number, header, raw in _parse(path, name):
        ledger.n_read += 1
        readable = header.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        id, description = _split_header(readable)
        sequence = AMINO.clean(raw)
        fault = AMINO.fault(sequence)
        kind: type[InvalidSequence] = InvalidSequence
        if readable != header:
            fault = "the header holds bytes that are not UTF-8"
        elif not id:
            fault = "the header has no id"
        elif id in first_seen:
            fault, kind = f"duplicate id, first used by record {first_seen[id]}", DuplicateId
        elif not fault and len(sequence) > max_length:
            fault = f"longer than the limit of {max_length} residues: {len(sequence)}"
        if fault:
            if rejected is None:
                raise kind(number, id, fault, remedy="Correct the record or remove it.")
            rejected.rows.append(Rejected(number, id, fault))
            continue
        first_seen[id] = number
        yield Record(id, description, sequence)
    if not ledger.n_read:
        raise InputError(name, "the file holds no record", remedy="Give a FASTA file of protein sequences.")
    if not first_seen:
        raise NoUsableRecord(
            name,
            f"no usable protein sequence in {plural(ledger.n_read, 'record')} ({ledger.summary()})",
            remedy="Give protein sequences; translate nucleotides first.",
        )


def _name(path: str | Path | BinaryIO) -> str:
    if path == "-":
        return "standard input"
    if isinstance(path, str | Path):
        return str(path)
    name = getattr(path, "name", None)
    return name if isinstance(name, str) else "the stream"


def _split_header(header: str) -> tuple[str, str]:
    """Return id and description; a header that begins with white space has no id."""
    if not header[:1].strip():
        return "", header.strip()
    # At any white space, not only at a blank: ids go into tables, so they hold no tab and no line break.
    id, *rest = header.split(maxsplit=1)
    return id, rest[0].strip() if rest else ""


class _Rejoined(io.RawIOBase):
    """A stream with the bytes already read put back in front; closing it leaves that stream open."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        chunk = self._head[: len(view)] or self._rest.read(len(view))
        self._head = self._head[len(chunk) :]
        view[: len(chunk)] = chunk
        return len(chunk)


def _buffered(head: bytes, rest: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(_Rejoined(head, rest)))


def _decompressed(source: BinaryIO, stack: ExitStack) -> BinaryIO:
    head = source.read(max(map(len, _COMPRESSIONS)))
    stream = _buffered(head, source)
    for magic, compression in _COMPRESSIONS.items():
        if head.startswith(magic):
            return stack.enter_context(xopen(stream, "rb", format=compression, threads=0))
    return stream


def _without_preamble(stream: BinaryIO) -> tuple[bytes, BinaryIO]:
    """Skip a byte order mark and blank lines; return the first byte that counts and the stream from it on."""
    head = stream.read(len(_UTF8_MARK)).removeprefix(_UTF8_MARK).lstrip()
    while not head:
        block = stream.read(4096)
        if not block:
            break
        head = block.lstrip()
    return head[:1], _buffered(head, stream)


class _Text(NamedTuple):
    """A record as it stands in the file; dnaio's own refuses all that is not ASCII, and the file with it."""

    name: str
    sequence: str
    qualities: str | None


def _fasta(stream: BinaryIO) -> FastaReader:
    reader = FastaReader(stream, sequence_class=_Text)
    # Bytes that are no text cost their record alone, not the file: they come as lone surrogates.
    reader._file.reconfigure(encoding="utf-8", errors="surrogateescape")
    return reader


_READERS: dict[bytes, Callable[[BinaryIO], FastaReader | FastqReader]] = {
    b">": _fasta,
    b"#": _fasta,
    b"@": FastqReader,
}


def _parse(path: str | Path | BinaryIO, name: str) -> Iterator[tuple[int, str, str]]:
    """Yield (1-based number, header, raw sequence), with every reader's error told as an `InputError`."""
    try:
        with ExitStack() as stack:
            if path == "-":
                source: BinaryIO = sys.stdin.buffer
            elif isinstance(path, str | Path):
                source = stack.enter_context(Path(path).open("rb"))
            else:
                source = path
            first, stream = _without_preamble(_decompressed(source, stack))
            if not first:
                return
            if first not in _READERS:
                raise InputError(name, "is neither FASTA nor FASTQ", remedy="A FASTA record starts with '>'.")
            reader = stack.enter_context(_READERS[first](stream))
            for number, record in enumerate(reader, 1):
                yield number, record.name, record.sequence.replace(" ", "").replace("\t", "")
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(name, "there is no such file") from None
    except IsADirectoryError:
        raise InputError(name, "is a directory", remedy="Give a FASTA file.") from None
    except EOFError as error:  # it is read ahead, so how many records came out says nothing about where
        raise InputError(name, "the compressed file ends early", remedy="Copy it again.") from error
    except Exception as error:  # each decompressor has a type of its own for damaged data
        raise InputError(name, f"cannot be read: {error}") from error
