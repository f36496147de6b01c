"""Networks that the study compares; they differ only between the embedding and the features."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqscan.alphabet import AMINO
from seqscan.encoder import AbstractEncoder, ConvEncoder, ConvEncoderConfig, WordEncoder


class StudyEncoder(AbstractEncoder):
    """Embedding, a body that mixes residues, features, and the pooling of the package's encoder.

    Parameters
    ----------
    body : nn.Module
        Maps residue vectors (B, L, W) and which of them are residues (B, L, 1) to (B, L, W).
    width : int
        W.
    trimers : bool
        Whether a table of trimers stands beside the body, as in `ConvEncoder`.
    margin : int, residues
    """

    def __init__(
        self,
        body: nn.Module,
        width: int,
        *,
        trimers: bool,
        margin: int,
        n_features: int = 256,
        n_dimensions: int = 192,
    ) -> None:
        super().__init__()
        self.embed_codes = nn.Embedding(len(AMINO), width, padding_idx=AMINO.pad)
        self.body = body
        self.norm = nn.LayerNorm(width)
        self.features = nn.Linear(width, n_features)
        nn.init.normal_(self.features.weight, std=(0.1 if trimers else 1.0) / math.sqrt(width))
        self.trimers = nn.Embedding(len(AMINO) ** 3, n_features) if trimers else None
        if self.trimers is not None:
            nn.init.normal_(self.trimers.weight, std=0.3)
        self.sharpness = nn.Parameter(torch.linspace(0.0, 3.0, n_features))
        self.predict_residue = nn.Linear(n_features, AMINO.n_residues + 1)
        self.project = nn.Linear(n_features, n_dimensions)
        self.margin = margin

    def residue_vectors(self, codes: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        present = mask.unsqueeze(-1)
        residues = self.features(self.norm(self.body(self.embed_codes(codes) * present, present)))
        if self.trimers is not None:
            n = len(AMINO)
            around = F.pad(codes, (1, 1), value=AMINO.pad)
            residues = residues + self.trimers((around[:, :-2] * n + codes) * n + around[:, 2:])
        residues = residues * present
        return residues, residues * self.sharpness


class WordsAndConvolutions(WordEncoder):
    """Words, changed by residual convolutions over them: what a word says by what stands near.

    Each block convolves every channel by itself, then mixes all: ConvNeXt (Liu et al., arXiv 2201.03545) in
    one dimension. The residue vectors are not normalised: the longer one is, the more it counts in the mean.
    """

    def __init__(
        self, n_hidden: int = 512, kernel: int = 9, dilations: tuple[int, ...] = (1, 2, 4, 8, 16)
    ) -> None:
        super().__init__()
        n_features = self.config.n_features
        self.body = _Layers(*(_NextBlock(n_features, n_hidden, kernel, dilation) for dilation in dilations))
        self.margin = self.reach + sum(dilations) * (kernel // 2)

    def residue_vectors(self, codes: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        table = self.table.weight
        if codes.is_cuda and torch.is_autocast_enabled("cuda"):
            table = table.to(torch.get_autocast_dtype("cuda"))
        words = F.embedding_bag(self._rows(codes).flatten(0, 1), table, mode="sum")
        present = mask.unsqueeze(-1)
        residues = self.body(words.view(*codes.shape, -1) * present, present) * present
        return residues, residues.new_zeros(()).expand(residues.shape)

    # Context makes no sum of words of it: back to what holds for every encoder.
    vectors = AbstractEncoder.vectors
    residue_terms = AbstractEncoder.residue_terms


class _NextBlock(nn.Module):
    """A block of `WordsAndConvolutions`; it changes nothing to begin with."""

    def __init__(self, n_features: int, n_hidden: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.norm, self.norm_after = nn.LayerNorm(n_features), nn.LayerNorm(n_features)
        self.kernel = nn.Parameter(torch.empty(n_features, kernel))
        nn.init.normal_(self.kernel, std=kernel**-0.5)
        self.widen, self.narrow = nn.Linear(n_features, n_hidden), nn.Linear(n_hidden, n_features)
        nn.init.zeros_(self.narrow.weight)
        nn.init.zeros_(self.narrow.bias)

    def forward(self, residues: Tensor, present: Tensor) -> Tensor:
        inner = _convolved(self.norm(residues) * present, self.kernel, self.dilation)
        return residues + self.narrow(F.gelu(self.widen(self.norm_after(inner)))).to(residues.dtype)


def _convolved(residues: Tensor, kernel: Tensor, dilation: int) -> Tensor:
    """Convolve each channel of (B, L, D) by itself with a kernel (D, K), zeros beyond the ends."""
    margin = dilation * (kernel.shape[1] // 2)
    if not residues.is_cuda:
        weight = kernel[:, None].to(residues.dtype)
        channels = residues.transpose(1, 2)
        return F.conv1d(channels, weight, padding=margin, dilation=dilation, groups=len(kernel)).transpose(
            1, 2
        )
    # A sum of shifted copies: a compiler makes one pass of it, with features side by side in memory.
    around, length = F.pad(residues, (0, 0, margin, margin)), residues.shape[1]
    total = torch.zeros_like(residues)
    for place, weight in enumerate(kernel.to(residues.dtype).unbind(dim=1)):
        total = total + around[:, place * dilation : place * dilation + length] * weight
    return total


class _Layers(nn.Module):
    """One layer after another, each of which also learns what is a residue."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, residues: Tensor, present: Tensor) -> Tensor:
        for layer in self.layers:
            residues = layer(residues, present)
        return residues


