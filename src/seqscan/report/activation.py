"""The residue maps of the representatives, for the template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqscan.residues.maps import ActivationMap

__all__ = ["activation_row"]


def activation_row(item: ActivationMap, palette: Sequence[str]) -> dict[str, Any]:
    """Describe a map for the template: its colour, its scale, and the residues that count most and least."""
    ranked = np.argsort(-item.contributions, kind="stable")
    limit = float(np.quantile(np.abs(item.contributions), 0.98)) if len(ranked) else 0.0

    def named(rows: NDArray[np.intp]) -> str:
        return ", ".join(
            f"{item.residues[row]}{row + 1} ({item.contributions[row]:+.2g})".replace("-", "−")
            for row in rows.tolist()
        )

    return {
        "item": item,
        "colour": palette[item.label % len(palette)],
        "length": len(item.residues),
        "limit": limit,
        "strongest": named(ranked[:5]),
        "weakest": named(ranked[::-1][:5]),
    }
