"""What may betray a wrong annotation: what stands around the protein, and what goes with the term."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from seqscan.knowledge.ontology import Ontology
from seqscan.knowledge.support import Evidence

__all__ = ["n_kinds", "signs_of"]


def signs_of(
    evidence: Evidence, direct: Any, ontology: Ontology, rows: NDArray[np.int64], terms: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Return what may betray a wrong annotation, and the term that stands there instead.

    Parameters
    ----------
    evidence : Evidence
        Of N proteins.
    direct : (N, T) sparse bool
        As annotated.
    ontology : Ontology
    rows, terms : (M,), int64
        The annotations, rows ascending.

    Returns
    -------
    signs : (M, F), float32
        `support.FEATURES` first.
    instead : (M,), int64
        The term of the same aspect that the protein's surroundings carry most and it does not, or -1.
    instead_support : (M,), float32
        Its share of the votes.
    """
    unique, place = np.unique(rows, return_inverse=True)
    own = evidence.features(unique, place, terms)
    support = own[:, 0].astype(np.float64)
    # How well the protein's other annotations, and the term's other carriers, are supported.
    n_rows, n_terms = len(unique), len(ontology)
    per_protein = np.bincount(place, minlength=n_rows)
    of_protein = (np.bincount(place, support, minlength=n_rows)[place] - support) / np.maximum(
        per_protein[place] - 1, 1
    )
    per_term = np.bincount(terms, minlength=n_terms)
    of_term = (np.bincount(terms, support, minlength=n_terms)[terms] - support) / np.maximum(
        per_term[terms] - 1, 1
    )
    instead, instead_support = _alternatives(evidence, ontology, unique)
    aspect = ontology.aspects[terms]
    other, other_support = instead[place, aspect], instead_support[place, aspect]
    path = _path_support(evidence, ontology, unique, place, terms)
    given, least = _together(direct, rows, terms, evidence.around.proteins)
    signs = np.column_stack(
        [own, of_protein, per_protein[place], of_term, np.log1p(per_term[terms]), other_support,
         other_support - support, path, given, least, ontology.depths[terms]]
    ).astype(np.float32)  # fmt: skip
    return signs, other, other_support


def n_kinds(evidence: Evidence) -> NDArray[np.int64]:
    """Return how many kinds of others vote on each protein: neighbors, aligned ones, both or none, (N,)."""
    kinds = (np.diff(votes.indptr) > 0 for votes in (evidence.vectors, evidence.alignments))
    return sum(kinds, start=np.zeros(len(evidence.known), np.int64))


def _alternatives(
    evidence: Evidence, ontology: Ontology, unique: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find for each protein and aspect the term that its neighbors vote for most and that it lacks.

    Of equal votes the deepest term: its ancestors come with it.
    """
    votes = (evidence.vectors[unique] + evidence.alignments[unique]) @ evidence.propagated.astype(np.float32)
    votes = (sparse.diags_array(1.0 / np.maximum(n_kinds(evidence)[unique], 1)) @ votes).tocsr()
    missing = (votes - votes.multiply(evidence.propagated[unique].astype(np.float32))).tocoo()
    row, term, value = missing.coords[0], missing.coords[1].astype(np.int64), missing.data
    kept = (value > 1e-3) & ~ontology.roots[term]
    row, term, value = row[kept], term[kept], value[kept]
    aspect = ontology.aspects[term]
    order = np.lexsort((term, ontology.depths[term], value.round(4)))
    instead = np.full((len(unique), len(ontology.namespaces)), -1, np.int64)
    strength = np.zeros(instead.shape, np.float32)
    # Written in rising order, so that the strongest stays.
    instead[row[order], aspect[order]] = term[order]
    strength[row[order], aspect[order]] = value[order]
    return instead, strength


def _path_support(
    evidence: Evidence,
    ontology: Ontology,
    unique: NDArray[np.int64],
    place: NDArray[np.int64],
    terms: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the support of the term's ancestors, rare ones counting more, (M,): branch or leaf?"""
    n_known = max(int(evidence.known.sum()), 1)
    frequency = np.maximum(np.asarray(evidence.propagated.sum(axis=0)).ravel() / n_known, 1e-9)
    information = np.clip(-np.log(frequency), 0, None)
    weighted = sparse.csr_array(ontology.ancestors, dtype=np.float32) @ sparse.diags_array(
        information.astype(np.float32)
    )
    total = np.asarray(weighted.sum(axis=1)).ravel()
    votes = evidence.vectors[unique] @ evidence.propagated.astype(np.float32)
    # (protein x ancestor votes) . (ancestor weights of the term), only for the pairs that are asked for.
    result = np.zeros(len(terms))
    for start in range(0, len(terms), 20_000):
        at = slice(start, start + 20_000)
        both = votes[place[at]].multiply(weighted.tocsr()[terms[at]])
        result[at] = np.asarray(both.sum(axis=1)).ravel()
    return result / np.maximum(total[terms], 1e-9)


def _together(
    direct: Any, rows: NDArray[np.int64], terms: NDArray[np.int64], proteins: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how often a protein's other terms come with this one elsewhere: highest and mean share.

    Of the parts of a protein one is counted, and none for the others.
    """
    used, column = np.unique(terms, return_inverse=True)
    table = sparse.csr_array(
        (np.ones(len(rows), np.float32), (rows, column)), shape=(direct.shape[0], len(used))
    )
    counted = table[np.unique(proteins, return_index=True)[1]]
    n = np.asarray(counted.sum(axis=0)).ravel()
    joint = (counted.T @ counted).tocsr()
    best, mean = np.zeros(len(rows)), np.zeros(len(rows))
    begin = np.searchsorted(rows, np.unique(rows))
    for first, last in zip(begin, [*begin[1:], len(rows)], strict=True):
        own = column[first:last]
        if len(own) < 2:
            continue
        # Share of the carriers of u (rows) that carry t (columns), this protein left out.
        itself = counted[[proteins[rows[first]]]][:, own].toarray()[0]
        block = joint[own][:, own].toarray() - np.outer(itself, itself)
        block /= np.maximum(n[own] - itself, 1.0)[:, None]
        np.fill_diagonal(block, np.nan)
        best[first:last] = np.nanmax(block, axis=0)
        mean[first:last] = np.nanmean(block, axis=0)
    return best, mean
