"""The files that people have annotations in: GAF 2.x, GPAD 1.x and 2.0, CAFA files, tables, row by row."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from seqscan.errors import InputError
from seqscan.textfiles import read_lines

__all__ = ["MIN_PROBABILITY", "REMEDY", "read_rows"]

MIN_PROBABILITY = 0.5
"""A prediction in a CAFA file counts as an annotation from this probability on."""

REMEDY = (
    "Give GAF, GPAD or a table with a protein and its terms in each row, for instance P12345<tab>GO:0005524."
)
"""What to do about a file of no known layout."""

_TERM = re.compile(r"^[A-Za-z][A-Za-z0-9_]*:[A-Za-z0-9_.]+$")
_NAMED = re.compile(r"\[([A-Za-z][A-Za-z0-9_]*:[A-Za-z0-9_.]+)\]")
_VERSION = re.compile(r"!\s*(gaf|gpad?)-version\s*:\s*(\d)", re.IGNORECASE)


def read_rows(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the annotations of a file; the layout is found from the content.

    Parameters
    ----------
    path : path

    Yields
    ------
    protein, term : str
        As they stand.
    status : str
        "" or why it is no plain annotation: "negated", "no_data", "improbable", or "empty" for a row of a
        table without a term.

    Raises
    ------
    InputError
        If the file is missing or a row does not fit the layout; it names the line.
    """
    lines = ((number, line.rstrip("\r\n")) for number, line in enumerate(read_lines(path, remedy=REMEDY), 1))
    layout = ""
    for number, line in lines:
        if line.startswith("!"):
            stated = _VERSION.match(line)
            if stated:
                layout = "gaf" if stated[1] == "gaf" else "gpad2" if stated[2] == "2" else "gpad"
        elif line.strip():
            layout = layout or _layout(line)
            yield from (
                _table(path, line, number, lines)
                if layout == "table"
                else _fixed(path, layout, line, number, lines)
            )


def _layout(line: str) -> str:
    columns = line.split("\t")
    if len(columns) >= 15 and _TERM.match(columns[4].strip()):
        return "gaf"
    if 9 <= len(columns) <= 12 and _TERM.match(columns[3].strip()):
        return "gpad2" if ":" in columns[0] else "gpad"
    return "table"


def _fixed(
    path: Path, layout: str, line: str, number: int, lines: Iterator[tuple[int, str]]
) -> Iterator[tuple[str, str, str]]:
    """Yield the rows of GAF (columns DB, id, symbol, qualifier, term, ...) or GPAD, each with its order."""
    id, qualifier, term, evidence = {
        "gaf": (1, 3, 4, 6), "gpad": (1, 2, 3, 5), "gpad2": (0, 1, 3, 5)
    }[layout]  # fmt: skip
    while True:
        if line.strip() and not line.startswith("!"):
            columns = line.split("\t")
            if len(columns) <= evidence or not _TERM.match(columns[term].strip()):
                raise InputError(
                    str(path),
                    f"line {number} is no row of {layout.upper()}: {line[:80]!r}",
                    remedy="Mend the row or take it out; columns are separated by tabs.",
                )
            protein = columns[id].strip()
            # In GPAD 2.0, unlike in the others, the database is part of the id, and NOT has its own column.
            protein = protein.split(":", 1)[1] if layout == "gpad2" and ":" in protein else protein
            negated = "NOT" in columns[qualifier].upper().split("|")
            no_data = columns[evidence].strip() in ("ND", "ECO:0000307")
            yield protein, columns[term].strip(), "negated" if negated else "no_data" if no_data else ""
        following = next(lines, None)
        if following is None:
            return
        number, line = following


def _table(
    path: Path, line: str, number: int, lines: Iterator[tuple[int, str]]
) -> Iterator[tuple[str, str, str]]:
    """Yield the rows of a table: the first column is the protein, one other holds terms.

    A number beside a term makes it a prediction; any other column, such as the aspect, is not needed.
    """
    column = -1
    while True:
        fields = _fields(line)
        if column < 0:
            column = next((i for i, text in enumerate(fields) if i and _TERM.match(_terms(text)[0])), -1)
        # Before the first row with a term: a header, or the head of a CAFA file (AUTHOR, MODEL, KEYWORDS).
        if column >= 0 and fields and fields != ["END"]:
            terms = _terms(fields[column]) if len(fields) > column else []
            if terms == [""]:
                yield fields[0], "", "empty"
                terms = []
            elif not terms or not all(map(_TERM.match, terms)):
                raise InputError(
                    str(path),
                    f"line {number} has no terms in column {column + 1}: {line[:80]!r}",
                    remedy=REMEDY,
                )
            probability = _number(fields[-1]) if len(fields) > column + 1 else None
            improbable = probability is not None and probability < MIN_PROBABILITY
            for term in terms:
                yield fields[0], term, "improbable" if improbable else ""
        following = next(lines, None)
        if following is None:
            return
        number, line = following


def _fields(line: str) -> list[str]:
    """Return the cells of a row, which tabs, else commas, else spaces divide; none of an empty line."""
    words = line.split()
    if "\t" in line and words:
        return [cell.strip() for cell in line.split("\t")]
    if not words or "," not in words[0]:
        return words
    protein, *cells = (cell.strip() for cell in next(csv.reader([line])))
    # A comma may also stand between the terms.
    return [protein, ",".join(cells)] if all(map(_TERM.match, cells)) else [protein, *cells]


def _terms(cell: str) -> list[str]:
    """Return the terms of a cell, [""] if it is empty; UniProt writes each as `name [GO:0005524]`."""
    return _NAMED.findall(cell) or [part.strip() for part in re.split(r"[,;]", cell) if part.strip()] or [""]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
