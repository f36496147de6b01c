"""An ontology of terms: read, checked and closed under its true-path rule.

An annotation with a term holds for each of its ancestors over is_a and part_of (the true-path rule), so those
two relations make the hierarchy here. Terms that were merged or replaced are found under their old ids too.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import fastobo
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from seqscan.errors import InputError
from seqscan.textfiles import read_bytes
from seqscan.wording import plural

__all__ = ["Ontology", "Term"]

logger = logging.getLogger(__name__)

HIERARCHY = ("is_a", "part_of")
_REMEDY = "Give an ontology in OBO, or in OBO Graphs JSON with a name that says `.json`."


@dataclass(frozen=True)
class Term:
    """One term.

    Attributes
    ----------
    id, name : str
    namespace : str
        For GO one of biological_process, molecular_function and cellular_component.
    definition : str
    parents : tuple of (relation, id)
        Over is_a and part_of.
    subsets : tuple of str
        Names of the subsets that list it.
    """

    id: str
    name: str = ""
    namespace: str = ""
    definition: str = ""
    parents: tuple[tuple[str, str], ...] = ()
    subsets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ontology:
    """T terms in use, and which are above which.

    Attributes
    ----------
    terms : T Term
        Sorted by id; obsolete ones are left out.
    ancestors : (T, T) sparse bool
        Row t marks the ancestors of t and t itself.
    replaced : dict of str to str
        Alternative ids, and obsolete ids with one replacement, to the id in use.
    obsolete : frozenset of str
        Ids that nothing replaces.
    version : str
        As the file states it.

    Examples
    --------
    >>> terms = [Term("T:1", "root"), Term("T:2", "leaf", parents=(("is_a", "T:1"),))]
    >>> ontology = Ontology.of(terms)
    >>> ontology.ancestors.toarray().tolist()
    [[True, False], [True, True]]
    """

    terms: Sequence[Term]
    ancestors: Any
    replaced: dict[str, str] = field(default_factory=dict)
    obsolete: frozenset[str] = frozenset()
    version: str = ""

    @classmethod
    def of(
        cls,
        terms: Iterable[Term],
        *,
        replaced: dict[str, str] | None = None,
        obsolete: Iterable[str] = (),
        version: str = "",
        source: str = "ontology",
    ) -> Ontology:
        """Check and close a set of terms.

        Raises
        ------
        InputError
            If there is no term, an id occurs twice, or a term is its own ancestor.
        """
        ordered = sorted(terms, key=lambda term: term.id)
        row_of = {term.id: row for row, term in enumerate(ordered)}
        if not ordered:
            raise InputError(source, "holds no term that is in use", remedy=_REMEDY)
        if len(row_of) < len(ordered):
            twice = next(a.id for a, b in pairwise(ordered) if a.id == b.id)
            raise InputError(
                source, f"the term {twice} is defined twice", remedy="Keep one of its definitions."
            )
        edges = [
            (row, row_of.get(parent, -1)) for row, term in enumerate(ordered) for _, parent in term.parents
        ]
        missing = sum(parent < 0 for _, parent in edges)
        if missing:
            logger.warning(
                "%s: left out %s to terms that it does not define", source, plural(missing, "link")
            )
        children, parents = np.array([edge for edge in edges if edge[1] >= 0], np.int64).reshape(-1, 2).T
        ancestors = _closure(children, parents, [term.id for term in ordered], source)
        return cls(ordered, ancestors, dict(replaced or {}), frozenset(obsolete), version)

    @classmethod
    def read(cls, path: str | Path) -> Ontology:
        """Read OBO, or OBO Graphs JSON if the name says `.json`; either may be compressed.

        Raises
        ------
        InputError
            If the file is missing or broken, or a term is its own ancestor.
        """
        document = _load(Path(path))
        terms: list[Term] = []
        replaced: dict[str, str] = {}
        obsolete: dict[str, list[str]] = {}
        default = next(
            (str(c.raw_value()) for c in document.header if c.raw_tag() == "default-namespace"), ""
        )
        for frame in document:
            if not isinstance(frame, fastobo.term.TermFrame):
                continue
            clauses: dict[str, list[Any]] = {}
            for clause in frame:
                clauses.setdefault(clause.raw_tag(), []).append(clause)
            id = str(frame.id)
            if _first(clauses, "is_obsolete") == "true":
                obsolete[id] = [str(clause.term) for clause in clauses.get("replaced_by", ())]
                continue
            for clause in clauses.get("alt_id", ()):
                replaced[clause.raw_value()] = id
            parents = [("is_a", str(clause.term)) for clause in clauses.get("is_a", ())]
            parents += [
                (str(clause.typedef), str(clause.term))
                for clause in clauses.get("relationship", ())
                if _relation(clause.typedef) in HIERARCHY
            ]
            terms.append(
                Term(
                    id,
                    str(clauses["name"][0].name) if "name" in clauses else "",
                    _first(clauses, "namespace") or default,
                    str(clauses["def"][0].definition) if "def" in clauses else "",
                    tuple((_relation(relation), parent) for relation, parent in parents),
                    tuple(_subset(str(clause.raw_value())) for clause in clauses.get("subset", ())),
                )
            )
        used = {term.id for term in terms}
        # A replacement may have been merged, or replaced, itself. An id in use means what it says.
        successors = {old: new for old, new in replaced.items() if old not in used}
        successors |= {id: targets[0] for id, targets in obsolete.items() if len(targets) == 1}
        replaced = {id: _followed(id, successors) for id in successors}
        replaced = {old: new for old, new in replaced.items() if new in used}
        version = next((str(c.raw_value()) for c in document.header if c.raw_tag() == "data-version"), "")
        return cls.of(
            terms,
            replaced=replaced,
            obsolete=(id for id in obsolete if id not in replaced),
            version=version,
            source=str(path),
        )

    def __len__(self) -> int:
        return len(self.terms)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row of each id in use."""
        return {term.id: row for row, term in enumerate(self.terms)}

    def row(self, id: str) -> int:
        """Return the row of an id, old ones included, or -1."""
        return self.row_of.get(self.replaced.get(id, id), -1)

    @cached_property
    def aspects(self) -> NDArray[np.int64]:
        """Number of each term's namespace in `namespaces`, (T,)."""
        number = {name: i for i, name in enumerate(self.namespaces)}
        return np.array([number[term.namespace] for term in self.terms], dtype=np.int64)

    @cached_property
    def namespaces(self) -> list[str]:
        """Namespaces that occur, sorted."""
        return sorted({term.namespace for term in self.terms})

    @cached_property
    def roots(self) -> NDArray[np.bool_]:
        """Which terms have others below and none above them, (T,); a term that stands alone is none.

        Examples
        --------
        >>> links = [Term("T:1"), Term("T:2", parents=(("is_a", "T:1"),)), Term("T:3")]
        >>> Ontology.of(links).roots.tolist()
        [True, False, False]
        """
        return (self.ancestors.sum(axis=1) == 1) & (self.ancestors.sum(axis=0) > 1)

    @cached_property
    def depths(self) -> NDArray[np.int64]:
        """Steps from the farthest root down to each term, (T,)."""
        depths = np.zeros(len(self), dtype=np.int64)
        # Ancestors have fewer ancestors than their descendants, so this order comes from above.
        for row in np.argsort(np.diff(self.ancestors.indptr), kind="stable").tolist():
            above = [self.row_of[id] for _, id in self.terms[row].parents if id in self.row_of]
            depths[row] = 1 + depths[above].max() if above else 0
        return depths

    def above(self, row: int) -> NDArray[np.int32]:
        """Return the rows of a term and its ancestors."""
        return self.ancestors.indices[self.ancestors.indptr[row] : self.ancestors.indptr[row + 1]]

    @cached_property
    def descendants(self) -> Any:
        """Row t marks the descendants of t and t itself, (T, T) sparse bool."""
        return self.ancestors.T.tocsr()

    def most_specific(self, rows: Iterable[int]) -> list[int]:
        """Drop each row that is an ancestor of another one."""
        chosen = sorted(set(rows))
        implied = {int(up) for row in chosen for up in self.above(row) if up != row}
        return [row for row in chosen if row not in implied]

    def without(self, rows: Iterable[int]) -> Ontology:
        """Return the ontology with some terms taken out; their children lose that parent."""
        gone = {self.terms[row].id for row in rows}
        kept = [
            replace(t, parents=tuple(p for p in t.parents if p[1] not in gone))
            for t in self.terms
            if t.id not in gone
        ]
        replaced = {old: new for old, new in self.replaced.items() if new not in gone}
        return Ontology.of(kept, replaced=replaced, obsolete=self.obsolete, version=self.version)


