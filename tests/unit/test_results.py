"""Results come back from their files, and foreign tables are read or refused with a reason."""

import csv
import gzip
import math
from dataclasses import replace

import numpy as np
import pytest

from seqscan.errors import InputError, ShapeMismatch
from seqscan.fasta import Rejected
from seqscan.results import (
    ASSIGNMENT_COLUMNS,
    Assignments,
    Scores,
    match_truth,
    read_rejected,
    read_truth,
    write_rejected,
)


@pytest.fixture
def assignments():
    return Assignments(
        ["a", 'b"|', "c"],
        np.array([0, -1, 1], np.int32),
        np.array([0.9, 0.25, 0.5], np.float32),
        np.array([1, 0, -1], np.int32),
        np.array([0.1, 0.125, 0.0], np.float32),
    )


def test_round_trip(assignments, tmp_path):
    path = tmp_path / "assignments.tsv"
    assignments.write(path)
    back = Assignments.read(path)
    assert back.ids == assignments.ids
    for name in ("labels", "probabilities", "second_labels", "second_probabilities"):
        np.testing.assert_allclose(getattr(back, name), getattr(assignments, name), atol=5e-5)
        assert getattr(back, name).dtype == getattr(assignments, name).dtype


def test_table(assignments, tmp_path):
    assignments.write(tmp_path / "x.tsv")
    lines = (tmp_path / "x.tsv").read_bytes().decode().split("\n")
    assert lines[0] == "\t".join(ASSIGNMENT_COLUMNS)
    assert lines[2] == 'b"|\t-1\t0.2500\t0\t0.1250\tunassigned'
    assert lines[3].endswith("\tassigned")
    assert lines[4:] == [""]


def test_shown_in_one_line(assignments):
    assert repr(assignments) == "<Assignments: 2 proteins in 2 clusters, 1 unassigned>"


def test_arrow_has_the_columns_of_the_file(assignments, tmp_path):
    assignments.write(tmp_path / "a.tsv")
    with (tmp_path / "a.tsv").open() as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    table = assignments.to_arrow()
    assert table.column_names == [name for name in rows[0] if name != "status"]
    for name in table.column_names:
        shown = [f"{value:.4f}" if "prob" in name else str(value) for value in table[name].to_pylist()]
        assert shown == [row[name] for row in rows]
    none = np.zeros(len(assignments), np.float32)
    more = replace(assignments, novelty=none, known_shares=none, novel=none > 0).to_arrow()
    assert more.column_names == [*table.column_names, "novelty", "known_share", "novel"]


def test_assigned(assignments):
    assert len(assignments) == 3
    assert assignments.assigned.tolist() == [True, False, True]


def test_blocks_are_joined(assignments):
    joined = Assignments.joined([assignments, assignments])
    assert list(joined.ids) == [*assignments.ids, *assignments.ids]
    assert joined.labels.tolist() == assignments.labels.tolist() * 2
    assert joined.novel is None
    novel = replace(assignments, novel=assignments.labels < 0)
    assert Assignments.joined([novel, novel]).novel.tolist() == novel.novel.tolist() * 2
    assert Assignments.joined([novel, assignments]).novel is None


def test_shapes_are_checked():
    one, two = np.zeros(1, np.int32), np.zeros(2, np.int32)
    with pytest.raises(ShapeMismatch, match="second_labels"):
        Assignments(["a"], one, one.astype(np.float32), two, one.astype(np.float32))


def table(path, text):
    path.write_text(text)
    return path


def test_table_of_another_tool(tmp_path):
    path = table(tmp_path / "x.tsv", "cluster\tid\nrare\ta\noften\tb\noften\tc\nalone\td\n")
    found = Assignments.read(path)
    # By size, and of equal size the one that comes first.
    assert dict(zip(found.ids, found.labels.tolist(), strict=True)) == {"a": 1, "b": 0, "c": 0, "d": 2}
    assert found.probabilities.tolist() == [1.0] * 4
    assert found.second_labels.tolist() == [-1] * 4


def test_names_of_no_cluster(tmp_path):
    path = table(tmp_path / "x.tsv", "id\tcluster\na\t-1\nb\t-1\nc\tname\nd\t\n")
    assert Assignments.read(path).labels.tolist() == [-1, -1, 0, -1]


def test_whole_numbers_too_large_for_a_cluster_are_names(tmp_path):
    path = table(tmp_path / "x.tsv", f"id\tcluster\na\t{10**15}\nb\t7\nc\t7\n")
    assert Assignments.read(path).labels.tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no column 'id' and no column 'cluster'; it has none"),
        ("id\tgroup\na\t1\n", "has no column 'cluster'; it has id, group"),
        ("id,cluster\na,1\n", "no column 'id'"),
        ("id\tcluster\n", "has no row"),
        ("id\tcluster\na\n", "line 2: too few columns"),
        ("id\tcluster\na\t1\na\t2\n", "line 3: the id 'a' occurs twice"),
        ("id\tcluster\tprobability\na\t1\thigh\n", "line 2: 'high' in column 'probability' is no number"),
        ("id\tcluster\na\t" + "1" * 200_000 + "\n", "is not a tab-separated table"),
    ],
)
def test_table_that_cannot_be_used(tmp_path, text, reason):
    with pytest.raises(InputError, match=reason):
        Assignments.read(table(tmp_path / "x.tsv", text))


