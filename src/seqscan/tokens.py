"""Residue codes in padded batches under a residue budget, and random views of them for training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqscan.alphabet import AMINO
from seqscan.errors import InvalidParameter, ShapeMismatch

__all__ = ["TokenBatch", "mask_residues", "pad", "random_crop", "token_batches"]


@dataclass(frozen=True)
class TokenBatch:
    """Sequences of similar length, padded to one.

    Attributes
    ----------
    codes : (B, L), int64
        Residue codes; 0 where there is no residue.
    mask : (B, L), bool
        True where there is a residue.
    rows : (B,), int64
        Which input sequence each line is.
    """

    codes: NDArray[np.int64]
    mask: NDArray[np.bool_]
    rows: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.codes.shape != self.mask.shape or len(self.rows) != len(self.codes):
            raise ShapeMismatch(
                f"codes {self.codes.shape}, mask {self.mask.shape} and rows {self.rows.shape} do not fit."
            )


def pad(sequences: Sequence[NDArray[np.uint8]], rows: NDArray[np.int64] | None = None) -> TokenBatch:
    """Put sequences of codes, each (L_i,), into one batch as wide as the longest.

    Examples
    --------
    >>> pad([AMINO.encode("MK"), AMINO.encode("M")]).codes.tolist()
    [[11, 9], [11, 0]]
    """
    lengths = np.fromiter((len(s) for s in sequences), dtype=np.int64, count=len(sequences))
    codes = np.zeros((len(sequences), int(lengths.max(initial=0))), dtype=np.int64)
    for line, sequence in zip(codes, sequences, strict=True):
        line[: len(sequence)] = sequence
    mask = np.arange(codes.shape[1]) < lengths[:, None]
    return TokenBatch(codes, mask, np.arange(len(sequences)) if rows is None else rows)


def token_batches(
    sequences: Sequence[NDArray[np.uint8]], *, max_residues: int = 16_384
) -> Iterator[TokenBatch]:
    """Yield every sequence once, in batches of similar length.

    Parameters
    ----------
    sequences : N arrays of codes, each (L_i,)
    max_residues : int, residues
        Size of a batch, padding included; a longer sequence gets a batch of its own.

    Yields
    ------
    TokenBatch
        Shortest sequences first; `rows` tells where each belongs.
    """
    if max_residues < 1:
        raise InvalidParameter("max_residues", max_residues, "a batch must hold a residue")
    lengths = np.fromiter((len(s) for s in sequences), dtype=np.int64, count=len(sequences))
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and lengths[order[stop]] * (stop + 1 - start) <= max_residues:
            stop += 1
        rows = order[start:stop]
        yield pad([sequences[row] for row in rows], rows)
        start = stop


def random_crop(
    sequence: NDArray[np.uint8], length: int, generator: np.random.Generator
) -> NDArray[np.uint8]:
    """Return `length` consecutive residues from a random place, or the whole of a shorter sequence."""
    if len(sequence) <= length:
        return sequence
    start = int(generator.integers(len(sequence) - length + 1))
    return sequence[start : start + length]


def mask_residues(
    batch: TokenBatch, fraction: float, generator: np.random.Generator
) -> tuple[TokenBatch, NDArray[np.bool_]]:
    """Hide a random share of the residues.

    Returns
    -------
    masked : TokenBatch
        With the mask code at the hidden places.
    hidden : (B, L), bool
        Which places those are; uncertain residues are hidden but not told, for there is nothing to learn.
    """
    hidden = (generator.random(batch.codes.shape) < fraction) & batch.mask
    codes = np.where(hidden, AMINO.mask, batch.codes)
    return TokenBatch(codes, batch.mask, batch.rows), hidden & (batch.codes <= AMINO.n_residues)
