"""Commands that look inside a protein."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from seqscan.cli.console import say_rejected
from seqscan.cli.options import (
    N_THREADS,
    Input,
    MaxLength,
    ModelPath,
    Threads,
    check_outputs,
    named_output,
)
from seqscan.residues.maps import SPREAD
from seqscan.wording import plural


def explain(
    source: Input,
    model: ModelPath,
    output: Annotated[Path, named_output("Table of contributions; Parquet if it ends in .parquet.")],
    cluster: Annotated[
        int | None, typer.Option(min=0, help="Explain this cluster; by default each protein's own.")
    ] = None,
    against_runner_up: Annotated[
        bool,
        typer.Option(
            "--against-runner-up",
            help="Also say what speaks for the cluster rather than the second best one: columns runner_up "
            "and lead.",
        ),
    ] = False,
    membership: Annotated[
        bool,
        typer.Option(
            "--membership", help="Add the probability of each residue to lie in a domain of the cluster."
        ),
    ] = False,
    structures: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write there, for each protein, a ChimeraX and a PyMOL file that color its structure.",
        ),
    ] = None,
    domains: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the proteins' domains too: .bed, .gff3 or tab-separated."),
    ] = None,
    consensus: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write there, for each cluster, a sequence logo with the mean contributions of its "
            "proteins; needs MMseqs2.",
        ),
    ] = None,
    spread: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="RESIDUES",
            help="How far a residue's share is smoothed along the sequence: standard deviation of a bell "
            "curve, residues; 0 is none.",
        ),
    ] = SPREAD,
    max_length: MaxLength = 100_000,
    threads: Threads = N_THREADS,
) -> None:
    """Say how much each residue speaks for a protein's cluster.

    The contributions of a protein's residues sum to its logit, the number that the cluster's probability is
    computed from: positive ones speak for the cluster.
    """
    from seqscan.fasta import Record, read_fasta
    from seqscan.model import Model
    from seqscan.residues.consensus import consensus_of, first_members, write_consensus
    from seqscan.residues.domains import find_domains
    from seqscan.residues.domains import membership as membership_of
    from seqscan.residues.explain import explain as maps_of
    from seqscan.residues.maps import ActivationMap
    from seqscan.residues.tracks import color_structures, write_domains, write_maps
    from seqscan.results import kept_ledger
    from seqscan.threads import use_threads

    rejected = output.with_name(f"{output.stem}.rejected.tsv")
    check_outputs(output, rejected, *([domains] if domains else []), inputs=[source])
    use_threads(threads)
    trained = Model.load(model)
    with kept_ledger(rejected) as ledger:
        records: Iterable[Record] = read_fasta(source, rejected=ledger, max_length=max_length)
        if domains is not None or membership:
            records = list(records)  # standard input can be read once only
        if domains is not None:
            write_domains(find_domains(trained, records), domains)
        maps = maps_of(trained, records, cluster=cluster, against_runner_up=against_runner_up)
        kept: list[ActivationMap] = []
        if consensus is not None:
            maps = first_members(maps, kept)  # as sharp as they are: members' means need no spreading
        maps = (item.spread(spread) for item in maps)
        if membership:
            inside = membership_of(trained, records, cluster=cluster)
            maps = (
                replace(item, membership=values.astype("f4"))
                for item, values in zip(maps, inside, strict=True)
            )
        if structures is not None:
            maps = color_structures(maps, structures)
        write_maps(maps, output)
        if consensus is not None:
            write_consensus(consensus_of(kept, threads=threads), consensus)
    n_rejected = len(ledger.rows)
    explained, left_out = plural(ledger.n_read - n_rejected, "protein"), plural(n_rejected, "record")
    typer.echo(f"{explained} explained; {left_out} rejected")
    say_rejected(ledger, rejected)


def domains(
    source: Input,
    model: ModelPath,
    output: Annotated[Path, named_output("Table of domains; .bed and .gff3 choose those formats.")],
    min_probability: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Less probable domains are left out. At 0 nearly every protein gets some; 0.9 suits an "
            "input of which most proteins may have none.",
        ),
    ] = 0.0,
    max_length: MaxLength = 100_000,
    threads: Threads = N_THREADS,
) -> None:
    """Find the parts of whole proteins that belong to clusters, in constant time for each protein."""
    from seqscan.fasta import read_fasta
    from seqscan.model import Model
    from seqscan.residues.domains import find_domains
    from seqscan.residues.tracks import write_domains
    from seqscan.results import kept_ledger
    from seqscan.threads import use_threads

    rejected = output.with_name(f"{output.stem}.rejected.tsv")
    check_outputs(output, rejected, inputs=[source])
    use_threads(threads)
    with kept_ledger(rejected) as ledger:
        records = read_fasta(source, rejected=ledger, max_length=max_length)
        found = find_domains(Model.load(model), records, min_probability=min_probability)
        n_domains, n_without = write_domains(found, output)
    typer.echo(
        f"{plural(n_domains, 'domain')}; {plural(n_without, 'protein')} without any; "
        f"{plural(len(ledger.rows), 'record')} rejected"
    )
    say_rejected(ledger, rejected)