def test_file_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        Assignments.read(tmp_path / "none.tsv")
    with pytest.raises(InputError, match=r"is a directory\. Give a tab-separated table"):
        Assignments.read(tmp_path)
    (tmp_path / "x.tsv").write_bytes(b"id\tcluster\n\xff\t1\n")
    with pytest.raises(InputError, match=r"cannot be read .* Give a tab-separated table"):
        Assignments.read(tmp_path / "x.tsv")


def test_truth(tmp_path):
    path = table(tmp_path / "x.tsv", "id\tpfam\tclan\na\tPF1\tCL1\nb\tPF2\tCL1\n")
    assert read_truth(path) == {"a": "PF1", "b": "PF2"}
    assert read_truth(path, "clan") == {"a": "CL1", "b": "CL1"}
    packed = tmp_path / "labels.tsv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_truth(packed) == {"a": "PF1", "b": "PF2"}
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"cannot be read .* Give a tab-separated table"):
        read_truth(packed)
    with pytest.raises(InputError, match="no column 'ec'"):
        read_truth(path, "ec")
    path.write_text("Entry\tpfam\na\tPF1\n")
    assert read_truth(path, id_column="Entry") == {"a": "PF1"}
    with pytest.raises(InputError, match=r"no column 'id'; it has Entry, pfam.*--id-column says"):
        read_truth(path)


def test_labels_are_found_under_other_forms_of_an_id(caplog):
    truth = {"P00001": "a", "sp|P00002|X_Y": "b", "P00003": "c", "sp|Q00004|Y": "d", "tr|Q00004|Z": "e"}
    ids = ["sp|P00001|A_B", "P00002", "P00003", "P00003-1", "Q00004", "mine"]
    found = match_truth(truth, "labels.tsv", ids)
    assert {id: found[id] for id in ids if id in found} == dict(zip(ids[:4], "abcc", strict=True))
    assert set(found) == {*ids[:4], "sp|Q00004|Y", "tr|Q00004|Z"}  # what no id means stays
    (message,) = caplog.messages
    for part in (
        "labels.tsv names the 6 clustered ids: 2 by accession (such as sp|P00001|A_B: P00001); 1 as they are",
        "1 by accession without isoform or version (such as P00003-1: P00003)",
        "1 ambiguously, so that they get no label (such as Q00004: sp|Q00004|Y or tr|Q00004|Z)",
        "1 not at all",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("truth", "id"),
    [
        ("P00001/1-50", "P00001/60-90"),  # another domain
        ("P00001/1-50", "P00001"),
        ("P00001", "P00001/1-50"),
        ("human:g1", "mouse:g1"),
        ("P00001-2", "P00001-3"),
    ],
)
def test_labels_of_something_else_are_not_taken(truth, id, caplog):
    assert match_truth({truth: "a", "x": "b"}, "labels.tsv", [id, "x"]) == {truth: "a", "x": "b"}
    assert not caplog.messages
    with pytest.raises(InputError, match="its 1 id and the 1 clustered id share no label"):
        match_truth({truth: "a"}, "labels.tsv", [id])


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    (tmp_path / "x.tsv").write_bytes(b"\xef\xbb\xbfid\tpfam\r\na\tPF1\r\n")
    assert read_truth(tmp_path / "x.tsv") == {"a": "PF1"}


def test_scores(tmp_path):
    scores = Scores({"silhouette": 0.5, "absent": math.nan}, {"nmi": 0.9}, [{"decile": 1.0}])
    scores.write(tmp_path / "scores.json")
    back = Scores.read(tmp_path / "scores.json")
    assert (back.labelled, back.by_decile) == (scores.labelled, scores.by_decile)
    assert math.isnan(back.label_free["absent"])
    assert Scores() == Scores({}, {}, [])


def test_rejected(tmp_path):
    rows = [Rejected(2, "a", "is bad"), Rejected(5, "", "has no id")]
    write_rejected(rows, tmp_path / "x.tsv")
    assert (tmp_path / "x.tsv").read_text() == "record\tid\treason\n2\ta\tis bad\n5\t\thas no id\n"
    assert read_rejected(tmp_path / "x.tsv") == rows


def test_an_id_with_a_line_separator_of_unicode_is_one_cell(tmp_path):
    rows = [Rejected(1, "a\u2028b", "is bad")]
    write_rejected(rows, tmp_path / "x.tsv")
    assert read_rejected(tmp_path / "x.tsv") == rows
