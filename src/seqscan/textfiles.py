"""Text files of users, plain or compressed, read so that whatever is wrong with one is an `InputError`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xopen import xopen

from seqscan.errors import InputError

__all__ = ["read_bytes", "read_lines"]


def read_lines(path: str | Path, *, remedy: str = "") -> Iterator[str]:
    """Yield the lines of a UTF-8 text with their line ends, as they stand; a byte order mark is left out.

    Parameters
    ----------
    path : path
        Plain, gzip, bzip2, xz or zstd.
    remedy : str, optional
        What an error tells the user to do.

    Raises
    ------
    InputError
        If the file is missing, a directory, damaged, truncated or no text.
    """
    with _errors_told(path, remedy), xopen(path, encoding="utf-8-sig", newline="", threads=0) as handle:
        yield from handle


def read_bytes(path: str | Path, *, remedy: str = "") -> bytes:
    """Return what a file holds, decompressed; parameters and errors as `read_lines`."""
    with _errors_told(path, remedy), xopen(path, "rb", threads=0) as handle:
        return handle.read()


@contextmanager
def _errors_told(path: str | Path, remedy: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise InputError(str(path), "there is no such file") from None
    except IsADirectoryError:
        raise InputError(str(path), "is a directory", remedy=remedy) from None
    except Exception as error:  # each decompressor has a type of its own for damaged data
        raise InputError(str(path), f"cannot be read ({error})", remedy=remedy) from error
