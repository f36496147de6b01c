"""The command line: one thin command for each stage. Torch is loaded by the commands that need it."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from seqscan import __version__
from seqscan.errors import InvalidParameter, SeqscanError

if TYPE_CHECKING:
    from seqscan.discovery import DiscoveryConfig
    from seqscan.stages import Stage

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find the functional categories of proteins with no labels at all.",
)
_console = Console(stderr=True)
_N_THREADS = os.cpu_count() or 1

Input = Annotated[
    str,
    typer.Argument(
        metavar="IN.fasta", help="FASTA or FASTQ, plain, gz, bz2, xz or zst; - is standard input."
    ),
]
Threads = Annotated[int, typer.Option(min=1, help="Processor cores to use.")]
Clusters = Annotated[
    str, typer.Option(metavar="K|auto", help="How many clusters, or auto to find the number.")
]
Seed = Annotated[int, typer.Option(min=0, help="Same seed and threads: same result.")]
Encoder = Annotated[str, typer.Option(metavar="default|PATH", help="Encoder artifact.")]
Neighbors = Annotated[str, typer.Option(metavar="auto|embedding|mmseqs2", help="Where neighbors come from.")]
ModelPath = Annotated[Path, typer.Option("--model", help="Model folder, for instance OUT/model.")]
Finetune = Annotated[bool, typer.Option(help="Train the encoder together with the clusters.")]
MinProbability = Annotated[float, typer.Option(min=0.0, max=1.0, help="Less sure proteins stay unassigned.")]
MaxLength = Annotated[int, typer.Option(min=1, help="Longer records are rejected, residues.")]


@app.command()
def run(
    source: Input,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for tables, model and report.")],
    clusters: Clusters = "auto",
    neighbors: Neighbors = "auto",
    finetune: Finetune = True,
    encoder: Encoder = "default",
    truth: Annotated[Path | None, typer.Option(help="Labels to score with; never used to cluster.")] = None,
    truth_column: Annotated[str, typer.Option(help="Column of the labels.")] = "pfam",
    baselines: Annotated[bool, typer.Option(help="With --truth: run other methods beside.")] = True,
    min_probability: MinProbability = 0.0,
    max_length: MaxLength = 100_000,
    seed: Seed = 0,
    threads: Threads = _N_THREADS,
    memory: Annotated[str, typer.Option(help="Refuse a run that needs more.")] = "8GB",
) -> None:
    """Find clusters: every stage from FASTA to report. A killed run goes on where it was."""
    from seqscan.pipeline import RunConfig
    from seqscan.pipeline import run as run_all

    config = RunConfig(
        discovery=_discovery(clusters, neighbors, finetune, encoder, seed, threads),
        truth=str(truth) if truth else None,
        truth_column=truth_column,
        baselines=baselines,
        min_probability=min_probability,
        max_length=max_length,
        memory_bytes=_bytes(memory),
    )
    command = shlex.join(["seqscan", *sys.argv[1:]])
    with _progress() as (on_start, on_end, on_progress):
        scores = run_all(
            source, output, config, command=command, on_start=on_start, on_end=on_end, on_progress=on_progress
        )
    _say_scores(scores.label_free | scores.labelled)
    typer.echo(f"report: {output / 'report.html'}")


@app.command()
def assign(
    source: Input,
    model: ModelPath,
    output: Annotated[Path, typer.Option("--output", "-o", help="Table of assignments.")],
    rejected: Annotated[
        Path | None, typer.Option(help="Table of rejected records; next to the output by default.")
    ] = None,
    min_probability: MinProbability = 0.0,
    max_length: MaxLength = 100_000,
    threads: Threads = _N_THREADS,
) -> None:
    """Assign proteins to the clusters of a model, in constant time for each."""
    import torch

    from seqscan.artifact import write_atomically
    from seqscan.fasta import RejectionLedger, read_fasta
    from seqscan.model import Model
    from seqscan.results import Assignments, write_rejected

    torch.set_num_threads(threads)
    trained = Model.load(model)
    ledger = RejectionLedger()
    begun = time.monotonic()
    n = 0
    with write_atomically(output) as temporary, temporary.open("w", newline="") as handle:
        writer = Assignments.begin(handle)
        records = read_fasta(source, rejected=ledger, max_length=max_length)
        for block in trained.assign(records, min_probability=min_probability):
            block.append(writer)
            n += len(block)
    rejected = rejected or output.with_name(f"{output.stem}.rejected.tsv")
    write_rejected(ledger.rows, rejected)
    typer.echo(
        f"{n} proteins assigned, {n / (time.monotonic() - begun):.0f} a second; {len(ledger.rows)} rejected"
    )
    if ledger.rows:
        typer.echo(f"rejected: {ledger.summary()}; see {rejected}")


@app.command()
def evaluate(
    assignments: Annotated[Path, typer.Argument(metavar="assignments.tsv")],
    truth: Annotated[Path, typer.Option(help="Table with the columns id and --truth-column.")],
    truth_column: Annotated[str, typer.Option(help="Column of the labels.")] = "pfam",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score assignments against labels; docs/metrics.md defines each figure."""
    from dataclasses import asdict
    from json import dumps

    from seqscan.evaluate import evaluate as score
    from seqscan.results import Assignments, read_truth

    scores = score(Assignments.read(assignments), read_truth(truth, truth_column))
    if json:
        typer.echo(dumps(asdict(scores), indent=1))
    else:
        _say_scores(scores.label_free | scores.labelled)