def _first(clauses: dict[str, list[Any]], tag: str) -> str:
    return str(clauses[tag][0].raw_value()) if tag in clauses else ""


def _subset(name: str) -> str:
    """Return the name that OBO has for a subset; of JSON fastobo gives `go#a` or, of `go#a_b`, `a:b`."""
    return name.rpartition("#")[2].replace(":", "_", 1)


def _followed(id: str, successors: dict[str, str]) -> str:
    """Return the last of the ids that follow on one another, or where they turn in a circle."""
    seen = {id}
    while (following := successors.get(id)) is not None and following not in seen:
        id = following
        seen.add(id)
    return id


def _relation(typedef: object) -> str:
    """Return the plain name of a relation that a file may write as an id."""
    return {"BFO:0000050": "part_of"}.get(str(typedef), str(typedef))


def _load(path: Path) -> Any:
    text = read_bytes(path, remedy=_REMEDY)
    try:
        return _parsed(text, path)
    except (SyntaxError, ValueError, EOFError, OSError) as error:
        # Of a syntax error the message alone names fastobo's stream, not the file.
        where = f"line {error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else str(error)
        reason = " ".join(where.split())[:200]
        raise InputError(str(path), f"is not a readable ontology ({reason})", remedy=_REMEDY) from None


def _parsed(text: bytes, path: Path) -> Any:
    if ".json" in path.suffixes:
        # Of a document without a graph fastobo (0.14) panics, which Python cannot catch as an error.
        document = json.loads(text)
        if not (isinstance(document, dict) and document.get("graphs")):
            raise ValueError("it has no 'graphs'")
        return fastobo.load_graph(io.BytesIO(text))
    return fastobo.load(io.BytesIO(text), threads=1)


