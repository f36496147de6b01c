"""A network of residual dilated convolutions beside a table of trimers; the default until `WordEncoder`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqscan.alphabet import AMINO
from seqscan.encoder.abstract import AbstractEncoder
from seqscan.errors import InvalidParameter

__all__ = ["ConvEncoder", "ConvEncoderConfig"]


@dataclass(frozen=True)
class ConvEncoderConfig:
    """Shape of a `ConvEncoder`.

    Attributes
    ----------
    width : int
        Channels of the convolutions.
    n_features : int
        Length D of a residue vector.
    kernel : int, residues
        Odd.
    dilations : tuple of int
        One block each.
    n_dimensions : int
        Length P of a protein's vector.
    """

    width: int = 128
    n_features: int = 256
    kernel: int = 5
    dilations: tuple[int, ...] = (1, 2, 4)
    n_dimensions: int = 192

    def __post_init__(self) -> None:
        object.__setattr__(self, "dilations", tuple(self.dilations))
        if self.kernel % 2 == 0:
            raise InvalidParameter("kernel", self.kernel, "must be odd")


class _Block(nn.Module):
    """One residual convolution; what is no residue counts as zero."""

    def __init__(self, config: ConvEncoderConfig, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width)
        padding = dilation * (config.kernel // 2)
        self.convolve = nn.Conv1d(
            config.width, config.width, config.kernel, padding=padding, dilation=dilation
        )
        nn.init.normal_(self.convolve.weight, std=0.5 / math.sqrt(config.width * config.kernel))
        assert self.convolve.bias is not None
        nn.init.zeros_(self.convolve.bias)

    def forward(self, residues: Tensor, present: Tensor) -> Tensor:
        inner = F.silu(self.norm(residues)) * present
        return residues + self.convolve(inner.transpose(1, 2)).transpose(1, 2)


class ConvEncoder(AbstractEncoder):
    """Residual dilated convolutions, after ByteNet, ProtCNN and CARP.

    A residue vector depends on `margin` residues to either side and on nothing else, so a long protein
    costs time in proportion to its length, and windows change nothing.

    Examples
    --------
    >>> encoder = ConvEncoder(ConvEncoderConfig(width=8, n_dimensions=4))
    >>> encoder.embed([AMINO.encode("MKVL"), AMINO.encode("MK")]).shape
    (2, 4)
    """

    def __init__(self, config: ConvEncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config or ConvEncoderConfig()
        width = self.config.width
        self.embed_codes = nn.Embedding(len(AMINO), width, padding_idx=AMINO.pad)
        self.blocks = nn.ModuleList(_Block(self.config, dilation) for dilation in self.config.dilations)
        self.norm = nn.LayerNorm(width)
        self.features = nn.Linear(width, self.config.n_features)
        # What three residues in a row say by themselves: a table costs no arithmetic, and it is learned long
        # before the convolutions are.
        self.trimers = nn.Embedding(len(AMINO) ** 3, self.config.n_features)
        nn.init.normal_(self.trimers.weight, std=0.3)
        nn.init.normal_(self.features.weight, std=0.1 / math.sqrt(width))
        # From a plain mean to nearly a maximum; learned from there.
        self.sharpness = nn.Parameter(torch.linspace(0.0, 3.0, self.config.n_features))
        self.predict_residue = nn.Linear(self.config.n_features, AMINO.n_residues + 1)
        self.project = nn.Linear(self.config.n_features, self.config.n_dimensions)
        self.margin = self.reach = sum(self.config.dilations) * (self.config.kernel // 2)

    def residue_vectors(self, codes: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        present = mask.unsqueeze(-1)
        hidden = self.embed_codes(codes)
        for block in self.blocks:
            hidden = block(hidden, present)
        residues = (self.features(self.norm(hidden)) + self.trimers(_trimers(codes))) * present
        return residues, residues * self.sharpness


def _trimers(codes: Tensor) -> Tensor:
    """Number each residue's trimer: the one before it, itself, the one after it; (B, L) -> (B, L)."""
    n = len(AMINO)
    around = F.pad(codes, (1, 1), value=AMINO.pad)
    return (around[:, :-2] * n + codes) * n + around[:, 2:]
