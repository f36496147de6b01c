"""Heads on vectors in memory: train them so that neighbors agree, judge them by held-out pairs, self-label.

Steps 2 and 3 of Van Gansbeke et al., ECCV 2020 (arXiv 2005.12320), with cosine prototypes and a running
estimate of the clusters' shares.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from seqscan.errors import InvalidParameter
from seqscan.head import BLOCK_LOGITS, ClusterHead, Whitening, fit_whitening, whiten
from seqscan.losses import scan_loss, self_label_loss
from seqscan.neighbors.graph import NeighborGraph

__all__ = [
    "HeadFit",
    "NeighborSampler",
    "RunningMean",
    "ScanConfig",
    "fit_heads",
    "held_out_scores",
    "over_provision",
    "self_label",
    "spread_points",
]


BLOCK_ROWS = 8192
"""Proteins or pairs whose probabilities are in memory at once, or fewer: those of `BLOCK_LOGITS`."""
HELD_LOGITS = 1 << 28
"""So many logits, 1 GB, are kept while pairs look them up; of more, each pair's are computed."""


@dataclass(frozen=True)
class ScanConfig:
    """How to train heads.

    Attributes
    ----------
    n_heads : int
        Trained side by side from different beginnings.
    n_steps : int
    batch_size : int, proteins
    entropy_weight : dimensionless
        1 is neutral: it neither splits nor merges a homogeneous cluster.
    temperature : dimensionless
        Of the cosine logits.
    learning_rate : float
        Of Adam, falls along a cosine.
    label_weight : dimensionless
        Of the loss on clusters that are known already beside the SCAN loss: at 1, a head leaves distant
        members of a large piece to small clusters.
    """

    n_heads: int = 10
    n_steps: int = 400
    batch_size: int = 1024
    entropy_weight: float = 1.0
    temperature: float = 0.1
    learning_rate: float = 0.01
    label_weight: float = 10.0


