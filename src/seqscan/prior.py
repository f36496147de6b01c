"""What a domain of each cluster looks like, beside its vector as a whole: its length and its three thirds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from seqscan.artifact import write_arrays
from seqscan.errors import ShapeMismatch

__all__ = ["N_PARTS", "DomainPrior"]

N_PARTS = 3
"""Beginning, middle and end of a domain."""


@dataclass(frozen=True)
class DomainPrior:
    """Lengths and parts of the domains of C clusters.

    Attributes
    ----------
    log_length : (C,)
        Median of the logarithm of the members' lengths, residues.
    spread : (C,)
        Standard deviation of the same.
    parts : (C, N_PARTS, Q), float32
        Mean direction of each third of the members, in the space of the head's prototypes, of length 1.
    background : logit
        Of being no domain, a class of its own beside the clusters: what half of the shuffled members exceed.
    """

    log_length: NDArray[np.float64]
    spread: NDArray[np.float64]
    parts: NDArray[np.float32]
    background: float

    def __post_init__(self) -> None:
        n = len(self.log_length)
        if self.spread.shape != (n,) or self.parts.ndim != 3 or self.parts.shape[:2] != (n, N_PARTS):
            raise ShapeMismatch(
                f"lengths {self.log_length.shape}, spreads {self.spread.shape} and parts {self.parts.shape} "
                "are not of the same clusters."
            )

    def with_clusters(self, learned: DomainPrior) -> DomainPrior:
        """Add the clusters that `learned`, a prior of the grown model, has more; what is known stays."""
        n = len(self.log_length)
        return DomainPrior(
            np.append(self.log_length, learned.log_length[n:]),
            np.append(self.spread, learned.spread[n:]),
            np.concatenate([self.parts, learned.parts[n:]]),
            self.background,
        )

    def write(self, path: Path) -> None:
        """Write the arrays, safetensors; parts in half precision."""
        arrays: dict[str, NDArray[Any]] = {
            "log_length": self.log_length,
            "spread": self.spread,
            "parts": self.parts.astype(np.float16),
            "background": np.array([self.background]),
        }
        write_arrays(path, arrays)

    @classmethod
    def read(cls, path: Path) -> DomainPrior:
        """Read what `write` wrote."""
        arrays = load_file(path)
        return cls(
            arrays["log_length"],
            arrays["spread"],
            arrays["parts"].astype(np.float32),
            float(arrays["background"][0]),
        )
