"""Training losses as pure functions of logits and vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seqscan.errors import ShapeMismatch

__all__ = [
    "BatchMean",
    "ScanLoss",
    "contrastive_loss",
    "local_mean",
    "masked_residue_loss",
    "prototype_loss",
    "scan_loss",
    "self_label_loss",
]

BatchMean = Callable[[Tensor], Tensor]
"""Maps probabilities (B, C) to their mean (C,): over the batch, over ranks, or a running one."""


class ScanLoss(NamedTuple):
    """The SCAN loss and its two terms, 0-d tensors, nats."""

    total: Tensor
    consistency: Tensor
    entropy: Tensor


def local_mean(probabilities: Tensor) -> Tensor:
    """Return the mean over the batch, (B, C) -> (C,)."""
    return probabilities.mean(dim=0)


def scan_loss(
    anchors: Tensor,
    neighbors: Tensor,
    *,
    entropy_weight: float,
    mean: BatchMean = local_mean,
) -> ScanLoss:
    """Reward agreement between neighbors and use of every cluster.

    Parameters
    ----------
    anchors, neighbors : (B, C), logits
        Row i of `neighbors` belongs to a neighbor of row i of `anchors`.
    entropy_weight : dimensionless, >= 0
        Larger pushes towards equal cluster sizes; 1 is neutral to splitting a homogeneous cluster.
    mean : callable
        Estimate of the clusters' shares from the anchors' probabilities.

    Returns
    -------
    loss : three 0-d tensors, nats
        `total` = `consistency` - `entropy_weight` * `entropy`.

    Raises
    ------
    ShapeMismatch
        If the two inputs differ in shape or C < 2.

    Notes
    -----
    Eq. 2 of Van Gansbeke et al., ECCV 2020 (arXiv 2005.12320). The inner product is taken of logarithms, so
    that two confident and contrary predictions give a large loss and not an infinite one.

    Examples
    --------
    >>> sure = torch.tensor([[2.0, -2.0], [-2.0, 2.0]])
    >>> loss = scan_loss(sure, sure, entropy_weight=1.0)
    >>> round(float(loss.consistency), 3), round(float(loss.entropy), 3)
    (0.036, 0.693)
    """
    if anchors.shape != neighbors.shape or anchors.ndim != 2 or anchors.shape[1] < 2:
        raise ShapeMismatch(
            f"anchors {tuple(anchors.shape)} and neighbors {tuple(neighbors.shape)} "
            "must be (B, C) with C >= 2."
        )
    log_p = F.log_softmax(anchors.float(), dim=1)
    log_q = F.log_softmax(neighbors.float(), dim=1)
    consistency = -torch.logsumexp(log_p + log_q, dim=1).mean()
    share = mean(log_p.exp()).clamp_min(1e-12)
    entropy = -(share * share.log()).sum()
    return ScanLoss(consistency - entropy_weight * entropy, consistency, entropy)


def self_label_loss(logits: Tensor, labels: Tensor, *, balance: bool = True) -> Tensor:
    """Return the cross-entropy to a teacher's confident labels.

    Parameters
    ----------
    logits : (B, C)
    labels : (B,), int64
        The teacher's clusters; rows with -1 do not count.
    balance : bool
        Weigh each cluster of the batch equally (step 3 of SCAN).

    Returns
    -------
    loss : 0-d tensor, nats
        0 if no row counts.
    """
    counted = labels >= 0
    if not counted.any():
        return logits.sum() * 0.0
    logits, labels = logits[counted].float(), labels[counted]
    losses = F.cross_entropy(logits, labels, reduction="none")
    if not balance:
        return losses.mean()
    weights = 1.0 / torch.bincount(labels, minlength=logits.shape[1])[labels].float()
    return (weights * losses).sum() / weights.sum()


def contrastive_loss(
    left: Tensor, right: Tensor, *, temperature: float, groups: Tensor | None = None
) -> Tensor:
    """Draw the two views of each pair together and all other pairs of the batch apart.

    Parameters
    ----------
    left, right : (B, D)
        Row i of `right` is the positive of row i of `left`; every other row of both is a negative.
    temperature : dimensionless, > 0
    groups : (B,), int64, optional
        Pairs with the same number are known to be relatives: they are neither positives nor negatives.

    Returns
    -------
    loss : 0-d tensor, nats

    Notes
    -----
    NT-Xent, eq. 1 of Chen et al., ICML 2020 (arXiv 2002.05709).
    """
    if left.shape != right.shape or left.ndim != 2:
        raise ShapeMismatch(f"left {tuple(left.shape)} and right {tuple(right.shape)} must be (B, D) alike.")
    n = len(left)
    vectors = F.normalize(torch.cat([left, right]).float(), dim=1)
    logits = vectors @ vectors.T / temperature
    never = torch.eye(2 * n, dtype=torch.bool, device=logits.device)
    positives = torch.arange(2 * n, device=logits.device).roll(n)
    if groups is not None:
        known = groups.repeat(2)
        never |= known[:, None] == known[None, :]
        never[torch.arange(2 * n), positives] = False
    return F.cross_entropy(logits.masked_fill(never, -torch.inf), positives)


def prototype_loss(
    vectors: Tensor,
    prototypes: Tensor,
    labels: Tensor,
    *,
    temperature: float,
    margin: float = 0.0,
    ignored: Tensor | None = None,
) -> Tensor:
    """Draw vectors to the prototype of their class and away from all others.

    Parameters
    ----------
    vectors : (B, D)
    prototypes : (C, D)
    labels : (B,), int64
        The class of each vector; rows with -1 do not count.
    temperature : dimensionless, > 0
    margin : cosine
        By how much a vector must be nearer to its own prototype than to others: with none, what is classified
        right teaches nothing more.
    ignored : (B, C), bool, optional
        Classes that are not told apart from a vector's own.

    Returns
    -------
    loss : 0-d tensor, nats
        0 if no row counts.

    Notes
    -----
    Cross-entropy of cosines, as in Wang et al., ACM MM 2017 (arXiv 1704.06369); the margin is that of CosFace
    (Wang et al., CVPR 2018, arXiv 1801.09414).
    """
    if vectors.ndim != 2 or prototypes.ndim != 2 or vectors.shape[1] != prototypes.shape[1]:
        raise ShapeMismatch(
            f"vectors {tuple(vectors.shape)} and prototypes {tuple(prototypes.shape)} "
            "must be (B, D) and (C, D)."
        )
    counted = labels >= 0
    if not counted.any():
        return vectors.sum() * 0.0
    logits = F.normalize(vectors[counted].float(), dim=1) @ F.normalize(prototypes.float(), dim=1).T
    own = labels[counted]
    logits = (logits - margin * F.one_hot(own, len(prototypes))) / temperature
    if ignored is not None:
        logits = logits.masked_fill(ignored[counted], -torch.inf)
    return F.cross_entropy(logits, own)


def masked_residue_loss(logits: Tensor, codes: Tensor) -> Tensor:
    """Return the cross-entropy of hidden residues.

    Parameters
    ----------
    logits : (M, R)
        One row for each hidden place; for residue codes 0 to R - 1.
    codes : (M,), int64
        The true codes.

    Returns
    -------
    loss : 0-d tensor, nats per residue
        0 if nothing is hidden.
    """
    if not len(codes):
        return logits.sum() * 0.0
    return F.cross_entropy(logits.float(), codes)
