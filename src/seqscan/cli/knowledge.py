"""Commands that read annotations as evidence about finished clusters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seqscan.cli.console import console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seqscan.annotations import Matched

AssignmentTable = Annotated[
    Path, typer.Argument(metavar="assignments.tsv", help="Table with the columns id and cluster.")
]
AnnotationFile = Annotated[
    Path, typer.Option("--annotations", metavar="A", help="GAF, GPAD, CAFA, or a table of protein and terms.")
]
OntologyFile = Annotated[
    Path, typer.Option("--ontology", metavar="go.obo", help="OBO or OBO Graphs JSON, plain or compressed.")
]


def enrich(
    assignments: AssignmentTable,
    annotations: AnnotationFile,
    ontology: OntologyFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="Table of enriched terms.")],
    background: Annotated[
        str,
        typer.Option(
            metavar="annotated|all", help="Proteins to compare with: clustered and annotated, or all."
        ),
    ] = "annotated",
    max_q: Annotated[float, typer.Option(min=0.0, max=1.0, help="False discovery rate to keep.")] = 0.05,
) -> None:
    """Say which terms are enriched in each cluster."""
    from seqscan.enrich import enrich as test
    from seqscan.results import Assignments

    table = Assignments.read(assignments)
    matched = _matched(annotations, ontology, table.ids)
    found = test(table.labels, matched.propagated, matched.ontology, background=background, max_q=max_q)
    found.write(output)
    named = len({int(cluster) for cluster in found.clusters})
    typer.echo(
        f"{len(found)} pairs of cluster and term at q <= {max_q}, of {found.n_tests} tested; "
        f"{int((found.folded_into < 0).sum())} are not implied by a more specific one; "
        f"{named} of {len(set(table.labels[table.assigned].tolist()))} clusters have one; "
        f"background: {found.background} proteins"
    )


def _matched(annotations: Path, ontology: Path, ids: Sequence[str]) -> Matched:
    """Read annotations for some proteins and say how well they match, before any result."""
    from seqscan.annotations import read_annotations
    from seqscan.ontology import Ontology

    matched = read_annotations(annotations, Ontology.read(ontology)).match(ids)
    for line in matched.report():
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return matched
