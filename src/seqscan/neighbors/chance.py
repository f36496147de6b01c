"""Which of a protein's nearest vectors are nearer than chance explains.

The nearest vectors of a protein with few relatives are mostly those of strangers. How near strangers come is
seen at pairs drawn at random; how many of them to expect is a question of how many proteins there are, as for
the E-value of an alignment.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from seqscan.store import unit

__all__ = ["ALWAYS", "Chance", "chance_rows"]

ALWAYS = 5
"""Nearest vectors that are neighbors however far away: they link a family's outermost members."""
FALSE_DISCOVERY_RATE = 0.1
"""Of the neighbors of a protein beyond these, at most."""
N_SAMPLED = 20_000
"""Vectors that random pairs are drawn from."""
N_PAIRINGS = 5
"""Pairs of each of them."""
COMMON = 0.5
"""Of the squared length of unit vectors. Where their mean has more, it tells of the encoder and is subtracted
before cosines are taken; where it has less, it may tell of a few large families."""


@dataclass(frozen=True)
class Chance:
    """The cosines of unrelated proteins among N.

    Attributes
    ----------
    n : int
        Proteins that are compared with each.
    origin : (P,), float32
        From which directions are taken; zero, or what all vectors have in common.
    mean, spread : float, cosine
        Of a normal distribution of random pairs.
    """

    n: int
    origin: NDArray[np.float32]
    mean: float
    spread: float

    @classmethod
    def of(cls, sample: NDArray[np.float32], n: int) -> Chance:
        """Measure it on vectors (S, P) of `chance_rows`, of n in all.

        Relatives among the random pairs are all above their median: so mean and spread are those of a normal
        distribution with the quantiles below it, one and two standard deviations from the mean.
        """
        directions = unit(sample)
        common = directions.mean(axis=0)
        is_common = float(common @ common) > COMMON
        origin = sample.mean(axis=0) if is_common else np.zeros(sample.shape[1], np.float32)
        directions = unit(sample - origin)
        generator = np.random.default_rng(0)
        cosines = []
        for _ in range(N_PAIRINGS):
            order = generator.permutation(len(sample))
            cosines.append(np.einsum("sp,sp->s", directions[order], np.roll(directions[order], 1, axis=0)))
        two, one = np.quantile(np.concatenate(cosines), ndtr([-2.0, -1.0]))
        return cls(n, origin.astype(np.float32), float(2.0 * one - two), float(one - two))

    def directions(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return vectors (N, P) from the origin, of length 1."""
        return unit(vectors - self.origin)

    def n_neighbors(self, distances: NDArray[np.floating]) -> NDArray[np.int64]:
        """Return how many of the nearest vectors are neighbors, (B, K) -> (B,).

        As many as have at most `FALSE_DISCOVERY_RATE` of them expected by chance, by the procedure of
        Benjamini and Hochberg (J. R. Stat. Soc. B 57:289, 1995), and `ALWAYS` at least.

        Parameters
        ----------
        distances : (B, K), 1 - cosine
            Ascending; infinite where there is none.
        """
        rank = np.arange(1, distances.shape[1] + 1)
        spread = max(self.spread, 1e-6)
        expected = self.n * ndtr(-(1.0 - distances.astype(np.float64) - self.mean) / spread)
        significant = np.where(expected <= FALSE_DISCOVERY_RATE * rank, rank, 0).max(axis=1)
        return np.minimum(np.maximum(significant, ALWAYS), np.isfinite(distances).sum(axis=1))

    def prune(
        self, indices: NDArray[np.int32], distances: NDArray[np.float32]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return nearest vectors (B, K) and their distances, gaps in place of what chance explains."""
        kept = np.arange(indices.shape[1]) < self.n_neighbors(distances)[:, None]
        return np.where(kept, indices, np.int32(-1)), np.where(kept, distances, np.float32(np.inf))


def chance_rows(n: int) -> NDArray[np.int64]:
    """Return which of n vectors `Chance.of` is to be told of, ascending."""
    return np.sort(np.random.default_rng(0).permutation(n)[:N_SAMPLED])
