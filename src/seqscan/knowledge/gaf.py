"""Predictions as a file of the Gene Ontology's format GAF 2.2.

The format is described at https://geneontology.org/docs/go-annotation-file-gaf-format-2.2/. It has no place
for a probability, and what reads it takes each row for a fact; so improbable predictions are left out. So is
what GO's rules for annotations do not allow: https://github.com/geneontology/go-site/tree/master/metadata/rules
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple

from seqscan.artifact import VERSION, write_atomically
from seqscan.ids import accession, is_uniprot, plain_accession
from seqscan.knowledge.annotate import Predictions
from seqscan.knowledge.layouts import MIN_PROBABILITY
from seqscan.knowledge.ontology import Ontology, Term

__all__ = ["UNKNOWN_TAXON", "GafRows", "write_gaf"]

UNKNOWN_TAXON = 32644
"""NCBI's number for "unidentified": the column must not be empty."""

_OWN_NAME = "seqscan"
_ASPECTS = {"biological_process": "P", "molecular_function": "F", "cellular_component": "C"}
_RELATIONS = {"P": "involved_in", "F": "enables", "C": "located_in"}
_COMPLEX = "GO:0032991"
"""Protein-containing complex: a protein is part_of such a component, and located_in any other."""
_DO_NOT_ANNOTATE = "gocheck_do_not_annotate"
"""GO's subset of terms that say too little to annotate with (GORULE:0000008)."""
_NOT_WITHOUT_EXPERIMENT = {"GO:0005488", "GO:0005515"}
"""Binding and protein binding, of which evidence IEA is no evidence (GORULE:0000005)."""
_GO_TERM = re.compile(r"GO:\d+")
_REFSEQ = re.compile(r"[ANWXYZ]P_\d+(\.\d+)?")
_DATABASE = re.compile(r"([A-Za-z][\w.-]*):.")
_TAXON = re.compile(r"\bOX=0*([1-9]\d*)\b")
_GENE = re.compile(r"\bGN=(\S.*?)(?=\s+[A-Z]{2}=|$)")
_ENTRY_NAME = re.compile(r"(?:sp|tr)\|[^|]+\|([^|]+)$")


class GafRows(NamedTuple):
    """What became of the predictions that are not known yet.

    Attributes
    ----------
    n_written : int
    n_improbable : int
        Below `layouts.MIN_PROBABILITY`, from which on predictions are read as annotations too.
    n_foreign : int
        With a term that is not of the three aspects of the Gene Ontology; the format has no row for it.
    n_barred : int
        With a term by which GO does not annotate, or not on this evidence.
    n_implied : int
        With a term that a narrower one of the same aspect in the file implies.
    """

    n_written: int
    n_improbable: int
    n_foreign: int
    n_barred: int
    n_implied: int


class _Protein(NamedTuple):
    """The columns of a protein."""

    database: str
    id: str
    symbol: str
    taxon: str
    form: str


