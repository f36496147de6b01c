"""Commands that train an encoder and embed proteins with it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from seqscan.cli.console import console, progress_bars, say_rejected, told_if_interrupted, training_line
from seqscan.cli.options import (
    N_THREADS,
    Clusters,
    Encoder,
    Input,
    MaxLength,
    MinProbability,
    Seed,
    Threads,
    check_outputs,
    discovery_config,
    named_output,
)
from seqscan.errors import InputError, InvalidParameter, OneCluster
from seqscan.wording import plural


def pretrain(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="CORPUS.fasta...",
            help="FASTA files, or one folder 'corpus' that an earlier training made of them.",
        ),
    ],
    output: Annotated[Path, named_output("Folder to write the encoder to, for --encoder.")],
    minutes: Annotated[
        float | None, typer.Option(min=0.0, help="How long to train; this or --steps is needed.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="How many batches to train on, instead of --minutes.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on from the last checkpoint; with more minutes or steps, further."),
    ] = False,
    parent: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="default|PATH", help="Encoder to begin with; by default an untrained one."
        ),
    ] = None,
    homologs: Annotated[
        int,
        typer.Option(
            min=0,
            help="How many proteins are aligned with all others (MMseqs2) to learn from their homologs.",
        ),
    ] = 100_000,
    mined: Annotated[
        Path | None,
        typer.Option(
            "--mined",
            help="Homologs that an earlier training on the same proteins left (its .training/homologs).",
        ),
    ] = None,
    learning_rate: Annotated[float, typer.Option(min=0.0, help="Highest learning rate, of AdamW.")] = 1e-3,
    batch_residues: Annotated[int, typer.Option(min=64, help="Residues in a batch.")] = 196_608,
    accumulate: Annotated[
        int, typer.Option(min=1, help="Parts a batch is cut into: less memory, more time.")
    ] = 1,
    half: Annotated[bool, typer.Option(help="Store weights in 16 bits, half the size, or in 32.")] = True,
    seed: Seed = 0,
    threads: Threads = N_THREADS,
) -> None:
    """Train an encoder on unlabelled proteins; alone or under torchrun."""
    from seqscan.corpus import Corpus
    from seqscan.distributed import process_group, rank, wait_for_all
    from seqscan.pretrain import PretrainConfig, check_output
    from seqscan.pretrain import pretrain as train

    def say(row: dict[str, float]) -> None:
        if row["step"] % 50 == 0 or "validation_recall" in row:
            console.print(training_line(row), highlight=False, soft_wrap=True)

    with process_group():
        if (minutes is None) == (steps is None):
            raise InvalidParameter("minutes", minutes, "give either --minutes or --steps")
        check_output(output, resume=resume)
        config = PretrainConfig(
            max_steps=steps,
            minutes=minutes,
            n_homolog_proteins=homologs,
            learning_rate=learning_rate,
            batch_residues=batch_residues,
            accumulate=accumulate,
            seed=seed,
        )
        path = Path(sources[0])
        if not (len(sources) == 1 and path.is_dir()):
            path = output.with_name(output.name + ".training") / "corpus"
            if rank() == 0:
                _read_corpus(sources, path, resume=resume)
            wait_for_all()
        with told_if_interrupted("with --resume the same command goes on from the last checkpoint"):
            train(
                Corpus.open(path), output, config, parent=parent, mined=mined, threads=threads, resume=resume,
                half=half, on_step=say,
            )  # fmt: skip
        if rank() == 0:
            typer.echo(f"encoder: {output}")


def _read_corpus(sources: list[str], path: Path, *, resume: bool) -> None:
    """Read FASTA files into a corpus artifact, once."""
    from itertools import chain

    from seqscan.artifact import read_manifest
    from seqscan.corpus import write_corpus
    from seqscan.fasta import RejectionLedger, read_fasta
    from seqscan.job import input_checksum

    inputs = [input_checksum(Path(name)) for name in sources]
    if path.exists():
        if read_manifest(path, "corpus").content.get("inputs") == inputs:
            return
        if resume:
            raise InputError(
                ", ".join(sources), "is not what the training began with",
                remedy=f"Resume with that, or with {path}, which was made of it.",
            )  # fmt: skip
    ledgers = [RejectionLedger() for _ in sources]
    readers = (read_fasta(name, rejected=ledger) for name, ledger in zip(sources, ledgers, strict=True))
    write_corpus(path, chain.from_iterable(readers), {"inputs": inputs})
    for name, ledger in zip(sources, ledgers, strict=True):
        if ledger.rows:
            logging.getLogger("seqscan").warning("%s: rejected %s", name, ledger.summary())


def embed(
    source: Input,
    output: Annotated[Path, named_output("Folder to write the vectors to, for 'scan' and 'cluster'.")],
    encoder: Encoder = "default",
    max_length: MaxLength = 100_000,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Share the work among the workers of this Ray cluster (extra ray); 'local' starts one here.",
        ),
    ] = None,
    threads: Threads = N_THREADS,
) -> None:
    """Write the vector of each protein to a store, for 'scan'; a killed call goes on. Also under torchrun."""
    import shutil
    from contextlib import nullcontext

    from seqscan.artifact import check_replaceable, read_manifest
    from seqscan.corpus import Corpus, write_corpus
    from seqscan.device import best_device
    from seqscan.distributed import n_ranks, process_group, rank, wait_for_all
    from seqscan.embed import embed_corpus, embed_on_ray, ray_at
    from seqscan.encoder import load_encoder
    from seqscan.fasta import read_fasta
    from seqscan.results import kept_ledger
    from seqscan.threads import use_threads

    use_threads(threads)
    rejected = output.with_name(f"{output.name}.rejected.tsv")
    # Beside the store, not in the machine's temporary folder: every process must see it.
    path = output.with_name(f"{output.name}.corpus")
    with process_group(), kept_ledger(rejected) if rank() == 0 else nullcontext() as ledger:
        if ray is not None:
            if n_ranks() > 1:
                raise InvalidParameter("ray", ray, "torchrun shares the work already")
            ray_at(ray)  # before the input is read
        check_replaceable(output, "store")
        network = load_encoder(encoder).to(best_device())
        if ledger is not None:
            write_corpus(path, read_fasta(source, rejected=ledger, max_length=max_length))
        wait_for_all()
        corpus = Corpus.open(path)
        # The checksums, not the name: parts are used again only for the same proteins.
        files = read_manifest(corpus.path, "corpus").files
        content = {"encoder": network.checksum(), "input": source, "corpus": files}
        held = read_manifest(output, "store").content if (output / "manifest.json").exists() else content
        wait_for_all()  # every process has looked
        if any(held.get(name) != content[name] for name in ("encoder", "corpus")):
            if ledger is not None:
                shutil.rmtree(path)
            others = "by another encoder" if held.get("corpus") == files else "of other proteins"
            raise InvalidParameter(
                "output", str(output), f"holds vectors {others}, made from {held.get('input')}",
                remedy="Give another folder, or remove this one first.",
            )  # fmt: skip
        with progress_bars(shown=rank() == 0) as (on_start, _, on_progress):
            on_start("embed")
            if ray is None:
                store = embed_corpus(network, corpus, output, content, on_progress=on_progress)
            else:
                store = embed_on_ray(
                    network, corpus, output, content, address=ray, threads=threads, on_progress=on_progress
                )
        if ledger is not None:
            shutil.rmtree(path)
            typer.echo(
                f"{plural(len(store), 'vector')} of {store.n_dimensions} dimensions; "
                f"{len(ledger.rows)} rejected"
            )


def cluster(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="VECTORS",
            help="Vectors, one a protein: HDF5 (.h5) with a dataset for each, named by its id; .npy with its "
            "ids in NAME.ids.txt, one a line; .parquet with a column id and one of lists, or one for each "
            "dimension; or the folder that 'embed' wrote.",
        ),
    ],
    output: Annotated[Path, named_output("Table of assignments.")],
    fasta: Annotated[
        str | None,
        typer.Option(help="Check that the vectors are of the proteins in this file, all and no others."),
    ] = None,
    clusters: Clusters = "auto",
    min_probability: MinProbability = 0.0,
    seed: Seed = 0,
    threads: Threads = N_THREADS,
) -> None:
    """Cluster vectors that another program made, in memory; writes a table of assignments and nothing else.

    For sequences take 'run', which aligns them too; for vectors of 'embed' that do not fit into memory,
    'scan'.
    """
    from seqscan.embeddings import read_embeddings
    from seqscan.estimator import SCANClusterer
    from seqscan.fasta import read_fasta
    from seqscan.results import kept_ledger
    from seqscan.threads import use_threads

    rejected = output.with_name(f"{output.stem}.rejected.tsv")
    check_outputs(output, *([rejected] if fasta else []), inputs=[source, fasta])
    use_threads(threads)
    n_clusters = discovery_config(clusters, "embedding", False, "default", seed, threads).n_clusters
    found = read_embeddings(source)
    ids, vectors = found.ids, found.vectors
    if fasta is not None:
        with kept_ledger(rejected) as ledger:
            ids = [record.id for record in read_fasta(fasta, rejected=ledger)]
        vectors = found.in_order_of(ids, source=str(source), ignored={row.id for row in ledger.rows})
    if len(ids) < 2:
        raise InputError(str(source), "holds one vector", remedy="Give those of two proteins or more.")
    model = SCANClusterer(n_clusters, random_state=seed).fit(vectors)
    if model.head_.n_clusters < 2:  # of two or three vectors; more are refused where they are clustered
        raise OneCluster(n_clusters)
    assignments = model.head_.assign(ids, vectors, min_probability=min_probability)
    assignments.write(output)
    n_used = len(set(assignments.labels[assignments.assigned].tolist()))
    typer.echo(f"{plural(len(ids), 'protein')} in {plural(n_used, 'cluster')}: {output}")
    if fasta is not None:
        say_rejected(ledger, rejected)
