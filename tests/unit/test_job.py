"""A folder to write to, and an input that is known again."""

import hashlib
import io
import subprocess
import sys
from types import SimpleNamespace

import pytest

from seqscan.errors import InputError, InvalidParameter
from seqscan.job import check_folder, input_checksum, kept_input, sole_use


def test_a_file_is_no_folder_to_write_to(tmp_path):
    check_folder(tmp_path)
    check_folder(tmp_path / "none" / "yet")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file: is a file\. Give a folder"):
        check_folder(tmp_path / "file")


def test_two_calls_never_work_in_one_folder(tmp_path):
    with sole_use(tmp_path / "new" / "out") as new:
        assert new
        with pytest.raises(InvalidParameter, match=r"another call.*Wait"), sole_use(tmp_path / "new" / "out"):
            pass
        with sole_use(tmp_path / "other"):
            pass
    with sole_use(tmp_path / "new" / "out") as new:
        assert not new
    # Nothing is left that could hold up a later call.
    assert not list((tmp_path / "new" / "out").iterdir())


def test_a_killed_call_holds_no_folder(tmp_path):
    code = (
        "import sys; from pathlib import Path; from seqscan.job import sole_use\n"
        "with sole_use(Path(sys.argv[1])): print(flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(InvalidParameter), sole_use(tmp_path):
            pass
        other.kill()
    with sole_use(tmp_path):
        pass


def test_standard_input_is_kept(tmp_path, monkeypatch):
    assert kept_input(str(tmp_path / "in.fasta"), tmp_path / "work") == tmp_path / "in.fasta"
    assert not (tmp_path / "work").exists()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b">a\nMKV\n")))
    kept = kept_input("-", tmp_path / "work")
    assert kept.read_bytes() == b">a\nMKV\n"
    assert kept.is_relative_to(tmp_path / "work")
    assert input_checksum(kept) == hashlib.sha256(b">a\nMKV\n").hexdigest()


def test_what_is_no_input(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        input_checksum(tmp_path / "none")
    with pytest.raises(InputError, match=r"is a directory\. Give a FASTA file"):
        input_checksum(tmp_path)
