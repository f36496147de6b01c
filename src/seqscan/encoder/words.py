"""A network that is a table: what words of three residues, near each other or apart, say of a protein."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from seqscan.alphabet import AMINO
from seqscan.encoder.abstract import AbstractEncoder, ResidueTerms
from seqscan.encoder.exchange import Exchange
from seqscan.errors import InvalidParameter

__all__ = ["WordEncoder", "WordEncoderConfig"]

N_SYMBOLS = AMINO.unknown + 1
"""Padding, the residues, and one for uncertain and hidden ones alike."""
MAX_DIRECTIONS = 256
"""So many directions, and those of one batch more, may wait until the table is projected on them all; 256
projections of the default's take 44 MB."""


@dataclass(frozen=True)
class WordEncoderConfig:
    """Shape of a `WordEncoder`.

    Attributes
    ----------
    words : tuple of (int, int, int), residues
        Places of a word's three residues relative to the residue it speaks for, which is one of them.
    n_features : int
        Length D of a residue vector.
    n_dimensions : int
        Length P of a protein's vector.
    """

    words: tuple[tuple[int, int, int], ...] = ((-1, 0, 1), (-1, 0, 2), (-2, 0, 1), (-1, 0, 3))
    n_features: int = 256
    n_dimensions: int = 256

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", tuple((a, b, c) for a, b, c in self.words))
        if not self.words or any(0 not in word for word in self.words):
            raise InvalidParameter("words", self.words, "each must have the place 0, and one there must be")


