"""Tables come back as they were written; what is wrong with one is told with its line."""

import csv

import pytest

from seqscan.errors import InputError
from seqscan.tables import Table, read_rows, write_tsv


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.tsv"


def test_round_trip(path):
    write_tsv(("a", "b"), [(1, 'two "quoted"'), (0.5, None)], path)
    assert path.read_text() == 'a\tb\n1\ttwo "quoted"\n0.5\t\n'
    table = Table.read(path, ("b", "a"))
    assert table.column("b") == ['two "quoted"', ""]
    assert table.numbers("a").tolist() == [1.0, 0.5]


def test_no_cell_is_written_that_would_be_read_as_two(path):
    with pytest.raises(csv.Error):
        write_tsv(("a",), [("one\ttwo",)], path)
    assert not path.exists()


def test_lines_are_counted_with_those_that_are_empty(path):
    path.write_text("id\tn\na\t1\n\nb\tmany\n")
    with pytest.raises(InputError, match=r"x\.tsv: line 4: 'many' in column 'n' is no number"):
        Table.read(path, ("id", "n")).numbers("n")
    path.write_text("id\tn\n\na\t1\na\t1\n")
    with pytest.raises(InputError, match="line 4: the id 'a' occurs twice"):
        Table.read(path, ("id",)).unique("id")


def test_a_column_that_is_not_there_may_have_a_default(path):
    path.write_text("id\na\nb\n")
    assert Table.read(path, ("id",)).numbers("n", 2.0).tolist() == [2.0, 2.0]


def test_a_row_may_be_short_only_where_nothing_was_asked_for(path):
    path.write_text("id\tn\tmore\na\t1\n")
    assert Table.read(path, ("id", "n")).column("n") == ["1"]
    with pytest.raises(InputError, match="line 2: too few columns"):
        Table.read(path, ("id", "more"))
    with pytest.raises(InputError, match="line 2: '' in column 'more' is no number"):
        Table.read(path, ("id",)).numbers("more", 0.0)


def test_rows_one_by_one(path):
    path.write_text("id\tn\na\t1\nb\n")
    rows = read_rows(path, ("id", "n"))
    assert next(rows) == {"id": "a", "n": "1"}
    with pytest.raises(InputError, match="line 3: too few columns"):
        next(rows)
    path.write_text("id\tn\n")
    assert list(read_rows(path, ("id",))) == []
    with pytest.raises(InputError, match="no row"):
        Table.read(path, ("id",))
