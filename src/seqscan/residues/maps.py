"""How much each residue of a protein speaks for a cluster, and how a map of it is made easier to look at."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from seqscan.errors import ShapeMismatch

__all__ = ["SPREAD", "ActivationMap", "spread_evenly"]

SPREAD = 25
"""Residues, standard deviation of the bell curve over which each share of a map to look at is spread. Members
of clusters that were put between members of others stand out best with 25 to 40; no label was read
(docs/experiments/residues.md)."""


@dataclass(frozen=True)
class ActivationMap:
    """How much each residue of a protein speaks for a cluster.

    Attributes
    ----------
    id : str
    label : int
        The cluster.
    residues : str
        L symbols.
    contributions : (L,), float32
        In units of the logit; they sum to it.
    bias : float
        What they leave of it: zero to rounding, unless the encoder's affine map cannot reach the center.
    runner_up : int
        The cluster of the second highest logit, -1 if the map was not made against it.
    lead : (L,), float32, optional
        Each residue's share of the lead over the runner-up; they sum to the difference of the two logits.
    lead_bias : float
        What they leave of it, as `bias`.
    membership : (L,), float32, optional
        Probability that each residue lies in a domain of the cluster.
    """

    id: str
    label: int
    residues: str
    contributions: NDArray[np.float32]
    bias: float
    runner_up: int = -1
    lead: NDArray[np.float32] | None = None
    lead_bias: float = 0.0
    membership: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        arrays = {"contributions": self.contributions, "leads": self.lead, "memberships": self.membership}
        for name, values in arrays.items():
            if values is not None and values.shape != (len(self.residues),):
                raise ShapeMismatch(f"{self.id}: {values.shape} {name} for {len(self.residues)} residues.")

    @property
    def logit(self) -> float:
        """The cluster's logit."""
        return float(self.contributions.sum(dtype=np.float64)) + self.bias

    def spread(self, width: float) -> ActivationMap:
        """Return the map with each residue's share spread over those around it by a bell curve.

        The shares still sum to the logit. Single words that speak for a cluster stand anywhere; those of a
        domain stand together, so a map that is spread shows better where the domain is, and not where in it
        its motifs are.

        Parameters
        ----------
        width : residues
            Standard deviation of the curve; 0 leaves the map as it is.
        """
        if width == 0:
            return self
        lead = None if self.lead is None else _spread_by_bell(self.lead, width)
        return replace(self, contributions=_spread_by_bell(self.contributions, width), lead=lead)


def _spread_by_bell(shares: NDArray[np.float32], width: float) -> NDArray[np.float32]:
    """Spread each share (L,) by a bell curve, all of which lies within the protein: their sum stays."""
    from scipy.ndimage import (
        gaussian_filter1d,  # here, since the command line reads this module when it starts
    )

    def blur(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return gaussian_filter1d(values, width, mode="constant", truncate=3.0)

    within = blur(np.ones(len(shares)))
    return blur(shares.astype(np.float64) / within).astype(np.float32)


def spread_evenly(
    shares: NDArray[np.float32], reach: int, lengths: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """Spread each residue's shares (L, K) evenly over the residues up to `reach` away; their sums stay.

    With `lengths` the residues are those of several proteins, one after another, each spread by itself.

    >>> spread_evenly(np.array([[0.0], [0.0], [6.0], [2.0]], np.float32), 1)[:, 0].tolist()
    [0.0, 2.0, 3.0, 3.0]
    """
    lengths = np.array([len(shares)]) if lengths is None else lengths
    stops = np.repeat(lengths.cumsum(), lengths)
    places = np.arange(len(shares))
    begin = np.maximum(places - reach, stops - np.repeat(lengths, lengths))
    end = np.minimum(places + reach + 1, stops)
    each = shares.astype(np.float64) / (end - begin)[:, None]
    # A residue is within reach of those that are within its own.
    sums = np.concatenate([np.zeros((1, shares.shape[1])), each.cumsum(axis=0)])
    return (sums[end] - sums[begin]).astype(np.float32)
