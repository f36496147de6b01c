"""Read vectors that another program made: HDF5, NumPy, Parquet, or a store of this package.

One row a protein, with its id. A file's vectors must be those of the proteins they are used for, so ids are
compared in both directions and nothing is filled in or left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from seqscan.errors import InputError, MissingDependency
from seqscan.store import EmbeddingStore
from seqscan.textfiles import read_lines
from seqscan.wording import plural

__all__ = ["Embeddings", "read_embeddings"]

N_SHOWN = 3

_HDF5_LAYOUT = "Give one dataset for each protein, named by its id, which holds its vector."


@dataclass(frozen=True)
class Embeddings:
    """N vectors of proteins.

    Attributes
    ----------
    ids : N str
    vectors : (N, P), float32
    """

    ids: list[str]
    vectors: NDArray[np.float32]

    def in_order_of(
        self, ids: Sequence[str], *, source: str, ignored: Collection[str] = ()
    ) -> NDArray[np.float32]:
        """Return the vectors of some proteins, which must be all there are.

        Parameters
        ----------
        ids : R str
        source : str
            Where the vectors are from, for the error.
        ignored : collection of str
            Ids of rejected records, which may have vectors.

        Raises
        ------
        InputError
            If a protein has no vector, or a vector no protein.
        """
        rows = {id: row for row, id in enumerate(self.ids)}
        missing = [id for id in ids if id not in rows]
        if missing:
            raise InputError(
                source,
                f"has no vector for {len(missing)} of {plural(len(ids), 'protein')}, "
                f"for instance {_some(missing)}; its ids look like {_some(self.ids)}",
                remedy="Ids must be the first words of the FASTA headers.",
            )
        wanted = set(ids) | set(ignored)
        extra = [id for id in self.ids if id not in wanted]
        if extra:
            raise InputError(
                source,
                f"holds {len(extra)} of {plural(len(self.ids), 'vector')} without a protein, "
                f"for instance {_some(extra)}",
                remedy="Give the FASTA file that the vectors were made of.",
            )
        return self.vectors[[rows[id] for id in ids]]


def read_embeddings(path: str | Path) -> Embeddings:
    """Read vectors with their ids.

    Parameters
    ----------
    path : path
        By its ending: `.h5` or `.hdf5` with one dataset for each protein, named by its id, as UniProt and
        ProtT5's scripts write it: a vector (P,), or residue vectors (L, P), of which the mean is taken;
        `.npy` (N, P) with the ids in `<name>.ids.txt` beside it, one a line; `.parquet` with a column `id`
        and one column of lists, or one column for each dimension; or a folder, a store of `seqscan embed`.

    Raises
    ------
    InputError
        If the file is missing, of another kind, empty, its vectors differ in length or are not finite, or an
        id is empty or cannot stand in a table.
    MissingDependency
        If HDF5 is to be read without `h5py`.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "prott5.npy"
    >>> np.save(path, np.eye(2))
    >>> _ = path.with_name("prott5.ids.txt").write_text("P1\\nP2\\n")
    >>> read_embeddings(path).ids
    ['P1', 'P2']
    """
    path = Path(path)
    if not path.exists():
        raise InputError(str(path), "there is no such file")
    if path.is_dir():
        store = EmbeddingStore.open(path)
        return _checked(path, store.ids, store.vectors() if len(store) else np.empty((0, 0)))
    readers: dict[str, Callable[[Path], tuple[list[str], Any]]] = {
        ".h5": _read_hdf5, ".hdf5": _read_hdf5, ".npy": _read_npy, ".parquet": _read_parquet,
    }  # fmt: skip
    if path.suffix not in readers:
        raise InputError(
            str(path),
            "is of no known kind",
            remedy=f"Known endings are {', '.join(readers)}, or give a store.",
        )
    return _checked(path, *readers[path.suffix](path))


def _checked(path: Path, ids: list[str], vectors: Any) -> Embeddings:
    try:
        vectors = np.asarray(vectors, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(str(path), f"holds something else than numbers ({error})") from None
    if not len(ids) or vectors.ndim != 2:
        raise InputError(str(path), f"holds no vectors: its shape is {vectors.shape}")
    if len(ids) != len(vectors):
        raise InputError(str(path), f"holds {plural(len(vectors), 'vector')} and {plural(len(ids), 'id')}")
    for number, id in enumerate(ids, 1):
        # Ids go into tables, so they hold no tab and no line break.
        if not id.strip() or set(id) & set("\t\r\n"):
            where = f"line {number} of {_names(path).name}" if path.suffix == ".npy" else f"vector {number}"
            what = f"the id {id!r}, which holds a tab or line break" if id.strip() else "no id"
            raise InputError(
                str(path),
                f"{where} has {what}",
                remedy="Give each vector an id, as FASTA has it: the first word of the header.",
            )
    if len(set(ids)) < len(ids):
        twice = [id for id, count in Counter(ids).items() if count > 1]
        raise InputError(str(path), f"holds ids twice, for instance {_some(twice)}")
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise InputError(
            str(path),
            f"holds numbers that are not finite in {plural(len(bad), 'vector')}, first that of {ids[bad[0]]}",
        )
    return Embeddings(ids, vectors)


def _read_hdf5(path: Path) -> tuple[list[str], Any]:
    try:
        import h5py
    except ImportError:
        raise MissingDependency(
            "HDF5 files need h5py.", remedy="Install it: pip install 'seqscan[h5]'."
        ) from None
    ids: list[str] = []
    vectors: list[NDArray[np.float32]] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            if item.dtype.kind not in "fiu":
                raise InputError(
                    str(path),
                    f"its dataset {name} holds something else than numbers",
                    remedy=f"{_HDF5_LAYOUT} A matrix and its ids are read as .npy and .ids.txt.",
                )
            values = np.asarray(item, dtype=np.float32)
            # `original_id` is what bio_embeddings keeps of the header; a slash in an id makes groups.
            ids.append(str(item.attrs.get("original_id", name)))
            if values.ndim not in (1, 2) or not values.size:
                raise InputError(
                    str(path),
                    f"its dataset {name} has shape {values.shape}, not (P,) or (L, P)",
                    remedy=_HDF5_LAYOUT,
                )
            vectors.append(values.mean(axis=0) if values.ndim == 2 else values)

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except OSError as error:
        raise InputError(str(path), f"cannot be read as HDF5 ({error})") from None
    _check_lengths(path, ids, vectors)
    return ids, np.stack(vectors) if vectors else np.empty((0, 0))


def _check_lengths(path: Path, ids: Sequence[str], vectors: Sequence[Any]) -> None:
    first: dict[int, str] = {}
    for id, vector in zip(ids, vectors, strict=True):
        if vector is None:
            raise InputError(str(path), f"has no vector for {id}", remedy="Leave its row out.")
        first.setdefault(len(vector), id)
    if len(first) > 1:
        lengths = ", ".join(f"{length} (such as {id})" for length, id in sorted(first.items()))
        raise InputError(str(path), f"its vectors differ in length: {lengths}")


def _names(path: Path) -> Path:
    """Return where the ids of an array are."""
    return path.with_name(path.stem + ".ids.txt")


def _read_npy(path: Path) -> tuple[list[str], Any]:
    names = _names(path)
    if not names.exists():
        raise InputError(str(path), "has no ids", remedy=f"Write them to {names}, one a line.")
    ids = [line.rstrip("\r\n") for line in read_lines(names)]
    try:
        return ids, np.load(path, mmap_mode="r")
    except (ValueError, EOFError) as error:  # the second: an empty file
        raise InputError(str(path), f"cannot be read as an array ({error})") from None


def _read_parquet(path: Path) -> tuple[list[str], Any]:
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise InputError(str(path), f"cannot be read as Parquet ({error})") from None
    if "id" not in table.column_names:
        raise InputError(str(path), f"has no column id, but {', '.join(table.column_names)}")
    ids = ["" if id is None else str(id) for id in table["id"].to_pylist()]
    rest = table.drop_columns("id")
    lists = [
        name
        for name, kind in zip(rest.column_names, rest.schema.types, strict=True)
        if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    ]
    if len(lists) > 1:
        raise InputError(str(path), f"has several columns of lists: {', '.join(lists)}")
    if lists:
        rows = rest[lists[0]].to_pylist()
        _check_lengths(path, ids, rows)
        return ids, rows
    numbers = [
        name
        for name, kind in zip(rest.column_names, rest.schema.types, strict=True)
        if pa.types.is_floating(kind) or pa.types.is_integer(kind)
    ]
    if len(numbers) < rest.num_columns or not numbers:
        others = [name for name in rest.column_names if name not in numbers]
        raise InputError(str(path), f"its columns are no numbers: {', '.join(others) or 'there are none'}")
    return ids, np.stack([rest[name].to_numpy() for name in numbers], axis=1)


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:N_SHOWN]) + (", ..." if len(ids) > N_SHOWN else "")
