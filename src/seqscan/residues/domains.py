"""Which parts of a whole protein belong to which clusters, in constant time for each protein.

A protein's vector is a sum of shares of its residues, and what a window adds is the sum of its own. So one
pass of the encoder gives what all windows say of a cluster, and how long their vectors are, as differences of
running sums. Each window is weighed as one domain of each cluster, by its own direction, those of its three
thirds and its length, against being no domain; dynamic programming picks the best set of windows that do not
overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqscan.alphabet import AMINO
from seqscan.errors import ArtifactError, InvalidParameter
from seqscan.fasta import Record
from seqscan.head import ClusterHead
from seqscan.model import Model, record_blocks
from seqscan.prior import N_PARTS, DomainPrior
from seqscan.results import Domains
from seqscan.store import unit

__all__ = ["find_domains", "learn_prior", "membership", "prior_of"]

STEP = 8
"""Residues between places where a domain may begin or end."""
MIN_SPREAD = 0.15
"""Least standard deviation of the logarithm of a cluster's lengths: the grid is no finer, and few members
say little of it."""
N_SHUFFLED = 256
N_MEMBERS = 32
"""Members of a cluster whose parts are averaged."""
BLOCK_CELLS = 128
"""Cells at which the windows begin that are weighed at once."""
MAX_LENGTH = 1_000
SPREADS = 2.5
"""A domain is at most so many standard deviations shorter or longer than its cluster's usual length."""


def prior_of(model: Model) -> DomainPrior:
    """Return what a model has learned of its clusters' domains; raises `ArtifactError` if nothing."""
    if model.prior is None:
        raise ArtifactError(
            "the model",
            "does not know what the domains of its clusters look like",
            remedy="Make it again with this version.",
        )
    return model.prior


def learn_prior(
    model: Model, sequences: Sequence[NDArray[np.uint8]], labels: NDArray[np.integer], *, seed: int
) -> DomainPrior:
    """Learn lengths and parts of each cluster from its members, and the background from shuffled members.

    Parameters
    ----------
    model : Model
    sequences : N arrays of codes, each (L_i,)
    labels : (N,)
        The cluster of each, -1 if none.
    seed : int
        Draws the members whose parts are averaged, and the sequences that are shuffled.
    """
    head = model.head
    log_lengths = np.log([len(sequence) for sequence in sequences])
    center, spread = np.full(head.n_clusters, np.log(140.0)), np.full(head.n_clusters, 0.5)
    parts = np.repeat(unit(head.prototypes)[:, None], N_PARTS, axis=1)
    generator = np.random.default_rng((seed, 51))
    order = generator.permutation(len(sequences))
    order = order[np.argsort(labels[order], kind="stable")]
    first = np.searchsorted(labels[order], np.arange(head.n_clusters + 1))
    for label in range(head.n_clusters):
        own = order[first[label] : first[label + 1]]
        if len(own):
            center[label] = np.median(log_lengths[own])
            spread[label] = max(log_lengths[own].std(), MIN_SPREAD)
            looked_at = [sequences[int(row)] for row in own[:N_MEMBERS]]
            parts[label] = unit(_described(model, looked_at)[1:].mean(axis=1))
    rows = generator.permutation(len(sequences))[:N_SHUFFLED]
    mixed = [generator.permutation(sequences[int(row)]) for row in rows]
    logits = np.einsum("pcq,pnq->nc", _directions(head, parts), _described(model, mixed), optimize=True)
    return DomainPrior(center, spread, parts, float(np.median(logits.max(axis=1))))


