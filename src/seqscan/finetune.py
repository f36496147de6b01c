"""Joint feature learning: the SCAN loss through the encoder.

Each pair of neighbors is seen through random crops with hidden residues, so that the encoder learns what
relatives share and the prototypes learn what the encoder sees.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from seqscan.allocator import freed_memory_kept
from seqscan.checkpoint import Checkpoint, write_checkpoint
from seqscan.encoder import TrainableEncoder, WordEncoder, fast_autocast
from seqscan.head import ClusterHead
from seqscan.losses import scan_loss, self_label_loss
from seqscan.neighbors import NeighborGraph
from seqscan.scan.heads import NeighborSampler, RunningMean
from seqscan.tokens import TokenBatch, mask_residues, pad, random_crop

__all__ = ["FinetuneConfig", "finetune"]


@dataclass(frozen=True)
class FinetuneConfig:
    """How to train the encoder through the clusters.

    Attributes
    ----------
    n_steps : int
        At least.
    steps_per_cluster : int
        At least: every cluster must be seen many times.
    batch_residues : int, residues
        Both views together.
    crop_lengths : tuple of int, residues
        One is drawn for each step.
    mask_fraction : share of the residues
    entropy_weight : dimensionless
    label_weight : dimensionless
        Weight of the self-labelling loss beside the SCAN loss.
    encoder_learning_rate, prototype_learning_rate : float
        Of AdamW; rise over a tenth of the steps, fall along a cosine.
    interpolation : share
        How far the result lies from the encoder that was given, towards the one that was trained, weight by
        weight: what a short training learns by heart of few proteins is bought with what the encoder knew of
        others, and half the way keeps most of both (WiSE-FT: Wortsman et al., CVPR 2022, arXiv 2109.01903).
    checkpoint_seconds : float, seconds
        How much work a kill may cost; changes nothing in the result.
    """

    n_steps: int = 300
    steps_per_cluster: int = 3
    batch_residues: int = 16_384
    crop_lengths: tuple[int, ...] = (64, 96, 128)
    mask_fraction: float = 0.1
    entropy_weight: float = 1.0
    label_weight: float = 10.0
    encoder_learning_rate: float = 5e-4
    prototype_learning_rate: float = 5e-3
    interpolation: float = 0.5
    checkpoint_seconds: float = 300.0

    def total_steps(self, n_clusters: int) -> int:
        """Return how many steps the training of so many clusters takes."""
        return max(self.n_steps, self.steps_per_cluster * n_clusters)


@dataclass
class _Training:
    """What a step changes.

    Attributes
    ----------
    encoder : TrainableEncoder
    prototypes : (C, Q)
    optimizer : AdamW
        Of both.
    mean : RunningMean
        The clusters' shares.
    rows : list of dict
        Losses of the steps that are done.
    """

    encoder: TrainableEncoder
    prototypes: torch.nn.Parameter
    optimizer: torch.optim.Optimizer
    mean: RunningMean
    rows: list[dict[str, float]] = field(default_factory=list)

    def write(self, path: Path, recipe: str) -> None:
        """Write a checkpoint."""
        assert self.mean.value is not None
        state = {f"encoder.{name}": tensor for name, tensor in self.encoder.state_dict().items()}
        state |= {"prototypes": self.prototypes, "mean": self.mean.value}
        write_checkpoint(path, state, self.optimizer, {"recipe": recipe, "rows": json.dumps(self.rows)})

    def resume(self, path: Path, recipe: str) -> None:
        """Go on from a checkpoint, if there is one of this recipe."""
        if not path.exists():
            return
        saved = Checkpoint.read(path)
        if saved.metadata["recipe"] != recipe:
            return
        self.encoder.load_state_dict(saved.part("encoder"))
        with torch.no_grad():
            self.prototypes.copy_(saved.tensors["prototypes"])
        self.mean.value = saved.tensors["mean"].to(self.prototypes.device)
        saved.restore(self.optimizer)
        self.rows = json.loads(saved.metadata["rows"])


@freed_memory_kept()
def finetune(
    encoder: TrainableEncoder,
    sequences: Sequence[NDArray[np.uint8]],
    head: ClusterHead,
    graph: NeighborGraph,
    config: FinetuneConfig,
    *,
    seed: int,
    labels: NDArray[np.int64] | None = None,
    checkpoint: Path | None = None,
    recipe: str = "",
    on_step: Callable[[dict[str, float]], None] | None = None,
) -> TrainableEncoder:
    """Return a copy of the encoder, trained so that neighbors come into one cluster, but not all the way.

    Parameters
    ----------
    encoder : TrainableEncoder
        Left as it is.
    sequences : N arrays of codes, each (L_i,)
    head : ClusterHead
        On the encoder's vectors: the prototypes to begin from.
    graph : NeighborGraph
        Pairs to train on.
    config : FinetuneConfig
    seed : int
    labels : (N,), optional
        Clusters that are known already, from `neighbors.label_pieces`, -1 where none is: self-labelling.
    checkpoint : path, optional
        Where the state of the training is kept; a later call goes on from there. Remove it when the result
        is safe.
    recipe : str
        What the result depends on: a checkpoint of another recipe is not used.
    on_step : callable, optional
        Called with the losses of each step; first with those of the steps before the checkpoint.
    """
    n_steps = config.total_steps(head.n_clusters)
    sampler = NeighborSampler(graph)
    before = encoder.state_dict()
    encoder = copy.deepcopy(encoder)
    if isinstance(encoder, WordEncoder):
        encoder.exchange_words()
    training = _begin(encoder, head, config)
    if checkpoint is not None:
        training.resume(checkpoint, recipe)
    if on_step is not None:
        for row in training.rows:
            on_step(row)
    encoder, prototypes, optimizer = training.encoder, training.prototypes, training.optimizer
    center = torch.from_numpy(head.center).to(prototypes.device)
    projection = torch.from_numpy(head.projection).to(prototypes.device)
    last_saved = time.monotonic()
    for step in range(len(training.rows), n_steps):
        generator = np.random.default_rng((seed, 32, step))
        _set_learning_rates(optimizer, step, n_steps)
        drawn, batch = _draw(sampler, sequences, config, generator)
        encoder.train()
        points = F.normalize((_pooled(encoder, batch) - center) @ projection, dim=1)
        anchors, neighbors = points.chunk(2)
        directions = F.normalize(prototypes, dim=1) / head.temperature
        scan = scan_loss(
            anchors @ directions.T,
            neighbors @ directions.T,
            entropy_weight=config.entropy_weight,
            mean=training.mean,
        )
        total = scan.total
        if labels is not None:
            known = torch.from_numpy(labels[drawn]).to(prototypes.device)
            total = total + config.label_weight * self_label_loss(points @ directions.T, known)
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
        losses = {name: float(loss.detach()) for name, loss in scan._asdict().items()}
        training.rows.append({"step": step} | losses)
        if on_step is not None:
            on_step(training.rows[-1])
        if checkpoint is not None and time.monotonic() - last_saved >= config.checkpoint_seconds:
            training.write(checkpoint, recipe)
            last_saved = time.monotonic()
    if isinstance(encoder, WordEncoder):
        encoder.settle()
    after = encoder.state_dict()
    encoder.load_state_dict(
        {name: torch.lerp(weight, after[name], config.interpolation) for name, weight in before.items()}
    )
    return encoder.eval()


def _begin(encoder: TrainableEncoder, head: ClusterHead, config: FinetuneConfig) -> _Training:
    """Begin to train an encoder and the prototypes of a head, in place."""
    prototypes = torch.nn.Parameter(torch.from_numpy(head.prototypes).clone().to(encoder.device))
    tables = encoder.tables
    others = [p for p in encoder.parameters() if not any(p is table for table in tables)]
    optimizer = torch.optim.AdamW(
        [
            {"params": others, "peak": config.encoder_learning_rate},
            {"params": tables, "peak": encoder.table_scale * config.encoder_learning_rate},
            {"params": [prototypes], "peak": config.prototype_learning_rate},
        ],
        betas=(0.9, 0.98),
        weight_decay=0.0,
        fused=True,
    )
    mean = RunningMean(head.n_clusters, config.batch_residues // (2 * max(config.crop_lengths)))
    return _Training(encoder, prototypes, optimizer, mean)


def _set_learning_rates(optimizer: torch.optim.Optimizer, step: int, n_steps: int) -> None:
    """Let each group's rate rise to its peak over a tenth of the steps, then fall along a cosine."""
    rise = min(1.0, (step + 1) / max(1.0, n_steps / 10))
    fall = 0.05 + 0.95 * 0.5 * (1.0 + math.cos(math.pi * step / n_steps))
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * rise * fall


def _draw(
    sampler: NeighborSampler,
    sequences: Sequence[NDArray[np.uint8]],
    config: FinetuneConfig,
    generator: np.random.Generator,
) -> tuple[NDArray[np.int64], TokenBatch]:
    """Draw anchors, then a neighbor of each, (B,) rows in all; return them and a masked crop of each."""
    length = int(generator.choice(config.crop_lengths))
    pairs = sampler.draw(max(2, config.batch_residues // (2 * length)), generator)
    rows = pairs.T.ravel()
    views = [random_crop(sequences[int(row)], length, generator) for row in rows]
    batch, _ = mask_residues(pad(views), config.mask_fraction, generator)
    return rows, batch


def _pooled(encoder: TrainableEncoder, batch: TokenBatch) -> Tensor:
    """Return the vectors (B, P) of a batch, with gradients, in the fastest number format."""
    codes, mask = (torch.from_numpy(array).to(encoder.device) for array in (batch.codes, batch.mask))
    with fast_autocast(encoder.device):
        return encoder.vectors(codes, mask)
