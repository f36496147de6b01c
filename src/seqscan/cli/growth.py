"""The command that takes new proteins into a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seqscan.cli.console import progress_bars
from seqscan.cli.options import N_THREADS, Input, MaxLength, ModelPath, Seed, Threads


def update(
    source: Input,
    model: ModelPath,
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder for tables and model.")],
    novelty: Annotated[
        float, typer.Option(metavar="RATE", help="Share of known proteins that may be taken for novel.")
    ] = 0.01,
    align: Annotated[bool, typer.Option(help="Use MMseqs2 to relate novel proteins.")] = True,
    max_length: MaxLength = 100_000,
    seed: Seed = 0,
    threads: Threads = N_THREADS,
) -> None:
    """Add proteins to a finished run: assign them, and grow new clusters from those that fit none."""
    from seqscan.update import UpdateConfig
    from seqscan.update import update as update_all

    config = UpdateConfig(novelty, align, max_length, seed, threads)
    with progress_bars() as (on_start, on_end, on_progress):
        counts = update_all(
            model, source, output, config, on_start=on_start, on_end=on_end, on_progress=on_progress
        )
    for name, value in counts.items():
        if name.startswith("n_"):
            typer.echo(f"{name[2:].replace('_', ' ')}: {value}")