def write_gaf(
    found: Predictions,
    path: str | Path,
    *,
    descriptions: Mapping[str, str] | None = None,
    day: date | None = None,
) -> GafRows:
    """Write the terms that are probable and not known yet, with evidence IEA, assigned by seqscan.

    Parameters
    ----------
    found : Predictions
    path : path
    descriptions : dict of str to str, optional
        Of proteins, by id, as UniProt writes them: `OX=` is the taxon, else `UNKNOWN_TAXON`; `GN=` is the
        symbol, else the entry name in the id, else the accession.
    day : date, optional
        Of the annotations; today (UTC) if not given.

    Notes
    -----
    The database is UniProtKB or RefSeq for accessions of their form, that before a colon in other ids, else
    seqscan, which means the user's own. An isoform stands in the last column, its protein in the second.
    Two parts of one protein give a term once. Of terms that imply each other the narrowest are written.
    """
    day = day or datetime.now(UTC).date()
    ontology, texts = found.ontology, descriptions or {}
    complexes = _kinds_of(_COMPLEX, ontology)
    ids = [found.evidence.around.ids[row] for row in found.rows.tolist()]
    proteins = {id: _protein(id, texts.get(id, "")) for id in dict.fromkeys(ids)}
    counts: Counter[str] = Counter()
    # By the protein and the isoform: the terms, with the part of it that has each first.
    wanted: dict[tuple[str, str], dict[int, str]] = {}
    columns = (found.terms.tolist(), found.probabilities.tolist(), found.known.tolist())
    for id, t, probability, known in zip(ids, *columns, strict=True):
        if known:
            continue
        unfit = _unfit(ontology.terms[t], probability)
        counts[unfit] += 1
        if not unfit:
            wanted.setdefault((proteins[id].id, proteins[id].form), {}).setdefault(t, id)
    n_written = n_implied = 0
    with write_atomically(path) as temporary, temporary.open("w", encoding="utf-8") as handle:
        handle.write(f"!gaf-version: 2.2\n!generated-by: {_OWN_NAME}\n!date-generated: {day.isoformat()}\n")
        if ontology.version:
            handle.write(f"!go-version: {ontology.version}\n")
        handle.write(
            "!Predicted from sequence, not curated: terms that are not known yet, of a probability of "
            f"{MIN_PROBABILITY} or more\n"
        )
        for terms in wanted.values():
            narrowest = _narrowest(terms, ontology)
            n_implied += len(terms) - len(narrowest)
            for t, id in terms.items():
                if t not in narrowest:
                    continue
                term, protein = ontology.terms[t], proteins[id]
                aspect = _ASPECTS[term.namespace]
                relation = "part_of" if term.id in complexes else _RELATIONS[aspect]
                cells = (
                    protein.database, protein.id, protein.symbol, relation, term.id,
                    f"{_OWN_NAME}:{VERSION}", "IEA", "", aspect, "", "", "protein", protein.taxon,
                    f"{day:%Y%m%d}", _OWN_NAME, "", protein.form,
                )  # fmt: skip
                handle.write("\t".join(cells) + "\n")
                n_written += 1
    return GafRows(n_written, counts["improbable"], counts["foreign"], counts["barred"], n_implied)


def _unfit(term: Term, probability: float) -> str:
    """Return why a prediction is no row of the file, "" if it is one."""
    if term.namespace not in _ASPECTS or not _GO_TERM.fullmatch(term.id):
        return "foreign"
    if probability < MIN_PROBABILITY:
        return "improbable"
    return "barred" if _DO_NOT_ANNOTATE in term.subsets or term.id in _NOT_WITHOUT_EXPERIMENT else ""


def _narrowest(terms: Iterable[int], ontology: Ontology) -> set[int]:
    """Drop each term that another one of the same aspect implies."""
    of_aspect: dict[int, list[int]] = {}
    for t in terms:
        of_aspect.setdefault(int(ontology.aspects[t]), []).append(t)
    return {t for rows in of_aspect.values() for t in ontology.most_specific(rows)}


def _protein(id: str, description: str) -> _Protein:
    name, plain = accession(id), plain_accession(id)
    form = ""
    stated = _DATABASE.match(id)
    if is_uniprot(plain):
        database = "UniProtKB"
        form = f"{database}:{name}" if name.startswith(f"{plain}-") else ""
        name = plain
    elif _REFSEQ.fullmatch(name):
        database = "RefSeq"
    else:
        database = stated.group(1) if stated else _OWN_NAME
    gene, entry, taxon = _GENE.search(description), _ENTRY_NAME.match(id), _TAXON.search(description)
    symbol = gene.group(1) if gene else entry.group(1) if entry else name
    # A pipe divides values, and a tab cells.
    symbol = " ".join(symbol.replace("|", " ").split())
    return _Protein(database, name, symbol, f"taxon:{taxon.group(1) if taxon else UNKNOWN_TAXON}", form)


def _kinds_of(id: str, ontology: Ontology) -> set[str]:
    """Return a term and all below it over is_a alone: a part of a complex need not be one."""
    kinds = {id}
    for row in ontology.depths.argsort(kind="stable").tolist():
        term = ontology.terms[row]
        if any(relation == "is_a" and parent in kinds for relation, parent in term.parents):
            kinds.add(term.id)
    return kinds