def _closure(children: NDArray[np.int64], parents: NDArray[np.int64], ids: list[str], source: str) -> Any:
    """Return the reflexive closure of "has parent", (T, T) CSR, sorted.

    One sparse product for each level, from the roots down: a term's ancestors are its parents' ancestors.
    """
    n = len(ids)
    shape = (n, n)
    links = sparse.csr_array((np.ones(len(children), np.int32), (children, parents)), shape=shape)
    links.sum_duplicates()
    links.data[:] = 1
    waiting = np.diff(links.indptr)
    below = links.T.tocsr()
    level = np.flatnonzero(waiting == 0)
    n_done = 0
    closure = sparse.eye_array(n, dtype=np.int32, format="csr")
    while len(level):
        n_done += len(level)
        pick = sparse.csr_array((np.ones(len(level), np.int32), (level, level)), shape=shape)
        closure = closure + pick @ links @ closure
        closure.data[:] = 1
        waiting = waiting - np.asarray(below[level].sum(axis=0)).ravel()
        waiting[level] = -1
        level = np.flatnonzero(waiting == 0)
    if n_done < n:
        raise InputError(
            source,
            f"a term is its own ancestor: {_cycle(links, waiting > 0, ids)}",
            remedy="An ontology must have no cycle over is_a and part_of; remove one of these links.",
        )
    closure.sort_indices()
    return closure.astype(bool)


def _cycle(links: Any, unfinished: NDArray[np.bool_], ids: list[str]) -> str:
    row = int(np.flatnonzero(unfinished)[0])
    path: list[int] = []
    while row not in path:
        path.append(row)
        above = links.indices[links.indptr[row] : links.indptr[row + 1]]
        row = int(next(parent for parent in above if unfinished[parent]))
    return " -> ".join(ids[i] for i in [*path[path.index(row) :], row])
