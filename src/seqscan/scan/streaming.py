"""SCAN on more vectors than memory holds, in one process or under `torchrun`.

The vectors stay in their store. A head needs its prototypes, one block of whitened vectors, and the logits of
a few dozen proteins, however many proteins and clusters there are.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from seqscan.checkpoint import Checkpoint, write_checkpoint
from seqscan.device import best_device
from seqscan.distributed import mean_over_ranks, n_ranks, rank, wait_for_all
from seqscan.errors import InvalidParameter
from seqscan.head import ClusterHead, Whitening, whiten
from seqscan.neighbors.graph import NeighborGraph
from seqscan.scan.heads import spread_points
from seqscan.store import EmbeddingStore, unit

__all__ = [
    "StreamConfig",
    "held_out_pairs",
    "pair_gradient",
    "spread_prototypes",
    "stream_head",
    "stream_labels",
    "stream_means",
    "stream_whitening",
]

CHUNK_LOGITS = 1 << 20
"""Logits computed at once, 4 MB: they are passed over several times and should stay in the cache."""
BLOCK_ROWS = 65_536
"""Proteins whose whitened vectors are in memory at once."""
N_HELD_OUT = 20_000
"""Proteins, at most, that are kept out of training to judge a head; a tenth of few, a hundredth of many."""


@dataclass(frozen=True)
class StreamConfig:
    """How to train a head from a store.

    Attributes
    ----------
    n_epochs : int
    min_steps : int
        Few proteins are seen more often: one epoch of them would be a handful of steps.
    max_steps : int, optional
        Of many proteins a random part of each block is seen.
    batch_size : int, proteins
        Of all ranks together.
    entropy_weight, temperature : dimensionless
    learning_rate : float
        Of Adam, falls along a cosine.
    label_weight : dimensionless
        Of the loss on clusters that are known already, beside the SCAN loss. Those that links between
        prototypes join are no better known than neighbors are.
    """

    n_epochs: int = 1
    min_steps: int = 400
    max_steps: int | None = None
    batch_size: int = 2048
    entropy_weight: float = 1.0
    temperature: float = 0.05
    learning_rate: float = 0.01
    label_weight: float = 1.0


@dataclass
class _Training:
    """All that a training goes on from.

    Attributes
    ----------
    prototypes : (C, Q)
        Their length does not count.
    optimizer : Adam
    shares : (C,)
        The clusters' shares over about 10 C recent anchors.
    step : int
        How many are done.
    """

    prototypes: torch.nn.Parameter
    optimizer: torch.optim.Adam
    shares: Tensor
    step: int = 0

    @classmethod
    def begin(cls, initial: NDArray[np.float32], device: torch.device) -> _Training:
        """Begin with prototypes (C, Q)."""
        directions = F.normalize(torch.from_numpy(initial.astype(np.float32)), dim=1)
        prototypes = torch.nn.Parameter(directions.to(device))
        shares = torch.full((len(initial),), 1.0 / len(initial), device=device)
        # Fused: of thousands of prototypes the moments take a tenth of the time.
        return cls(prototypes, torch.optim.Adam([prototypes], fused=True), shares)

    def learn(
        self, anchors: Tensor, neighbors: Tensor, known: Tensor | None, config: StreamConfig, rate: float
    ) -> Tensor:
        """Take a step from pairs (B, Q) and the clusters of their anchors (B,); return the consistency."""
        with torch.enable_grad():
            directions = F.normalize(self.prototypes, dim=1)
        sharp = directions.detach() / config.temperature
        if not self.step:
            _, mean, _ = pair_gradient(anchors, neighbors, sharp, self.shares, entropy_weight=0.0)
            self.shares = mean_over_ranks(mean)
        gradient, mean, consistency = pair_gradient(
            anchors, neighbors, sharp, self.shares,
            entropy_weight=config.entropy_weight, known=known, label_weight=config.label_weight,
        )  # fmt: skip
        keep = max(0.0, 1.0 - config.batch_size / (10.0 * len(self.shares)))
        self.shares = keep * self.shares + (1.0 - keep) * mean_over_ranks(mean)
        self.optimizer.zero_grad()
        directions.backward(mean_over_ranks(gradient) / config.temperature)
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        self.step += 1
        return consistency

    def write(self, path: Path, recipe: str) -> None:
        """Write a checkpoint."""
        state = {"prototypes": self.prototypes, "shares": self.shares}
        write_checkpoint(path, state, self.optimizer, {"made_from": recipe, "step": str(self.step)})

    def resume(self, path: Path, recipe: str) -> None:
        """Go on from a checkpoint, if there is one of this recipe."""
        if not path.exists():
            return
        saved = Checkpoint.read(path)
        if saved.metadata.get("made_from") != recipe:
            return
        self.prototypes.copy_(saved.tensors["prototypes"])
        self.shares = saved.tensors["shares"].to(self.shares.device)
        saved.restore(self.optimizer)
        self.step = int(saved.metadata["step"])


def stream_whitening(store: EmbeddingStore) -> Whitening:
    """Return `seqscan.head.fit_whitening` of the vectors of a store, read a shard at a time."""
    size, total = store.n_dimensions, np.zeros(store.n_dimensions)
    for _, block in store.blocks():
        total += block.sum(axis=0, dtype=np.float64)
    center = total / len(store)
    scatter = np.zeros((size, size))
    for _, block in store.blocks():
        for start in range(0, len(block), 8192):
            centered = block[start : start + 8192] - center
            scatter += centered.T @ centered
    values, directions = np.linalg.eigh(scatter / len(store))
    values, directions = values[::-1], directions[:, ::-1].T
    kept = max(1, int((values > 1e-12 * max(values[0], 1e-30)).sum()))
    directions = directions[:kept]
    # The sign of a direction is not determined; fix it, so that every machine finds the same.
    signs = np.sign(directions[np.arange(kept), np.abs(directions).argmax(axis=1)])
    scale = signs / np.sqrt(np.sqrt(np.maximum(values[:kept], 1e-30)))
    return Whitening(center.astype(np.float32), (directions * scale[:, None]).T.astype(np.float32))


def spread_prototypes(
    store: EmbeddingStore, n_clusters: int, whitening: Whitening, *, seed: int, candidates: int = 4
) -> NDArray[np.float32]:
    """Choose proteins far from each other among `candidates` for each cluster, (C, Q)."""
    if not 2 <= n_clusters <= len(store):
        raise InvalidParameter("n_clusters", n_clusters, f"must be 2 to {len(store)}, the number of proteins")
    generator = np.random.default_rng((seed, 71))
    rows = np.sort(generator.permutation(len(store))[: candidates * n_clusters])
    return spread_points(whiten(store.gather(rows), *whitening), n_clusters, generator)


def stream_means(
    store: EmbeddingStore, labels: NDArray[np.integer], n_groups: int, whitening: Whitening
) -> NDArray[np.float32]:
    """Return the direction of the mean of each group's proteins, (C, Q); `labels` (N,) are -1 in none."""
    sums = np.zeros((n_groups, whitening.projection.shape[1]))
    for part, block in store.blocks():
        known = labels[part] >= 0
        rows = np.flatnonzero(known)
        members = csr_matrix(
            (np.ones(len(rows)), (labels[part][known], np.arange(len(rows)))), shape=(n_groups, len(rows))
        )
        sums += members @ whiten(block[rows], *whitening).astype(np.float64)
    return unit(sums).astype(np.float32)


