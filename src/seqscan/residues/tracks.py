"""Residue maps and domains as files for other programs: tables, browser tracks, colours of structures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seqscan.artifact import write_atomically
from seqscan.residues.maps import ActivationMap
from seqscan.results import UNASSIGNED, Domains
from seqscan.tables import tsv_writer, write_tsv

__all__ = ["color_structures", "write_domains", "write_maps"]

_MAPS_AT_A_TIME = 512


def write_maps(maps: Iterable[ActivationMap], path: str | Path) -> None:
    """Write one row a residue: `id, position (1-based), residue, cluster, contribution`; atomically.

    Maps that were made against the runner-up get the columns `runner_up` and `lead` too, and those that have
    it the column `membership`.

    Parameters
    ----------
    maps : iterable of ActivationMap
        All with a runner-up or all without, and likewise their membership.
    path : path
        Parquet if it ends in `.parquet`, else tab-separated.
    """
    path = Path(path)
    tables = (_table(part) for part in _parts(maps))
    first = next(tables, _table([]))
    with write_atomically(path) as temporary:
        if path.suffix == ".parquet":
            with pq.ParquetWriter(temporary, first.schema, compression="zstd") as writer:
                for table in (first, *tables):
                    writer.write_table(table)
            return
        with temporary.open("w", newline="") as handle:
            rows = tsv_writer(handle)
            rows.writerow(first.column_names)
            for table in (first, *tables):
                columns = (
                    [f"{value:.5f}" for value in column.to_pylist()]
                    if pa.types.is_floating(column.type)
                    else column.to_pylist()
                    for column in table.columns
                )
                rows.writerows(zip(*columns, strict=True))


def _parts(maps: Iterable[ActivationMap]) -> Iterator[list[ActivationMap]]:
    iterator = iter(maps)
    while part := list(islice(iterator, _MAPS_AT_A_TIME)):
        yield part


def _table(maps: list[ActivationMap]) -> pa.Table:
    lengths = [len(item.residues) for item in maps]

    def spread(values: list[int]) -> pa.Array:
        return pa.array(np.repeat(np.array(values, np.int32), lengths))

    def joined(arrays: list[np.ndarray], dtype: type) -> pa.Array:
        return pa.array(np.concatenate([np.empty(0, dtype), *arrays]).astype(dtype))

    columns = {
        "id": pa.array(np.repeat(np.array([item.id for item in maps], object), lengths), pa.string()),
        "position": joined([np.arange(1, n + 1) for n in lengths], np.int32),
        "residue": pa.array(list("".join(item.residues for item in maps)), pa.string()),
        "cluster": spread([item.label for item in maps]),
        "contribution": joined([item.contributions for item in maps], np.float32),
    }
    leads = [item.lead for item in maps if item.lead is not None]
    if leads:
        columns["runner_up"] = spread([item.runner_up for item in maps])
        columns["lead"] = joined(leads, np.float32)
    memberships = [item.membership for item in maps if item.membership is not None]
    if memberships:
        columns["membership"] = joined(memberships, np.float32)
    return pa.table(columns)


def write_domains(blocks: Iterable[Domains], path: str | Path) -> tuple[int, int]:
    """Write domains, one row each, atomically; the ending of `path` chooses the format.

    Parameters
    ----------
    blocks : iterable of Domains
    path : path
        `.bed` (BED6, 0-based and half-open, score 1000 times the probability) and `.gff3` hold what was
        found; any other is tab-separated `protein, start, end (1-based, inclusive), cluster, probability`
        and holds the proteins without a domain too, with cluster -1.

    Returns
    -------
    n_domains, n_without : int
        Domains, and proteins in which none was found.
    """
    path = Path(path)
    row_of = {".bed": _bed_row, ".gff3": _gff3_row}.get(path.suffix, _plain_row)
    n_domains = n_without = 0
    with write_atomically(path) as temporary, temporary.open("w", newline="") as handle:
        if row_of is _plain_row:
            handle.write("protein\tstart\tend\tcluster\tprobability\n")
        elif row_of is _gff3_row:
            handle.write("##gff-version 3\n")
        for block in blocks:
            columns = (block.starts, block.ends, block.labels, block.probabilities)
            rows = zip(block.proteins, *(column.tolist() for column in columns), strict=True)
            for protein, start, end, label, probability in rows:
                found = label != UNASSIGNED
                n_domains += found
                n_without += not found
                if found or row_of is _plain_row:
                    handle.write(row_of(n_domains, protein, start, end, label, probability))
    return n_domains, n_without


def _plain_row(number: int, protein: str, start: int, end: int, label: int, probability: float) -> str:
    return f"{protein}\t{start + 1}\t{end}\t{label}\t{probability:.4f}\n"


def _bed_row(number: int, protein: str, start: int, end: int, label: int, probability: float) -> str:
    return f"{protein}\t{start}\t{end}\tcluster_{label}\t{round(1000 * probability)}\t.\n"


def _gff3_row(number: int, protein: str, start: int, end: int, label: int, probability: float) -> str:
    # GFF3 allows these characters in the first column and wants all others as % and two digits.
    name = re.sub(
        r"[^a-zA-Z0-9.:^*$@!+_?|-]", lambda m: "".join(f"%{byte:02X}" for byte in m[0].encode()), protein
    )
    attributes = f"ID=domain{number};Name=cluster_{label};cluster={label}"
    return f"{name}\tseqscan\tpolypeptide_domain\t{start + 1}\t{end}\t{probability:.4f}\t.\t.\t{attributes}\n"


def color_structures(maps: Iterable[ActivationMap], folder: str | Path) -> Iterator[ActivationMap]:
    """Write each map that passes as a ChimeraX attribute file and a PyMOL script, and pass it on.

    The files are numbered as the records are, `000001.defattr` and `000001.pml`: an id is no file name.
    `index.tsv`, written at the end, says which is which. Residues are found by their number, which must be
    the position in the whole protein, as in AlphaFold's models. A part with an id such as `P12345/55-439` is
    counted from 55.

    Parameters
    ----------
    maps : iterable of ActivationMap
    folder : path
    """
    folder = Path(folder)
    index: list[tuple[str, str, int]] = []
    for number, item in enumerate(maps, 1):
        name = f"{number:06d}"
        index.append((name, item.id, item.label))
        values = [round(float(value), 5) for value in item.contributions]
        numbered = dict(enumerate(values, _first_residue(item.id, len(values))))
        lines = [f"\t:{position}\t{value}" for position, value in numbered.items()]
        limit = round(max(float(np.quantile(np.abs(values), 0.98)), 1e-5), 5) if values else 1.0
        with write_atomically(folder / f"{name}.defattr") as temporary:
            temporary.write_text(_CHIMERAX.format(limit=limit) + "\n".join(lines) + "\n")
        with write_atomically(folder / f"{name}.pml") as temporary:
            temporary.write_text(_PYMOL.format(values=numbered, limit=limit))
        yield item
    write_tsv(("file", "id", "cluster"), index, folder / "index.tsv")


def _first_residue(id: str, length: int) -> int:
    """Return where a sequence begins in its protein: `ID/START-END` says so if it is as long as that.

    Examples
    --------
    >>> _first_residue("P12345/55-439", 385), _first_residue("P12345/55-439", 20), _first_residue("a", 9)
    (55, 1, 1)
    """
    place = re.search(r"/(\d+)-(\d+)$", id)
    start, end = map(int, place.groups()) if place else (1, 0)
    return start if end - start + 1 == length else 1


_CHIMERAX = """\
# Open after the structure, then: color byattribute seqscan palette blue:white:red range -{limit},{limit}
attribute: seqscan
match mode: any
recipient: residues
"""

_PYMOL = """\
# Run after loading the structure: the B-factor becomes the contribution, red speaks for the cluster.
python
values = {values}
cmd.alter("polymer", "b=values.get(resv, 0.0)", space={{"values": values}})
python end
spectrum b, blue_white_red, polymer, minimum=-{limit}, maximum={limit}
"""
