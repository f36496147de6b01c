"""Tab-separated tables whose first line names the columns; whatever is wrong with one is an `InputError`."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np
from numpy.typing import NDArray

from seqscan.artifact import write_atomically
from seqscan.errors import InputError
from seqscan.textfiles import read_lines

if TYPE_CHECKING:
    from _csv import Writer

__all__ = ["Table", "read_rows", "tsv_writer", "write_tsv"]

_REMEDY = "Give a tab-separated table whose first line names the columns."
_NAME_COLUMNS = "The first line must name the columns, separated by tabs."


@dataclass(frozen=True)
class Table:
    """A table in memory, of one row at least.

    Attributes
    ----------
    path : str
        Where it is from, for errors.
    rows : N dict of str to str
        Cells by column. A row may lack the last of the columns that were not asked for.
    lines : N int
        Number of the line of each row, 1-based.
    """

    path: str
    rows: list[dict[str, str]]
    lines: list[int]

    @classmethod
    def read(cls, path: str | Path, needed: Sequence[str], *, remedy: str = _NAME_COLUMNS) -> Table:
        """Read a table, perhaps compressed, with the columns `needed` and perhaps others.

        `remedy` is what to do where one of them is missing.

        Raises
        ------
        InputError
            If the file is missing or no table, has no row, lacks a column, or a row lacks a cell of one.
        """
        lines, rows = [], []
        for line, row in _numbered_rows(path, needed, remedy):
            lines.append(line)
            rows.append(row)
        if not rows:
            raise InputError(
                str(path), "the table has no row", remedy="Give one with a row for each protein."
            )
        return cls(str(path), rows, lines)

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> list[str]:
        """Return the N cells of a column that was asked for."""
        return [row[name] for row in self.rows]

    def unique(self, name: str) -> list[str]:
        """Return the N cells of a column; raises `InputError` if one occurs twice."""
        cells = self.column(name)
        seen: set[str] = set()
        for number, cell in enumerate(cells):
            if cell in seen:
                raise self.error(
                    number, f"the {name} {cell!r} occurs twice", remedy=f"Give each {name} one row."
                )
            seen.add(cell)
        return cells

    def numbers(self, name: str, default: float | None = None) -> NDArray[np.float64]:
        """Return a column as numbers, (N,); `default` stands for a column that the table does not have.

        Raises
        ------
        InputError
            If a cell is no number.
        """
        if default is not None and name not in self.rows[0]:
            return np.full(len(self), default)
        values = np.empty(len(self))
        for number, row in enumerate(self.rows):
            try:
                values[number] = float(row[name])
            except (TypeError, ValueError):
                reason = f"{row[name] or ''!r} in column {name!r} is no number"
                raise self.error(number, reason, remedy="Mend it, or take the column out.") from None
        return values

    def error(self, number: int, reason: str, *, remedy: str) -> InputError:
        """Return the error that says what is wrong with row `number`, 0-based, by the number of its line."""
        return _line_error(self.path, self.lines[number], reason, remedy)


def read_rows(path: str | Path, needed: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yield the rows of a table one by one, perhaps none; parameters and errors as `Table.read`."""
    for _, row in _numbered_rows(path, needed):
        yield row


def write_tsv(header: Sequence[str], rows: Iterable[Sequence[object]], path: str | Path) -> None:
    """Write a tab-separated table, atomically."""
    with write_atomically(path) as temporary, temporary.open("w", newline="") as handle:
        writer = tsv_writer(handle)
        writer.writerow(header)
        writer.writerows(rows)


def tsv_writer(handle: TextIO) -> Writer:
    """Return a writer of tab-separated rows: nothing is quoted, and a cell with a tab is an error."""
    return csv.writer(handle, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)


def _numbered_rows(
    path: str | Path, needed: Sequence[str], remedy: str = _NAME_COLUMNS
) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(read_lines(path, remedy=_REMEDY), delimiter="\t", quoting=csv.QUOTE_NONE)
    try:
        columns = reader.fieldnames or []
        missing = [name for name in needed if name not in columns]
        if missing:
            raise InputError(
                str(path),
                f"has no column {' and no column '.join(map(repr, missing))}; "
                f"it has {', '.join(columns) or 'none'}",
                remedy=remedy,
            )
        for row in reader:
            if any(row[name] is None for name in needed):
                raise _line_error(
                    str(path),
                    reader.line_num,
                    "too few columns",
                    "Each row needs the columns that the first line names, separated by tabs.",
                )
            yield reader.line_num, row
    except csv.Error as error:
        raise InputError(str(path), f"is not a tab-separated table ({error})", remedy=_REMEDY) from None


def _line_error(path: str, line: int, reason: str, remedy: str) -> InputError:
    return InputError(path, f"line {line}: {reason}", remedy=remedy)