def pair_gradient(
    anchors: Tensor,
    neighbors: Tensor,
    directions: Tensor,
    shares: Tensor,
    *,
    entropy_weight: float,
    known: Tensor | None = None,
    label_weight: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what a batch of pairs says of the prototypes, without ever holding all its logits.

    Parameters
    ----------
    anchors, neighbors : (B, Q)
        Whitened vectors of length 1.
    directions : (C, Q)
        Prototypes of length 1, divided by the temperature.
    shares : (C,)
        The clusters' shares so far, whose entropy is rewarded.
    entropy_weight : dimensionless
    known : (B,), int64, optional
        The anchors' clusters where they are known, else -1: they are taught, beside the SCAN loss.
    label_weight : dimensionless
        Of what they are taught.

    Returns
    -------
    gradient : (C, Q)
        By the directions, of the batch's mean `scan_loss` and, if anchors are known, of the sum of
        `self_label_loss` over these, by its weight, divided by the size of the batch.
    mean : (C,)
        Mean probability of the anchors.
    consistency : 0-d, nats

    Notes
    -----
    With p and q the probabilities of anchor and neighbor and r = p q / <p, q>, the gradient by the anchor's
    logits is p - r + entropy_weight p (log s - <p, log s>), by the neighbor's q - r. A known cluster, as
    a unit vector e, adds label_weight (p - e) to the anchor's.
    """
    n = max(1, len(anchors))
    log_shares = shares.clamp_min(1e-12).log()
    gradient = torch.zeros_like(directions)
    total = torch.zeros_like(shares)
    consistency = directions.new_zeros(())
    size = max(1, CHUNK_LOGITS // len(directions))
    taught = torch.full_like(anchors[:, 0], -1, dtype=torch.int64) if known is None else known
    for x, y, label in zip(anchors.split(size), neighbors.split(size), taught.split(size), strict=True):
        p = torch.softmax(x @ directions.T, dim=1)
        q = torch.softmax(y @ directions.T, dim=1)
        both = p * q
        agreement = both.sum(dim=1, keepdim=True).clamp_min(1e-30)
        consistency -= agreement.log().sum()
        total += p.sum(dim=0)
        both /= agreement
        q -= both
        gradient.addmm_(q.T, y)
        level = p @ log_shares
        is_known = label >= 0
        own = 1.0 + label_weight * is_known[:, None].to(p)
        weight = torch.sub(log_shares, level[:, None]).mul_(entropy_weight).add_(own)
        p.mul_(weight).sub_(both)
        rows = torch.nonzero(is_known)[:, 0]
        p[rows, label[rows]] -= label_weight
        gradient.addmm_(p.T, x)
    return gradient / n, total / n, consistency / n


@torch.no_grad()
def stream_head(
    store: EmbeddingStore,
    graph: NeighborGraph,
    initial: NDArray[np.float32],
    whitening: Whitening,
    config: StreamConfig,
    *,
    seed: int,
    labels: NDArray[np.integer] | None = None,
    made_from: object = None,
    checkpoint: Path | None = None,
    on_step: Callable[[dict[str, float]], None] | None = None,
) -> tuple[ClusterHead, dict[str, float]]:
    """Train a head on the pairs of a graph, the vectors staying on disk.

    Parameters
    ----------
    store : EmbeddingStore
    graph : NeighborGraph
        May be a memory map.
    initial : (C, Q)
        Prototypes to begin from.
    whitening : Whitening
    config : StreamConfig
    seed : int
    labels : (N,), optional
        Clusters that are known already, places in `initial`, -1 where none is: they are taught beside the
        SCAN loss.
    made_from : object, optional
        Says how graph and labels were made, by its `repr`.
    checkpoint : Path, optional
        File that holds the state after each block; a killed call with the same graph, beginning, options
        and number of ranks goes on from it. It stays, for the caller to remove.
    on_step : callable, optional
        Called every 20 steps with the losses.

    Returns
    -------
    head : ClusterHead
        The same on every rank.
    held_out : dict
        `loss` (nats, entropy weight 1) and `agreement` (share) of pairs whose anchors were not trained on.

    Raises
    ------
    InvalidParameter
        If no protein has a neighbor.

    Notes
    -----
    Under `torchrun` each rank reads its own blocks, gradients and the clusters' shares are means over ranks,
    and a batch is that of all ranks together.
    """
    if not (graph.indices[:, :1] >= 0).any():
        raise InvalidParameter("graph", "empty", "no protein has a neighbor", remedy="Add more proteins.")
    # The digest tells other vectors of the same number, as another encoder gives them.
    digest = hashlib.sha256(initial.tobytes()).hexdigest()
    recipe = repr((len(store), initial.shape, digest, made_from, config, seed, n_ranks()))
    device = best_device()  # what the ranks' engine expects
    training = _Training.begin(initial, device)
    if checkpoint is not None:
        training.resume(checkpoint, recipe)
    held_out = held_out_pairs(graph, seed)
    batch = max(1, config.batch_size // n_ranks())
    # Equal blocks, as many for each rank: every rank must take as many steps.
    n_blocks = -(-len(store) // (BLOCK_ROWS * n_ranks())) * n_ranks()
    edges = np.linspace(0, len(store), n_blocks + 1).astype(np.int64)
    n_batches = max(1, int(edges[1]) // batch)
    own_blocks = n_blocks // n_ranks()
    n_epochs = max(config.n_epochs, -(-config.min_steps // (n_batches * own_blocks)))
    if config.max_steps is not None:
        n_batches = min(n_batches, -(-config.max_steps // (n_epochs * own_blocks)))
    n_steps = n_epochs * own_blocks * n_batches

    def points_of(rows: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(whiten(store.gather(rows), *whitening)).to(device)

    for epoch in range(n_epochs):
        order = np.random.default_rng((seed, 72, epoch)).permutation(n_blocks)[rank() :: n_ranks()]
        for place, block in enumerate(order.tolist()):
            if (epoch * len(order) + place) * n_batches < training.step:  # done before a kill
                continue
            rows = np.arange(edges[block], edges[block + 1])
            generator = np.random.default_rng((seed, 73, epoch, block))
            near = graph.indices[rows]
            usable = np.flatnonzero((near >= 0).any(axis=1) & ~np.isin(rows, held_out[:, 0]))
            anchors = generator.permutation(usable)
            if len(usable):  # else a rank learns nothing from the block, and takes its steps with the others
                anchors = np.resize(anchors, n_batches * batch)
            partners = _draw(near[anchors], generator.random(len(anchors)))
            # Each partner once and in order: read batch by batch, they cost as much as learning does.
            needed, rows_of = np.unique(partners, return_inverse=True)
            points, others = points_of(rows), points_of(needed)
            known = None if labels is None else torch.from_numpy(labels[rows].astype(np.int64)).to(device)
            pairs = torch.from_numpy(np.stack([anchors, rows_of])).to(device)
            for start in range(0, n_batches * batch, batch):
                own, other = pairs[:, start : start + batch]
                done = training.step / n_steps
                rate = config.learning_rate * (0.05 + 0.475 * (1.0 + math.cos(math.pi * done)))
                known_here = None if known is None else known[own]
                consistency = training.learn(points[own], others[other], known_here, config, rate)
                if on_step is not None and training.step % 20 == 1:
                    entropy = -(training.shares * training.shares.clamp_min(1e-12).log()).sum()
                    said = {"consistency": float(consistency), "entropy": float(entropy)}
                    on_step({"step": training.step - 1} | said)
            if checkpoint is not None and rank() == 0:
                training.write(checkpoint, recipe)
    wait_for_all()
    prototypes = F.normalize(training.prototypes, dim=1).cpu().numpy()
    head = ClusterHead(prototypes, whitening.center, whitening.projection, config.temperature)
    return head, _judge(head, store, held_out, training.shares.cpu())


def stream_labels(head: ClusterHead, store: EmbeddingStore) -> NDArray[np.int32]:
    """Return the cluster of each protein of a store, (N,), read a shard at a time."""
    labels = np.empty(len(store), dtype=np.int32)
    for part, block in store.blocks():
        labels[part] = head.labels(block)
    return labels


def held_out_pairs(graph: NeighborGraph, seed: int) -> NDArray[np.int64]:
    """Return pairs (M, 2) whose anchors no rank trains on."""
    generator = np.random.default_rng((seed, 74))
    n = min(N_HELD_OUT, max(min(1000, len(graph) // 10), len(graph) // 100))
    rows = np.sort(generator.permutation(len(graph))[:n])
    near = graph.indices[rows]
    linked = (near >= 0).any(axis=1)
    partners = _draw(near[linked], generator.random(int(linked.sum())))
    return np.stack([rows[linked], partners], axis=1)


def _draw(near: NDArray[np.int32], draws: NDArray[np.float64]) -> NDArray[np.int64]:
    """Take one neighbor of each row (B, K), evenly; the rows' gaps stand at their ends."""
    places = (draws * (near >= 0).sum(axis=1)).astype(np.int64)
    return near[np.arange(len(near)), places].astype(np.int64)


def _judge(
    head: ClusterHead, store: EmbeddingStore, pairs: NDArray[np.int64], shares: Tensor
) -> dict[str, float]:
    directions = torch.from_numpy(head.prototypes) / head.temperature
    loss, agreed = 0.0, 0
    size = max(1, CHUNK_LOGITS // head.n_clusters)
    for start in range(0, len(pairs), size):
        both = pairs[start : start + size]
        p, q = (
            torch.log_softmax(torch.from_numpy(head.points(store.gather(rows))) @ directions.T, dim=1)
            for rows in both.T
        )
        loss -= float(torch.logsumexp(p + q, dim=1).sum())
        agreed += int((p.argmax(dim=1) == q.argmax(dim=1)).sum())
    n = max(1, len(pairs))
    entropy = float(-(shares * shares.clamp_min(1e-12).log()).sum())
    return {"loss": loss / n - entropy, "agreement": agreed / n}
