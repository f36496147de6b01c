"""Cluster heads: cosine prototypes on the encoder's vectors, applied in constant time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqscan.errors import ShapeMismatch
from seqscan.results import Assignments
from seqscan.store import unit

__all__ = ["BLOCK_LOGITS", "ClusterHead", "Whitening", "fit_whitening", "fully_whitened", "whiten"]

BLOCK_LOGITS = 1 << 24
"""Logits that are computed at once, 64 MB, and pass away again."""


@dataclass(frozen=True)
class ClusterHead:
    """C prototypes; a protein belongs to the one its vector points to.

    `logit_c = (w_c . z) / (|w_c| |z| temperature)` with `z = (x - center) projection`

    Attributes
    ----------
    prototypes : (C, Q), float32
        Of length 1; cluster 0 is the largest.
    center : (P,), float32
        Subtracted from every vector.
    projection : (P, Q), float32
        See `fit_whitening`.
    temperature : dimensionless, > 0

    Examples
    --------
    >>> eye = np.eye(2, dtype=np.float32)
    >>> head = ClusterHead(eye, np.zeros(2, dtype=np.float32), eye, 0.1)
    >>> head.assign(["a"], np.array([[0.0, 5.0]], dtype=np.float32)).labels.tolist()
    [1]
    """

    prototypes: NDArray[np.float32]
    center: NDArray[np.float32]
    projection: NDArray[np.float32]
    temperature: float

    def __post_init__(self) -> None:
        fitting = (*self.center.shape, *self.prototypes.shape[1:])
        if self.prototypes.ndim != 2 or self.projection.shape != fitting:
            raise ShapeMismatch(
                f"prototypes {self.prototypes.shape}, center {self.center.shape} and projection "
                f"{self.projection.shape} do not fit each other."
            )

    @property
    def n_clusters(self) -> int:
        """Number of prototypes."""
        return len(self.prototypes)

    def points(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return centered, whitened vectors of length 1, (N, P) -> (N, Q)."""
        return whiten(vectors, self.center, self.projection)

    def logits(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits (N, C) of vectors (N, P)."""
        if vectors.ndim != 2 or vectors.shape[1] != len(self.center):
            raise ShapeMismatch(
                f"vectors {vectors.shape} do not fit a head for {len(self.center)} dimensions: "
                "they come from another encoder."
            )
        return self.points(vectors) @ unit(self.prototypes).T / np.float32(self.temperature)

    def blocks(self, n: int) -> Iterator[slice]:
        """Cut N proteins into parts that have no more than `BLOCK_LOGITS`."""
        size = max(1, BLOCK_LOGITS // self.n_clusters)
        return (slice(start, min(start + size, n)) for start in range(0, n, size))

    def labels(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the cluster of each vector, (N, P) -> (N,)."""
        found = np.empty(len(vectors), dtype=np.int64)
        for part in self.blocks(len(vectors)):
            found[part] = self.logits(vectors[part]).argmax(axis=1)
        return found

    def probabilities(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability (N, C) of each cluster."""
        logits = self.logits(vectors)
        exp = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exp / exp.sum(axis=1, keepdims=True)

    def sureness(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability (N,) of the likeliest cluster of each vector (N, P)."""
        found = np.empty(len(vectors), dtype=np.float32)
        for part in self.blocks(len(vectors)):
            found[part] = self.probabilities(vectors[part]).max(axis=1)
        return found

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
        n = len(vectors)
        first, second = np.empty(n, np.int32), np.full(n, -1, np.int32)
        best, second_best = np.empty(n, np.float32), np.zeros(n, np.float32)
        for part in self.blocks(n):
            probabilities = self.probabilities(vectors[part])
            rows = np.arange(len(probabilities))
            first[part] = probabilities.argmax(axis=1)
            best[part] = probabilities[rows, first[part]]
            if self.n_clusters > 1:
                probabilities[rows, first[part]] = -1.0
                second[part] = probabilities.argmax(axis=1)
                second_best[part] = probabilities[rows, second[part]]
        labels = np.where(best >= min_probability, first, -1).astype(np.int32)
        return Assignments(ids, labels, best, second, second_best)

    def ordered_by_size(self, labels: NDArray[np.integer]) -> ClusterHead:
        """Drop the prototypes of clusters that are not among labels (N,); number the others by size."""
        sizes = np.bincount(labels, minlength=self.n_clusters)
        order = np.argsort(-sizes, kind="stable")
        return replace(self, prototypes=self.prototypes[order[: int((sizes > 0).sum())]])


class Whitening(NamedTuple):
    """What vectors go through before their cosines are taken.

    Attributes
    ----------
    center : (P,), float32
        Subtracted.
    projection : (P, Q), float32
        Then applied.
    """

    center: NDArray[np.float32]
    projection: NDArray[np.float32]


def whiten(
    vectors: NDArray[np.float32], center: NDArray[np.float32], projection: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return `(vectors - center) projection`, scaled to length 1; (N, P) -> (N, Q)."""
    return unit(((vectors - center) @ projection).astype(np.float32, copy=False))


def fit_whitening(vectors: NDArray[np.float32]) -> Whitening:
    """Return the transform that makes the variances of vectors (N, P) more alike.

    Each direction gets the square root of its variance, directions without any are left out; the one of
    largest variance comes first. As they are, the few directions in which composition differs outweigh those
    that tell families apart; with unit variance in every direction, noise outweighs them, and a protein that
    a head was not trained on is often assigned wrongly.
    """
    center = vectors.mean(axis=0)
    centered = (vectors - center).astype(np.float64)
    _, values, directions = np.linalg.svd(centered, full_matrices=False)
    kept = max(1, int((values > 1e-6 * max(values[0], 1e-30)).sum()))
    # The sign of a direction is not determined; fix it, so that every machine finds the same.
    directions = directions[:kept]
    signs = np.sign(directions[np.arange(kept), np.abs(directions).argmax(axis=1)])
    scale = signs * np.sqrt(np.sqrt(len(vectors)) / np.maximum(values[:kept], 1e-30))
    return Whitening(center, (directions * scale[:, None]).T.astype(np.float32))


def fully_whitened(projection: NDArray[np.float32], n_directions: int) -> NDArray[np.float32]:
    """Return the projection (P, Q) with unit variance in its first `n_directions`, without the others."""
    return (projection * np.linalg.norm(projection, axis=0))[:, :n_directions]