@app.command()
def explain(
    source: Input,
    model: ModelPath,
    output: Annotated[Path, typer.Option("--output", "-o", help="Table of contributions.")],
    cluster: Annotated[
        int | None, typer.Option(min=0, help="Explain this cluster; by default each protein's own.")
    ] = None,
    max_length: MaxLength = 100_000,
    threads: Threads = _N_THREADS,
) -> None:
    """Say how much each residue speaks for a protein's cluster; with the bias they sum to the logit."""
    import torch

    from seqscan.explain import explain as maps_of
    from seqscan.fasta import RejectionLedger, read_fasta
    from seqscan.model import Model
    from seqscan.results import write_maps, write_rejected

    torch.set_num_threads(threads)
    ledger = RejectionLedger()
    records = read_fasta(source, rejected=ledger, max_length=max_length)
    write_maps(maps_of(Model.load(model), records, cluster=cluster), output)
    write_rejected(ledger.rows, output.with_name(f"{output.stem}.rejected.tsv"))


@app.command()
def benchmark(
    source: Input,
    truth: Annotated[Path, typer.Option(help="Table with the columns id and --truth-column.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the tables.")],
    clusters: Annotated[int, typer.Option(min=2, help="How many clusters.")],
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each method that draws random numbers.")] = 5,
    truth_column: Annotated[str, typer.Option(help="Column of the labels.")] = "pfam",
    encoder: Encoder = "default",
    neighbors: Neighbors = "auto",
    finetune: Finetune = True,
    threads: Threads = _N_THREADS,
) -> None:
    """Cluster by seqscan and by what a user would pick instead, and score all of them."""
    from seqscan.benchmark import COLUMNS, summarize_runs
    from seqscan.benchmark import benchmark as measure

    config = _discovery(str(clusters), neighbors, finetune, encoder, 0, threads)
    rows = measure(
        source, truth, output, config, n_seeds=seeds, truth_column=truth_column, on_line=_console.print
    )
    typer.echo("\t".join(("method", "runs", *COLUMNS)))
    for row in summarize_runs(rows):
        spreads = (f" ± {row[c + '_sd']:.3f}" if c + "_sd" in row else "" for c in COLUMNS)
        cells = (f"{row[c]:.3f}{s}" if c in row else "" for c, s in zip(COLUMNS, spreads, strict=True))
        typer.echo("\t".join((row["method"], str(row["runs"]), *cells)))


@app.command()
def pretrain(
    sources: Annotated[list[str], typer.Argument(metavar="CORPUS.fasta...", help="FASTA files.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Encoder artifact to write.")],
    minutes: Annotated[float | None, typer.Option(min=0.0, help="Training time in all.")] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps in all, instead of minutes.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    homologs: Annotated[
        int, typer.Option(min=0, help="Proteins searched for homologs with MMseqs2.")
    ] = 100_000,
    half: Annotated[bool, typer.Option(help="Store half precision.")] = True,
    seed: Seed = 0,
    threads: Threads = _N_THREADS,
) -> None:
    """Train an encoder on unlabelled proteins."""
    from itertools import chain

    from seqscan.artifact import file_checksum
    from seqscan.corpus import Corpus, write_corpus
    from seqscan.fasta import RejectionLedger, read_fasta
    from seqscan.pretrain import PretrainConfig
    from seqscan.pretrain import pretrain as train
    from seqscan.stages import StageLog

    if (minutes is None) == (steps is None):
        raise InvalidParameter("minutes", minutes, "give either --minutes or --steps")
    config = PretrainConfig(max_steps=steps, minutes=minutes, n_homolog_proteins=homologs, seed=seed)
    folder = output.with_name(output.name + ".training")
    ledgers = [RejectionLedger() for _ in sources]
    readers = (read_fasta(path, rejected=ledger) for path, ledger in zip(sources, ledgers, strict=True))
    notes = folder / "stages"
    notes.mkdir(parents=True, exist_ok=True)
    inputs = {"inputs": [file_checksum(path) for path in sources]}
    StageLog(notes).run(
        "read",
        inputs,
        [folder / "corpus"],
        lambda: write_corpus(folder / "corpus", chain.from_iterable(readers)),
    )
    for path, ledger in zip(sources, ledgers, strict=True):
        if ledger.rows:
            logging.getLogger("seqscan").warning("%s: rejected %s", path, ledger.summary())

    def say(row: dict[str, float]) -> None:
        if row["step"] % 50 == 0 or "validation_recall" in row:
            _console.print(" ".join(f"{name} {value:.5g}" for name, value in row.items()), highlight=False)

    train(
        Corpus.open(folder / "corpus"), output, config, threads=threads, resume=resume, half=half, on_step=say
    )
    typer.echo(f"encoder: {output}")


