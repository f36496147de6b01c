"""Words that differ by residues that take each other's place learn together."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqscan.alphabet import AMINO

__all__ = ["Exchange"]

RESIDUES = "ARNDCQEGHILKMFPSTWYV"
BLOSUM62 = """
 4 -1 -2 -2  0 -1 -1  0 -2 -1 -1 -1 -1 -2 -1  1  0 -3 -2  0
-1  5  0 -2 -3  1  0 -2  0 -3 -2  2 -1 -3 -2 -1 -1 -3 -2 -3
-2  0  6  1 -3  0  0  0  1 -3 -3  0 -2 -3 -2  1  0 -4 -2 -3
-2 -2  1  6 -3  0  2 -1 -1 -3 -4 -1 -3 -3 -1  0 -1 -4 -3 -3
 0 -3 -3 -3  9 -3 -4 -3 -3 -1 -1 -3 -1 -2 -3 -1 -1 -2 -2 -1
-1  1  0  0 -3  5  2 -2  0 -3 -2  1  0 -3 -1  0 -1 -2 -1 -2
-1  0  0  2 -4  2  5 -2  0 -3 -3  1 -2 -3 -1  0 -1 -3 -2 -2
 0 -2  0 -1 -3 -2 -2  6 -2 -4 -4 -2 -3 -3 -2  0 -2 -2 -3 -3
-2  0  1 -1 -3  0  0 -2  8 -3 -3 -1 -2 -1 -2 -1 -2 -2  2 -3
-1 -3 -3 -3 -1 -3 -3 -4 -3  4  2 -3  1  0 -3 -2 -1 -3 -1  3
-1 -2 -3 -4 -1 -2 -3 -4 -3  2  4 -2  2  0 -3 -2 -1 -2 -1  1
-1  2  0 -1 -3  1  1 -2 -1 -3 -2  5 -1 -3 -1  0 -1 -3 -2 -2
-1 -1 -2 -3 -1  0 -2 -3 -2  1  2 -1  5  0 -2 -1 -1 -1 -1  1
-2 -3 -3 -3 -2 -3 -3 -3 -1  0  0 -3  0  6 -4 -2 -2  1  3 -1
-1 -2 -2 -1 -3 -1 -1 -2 -2 -3 -3 -1 -2 -4  7 -1 -1 -4 -3 -2
 1 -1  1  0 -1  0  0  0 -1 -2 -2  0 -1 -2 -1  4  1 -3 -2 -2
 0 -1  0 -1 -1 -1 -1 -2 -2 -1 -1 -1 -1 -2 -1  1  5 -2 -2  0
-3 -3 -4 -4 -2 -2 -3 -2 -2 -3 -2 -3 -1  1 -4 -3 -2 11  2 -3
-2 -2 -2 -3 -2 -1 -2 -3  2 -1 -1 -2 -1  3 -3 -2 -2  2  7 -1
 0 -3 -3 -3 -1 -2 -2 -3 -3  3  1 -2  1 -1 -2 -2  0 -3 -1  4
"""
"""Half bits, rows and columns as `RESIDUES`: Henikoff and Henikoff, PNAS 89:10915 (1992)."""
FREQUENCIES = (
    0.074, 0.052, 0.045, 0.054, 0.025, 0.034, 0.054, 0.074, 0.026, 0.068,
    0.099, 0.058, 0.025, 0.047, 0.039, 0.057, 0.051, 0.013, 0.032, 0.073,
)  # fmt: skip
"""Of the residues, as that matrix supposes them."""


def exchange_shares(n_symbols: int) -> NDArray[np.float64]:
    """Return how often each symbol is found in the place of each other in homologs, (S, S); rows sum to 1.

    What is no residue is exchanged with nothing.

    >>> shares = exchange_shares(23)
    >>> leucine = AMINO.encode("L")[0]
    >>> AMINO.decode(np.argsort(-shares[leucine])[:3].astype(np.uint8))
    'LIV'
    """
    scores = np.array(BLOSUM62.split(), dtype=np.float64).reshape(len(RESIDUES), -1)
    odds = np.array(FREQUENCIES) * 2.0 ** (scores / 2.0)
    shares = np.eye(n_symbols)
    places = AMINO.encode(RESIDUES).astype(np.int64)
    shares[np.ix_(places, places)] = odds / odds.sum(axis=1, keepdims=True)
    return shares


class Exchange(nn.Module):
    """Makes each row of a table of words a mixture of the rows of words that differ by exchanged residues.

    A parametrization (`torch.nn.utils.parametrize`). What a word learns, words like it learn as well, even
    those that the training never meets; without it a table knows its training text by heart and others less
    well. When the training is over the mixtures are the table, and nothing is left to compute.

    Parameters
    ----------
    n_symbols : int
        S; the table has W S^3 rows, for W patterns of words of three.
    share : dimensionless, 0 to 1
        How much of each residue is exchanged; the rest stays itself.
    """

    shares: Tensor

    def __init__(self, n_symbols: int, share: float = 0.5) -> None:
        super().__init__()
        mixed = (1.0 - share) * np.eye(n_symbols) + share * exchange_shares(n_symbols)
        self.register_buffer("shares", torch.from_numpy(mixed).float(), persistent=False)

    def forward(self, table: Tensor) -> Tensor:
        """Mix the rows of a table (W S^3, D)."""
        return _mixed(table, self.shares).float()

    def right_inverse(self, table: Tensor) -> Tensor:
        """Return the rows whose mixtures are those of a table (W S^3, D)."""
        return _mixed(table.float(), torch.linalg.inv(self.shares))


def _mixed(table: Tensor, shares: Tensor) -> Tensor:
    """Mix the rows of a table along each of a word's three residues, by shares (S, S)."""
    mixed, n = table, len(shares)
    for size in (n * n, n, 1):
        mixed = mixed.view(-1, n, size * table.shape[1])
        mixed = torch.bmm(shares.expand(len(mixed), -1, -1), mixed)
    return mixed.view(table.shape)
