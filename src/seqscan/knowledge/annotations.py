"""Annotations of proteins with the terms of an ontology, from the files people have.

Read are GAF 2.x, GPAD 1.x and 2.0, CAFA files, and tables of a protein and its terms; `docs/knowledge.md`
lists the layouts. Nothing that does not fit is dropped silently: each file comes with the counts of what was
not used, and each use of it with how many proteins were found by id, where such work usually fails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from seqscan.errors import InputError
from seqscan.ids import Found, Names
from seqscan.knowledge.layouts import MIN_PROBABILITY, REMEDY, read_rows
from seqscan.knowledge.ontology import Ontology
from seqscan.wording import percent, plural

__all__ = ["Annotations", "Matched", "propagate", "read_annotations"]

_N_EXAMPLES = 3


@dataclass(frozen=True)
class Annotations:
    """Which terms P proteins carry, as one file says.

    Attributes
    ----------
    ontology : Ontology
    proteins : P str
    direct : (P, T) sparse bool
        As annotated, ids brought up to date.
    negated : (P, T) sparse bool
        Stated not to hold (the qualifier NOT).
    source : str
        Name of the file.
    counts : dict of str to int
        Rows read and what became of them; `problems` says it in words.
    examples : dict of str to list of str
        Some ids behind the counts.
    """

    ontology: Ontology
    proteins: Sequence[str]
    direct: Any
    negated: Any
    source: str
    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    @cached_property
    def propagated(self) -> Any:
        """`direct` and all that it implies, (P, T) sparse bool."""
        return propagate(self.direct, self.ontology)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row of each protein."""
        return {protein: row for row, protein in enumerate(self.proteins)}

    def match(self, ids: Sequence[str]) -> Matched:
        """Find proteins by id, see `ids.Names`; one that may mean several annotated ones gets none of them.

        Parameters
        ----------
        ids : N str

        Raises
        ------
        InputError
            If not one is found; the message shows ids of both sides.
        """
        names = Names(self.proteins)
        rows = np.full(len(ids), -1, dtype=np.int64)
        how: Counter[Found] = Counter()
        ambiguous: list[int] = []
        examples: dict[str, list[str]] = {"missing": [], "ambiguous": [], "shared": []}
        for i, id in enumerate(ids):
            candidates, found_by = names.rows(id)
            if len(candidates) == 1:
                rows[i] = candidates[0]
                how[found_by] += 1
            elif candidates:
                ambiguous.append(i)
                if len(ambiguous) <= _N_EXAMPLES:
                    meant = " or ".join(self.proteins[row] for row in candidates[:_N_EXAMPLES])
                    examples["ambiguous"].append(f"{id}: {meant}")
        found = rows >= 0
        if not found.any():
            unclear = "".join(
                f", and {len(ambiguous)} may mean several of them ({example})"
                for example in examples["ambiguous"][:1]
            )
            raise InputError(
                self.source,
                f"no annotation of {plural(len(ids), 'protein')}; they are called {_some(ids)}, "
                f"the annotated ones {_some(self.proteins)}{unclear}",
                remedy="Bring the ids of the two files into one form.",
            )
        # What one entry says counts for each protein found under it; the user must know of these.
        n_of_row = np.bincount(rows[found], minlength=len(self.proteins))
        shared = np.flatnonzero(n_of_row > 1)
        for row in shared[:_N_EXAMPLES].tolist():
            sharing = [ids[i] for i in np.flatnonzero(rows == row)[:_N_EXAMPLES]]
            examples["shared"].append(f"{' and '.join(sharing)}: {self.proteins[row]}")
        nowhere = ~found
        nowhere[ambiguous] = False
        examples["missing"] = [ids[i] for i in np.flatnonzero(nowhere)[:_N_EXAMPLES]]
        pick = sparse.csr_array(
            (np.ones(int(found.sum()), np.int32), (np.flatnonzero(found), rows[found])),
            shape=(len(ids), len(self.proteins)),
        )
        return Matched(
            list(ids),
            (pick @ self.direct.astype(np.int32)).astype(bool),
            (pick @ self.negated.astype(np.int32)).astype(bool),
            self,
            n_exact=how[Found.WHOLE],
            n_by_accession=how[Found.ACCESSION],
            n_by_plain=how[Found.PLAIN],
            n_ambiguous=len(ambiguous),
            n_shared=int(n_of_row[shared].sum()),
            n_unused=int((n_of_row == 0).sum()),
            examples=examples,
        )

    def problems(self) -> list[str]:
        """Say what was read and what was not used, a line for each kind."""
        c = self.counts
        lines = [
            f"{self.source}: {plural(c['pairs'], 'annotation')} of {plural(len(self.proteins), 'protein')} "
            f"with {plural(int((self.direct.sum(axis=0) > 0).sum()), 'term')}"
        ]
        kinds = {
            "replaced": "with an alternative or replaced id, brought up to date",
            "obsolete": "with an obsolete id that nothing replaces, left out",
            "unknown": "with an id that the ontology does not know, left out",
            "negated": "that say NOT, kept apart",
            "no_data": "without knowledge (evidence ND), left out",
            "root": "with a root of the ontology, which says no more than that nothing is known, left out",
            "improbable": f"with a probability below {MIN_PROBABILITY}, left out",
            "empty": "without a term (empty cells), left out",
        }
        for kind, text in kinds.items():
            if c.get(kind):
                shown = f" (such as {', '.join(self.examples[kind])})" if self.examples.get(kind) else ""
                lines.append(f"{c[kind]:,} {text}{shown}")
        return lines


