"""Artifacts exist whole or not at all, and are checked when read."""

import errno
import json
import os
import signal
import stat
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from seqscan import artifact
from seqscan.artifact import (
    Manifest,
    check_makeable,
    file_checksum,
    read_manifest,
    scratch_folder,
    write_artifact,
    write_atomically,
)
from seqscan.errors import ArtifactError


@pytest.fixture
def example(tmp_path):
    path = tmp_path / "example"
    with write_artifact(path, "store", {"seed": 1}) as directory:
        (directory / "a.txt").write_text("alpha")
        (directory / "sub").mkdir()
        (directory / "sub" / "b.txt").write_text("beta")
    return path


@pytest.mark.parametrize("write", [write_atomically, lambda path: write_artifact(path, "store", {})])
def test_what_the_system_refuses_names_what_was_to_be_written(tmp_path, monkeypatch, write):
    def refuse(prefix, dir):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(dir / prefix) + "x7")

    for name in ("mkdtemp", "mkstemp"):
        monkeypatch.setattr(artifact.tempfile, name, refuse)
    for way in (write, lambda path: nullcontext(check_makeable(path))):
        with pytest.raises(OSError, match="cannot be written") as refused, way(tmp_path / "new"):
            pass
        assert (refused.value.errno, refused.value.filename) == (errno.EROFS, str(tmp_path / "new"))


def names(directory):
    return sorted(entry.name for entry in directory.iterdir())


def edit(path, **fields):
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | fields))


def test_round_trip(example):
    manifest = read_manifest(example, "store", verify=True)
    assert (manifest.kind, manifest.content) == ("store", {"seed": 1})
    assert sorted(manifest.files) == ["a.txt", "sub/b.txt"]
    assert manifest.files["a.txt"] == file_checksum(example / "a.txt")


def test_manifest_holds_what_the_block_added(tmp_path):
    content = {}
    with write_artifact(tmp_path / "x", "store", content):
        content["n"] = 3
    assert read_manifest(tmp_path / "x", "store").content == {"n": 3}


def test_nothing_is_left_when_the_block_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), write_artifact(tmp_path / "x", "store", {}) as directory:
        (directory / "a").write_text(str(1 / 0))
    assert names(tmp_path) == []


def test_folders_made_for_an_artifact_go_when_the_block_fails(tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(ValueError, match="no"), write_artifact(tmp_path / "there/new/deep/a", "store", {}):
        raise ValueError("no")
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]


def test_old_artifact_stays_when_the_block_fails(example):
    with pytest.raises(RuntimeError), write_artifact(example, "store", {"seed": 2}):
        raise RuntimeError
    assert read_manifest(example, "store", verify=True).content == {"seed": 1}
    assert names(example.parent) == ["example"]


def test_replaced_by_one_of_its_kind(example):
    with write_artifact(example, "store", {"seed": 2}):
        pass
    assert read_manifest(example, "store", verify=True) == Manifest("store", {"seed": 2}, {})
    assert names(example.parent) == ["example"]


def test_kill_while_the_old_one_is_deleted_leaves_the_new_one_whole(example, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(path, **_):
        raise Killed

    with pytest.raises(Killed), write_artifact(example, "store", {"seed": 2}):
        monkeypatch.setattr(artifact.shutil, "rmtree", killed)
    assert read_manifest(example, "store", verify=True).content == {"seed": 2}


def test_other_things_are_never_replaced(example, tmp_path):
    with pytest.raises(ArtifactError, match="is a store, not a head"), write_artifact(example, "head", {}):
        pytest.fail("the block must not run")
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_text("a")
    with pytest.raises(ArtifactError, match=r"no manifest\.json"), write_artifact(photos, "store", {}):
        pytest.fail("the block must not run")
    file = tmp_path / "file"
    file.write_text("a")
    with pytest.raises(ArtifactError), write_artifact(file, "store", {}):
        pytest.fail("the block must not run")
    assert (photos / "a.jpg").read_text() == file.read_text() == "a"


def test_empty_folder_is_taken(tmp_path):
    (tmp_path / "x").mkdir()
    with write_artifact(tmp_path / "x", "store", {}):
        pass
    assert read_manifest(tmp_path / "x", "store").kind == "store"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"format": 99, "seqscan": "9.9", "novelty": 1}, "has format 99.*Use seqscan 9.9"),
        ({"kind": "head"}, "is a head, not a store"),
        ({"novelty": 1}, "cannot be read"),
        ({"files": []}, "cannot be read"),
        ({"content": None}, "cannot be read"),
        ({"files": {"gone": "0"}}, "gone is missing"),
    ],
)
def test_manifest_that_does_not_fit(example, fields, reason):
    edit(example, **fields)
    with pytest.raises(ArtifactError, match=reason):
        read_manifest(example, "store")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "\x00", '{"kind": "store"}'])
