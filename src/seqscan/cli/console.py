"""What a command shows while it works, on standard error, and the scores it prints."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from pathlib import Path

    from seqscan.fasta import RejectionLedger
    from seqscan.stages import Stage

console = Console(stderr=True)

SECONDS_BETWEEN_LINES = 30.0

STAGES = {
    "read": "read the input",
    "segment": "cut whole proteins where their alignments change",
    "embed": "encode the proteins",
    "align": "align all proteins with each other",
    "pieces": "put together what alignments and profiles find of each other",
    "frame": "measure the directions of the vectors",
    "neighbors": "find the nearest vectors of each",
    "begin": "choose prototypes, more than clusters",
    "over_provision": "train them",
    "join": "join those that neighbors link",
    "scan": "train the clusters",
    "finetune": "train encoder and clusters together (joint learning)",
    "prior": "learn how long the domains of each cluster are",
    "assign": "assign all proteins",
    "domains": "find the domains of whole proteins",
    "baselines": "cluster by simpler methods, to compare",
    "evaluate": "score",
    "report": "write the report",
}
"""What each stage does, for those who wait for it."""


TRAINING = {
    "contrastive": "contrastive loss {:.3f} nats above chance",
    "masked": "masked residues {:.3f} nats",
    "prototype": "communities {:.3f} nats",
    "validation_contrastive": "held out: contrastive loss {:.3f} nats above chance",
    "validation_masked": "masked residues {:.3f} nats",
    "validation_recall": "homolog is the nearest of {:.0%}",
    "validation_community": "nearest segment is of its community for {:.0%}",
    "learning_rate": "learning rate {:.2g}",
    "residues_per_second": "{:,.0f} residues a second",
    "peak_share": "{:.0%} of the matrix-product peak",
}
"""What the figures of a training are, in the order in which they are said."""

if TYPE_CHECKING:
    OnStage = tuple[Callable[[str], None], Callable[[Stage], None], Callable[[int, int], None]]
    """Told when a stage begins, when it ends, and how far it is."""


@contextmanager
def progress_bars(*, shown: bool = True) -> Iterator[OnStage]:
    """Show stages, or not: on a terminal bars with the remaining time, else lines."""
    if not shown:
        yield (lambda name: None, lambda stage: None, lambda done, total: None)
        return
    with told_if_interrupted("the same command goes on from here"):
        if console.is_terminal:
            with _bars() as told:
                yield told
        else:
            yield _lines()


@contextmanager
def told_if_interrupted(how: str) -> Iterator[None]:
    """Say, where Ctrl-C ends the block, how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        console.print(f"interrupted; {how}", highlight=False, soft_wrap=True)
        raise


@contextmanager
def _bars() -> Iterator[OnStage]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task: list[Any] = []

        def start(name: str) -> None:
            task.append(bars.add_task(described(name), total=None))

        def end(stage: Stage) -> None:
            if stage.status == "done":
                bars.remove_task(task.pop())
            bars.console.print(f"{stage.stage}: {_told(stage)}", highlight=False)

        def progress(done: int, total: int) -> None:
            bars.update(task[-1], completed=done, total=total)

        yield start, end, progress


def _lines() -> OnStage:
    said = time.monotonic()

    def say(text: str) -> None:
        nonlocal said
        said = time.monotonic()
        console.print(text, highlight=False)

    def progress(done: int, total: int) -> None:
        if time.monotonic() - said >= SECONDS_BETWEEN_LINES:
            say(f"  {done} of {total}")

    def start(name: str) -> None:
        say(f"{described(name)} ...")

    def end(stage: Stage) -> None:
        say(f"{stage.stage}: {_told(stage)}")

    return start, end, progress


def described(stage: str) -> str:
    """Return the name of a stage and what it does."""
    name, again = stage.removesuffix("_again"), stage.endswith("_again")
    what = STAGES.get(name)
    return stage if what is None else f"{stage}: {what}{' by the new encoder' if again else ''}"


def _told(stage: Stage) -> str:
    return f"{stage.seconds:.1f} s" if stage.status == "done" else "already done"


def training_line(row: Mapping[str, float]) -> str:
    """Return a row of a training's log as those who wait for it read it."""
    told = ", ".join(words.format(row[name]) for name, words in TRAINING.items() if name in row)
    return f"step {row['step']:,}, {row['seconds'] / 60:.1f} min: {told}"


def say_scores(scores: dict[str, float]) -> None:
    width = max(map(len, scores), default=0)
    for name, value in scores.items():
        if isinstance(value, float) and value < 1:
            value = min(value, 0.9999)  # a share that is not all is not printed as 1
        typer.echo(
            f"{name:<{width}}  {value:.4g}" if isinstance(value, float) else f"{name:<{width}}  {value}"
        )


def say_rejected(ledger: RejectionLedger, path: Path) -> None:
    """Say why records were left out and which table lists them; nothing if none were."""
    if ledger.rows:
        typer.echo(f"rejected: {ledger.summary()}; see {path}")
