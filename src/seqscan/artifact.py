"""Directories and files that exist whole or not at all.

An artifact is a directory with a `manifest.json` that says what it is, which version wrote it, how it was
made, and the SHA-256 of each of its files. It is written beside its final place and renamed, so a kill leaves
the old one or the new one and never a part of either (between the two renames of a replacement, both lie
beside that place under hidden names, which the next write to it removes). Nothing is ever pickled.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from seqscan.errors import ArtifactError

__all__ = [
    "FORMAT",
    "VERSION",
    "Manifest",
    "check_makeable",
    "check_replaceable",
    "file_checksum",
    "read_manifest",
    "remove_leftovers",
    "scratch_folder",
    "write_arrays",
    "write_artifact",
    "write_atomically",
]

FORMAT = 1
"""Version of the layout of artifacts; a reader refuses any other."""

try:
    VERSION = version("seqscan")
except PackageNotFoundError:  # a source tree on the path, not installed
    VERSION = "0+unknown"


@dataclass(frozen=True)
class Manifest:
    """What an artifact says of itself.

    Attributes
    ----------
    kind : str
        For instance "encoder", "store", "head".
    content : dict
        Configuration and provenance, JSON values only.
    files : dict of str to str
        Name of each file and its SHA-256.
    format : int
        Version of the layout.
    seqscan : str
        Version of the program that wrote it.
    """

    kind: str
    content: dict[str, Any]
    files: dict[str, str]
    format: int = FORMAT
    seqscan: str = VERSION


def file_checksum(path: str | Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@contextmanager
def write_atomically(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write to; on success it takes the name `path`.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "table.tsv"
    >>> with write_atomically(target) as temporary:
    ...     _ = temporary.write_text("id\\tcluster\\n")
    >>> target.read_text()
    'id\\tcluster\\n'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _refused(path):
        descriptor, name = tempfile.mkstemp(prefix=_hidden(path), dir=path.parent)
    temporary = Path(name)
    try:
        _lock(descriptor)
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.chmod(0o666 & ~_umask())
        # Before the new one is in place: after it, a kill in between would leave them for good.
        remove_leftovers(path, but=temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(descriptor)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays, safetensors.

    Its own `save_file` writes a further file beside, which a kill would leave behind for good.
    """
    path.write_bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))


@contextmanager
def write_artifact(path: str | Path, kind: str, content: dict[str, Any]) -> Iterator[Path]:
    """Give a temporary directory to fill; on success it becomes the artifact `path`.

    Parameters
    ----------
    path : path
        Replaced if it is an artifact of the same kind.
    kind : str
        What `read_manifest` will ask for.
    content : dict
        Goes into the manifest when the block ends, so the block may still add to it.

    Raises
    ------
    ArtifactError
        If `path` holds something that is not an artifact of this kind; it is left alone.
    """
    path = Path(path)
    check_replaceable(path, kind)
    made = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _temporary_folder(path) as temporary:
            yield temporary
            written = sorted(file for file in temporary.rglob("*") if file.is_file())
            files = {str(file.relative_to(temporary)): file_checksum(file) for file in written}
            for file in written:
                file.chmod(0o666 & ~_umask())  # safetensors writes files that their owner alone can read
            manifest = json.dumps(vars(Manifest(kind, content, files)), indent=1, sort_keys=True)
            (temporary / "manifest.json").write_text(manifest + "\n")
            temporary.chmod(0o777 & ~_umask())
            remove_leftovers(path, but=temporary)
            if path.exists():
                # The old one is moved away whole: a kill while it is deleted must not leave half of it here.
                path.rename(replaced := temporary.with_name(temporary.name + ".old"))
                temporary.rename(path)
                shutil.rmtree(replaced, ignore_errors=True)
            else:
                temporary.rename(path)
    finally:
        for folder in made:  # what is empty, the block having failed
            with suppress(OSError):
                folder.rmdir()