def _directions(head: ClusterHead, parts: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what the points of a window and of its parts are multiplied with, (1 + N_PARTS, C, Q).

    The logit of a window is the mean of two: of the window as a whole, and of its parts on average.
    """
    whole = unit(head.prototypes)[None] / 2
    each = parts.transpose(1, 0, 2) / (2 * N_PARTS)
    return np.ascontiguousarray(np.concatenate([whole, each]) / head.temperature, dtype=np.float32)


def _described(model: Model, sequences: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Return the points of sequences as a whole and of their parts, (1 + N_PARTS, N, Q), of length 1."""
    points = np.zeros((1 + N_PARTS, len(sequences), model.head.projection.shape[1]), np.float32)
    for row, shares in _shares(model, sequences, step=1):
        bounds = [(0, len(shares)), *_bounds(len(shares))]
        points[:, row] = unit(np.stack([shares[start:end].sum(axis=0) for start, end in bounds]))
    return points


def _bounds(n: int) -> list[tuple[int, int]]:
    """Divide n cells into parts, which overlap if there are fewer cells than parts.

    >>> _bounds(7), _bounds(2)
    ([(0, 2), (2, 4), (4, 7)], [(0, 1), (0, 1), (1, 2)])
    """
    starts = [part * n // N_PARTS for part in range(N_PARTS)]
    return [(start, max(start + 1, (part + 1) * n // N_PARTS)) for part, start in enumerate(starts)]


def find_domains(
    model: Model, records: Iterable[Record], *, min_probability: float = 0.0, max_residues: int = 8_192
) -> Iterator[Domains]:
    """Yield the domains of consecutive blocks of records, in the order of the input.

    A protein in which nothing is found has one row, from end to end, with cluster -1 and probability 0.

    Parameters
    ----------
    model : Model
        Trained on domains or on segments of whole proteins.
    records : iterable of Record
    min_probability : probability
        Less probable domains are left out.
    max_residues : int, residues
        Size of a batch.

    Raises
    ------
    ArtifactError
        If the model does not know what the domains of its clusters look like.
    """
    prior = prior_of(model)
    for block in record_blocks(records):
        found: list[list[tuple[int, int, int, float]]] = [[] for _ in block]
        for row, windows in _windows(model, prior, block, max_residues):
            found[row] = [part for part in _divide(windows) if part[3] >= min_probability]
        rows_of = [
            (i, *part) for i, parts in enumerate(found) for part in parts or [(0, len(block[i]), -1, 0.0)]
        ]
        numbers, starts, ends, labels, probabilities = zip(*rows_of, strict=True)
        yield Domains(
            [block[i].id for i in numbers],
            np.array(starts, np.int64),
            np.array(ends, np.int64),
            np.array(labels, np.int32),
            np.array(probabilities, np.float32),
        )


def membership(
    model: Model, records: Iterable[Record], *, cluster: int | None = None, max_residues: int = 8_192
) -> Iterator[NDArray[np.float64]]:
    """Yield the probability (L,) that each residue lies in a domain of a cluster, record by record.

    Where `find_domains` takes the best division of a protein, this sums over all of them.

    Parameters
    ----------
    model : Model
    records : iterable of Record
    cluster : int, optional
        By default the one that each protein as a whole is assigned to.
    max_residues : int, residues
        Size of a batch.

    Raises
    ------
    ArtifactError
        If the model does not know what the domains of its clusters look like.
    InvalidParameter
        If the model has no such cluster.
    """
    if cluster is not None and not 0 <= cluster < model.head.n_clusters:
        raise InvalidParameter(
            "cluster", cluster, f"the model's clusters are 0 to {model.head.n_clusters - 1}"
        )
    prior = prior_of(model)
    for block in record_blocks(records):
        found = [np.empty(0)] * len(block)
        for row, windows in _windows(model, prior, block, max_residues, cluster):
            found[row] = _marginal(windows)
        yield from found


@dataclass(frozen=True)
class _Windows:
    """All windows of a protein of n cells, by the cell where one ends and the number of its cells.

    Log-odds (n + 1, most + 1) against being no domain: of its best cluster, of any cluster, of a wanted one.
    """

    length: int
    label: NDArray[np.int32]
    best: NDArray[np.float64]
    any: NDArray[np.float64]
    wanted: NDArray[np.float64]


def _windows(
    model: Model, prior: DomainPrior, block: Sequence[Record], max_residues: int, cluster: int | None = None
) -> Iterator[tuple[int, _Windows]]:
    directions = _directions(model.head, prior.parts)
    codes = [AMINO.encode(record.sequence) for record in block]
    for row, shares in _shares(model, codes, step=STEP, max_residues=max_residues):
        wanted = cluster
        if wanted is None:
            wanted = int((directions[0] @ shares.sum(axis=0)).argmax())
        yield row, _weigh(shares, len(codes[row]), directions, prior, wanted)


def _shares(
    model: Model, sequences: Sequence[NDArray[np.uint8]], *, step: int, max_residues: int = 8_192
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield row and (n, Q), what each cell of `step` residues adds to the protein's point.

    Before it is brought to length 1, a protein's point in the space of the head's prototypes is their sum,
    and that of any window is the sum of its own cells.
    """
    network, head = model.encoder.project, model.head
    weight = network.weight.detach().cpu().numpy().T @ head.projection
    bias = (network.bias.detach().cpu().numpy() - head.center) @ head.projection
    for row, cells in model.encoder.cell_terms(sequences, step, max_residues=max_residues):
        length = len(sequences[row])
        n_residues = np.minimum(length - step * np.arange(len(cells)), step)
        yield row, (cells @ weight + np.outer(n_residues / length, bias)).astype(np.float32, copy=False)


def _weigh(
    shares: NDArray[np.float32],
    length: int,
    directions: NDArray[np.float32],
    prior: DomainPrior,
    cluster: int,
) -> _Windows:
    n = len(shares)
    reach = SPREADS * prior.spread
    least = max(1, int(np.exp((prior.log_length - reach).min()) / STEP))
    most = min(n, int(np.ceil(min(np.exp((prior.log_length + reach).max()), MAX_LENGTH) / STEP)))
    label = np.zeros((n + 1, most + 1), dtype=np.int32)
    best, any_, wanted = (np.full((n + 1, most + 1), -np.inf) for _ in range(3))
    # The sums of a long protein toward thousands of clusters would not fit into memory at once.
    for begin in range(0, n, BLOCK_CELLS):
        stop = min(begin + BLOCK_CELLS, n)  # windows begin before it
        own = shares[begin : stop + most]
        toward = _cumulated(directions @ own.T).astype(np.float32)
        scale = 1.0 / _lengths(own)
        for k in range(min(least, n), min(most, n - begin) + 1):
            far = (np.log(min(k * STEP, length)) - prior.log_length) / prior.spread
            near = np.flatnonzero(np.abs(far) <= SPREADS)
            if not len(near):
                continue
            far, m = far[near], min(stop, n - k + 1) - begin
            odds = np.full((len(near), m), -prior.background, np.float32)
            for part, (start, end) in enumerate(((0, k), *_bounds(k))):
                inside = toward[part, near, end : end + m] - toward[part, near, start : start + m]
                odds += inside * np.diagonal(scale, end - start)[start : start + m]
            # Two halves of a domain point where the whole does: a part counts as much as it is of a domain.
            odds *= np.exp(np.minimum(far * prior.spread[near], 0.0))[:, None]
            odds -= 0.5 * far[:, None] ** 2
            ends = slice(begin + k, begin + k + m)
            top = odds.max(axis=0)
            label[ends, k], best[ends, k] = near[odds.argmax(axis=0)], top
            any_[ends, k] = top + np.log(np.exp(odds - top).sum(axis=0))
            if cluster in near:
                wanted[ends, k] = odds[np.searchsorted(near, cluster)]
    return _Windows(length, label, best, any_, wanted)


def _cumulated(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the sums (..., n + 1) of the first 0 to n of values (..., n)."""
    sums = np.zeros((*values.shape[:-1], values.shape[-1] + 1))
    np.cumsum(values, axis=-1, out=sums[..., 1:])
    return sums


def _lengths(shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the lengths (n + 1, n + 1) of the sums of shares (n, Q) from one place up to another."""
    sums = _cumulated(shares.T)
    squares = (sums**2).sum(axis=0)
    squared = squares[:, None] + squares - 2.0 * sums.T @ sums
    return np.sqrt(np.maximum(squared, 1e-24)).astype(np.float32)


def _divide(windows: _Windows) -> list[tuple[int, int, int, float]]:
    """Return start, end, cluster and probability of the best set of domains of one protein."""
    n, most = len(windows.best) - 1, windows.best.shape[1] - 1
    value, taken = np.zeros(n + 1), np.zeros(n + 1, dtype=np.int64)
    for end in range(1, n + 1):
        sizes = np.arange(1, min(end, most) + 1)
        total = value[end - sizes] + windows.best[end, sizes]
        best = int(total.argmax())
        value[end] = value[end - 1]
        if total[best] > value[end]:
            value[end], taken[end] = total[best], sizes[best]
    domains, end = [], n
    while end > 0:
        k = int(taken[end])
        if k:
            place = ((end - k) * STEP, min(end * STEP, windows.length), int(windows.label[end, k]))
            odds = windows.best[end, k] - np.logaddexp(0.0, windows.any[end, k])
            domains.append((*place, float(np.exp(odds))))
        end -= max(k, 1)
    return domains[::-1]


def _marginal(windows: _Windows) -> NDArray[np.float64]:
    """Sum over all divisions, forward and backward; (L,), probability of the wanted cluster."""
    n, most = len(windows.best) - 1, windows.best.shape[1] - 1
    before, after = np.zeros(n + 1), np.zeros(n + 1)
    for end in range(1, n + 1):
        sizes = np.arange(1, min(end, most) + 1)
        inside = np.logaddexp.reduce(before[end - sizes] + windows.any[end, sizes])
        before[end] = np.logaddexp(before[end - 1], inside)
    for start in range(n - 1, -1, -1):
        sizes = np.arange(1, min(n - start, most) + 1)
        inside = np.logaddexp.reduce(after[start + sizes] + windows.any[start + sizes, sizes])
        after[start] = np.logaddexp(after[start + 1], inside)
    cells = np.zeros(n)
    for k in range(1, most + 1):
        share = np.exp(before[: n - k + 1] + windows.wanted[k:, k] + after[k:] - before[n])
        cells += np.convolve(share, np.ones(k))
    return np.repeat(np.minimum(cells, 1.0), STEP)[: windows.length]
