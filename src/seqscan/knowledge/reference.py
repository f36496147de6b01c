"""The proteins that evidence for annotations is taken from, by a model's vectors and clusters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from seqscan.alignment import find_mmseqs
from seqscan.alphabet import AMINO
from seqscan.errors import InputError
from seqscan.fasta import Record
from seqscan.knowledge.finished import find_run
from seqscan.knowledge.support import MAX_ALIGNED, Surroundings, aligned, nearest
from seqscan.model import Model, record_blocks

__all__ = ["Reference"]


@dataclass(frozen=True)
class Reference:
    """R proteins with their vectors.

    Attributes
    ----------
    ids : R str
    codes : R arrays of residue codes
    vectors : (R, P), float32
        By the encoder of the model.
    """

    ids: Sequence[str]
    codes: Sequence[NDArray[np.uint8]]
    vectors: NDArray[np.float32]

    @classmethod
    def of_run(cls, model_path: str | Path) -> Reference:
        """Take the proteins of the run that made a model.

        Raises
        ------
        InputError
            If the folder `work` is not beside the model, or is that of an update.
        """
        folder = Path(model_path).parent
        run = find_run(folder)
        if run is None:
            grown = (folder / "update.json").exists()
            raise InputError(
                str(model_path),
                "the folder 'work' beside it has the proteins that 'update' added, not those of before"
                if grown
                else "the proteins it was trained on are not in the folder 'work' beside it",
                remedy="Give a FASTA of annotated proteins with --reference"
                + (": for instance the inputs of the run and of its updates, in one file." if grown else "."),
            )
        return cls(run.ids, run.corpus, run.store.vectors())

    @classmethod
    def of_records(cls, records: Iterable[Record], model: Model) -> Reference:
        """Embed records."""
        kept = list(records)
        codes = [AMINO.encode(record.sequence) for record in kept]
        return cls([record.id for record in kept], codes, _embedded(kept, model))

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row of each id."""
        return {id: row for row, id in enumerate(self.ids)}

    def check_same(self, records: Iterable[Record], source: str) -> None:
        """Raise `InputError` if a record of `source` has an id of these proteins but other residues."""
        for record in records:
            row = self.row_of.get(record.id)
            if row is not None and not np.array_equal(self.codes[row], AMINO.encode(record.sequence)):
                raise InputError(
                    source,
                    f"{record.id} has another sequence than the reference's protein of that id",
                    remedy="Give it another id.",
                )

    def surroundings(
        self,
        new: Sequence[Record],
        model: Model,
        propagated: Any,
        *,
        alignments: bool | None = None,
        threads: int = 2,
    ) -> Surroundings:
        """Find who stands around these proteins and new ones, which follow them.

        Parameters
        ----------
        new : sequence of M Record
        model : Model
        propagated : (R + M, T) sparse bool
            What is known of each; only annotated proteins become neighbors.
        alignments : bool, optional
            Also align; if not given, where MMseqs2 is installed and there are at most `MAX_ALIGNED` proteins.
        threads : int
        """
        ids = [*self.ids, *(record.id for record in new)]
        vectors = np.concatenate([self.vectors, _embedded(new, model)])
        found = model.head.assign(ids, vectors)
        n = len(ids)
        if alignments is None:
            alignments = n <= MAX_ALIGNED and find_mmseqs() is not None
        graph = sparse.csr_array((n, n), dtype=np.float32)
        if alignments:
            graph = aligned(
                [*self.codes, *(AMINO.encode(record.sequence) for record in new)], threads=threads
            )
        annotated = np.flatnonzero(np.diff(propagated.indptr) > 0)
        points = model.head.points(vectors)
        return Surroundings(ids, found.labels, found.probabilities, nearest(points, annotated), graph)


def _embedded(records: Sequence[Record], model: Model) -> NDArray[np.float32]:
    blocks = [model.encoder.embed([AMINO.encode(r.sequence) for r in b]) for b in record_blocks(records)]
    return np.concatenate(blocks) if blocks else np.empty((0, model.encoder.n_dimensions), np.float32)
