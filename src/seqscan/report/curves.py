"""The charts of the training: one for each term of the log."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["training_curves"]

N_CURVE_POINTS = 240
_TERMS = {
    "consistency": "Disagreement of neighbors; lower is better.",
    "entropy": "How evenly the clusters are used; a fall to 0 is a collapse.",
    "total": "What the training minimizes.",
}
# Columns of a log that say when a row was written, not how well it went.
_NOT_CHARTED = {"stage", "step"}


def training_curves(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield each stage with its charts, one a term."""
    by_stage: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_stage.setdefault(str(row.get("stage", "")), []).append(row)
    for stage, members in by_stage.items():
        names = dict.fromkeys(name for row in members for name in row if name not in _NOT_CHARTED)
        charts = [chart for name in names if (chart := _chart(name, members)) is not None]
        if charts:
            yield {"stage": stage, "charts": charts}


def _chart(name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Draw a term of the log; None if no row has a value of it."""
    points = np.array(
        [
            (float(row.get("step", index)), float(value))
            for index, row in enumerate(rows)
            if isinstance(value := row.get(name), (int, float, np.integer, np.floating))
            and math.isfinite(value)
        ]
    )
    if not len(points):
        return None
    final = points[-1, 1]
    points = _thinned(points)
    (first, low), (last, high) = points.min(axis=0), points.max(axis=0)
    width, height = 260.0, 84.0
    x_scale = width / max(last - first, 1e-12)
    y_scale = height / (high - low) if high > low else 0.0
    x = (points[:, 0] - first) * x_scale
    y = height - (points[:, 1] - low) * y_scale if y_scale else np.full(len(points), height / 2)
    if len(points) == 1:
        # One value has no line: a short dash shows where it stands.
        x, y = np.array([x[0], x[0] + 6.0]), np.repeat(y, 2)
    return {
        "label": name.replace("_", " "),
        "meaning": _TERMS.get(name, ""),
        "path": "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True)),
        "low": float(low),
        "high": float(high),
        "first": round(first),
        "last": round(last),
        "final": float(final),
    }


def _thinned(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average neighboring points until few enough are left to draw; the first and the last stay."""
    if len(points) <= N_CURVE_POINTS:
        return points
    inner = np.array_split(points[1:-1], N_CURVE_POINTS - 2)
    return np.vstack([points[:1], *(block.mean(axis=0, keepdims=True) for block in inner), points[-1:]])
