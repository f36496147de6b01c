"""The clusters of vectors in memory: pieces are joined, heads are trained on them, unseen proteins choose.

Self-labelling comes last and is kept only if nothing gets worse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqscan.errors import OneCluster
from seqscan.head import Whitening, fit_whitening, fully_whitened, whiten
from seqscan.neighbors.graph import NeighborGraph, combine, held_out_proteins
from seqscan.neighbors.joining import linked_groups
from seqscan.neighbors.merging import MERGE_COSINE, SAME_PART_COSINE, group_means, join_pieces
from seqscan.neighbors.pieces import pieces_suffice, smallest_part
from seqscan.scan.heads import (
    HeadFit,
    ScanConfig,
    fit_heads,
    held_out_scores,
    over_provision,
    self_label,
)

__all__ = ["ChosenHead", "discover"]

LOWEST_TEMPERATURE = 0.005
"""Heads are tried at half the temperature again and again while their loss on unseen proteins falls."""

MIN_GAIN_NATS = 0.01
"""By which it has to fall: where clusters are far apart, a sharper head is surer and nothing else."""

N_CANDIDATES = 5
"""Over-provisioned heads whose pieces are joined; held-out pairs choose one of the results."""

N_JOINED = 64
"""Directions in which pieces are compared, those of largest variance; as many as pieces if those are more."""


@dataclass(frozen=True)
class ChosenHead:
    """The head that was chosen, and what says how good it is.

    Attributes
    ----------
    fit : HeadFit
        Clusters are numbered by size.
    held_out : (M, 2)
        The pairs it is judged by.
    sureness : (H,), float32, probability
        Of the likeliest cluster of each of `held_out_proteins`, from a head that was trained without them.
    notes : dict
        How the candidates fared; where pieces teach, `hidden_proteins_placed` is the share of the held-out
        proteins, of those in a piece with others, that came to their own piece.
    """

    fit: HeadFit
    held_out: NDArray[np.int64]
    sureness: NDArray[np.float32]
    notes: dict[str, Any]


def discover(
    vectors: NDArray[np.float32],
    graph: NeighborGraph,
    n_clusters: int | None,
    config: ScanConfig,
    *,
    seed: int,
    trusted: NeighborGraph | None = None,
    pieces: NDArray[np.int64] | None = None,
    whitening: Whitening | None = None,
    on_step: Callable[[dict[str, float]], None] | None = None,
) -> ChosenHead:
    """Find the clusters of vectors (N, P).

    Heads begin from pieces: those of the alignments if there are enough, else the clusters of
    heads with more prototypes than are wanted. Pieces whose proteins are alike are joined, the result is
    trained on, pieces of the alignments teaching it, and proteins that were kept out choose among the heads.

    Parameters
    ----------
    graph : NeighborGraph
        Neighbors by vectors.
    n_clusters : int, optional
        Without it pieces are joined while their mean cosine is above `SAME_PART_COSINE`, clusters of heads
        while it is above `MERGE_COSINE`.
    config : ScanConfig
    seed : int
    trusted : NeighborGraph, optional
        Neighbors by alignment; pairs of both graphs are trained on.
    pieces : (N,), optional
        What alignments hold together (`Pieces.enough_for`), -1 for proteins in none.
    whitening : Whitening, optional
        In which cosines are taken; `fit_whitening` of them by default.
    on_step : callable, optional
        Called every 20 steps of each training with the losses; the last training is that of the result.

    Raises
    ------
    InvalidParameter
        If there are fewer proteins than clusters.
    OneCluster
        If all come into one.
    """
    pairs = graph if trusted is None else combine(trusted, graph)
    rest, held_out = pairs.hold_out(0.1, seed=seed)
    if pieces is None:
        pieces = np.full(len(vectors), -1)
    n_pieces = int(pieces.max()) + 1
    # Pieces are joined where every direction counts alike; many of them differ in more directions than few.
    n_joined = max(N_JOINED, n_clusters or n_pieces) if whitening is None else whitening.projection.shape[1]
    whitening = whitening or fit_whitening(vectors)
    train = partial(fit_heads, vectors, seed=seed, whitening=whitening, on_step=on_step)
    teach = pieces_suffice(pieces, n_clusters)
    if teach:
        divisions, min_cosine = {"alignment": pieces}, SAME_PART_COSINE
    else:
        fine = train(rest, held_out, over_provision(len(vectors), n_clusters), config)[:N_CANDIDATES]
        smallest = smallest_part(len(vectors), n_clusters)
        divisions = {
            f"head {i}": linked_groups(rest, one.head.labels(vectors), n_clusters, smallest)
            for i, one in enumerate(fine)
        }
        min_cosine = MERGE_COSINE
    flat = fully_whitened(whitening.projection, n_joined)
    beginnings = _join(divisions, whiten(vectors, whitening.center, flat), n_clusters, min_cosine)
    if not beginnings:
        raise OneCluster(n_clusters)
    points = whiten(vectors, *whitening)

    def fitted(
        groups: NDArray[np.int64], temperature: float, graph: NeighborGraph, judges: NDArray[np.int64]
    ) -> HeadFit:
        begin = group_means(points, groups)
        own = replace(config, temperature=temperature)
        labels = groups if teach else None
        return train(graph, judges, len(begin), own, initial=begin[None], labels=labels)[0]

    # What is chosen is judged by proteins that were not trained on: the sharper a head, the better it fits
    # those that were.
    unseen = held_out_proteins(len(vectors), seed=seed)
    trial, edges = pairs.without_proteins(unseen), pairs.edges()
    judges = edges[unseen[edges].any(axis=1)]

    def hidden(groups: NDArray[np.int64]) -> NDArray[np.bool_]:
        return unseen & (groups >= 0) & np.isin(groups, groups[~unseen])

    def tried(groups: NDArray[np.int64], temperature: float) -> HeadFit:
        return fitted(np.where(hidden(groups), -1, groups), temperature, trial, judges)

    name, chosen, candidates = _choose(beginnings, tried, config.temperature)
    groups, temperature = beginnings[name], chosen.head.temperature
    best = fitted(groups, temperature, rest, held_out)
    sharpened, kept = self_label(best, vectors, held_out, seed=seed)
    in_use = sharpened.head.ordered_by_size(sharpened.head.labels(vectors))
    if in_use.n_clusters < 2:
        raise OneCluster(n_clusters)
    notes: dict[str, Any] = {
        "began_from": name,
        "temperature": temperature,
        "excess_agreement": {name: fit.modularity for name, fit in candidates.items()},
        "unseen_loss_nats": {name: fit.loss for name, fit in candidates.items()},
        "self_labelling_kept": kept,
    }
    asked = hidden(groups)
    if teach and asked.any():
        given = chosen.head.labels(vectors[asked])
        notes["hidden_proteins_placed"] = float((given == groups[asked]).mean())
    sureness = chosen.head.sureness(vectors[unseen])
    return ChosenHead(held_out_scores(in_use, vectors, held_out), held_out, sureness, notes)


def _join(
    divisions: dict[str, NDArray[np.int64]],
    points: NDArray[np.float32],
    n_clusters: int | None,
    min_cosine: float,
) -> dict[str, NDArray[np.int64]]:
    """Join the pieces of each division of points (N, Q); leave out those that become one."""
    joined = {
        name: join_pieces(points, pieces, n_clusters, min_cosine=min_cosine)
        for name, pieces in divisions.items()
    }
    return {name: groups for name, groups in joined.items() if groups.max() >= 1}


def _choose(
    beginnings: dict[str, NDArray[np.int64]],
    tried: Callable[[NDArray[np.int64], float], HeadFit],
    temperature: float,
) -> tuple[str, HeadFit, dict[str, HeadFit]]:
    """Choose among beginnings by agreement, then a temperature by loss; also return all that was tried."""
    candidates = {name: tried(groups, temperature) for name, groups in beginnings.items()}
    name, best = max(candidates.items(), key=lambda item: item[1].modularity)
    # Many clusters need sharper ones: at 0.1 a protein cannot be sure among hundreds.
    while best.head.temperature / 2 >= LOWEST_TEMPERATURE:
        sharper = tried(beginnings[name], best.head.temperature / 2)
        candidates[f"{name}, temperature {sharper.head.temperature:g}"] = sharper
        if sharper.loss > best.loss - MIN_GAIN_NATS:
            break
        best = sharper
    return name, best, candidates