@dataclass(frozen=True)
class Matched:
    """The annotations of N given proteins.

    Attributes
    ----------
    ids : N str
    direct, negated : (N, T) sparse bool
    annotations : Annotations
        Where they come from.
    n_exact, n_by_accession, n_by_plain : int
        Proteins found by their whole id, by the accession within it, and only by that without the number of
        an isoform or of a version.
    n_ambiguous : int
        Not found, because several annotated proteins fit the id equally well.
    n_shared : int
        Found under an entry under which another of the N is found too.
    n_unused : int
        Annotated proteins that are not among the N.
    examples : dict of str to list of str
        Some ids that are "missing", "ambiguous" and "shared".
    """

    ids: list[str]
    direct: Any
    negated: Any
    annotations: Annotations
    n_exact: int
    n_by_accession: int
    n_by_plain: int
    n_ambiguous: int
    n_shared: int
    n_unused: int
    examples: dict[str, list[str]]

    @property
    def ontology(self) -> Ontology:
        """Of the annotations."""
        return self.annotations.ontology

    @cached_property
    def propagated(self) -> Any:
        """`direct` and all that it implies, (N, T) sparse bool."""
        return propagate(self.direct, self.ontology)

    def report(self) -> list[str]:
        """Say how many ids matched and what did not, a line each; to be read before any result."""
        n, n_found = len(self.ids), self.n_exact + self.n_by_accession + self.n_by_plain
        n_missing = n - n_found - self.n_ambiguous
        missing, ambiguous, shared = (
            f"(such as {'; '.join(self.examples[kind])})" for kind in ("missing", "ambiguous", "shared")
        )
        lines = self.annotations.problems()
        ways = [
            (self.n_by_accession, "by the accession within the id"),
            (self.n_by_plain, "only without the number of an isoform or a version"),
        ]
        how = ", ".join(f"{count:,} of them {way}" for count, way in ways if count)
        lines.append(
            f"{n_found:,} of {plural(n, 'protein')} ({percent(n_found, n)}) have annotations"
            f"{how and f' ({how})'}"
        )
        if self.n_shared:
            lines.append(f"{self.n_shared:,} of them share the entry of another one {shared}")
        if self.n_ambiguous:
            lines.append(
                f"{self.n_ambiguous:,} have none because their ids fit several annotated proteins {ambiguous}"
            )
        if n_missing:
            lines.append(f"{n_missing:,} have none {missing}")
        if self.n_unused:
            lines.append(f"{plural(self.n_unused, 'annotated protein')} not among them")
        return lines


def propagate(direct: Any, ontology: Ontology) -> Any:
    """Add to each protein's terms all their ancestors, (P, T) sparse bool."""
    full = direct.astype(np.int32) @ ontology.ancestors.astype(np.int32)
    full.sort_indices()
    return full.astype(bool)


def read_annotations(path: str | Path, ontology: Ontology) -> Annotations:
    """Read annotations; the layout is found from the content.

    Parameters
    ----------
    path : path
        GAF, GPAD, a CAFA file or a table, plain or compressed.
    ontology : Ontology

    Raises
    ------
    InputError
        If the file is missing, empty, of no known layout, or none of its terms is in the ontology.
    """
    path = Path(path)
    counts: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}
    row_of: dict[str, int] = {}
    holding: list[tuple[int, int]] = []
    denied: list[tuple[int, int]] = []
    roots = ontology.roots

    def note(kind: str, term: str) -> None:
        counts[kind] += 1
        shown = examples.setdefault(kind, [])
        if term not in shown and len(shown) < _N_EXAMPLES:
            shown.append(term)

    for protein, term, status in read_rows(path):
        if status == "empty":
            note(status, protein)
            continue
        counts["pairs"] += 1
        if status in ("no_data", "improbable"):
            counts[status] += 1
            continue
        column = ontology.row(term)
        if column < 0:
            note("obsolete" if term in ontology.obsolete else "unknown", term)
            continue
        if term in ontology.replaced:
            note("replaced", term)
        if roots[column]:
            counts["root"] += 1
            continue
        pair = row_of.setdefault(protein, len(row_of)), column
        if status == "negated":
            counts["negated"] += 1
            denied.append(pair)
        else:
            holding.append(pair)
    if not holding:
        raise _nothing_holds(str(path), counts, examples)
    shape = (len(row_of), len(ontology))
    direct, negated = _marked(holding, shape), _marked(denied, shape)
    return Annotations(ontology, list(row_of), direct, negated, path.name, dict(counts), examples)


def _nothing_holds(path: str, counts: Counter[str], examples: dict[str, list[str]]) -> InputError:
    """Return the error of a file in which no annotation holds: empty, all denied, or of another ontology."""
    if not counts["pairs"]:
        return InputError(path, "holds no annotation", remedy=REMEDY)
    unusable = [
        f"; {what} are {counts[kind]} (such as {', '.join(examples[kind])})"
        for kind, what in (("unknown", "unknown"), ("obsolete", "obsolete, and not replaced,"))
        if counts[kind]
    ]
    if not unusable:
        return InputError(
            path,
            f"has no annotation that holds: of {counts['pairs']}, {counts['negated']} say NOT, "
            f"{counts['no_data'] + counts['root']} that nothing is known, "
            f"{counts['improbable']} are improbable",
        )
    return InputError(
        path,
        f"not one of its {plural(counts['pairs'], 'annotation')} has a term of the ontology"
        f"{''.join(unusable)}",
        remedy="Give the ontology that the annotations were made with.",
    )


def _marked(pairs: list[tuple[int, int]], shape: tuple[int, int]) -> Any:
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    matrix = sparse.csr_array((np.ones(len(rows), bool), (rows, columns)), shape=shape)
    matrix.sum_duplicates()
    return matrix


def _some(ids: Sequence[str]) -> str:
    return ", ".join(list(ids)[:_N_EXAMPLES])
