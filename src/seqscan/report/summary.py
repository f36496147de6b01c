"""What was found, in plain words."""

from __future__ import annotations

import numpy as np

from seqscan.report.data import ReportData
from seqscan.results import WHY_UNSURE
from seqscan.wording import number, percent, plural

__all__ = ["findings", "headline"]


def headline(data: ReportData) -> str:
    """Say in one sentence how many proteins fall into how many clusters."""
    n = len(data.assignments)
    if not data.n_assigned:
        return f"No clusters were found among {plural(n, 'protein')}."
    proteins = plural(data.n_assigned, "protein")
    verb = "falls" if data.n_assigned == 1 else "fall"
    if data.segments_of:
        proteins = f"{plural(data.n_assigned, 'segment')} of {plural(data.segments_of, 'protein')}"
    return f"{proteins} {verb} into {plural(len(data.clusters), 'cluster')}."


def findings(data: ReportData) -> list[str]:
    """Say in plain words what was found, what was not, and how far to trust it."""
    n = len(data.assignments)
    sentences = []
    if data.n_unassigned:
        share = percent(data.n_unassigned, n)
        fits = "fits" if data.n_unassigned == 1 else "fit"
        sentences.append(f"{plural(data.n_unassigned, 'protein')} ({share}) {fits} no cluster well enough.")
    if data.n_rejected:
        sentences.append(
            f"{plural(data.n_rejected, 'record')} could not be used; the reasons are listed below."
        )
    accounted = (data.segments_of or n) + data.n_rejected
    missing = data.n_read - accounted
    if missing:
        sentences.append(
            f"Warning: of {plural(data.n_read, 'record')} read, {accounted:,} are accounted for."
        )
    else:
        sentences.append("Every record that was read is accounted for.")
    if data.segments_of:
        sentences.append(
            "The segments that the clusters were learned from are in assignments.tsv; the domains of all "
            "proteins, also of those without a segment, as the clusters then call them, in domains.tsv."
        )
    sizes = sorted((cluster.size for cluster in data.clusters), reverse=True)
    if len(sizes) > 1:
        share = percent(sizes[0], data.n_assigned)
        sentences.append(
            f"Cluster sizes run from {sizes[-1]:,} to {sizes[0]:,} (the largest holds {share}); "
            f"the median is {number(round(float(np.median(sizes))))}."
        )
    elif len(sizes) == 1:
        sentences.append(
            "A single cluster says nothing about how the proteins differ: the input may hold one family, "
            "or the training may have collapsed."
        )
    if data.n_assigned:
        unsure = int(data.assignments.unsure.sum())
        if unsure:
            share = percent(unsure, data.n_assigned)
            have = "has" if unsure == 1 else "have"
            sentences.append(f"{plural(unsure, 'assignment')} ({share}) {have} a probability below 0.5.")
        if data.assignments.mostly_unsure:
            sentences.append(f"These clusters are hardly told apart: {WHY_UNSURE}.")
    return sentences
