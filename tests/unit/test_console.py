"""What commands say where there is no terminal."""

import sys

import pytest

from seqscan.cli.console import described, progress_bars, training_line
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


@pytest.mark.parametrize(("shown", "said"), [(True, "interrupted; the same command goes on"), (False, "")])
def test_who_interrupts_is_told_how_to_go_on(capsys, shown, said):
    with pytest.raises(KeyboardInterrupt), progress_bars(shown=shown):
        raise KeyboardInterrupt
    assert capsys.readouterr().err.startswith(said)


def test_a_line_of_a_training_says_what_its_figures_are():
    row = {"contrastive": -1.25, "residues": 4096, "masked": 2.5, "step": 1200, "seconds": 90.0}
    row |= {"learning_rate": 5e-4, "residues_per_second": 12345.6, "peak_share": 0.414}
    speed = "learning rate 0.0005, 12,346 residues a second, 41% of the matrix-product peak"
    losses = "step 1,200, 1.5 min: contrastive loss -1.250 nats above chance, masked residues 2.500 nats"
    assert training_line(row) == f"{losses}, {speed}"
    held_out = {"validation_contrastive": -1.0, "validation_masked": 2.75, "validation_recall": 0.5}
    assert training_line(row | held_out) == (
        f"{losses}, held out: contrastive loss -1.000 nats above chance, masked residues 2.750 nats, "
        f"homolog is the nearest of 50%, {speed}"
    )
