"""Where the data that comes with the package lies.

The sequences and their labels are separate files with a function each, because training may open the first
and must never open the second.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

__all__ = ["pfam10_labels", "pfam10_sequences"]


def pfam10_sequences() -> Path:
    """Return the path of 5,851 protein domains of ten Pfam families, FASTA, gzip, without labels.

    Examples
    --------
    >>> pfam10_sequences().name
    'pfam10.fasta.gz'
    """
    return _bundled("pfam10.fasta.gz")


def pfam10_labels() -> Path:
    """Return the path of the families of `pfam10_sequences`: a table of `id`, `pfam` and `clan`.

    Only evaluation may open it: nothing that trains, selects or sets a default.

    Examples
    --------
    >>> pfam10_labels().name
    'pfam10.labels.tsv'
    """
    return _bundled("pfam10.labels.tsv")


def _bundled(name: str) -> Path:
    # The package is always installed as files, never run from an archive, so a resource is a path.
    return Path(str(files("seqscan") / "data" / "pfam10" / name))
