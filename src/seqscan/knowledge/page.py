"""One HTML page of what was learnt from clusters: enrichment, audit and ontology.

Each command that makes one of the three writes its part and keeps the others, which it reads from the page
itself, so a page beside the outputs grows as commands are run. Like the report it is one file that asks the
network for nothing, and whatever comes from a file is only ever set as text.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from seqscan.artifact import VERSION, write_atomically
from seqscan.errors import InputError
from seqscan.knowledge.audit import Audit
from seqscan.knowledge.candidates import Candidate
from seqscan.knowledge.enrich import Enrichment
from seqscan.knowledge.ontology import Ontology
from seqscan.offline import content_policy, script_json, script_of, template

__all__ = ["PAGE_NAME", "audit_part", "enrichment_part", "ontology_part", "read_page", "update_page"]

logger = logging.getLogger(__name__)

PAGE_NAME = "knowledge.html"
PARTS = ("enrichment", "audit", "ontology")
MAX_CLUSTERS = 1000
MAX_TERMS = 12
MAX_AUDITED = 3000
MAX_CATEGORIES = 20_000

_DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)


def update_page(path: str | Path, part: str, content: dict[str, Any], source: Mapping[str, str]) -> None:
    """Write one part of a page, atomically, and keep its others.

    Parameters
    ----------
    path : path
    part : str
        One of `PARTS`.
    content : dict
        From `enrichment_part`, `audit_part` or `ontology_part`; JSON values.
    source : dict of str to str
        Names of the files that the part is from, by what they are, and of its "Output". A warning says that
        the part of another output is replaced, if it says something else.

    Raises
    ------
    InputError
        If the file is there and is no such page; it is left alone.
    """
    path = Path(path)
    parts = read_page(path)
    made = json.loads(json.dumps(content | {"source": dict(source)}))  # as it is read back
    before = parts.get(part, made)
    replaced = before.get("source", {}).get("Output", source["Output"])
    if replaced != source["Output"] and before | {"source": made["source"]} != made:
        logger.warning(
            "%s: the %s of %s takes the place of that of %s; another --page keeps both",
            path, part, source["Output"], replaced,
        )  # fmt: skip
    parts[part] = made
    parts = {name: parts[name] for name in PARTS if name in parts}
    style, script = template("report.css") + template("knowledge.css"), script_of("knowledge.js")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    html = environment.from_string(template("knowledge.html.jinja")).render(
        policy=content_policy(style, script),
        version=VERSION,
        style=Markup(style),
        script=Markup(script),
        parts=parts,
        payload=Markup(script_json(parts)),
    )
    with write_atomically(path) as temporary:
        temporary.write_bytes(html.encode("utf-8", "replace"))


def enrichment_part(found: Enrichment, notes: Sequence[str]) -> dict[str, Any]:
    """Return the strongest terms of each cluster, by its number; folded ones are left out."""
    clusters = []
    kept = np.flatnonzero(found.folded_into < 0)
    order = kept[np.argsort(found.clusters[kept], kind="stable")]
    numbers, begin = np.unique(found.clusters[order], return_index=True)
    terms = found.ontology.terms
    # Of nothing, NumPy makes one empty part.
    parts = np.split(order, begin[1:]) if len(order) else []
    for number, rows in zip(numbers.tolist(), parts, strict=True):
        shown = [
            [
                terms[int(found.terms[i])].id, terms[int(found.terms[i])].name,
                terms[int(found.terms[i])].namespace, int(found.members[i]), int(found.annotated[i]),
                round(float(found.fold[i]), 2), float(f"{found.q[i]:.2g}"),
            ]
            for i in rows[:MAX_TERMS].tolist()
        ]  # fmt: skip
        clusters.append([number, int(found.cluster_sizes[rows[0]]), len(rows), shown])
    return {
        "notes": list(notes), "background": found.background, "tests": found.n_tests,
        "clusters": clusters[:MAX_CLUSTERS], "n_clusters": len(clusters),
    }  # fmt: skip


def audit_part(found: Audit, verdicts: Sequence[Sequence[object]], notes: Sequence[str]) -> dict[str, Any]:
    """Return the most suspect annotations and the terms that look wrong."""
    rows = [list(row[:7]) for row in found.head(MAX_AUDITED).table()]
    return {
        "notes": list(notes), "n": len(found), "rows": rows,
        "terms": [list(row) for row in verdicts],
    }  # fmt: skip


def ontology_part(
    candidates: Sequence[Candidate], ontology: Ontology | None, notes: Sequence[str]
) -> dict[str, Any]:
    """Return the graph: candidates, and the existing terms they stand below."""
    nodes: list[list[object]] = [
        [
            c.id, c.name, c.status, len(c.rows), [list(link) for link in c.parents], c.definition,
            list(c.evidence), c.match,
        ]
        for c in candidates[:MAX_CATEGORIES]
    ]  # fmt: skip
    if ontology is not None:
        above = {p for c in candidates for _, p in c.parents if p in ontology.row_of}
        rows = sorted({int(up) for id in above for up in ontology.above(ontology.row_of[id])})
        for term in (ontology.terms[row] for row in rows):
            links = [list(link) for link in term.parents if link[1] in ontology.row_of]
            nodes.append([term.id, term.name, "term", 0, links, term.definition, [], ""])
    return {"notes": list(notes), "nodes": nodes, "n": len(candidates)}


def read_page(path: str | Path) -> dict[str, Any]:
    """Return the parts of a page, none if it is not there; raises `InputError` if it is another file."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (UnicodeDecodeError, IsADirectoryError):
        text = ""
    found = _DATA.search(text)
    try:
        parts = json.loads(found.group(1)) if found else None
    except json.JSONDecodeError:
        parts = None
    if not isinstance(parts, dict):
        raise InputError(str(path), "is there and is no page of seqscan", remedy="Give another --page.")
    return parts
