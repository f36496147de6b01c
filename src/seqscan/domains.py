"""Which parts of a whole protein belong to which clusters, in constant time for each protein.

The vector of any window is a ratio of sums over its residues, so one pass of the encoder gives the exact
logits of all windows. Each window is weighed as one domain of each cluster, by its logit and its length,
against being no domain; dynamic programming picks the best set of windows that do not overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from seqscan.alphabet import AMINO
from seqscan.errors import ArtifactError, InvalidParameter
from seqscan.fasta import Record
from seqscan.head import ClusterHead
from seqscan.model import Model, record_blocks
from seqscan.results import Domains
from seqscan.store import unit

__all__ = ["DomainPrior", "find_domains", "learn_prior", "membership"]

STEP = 8
"""Residues between places where a domain may begin or end."""
MIN_SPREAD = 0.15
"""Least standard deviation of the logarithm of a cluster's lengths: the grid is no finer, and few members
say little of it."""
N_SHUFFLED = 256
MAX_LENGTH = 1_000
SPREADS = 2.5
"""A domain is at most so many standard deviations shorter or longer than its cluster's usual length."""


@dataclass(frozen=True)
class DomainPrior:
    """What a domain of each cluster looks like, beside the direction of its vector.

    Attributes
    ----------
    log_length : (C,)
        Median of the logarithm of the members' lengths, residues.
    spread : (C,)
        Standard deviation of the same, at least `MIN_SPREAD`.
    background : logit
        Of being no domain, a class of its own beside the clusters: what half of the shuffled members exceed.
    """

    log_length: NDArray[np.float64]
    spread: NDArray[np.float64]
    background: float

    def to_json(self) -> dict[str, object]:
        """Return JSON values for a model's `content["domains"]`."""
        return {
            "log_length": [round(float(value), 4) for value in self.log_length],
            "spread": [round(float(value), 4) for value in self.spread],
            "background": round(self.background, 4),
        }

    @classmethod
    def of(cls, model: Model) -> DomainPrior:
        """Read what a model has learned of its clusters' lengths; raises `ArtifactError` if nothing."""
        content = model.content.get("domains")
        if content is None:
            raise ArtifactError(
                "the model",
                "does not know the lengths of its clusters",
                remedy="Make it again with this version.",
            )
        return cls(np.array(content["log_length"]), np.array(content["spread"]), content["background"])


def learn_prior(
    model: Model, sequences: Sequence[NDArray[np.uint8]], labels: NDArray[np.int32], *, seed: int
) -> DomainPrior:
    """Learn the lengths of each cluster from its members, and the background from shuffled members.

    Parameters
    ----------
    model : Model
    sequences : N arrays of codes, each (L_i,)
    labels : (N,)
        The cluster of each.
    seed : int
        Draws the sequences that are shuffled.
    """
    log_lengths = np.log([len(sequence) for sequence in sequences])
    center, spread = np.full(model.head.n_clusters, np.log(140.0)), np.full(model.head.n_clusters, 0.5)
    for label in range(model.head.n_clusters):
        own = log_lengths[labels == label]
        if len(own):
            center[label], spread[label] = np.median(own), max(own.std(), MIN_SPREAD)
    generator = np.random.default_rng((seed, 51))
    rows = generator.permutation(len(sequences))[:N_SHUFFLED]
    mixed = [generator.permutation(sequences[int(row)]) for row in rows]
    highest = model.head.logits(model.encoder.embed(mixed)).max(axis=1)
    return DomainPrior(center, spread, float(np.median(highest)))


def find_domains(model: Model, records: Iterable[Record], *, max_residues: int = 8_192) -> Iterator[Domains]:
    """Yield the domains of consecutive blocks of records, in the order of the input.

    A protein in which nothing is found has one row, from end to end, with cluster -1 and probability 0.

    Parameters
    ----------
    model : Model
        Trained on domains or on segments of whole proteins.
    records : iterable of Record
    max_residues : int, residues
        Size of a batch.

    Raises
    ------
    ArtifactError
        If the model was made by a version that did not note the lengths of its clusters.
    """
    prior = DomainPrior.of(model)
    for block in record_blocks(records):
        found: list[list[tuple[int, int, int, float]]] = [[] for _ in block]
        for row, windows in _windows(model, prior, block, max_residues):
            found[row] = _divide(windows)
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
        If the model was made by a version that did not note the lengths of its clusters.
    InvalidParameter
        If the model has no such cluster.
    """
    if cluster is not None and not 0 <= cluster < model.head.n_clusters:
        raise InvalidParameter(
            "cluster", cluster, f"the model's clusters are 0 to {model.head.n_clusters - 1}"
        )
    prior = DomainPrior.of(model)
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
    network = model.encoder.project
    weight = network.weight.detach().cpu().numpy().T @ model.head.projection
    bias = (network.bias.detach().cpu().numpy() - model.head.center) @ model.head.projection
    codes = [AMINO.encode(record.sequence) for record in block]
    for rows, output, mask in model.encoder.encode(codes, max_residues=max_residues):
        lengths = mask.sum(dim=1).tolist()
        own = model.head.logits(output.pooled.float().cpu().numpy()).argmax(axis=1)
        for line, row in enumerate(rows.tolist()):
            n, wanted = lengths[line], int(own[line]) if cluster is None else cluster
            weights = output.weights[line, :n].float()
            sums = _cells(weights * output.residues[line, :n].float())
            yield row, _weigh(sums, _cells(weights), n, weight, bias, model.head, prior, wanted)


def _cells(values: torch.Tensor) -> NDArray[np.float32]:
    """Sum (L, D) over each `STEP` residues."""
    short = -len(values) % STEP
    padded = torch.nn.functional.pad(values, (0, 0, 0, short))
    return padded.reshape(-1, STEP, values.shape[1]).sum(dim=1).cpu().numpy()


def _weigh(
    sums: NDArray[np.float32],
    weights: NDArray[np.float32],
    length: int,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    head: ClusterHead,
    prior: DomainPrior,
    cluster: int,
) -> _Windows:
    n = len(sums)
    reach = SPREADS * prior.spread
    least = max(1, int(np.exp((prior.log_length - reach).min()) / STEP))
    most = min(n, int(np.ceil(min(np.exp((prior.log_length + reach).max()), MAX_LENGTH) / STEP)))
    prototypes = unit(head.prototypes).T / np.float32(head.temperature)
    label = np.zeros((n + 1, most + 1), dtype=np.int32)
    best, any_, wanted = (np.full((n + 1, most + 1), -np.inf) for _ in range(3))
    top, bottom = np.zeros_like(sums), np.zeros_like(weights)
    for k in range(1, most + 1):
        top, bottom = top[: n - k + 1] + sums[k - 1 :], bottom[: n - k + 1] + weights[k - 1 :]
        if k < min(least, n):
            continue
        points = unit((top / np.maximum(bottom, np.float32(1e-30))) @ weight + bias)
        far = (np.log(min(k * STEP, length)) - prior.log_length) / prior.spread
        # Two halves of a domain point where the whole does: a part counts as much as it is of a domain.
        odds = (points @ prototypes - prior.background) * np.exp(np.minimum(far * prior.spread, 0.0))
        odds -= 0.5 * far**2
        odds[:, np.abs(far) > SPREADS] = -np.inf
        label[k:, k], best[k:, k] = odds.argmax(axis=1), odds.max(axis=1)
        any_[k:, k], wanted[k:, k] = np.logaddexp.reduce(odds, axis=1), odds[:, cluster]
    return _Windows(length, label, best, any_, wanted)


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