class _Dense(nn.Module):
    """Residual dilated convolution, all channels with all."""

    def __init__(self, width: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.convolve = nn.Conv1d(width, width, kernel, padding=dilation * (kernel // 2), dilation=dilation)
        nn.init.normal_(self.convolve.weight, std=0.5 / math.sqrt(width * kernel))

    def forward(self, residues: Tensor, present: Tensor) -> Tensor:
        inner = F.silu(self.norm(residues)) * present
        return residues + self.convolve(inner.transpose(1, 2)).transpose(1, 2)


class _Depthwise(nn.Module):
    """Block of ByteNet and CARP (Yang et al., Cell Syst. 2024), each channel convolved by itself."""

    def __init__(self, width: int, kernel: int, dilation: int) -> None:
        super().__init__()
        half = width // 2
        self.norms = nn.ModuleList(nn.LayerNorm(size) for size in (width, half, half))
        self.narrow, self.widen = nn.Linear(width, half), nn.Linear(half, width)
        self.convolve = nn.Conv1d(
            half, half, kernel, padding=dilation * (kernel // 2), dilation=dilation, groups=half
        )

    def forward(self, residues: Tensor, present: Tensor) -> Tensor:
        inner = self.narrow(F.gelu(self.norms[0](residues)))
        inner = F.gelu(self.norms[1](inner)) * present
        inner = self.convolve(inner.transpose(1, 2)).transpose(1, 2)
        return residues + self.widen(F.gelu(self.norms[2](inner)))


class _Recurrence(nn.Module):
    """Gated linear recurrence, half of the channels in each direction: h = (1 - z) h_before + z c.

    The gate and the candidate depend on the residue alone, as in minGRU (Feng et al., arXiv 2410.01201).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.gates = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        # Memories from about 2 to about 50 residues to begin with.
        with torch.no_grad():
            self.gates.bias[:width] = torch.linspace(0.0, -4.0, width // 2).repeat(2)

    def forward(self, residues: Tensor, present: Tensor) -> Tensor:
        update, candidate, output = self.gates(self.norm(residues)).chunk(3, dim=-1)
        update = torch.sigmoid(update)
        forget, add = 1.0 - update, update * candidate * present
        half = residues.shape[-1] // 2
        # Padding adds nothing, so the backward half may begin in it.
        forget = torch.cat([forget[..., :half], forget[..., half:].flip(1)], dim=-1)
        add = torch.cat([add[..., :half], add[..., half:].flip(1)], dim=-1)
        states = []
        state = torch.zeros_like(add[:, 0])
        for keep, new in zip(forget.unbind(1), add.unbind(1), strict=True):
            state = torch.addcmul(new, keep, state)
            states.append(state)
        hidden = torch.stack(states, dim=1)
        hidden = torch.cat([hidden[..., :half], hidden[..., half:].flip(1)], dim=-1)
        return residues + self.mix(hidden * F.silu(output))


class _Attention(nn.Module):
    """Transformer layer with rotary positions (Su et al., arXiv 2104.09864)."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm, self.norm_after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.grow, self.shrink = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, residues: Tensor, present: Tensor) -> Tensor:
        b, n, width = residues.shape
        q, k, v = (
            x.view(b, n, self.n_heads, -1).transpose(1, 2)
            for x in self.qkv(self.norm(residues)).chunk(3, dim=-1)
        )
        seen = present.squeeze(-1)[:, None, None, :]
        attended = F.scaled_dot_product_attention(_rotated(q), _rotated(k), v, attn_mask=seen)
        residues = residues + self.out(attended.transpose(1, 2).reshape(b, n, width))
        return residues + self.shrink(F.gelu(self.grow(self.norm_after(residues))))


def _rotated(x: Tensor) -> Tensor:
    """Turn pairs of channels of (B, H, L, C) by an angle in proportion to the place."""
    half = x.shape[-1] // 2
    rates = 10_000.0 ** (-torch.arange(half, device=x.device) / half)
    angle = torch.arange(x.shape[2], device=x.device)[:, None] * rates
    first, second = x[..., :half], x[..., half:]
    return torch.cat(
        [first * angle.cos() - second * angle.sin(), first * angle.sin() + second * angle.cos()], dim=-1
    ).to(x.dtype)


FAR = 512
"""Margin of a network that sees the whole protein: what lies further is taken to say nothing."""


def _conv(trimers: bool) -> AbstractEncoder:
    width, dilations = 256, (1, 2, 4, 8)
    body = _Layers(*(_Dense(width, 5, dilation) for dilation in dilations))
    return StudyEncoder(body, width, trimers=trimers, margin=2 * sum(dilations))


def _dilated(trimers: bool) -> AbstractEncoder:
    width, dilations = (256, (1, 2, 4, 8, 16)) if trimers else (352, (1, 2, 4, 8, 16, 1, 2, 4, 8, 16))
    body = _Layers(*(_Depthwise(width, 5, dilation) for dilation in dilations))
    return StudyEncoder(body, width, trimers=trimers, margin=2 * sum(dilations))


def _recurrence(trimers: bool) -> AbstractEncoder:
    width = 160 if trimers else 256
    body = _Layers(*(_Recurrence(width) for _ in range(2 if trimers else 4)))
    return StudyEncoder(body, width, trimers=trimers, margin=FAR)


def _transformer(trimers: bool) -> AbstractEncoder:
    width, n_layers = (128, 2) if trimers else (192, 4)
    body = _Layers(*(_Attention(width, 4) for _ in range(n_layers)))
    return StudyEncoder(body, width, trimers=trimers, margin=FAR)


def learning_together(network: WordEncoder) -> WordEncoder:
    """Let the words of a new network learn together, and return it."""
    network.exchange_words(new=True)
    return network


NETWORKS: dict[str, Callable[[], AbstractEncoder]] = {
    "words": lambda: learning_together(WordEncoder()),
    "words, each for itself": WordEncoder,
    "words and convolutions": WordsAndConvolutions,
    "conv+trimers": lambda: ConvEncoder(ConvEncoderConfig()),
    "conv+trimers, deeper": lambda: ConvEncoder(ConvEncoderConfig(dilations=(1, 2, 4, 8, 16))),
    "conv": lambda: _conv(False),
    "dilated": lambda: _dilated(False),
    "dilated+trimers": lambda: _dilated(True),
    "recurrence": lambda: _recurrence(False),
    "recurrence+trimers": lambda: _recurrence(True),
    "transformer": lambda: _transformer(False),
    "transformer+trimers": lambda: _transformer(True),
}
"""By name; `words` is the package's default and `conv+trimers` its other one."""
TABLES = ("words", "words, each for itself")
"""Networks that only look up."""
