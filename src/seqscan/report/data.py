"""All that the report shows, in one checked value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqscan.alphabet import AMINO
from seqscan.errors import ShapeMismatch
from seqscan.fasta import Rejected
from seqscan.report.architecture import Architecture
from seqscan.residues.maps import ActivationMap
from seqscan.results import Assignments, ClusterSummary, Scores

__all__ = ["ReportData"]


@dataclass(frozen=True)
class ReportData:
    """All that the report shows.

    Attributes
    ----------
    title, version, command, input_name : str
        Heading, version of seqscan, the command line that was run, and the name of the input.
    n_read : int
        Records read; `assignments` and `n_rejected` should account for all of them, and the report says
        whether they do.
    n_rejected : int
        Records that could not be used.
    rejected : sequence of Rejected
        The first of them; 100 are shown.
    assignments : Assignments
        N proteins.
    descriptions : N str
        The rest of each FASTA header; untrusted.
    positions : (N, 2), float
        Places in the map, see `project_to_plane`.
    lengths : (N,), residues
    clusters : sequence of C ClusterSummary
    composition : (C, 20), fractions
        Of each residue in each cluster, rows as `clusters`, columns as `AMINO.symbols[1:21]`.
    background : (20,), fractions
        Of each residue in the whole input.
    curves : sequence of dict
        Rows of the training logs: `stage` (str), `step`, perhaps `head`, and any number of values by name.
    scores : Scores
    baselines : sequence of dict
        `method`, then for each metric a number, a pair (mean, standard deviation) or a dict of `mean` and
        `sd`. Shown only if `scores.labelled` is not empty.
    maps : sequence of ActivationMap
        Of the clusters' representatives.
    logos : dict of int to str
        An SVG of the consensus for each cluster that has one, see `seqscan.residues.consensus.logo`.
    architectures : sequence of Architecture
        Whole proteins to draw with their domains.
    segments_of : int
        If the records were cut: how many whole proteins there were; `assignments` are then of segments.
    configuration : dict
        Every option that was in force; may be nested.

    Raises
    ------
    ShapeMismatch
        If the arrays do not agree in shape.
    """

    title: str
    version: str
    command: str
    input_name: str
    n_read: int
    n_rejected: int
    assignments: Assignments
    descriptions: Sequence[str]
    positions: NDArray[np.floating]
    lengths: NDArray[np.integer]
    clusters: Sequence[ClusterSummary] = ()
    composition: NDArray[np.floating] = field(default_factory=lambda: np.zeros((0, AMINO.n_residues)))
    background: NDArray[np.floating] = field(default_factory=lambda: np.zeros(AMINO.n_residues))
    rejected: Sequence[Rejected] = ()
    curves: Sequence[Mapping[str, Any]] = ()
    scores: Scores = field(default_factory=Scores)
    baselines: Sequence[Mapping[str, Any]] = ()
    maps: Sequence[ActivationMap] = ()
    logos: Mapping[int, str] = field(default_factory=dict)
    architectures: Sequence[Architecture] = ()
    segments_of: int = 0
    configuration: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.assignments)
        expected: dict[str, tuple[int, ...]] = {
            "positions": (n, 2),
            "lengths": (n,),
            "composition": (len(self.clusters), AMINO.n_residues),
            "background": (AMINO.n_residues,),
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ShapeMismatch(
                    f"{name} has shape {getattr(self, name).shape}, the report needs {shape}."
                )
        if len(self.descriptions) != n:
            raise ShapeMismatch(f"{len(self.descriptions)} descriptions for {n} proteins.")

    @property
    def n_assigned(self) -> int:
        """Proteins that have a cluster."""
        return int(self.assignments.assigned.sum())

    @property
    def n_unassigned(self) -> int:
        """Proteins that have none."""
        return len(self.assignments) - self.n_assigned
