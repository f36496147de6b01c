"""What every job on a FASTA file begins with: a folder to write to, and an input that is known again."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from seqscan.artifact import file_checksum, write_atomically
from seqscan.errors import InputError

__all__ = ["check_folder", "input_checksum", "kept_input"]


def check_folder(output: Path) -> None:
    """Raise `InputError` if `output` is a file; a folder need not exist yet."""
    if output.exists() and not output.is_dir():
        raise InputError(str(output), "is a file", remedy="Give a folder to write to.")


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
