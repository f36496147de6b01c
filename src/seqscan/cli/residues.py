"""Commands that look inside a protein."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seqscan.cli.options import N_THREADS, Input, MaxLength, ModelPath, Threads


def explain(
    source: Input,
    model: ModelPath,
    output: Annotated[Path, typer.Option("--output", "-o", help="Table of contributions.")],
    cluster: Annotated[
        int | None, typer.Option(min=0, help="Explain this cluster; by default each protein's own.")
    ] = None,
    max_length: MaxLength = 100_000,
    threads: Threads = N_THREADS,
) -> None:
    """Say how much each residue speaks for a protein's cluster; with the bias they sum to the logit."""
    import torch

    from seqscan.explain import explain as maps_of
    from seqscan.fasta import read_fasta
    from seqscan.model import Model
    from seqscan.results import kept_ledger, write_maps

    torch.set_num_threads(threads)
    with kept_ledger(output.with_name(f"{output.stem}.rejected.tsv")) as ledger:
        records = read_fasta(source, rejected=ledger, max_length=max_length)
        write_maps(maps_of(Model.load(model), records, cluster=cluster), output)
