"""Candidate terms: what each category is, whether the ontology has it, and where it belongs if not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqscan.alphabet import AMINO
from seqscan.ids import whole_proteins
from seqscan.knowledge.categories import Category, stable_id
from seqscan.knowledge.fits import MIN_ANNOTATED, Fit, fit, narrowed
from seqscan.knowledge.ontology import Ontology
from seqscan.knowledge.traits import motif, phrases, shared_phrase, word_shares
from seqscan.wording import percent, plural

__all__ = ["Candidate", "Knowledge", "propose"]

_N_BACKGROUND = 2000
_MAX_NAMED = 4
_ASPECTS = ("molecular_function", "biological_process", "cellular_component")
"""Of GO, in the order in which its own links between them run: a function is part of a process."""


@dataclass(frozen=True)
class Knowledge:
    """What is known of N proteins beside their clusters; whatever is missing is left out of names and texts.

    Attributes
    ----------
    ids : N str
    descriptions : N str, optional
        The rest of each FASTA header.
    sequences : N arrays of residue codes, optional
    ontology : Ontology, optional
    propagated : (N, T) sparse bool, optional
        Propagated annotations.
    representatives : dict of int to str
        Of each cluster.
    """

    ids: Sequence[str]
    descriptions: Sequence[str] = ()
    sequences: Sequence[NDArray[np.uint8]] = ()
    ontology: Ontology | None = None
    propagated: Any = None
    representatives: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Candidate:
    """One category, told.

    Attributes
    ----------
    id : str
        Depends on the members alone.
    name, definition : str
        Generated.
    parents : tuple of (relation, id)
        Terms and candidates; is_a within one aspect, part_of to the others.
    rows : (n,), int64
        Members.
    clusters : tuple of int
    representative : str
    status : str
        "existing": the term `match` says the same; "new": annotated members show that no term does;
        "unknown": too few members are annotated to tell.
    match : str
        The term with the largest overlap of members, or "".
    jaccard : float
        That overlap, among annotated proteins.
    q : float
        Of the overlap (hypergeometric, Benjamini-Hochberg over all categories), 1 if there is none.
    n_annotated : int
    evidence : tuple of str
        Sentences.
    """

    id: str
    name: str
    definition: str
    parents: tuple[tuple[str, str], ...]
    rows: NDArray[np.int64]
    clusters: tuple[int, ...]
    representative: str
    status: str
    match: str
    jaccard: float
    q: float
    n_annotated: int
    evidence: tuple[str, ...]


def propose(found: Sequence[Category], known: Knowledge) -> list[Candidate]:
    """Turn categories into candidate terms.

    Parameters
    ----------
    found : sequence of Category
    known : Knowledge

    Returns
    -------
    list of Candidate
        In the order of `found`; of categories with equal members only the first.

    Notes
    -----
    A category is an existing term if they share half of their annotated proteins or more (Jaccard) and the
    overlap is not chance. If not, its parents are the most specific terms that four fifths of its annotated
    members carry, several if no one of them implies the others, and its parents among the categories. Where
    fewer carry a term, those that do may be a new category below it, see `fits.narrowed`. A name that the
    ontology or another candidate has already gets the id added.
    """
    n_whole = len(found)
    if known.ontology is not None and known.propagated is not None:
        proteins = whole_proteins(known.ids)
        found = [*found, *narrowed(found, known.propagated, known.ontology, proteins=proteins)]
        fits = fit(found, known.propagated, known.ontology, proteins=proteins)
    else:
        fits = [Fit()] * len(found)
    first: dict[str, int] = {}
    ids = []
    for place, category in enumerate(found):
        id = stable_id(known.ids[row] for row in category.rows)
        ids.append(id)
        first.setdefault(id, place)
    background = _Background.of(known)
    taken = {_normal(term.name) for term in known.ontology.terms} if known.ontology else set()
    candidates = []
    for place, category in enumerate(found):
        own = fits[place]
        status = own.status
        # A narrowed category is there to be a new term and else has nothing to say.
        if first[ids[place]] != place or (place >= n_whole and status != "new"):
            continue
        parents = tuple(("is_a", id) for id in _parents(place, found, fits, ids, known))
        traits = background.traits(category)
        representative = _representative(category, known)
        kinds = _kinds(category, known)
        name = _name(own, traits, known, representative if len(kinds) < 2 else _listed(kinds, "or"), status)
        if _normal(name) in taken:
            name = f"{name} ({ids[place]})"
        taken.add(_normal(name))
        evidence = _evidence(category, own, traits, known)
        candidates.append(
            Candidate(
                ids[place], name, _definition(own, traits, known, kinds, representative), parents,
                category.rows, category.clusters, representative, status,
                known.ontology.terms[own.match].id if known.ontology and own.match >= 0 else "",
                own.jaccard, own.q, own.n_annotated, evidence,
            )
        )  # fmt: skip
    return _related(candidates, known.ontology)


def _related(made: list[Candidate], ontology: Ontology | None) -> list[Candidate]:
    """Name the relation to each parent.

    Nothing is a function and a process or a place at once, so a category is a kind of terms of one aspect: of
    the term that it is, else of the first in `_ASPECTS` that it has a parent of.
    """
    if ontology is None:
        return made
    by_id = {candidate.id: candidate for candidate in made}
    known: dict[str, str] = {}

    def aspect(id: str) -> str:
        if id in ontology.row_of:
            return ontology.terms[ontology.row_of[id]].namespace
        if id not in known:
            own = by_id[id]
            above = {aspect(own.match)} if own.status == "existing" else {aspect(p) for _, p in own.parents}
            known[id] = min(above - {""}, key=_rank, default="")
        return known[id]

    return [
        replace(c, parents=tuple(
            ("is_a" if aspect(id) in ("", aspect(c.id)) else "part_of", id) for _, id in c.parents
        ))
        for c in made
    ]  # fmt: skip


def _rank(namespace: str) -> tuple[int, str]:
    return _ASPECTS.index(namespace) if namespace in _ASPECTS else len(_ASPECTS), namespace


def _parents(
    place: int, found: Sequence[Category], fits: list[Fit], ids: list[str], known: Knowledge
) -> tuple[str, ...]:
    """Return the ids above a category.

    A category that is an existing term stands below that term, and what is below it too. One with the same
    members as this one is passed over.
    """
    terms = known.ontology.terms if known.ontology else ()
    above: list[str] = []
    waiting = list(found[place].parents)
    while waiting:
        parent = waiting.pop(0)
        if ids[parent] == ids[place]:
            waiting += found[parent].parents
        else:
            above.append(terms[fits[parent].match].id if fits[parent].status == "existing" else ids[parent])
    if fits[place].status == "existing":
        above.append(terms[fits[place].match].id)
    elif fits[place].status == "new":
        above += [terms[t].id for t in fits[place].above]
    return tuple(dict.fromkeys(above))


@dataclass(frozen=True)
class _Traits:
    phrase: str = ""
    phrase_share: float = 0.0
    motif: str = ""
    motif_share: float = 0.0
    motif_usual: float = 0.0
    median_length: int = 0


@dataclass(frozen=True)
class _Background:
    """What words and residues are usual among all proteins."""

    known: Knowledge
    counts: Counter[str]
    n: int
    words: NDArray[np.float64]

    @classmethod
    def of(cls, known: Knowledge) -> _Background:
        step = max(1, len(known.ids) // _N_BACKGROUND)
        counts: Counter[str] = Counter()
        for text in known.descriptions[::step]:
            counts.update(phrases(text))
        sample = [known.sequences[i] for i in range(0, len(known.sequences), step)]
        words = word_shares(sample) if sample else np.zeros(0)
        return cls(known, counts, len(known.descriptions[::step]), words)

    def traits(self, category: Category) -> _Traits:
        phrase, share = ("", 0.0)
        if self.n:
            texts = [self.known.descriptions[row] for row in category.rows]
            phrase, share = shared_phrase(texts, self.counts, self.n)
        if not len(self.words):
            return _Traits(phrase, share)
        codes = [self.known.sequences[int(row)] for row in category.rows]
        found = motif(codes, self.words, AMINO.symbols[1 : 1 + AMINO.n_residues])
        return _Traits(phrase, share, *found, int(np.median([len(c) for c in codes])))


def _representative(category: Category, known: Knowledge) -> str:
    members = [known.ids[int(row)] for row in category.rows]
    named = [known.representatives[c] for c in category.clusters if c in known.representatives]
    # That of a cluster need not be among the members that a term leaves.
    return next((id for id in named if id in members), members[0])


def _kinds(category: Category, known: Knowledge) -> list[str]:
    """Return what the clusters of a category are called: by their representatives, the first few of them."""
    named = [known.representatives.get(c, f"cluster {c}") for c in category.clusters]
    if len(named) > _MAX_NAMED:
        named[_MAX_NAMED - 1 :] = [plural(len(named) - _MAX_NAMED + 1, "other")]
    return named


def _name(fit: Fit, traits: _Traits, known: Knowledge, kind: str, status: str) -> str:
    terms = known.ontology.terms if known.ontology else ()
    if status == "existing":
        # Editors refuse two terms of one name.
        return f"{terms[fit.match].name}, as found by sequence"
    if traits.phrase:
        genus = traits.phrase
    elif status == "new" and fit.above:
        # Of the aspect that the category is a kind of, as in `_related`; the most specific come first.
        aspect = min((terms[t].namespace for t in fit.above), key=_rank)
        genus = " and ".join([terms[t].name for t in fit.above if terms[t].namespace == aspect][:2])
    else:
        genus = f"protein like {kind}"
        return genus + (f" with {traits.motif} motif" if traits.motif else "")
    return f"{genus}, {kind} type" + (f" with {traits.motif} motif" if traits.motif else "")


def _definition(
    fit: Fit, traits: _Traits, known: Knowledge, kinds: Sequence[str], representative: str
) -> str:
    """Return genus and differentia, from what is known of the members."""
    terms = known.ontology.terms if known.ontology else ()
    enough = fit.n_annotated >= MIN_ANNOTATED
    carried = _listed([f"'{terms[t].name}'" for t in fit.above]) if enough else ""
    marks = [f"carry {carried}"] if carried else []
    if traits.phrase:
        marks.append(f"are mostly described as '{traits.phrase}'")
    if traits.motif:
        marks.append(f"mostly hold the residues {traits.motif}")
    if traits.median_length:
        marks.append(f"are about {traits.median_length} residues long")
    # Members of several clusters are no more than on the average like one of them.
    alike = f"alike in sequence to {representative}"
    text = f"A category of proteins {alike if len(kinds) < 2 else f'of the clusters of {_listed(kinds)}'}"
    return text + (f" that {_listed(marks)}" if marks else "") + "."


def _listed(items: Sequence[str], word: str = "and") -> str:
    """Return texts as a list in a sentence.

    >>> _listed(["a", "b and c", "d"]), _listed(["a", "b"]), _listed(["a"])
    ('a, b and c, and d', 'a and b', 'a')
    """
    if len(items) < 2:
        return "".join(items)
    comma = "," if any(" and " in item for item in items) else ""
    return f"{', '.join(items[:-1])}{comma} {word} {items[-1]}"


def _evidence(category: Category, fit: Fit, traits: _Traits, known: Knowledge) -> tuple[str, ...]:
    n, n_clusters = len(category.rows), len(category.clusters)
    n_proteins = len(np.unique(whole_proteins(known.ids[row] for row in category.rows)))
    members = plural(n, "member") + (f", parts of {plural(n_proteins, 'protein')}," if n_proteins < n else "")
    said = [
        f"{members} in {plural(n_clusters, 'cluster')}"
        + (f" that join at a cosine of {category.cohesion:.2f}" if n_clusters > 1 else "")
    ]
    if known.ontology:
        terms = known.ontology.terms
        unit = "member" if n_proteins == n else "protein"
        said.append(plural(fit.n_annotated, f"annotated {unit}"))
        said += [
            f"{percent(share)} of them carry {terms[t].id} ({terms[t].name})"
            for t, share in zip(fit.above, fit.shares, strict=True)
        ]
        if fit.match >= 0:
            said.append(
                f"the term with the most similar members is {terms[fit.match].id} ({terms[fit.match].name}), "
                f"Jaccard {fit.jaccard:.2f}"
            )
    if traits.phrase:
        said.append(f"{percent(traits.phrase_share)} of the descriptions say '{traits.phrase}'")
    if traits.motif:
        said.append(
            f"{percent(traits.motif_share)} hold the residues {traits.motif}, "
            f"of all {percent(traits.motif_usual)}"
        )
    return tuple(said)


def _normal(name: str) -> str:
    """Return a name as it is compared: words in order of the alphabet, without those that say nothing."""
    words = set(re.findall(r"[a-z0-9]+", name.lower())) - {
        "activity",
        "process",
        "protein",
        "proteins",
        "the",
        "of",
    }
    return " ".join(sorted(words))
