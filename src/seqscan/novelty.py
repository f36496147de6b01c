"""How novel a protein is to a model, and how often a known protein is as novel.

A cluster is described by a few landmarks, so the cost of a protein does not depend on how many proteins the
model was trained on. A protein is novel if it lies far from all landmarks or between clusters. Proteins that
took no part in joint learning, nor in the landmarks, say without a label how novel a known protein can look.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from seqscan.artifact import write_arrays
from seqscan.errors import InvalidParameter, ShapeMismatch
from seqscan.store import unit
from seqscan.wording import plural

__all__ = ["Novelty", "fit_novelty"]

N_LANDMARKS = 8
MEMBERS_PER_CLUSTER = 256
"""Members, at most, from which the landmarks of a cluster are made."""
N_CALIBRATION = 10_000
"""Held-out proteins, at most, to calibrate on."""
DOUBT_WEIGHT = 2.0
"""Of doubt between clusters, beside distance from all of them."""
SPREAD_PRIOR = 5.0
"""Members' worth of the overall spread in the spread of a landmark."""
FALSE_ALARM_RATE = 0.01
"""What is taken where no rate is asked for, if it can be told."""
BLOCK_DISTANCES = 1 << 25


@dataclass(frozen=True)
class Novelty:
    """What tells proteins of known clusters from others.

    Attributes
    ----------
    landmarks : (M, P), float32
        Unit vectors, centered; up to `N_LANDMARKS` for each cluster.
    spreads : (M,), float32
        Mean cosine distance of the members nearest to each landmark.
    center : (P,), float32
    calibration : (H,), float32, nats
        How novel held-out training proteins look, ascending.
    """

    landmarks: NDArray[np.float32]
    spreads: NDArray[np.float32]
    center: NDArray[np.float32]
    calibration: NDArray[np.float32]

    def scores(self, vectors: NDArray[np.float32], probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return how novel each protein is, (N,), nats.

        Minus the logarithms of what a member of a known cluster has: a high density, falling exponentially
        with the cosine distance from the nearest landmark in units of its spread, and, weighing more, a high
        probability of one cluster.

        Parameters
        ----------
        vectors : (N, P)
        probabilities : (N,)
            Of each protein's cluster, from the head.
        """
        doubt = -np.log(np.maximum(probabilities, np.float32(1e-30)))
        return (self.distances(vectors) + DOUBT_WEIGHT * doubt).astype(np.float32)

    def distances(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the cosine distance to the nearest landmark in units of its spread, (N, P) -> (N,)."""
        if vectors.ndim != 2 or vectors.shape[1] != len(self.center):
            raise ShapeMismatch(f"vectors {vectors.shape} do not fit {len(self.center)} dimensions.")
        directions = unit(vectors - self.center)
        found = np.empty(len(vectors), dtype=np.float32)
        block = max(1, BLOCK_DISTANCES // len(self.landmarks))
        for start in range(0, len(vectors), block):
            cosine = directions[start : start + block] @ self.landmarks.T
            nearest = cosine.argmax(axis=1)
            gap = np.maximum(1.0 - cosine[np.arange(len(nearest)), nearest], 0.0)
            found[start : start + block] = gap / self.spreads[nearest]
        return found

    def known_shares(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return which share of known proteins looks at least as novel, (N,) -> (N,); small means novel."""
        farther = len(self.calibration) - np.searchsorted(self.calibration, scores, side="left")
        return ((1.0 + farther) / (1.0 + len(self.calibration))).astype(np.float32)

    def threshold(self, false_alarm_rate: float) -> float:
        """Return the score from which `known_shares` is at most the rate.

        Raises
        ------
        InvalidParameter
            If the rate is none, or below `smallest_rate`: no protein would be novel, however far it lies.
        """
        if not 0.0 < false_alarm_rate < 1.0:
            raise InvalidParameter("false_alarm_rate", false_alarm_rate, "must be between 0 and 1")
        n = len(self.calibration)
        allowed = int(np.floor(false_alarm_rate * (n + 1) + 1e-9)) - 1  # known proteins beyond it
        if allowed < 0:
            raise InvalidParameter(
                "false_alarm_rate",
                false_alarm_rate,
                f"is less than the model can tell, whose novelty is calibrated on {plural(n, 'protein')}",
                remedy=f"Give {self.smallest_rate:g} or more, or a model of more proteins.",
            )
        return float(np.nextafter(self.calibration[n - allowed - 1], np.float32(np.inf)))

    @property
    def smallest_rate(self) -> float:
        """Smallest false alarm rate that can be told: that of what is beyond all of `calibration`.

        Rounded up to five decimals, so that what is printed can be asked for.
        """
        return math.ceil(1e5 / (1 + len(self.calibration))) / 1e5

    @property
    def default_rate(self) -> float:
        """`FALSE_ALARM_RATE`, or `smallest_rate` if that is more."""
        return max(FALSE_ALARM_RATE, self.smallest_rate)

    @property
    def spread(self) -> float:
        """Mean cosine distance of a known protein to its landmark."""
        return float(self.spreads.mean())

    def with_clusters(self, vectors: NDArray[np.float32], labels: NDArray[np.int64], *, seed: int) -> Novelty:
        """Add the landmarks of new clusters; the calibration stays.

        Parameters
        ----------
        vectors : (N, P)
        labels : (N,)
            -1 for proteins of no new cluster.
        seed : int
        """
        landmarks, spreads = _landmarks(
            lambda rows: unit(vectors[rows] - self.center), labels, seed=seed, overall=self.spread
        )
        return replace(
            self,
            landmarks=np.concatenate([self.landmarks, landmarks]),
            spreads=np.concatenate([self.spreads, spreads]),
        )

    def write(self, path: Path) -> None:
        """Write the arrays, safetensors; landmarks in half precision."""
        arrays: dict[str, NDArray[Any]] = {
            "landmarks": self.landmarks.astype(np.float16),
            "spreads": self.spreads,
            "center": self.center,
            "calibration": self.calibration,
        }
        write_arrays(path, arrays)

    @classmethod
    def read(cls, path: Path) -> Novelty:
        """Read what `write` wrote."""
        arrays = load_file(path)
        return cls(**(arrays | {"landmarks": arrays["landmarks"].astype(np.float32)}))


def fit_novelty(
    gather: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    labels: NDArray[np.int32],
    center: NDArray[np.float32],
    held_out: NDArray[np.int64],
    sureness: NDArray[np.float32],
    *,
    seed: int,
) -> Novelty | None:
    """Describe clusters by landmarks and calibrate on members that took no part in them.

    Parameters
    ----------
    gather : callable
        Returns the vectors (R, P) of rows (R,), for instance `EmbeddingStore.gather`; asked for a cluster
        at a time, and for no more than `MEMBERS_PER_CLUSTER` of it.
    labels : (N,)
        What the head says of the training proteins, -1 for unassigned; no label of a person.
    center : (P,)
    held_out : (H,)
        Rows to calibrate on. An encoder that was trained on the clusters with them makes them look more known
        than the proteins it meets later.
    sureness : (H,), probability
        Of each one's likeliest cluster; best from a head that was trained without them.
    seed : int

    Returns
    -------
    novelty : Novelty, optional
        None if there are too few proteins to calibrate with.
    """
    order = np.random.default_rng((seed, 51)).permutation(np.flatnonzero(labels[held_out] >= 0))
    asked = np.sort(order[:N_CALIBRATION])
    held = held_out[asked]
    known = labels.copy()
    known[held] = -1
    if len(held) < 2 or known.max() < 0:
        return None
    landmarks, spreads = _landmarks(lambda rows: unit(gather(rows) - center), known, seed=seed)
    novelty = Novelty(landmarks, spreads, center, np.zeros(1, np.float32))
    return replace(novelty, calibration=np.sort(novelty.scores(gather(held), sureness[asked])))


def _landmarks(
    directions: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    labels: NDArray[np.int32] | NDArray[np.int64],
    *,
    seed: int,
    overall: float | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the landmarks of each cluster, (M, P), and their spreads, (M,)."""
    order = np.argsort(labels, kind="stable")[int((labels < 0).sum()) :]
    parts, sums, counts = [], [], []
    for members in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        generator = np.random.default_rng((seed, 52, int(labels[members[0]])))
        if len(members) > MEMBERS_PER_CLUSTER:
            members = np.sort(generator.choice(members, MEMBERS_PER_CLUSTER, replace=False))
        points = directions(members)
        own = _centroids(points, generator)
        cosine = points @ own.T
        nearest = cosine.argmax(axis=1)
        parts.append(own)
        sums.append(np.bincount(nearest, 1.0 - cosine.max(axis=1), len(own)))
        counts.append(np.bincount(nearest, minlength=len(own)))
    total, count = np.concatenate(sums), np.concatenate(counts)
    prior = max(float(total.sum() / count.sum()) if overall is None else overall, 1e-3)
    spreads = (total + SPREAD_PRIOR * prior) / (count + SPREAD_PRIOR)
    # In the precision that is saved: a model that was read back must call the same proteins novel.
    landmarks = np.concatenate(parts).astype(np.float16).astype(np.float32)
    return landmarks, np.maximum(spreads, 1e-3).astype(np.float32)


def _centroids(directions: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
    """Return up to `N_LANDMARKS` means of unit vectors (R, P): spherical k-means, few rounds."""
    if len(directions) <= N_LANDMARKS:
        return directions
    centers = directions[generator.choice(len(directions), N_LANDMARKS, replace=False)]
    for _ in range(8):
        nearest = (directions @ centers.T).argmax(axis=1)
        sums = np.zeros_like(centers)
        np.add.at(sums, nearest, directions)
        centers = unit(sums[np.bincount(nearest, minlength=len(centers)) > 0])
    return centers
