"""Cluster heads: cosine prototypes on the encoder's vectors, applied in constant time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqscan.errors import ShapeMismatch
from seqscan.results import Assignments
from seqscan.store import unit

__all__ = ["ClusterHead"]


@dataclass(frozen=True)
class ClusterHead:
    """C prototypes; a protein belongs to the one its vector points to.

    `logit_c = (w_c . (x - center)) / (|w_c| |x - center| temperature)`

    Attributes
    ----------
    prototypes : (C, P), float32
        Of length 1; cluster 0 is the largest.
    center : (P,), float32
        Subtracted from every vector.
    temperature : dimensionless, > 0

    Examples
    --------
    >>> head = ClusterHead(np.eye(2, dtype=np.float32), np.zeros(2, dtype=np.float32), 0.1)
    >>> head.assign(["a"], np.array([[0.0, 5.0]], dtype=np.float32)).labels.tolist()
    [1]
    """

    prototypes: NDArray[np.float32]
    center: NDArray[np.float32]
    temperature: float

    def __post_init__(self) -> None:
        if self.prototypes.ndim != 2 or self.center.shape != (self.prototypes.shape[1],):
            raise ShapeMismatch(
                f"prototypes {self.prototypes.shape} and center {self.center.shape} do not fit each other."
            )

    @property
    def n_clusters(self) -> int:
        """Number of prototypes."""
        return len(self.prototypes)

    def logits(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits (N, C) of vectors (N, P)."""
        if vectors.ndim != 2 or vectors.shape[1] != self.prototypes.shape[1]:
            raise ShapeMismatch(
                f"vectors {vectors.shape} do not fit prototypes {self.prototypes.shape}: "
                "they come from another encoder."
            )
        return unit(vectors - self.center) @ unit(self.prototypes).T / np.float32(self.temperature)

    def probabilities(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability (N, C) of each cluster."""
        logits = self.logits(vectors)
        exp = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exp / exp.sum(axis=1, keepdims=True)

    def assign(
        self, ids: Sequence[str], vectors: NDArray[np.float32], *, min_probability: float = 0.0
    ) -> Assignments:
        """Give each protein its most probable cluster and the runner-up.

        Parameters
        ----------
        ids : N str
        vectors : (N, P), float32
        min_probability : probability
            A protein below it stays unassigned.
        """
        probabilities = self.probabilities(vectors)
        rows = np.arange(len(probabilities))
        first = probabilities.argmax(axis=1).astype(np.int32)
        best = probabilities[rows, first].copy()
        if self.n_clusters > 1:
            probabilities[rows, first] = -1.0
            second = probabilities.argmax(axis=1).astype(np.int32)
            second_best = probabilities[rows, second]
        else:
            second, second_best = np.full(len(rows), -1, np.int32), np.zeros(len(rows), np.float32)
        labels = np.where(best >= min_probability, first, -1).astype(np.int32)
        return Assignments(ids, labels, best, second, second_best)

    def ordered_by_size(self, vectors: NDArray[np.float32]) -> ClusterHead:
        """Drop the prototypes that no vector (N, P) points to and number the others by size."""
        sizes = np.bincount(self.logits(vectors).argmax(axis=1), minlength=self.n_clusters)
        order = np.argsort(-sizes, kind="stable")
        return ClusterHead(
            self.prototypes[order[: int((sizes > 0).sum())]].copy(), self.center, self.temperature
        )
