"""The table of clusters: a row each, with the lengths and the composition of its members."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqscan.report.composition import glyph
from seqscan.report.data import ReportData
from seqscan.wording import percent, shortened

__all__ = ["cluster_rows"]

N_BINS = 24


def cluster_rows(data: ReportData, palette: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Describe each cluster for the template."""
    row_of = {id: row for row, id in enumerate(data.assignments.ids)}
    mapped = {(item.id, item.label): index for index, item in reversed(list(enumerate(data.maps)))}
    labels, lengths = data.assignments.labels, np.asarray(data.lengths)
    # The longest hundredth share the last bar, or they would flatten all the others.
    longest = float(np.quantile(lengths, 0.99)) if len(lengths) else 1.0
    edges = np.linspace(0.0, max(longest, 1.0), N_BINS + 1)
    members = np.argsort(labels, kind="stable")
    ranked = labels[members]
    largest = max((cluster.size for cluster in data.clusters), default=1)
    for index, cluster in enumerate(data.clusters):
        start, end = np.searchsorted(ranked, [cluster.cluster, cluster.cluster + 1])
        counts, _ = np.histogram(np.minimum(lengths[members[start:end]], edges[-1]), edges)
        row = row_of.get(cluster.representative)
        yield {
            "summary": cluster,
            "colour": palette[cluster.cluster % len(palette)],
            "share": percent(cluster.size, max(len(labels), 1)),
            "bar": round(56.0 * cluster.size / max(largest, 1), 1),
            "description": "" if row is None else shortened(data.descriptions[row], 90),
            "histogram": _bars(counts / max(int(counts.max()), 1), 4.0, 26.0),
            "longest": round(longest),
            "glyph": glyph(data.composition[index], data.background),
            "map": mapped.get((cluster.representative, cluster.cluster)),
        }


def _bars(heights: NDArray[np.floating], width: float, height: float) -> str:
    """Return an SVG path of bars that stand on the line y = `height`."""
    parts = []
    for index, share in enumerate(heights.tolist()):
        if share > 0:
            size = max(1.0, share * height)
            parts.append(f"M{index * width:g} {height:g}v{-size:.3g}h{width - 1:g}v{size:.3g}z")
    return "".join(parts)
