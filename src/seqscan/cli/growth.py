"""Commands for inputs that grow, or are larger than memory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seqscan.cli.console import progress_bars
from seqscan.cli.options import (
    N_THREADS,
    Clusters,
    Input,
    MaxLength,
    ModelPath,
    Seed,
    Threads,
    cluster_count,
    typed_command,
)
from seqscan.wording import plural


def update(
    source: Input,
    model: ModelPath,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="New folder for tables of all proteins, grown model, update.json, and a report on those "
            "added.",
        ),
    ],
    novelty: Annotated[
        float | None,
        typer.Option(
            metavar="RATE",
            help="Share of the proteins of known clusters that may be taken for novel, above 0 and below 1: "
            "the higher, the more proteins make clusters of their own. By default that of the update "
            "before; at the first 0.01, or the smallest that the model can tell, which from less than about "
            "1,000 proteins is more.",
        ),
    ] = None,
    align: Annotated[
        bool, typer.Option(help="Align novel proteins with each other, if MMseqs2 is installed.")
    ] = True,
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
            model, source, output, config, command=typed_command(),
            on_start=on_start, on_end=on_end, on_progress=on_progress,
        )  # fmt: skip
    words = {"pooled before": "waited for more like them", "pooled": "wait for more like them"}
    for name, value in counts.items():
        if name.startswith("n_"):
            shown = name[2:].replace("_", " ")
            typer.echo(f"{words.get(shown, shown)}: {value}")
    typer.echo(f"false alarm rate (--novelty): {counts['false_alarm_rate']:g}")
    typer.echo(
        f"all proteins, old and new: {output / 'assignments.tsv'}; clusters: {output / 'clusters.tsv'}; "
        f"grown model: {output / 'model'}; report on those added: {output / 'report.html'}"
    )


def scan(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="Folder that 'seqscan embed' wrote.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for tables and, with --encoder, model.")
    ],
    clusters: Clusters = "auto",
    encoder: Annotated[
        str | None,
        typer.Option(
            metavar="default|PATH",
            help="Encoder that 'embed' was called with: write a model too, for 'assign'; without it only "
            "tables.",
        ),
    ] = None,
    epochs: Annotated[
        int,
        typer.Option(min=1, help="How often each protein is trained on: more takes longer in proportion."),
    ] = 1,
    probe: Annotated[
        int,
        typer.Option(
            min=1,
            help="How thoroughly neighbors are searched for: parts of the store that each protein is "
            "compared with. More find more of the true neighbors, and take longer.",
        ),
    ] = 16,
    seed: Seed = 0,
    threads: Threads = N_THREADS,
) -> None:
    """Cluster the vectors that 'embed' wrote, any number of them, read from disk part by part.

    Nothing is aligned, so take 'run' where memory allows. Also under torchrun, see docs/distributed.md.
    """
    from seqscan.distributed import process_group, rank
    from seqscan.scaling import ScalingConfig, cluster_store
    from seqscan.scan import StreamConfig
    from seqscan.store import EmbeddingStore

    with process_group(), progress_bars() as (on_start, on_end, on_progress):
        config = ScalingConfig(
            n_clusters=cluster_count(clusters),
            n_probe=probe,
            encoder=encoder,
            seed=seed,
            threads=threads,
            stream=StreamConfig(n_epochs=epochs),
        )
        head, _ = cluster_store(
            EmbeddingStore.open(store),
            output,
            config,
            on_start=on_start,
            on_end=on_end,
            on_progress=on_progress,
        )
        if rank() == 0:
            typer.echo(f"{plural(head.n_clusters, 'cluster')}: {output / 'assignments.tsv'}")
