"""Commands that find clusters, assign to them and score them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seqscan.cli.console import console, described, progress_bars, say_rejected, say_scores
from seqscan.cli.options import (
    N_THREADS,
    AssignmentTable,
    Clusters,
    Encoder,
    FalseAlarmRate,
    Finetune,
    IdColumn,
    Input,
    MaxLength,
    MinProbability,
    ModelPath,
    Neighbors,
    Seed,
    Threads,
    check_outputs,
    discovery_config,
    named_output,
    size,
    typed_command,
)
from seqscan.wording import plural

if TYPE_CHECKING:
    from seqscan.pipeline import RunConfig


def run(
    source: Input,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Folder for tables, model and report; called again with other options, they are replaced.",
        ),
    ],
    clusters: Clusters = "auto",
    neighbors: Neighbors = "auto",
    finetune: Finetune = True,
    encoder: Encoder = "default",
    segment: Annotated[
        bool,
        typer.Option(
            "--segment",
            help="The records are whole proteins of several domains: cut them where parts recur in other "
            "proteins, cluster the parts, and write the domains of each protein (domains.tsv).",
        ),
    ] = False,
    context: Annotated[
        Path | None,
        typer.Option(
            metavar="FASTA",
            help="With --segment: further proteins, which show where those of the input part and are not "
            "clustered.",
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            help="Tab-separated table of known families (columns --id-column and --truth-column) to score "
            "the clusters with afterwards; never used to cluster."
        ),
    ] = None,
    truth_column: Annotated[str, typer.Option(help="Which column of --truth has the families.")] = "pfam",
    id_column: IdColumn = "id",
    baselines: Annotated[
        bool,
        typer.Option(help="With --truth: also run and score other methods, k-means, Leiden and MMseqs2."),
    ] = True,
    min_probability: MinProbability = 0.0,
    max_length: MaxLength = 100_000,
    seed: Seed = 0,
    threads: Threads = N_THREADS,
    memory: Annotated[
        str,
        typer.Option(
            help="Memory to keep within, such as 8GB: where a run needs more, it reads vectors from disk in "
            "parts, which is less accurate; what needs more even so is refused."
        ),
    ] = "8GB",
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only say what time, disk and memory it would take, from trial runs on samples of 400 and "
            "1,600 proteins, which take a minute or two each; not with --segment.",
        ),
    ] = False,
) -> None:
    """Find clusters of sequences: every stage from FASTA to report. A killed run goes on where it was.

    This is the command to begin with. For more proteins than --memory allows take 'embed' and then 'scan',
    for vectors that another program made 'cluster'.
    """
    from seqscan.pipeline import RunConfig
    from seqscan.pipeline import run as run_all

    config = RunConfig(
        discovery=discovery_config(clusters, neighbors, finetune, encoder, seed, threads),
        segment=segment,
        context=str(context) if context else None,
        truth=str(truth) if truth else None,
        truth_column=truth_column,
        id_column=id_column,
        baselines=baselines,
        min_probability=min_probability,
        max_length=max_length,
        memory_bytes=size(memory),
    )
    if dry_run:
        say_plan(source, config)
        return
    command = typed_command()
    with progress_bars() as (on_start, on_end, on_progress):
        scores = run_all(
            source, output, config, command=command, on_start=on_start, on_end=on_end, on_progress=on_progress
        )
    say_scores(scores.label_free | scores.labelled)
    typer.echo(f"report: {output / 'report.html'}")


def say_plan(source: str, config: RunConfig) -> None:
    from seqscan.artifact import scratch_folder
    from seqscan.corpus import write_corpus
    from seqscan.fasta import RejectionLedger, read_fasta
    from seqscan.plan import plan

    with scratch_folder() as folder:
        records = read_fasta(source, rejected=RejectionLedger(), max_length=config.max_length)
        corpus = write_corpus(folder / "corpus", records)
        expected = plan(corpus, config, on_start=lambda text: console.print(f"{text} ...", highlight=False))
    typer.echo(f"{plural(expected.n_proteins, 'protein')}, {plural(expected.n_residues, 'residue')}")
    typer.echo(f"{'seconds':>10} {'disk, MB':>10}  stage")
    for stage in expected.stages:
        name = described(stage.stage)
        typer.echo(f"{stage.seconds:>10.1f} {stage.disk_bytes / 1e6:>10.1f}  {name}")
    typer.echo(f"{expected.seconds:>10.1f} {expected.disk_bytes / 1e6:>10.1f}  in all")
    shards = ", working in shards" if expected.streamed else ""
    typer.echo(f"memory: {expected.memory_bytes / 1e9:.1f} GB{shards}")


def assign(
    source: Input,
    model: ModelPath,
    output: Annotated[Path, named_output("Table of assignments.")],
    rejected: Annotated[
        Path | None,
        typer.Option(help="Table of rejected records; by default OUTPUT.rejected.tsv beside the output."),
    ] = None,
    min_probability: MinProbability = 0.0,
    novelty: FalseAlarmRate = None,
    max_length: MaxLength = 100_000,
    threads: Threads = N_THREADS,
) -> None:
    """Assign new proteins to the clusters of a finished run, in constant time for each."""
    from seqscan.artifact import write_atomically
    from seqscan.errors import NoUsableRecord
    from seqscan.fasta import read_fasta
    from seqscan.model import Model
    from seqscan.results import Assignments, kept_ledger
    from seqscan.threads import use_threads

    rejected = rejected or output.with_name(f"{output.stem}.rejected.tsv")
    check_outputs(output, rejected, inputs=[source])
    use_threads(threads)
    trained = Model.load(model)
    begun = time.monotonic()
    n = n_unassigned = n_unsure = 0
    with kept_ledger(rejected) as ledger:
        nothing: NoUsableRecord | None = None
        with write_atomically(output) as temporary, temporary.open("w", newline="") as handle:
            writer = Assignments.begin(handle, with_novelty=novelty is not None)
            records = read_fasta(source, rejected=ledger, max_length=max_length)
            try:
                for block in trained.assign(
                    records, min_probability=min_probability, false_alarm_rate=novelty
                ):
                    block.append(writer)
                    n += len(block)
                    n_unassigned += len(block) - int(block.assigned.sum())
                    n_unsure += int(block.unsure.sum())
            except NoUsableRecord as error:  # not before the table, without a row, is there
                nothing = error
        if nothing is not None:
            raise nothing
    typer.echo(
        f"{n - n_unassigned} assigned, {n_unassigned} unassigned, {len(ledger.rows)} rejected; "
        f"{n / (time.monotonic() - begun):.0f} proteins a second"
    )
    if n_unsure:
        further = ", --novelty tells which are of none of the clusters" if novelty is None else ""
        typer.echo(
            f"assigned with a probability below 0.5: {n_unsure}; --min-probability leaves them unassigned"
            + further
        )
    say_rejected(ledger, rejected)


def evaluate(
    assignments: AssignmentTable,
    truth: Annotated[
        Path,
        typer.Option(
            help="Tab-separated table of known families, with the columns --id-column and --truth-column."
        ),
    ],
    truth_column: Annotated[str, typer.Option(help="Which column of --truth has the families.")] = "pfam",
    id_column: IdColumn = "id",
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with the scores by family size too.")
    ] = False,
) -> None:
    """Score clusters against known families; docs/metrics.md defines each figure."""
    from dataclasses import asdict
    from json import dumps

    from seqscan.evaluate import evaluate as score
    from seqscan.results import Assignments, match_truth, read_truth

    found = Assignments.read(assignments)
    scores = score(found, match_truth(read_truth(truth, truth_column, id_column=id_column), truth, found.ids))
    if json:
        typer.echo(dumps(asdict(scores), indent=1))
    else:
        say_scores(scores.label_free | scores.labelled)


def benchmark(
    source: Input,
    truth: Annotated[
        Path,
        typer.Option(
            help="Tab-separated table of known families, with the columns --id-column and --truth-column."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the tables.")],
    clusters: Annotated[int, typer.Option(min=2, help="How many clusters.")],
    seeds: Annotated[
        int, typer.Option(min=1, help="How often each method that draws random numbers is run.")
    ] = 5,
    truth_column: Annotated[str, typer.Option(help="Which column of --truth has the families.")] = "pfam",
    id_column: IdColumn = "id",
    encoder: Encoder = "default",
    neighbors: Neighbors = "auto",
    finetune: Finetune = True,
    threads: Threads = N_THREADS,
) -> None:
    """Cluster by seqscan and by what a user would pick instead, and score all of them."""
    from seqscan.benchmark import COLUMNS, summarize_runs
    from seqscan.benchmark import benchmark as measure

    config = discovery_config(str(clusters), neighbors, finetune, encoder, 0, threads)
    rows = measure(
        source,
        truth,
        output,
        config,
        n_seeds=seeds,
        truth_column=truth_column,
        id_column=id_column,
        on_line=console.print,
    )
    typer.echo("\t".join(("method", "runs", *COLUMNS)))
    for row in summarize_runs(rows):
        spreads = (f" ± {row[c + '_sd']:.3f}" if c + "_sd" in row else "" for c in COLUMNS)
        cells = (f"{row[c]:.3f}{s}" if c in row else "" for c, s in zip(COLUMNS, spreads, strict=True))
        typer.echo("\t".join((row["method"], str(row["runs"]), *cells)))


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder.")] = Path("out/demo"),
    finetune: Finetune = True,
    threads: Threads = N_THREADS,
) -> None:
    """Cluster the 5,851 bundled protein domains of ten Pfam families and compare with the families."""
    from seqscan.datasets import pfam10_labels, pfam10_sequences

    run(
        str(pfam10_sequences()),
        output,
        clusters="10",
        finetune=finetune,
        truth=pfam10_labels(),
        threads=threads,
    )
