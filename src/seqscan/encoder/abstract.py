"""From residue codes to residue vectors and one vector per protein: what all encoders share.

The vector of a protein is an affine map of a weighted mean of its residue vectors:
`pooled = project(sum_t weight_t * h_t)`. Each feature has its own weights over the residues, so that a
feature can be a mean over the protein or, sharper, the strongest match to a motif; nothing else stands
between. That is what makes the residue maps of `seqscan.residues.explain` an exact identity.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqscan.tokens import token_batches

__all__ = ["WINDOW", "AbstractEncoder", "EncoderOutput", "ResidueTerms", "fast_autocast", "fast_dtype"]

TABLE_ROWS = 1000
"""An embedding with more rows than this is a table, each row of which is seen rarely."""
WINDOW = 2048
"""Residues of a long protein that are encoded at a time, without the margins."""


class EncoderOutput(NamedTuple):
    """What an encoder says of a batch.

    Attributes
    ----------
    residues : (B, L, D)
        Residue vectors; zero where there is no residue.
    weights : (B, L, D)
        Each residue's share of the mean of each feature; they sum to 1 over the residues.
    pooled : (B, P)
        One vector per protein.
    """

    residues: Tensor
    weights: Tensor
    pooled: Tensor


class ResidueTerms(NamedTuple):
    """What `AbstractEncoder.residue_terms` says of a batch.

    Attributes
    ----------
    rows : (B,), int64
        Which sequences the batch holds.
    vectors : (B, P), float32
    chosen : (B, K), int64
        Which directions are of interest for each protein.
    terms : (B, L, K), float32
        Of each residue; zero where there is none.
    """

    rows: NDArray[np.int64]
    vectors: NDArray[np.float32]
    chosen: NDArray[np.int64]
    terms: NDArray[np.float32]


class AbstractEncoder(nn.Module, ABC):
    """Base of all encoders: says how residue vectors become a protein's vector.

    A concrete encoder gives `residue_vectors`, `project` (the affine map, an `nn.Linear` from D to P), and
    `margin`: how many residues on either side a residue vector depends on. One that is to be trained by
    `seqscan.pretrain` also has `predict_residue`, from D to the residue codes.

    Attributes
    ----------
    reach : int, residues
        How far to either side a residue map spreads what a residue vector says: the margin of a network that
        looks at all residues within it alike, 0 for one that centers on its own.
    table_scale : dimensionless
        How much faster than the other parameters its tables of words learn, each row of which is met rarely.
    """

    reach: int = 0
    table_scale: float = 3.0

    project: nn.Linear
    predict_residue: nn.Linear
    margin: int

    @abstractmethod
    def residue_vectors(self, codes: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return residue vectors (B, L, D) and the logarithms of their weights (B, L, D), to a constant.

        Parameters
        ----------
        codes : (B, L), int64
        mask : (B, L), bool
            True where there is a residue.
        """

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.project.weight.device

    @property
    def window(self) -> int:
        """Residues of a longer protein that are encoded at a time, without the margins."""
        return WINDOW

    @property
    def n_dimensions(self) -> int:
        """Length P of a protein's vector."""
        return self.project.out_features

    def checksum(self) -> str:
        """Return the SHA-256 of the weights, hexadecimal."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            flat = tensor.detach().cpu().reshape(-1)
            digest.update(name.encode() + flat.view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    @property
    def tables(self) -> list[Tensor]:
        """The tables of words among the parameters."""
        return [
            module.weight
            for module in self.modules()
            if isinstance(module, nn.Embedding) and module.num_embeddings > TABLE_ROWS
        ]

    def forward(self, codes: Tensor, mask: Tensor) -> EncoderOutput:
        """Encode a batch: codes and mask (B, L) -> `EncoderOutput`."""
        residues, log_weights = self.residue_vectors(codes, mask)
        return self.pool(residues, log_weights, mask)

    def vectors(self, codes: Tensor, mask: Tensor) -> Tensor:
        """Return the proteins' vectors alone, (B, P); what `forward` calls pooled."""
        return self(codes, mask).pooled

    def pool(self, residues: Tensor, log_weights: Tensor, mask: Tensor) -> EncoderOutput:
        """Return the weighted mean of residue vectors (B, L, D), mapped to (B, P)."""
        weights = torch.softmax(log_weights.float().masked_fill(~mask.unsqueeze(-1), -torch.inf), dim=1)
        # In float32 throughout: residue maps rest on the identity of this mean and its terms.
        with torch.autocast(residues.device.type, enabled=False):
            mean = (weights * residues.float()).sum(dim=1)
            pooled = self.project(mean)
        return EncoderOutput(residues, weights, pooled)

    @torch.inference_mode()
    def encode(
        self, sequences: Sequence[NDArray[np.uint8]], *, max_residues: int = 16_384
    ) -> Iterator[tuple[NDArray[np.int64], EncoderOutput, Tensor]]:
        """Encode sequences of any length in batches of similar length.

        Parameters
        ----------
        sequences : N arrays of codes, each (L_i,)
        max_residues : int, residues
            Size of a batch, padding included.

        Yields
        ------
        rows : (B,), int64
            Which sequences the batch holds.
        output : EncoderOutput
        mask : (B, L), bool

        Notes
        -----
        A protein longer than `window` is encoded in windows with a margin on either side as wide as the
        network can see, and the margins are dropped: the result is that of the whole protein.
        """
        for rows, codes, mask in self._batches(sequences, max_residues):
            windows = list(self._each_window(codes, mask))
            residues, log_weights = (torch.cat(parts, dim=1) for parts in zip(*windows, strict=True))
            yield rows, self.pool(residues, log_weights, mask), mask

    def _batches(
        self, sequences: Sequence[NDArray[np.uint8]], max_residues: int
    ) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor]]:
        """Yield rows (B,), codes (B, L) and mask (B, L), on the device of the network."""
        self.eval()
        for batch in token_batches(sequences, max_residues=max_residues):
            yield (
                batch.rows,
                torch.from_numpy(batch.codes).to(self.device),
                torch.from_numpy(batch.mask).to(self.device),
            )

    def _each_window(self, codes: Tensor, mask: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield residue vectors and logarithms of weights of consecutive windows, each (B, <= window, D)."""
        for start in range(0, max(1, codes.shape[1]), self.window):
            left = max(0, start - self.margin)
            seen = slice(left, start + self.window + self.margin)
            kept = slice(start - left, start - left + self.window)
            # Not around the loop: what the caller computes between two windows must keep its precision.
            with fast_autocast(codes.device):
                h, w = self.residue_vectors(codes[:, seen], mask[:, seen])
            yield h[:, kept], w[:, kept]

    @torch.inference_mode()
    def embed(
        self, sequences: Sequence[NDArray[np.uint8]], *, max_residues: int = 16_384
    ) -> NDArray[np.float32]:
        """Return the vectors (N, P) of N sequences of codes, each (L_i,).

        Memory does not grow with the length of a protein: the weighted mean is summed up window by window.
        """
        vectors = np.empty((len(sequences), self.n_dimensions), dtype=np.float32)
        lengths = np.array([len(codes) for codes in sequences])
        short = np.flatnonzero(lengths <= self.window)
        for rows, codes, mask in self._batches([sequences[int(i)] for i in short], max_residues):
            with fast_autocast(codes.device):
                vectors[short[rows]] = self.vectors(codes, mask).float().cpu().numpy()
        for row in np.flatnonzero(lengths > self.window).tolist():
            _, mean = self._long_mean(sequences[row])
            vectors[row] = self.project(mean).cpu().numpy()
        return vectors

    @torch.inference_mode()
    def encode_pieces(
        self, sequences: Sequence[NDArray[np.uint8]], *, max_residues: int = 16_384
    ) -> Iterator[tuple[NDArray[np.int64], Tensor, Iterator[tuple[Tensor, Tensor]]]]:
        """Encode sequences of any length, those longer than `window` piece by piece.

        What `encode` gives, but memory does not grow with the length of a protein. Long ones cost two
        passes, since a residue's weight depends on all others.

        Parameters
        ----------
        sequences : N arrays of codes, each (L_i,)
        max_residues : int, residues
            Size of a batch, padding included.

        Yields
        ------
        rows : (B,), int64
            Which sequences the batch holds; a long one is alone.
        pooled : (B, P)
        pieces : iterator of residues (B, L, D) and weights (B, L, D)
            Consecutive stretches of the batch; use them before the next batch.
        """
        lengths = np.array([len(codes) for codes in sequences])
        short = np.flatnonzero(lengths <= self.window)
        for rows, output, _ in self.encode([sequences[int(i)] for i in short], max_residues=max_residues):
            yield short[rows], output.pooled, iter([(output.residues, output.weights)])
        for row in np.flatnonzero(lengths > self.window).tolist():
            normalizer, mean = self._long_mean(sequences[row])
            yield np.array([row]), self.project(mean)[None], self._long_pieces(sequences[row], normalizer)

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
        """Split `direction . (mean - reference)` of each protein into a term of each residue.

        Parameters
        ----------
        sequences : N arrays of codes, each (L_i,)
        directions : (C, D), float32
            Of the weighted mean of residue vectors.
        reference : (D,), float32
        choose : callable
            Says which K directions are of interest for proteins with the vectors (B, P): (B, K).
        max_residues : int, residues
            Size of a batch, padding included.

        Yields
        ------
        ResidueTerms
        """
        directions, reference = directions.to(self.device), reference.to(self.device)
        for rows, pooled, pieces in self.encode_pieces(sequences, max_residues=max_residues):
            vectors = pooled.float().cpu().numpy()
            chosen = choose(vectors)
            toward = directions[torch.from_numpy(chosen).to(self.device)].transpose(1, 2)
            terms = [
                ((weights * (residues.float() - reference)) @ toward).cpu().numpy()
                for residues, weights in pieces
            ]
            yield ResidueTerms(rows, vectors, chosen, np.concatenate(terms, axis=1))

    @torch.inference_mode()
    def cell_terms(
        self, sequences: Sequence[NDArray[np.uint8]], step: int, *, max_residues: int = 16_384
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Split the weighted mean of each protein into a term of each cell of `step` residues.

        Parameters
        ----------
        sequences : N arrays of codes, each (L_i,)
        step : residues
            The last cell of a protein may have fewer.
        max_residues : int, residues
            Size of a batch, padding included.

        Yields
        ------
        row : int
            Which sequence.
        terms : (cells, D), float32
            They sum to the mean.
        """
        lengths = [len(codes) for codes in sequences]
        for rows, _, pieces in self.encode_pieces(sequences, max_residues=max_residues):
            shapes = [(-(-lengths[row] // step), self.project.in_features) for row in rows]
            cells = [np.zeros(shape, np.float32) for shape in shapes]
            start = 0
            for residues, weights in pieces:
                for terms, row, h, w in zip(cells, rows.tolist(), residues, weights, strict=True):
                    n = lengths[row] - start  # what follows is padding
                    _add_cells(terms, w[:n].float() * h[:n].float(), start, step)
                start += residues.shape[1]
            yield from zip(rows.tolist(), cells, strict=True)

    def _long_windows(self, codes: NDArray[np.uint8]) -> Iterator[tuple[Tensor, Tensor]]:
        whole = torch.from_numpy(codes.astype(np.int64)).to(self.device)[None]
        self.eval()
        return self._each_window(whole, torch.ones_like(whole, dtype=torch.bool))

    @torch.inference_mode()
    def _long_pieces(self, codes: NDArray[np.uint8], normalizer: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        for residues, log_weights in self._long_windows(codes):
            yield residues, torch.exp(log_weights.float() - normalizer)

    def _long_mean(self, codes: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
        """Return the logarithm (D,) of the sum of weights and the weighted mean (D,) of one protein."""
        highest = torch.full((self.project.in_features,), -torch.inf, device=self.device)
        total = torch.zeros_like(highest)
        weighted = torch.zeros_like(highest)
        for residues, log_weights in self._long_windows(codes):
            logs = log_weights[0].float()
            # A softmax in pieces: all sums are relative to the highest weight so far.
            top = torch.maximum(highest, logs.amax(dim=0))
            shares, scale = torch.exp(logs - top), torch.exp(highest - top)
            total = total * scale + shares.sum(dim=0)
            weighted = weighted * scale + (shares * residues[0].float()).sum(dim=0)
            highest = top
        return highest + total.log(), weighted / total


def _add_cells(cells: NDArray[np.float32], values: Tensor, start: int, step: int) -> None:
    """Add values (L, D) of the residues from `start` on to the cells of `step` residues they lie in."""
    first, before = divmod(start, step)
    padded = nn.functional.pad(values, (0, 0, before, -(before + len(values)) % step))
    added = padded.reshape(-1, step, values.shape[1]).sum(dim=1).cpu().numpy()
    cells[first : first + len(added)] += added


def fast_dtype(device: torch.device) -> torch.dtype:
    """Return the fastest safe number format for matrix products.

    bfloat16 where the processor computes in it, else float32: a CPU without the instructions emulates
    bfloat16 about a hundred times slower.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return torch.bfloat16 if device.type == "cpu" and supported else torch.float32


def fast_autocast(device: torch.device) -> torch.autocast:
    """Return the context in which matrix products are computed in `fast_dtype`."""
    dtype = fast_dtype(device)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)
