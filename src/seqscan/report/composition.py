"""How frequent each residue is in a cluster, drawn as a glyph."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqscan.alphabet import AMINO

__all__ = ["glyph", "glyph_layout"]

RESIDUES = AMINO.symbols[1 : 1 + AMINO.n_residues]
# Like beside like, so a glyph shows at a glance whether a cluster is greasy, polar or charged.
RESIDUE_GROUPS = ("AVILMC", "FWY", "GP", "STNQ", "DE", "KRH")


def glyph_layout() -> list[tuple[str, float]]:
    """Return each residue and the left edge of its bar: six units a bar, four between two groups."""
    places, x = [], 0.0
    for group in RESIDUE_GROUPS:
        for residue in group:
            places.append((residue, x))
            x += 6.0
        x += 4.0
    return places


def glyph(composition: NDArray[np.floating], background: NDArray[np.floating]) -> dict[str, Any]:
    """Return the two paths, more and less frequent than the background, and the words for them."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.log2((composition + 1e-4) / (background + 1e-4))
    up: list[str] = []
    down: list[str] = []
    words: list[tuple[float, str]] = []
    for residue, x in glyph_layout():
        ratio = float(ratios[RESIDUES.index(residue)])
        # Two-fold is the full height; fold changes of whole families seldom exceed it.
        size = 14.0 * min(1.0, abs(ratio))
        if size >= 0.5:
            (up if ratio > 0 else down).append(f"M{x:g} 15v{-math.copysign(size, ratio):.3g}h5V15z")
        words.append((ratio, f"{residue} ×{2.0**ratio:.2f}"))
    words.sort(key=lambda word: -word[0])
    strongest = ", ".join(word for _, word in words[:4])
    weakest = ", ".join(word for _, word in words[:-5:-1])
    return {
        "up": "".join(up),
        "down": "".join(down),
        "words": f"Most enriched: {strongest}. Most depleted: {weakest}.",
    }
