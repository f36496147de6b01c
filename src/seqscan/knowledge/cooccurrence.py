"""Which terms go together: what a protein's own terms say about its others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from seqscan.knowledge.ontology import Ontology
from seqscan.knowledge.pairs import at, expand

__all__ = ["COOCCURRENCE_FEATURES", "Cooccurrence", "specific"]

COOCCURRENCE_FEATURES = ("cooccurrence_best", "cooccurrence_mean", "n_held", "n_held_in_aspect")


def specific(propagated: Any, ontology: Ontology) -> Any:
    """Drop from each protein's terms those that another one of them implies, (N, T) sparse bool."""
    links = ontology.ancestors.astype(np.int32)
    links = links - sparse.eye_array(len(ontology), dtype=np.int32, format="csr")
    links.eliminate_zeros()
    propagated = propagated.astype(np.int32)
    rest = (propagated - propagated.multiply(propagated @ links > 0)).tocsr()
    rest.eliminate_zeros()
    rest.sort_indices()
    return rest.astype(bool)


@dataclass(frozen=True)
class Cooccurrence:
    """How often the carriers of one term carry another.

    Attributes
    ----------
    propagated : (N, T) sparse bool
        What is known, with the ancestors of each term.
    ontology : Ontology
    proteins : (N,), int64
        Number of the whole protein that each is or is a part of; one part of a protein is counted.
    """

    propagated: Any
    ontology: Ontology
    proteins: NDArray[np.int64]

    @cached_property
    def _counted(self) -> Any:
        """What each whole protein carries, by its first part, (P, T) sparse float32."""
        return self.propagated[np.unique(self.proteins, return_index=True)[1]].astype(np.float32)

    @cached_property
    def _together(self) -> Any:
        return (self._counted.T.tocsr() @ self._counted).tocsr()

    def features(
        self,
        rows: NDArray[np.int64],
        held: Any,
        place: NDArray[np.int64],
        terms: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Return `COOCCURRENCE_FEATURES` for pairs of a protein, `rows[place]`, and a term, (M, 4).

        Parameters
        ----------
        rows : (R,)
        held : (R, T) sparse bool
            Terms of each protein that count as known, the most specific ones; the protein itself is left out
            of what their carriers carry. Without any, the shares are not a number.
        place, terms : (M,)
        """
        aspects = self.ontology.aspects
        n_held = np.diff(held.indptr)
        here = np.zeros((len(rows), len(self.ontology.namespaces)))
        np.add.at(here, (np.repeat(np.arange(len(rows)), n_held), aspects[held.indices]), 1)
        best, mean = np.full(len(place), np.nan, np.float32), np.full(len(place), np.nan, np.float32)
        pair, given = expand(held, place)
        if len(pair):
            own = at(self.propagated[rows], place, terms) > 0
            counts = np.asarray(self._counted.sum(axis=0)).ravel()
            joint = np.maximum(at(self._together, given, terms[pair]) - own[pair], 0)
            # One carrier more that lacks the term, so that a single protein proves nothing.
            share = (joint / np.maximum(counts[given], 1)).astype(np.float32)
            np.fmax.at(best, pair, share)
            n_given = np.where(n_held, n_held, np.nan)[place]
            mean = (np.bincount(pair, share, minlength=len(place)) / n_given).astype(np.float32)
        columns = (best, mean, np.log1p(n_held)[place], np.log1p(here[place, aspects[terms]]))
        return np.stack([np.asarray(column, dtype=np.float32) for column in columns], axis=1)
