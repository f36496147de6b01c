"""Domain architectures and logos in the report."""

import numpy as np
import pytest
from test_report import HOSTILE, make_data

from seqscan.errors import ShapeMismatch
from seqscan.report import Architecture, Part, write_report
from seqscan.report.architecture import architecture_rows
from seqscan.residues.consensus import Consensus, logo


def make_part(start, end, label):
    values = np.sin(np.arange(start, end, dtype=np.float32) / 9)
    return Part(start, end, label, 0.875, values)


ITEMS = [
    Architecture("whole", 600, [make_part(0, 200, 0), make_part(240, 400, 1), make_part(410, 600, 1)]),
    Architecture(HOSTILE, 150, [make_part(30, 150, 2)]),
]


def test_parts_lie_where_they_belong():
    first, second = architecture_rows(ITEMS, ["#111111", "#eeeeee"])
    scale = first["width"] / 600
    assert [part["x"] / scale for part in first["parts"]] == pytest.approx([0, 240, 410], abs=1)
    assert [part["colour"] for part in first["parts"]] == ["#111111", "#eeeeee", "#eeeeee"]
    assert second["width"] == pytest.approx(150 * scale, abs=0.1)
    assert [part["on_light"] for part in first["parts"]] == [False, True, True]
    assert {bar["kind"] for bar in first["bars"]} == {"for", "against"}
    assert sum(bar["width"] for bar in first["bars"]) == pytest.approx(550 * scale, rel=0.01)
    assert second["parts"][0]["name"] == "cluster 2, residues 31–150, probability 0.875"


def test_a_very_long_protein_does_not_make_the_others_tiny():
    items = [Architecture("titin", 35_000, [make_part(34_000, 35_000, 0)]), *ITEMS, *ITEMS]
    long, first, second, *_ = architecture_rows(items, ["#111111"])
    assert first["compressed"] is second["compressed"] is None
    assert first["width"] > 200
    assert long["width"] == 860
    assert long["parts"][0]["x"] == pytest.approx(860 * 34 / 35, abs=1)
    assert long["compressed"] == pytest.approx(first["width"] / 600 * 35_000 / 860, abs=0.1)


def test_report_draws_them(tmp_path):
    counts = np.zeros((2, 20), np.int64)
    counts[:, 3] = 30
    found = Consensus(0, "a", "EE", 30, 30, counts, np.array([1, -1], np.float32))
    write_report(make_data(architectures=ITEMS, logos={0: logo(found)}), tmp_path / "with.html")
    html = (tmp_path / "with.html").read_text()
    assert html.count('class="architecture"') == 2
    assert HOSTILE not in html
    assert html.count('class="logo"') == 1
    assert "Sequence logo of cluster 0" in html
    write_report(make_data(), tmp_path / "without.html")
    assert 'id="domains"' not in (tmp_path / "without.html").read_text()


def test_segments_are_called_segments(tmp_path):
    data = make_data(segments_of=25, n_read=27, n_rejected=2)
    write_report(data, tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()
    assert "39 segments of 25 proteins fall into 3 clusters." in html
    assert "Every record that was read is accounted for." in html
    assert "Each dot is a segment" in html


def test_contributions_must_fit():
    with pytest.raises(ShapeMismatch, match="for 5 residues"):
        Part(0, 5, 0, 0.5, np.zeros(4, np.float32))