def over_provision(n_proteins: int, n_clusters: int | None) -> int:
    """Return how many prototypes to begin with: twice the clusters, or two for each root of the proteins."""
    wanted = 2 * n_clusters if n_clusters is not None else 2 * int(n_proteins**0.5)
    return max(2, n_clusters or 2, min(wanted, n_proteins // 3))


class RunningMean:
    """The clusters' shares over about 10 C recent samples, for batches too small to tell.

    With the gradient of the batch's own mean, as eq. 2 of the paper has.
    """

    def __init__(self, n_clusters: int, batch_size: int) -> None:
        self.keep = max(0.0, 1.0 - batch_size / (10.0 * n_clusters))
        self.value: Tensor | None = None

    def __call__(self, probabilities: Tensor) -> Tensor:
        mean = probabilities.mean(dim=0)
        if self.value is None or self.keep == 0.0:
            self.value = mean.detach()
            return mean
        self.value = self.keep * self.value + (1.0 - self.keep) * mean.detach()
        return self.value + mean - mean.detach()


class NeighborSampler:
    """Draws one neighbor for each anchor, never itself; proteins without any are left out."""

    def __init__(self, graph: NeighborGraph) -> None:
        self.indices = graph.indices
        self.counts = graph.counts
        self.anchors = np.flatnonzero(self.counts)
        if not len(self.anchors):
            raise InvalidParameter("graph", "empty", "no protein has a neighbor", remedy="Add more proteins.")

    def draw(self, n_pairs: int, generator: np.random.Generator) -> NDArray[np.int64]:
        """Return (n_pairs, 2) rows: anchors evenly, then one of an anchor's neighbors evenly."""
        anchors = generator.choice(self.anchors, n_pairs, replace=n_pairs > len(self.anchors))
        places = (generator.random(n_pairs) * self.counts[anchors]).astype(np.int64)
        return np.stack([anchors, self.indices[anchors, places]], axis=1)


@dataclass(frozen=True)
class HeadFit:
    """A trained head and what held-out pairs say of it.

    Attributes
    ----------
    head : ClusterHead
    loss : float, nats
        SCAN loss with entropy weight 1 on held-out pairs.
    agreement : share
        Held-out pairs whose two proteins have one cluster.
    modularity : share
        Of the held-out pairs: their agreement above that of random pairs. It grows neither by
        splitting a family nor by joining two.
    clusters_used : int
    """

    head: ClusterHead
    loss: float
    agreement: float
    modularity: float
    clusters_used: int


def fit_heads(
    vectors: NDArray[np.float32],
    graph: NeighborGraph,
    held_out: NDArray[np.int64],
    n_clusters: int,
    config: ScanConfig,
    *,
    seed: int,
    initial: NDArray[np.float32] | None = None,
    whitening: Whitening | None = None,
    labels: NDArray[np.int64] | None = None,
    on_step: Callable[[dict[str, float]], None] | None = None,
) -> list[HeadFit]:
    """Train heads on vectors (N, P) and return them, best first.

    Parameters
    ----------
    graph : NeighborGraph
        Pairs to train on.
    held_out : (M, 2)
        Pairs to choose by.
    n_clusters : int
    config : ScanConfig
    seed : int
    initial : (H, C, Q), optional
        Prototypes to begin from; by default random proteins, which are far from each other.
    whitening : Whitening, optional
        In which cosines are taken; `fit_whitening` of them by default.
    labels : (N,), optional
        Clusters that are known already, places in `initial`, -1 where none is: self-labelling beside the SCAN
        loss.
    on_step : callable, optional
        Called every 20 steps with the losses.
    """
    if not 2 <= n_clusters <= len(vectors):
        raise InvalidParameter(
            "n_clusters", n_clusters, f"must be 2 to {len(vectors)}, the number of proteins"
        )
    generator = np.random.default_rng((seed, 21))
    center, projection = whitening or fit_whitening(vectors)
    points = whiten(vectors, center, projection)
    if initial is None:
        initial = np.stack([spread_points(points, n_clusters, generator) for _ in range(config.n_heads)])
    trained = _train(initial, points, NeighborSampler(graph), labels, config, generator, on_step)
    fits = [
        held_out_scores(ClusterHead(w.copy(), center, projection, config.temperature), vectors, held_out)
        for w in trained
    ]
    return sorted(fits, key=lambda fit: fit.loss)


def _train(
    initial: NDArray[np.float32],
    points: NDArray[np.float32],
    sampler: NeighborSampler,
    labels: NDArray[np.int64] | None,
    config: ScanConfig,
    generator: np.random.Generator,
    on_step: Callable[[dict[str, float]], None] | None,
) -> NDArray[np.float32]:
    """Return prototypes (H, C, Q) trained side by side on points (N, Q), each head by its own losses."""
    x = torch.from_numpy(points)
    prototypes = torch.nn.Parameter(torch.from_numpy(initial.astype(np.float32)).clone())
    optimizer = torch.optim.Adam([prototypes], lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, config.n_steps, config.learning_rate / 20
    )
    batch = min(config.batch_size, 2 * len(sampler.anchors))
    means = [RunningMean(initial.shape[1], batch) for _ in range(len(initial))]
    for step in range(config.n_steps):
        pairs = torch.from_numpy(sampler.draw(batch, generator))
        directions = F.normalize(prototypes, dim=-1) / config.temperature
        anchors = torch.einsum("bp,hcp->hbc", x[pairs[:, 0]], directions)
        neighbors = torch.einsum("bp,hcp->hbc", x[pairs[:, 1]], directions)
        losses = [
            scan_loss(a, n, entropy_weight=config.entropy_weight, mean=mean)
            for a, n, mean in zip(anchors, neighbors, means, strict=True)
        ]
        total = torch.stack([loss.total for loss in losses]).sum()
        if labels is not None:
            known = torch.from_numpy(labels[pairs[:, 0].numpy()])
            # Not balanced: sizes of families differ by far more than a batch can even out.
            taught = torch.stack([self_label_loss(a, known, balance=False) for a in anchors]).sum()
            total = total + config.label_weight * taught
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        schedule.step()
        if on_step is not None and (step % 20 == 0 or step == config.n_steps - 1):
            best = min(losses, key=lambda loss: float(loss.total.detach()))
            on_step({"step": step} | {name: float(value.detach()) for name, value in best._asdict().items()})
    return F.normalize(prototypes.detach(), dim=-1).numpy()


def held_out_scores(head: ClusterHead, vectors: NDArray[np.float32], held_out: NDArray[np.int64]) -> HeadFit:
    """Judge a head by pairs (M, 2) it was not trained on; never by labels."""
    n, size = len(vectors), _block_rows(head)
    # There are many more pairs than proteins.
    held = torch.from_numpy(head.logits(vectors)) if n * head.n_clusters <= HELD_LOGITS else None

    def logits(rows: slice | NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(head.logits(vectors[rows])) if held is None else held[rows]

    labels = np.empty(n, dtype=np.int64)
    shares = torch.zeros(head.n_clusters)
    for start in range(0, n, size):
        part = logits(slice(start, start + size))
        labels[start : start + size] = part.argmax(dim=1).numpy()
        shares += torch.softmax(part, dim=1).sum(dim=0)
    shares /= n
    pairs = held_out if len(held_out) else np.zeros((1, 2), dtype=np.int64)
    loss = 0.0
    for start in range(0, len(pairs), size):
        anchors, neighbors = pairs[start : start + size].T
        terms = scan_loss(logits(anchors), logits(neighbors), entropy_weight=1.0, mean=lambda _: shares)
        loss += float(terms.total) * len(anchors) / len(pairs)
    agreement = float((labels[pairs[:, 0]] == labels[pairs[:, 1]]).mean())
    sizes = np.bincount(labels) / n
    modularity = agreement - float((sizes**2).sum())
    return HeadFit(head, loss, agreement, modularity, int((sizes > 0).sum()))


def _block_rows(head: ClusterHead) -> int:
    """Return of how many proteins or pairs the logits of a head are taken at once."""
    return min(BLOCK_ROWS, max(1, BLOCK_LOGITS // head.n_clusters))


def self_label(
    fit: HeadFit,
    vectors: NDArray[np.float32],
    held_out: NDArray[np.int64],
    *,
    seed: int,
    threshold: float = 0.99,
    n_steps: int = 100,
) -> tuple[HeadFit, bool]:
    """Sharpen a head on its own confident assignments; keep the result only if nothing got worse.

    A step sees all confident proteins, or `BLOCK_ROWS` of them.

    Returns
    -------
    fit : HeadFit
        The new one, or the old one if the clusters in use or the agreement of held-out pairs fell.
    kept : bool
    """
    head = fit.head
    surest, labels = np.empty(len(vectors), np.float32), np.empty(len(vectors), np.int64)
    for part in head.blocks(len(vectors)):
        probabilities = head.probabilities(vectors[part])
        surest[part], labels[part] = probabilities.max(axis=1), probabilities.argmax(axis=1)
    confident = surest >= threshold
    if not confident.any():
        return fit, False
    x = torch.from_numpy(head.points(vectors[confident]))
    target = torch.from_numpy(labels[confident])
    generator = np.random.default_rng((seed, 23))
    prototypes = torch.nn.Parameter(torch.from_numpy(head.prototypes).clone())
    optimizer = torch.optim.Adam([prototypes], lr=0.005)
    size = _block_rows(head)
    for _ in range(n_steps):
        rows = torch.arange(len(x))
        if len(x) > BLOCK_ROWS:
            rows = torch.from_numpy(generator.choice(len(x), BLOCK_ROWS, replace=False))
        # `self_label_loss`, block by block: all logits of thousands of clusters would take gigabytes.
        weights = 1.0 / torch.bincount(target[rows])[target[rows]].float()
        optimizer.zero_grad()
        for own, weight in zip(rows.split(size), weights.split(size), strict=True):
            logits = x[own] @ F.normalize(prototypes, dim=-1).T / head.temperature
            losses = F.cross_entropy(logits, target[own], reduction="none")
            ((weight * losses).sum() / weights.sum()).backward()
        optimizer.step()
    trained = F.normalize(prototypes.detach(), dim=-1).numpy()
    new = held_out_scores(replace(head, prototypes=trained), vectors, held_out)
    kept = new.clusters_used >= fit.clusters_used and new.agreement >= fit.agreement
    return (new, True) if kept else (fit, False)


def spread_points(
    points: NDArray[np.float32], n_clusters: int, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Choose rows of unit vectors (N, P) far from each other, as k-means++ does, (C, P)."""
    chosen = [int(generator.integers(len(points)))]
    nearest = 1.0 - points @ points[chosen[0]]
    for _ in range(n_clusters - 1):
        weights = np.maximum(nearest, 0.0).astype(np.float64)
        total = weights.sum()
        row = (
            generator.choice(len(points), p=weights / total) if total > 0 else generator.integers(len(points))
        )
        chosen.append(int(row))
        nearest = np.minimum(nearest, 1.0 - points @ points[chosen[-1]])
    return points[chosen]
