"""What every job begins with: a folder to write to, a model, and an input that is known again."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seqscan.artifact import check_makeable, file_checksum, write_atomically
from seqscan.errors import InputError, InvalidParameter

__all__ = [
    "check_folder",
    "check_not_of_another",
    "input_checksum",
    "kept_input",
    "model_folder",
    "sole_use",
]

NOTES = ("run.json", "update.json", "scan.json")
"""What a finished run, update and scan say of themselves."""


def check_folder(output: Path) -> None:
    """Raise `InputError` if `output` is a file, `OSError` if no such folder can be made or written to."""
    if output.exists() and not output.is_dir():
        raise InputError(str(output), "is a file", remedy="Give a folder to write to.")
    check_makeable(output)


def model_folder(path: str | Path) -> Path:
    """Return the model in the folder of a run or an update; any other path as it is."""
    path = Path(path)
    return path / "model" if (path / "model").is_dir() else path


@contextmanager
def sole_use(output: Path) -> Iterator[bool]:
    """Make a folder if it is not there, and hold it against other calls; tell whether it is new.

    The lock is on the folder itself and ends with the process, however that ends. On a file system without
    locks there is none.

    Raises
    ------
    InvalidParameter
        If another call holds it.
    """
    new = not output.exists()
    output.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(output, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidParameter(
                "output", str(output), "another call of seqscan is at work in it",
                remedy="Wait until that one has ended, or give another folder.",
            ) from None  # fmt: skip
        except OSError:  # a file system without locks
            pass
        yield new
    finally:
        os.close(descriptor)


def kept_input(source: str | Path, work: Path) -> Path:
    """Return the input as a file; standard input, `-`, is kept in the work folder."""
    if str(source) != "-":
        return Path(source)
    kept = work / "input"
    with write_atomically(kept) as temporary, temporary.open("wb") as handle:
        shutil.copyfileobj(sys.stdin.buffer, handle)
    return kept


def input_checksum(source: Path) -> str:
    """Return the SHA-256 of an input file; raises `InputError` if there is none."""
    try:
        return file_checksum(source)
    except FileNotFoundError:
        raise InputError(str(source), "there is no such file") from None
    except IsADirectoryError:
        raise InputError(str(source), "is a directory", remedy="Give a FASTA file.") from None


def check_not_of_another(output: Path, own: str, checksum: str) -> None:
    """Refuse the folder of another finished run, update or scan.

    Parameters
    ----------
    output : Path
    own : str
        Which of `NOTES` the caller writes.
    checksum : str
        Of the caller's input.
    """
    for note in (output / name for name in NOTES):
        if not note.exists():
            continue
        try:
            of = json.loads(note.read_text())["input"]
            name, same = of["name"], note.name == own and of["sha256"] == checksum
        except (ValueError, KeyError, TypeError):
            raise InputError(
                str(note),
                f"is not of a seqscan {note.stem}",
                remedy="Give another folder, or remove the file.",
            ) from None
        if not same:
            raise InvalidParameter(
                "output", str(output), f"holds another {note.stem}, of {name}",
                remedy="Give another folder, or remove this one first.",
            )  # fmt: skip
