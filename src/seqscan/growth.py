"""New clusters from proteins that belong to none of a model's, the old ones untouched."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from seqscan.errors import OneCluster
from seqscan.head import Whitening
from seqscan.model import Model
from seqscan.neighbors import Pieces, group_means, nearest_vectors
from seqscan.scan import ScanConfig, discover
from seqscan.store import unit

__all__ = ["MIN_SIZE", "grow"]

MIN_SIZE = 5
"""Proteins a new cluster must have."""
N_NEIGHBORS = 20


def grow(
    model: Model,
    vectors: NDArray[np.float32],
    pieces: Pieces | None = None,
    *,
    seed: int,
    false_alarm_rate: float,
    threads: int = 2,
) -> tuple[Model, NDArray[np.int64]]:
    """Append prototypes for the clusters among novel proteins.

    A protein joins a new cluster if a neighbor stands beside it in that cluster: one that aligns with it, or
    one that is no farther than what `false_alarm_rate` allows for a known protein. Where fewer than
    `MIN_SIZE` do, there is no cluster.

    Parameters
    ----------
    model : Model
        With `novelty`.
    vectors : (N, P)
        Of the novel proteins, by the model's encoder.
    pieces : Pieces, optional
        Their neighbors by alignment, and what these hold together.
    seed : int
    false_alarm_rate : share of known proteins
    threads : int

    Returns
    -------
    model : Model
        Its first clusters are those of before, with the same numbers; new ones follow, the largest first.
    labels : (N,)
        New cluster of each protein, -1 if it joins none.
    """
    head, novelty = model.head, model.novelty
    nobody = np.full(len(vectors), -1, dtype=np.int64)
    if novelty is None or len(vectors) < MIN_SIZE:
        return model, nobody
    near = nearest_vectors(vectors - head.center, N_NEIGHBORS, threads=threads)  # as novelty is measured
    # Where every protein is a neighbor of every other, all come into one cluster.
    k = min(N_NEIGHBORS, max(2, len(vectors) // 3))
    nearest = replace(near, indices=near.indices[:, :k], distances=near.distances[:, :k])
    points = head.points(vectors)
    try:
        found = discover(
            vectors,
            nearest,
            None,
            ScanConfig(temperature=head.temperature),
            seed=seed,
            trusted=None if pieces is None else pieces.graph,
            pieces=None if pieces is None else pieces.enough_for(None, partial(group_means, points)),
            whitening=Whitening(head.center, head.projection),
        )
        prototypes = unit(found.fit.head.prototypes)
    except OneCluster:
        prototypes = unit(points.mean(axis=0, keepdims=True))
    cluster = (points @ np.concatenate([unit(head.prototypes), prototypes]).T).argmax(axis=1)
    cluster -= head.n_clusters  # negative where an old one is nearer after all
    reach = novelty.threshold(false_alarm_rate) * novelty.spread
    joins = _beside(cluster, np.where(near.distances <= reach, near.indices, -1))
    if pieces is not None:
        joins |= _beside(cluster, pieces.graph.indices)
    cluster = np.where(joins & (cluster >= 0), cluster, -1)
    sizes = np.bincount(cluster[cluster >= 0], minlength=len(prototypes))
    order = np.argsort(-sizes, kind="stable")
    kept = order[sizes[order] >= MIN_SIZE]
    if not len(kept):
        return model, nobody
    number = np.full(len(prototypes) + 1, -1, dtype=np.int64)  # the last place is that of -1
    number[kept] = head.n_clusters + np.arange(len(kept))
    labels = number[cluster]
    grown = replace(
        model,
        head=replace(head, prototypes=np.concatenate([head.prototypes, prototypes[kept]]).astype(np.float32)),
        novelty=novelty.with_clusters(vectors, labels, seed=seed),
    )
    return grown, labels


def _beside(cluster: NDArray[np.int64], neighbors: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Say which proteins have a neighbor (N, K) in their own cluster (N,), -1 being no neighbor."""
    return ((cluster[neighbors] == cluster[:, None]) & (neighbors >= 0)).any(axis=1)
