"""Commands that look inside a protein."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seqscan.cli.options import N_THREADS, Input, MaxLength, ModelPath, Threads


def explain(
    source: Input,
    model: ModelPath,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Table of contributions; Parquet if it ends in .parquet.")
    ],
    cluster: Annotated[
        int | None, typer.Option(min=0, help="Explain this cluster; by default each protein's own.")
    ] = None,
    against_runner_up: Annotated[
        bool, typer.Option("--against-runner-up", help="Add the columns runner_up and lead.")
    ] = False,
    structures: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write a ChimeraX and a PyMOL file for each protein there."),
    ] = None,
    max_length: MaxLength = 100_000,
    threads: Threads = N_THREADS,
) -> None:
    """Say how much each residue speaks for a protein's cluster; with the bias they sum to the logit."""
    import torch

    from seqscan.explain import explain as maps_of
    from seqscan.fasta import RejectionLedger, read_fasta
    from seqscan.model import Model
    from seqscan.results import write_rejected
    from seqscan.tracks import color_structures, write_maps

    torch.set_num_threads(threads)
    ledger = RejectionLedger()
    records = read_fasta(source, rejected=ledger, max_length=max_length)
    maps = maps_of(Model.load(model), records, cluster=cluster, against_runner_up=against_runner_up)
    write_maps(color_structures(maps, structures) if structures else maps, output)
    write_rejected(ledger.rows, output.with_name(f"{output.stem}.rejected.tsv"))
