"""Commands that read annotations as evidence about finished clusters."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seqscan.cli.console import console
from seqscan.cli.options import (
    N_THREADS,
    AssignmentTable,
    Input,
    MaxLength,
    ModelPath,
    Seed,
    Threads,
    check_outputs,
    named_output,
)
from seqscan.errors import InvalidParameter
from seqscan.wording import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seqscan.knowledge.annotations import Matched

AnnotationFile = Annotated[
    Path,
    typer.Option(
        "--annotations",
        metavar="A",
        help="Known terms of proteins: GAF, GPAD, CAFA, or a table of protein and terms, plain or "
        "compressed.",
    ),
]
OntologyFile = Annotated[
    Path, typer.Option("--ontology", metavar="go.obo", help="OBO or OBO Graphs JSON, plain or compressed.")
]

AlignmentsWanted = Annotated[
    bool | None,
    typer.Option(
        help="Look for similar proteins with MMseqs2 too; by default if it is installed, up to 50,000 "
        "proteins."
    ),
]

TABLE_SUFFIXES = (".tsv", ".txt")
"""Of tables, so that no file says it is CSV, compressed or another of the outputs."""

PageFile = Annotated[
    Path | None,
    typer.Option(
        "--page", help="HTML page that gets this part; by default knowledge.html beside the output."
    ),
]


def enrich(
    assignments: AssignmentTable,
    annotations: AnnotationFile,
    ontology: OntologyFile,
    output: Annotated[Path, named_output("Table of enriched terms.")],
    background: Annotated[
        str,
        typer.Option(
            metavar="annotated|all",
            help="Proteins to compare a cluster with: those in clusters that have a term, or those without "
            "too.",
        ),
    ] = "annotated",
    max_q: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Highest false discovery rate (Benjamini and Hochberg) of the terms to keep.",
        ),
    ] = 0.05,
    page: PageFile = None,
) -> None:
    """Say which terms are enriched in each cluster (hypergeometric test)."""
    from seqscan.ids import whole_proteins
    from seqscan.knowledge.enrich import enrich as test
    from seqscan.knowledge.page import enrichment_part, update_page
    from seqscan.results import Assignments

    page = _page(page, output)
    _check_targets(output, TABLE_SUFFIXES, page=page, inputs=[assignments, annotations, ontology])
    table = Assignments.read(assignments)
    matched = _matched(annotations, ontology, table.ids)
    found = test(
        table.labels, matched.propagated, matched.ontology,
        proteins=whole_proteins(table.ids), background=background, max_q=max_q,
    )  # fmt: skip
    found.write(output)
    part = enrichment_part(found, matched.report())
    update_page(page, "enrichment", part, _source(assignments, annotations, ontology, output))
    n_clusters = len(set(table.labels[table.assigned].tolist()))
    named = len({int(cluster) for cluster in found.clusters})
    typer.echo(
        f"{plural(len(found), 'pair')} of cluster and term at q <= {max_q}, of {found.n_tests} tested; "
        f"{int((found.folded_into < 0).sum())} not implied by a more specific one; "
        f"{named} of {plural(n_clusters, 'cluster')} with one; "
        f"background: {plural(found.background, 'protein')}"
    )


def annotate(
    source: Input,
    model: ModelPath,
    annotations: AnnotationFile,
    ontology: OntologyFile,
    output: Annotated[Path, named_output("Table of predictions.")],
    reference: Annotated[
        Path | None,
        typer.Option(help="FASTA of the annotated proteins; by default those of the run beside the model."),
    ] = None,
    min_probability: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Less probable terms are left out.")
    ] = 0.05,
    alignments: AlignmentsWanted = None,
    residues: Annotated[
        bool, typer.Option(help="Add a column with the residues that speak most for the cluster.")
    ] = True,
    date: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Date of the rows of the GAF; by default today, UTC."),
    ] = None,
    max_length: MaxLength = 100_000,
    seed: Seed = 0,
    threads: Threads = N_THREADS,
) -> None:
    """Predict missing annotations, of known or new proteins, with a calibrated probability and evidence."""
    import numpy as np

    from seqscan.fasta import RejectionLedger, read_fasta
    from seqscan.knowledge.annotate import annotate as predict
    from seqscan.knowledge.annotate import marked_residues
    from seqscan.knowledge.annotations import MIN_PROBABILITY
    from seqscan.knowledge.gaf import write_gaf
    from seqscan.knowledge.reference import Reference
    from seqscan.model import Model
    from seqscan.residues.explain import explain
    from seqscan.results import write_rejected
    from seqscan.threads import use_threads

    cafa, gaf = output.with_name(f"{output.stem}.cafa.txt"), output.with_name(f"{output.stem}.gaf")
    rejected = output.with_name(f"{output.stem}.rejected.tsv")
    _check_targets(
        output, TABLE_SUFFIXES, cafa, gaf, rejected, inputs=[source, annotations, ontology, reference]
    )
    use_threads(threads)
    trained = Model.load(model)
    if reference is None:
        known = Reference.of_run(model)
    else:
        unused = RejectionLedger()
        known = Reference.of_records(read_fasta(reference, rejected=unused, max_length=max_length), trained)
        if unused.rows:
            console.print(f"{reference}: {unused.summary()}, left out", highlight=False, markup=False)
    ledger = RejectionLedger()
    records = list(read_fasta(source, rejected=ledger, max_length=max_length))
    known.check_same(records, source)
    new = [record for record in records if record.id not in known.row_of]
    matched = _matched(annotations, ontology, [*known.ids, *(record.id for record in new)])
    around = known.surroundings(new, trained, matched.propagated, alignments=alignments, threads=threads)
    row_of = {id: row for row, id in enumerate(around.ids)}
    queries = np.array([row_of[record.id] for record in records], dtype=np.int64)
    found = predict(
        around, matched.direct, matched.ontology, queries,
        negated=matched.negated, min_probability=min_probability, seed=seed,
    )  # fmt: skip
    shown = (
        {map.id: marked_residues(map.contributions.tolist()) for map in explain(trained, records)}
        if residues
        else {}
    )
    found.write(output, residues=shown)
    found.write_cafa(cafa)
    rows = write_gaf(
        found, gaf, descriptions={r.id: r.description for r in records},
        day=(date or datetime.now(UTC)).date(),
    )  # fmt: skip
    write_rejected(ledger.rows, rejected)
    typer.echo(
        f"{plural(len(found), 'term')} for {len(set(found.rows.tolist()))} of "
        f"{plural(len(records), 'protein')}, {int((~found.known).sum())} of them new; "
        f"{plural(len(ledger.rows), 'record')} rejected"
    )
    typer.echo(
        f"{gaf.name} has {plural(rows.n_written, 'new term')}; in {output.name} alone: {rows.n_improbable} "
        f"below {MIN_PROBABILITY}, {rows.n_implied} that narrower ones imply, {rows.n_barred} by which GO "
        f"does not annotate so and {rows.n_foreign} outside its aspects"
    )


def audit(
    assignments: AssignmentTable,
    annotations: AnnotationFile,
    ontology: OntologyFile,
    output: Annotated[Path, named_output("Table of annotations, most suspect first.")],
    alignments: AlignmentsWanted = None,
    page: PageFile = None,
    seed: Seed = 0,
    threads: Threads = N_THREADS,
) -> None:
    """Rank existing annotations by how much cluster, neighbors and ontology contradict them.

    Neighbors come from the folder work/ beside the table, as `seqscan run` leaves it; without it, the cluster
    alone speaks.
    """
    import numpy as np

    from seqscan.knowledge.audit import TERM_COLUMNS, term_verdicts
    from seqscan.knowledge.audit import audit as rank
    from seqscan.knowledge.finished import surroundings
    from seqscan.knowledge.page import audit_part, update_page
    from seqscan.results import Assignments
    from seqscan.tables import write_tsv

    page = _page(page, output)
    summary = output.with_name(f"{output.stem}.terms.tsv")
    _check_targets(output, TABLE_SUFFIXES, summary, page=page, inputs=[assignments, annotations, ontology])
    table = Assignments.read(assignments)
    matched = _matched(annotations, ontology, table.ids)
    annotated = np.flatnonzero(np.diff(matched.direct.indptr) > 0)
    around, how = surroundings(table, assignments, annotated, alignments=alignments, threads=threads)
    console.print(f"evidence: {how}", highlight=False, markup=False, soft_wrap=True)
    found = rank(around, matched.direct, matched.ontology, negated=matched.negated, seed=seed)
    found.write(output)
    verdicts = term_verdicts(found, matched.propagated)
    write_tsv(TERM_COLUMNS, verdicts, summary)
    notes = [*matched.report(), f"evidence: {how}"]
    part = audit_part(found, verdicts, notes)
    update_page(page, "audit", part, _source(assignments, annotations, ontology, output))
    n_suspect = int((found.suspicion >= 0.5).sum())
    typer.echo(
        f"{plural(len(found), 'annotation')} ranked; suspicion is 0.5 or more for {n_suspect}; "
        f"{plural(len(verdicts), 'term')} perhaps too broad, too narrow or split, see {summary}"
    )


def ontology(
    run: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of a finished run.")],
    output: Annotated[
        Path,
        named_output("File; .obo, .json, .ofn or .tsv (ROBOT) says the format."),
    ],
    annotations: Annotated[
        Path | None, typer.Option(metavar="A", help="As for enrich; without it, sequences alone.")
    ] = None,
    ontology: Annotated[
        Path | None, typer.Option(metavar="go.obo", help="As for enrich; with --annotations.")
    ] = None,
    page: PageFile = None,
) -> None:
    """Propose an ontology: categories from the clusters, matched to existing terms, and new terms.

    Without annotations the categories come from sequences alone.
    """
    from collections import Counter

    from seqscan.knowledge.candidates import propose
    from seqscan.knowledge.export import SUFFIXES, write_members, write_ontology
    from seqscan.knowledge.finished import categories_of_run
    from seqscan.knowledge.page import ontology_part, update_page

    page = _page(page, output)
    members = output.with_name(f"{output.stem}.members.tsv")
    _check_targets(output, SUFFIXES, members, page=page, inputs=[annotations, ontology])
    if not (run / "model").is_dir():
        folder = run.parent if (run.parent / "model").is_dir() else "what 'seqscan run -o' named"
        raise InvalidParameter(
            "OUT", str(run), "is not the folder of a finished run", remedy=f"Give {folder}."
        )
    if (annotations is None) != (ontology is None):
        given, other = ("annotations", "ontology") if ontology is None else ("ontology", "annotations")
        raise InvalidParameter(
            given,
            str(annotations or ontology),
            f"says nothing without --{other}",
            remedy="Give both or none.",
        )
    found, known = categories_of_run(run)
    clusters = plural(sum(len(c.clusters) == 1 for c in found), "cluster")
    notes = [f"{plural(len(found), 'category', 'categories')} from {clusters}"]
    terms = None
    if annotations is not None and ontology is not None:
        matched = _matched(annotations, ontology, known.ids)
        terms = matched.ontology
        known = replace(known, ontology=terms, propagated=matched.propagated)
        notes += matched.report()
    else:
        notes.append("no annotations were given: sequences alone")
    candidates = propose(found, known)
    write_ontology(candidates, output, ontology=terms)
    write_members(candidates, known.ids, members)
    part = ontology_part(candidates, terms, notes)
    update_page(page, "ontology", part, _source(run / "assignments.tsv", annotations, ontology, output))
    proposed = plural(len(candidates), "category", "categories")
    if terms is None:
        typer.echo(f"{proposed} from sequences alone")
        return
    counts = Counter(candidate.status for candidate in candidates)
    typer.echo(
        f"{proposed}: {plural(counts['existing'], 'existing term')}, {counts['new']} new, "
        f"{counts['unknown']} with too few annotated members to tell"
    )


def _page(page: Path | None, output: Path) -> Path:
    from seqscan.knowledge.page import PAGE_NAME

    return page or output.with_name(PAGE_NAME)


def _source(
    assignments: Path, annotations: Path | None, ontology: Path | None, output: Path
) -> dict[str, str]:
    """Return what a part of the page is from, as its reader knows the files: without folders above."""
    clusters = assignments.resolve()
    files = {"Annotations": annotations, "Ontology": ontology, "Output": output}
    return {"Clusters": f"{clusters.parent.name}/{clusters.name}"} | {
        what: file.name for what, file in files.items() if file is not None
    }


def _check_targets(
    output: Path,
    suffixes: Sequence[str],
    *beside: Path,
    page: Path | None = None,
    inputs: Sequence[str | Path | None],
) -> None:
    """Raise before any work what would else end it half-way, with some of the files written."""
    from seqscan.knowledge.page import read_page

    if output.suffix not in suffixes:
        raise InvalidParameter(
            "output", str(output), "has an unknown suffix", remedy=f"Choose from {', '.join(suffixes)}."
        )
    if page in (output, *beside):
        raise InvalidParameter("page", str(page), "is an output too", remedy="Give another --page.")
    check_outputs(output, *beside, *([page] if page else []), inputs=inputs)
    if page:
        read_page(page)


def _matched(annotations: Path, ontology: Path, ids: Sequence[str]) -> Matched:
    """Read annotations for some proteins and say how well they match, before any result."""
    from seqscan.knowledge.annotations import read_annotations
    from seqscan.knowledge.ontology import Ontology

    matched = read_annotations(annotations, Ontology.read(ontology)).match(ids)
    for line in matched.report():
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return matched
