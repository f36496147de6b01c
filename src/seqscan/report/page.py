"""The page: one HTML file that opens offline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from seqscan.artifact import write_atomically
from seqscan.offline import content_policy, script_json, script_of, template
from seqscan.report.activation import activation_row
from seqscan.report.architecture import architecture_rows
from seqscan.report.clusters import cluster_rows
from seqscan.report.composition import glyph_layout
from seqscan.report.curves import training_curves
from seqscan.report.data import ReportData
from seqscan.report.palette import cluster_colours
from seqscan.report.payload import drawn_rows, payload
from seqscan.report.scores import labelled_scores, score_rows, score_table
from seqscan.report.summary import findings, headline
from seqscan.wording import number, percent, plural

__all__ = ["write_report"]

N_REJECTED_SHOWN = 100


def write_report(data: ReportData, path: str | Path) -> None:
    """Write the report, one self-contained HTML file, atomically.

    Parameters
    ----------
    data : ReportData
    path : path
        Replaced if it exists. Equal data give equal bytes.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from seqscan.results import Assignments
    >>> none = Assignments([], *(np.zeros(0, dtype) for dtype in ("i4", "f4", "i4", "f4")))
    >>> data = ReportData("Empty", "0.1.0", "seqscan run x.fasta", "x.fasta", 0, 0, none, [],
    ...                   np.zeros((0, 2)), np.zeros(0, int))
    >>> target = Path(tempfile.mkdtemp()) / "report.html"
    >>> write_report(data, target)
    >>> target.read_text().splitlines()[0]
    '<!doctype html>'
    """
    html = _render(data)
    with write_atomically(path) as temporary:
        # A lone surrogate in a header must not cost the user the report.
        temporary.write_bytes(html.encode("utf-8", "replace"))


@cache
def _environment() -> Environment:
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "count": lambda value: f"{value:,}",
        "number": number,
        "percent": percent,
        "plural": plural,
    }
    return environment


def _render(data: ReportData) -> str:
    style, script = template("report.css"), script_of("report.js")
    palette = cluster_colours()
    drawn = drawn_rows(data)
    context = {
        "data": data,
        "policy": content_policy(style, script),
        "style": Markup(style),
        "script": Markup(script),
        "payload": Markup(script_json(payload(data, drawn, palette))),
        "headline": headline(data),
        "findings": findings(data),
        "n_drawn": len(drawn),
        "clusters": list(cluster_rows(data, palette)),
        "legend_glyph": glyph_layout(),
        "label_free": score_rows(data.scores.label_free),
        "labelled": labelled_scores(data),
        "deciles": score_table(data.scores.by_decile),
        "curves": list(training_curves(data.curves)),
        "maps": [activation_row(item, palette) for item in data.maps],
        "logos": {label: Markup(logo) for label, logo in data.logos.items()},
        "architectures": architecture_rows(data.architectures, palette),
        "rejected": list(data.rejected[:N_REJECTED_SHOWN]),
        "configuration": list(_flatten(data.configuration)),
    }
    return _environment().from_string(template("report.html.jinja")).render(context)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield each option by its full name, as text."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)
