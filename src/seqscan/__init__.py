"""seqscan: find the functional categories of proteins with no labels at all.

`read_fasta` yields the `Record` of each protein. `SeqSCAN` finds the clusters of records and assigns new
ones; `SCANClusterer` does so with vectors from anywhere. What goes wrong is a `seqscan.errors.SeqscanError`.

>>> from seqscan import read_fasta
>>> from seqscan.datasets import pfam10_sequences
>>> next(read_fasta(pfam10_sequences())).id
'Q62634/68-453'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqscan.artifact import VERSION
from seqscan.fasta import Record, read_fasta

if TYPE_CHECKING:
    from seqscan.estimator import SCANClusterer, SeqSCAN

__all__ = ["Record", "SCANClusterer", "SeqSCAN", "__version__", "read_fasta"]

__version__ = VERSION


def __getattr__(name: str) -> object:
    # Reading a file must not wait for torch.
    if name in ("SCANClusterer", "SeqSCAN"):
        from seqscan import estimator

        return getattr(estimator, name)
    raise AttributeError(f"module 'seqscan' has no attribute {name!r}")
