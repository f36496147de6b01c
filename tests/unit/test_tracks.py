"""Residue maps as tables and as colours of a structure."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from seqscan.results import ActivationMap
from seqscan.tracks import color_structures, write_maps


def make_map(id="a", text="MKV", **changes):
    values = np.linspace(0.5, -0.5, len(text), dtype=np.float32)
    return ActivationMap(id, 3, text, values, 0.125, **changes)


def test_maps_as_a_table(tmp_path):
    write_maps([make_map(), make_map("b", "W")], tmp_path / "maps.tsv")
    assert (tmp_path / "maps.tsv").read_text().splitlines() == [
        "id\tposition\tresidue\tcluster\tcontribution",
        "a\t1\tM\t3\t0.50000",
        "a\t2\tK\t3\t0.00000",
        "a\t3\tV\t3\t-0.50000",
        "b\t1\tW\t3\t0.50000",
    ]


def test_maps_against_the_runner_up(tmp_path):
    found = make_map(runner_up=1, lead=np.ones(3, np.float32))
    write_maps([found], tmp_path / "maps.tsv")
    header, first, *_ = (tmp_path / "maps.tsv").read_text().splitlines()
    assert header.split("\t")[5:] == ["runner_up", "lead"]
    assert first.split("\t")[5:] == ["1", "1.00000"]


@pytest.mark.parametrize("n", [0, 1, 1100])
def test_parquet_holds_what_the_table_holds(tmp_path, n):
    maps = [make_map(f"p{i}", "MKVW"[: 1 + i % 4]) for i in range(n)]
    write_maps(iter(maps), tmp_path / "maps.tsv")
    write_maps(iter(maps), tmp_path / "maps.parquet")
    table = pq.read_table(tmp_path / "maps.parquet")
    header, *rows = (line.split("\t") for line in (tmp_path / "maps.tsv").read_text().splitlines())
    assert table.column_names == header
    assert table["id"].to_pylist() == [row[0] for row in rows]
    assert table["position"].to_pylist() == [int(row[1]) for row in rows]
    np.testing.assert_allclose(table["contribution"].to_numpy(), [float(row[4]) for row in rows], atol=1e-5)
    assert sum(map.contributions.sum() for map in maps) == pytest.approx(
        np.sum(table["contribution"]) if n else 0
    )


def test_files_for_structures(tmp_path):
    maps = [make_map("../../evil", "MKV"), make_map("b", "WY")]
    assert list(color_structures(iter(maps), tmp_path / "s")) == maps
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == [
        "000001.defattr", "000001.pml", "000002.defattr", "000002.pml", "index.tsv",
    ]  # fmt: skip
    lines = (tmp_path / "s" / "000001.defattr").read_text().splitlines()
    assert lines[1:4] == ["attribute: seqscan", "match mode: any", "recipient: residues"]
    assert lines[4:] == ["\t:1\t0.5", "\t:2\t0.0", "\t:3\t-0.5"]
    assert (tmp_path / "s" / "index.tsv").read_text().splitlines()[1] == "000001\t../../evil\t3"


def test_pymol_script_sets_each_residue_once(tmp_path):
    list(color_structures([make_map()], tmp_path))
    script = (tmp_path / "000001.pml").read_text()
    block = script[script.index("python\n") + 7 : script.index("python end")]
    altered = []

    class Commands:
        @staticmethod
        def alter(selection, expression, space):
            altered.append((selection, expression, space["values"]))

    exec(block, {"cmd": Commands})
    assert altered == [("polymer", "b=values.get(resv, 0.0)", {1: 0.5, 2: 0.0, 3: -0.5})]
    assert "minimum=-0.5, maximum=0.5" in script
