"""What the script of the page draws: the points of the map and the residue maps, compressed."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqscan.report.data import ReportData
from seqscan.wording import shortened

__all__ = ["MAX_POINTS", "drawn_rows", "payload"]

MAX_POINTS = 100_000
"""Most proteins the map draws; of more, an even sample is drawn and the report says so."""

MAX_DESCRIPTION = 160


def drawn_rows(data: ReportData) -> NDArray[np.int64]:
    """Rows that the map draws: all, or an even sample that holds every representative."""
    n = len(data.assignments)
    if n <= MAX_POINTS:
        return np.arange(n)
    representatives = {cluster.representative for cluster in data.clusters}
    kept = [row for row, id in enumerate(data.assignments.ids) if id in representatives]
    return np.unique(
        np.concatenate([np.linspace(0, n - 1, MAX_POINTS).astype(np.int64), np.array(kept, np.int64)])
    )


def payload(data: ReportData, drawn: NDArray[np.int64], palette: Sequence[str]) -> dict[str, Any]:
    """Return what the script draws: typed arrays and strings, compressed."""
    positions = np.nan_to_num(np.asarray(data.positions, dtype=np.float64)[drawn])
    grid = np.zeros((len(drawn), 2))
    if len(drawn):
        low = positions.min(axis=0)
        # One scale for both axes: distances must look as long across as they do upwards.
        scale = max(float(np.ptp(positions, axis=0).max()), 1e-30)
        grid = (positions - low) / scale * 65535.0
    probability = np.clip(np.nan_to_num(data.assignments.probabilities[drawn]), 0.0, 1.0)
    levels = np.where(probability < 1, np.minimum((probability * 255).round(), 254), 255)  # 255: sure
    numbers = b"".join(
        (
            data.assignments.labels[drawn].astype("<i4").tobytes(),
            grid[:, 0].round().astype("<u2").tobytes(),
            grid[:, 1].round().astype("<u2").tobytes(),
            levels.astype("u1").tobytes(),
        )
    )
    texts = [
        [data.assignments.ids[row] for row in drawn.tolist()],
        [shortened(data.descriptions[row], MAX_DESCRIPTION) for row in drawn.tolist()],
    ]
    return {
        "n": len(drawn),
        "numbers": _packed(numbers),
        "texts": _packed(json.dumps(texts, separators=(",", ":")).encode()),
        "palette": list(palette),
        "maps": [
            {
                "residues": item.residues,
                "contributions": base64.b64encode(item.contributions.astype("<f4").tobytes()).decode(),
            }
            for item in data.maps
        ],
    }


def _packed(raw: bytes) -> str:
    # Without a time stamp, so that equal data give equal bytes.
    return base64.b64encode(gzip.compress(raw, 6, mtime=0)).decode()
