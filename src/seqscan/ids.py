"""Which protein an id means, where two files write it in different ways."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Found",
    "Names",
    "accession",
    "is_uniprot",
    "of_one_record",
    "plain_accession",
    "whole_proteins",
]

# https://www.uniprot.org/help/accession_numbers
_UNIPROT = r"(?:[OPQ]\d[A-Z0-9]{3}\d|[A-NR-Z]\d(?:[A-Z][A-Z0-9]{2}\d){1,2})"
_IS_UNIPROT = re.compile(_UNIPROT)
_ISOFORM = re.compile(rf"({_UNIPROT})-\d+")
_VERSION = re.compile(r"(.*\w)\.\d{1,3}")
_ARCHIVED = re.compile(rf"({_UNIPROT}|[A-Z]{{1,9}}_?\d{{5,}})\.\d{{1,3}}")
"""Accessions with a version, as of RefSeq, GenBank, Ensembl and UniProt: all versions are one record."""
_RANGE = re.compile(r"/\d+-\d+$")


class Found(IntEnum):
    """By which part of its id a protein was found."""

    NOT = 0
    WHOLE = 1
    ACCESSION = 2
    PLAIN = 3


def accession(id: str) -> str:
    """Return the accession within an id: no database, no entry name, no range of residues.

    Examples
    --------
    >>> [accession(id) for id in ("sp|P12345|AATM_RABIT", "UniProtKB:P12345", "P12345/20-110", "P12345")]
    ['P12345', 'P12345', 'P12345', 'P12345']
    """
    id = _RANGE.sub("", id)
    if id.count("|") >= 2 or (id.count("|") == 1 and id.index("|") <= 3):
        return id.split("|")[1]
    if ":" in id:
        return id.split(":", 1)[1]
    return id


def plain_accession(id: str) -> str:
    """Return the accession within an id without the number of a UniProt isoform or of a version.

    Examples
    --------
    >>> [plain_accession(id) for id in ("sp|P12345-2|X_Y", "P12345", "NP_000001.1", "gene-2")]
    ['P12345', 'P12345', 'NP_000001', 'gene-2']
    """
    found = accession(id)
    shorter = _ISOFORM.fullmatch(found) or _VERSION.fullmatch(found)
    return shorter.group(1) if shorter else found


def whole_proteins(ids: Iterable[str]) -> NDArray[np.int64]:
    """Number the proteins that ids are of, (N,): parts of one, by ranges of its residues, share its number.

    What is annotated is the protein, so its parts are no witnesses for each other.

    Examples
    --------
    >>> whole_proteins(["P12345/5-90", "Q00002", "P12345/95-180", "P12345-2/5-90"]).tolist()
    [0, 1, 0, 2]
    """
    number: dict[str, int] = {}
    return np.array([number.setdefault(_RANGE.sub("", id), len(number)) for id in ids], dtype=np.int64)


def is_uniprot(accession: str) -> bool:
    """Say whether an accession has the form of UniProt, without an isoform."""
    return _IS_UNIPROT.fullmatch(accession) is not None


def of_one_record(one: str, other: str) -> bool:
    """Say whether two other ids with one accession can mean one record alone, and the same residues of it.

    An accession of UniProt does, whatever stands before it; another may be that of two databases or species.

    Examples
    --------
    >>> of_one_record("sp|P12345|A_B", "UniProtKB:P12345"), of_one_record("human:g1", "mouse:g1")
    (True, False)
    >>> of_one_record("human:g1", "g1"), of_one_record("P12345/1-50", "P12345/60-90")
    (True, False)
    """
    if _RANGE.findall(one) != _RANGE.findall(other):
        return False
    bare = (id for id in (one, other) if _RANGE.sub("", id) == accession(id))
    return is_uniprot(plain_accession(one)) or any(bare)


class Names:
    """Finds P proteins under other forms of their ids.

    Parameters
    ----------
    proteins : P str

    Examples
    --------
    >>> names = Names(["P12345", "sp|P00001|A_B", "NP_000001.1", "Q00002/1-50", "Q00002/60-90"])
    >>> [names.rows(id) for id in ("P12345", "P00001", "tr|P12345-2|X_Y", "NP_000001.3", "Q00002", "P9")]
    ... # doctest: +NORMALIZE_WHITESPACE
    [([0], <Found.WHOLE: 1>), ([1], <Found.ACCESSION: 2>), ([0], <Found.PLAIN: 3>),
     ([2], <Found.PLAIN: 3>), ([3, 4], <Found.ACCESSION: 2>), ([], <Found.NOT: 0>)]
    """

    def __init__(self, proteins: Sequence[str]) -> None:
        self._whole = {protein: [row] for row, protein in enumerate(proteins)}
        accessions = [accession(protein) for protein in proteins]
        self._by_accession = _grouped(
            (name, row) for row, name in enumerate(accessions) if name != proteins[row]
        )
        archived = ((row, _ARCHIVED.fullmatch(name)) for row, name in enumerate(accessions))
        self._by_record = _grouped((match.group(1), row) for row, match in archived if match)

    def rows(self, id: str) -> tuple[list[int], Found]:
        """Return the rows that an id may mean, more than one if it does not say which, and what they share.

        The whole id is looked for first, then its accession, then that without isoform or version. A shorter
        name is tried only if the longer one is nowhere. An isoform never means another isoform, and of
        versions only those of one archived record mean each other.
        """
        if id in self._whole:
            return self._whole[id], Found.WHOLE
        name, plain = accession(id), plain_accession(id)
        for table in (self._whole, self._by_accession):
            if name in table:
                return table[name], Found.ACCESSION
        for table in (self._whole, self._by_accession, self._by_record):
            if plain in table:
                return table[plain], Found.PLAIN
        return [], Found.NOT


def _grouped(pairs: Iterable[tuple[str, int]]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for name, row in pairs:
        groups.setdefault(name, []).append(row)
    return groups
