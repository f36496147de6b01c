"""What commands say where there is no terminal."""

import sys

import pytest

from seqscan.cli.console import described, progress_bars
from seqscan.stages import Stage


def test_stages_say_what_they_do():
    assert described("embed") == "embed: encode the proteins"
    assert described("embed_again") == "embed_again: encode the proteins by the new encoder"
    assert described("searches of 400 proteins") == "searches of 400 proteins"


@pytest.mark.parametrize(("seconds", "said"), [(0.0, ["  3 of 9"]), (30.0, [])])
def test_lines_of_progress_come_now_and_then(monkeypatch, capsys, seconds, said):
    # `seqscan.cli.console` is the console itself.
    monkeypatch.setattr(sys.modules["seqscan.cli.console"], "SECONDS_BETWEEN_LINES", seconds)
    with progress_bars() as (start, end, progress):
        start("assign")
        progress(3, 9)
        end(Stage("assign", "", "done", 1.25, 0.0))
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["assign: assign all proteins ...", *said, "assign: 1.2 s"]


def test_nothing_is_shown_by_the_other_ranks(capsys):
    with progress_bars(shown=False) as (start, _, progress):
        start("assign")
        progress(3, 9)
    assert capsys.readouterr().err == ""
