"""Stages are done once, and again when what they were made from changed."""

import json

import pytest

from seqscan import stages as module
from seqscan.stages import StageLog, peak_memory_mb


class Work:
    """A stage that counts how often it was done."""

    def __init__(self, folder):
        self.folder = folder
        self.output = folder / "table.tsv"
        self.n_done = 0

    def __call__(self):
        self.n_done += 1
        self.output.write_text("x")

    def run(self, depends_on=None, name="read", make=None):
        self.started, self.ended = [], []
        log = StageLog(self.folder, self.started.append, self.ended.append)
        key = log.run(name, depends_on or {"k": 1}, [self.output], make or self)
        assert log.stages == self.ended
        return key, log.stages[0]


@pytest.fixture
def work(tmp_path):
    return Work(tmp_path)


def test_done_once_then_skipped(work):
    key, stage = work.run()
    assert work.started == ["read"]
    assert (stage.stage, stage.key, stage.status) == ("read", key, "done")
    assert stage.peak_memory_mb > 0
    again, skipped = work.run()
    assert again == key
    assert skipped.status == "skipped"
    assert skipped.seconds == stage.seconds
    assert work.started == []
    assert work.n_done == 1


def test_done_again_when_an_option_changes(work):
    first, _ = work.run({"k": 1})
    second, stage = work.run({"k": 2})
    assert stage.status == "done"
    assert first != second
    assert work.n_done == 2


def test_order_of_options_does_not_matter(work):
    work.run({"a": 1, "b": 2})
    assert work.run({"b": 2, "a": 1})[1].status == "skipped"


def test_names_have_keys_of_their_own(work):
    assert work.run(name="read")[0] != work.run(name="embed")[0]


def test_done_again_when_an_output_vanished(work):
    work.run()
    work.output.unlink()
    assert work.run()[1].status == "done"
    assert work.output.exists()


def test_done_again_by_a_new_release(work, monkeypatch):
    work.run()
    monkeypatch.setattr(module, "VERSION", "9.9")
    assert work.run()[1].status == "done"


@pytest.mark.parametrize("note", ["", "{", "[]", "null", '{"key": 1}'])
def test_a_broken_note_is_no_note(work, note):
    work.run()
    (work.folder / "read.json").write_text(note)
    assert work.run()[1].status == "done"


def test_a_note_with_other_fields_is_no_note(work):
    work.run()
    note = work.folder / "read.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"novelty": 1}))
    assert work.run()[1].status == "done"


def test_a_stage_that_fails_leaves_no_note(work):
    work.run()

    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work.run({"k": 2}, make=fail)
    # Neither of the new options, nor of the old: the outputs may be of either.
    assert list(work.folder.glob("*.json")) == []
    assert work.run({"k": 1})[1].status == "done"


def test_what_an_earlier_call_left_is_forgotten_but_nothing_else(work):
    work.output.write_text("not of this stage")
    StageLog(work.folder).forget("read", [work.output])
    assert work.output.exists()
    work.run()
    StageLog(work.folder).forget("read", [work.output])
    assert not work.output.exists()
    assert list(work.folder.glob("*.json")) == []


def test_peak_memory_is_that_of_a_python_process():
    assert 10 < peak_memory_mb() < 100_000
