"""Residue maps as tables and as colours of a structure."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from seqscan.residues.maps import ActivationMap
from seqscan.residues.tracks import color_structures, write_domains, write_maps
from seqscan.results import Domains


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
    assert lines[0].endswith("range -0.5,0.5")
    assert lines[1:4] == ["attribute: seqscan", "match mode: any", "recipient: residues"]
    assert lines[4:] == ["\t:1\t0.5", "\t:2\t0.0", "\t:3\t-0.5"]
    assert (tmp_path / "s" / "index.tsv").read_text().splitlines()[1] == "000001\t../../evil\t3"


def test_part_of_a_protein_is_numbered_as_the_whole(tmp_path):
    list(color_structures([make_map("P12345/55-57"), make_map("P12345/55-439")], tmp_path))
    lines = [(tmp_path / f"00000{i}.defattr").read_text().splitlines()[4:] for i in (1, 2)]
    assert lines == [["\t:55\t0.5", "\t:56\t0.0", "\t:57\t-0.5"], ["\t:1\t0.5", "\t:2\t0.0", "\t:3\t-0.5"]]
    assert "{55: 0.5, 56: 0.0, 57: -0.5}" in (tmp_path / "000001.pml").read_text()


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


def make_domains():
    return Domains(
        ["a", "a", "b c>|", "d"],
        np.array([0, 50, 7, 0]),
        np.array([40, 90, 30, 12]),
        np.array([3, 3, 0, -1], np.int32),
        np.array([0.75, 1.0, 0.5, 0.0], np.float32),
    )


def test_domains_as_a_table_hold_every_protein(tmp_path):
    assert write_domains([make_domains()], tmp_path / "d.tsv") == (3, 1)
    assert (tmp_path / "d.tsv").read_text().splitlines() == [
        "protein\tstart\tend\tcluster\tprobability",
        "a\t1\t40\t3\t0.7500",
        "a\t51\t90\t3\t1.0000",
        "b c>|\t8\t30\t0\t0.5000",
        "d\t1\t12\t-1\t0.0000",
    ]


def test_domains_as_bed_count_from_zero(tmp_path):
    assert write_domains([make_domains(), make_domains()], tmp_path / "d.bed") == (6, 2)
    lines = (tmp_path / "d.bed").read_text().splitlines()
    assert lines[:2] == ["a\t0\t40\tcluster_3\t750\t.", "a\t50\t90\tcluster_3\t1000\t."]
    assert len(lines) == 6


def test_domains_as_gff3(tmp_path):
    write_domains([make_domains()], tmp_path / "d.gff3")
    lines = (tmp_path / "d.gff3").read_text().splitlines()
    assert lines[0] == "##gff-version 3"
    assert lines[3].split("\t") == [
        "b%20c%3E|", "seqscan", "polypeptide_domain", "8", "30", "0.5000", ".", ".",
        "ID=domain3;Name=cluster_0;cluster=0",
    ]  # fmt: skip
    assert len(lines) == 4