class WordEncoder(AbstractEncoder):
    """Sums of learned vectors of words, gapped and not, and their plain mean over the protein.

    A look-up costs no arithmetic, so it learns from ten times as many residues in the same time as a small
    convolutional network does. Gapped words of three residues survive where mutations break longer ones:
    spaced seeds, as in PatternHunter (Ma, Tromp and Li, Bioinformatics 18:440, 2002).

    Examples
    --------
    >>> encoder = WordEncoder(WordEncoderConfig(n_features=8, n_dimensions=4))
    >>> encoder.embed([AMINO.encode("MKVL"), AMINO.encode("MK")]).shape
    (2, 4)
    """

    table_scale = 50.0

    def __init__(self, config: WordEncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config or WordEncoderConfig()
        n_rows = len(self.config.words) * N_SYMBOLS**3
        self.table = nn.Embedding(n_rows, self.config.n_features)
        nn.init.normal_(self.table.weight, std=0.05)
        self.predict_residue = nn.Linear(self.config.n_features, AMINO.n_residues + 1)
        self.project = nn.Linear(self.config.n_features, self.config.n_dimensions)
        nn.init.eye_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        self.margin = self.reach = max(abs(place) for word in self.config.words for place in word)

    @property
    def tables(self) -> list[Tensor]:
        # While words exchange, the table is computed from the parameters and is none.
        return list(self.table.parameters())

    def exchange_words(self, *, new: bool = False) -> None:
        """Let words that are like each other learn together, until `settle`.

        Vectors stay as they are, except those of a `new` network: its small rows are mixed, instead of rows
        that are made large enough to be small when mixed.
        """
        rows = self.table.weight.detach().clone()
        exchange = Exchange(N_SYMBOLS).to(rows.device)
        parametrize.register_parametrization(self.table, "weight", exchange)
        if new:
            with torch.no_grad():
                self.tables[0].copy_(rows)

    def settle(self) -> None:
        """Keep the table as it is now, each word for itself."""
        if parametrize.is_parametrized(self.table):
            parametrize.remove_parametrizations(self.table, "weight")

    def residue_vectors(self, codes: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        residues = self.table(self._rows(codes)).sum(dim=2) * mask.unsqueeze(-1)
        return residues, residues.new_zeros(()).expand(residues.shape)

    def vectors(self, codes: Tensor, mask: Tensor) -> Tensor:
        return self._mean_vectors(self._rows(codes), mask)

    @torch.inference_mode()
    def residue_terms(
        self,
        sequences: Sequence[NDArray[np.uint8]],
        directions: Tensor,
        reference: Tensor,
        choose: Callable[[NDArray[np.float32]], NDArray[np.int64]],
        *,
        max_residues: int = 16_384,
    ) -> Iterator[ResidueTerms]:
        # What a word says of a direction is one number, so no residue vector is needed: the table is
        # projected once for all proteins, and then numbers are looked up.
        directions, reference = (x.to(self.table.weight.device) for x in (directions, reference))
        waiting: list[_Read] = []
        used: set[int] = set()
        for rows, codes, mask in self._batches(sequences, max_residues):
            words = self._rows(codes)
            vectors = self._mean_vectors(words, mask).cpu().numpy()
            waiting.append(_Read(rows, words, mask, vectors, choose(vectors)))
            used.update(waiting[-1].chosen.ravel().tolist())
            if len(used) > MAX_DIRECTIONS:
                yield from self._terms(waiting, sorted(used), directions, reference)
                waiting, used = [], set()
        yield from self._terms(waiting, sorted(used), directions, reference)

    def _terms(
        self, batches: list[_Read], used: list[int], directions: Tensor, reference: Tensor
    ) -> Iterator[ResidueTerms]:
        """Yield what `residue_terms` does, for proteins that ask for the directions `used`."""
        wanted, table = directions[used], self.table.weight
        said = wanted @ table.T  # (directions, words)
        said -= (wanted @ reference / len(self.config.words))[:, None]
        for batch in batches:
            first = torch.from_numpy(np.searchsorted(used, batch.chosen) * len(table)).to(batch.words)
            shares = batch.mask / batch.mask.sum(dim=1, keepdim=True)
            terms = [_sums(said, batch.words + column[:, None, None]) * shares for column in first.T]
            told = torch.stack(terms, dim=2).cpu().numpy()
            yield ResidueTerms(batch.rows, batch.vectors, batch.chosen, told)

    @torch.inference_mode()
    def cell_terms(
        self, sequences: Sequence[NDArray[np.uint8]], step: int, *, max_residues: int = 16_384
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        # As for whole proteins, no residue vector is ever written.
        for rows, codes, mask in self._batches(sequences, max_residues):
            lengths = mask.sum(dim=1).cpu().numpy()
            ends = lengths.cumsum()
            begins = [end - n + np.arange(0, n, step) for n, end in zip(lengths, ends, strict=True)]
            first = torch.from_numpy(np.concatenate(begins) * len(self.config.words))
            words = self._rows(codes)[mask].flatten()
            sums = F.embedding_bag(words, self.table.weight, first.to(words), mode="sum").cpu().numpy()
            n_cells = np.array([len(own) for own in begins])
            sums /= np.repeat(lengths, n_cells)[:, None].astype(np.float32)
            yield from zip(rows.tolist(), np.split(sums, n_cells.cumsum()[:-1]), strict=True)

    def _mean_vectors(self, words: Tensor, mask: Tensor) -> Tensor:
        """Return the proteins' vectors (B, P) from rows of the table (B, L, W) and mask (B, L)."""
        # In one call, so that no residue vector is ever written: three times as fast.
        counts = mask.sum(dim=1)
        first = F.pad(counts.cumsum(0)[:-1], (1, 0)).int() * len(self.config.words)
        table = self.table.weight
        with torch.autocast(words.device.type, enabled=False):
            mean = F.embedding_bag(words[mask].flatten(), table, first, mode="sum") / counts[:, None]
            return self.project(mean)

    def _rows(self, codes: Tensor) -> Tensor:
        """Return which row of the table each word of each residue has; (B, L) -> (B, L, W), int32."""
        # Not int64, which takes twice the time.
        codes, length = codes.int().clamp(max=AMINO.unknown), codes.shape[1]
        around = F.pad(codes, (self.margin, self.margin), value=AMINO.pad)
        rows = []
        for number, places in enumerate(self.config.words):
            row = torch.full_like(codes, number)
            for place in places:
                row = row * N_SYMBOLS + around[:, self.margin + place : self.margin + place + length]
            rows.append(row)
        return torch.stack(rows, dim=2)


def _sums(numbers: Tensor, places: Tensor) -> Tensor:
    """Add up the numbers at some places of a flattened tensor; (B, L, W) -> (B, L)."""
    return F.embedding_bag(places.flatten(0, 1), numbers.view(-1, 1), mode="sum").view(places.shape[:2])


@dataclass(frozen=True)
class _Read:
    """A batch whose vectors are known: what `ResidueTerms` says of it but for the terms, and its words."""

    rows: NDArray[np.int64]
    words: Tensor
    mask: Tensor
    vectors: NDArray[np.float32]
    chosen: NDArray[np.int64]