def check_replaceable(path: str | Path, kind: str) -> None:
    """Raise `ArtifactError` if `write_artifact` would not write here; ask before work that takes long."""
    path = Path(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        read_manifest(path, kind)


def check_makeable(path: Path) -> None:
    """Raise `OSError` if nothing can be written at `path`, which need not exist; tried, since rights lie."""
    above = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    with _refused(path):
        Path(tempfile.mkdtemp(prefix=_hidden(path), dir=above)).rmdir()


def read_manifest(path: str | Path, kind: str, *, verify: bool = False) -> Manifest:
    """Read and check the manifest of an artifact.

    Parameters
    ----------
    path : path
    kind : str
        The kind that is expected.
    verify : bool
        Also compare the checksum of every file.

    Raises
    ------
    ArtifactError
        If there is no artifact, or it is of another kind or format, or a file is missing or changed.
    """
    path = Path(path)
    try:
        fields = json.loads((path / "manifest.json").read_text())
        # Another format may have other fields, so it is looked at first.
        if isinstance(fields, dict) and fields.get("format", FORMAT) != FORMAT:
            raise ArtifactError(
                str(path),
                f"has format {fields['format']}, this version of seqscan reads {FORMAT}",
                remedy=f"Use seqscan {fields.get('seqscan', 'of that version')}, or make it again.",
            )
        manifest = Manifest(**fields)
        if not isinstance(manifest.files, dict) or not isinstance(manifest.content, dict):
            raise TypeError("its fields have wrong types")
    except FileNotFoundError:
        raise ArtifactError(
            str(path), f"is not a seqscan {kind}: it has no manifest.json", remedy="Check the path."
        ) from None
    except NotADirectoryError:
        raise ArtifactError(str(path), f"is a file, not a seqscan {kind}", remedy="Check the path.") from None
    except (ValueError, TypeError) as error:
        raise ArtifactError(
            str(path), f"its manifest cannot be read ({error})", remedy="Make it again."
        ) from None
    if manifest.kind != kind:
        raise ArtifactError(
            str(path),
            f"is {_with_article(manifest.kind)}, not {_with_article(kind)}",
            remedy="Check the path.",
        )
    for name, checksum in manifest.files.items():
        file = path / name
        if not file.is_file():
            raise ArtifactError(str(path), f"its file {name} is missing", remedy="Make it again.")
        if verify and file_checksum(file) != checksum:
            raise ArtifactError(str(path), f"its file {name} was changed or damaged", remedy="Make it again.")
    return manifest


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    """Let the system's error name `path`, not the hidden name of what is written for it."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"cannot be written ({error.strerror})", str(path)) from None


def _hidden(path: Path) -> str:
    """Return how the names of what is being written for `path` begin."""
    return f".{path.name}.seqscan-"


def _lock(descriptor: int) -> None:
    """Lock what is being written; the lock ends with the process, however that ends."""
    with suppress(OSError):  # a file system without locks: nothing is removed there
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def remove_leftovers(path: Path, *, but: Path | None = None) -> None:
    """Remove what killed processes left of earlier writes to `path`, and nothing that a live one holds.

    `but` is kept: a writer that replaced the file it was given has lost the lock on it.
    """
    for left in path.parent.iterdir():
        if (
            (but is not None and left.name == but.name)
            or not left.name.startswith(_hidden(path))
            or left.is_symlink()
        ):
            continue
        with suppress(OSError):
            descriptor = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if left.is_dir():
                    shutil.rmtree(left)
                else:
                    left.unlink()
            finally:
                os.close(descriptor)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a folder in the system's scratch, gone afterwards; also remove those that killed processes left.

    Examples
    --------
    >>> with scratch_folder() as folder:
    ...     _ = (folder / "hits.tsv").write_text("")
    >>> folder.exists()
    False
    """
    # Of this machine alone: where machines share a folder, not all see each other's locks.
    place = Path(tempfile.gettempdir()) / f"scratch-{platform.node()}"
    remove_leftovers(place)
    with _temporary_folder(place) as folder:
        yield folder


@contextmanager
def _temporary_folder(path: Path) -> Iterator[Path]:
    """Give a locked hidden folder beside `path`; what is not renamed by then is removed."""
    with _refused(path):
        folder = Path(tempfile.mkdtemp(prefix=_hidden(path), dir=path.parent))
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _with_article(noun: str) -> str:
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