@app.command()
def embed(
    source: Input,
    output: Annotated[Path, typer.Option("--output", "-o", help="Embedding store to write.")],
    encoder: Encoder = "default",
    max_length: MaxLength = 100_000,
    threads: Threads = _N_THREADS,
) -> None:
    """Write the vector of each protein to a store."""
    import tempfile

    import torch

    from seqscan.artifact import read_manifest
    from seqscan.corpus import write_corpus
    from seqscan.discovery import encoder_checksum
    from seqscan.embed import embed_corpus
    from seqscan.encoder import load_encoder
    from seqscan.fasta import RejectionLedger, read_fasta
    from seqscan.results import write_rejected

    torch.set_num_threads(threads)
    network = load_encoder(encoder)
    ledger = RejectionLedger()
    with tempfile.TemporaryDirectory(prefix="seqscan-") as name:
        corpus = write_corpus(
            Path(name) / "corpus", read_fasta(source, rejected=ledger, max_length=max_length)
        )
        with _progress() as (on_start, _, on_progress):
            on_start("embed")
            # The checksums, not the name: shards are used again only for the same proteins.
            files = read_manifest(corpus.path, "corpus").files
            content = {"encoder": encoder_checksum(network), "input": source, "corpus": files}
            store = embed_corpus(network, corpus, output, content, on_progress=on_progress)
    rejected = output.with_name(f"{output.name}.rejected.tsv")
    write_rejected(ledger.rows, rejected)
    typer.echo(f"{len(store)} vectors of {store.n_dimensions} dimensions; {len(ledger.rows)} rejected")


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder.")] = Path("out/demo"),
    finetune: Finetune = True,
    threads: Threads = _N_THREADS,
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


@app.callback(invoke_without_command=True)
def _global(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"seqscan {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; an error a user can mend is one line, and the exit code is 2."""
    handler = RichHandler(console=_console, show_path=False, show_time=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    warnings.simplefilter("ignore", category=FutureWarning)
    try:
        app()
    except BrokenPipeError:
        sys.exit(1)
    except (SeqscanError, OSError) as error:  # the second: no permission, no space, a folder in the way
        _console.print(f"seqscan: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(2)


def _discovery(
    clusters: str, neighbors: str, finetune: bool, encoder: str, seed: int, threads: int
) -> DiscoveryConfig:
    from seqscan.discovery import DiscoveryConfig

    if clusters != "auto" and not clusters.isdecimal():
        raise InvalidParameter("clusters", clusters, "must be a whole number or 'auto'")
    return DiscoveryConfig(
        n_clusters=None if clusters == "auto" else int(clusters),
        neighbors=neighbors,
        finetune=finetune,
        encoder=encoder,
        seed=seed,
        threads=threads,
    )


def _bytes(text: str) -> int:
    """Read a size such as `8GB` or `500MB`.

    >>> _bytes("1.5GB")
    1500000000
    """
    units = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
    number, unit = text[:-2].strip(), text[-2:].upper()
    try:
        return int(float(number) * units[unit])
    except (KeyError, ValueError, OverflowError):
        raise InvalidParameter("memory", text, "is not a size", remedy="Write for instance 8GB.") from None


@contextmanager
def _progress() -> Iterator[
    tuple[Callable[[str], None], Callable[[Stage], None], Callable[[int, int], None]]
]:
    """Show stages: bars with the remaining time on a terminal, a line for each stage otherwise."""
    if not _console.is_terminal:
        yield (
            lambda name: _console.print(f"{name} ...", highlight=False),
            lambda stage: _console.print(f"{stage.stage}: {_told(stage)}", highlight=False),
            lambda done, total: None,
        )
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_console, transient=True) as bars:
        task: list[Any] = []

        def start(name: str) -> None:
            task.append(bars.add_task(name, total=None))

        def end(stage: Stage) -> None:
            if stage.status == "done":
                bars.remove_task(task.pop())
            bars.console.print(f"{stage.stage}: {_told(stage)}", highlight=False)

        def progress(done: int, total: int) -> None:
            bars.update(task[-1], completed=done, total=total)

        yield start, end, progress


def _told(stage: Stage) -> str:
    return f"{stage.seconds:.1f} s" if stage.status == "done" else "already done"


def _say_scores(scores: dict[str, float]) -> None:
    width = max(map(len, scores), default=0)
    for name, value in scores.items():
        typer.echo(
            f"{name:<{width}}  {value:.4g}" if isinstance(value, float) else f"{name:<{width}}  {value}"
        )


if __name__ == "__main__":
    main()
