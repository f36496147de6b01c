"""From residue codes to residue vectors and one vector per protein.

The vector of a protein is an affine map of a weighted mean of its residue vectors:
`pooled = project(sum_t weight_t * h_t)`. Each feature has its own weights over the residues, so that a
feature can be a mean over the protein or, sharper, the strongest match to a motif; nothing else stands
between. That is what makes the residue maps of `seqscan.explain` an exact identity.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from seqscan.alphabet import AMINO
from seqscan.artifact import read_manifest, write_artifact
from seqscan.errors import ArtifactError, InvalidParameter
from seqscan.tokens import token_batches

__all__ = [
    "AbstractEncoder",
    "ConvEncoder",
    "ConvEncoderConfig",
    "EncoderOutput",
    "encoder_path",
    "fast_dtype",
    "load_encoder",
    "save_encoder",
]

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


class AbstractEncoder(nn.Module, ABC):
    """Base of all encoders: says how residue vectors become a protein's vector.

    A concrete encoder gives `residue_vectors`, `project` (the affine map, an `nn.Linear` from D to P), and
    `margin`: how many residues on either side a residue vector depends on. One that is to be trained by
    `seqscan.pretrain` also has `predict_residue`, from D to the residue codes.
    """

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
    def n_dimensions(self) -> int:
        """Length P of a protein's vector."""
        return self.project.out_features

    def forward(self, codes: Tensor, mask: Tensor) -> EncoderOutput:
        """Encode a batch: codes and mask (B, L) -> `EncoderOutput`."""
        residues, log_weights = self.residue_vectors(codes, mask)
        return self.pool(residues, log_weights, mask)

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
        A protein longer than `WINDOW` is encoded in windows with a margin on either side as wide as the
        network can see, and the margins are dropped: the result is that of the whole protein.
        """
        device = self.project.weight.device
        dtype = fast_dtype(device)
        self.eval()
        for batch in token_batches(sequences, max_residues=max_residues):
            codes = torch.from_numpy(batch.codes).to(device)
            mask = torch.from_numpy(batch.mask).to(device)
            windows = list(self._each_window(codes, mask, dtype))
            residues, log_weights = (torch.cat(parts, dim=1) for parts in zip(*windows, strict=True))
            yield batch.rows, self.pool(residues, log_weights, mask), mask

    def _each_window(
        self, codes: Tensor, mask: Tensor, dtype: torch.dtype
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield residue vectors and logarithms of weights, each (B, <= WINDOW, D), of consecutive windows."""
        for start in range(0, max(1, codes.shape[1]), WINDOW):
            left = max(0, start - self.margin)
            seen = slice(left, start + WINDOW + self.margin)
            kept = slice(start - left, start - left + WINDOW)
            # Not around the loop: what the caller computes between two windows must keep its precision.
            with torch.autocast(codes.device.type, dtype=dtype, enabled=dtype != torch.float32):
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
        short = np.array([i for i, codes in enumerate(sequences) if len(codes) <= WINDOW], dtype=np.int64)
        for rows, output, _ in self.encode([sequences[i] for i in short], max_residues=max_residues):
            vectors[short[rows]] = output.pooled.float().cpu().numpy()
        for row in np.setdiff1d(np.arange(len(sequences)), short):
            vectors[row] = self._embed_long(sequences[row]).cpu().numpy()
        return vectors

    def _embed_long(self, codes: NDArray[np.uint8]) -> Tensor:
        """Return the vector (P,) of one protein, from windows; what `pool` gives for the whole of it."""
        device = self.project.weight.device
        dtype = fast_dtype(device)
        highest = torch.full((self.project.in_features,), -torch.inf, device=device)
        total = torch.zeros_like(highest)
        weighted = torch.zeros_like(highest)
        whole = torch.from_numpy(codes.astype(np.int64)).to(device)[None]
        for residues, log_weights in self._each_window(
            whole, torch.ones_like(whole, dtype=torch.bool), dtype
        ):
            logs = log_weights[0].float()
            # A softmax in pieces: all sums are relative to the highest weight so far.
            top = torch.maximum(highest, logs.amax(dim=0))
            shares, scale = torch.exp(logs - top), torch.exp(highest - top)
            total = total * scale + shares.sum(dim=0)
            weighted = weighted * scale + (shares * residues[0].float()).sum(dim=0)
            highest = top
        return self.project(weighted / total)


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
        self.margin = sum(self.config.dilations) * (self.config.kernel // 2)

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


def fast_dtype(device: torch.device) -> torch.dtype:
    """Return the fastest safe number format for matrix products.

    bfloat16 where the processor computes in it, else float32: a CPU without the instructions emulates
    bfloat16 about a hundred times slower.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return torch.bfloat16 if device.type == "cpu" and supported else torch.float32


def save_encoder(
    encoder: ConvEncoder, path: str | Path, *, provenance: dict[str, object] | None = None, half: bool = False
) -> None:
    """Write an encoder artifact: `weights.safetensors` and a manifest.

    Parameters
    ----------
    path : path
        Replaced if it is an encoder.
    provenance : dict, optional
        How it was made, JSON values; goes into the manifest.
    half : bool
        Store float16, half the size.
    """
    content = {"config": asdict(encoder.config), "provenance": provenance or {}}
    with write_artifact(path, "encoder", content) as directory:
        dtype = torch.float16 if half else torch.float32
        weights = {
            name: tensor.detach().to(dtype).contiguous() for name, tensor in encoder.state_dict().items()
        }
        save_file(weights, directory / "weights.safetensors")


def encoder_path(name: str | Path) -> Path:
    """Return where an encoder artifact lies; `default` is the one that comes with the package."""
    return Path(str(files("seqscan") / "encoders" / "default")) if name == "default" else Path(name)


def load_encoder(name: str | Path = "default") -> ConvEncoder:
    """Load an encoder artifact, or the one that comes with the package.

    Parameters
    ----------
    name : str or path
        `default`, or the path of an encoder artifact.

    Raises
    ------
    ArtifactError
        If there is none, or it is damaged.
    """
    path = encoder_path(name)
    manifest = read_manifest(path, "encoder", verify=True)
    try:
        encoder = ConvEncoder(ConvEncoderConfig(**manifest.content["config"]))
        weights = load_file(path / "weights.safetensors")
        encoder.load_state_dict({key: tensor.float() for key, tensor in weights.items()})
    except (KeyError, TypeError, RuntimeError) as error:
        raise ArtifactError(
            str(path), f"its weights do not fit its configuration ({error})", remedy="Make it again."
        ) from None
    return encoder.eval()
