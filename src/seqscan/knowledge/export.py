"""Candidate terms as files that ontology editors read: OBO, OBO Graphs JSON, OWL, and a ROBOT template."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import fastobo
from fastobo.doc import OboDoc
from fastobo.header import (
    DefaultNamespaceClause,
    FormatVersionClause,
    HeaderFrame,
    OntologyClause,
    RemarkClause,
)
from fastobo.term import (
    CommentClause,
    DefClause,
    IsAClause,
    NameClause,
    NamespaceClause,
    RelationshipClause,
    TermFrame,
    XrefClause,
)
from fastobo.typedef import TypedefFrame

from seqscan.artifact import write_atomically
from seqscan.errors import InvalidParameter
from seqscan.knowledge.candidates import Candidate
from seqscan.knowledge.ontology import Ontology
from seqscan.tables import write_tsv

__all__ = ["MEMBER_COLUMNS", "NAMESPACE", "SUFFIXES", "document", "write_members", "write_ontology"]

NAMESPACE = "seqscan_category"
SOURCE = "seqscan:clusters"
"""Where definitions are from, an id."""
MEANING = {
    "existing": "an existing term says the same",
    "new": "no existing term fits",
    "unknown": "too few members are annotated to tell whether a term fits",
}
"""Of each status."""
PART_OF = "BFO:0000050"
"""The id that OWL tools know part_of by."""
SUFFIXES = (".obo", ".json", ".ofn", ".tsv")
MEMBER_COLUMNS = ("term", "protein")


def write_ontology(
    candidates: Sequence[Candidate], path: str | Path, *, ontology: Ontology | None = None
) -> None:
    """Write candidates in the format that the suffix names, atomically.

    Parameters
    ----------
    candidates : sequence of Candidate
    path : path
        `.obo`, `.json` (OBO Graphs), `.ofn` (OWL functional syntax) or `.tsv` (a ROBOT template).
    ontology : Ontology, optional
        Its terms that the candidates stand below, and what is above those, are written along, except in the
        template, so that a file opens on its own.

    Raises
    ------
    InvalidParameter
        If the suffix is another one.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise InvalidParameter(
            "output", str(path), "has an unknown suffix", remedy=f"Choose from {', '.join(SUFFIXES)}."
        )
    if path.suffix == ".tsv":
        write_tsv(*_template(candidates), path)
        return
    made = document(candidates, ontology=ontology)
    with write_atomically(path) as temporary:
        if path.suffix == ".obo":
            temporary.write_text(str(made), encoding="utf-8")
        elif path.suffix == ".json":
            temporary.write_text(_graphs(made, candidates), encoding="utf-8")
        else:
            with temporary.open("wb") as handle:
                fastobo.dump_owl(made, handle, format="ofn")


def document(candidates: Sequence[Candidate], *, ontology: Ontology | None = None) -> Any:
    """Return the candidates, and the terms taken along, as a fastobo document in order of the ids.

    Only clauses that all of fastobo's formats keep are used, but for what `_graphs` mends.
    """
    header = HeaderFrame(
        [
            FormatVersionClause("1.4"),
            DefaultNamespaceClause(_ident(NAMESPACE)),
            RemarkClause("Candidate terms proposed by seqscan from clusters of sequences; not reviewed."),
            OntologyClause("seqscan"),
        ]
    )
    frames = [_frame(candidate) for candidate in candidates]
    if ontology is not None:
        frames += [_borrowed(ontology, row) for row in _needed(candidates, ontology)]
    frames.sort(key=lambda frame: str(frame.id))
    if ontology is not None:
        frames.insert(0, TypedefFrame(_ident(PART_OF), [fastobo.typedef.NameClause("part of")]))
    return OboDoc(header, frames)


