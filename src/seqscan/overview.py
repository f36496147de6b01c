"""What a report shows of any model, proteins and the clusters that they came to: of a run, of an update."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqscan.alignment import find_mmseqs
from seqscan.artifact import VERSION
from seqscan.corpus import Corpus
from seqscan.model import Model
from seqscan.report import ReportData, project_to_plane
from seqscan.residues.consensus import consensus_of, logo
from seqscan.residues.explain import explain
from seqscan.residues.maps import SPREAD
from seqscan.results import Assignments, ClusterSummary
from seqscan.tally import compositions

__all__ = ["report_data"]

logger = logging.getLogger(__name__)

N_MAPS = 24
"""Clusters, in the order of the table, whose representative gets a residue map in the report."""

N_LOGO_MEMBERS = 40
"""Surest members of a cluster that make its logo."""


def report_data(
    model: Model,
    corpus: Corpus,
    vectors: NDArray[np.float32],
    assignments: Assignments,
    clusters: list[ClusterSummary],
    *,
    seed: int,
    threads: int,
    **more: Any,
) -> ReportData:
    """Return what a report shows of N proteins and their clusters.

    Parameters
    ----------
    model : Model
    corpus : Corpus
    vectors : (N, P)
        Of the corpus.
    assignments : Assignments
    clusters : list of ClusterSummary
        In the order in which they are shown.
    seed : int
        Of the map.
    threads : int
    **more
        Further fields of `ReportData`.
    """
    shares, background = compositions(corpus, assignments.labels, [row.cluster for row in clusters])
    row_of = {id: row for row, id in enumerate(corpus.ids)}
    shown = [row_of[cluster.representative] for cluster in clusters[:N_MAPS]]
    return ReportData(
        version=VERSION,
        assignments=assignments,
        descriptions=corpus.descriptions,
        positions=project_to_plane(vectors, random_state=seed),
        lengths=corpus.lengths,
        clusters=clusters,
        composition=shares,
        background=background,
        maps=[item.spread(SPREAD) for item in explain(model, corpus.records(shown))],
        logos=_logos(model, corpus, assignments, [row.cluster for row in clusters[:N_MAPS]], threads),
        **more,
    )


def _logos(
    model: Model, corpus: Corpus, assignments: Assignments, clusters: list[int], threads: int
) -> dict[int, str]:
    """Draw the consensus of some clusters, if MMseqs2 is installed."""
    if find_mmseqs() is None:
        logger.warning("MMseqs2 is not installed: the report has no sequence logos")
        return {}
    shown: list[int] = []
    for label in clusters:
        members = np.flatnonzero(assignments.labels == label)
        order = np.argsort(-assignments.probabilities[members], kind="stable")[:N_LOGO_MEMBERS]
        shown += members[order].tolist()
    maps = list(explain(model, corpus.records(shown)))
    return {item.cluster: logo(item) for item in consensus_of(maps, threads=threads)}
