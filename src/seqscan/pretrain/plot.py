"""A training log as a picture: one SVG that needs nothing else."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from seqscan.artifact import write_atomically
from seqscan.errors import InputError

__all__ = ["plot_training"]

WIDTH, HEIGHT = 300.0, 130.0
MARGIN_LEFT, MARGIN_TOP, GAP_X, GAP_Y = 56.0, 30.0, 70.0, 62.0
MAX_POINTS = 150
COLORS = {"train": "#9db4c8", "held": "#c2410c"}
PANELS = (
    ("prototype", "communities of segments, nats", ""),
    ("", "nearest segment is of its community", "validation_community"),
    ("contrastive", "contrastive loss, nats above chance", "validation_contrastive"),
    ("masked", "masked residues, nats", "validation_masked"),
    ("", "homolog is the nearest of 512", "validation_recall"),
    ("learning_rate", "learning rate", ""),
    ("residues_per_second", "residues a second", ""),
    ("peak_share", "share of the matrix-product peak", ""),
)


def plot_training(log: str | Path, path: str | Path) -> None:
    """Draw a training log: losses, held-out figures, learning rate and speed over residues seen.

    Parameters
    ----------
    log : path
        `log.jsonl` of a training, or the same with gzip.
    path : path
        SVG to write.

    Raises
    ------
    InputError
        If the log holds no rows.
    """
    text = Path(log).read_bytes()
    text = gzip.decompress(text) if text[:2] == b"\x1f\x8b" else text
    rows = [json.loads(line) for line in text.decode().splitlines() if line.endswith("}")]
    if not rows:
        raise InputError(str(log), "holds no rows")
    seen = np.cumsum([row["residues"] for row in rows]) / 1e6
    parts = []
    panels = [panel for panel in PANELS if any(panel[0] in row or panel[2] in row for row in rows)]
    for number, (trained, title, held) in enumerate(panels):
        x = MARGIN_LEFT + (number % 3) * (WIDTH + GAP_X)
        y = MARGIN_TOP + (number // 3) * (HEIGHT + GAP_Y)
        parts.append(
            f'<g transform="translate({x:.0f} {y:.0f})">{_panel(rows, seen, title, trained, held)}</g>'
        )
    width = MARGIN_LEFT + 3 * (WIDTH + GAP_X)
    height = MARGIN_TOP + ((len(panels) + 2) // 3) * (HEIGHT + GAP_Y)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        'font-family="sans-serif" font-size="11" fill="#334155">'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )
    with write_atomically(path) as temporary:
        temporary.write_text(svg)


def _panel(
    rows: list[dict[str, float]], seen: NDArray[np.float64], title: str, trained: str, held: str
) -> str:
    lines = []
    for name, kind in ((trained, "train"), (held, "held")):
        where = [i for i, row in enumerate(rows) if name in row]
        if where:
            points = np.stack([seen[where], [rows[i][name] for i in where]], axis=1)
            lines.append((kind, _averaged(points)))
    values = np.concatenate([points[:, 1] for _, points in lines])
    low, high = float(values.min()), float(values.max())
    span = (high - low) or max(abs(high), 1.0)
    end = max(float(seen[-1]), 1e-9)
    drawn = []
    for kind, points in lines:
        x, y = points[:, 0] / end * WIDTH, HEIGHT - (points[:, 1] - low) / span * HEIGHT
        path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))
        drawn.append(f'<path d="{path}" fill="none" stroke="{COLORS[kind]}" stroke-width="1.6"/>')
        if kind == "held":
            drawn.append(
                f'<text x="{WIDTH:.0f}" y="-8" text-anchor="end" fill="{COLORS[kind]}">'
                f"held out, last {points[-1, 1]:.4g}</text>"
            )
    return (
        f'<text y="-8" font-weight="bold">{escape(title)}</text>'
        f'<path d="M0 0V{HEIGHT:.0f}H{WIDTH:.0f}" fill="none" stroke="#94a3b8"/>'
        f'<text x="-6" y="8" text-anchor="end">{high:.4g}</text>'
        f'<text x="-6" y="{HEIGHT:.0f}" text-anchor="end">{low:.4g}</text>'
        f'<text y="{HEIGHT + 15:.0f}">0</text>'
        f'<text x="{WIDTH:.0f}" y="{HEIGHT + 15:.0f}" text-anchor="end">{end:.4g} M residues</text>'
        + "".join(drawn)
    )


def _averaged(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average neighboring points (N, 2) until `MAX_POINTS` are left."""
    if len(points) <= MAX_POINTS:
        return points
    return np.stack([block.mean(axis=0) for block in np.array_split(points, MAX_POINTS)])