def _graphs(made: Any, candidates: Sequence[Candidate]) -> str:
    """Return a document as OBO Graphs JSON.

    fastobo leaves comments out and makes addresses of cross-references, which lead nowhere.
    """
    out = io.BytesIO()
    fastobo.dump_graph(made, out)
    graphs = json.loads(out.getvalue())
    by_id = {f"http://purl.obolibrary.org/obo/{c.id.replace(':', '_')}": c for c in candidates}
    for node in graphs["graphs"][0]["nodes"]:
        if candidate := by_id.get(node["id"]):
            meta = node["meta"]
            meta["comments"] = [_comment(candidate)]
            meta["definition"]["xrefs"] = [SOURCE]
            for xref in meta["xrefs"]:
                xref["val"] = candidate.match
    return json.dumps(graphs, ensure_ascii=False)


def write_members(candidates: Sequence[Candidate], ids: Sequence[str], path: str | Path) -> None:
    """Write which proteins each candidate holds, `MEMBER_COLUMNS`."""
    write_tsv(MEMBER_COLUMNS, ((c.id, ids[row]) for c in candidates for row in c.rows.tolist()), path)


def _frame(candidate: Candidate) -> Any:
    clauses: list[Any] = [
        NameClause(candidate.name),
        NamespaceClause(_ident(NAMESPACE)),
        DefClause(candidate.definition, fastobo.xref.XrefList([fastobo.xref.Xref(_ident(SOURCE))])),
        CommentClause(_comment(candidate)),
    ]
    if candidate.status == "existing":
        clauses.append(XrefClause(fastobo.xref.Xref(_ident(candidate.match))))
    return TermFrame(_ident(candidate.id), clauses + _links(candidate.parents))


def _comment(candidate: Candidate) -> str:
    return f"{candidate.status}, {MEANING[candidate.status]}: {'; '.join(candidate.evidence)}"


def _links(parents: Iterable[tuple[str, str]]) -> list[Any]:
    """Return the clauses that name what is above a term, in order."""
    parents = sorted(set(parents))
    return [IsAClause(_ident(id)) for relation, id in parents if relation == "is_a"] + [
        # By the id that the type is defined with: OBO Graphs turns a bare name into another one.
        RelationshipClause(_ident(PART_OF if relation == "part_of" else relation), _ident(id))
        for relation, id in parents
        if relation != "is_a"
    ]


def _needed(candidates: Sequence[Candidate], ontology: Ontology) -> list[int]:
    wanted = {p for c in candidates for _, p in c.parents} | {
        c.match for c in candidates if c.status == "existing"
    }
    rows = {int(up) for id in wanted if id in ontology.row_of for up in ontology.above(ontology.row_of[id])}
    return sorted(rows)


def _borrowed(ontology: Ontology, row: int) -> Any:
    term = ontology.terms[row]
    clauses: list[Any] = [NameClause(term.name), NamespaceClause(_ident(term.namespace or NAMESPACE))]
    if term.definition:
        clauses.append(DefClause(term.definition, fastobo.xref.XrefList([])))
    return TermFrame(_ident(term.id), clauses + _links(term.parents))


def _ident(text: str) -> Any:
    return fastobo.id.parse(text)


def _template(
    candidates: Sequence[Candidate],
) -> tuple[tuple[str, ...], Iterable[tuple[object, ...]]]:
    """Return a ROBOT template: a line of headings, a line of what they mean to ROBOT, then a line a term."""
    header = ("ID", "Label", "Definition", "Parents", "Part of", "Comment", "Status", "Members")
    meaning = (
        "ID", "LABEL", "A IAO:0000115", "SC % SPLIT=|", "SC 'part of' some % SPLIT=|", "A rdfs:comment",
        "", "",
    )  # fmt: skip

    def above(c: Candidate, wanted: str) -> str:
        return "|".join(id for relation, id in c.parents if relation == wanted)

    def rows() -> Iterable[tuple[object, ...]]:
        yield meaning
        for c in candidates:
            # An existing term is not proposed again; what is below it names it as a parent.
            if c.status != "existing":
                yield (
                    c.id, c.name, c.definition, above(c, "is_a"), above(c, "part_of"),
                    "; ".join(c.evidence), c.status, len(c.rows),
                )  # fmt: skip

    return header, rows()