def test_manifest_that_is_none(example, text):
    (example / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_manifest(example, "store")


def test_change_is_found_only_when_asked(example):
    (example / "a.txt").write_text("ALPHA")
    read_manifest(example, "store")
    with pytest.raises(ArtifactError, match=r"a\.txt was changed or damaged"):
        read_manifest(example, "store", verify=True)


def test_no_artifact(tmp_path):
    with pytest.raises(ArtifactError, match=r"no manifest\.json"):
        read_manifest(tmp_path / "none", "store")


def test_atomic_file(tmp_path):
    target = tmp_path / "new" / "table.tsv"
    with write_atomically(target) as temporary:
        temporary.write_text("one")
    with pytest.raises(ZeroDivisionError), write_atomically(target) as temporary:
        temporary.write_text(f"two {1 / 0}")
    assert target.read_text() == "one"
    assert names(target.parent) == ["table.tsv"]


KILLED = """
import os, signal, sys
from pathlib import Path
from seqscan.artifact import write_artifact, write_atomically

folder = Path(sys.argv[1])
with write_artifact(folder / "store", "store", {}) as directory, write_atomically(folder / "a.tsv") as file:
    (directory / "half").write_text("ha")
    file.write_text("ha")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_kill_left_is_removed_by_the_next_write(tmp_path):
    users = {".a.tsv.original", ".a.tsv.abcdefgh", ".store.old", ".other.tsv.seqscan-12345678"}
    for name in users:
        (tmp_path / name).write_text("mine")
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
        assert done.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == len(users) + 4
    with write_atomically(tmp_path / "a.tsv") as temporary:
        temporary.write_text("whole")
    with write_artifact(tmp_path / "store", "store", {}):
        pass
    assert names(tmp_path) == sorted({"a.tsv", "store"} | users)
    assert (tmp_path / ".a.tsv.original").read_text() == "mine"


def test_what_a_live_process_writes_is_left_alone(tmp_path):
    target = tmp_path / "store"
    with write_artifact(target, "store", {"who": "slow"}) as slow:
        with write_artifact(target, "store", {"who": "fast"}):
            pass
        assert slow.is_dir()
    assert read_manifest(target, "store").content == {"who": "slow"}
    with write_atomically(tmp_path / "a") as slow:
        with write_atomically(tmp_path / "a"):
            pass
        slow.write_text("slow")
    assert names(tmp_path) == ["a", "store"]


WAITING = """
import time
from seqscan.artifact import scratch_folder

with scratch_folder() as folder:
    (folder / "hits.tsv").write_text("")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_scratch_of_a_live_process_stays_and_that_of_a_killed_one_goes():
    with subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True) as other:
        theirs = Path(other.stdout.readline().strip())
        with scratch_folder() as mine:
            assert mine.is_dir()
            assert (theirs / "hits.tsv").exists()
        other.kill()
    assert theirs.exists()
    with scratch_folder():
        assert not theirs.exists()


def test_permissions_follow_the_umask(example, tmp_path):
    with write_atomically(tmp_path / "file") as temporary:
        temporary.write_text("")
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE(example.stat().st_mode) == 0o777 & ~umask
    with write_artifact(tmp_path / "arrays", "store", {}) as directory:
        (directory / "sub").mkdir()
        save_file({"a": np.zeros(2)}, directory / "sub" / "a.safetensors")
        (directory / "sub" / "a.safetensors").chmod(0o600)
    mode = (tmp_path / "arrays" / "sub" / "a.safetensors").stat().st_mode
    assert stat.S_IMODE(mode) == 0o666 & ~umask


@pytest.mark.parametrize("relative", [False, True])
def test_a_writer_may_replace_the_file_it_is_given(tmp_path, monkeypatch, relative):
    """As safetensors does: the new file has no lock."""
    monkeypatch.chdir(tmp_path)
    target = Path("table") if relative else tmp_path / "table"
    with write_atomically(target) as temporary:
        other = tmp_path / "other"
        other.write_text("new")
        other.replace(temporary)
    assert target.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["table"]
