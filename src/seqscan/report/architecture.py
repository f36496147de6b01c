"""Whole proteins drawn as a line of domains, with the contribution of their residues on hover."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqscan.errors import ShapeMismatch
from seqscan.report.palette import is_light
from seqscan.wording import number

__all__ = ["Architecture", "Part", "architecture_rows"]

_WIDTH = 860.0
_LONG = 3.0
"""Proteins longer than so many times the median are drawn to a scale of their own."""
_BINS = 215
"""Bars of the residue heat, at most: four pixels each."""


@dataclass(frozen=True)
class Part:
    """A domain of a drawn protein.

    Attributes
    ----------
    start, end : int, residues
        0-based and half-open.
    label : int
        The cluster.
    probability : float
    contributions : (end - start,), logit
        Of its residues to the logit of its cluster.
    """

    start: int
    end: int
    label: int
    probability: float
    contributions: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.contributions.shape != (self.end - self.start,):
            raise ShapeMismatch(
                f"{self.contributions.shape} contributions for {self.end - self.start} residues."
            )


@dataclass(frozen=True)
class Architecture:
    """A whole protein and its domains, from its first residue to its last."""

    id: str
    length: int
    parts: Sequence[Part]


def architecture_rows(items: Sequence[Architecture], palette: Sequence[str]) -> list[dict[str, Any]]:
    """Lay proteins out for the template: to one scale, but for those that would make all others tiny."""
    lengths = [item.length for item in items] or [1]
    usual = _WIDTH / min(max(lengths), _LONG * float(np.median(lengths)))
    rows = []
    for item in items:
        scale = min(usual, _WIDTH / item.length)
        parts, bars = [], []
        width = max(1, -(-item.length // _BINS), round(4 / scale))
        limit = (
            max((float(np.quantile(np.abs(p.contributions), 0.95)) for p in item.parts), default=0.0) or 1.0
        )
        for part in item.parts:
            place = f"residues {part.start + 1}–{part.end}"
            name = f"cluster {part.label}, {place}, probability {number(part.probability)}"
            parts.append(
                {
                    "x": round(part.start * scale, 1),
                    "width": round(max((part.end - part.start) * scale - 1, 2), 1),
                    "colour": palette[part.label % len(palette)],
                    "on_light": is_light(palette[part.label % len(palette)]),
                    "label": part.label if (part.end - part.start) * scale > 9 * len(str(part.label)) else "",
                    "name": name,
                }
            )
            for start in range(part.start, part.end, width):
                inside = slice(start - part.start, min(start + width, part.end) - part.start)
                mean = float(part.contributions[inside].mean())
                height = 12.0 * min(1.0, abs(mean) / limit)
                end = min(start + width, part.end)
                bars.append(
                    {
                        "x": round(start * scale, 1),
                        "y": round(38 - height if mean > 0 else 38.0, 1),
                        "width": round((end - start) * scale, 1),
                        "height": round(height, 1),
                        "kind": "for" if mean > 0 else "against",
                        "name": f"residues {start + 1}–{end}: {mean:+.3f} a residue for cluster {part.label}",
                    }
                )
        rows.append(
            {
                "id": item.id,
                "length": item.length,
                "width": round(item.length * scale, 1),
                "compressed": round(usual / scale, 1) if scale < usual else None,
                "parts": parts,
                "bars": bars,
            }
        )
    return rows
