"""Cut whole proteins where their local alignments begin and end: a segment is what recurs by itself.

Each alignment of a protein covers a part of it. Along the protein the covering alignments change where a
unit that evolution moves as a whole begins or ends. The cuts are the change points of this pile-up, found
by dynamic programming, first for each protein by itself and then in agreement with those that its homologs
have. No family, profile or boundary is read.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from seqscan.alignment import Alignments, align_all
from seqscan.alphabet import AMINO
from seqscan.corpus import Corpus
from seqscan.errors import InputError, InvalidParameter
from seqscan.fasta import Record, RejectionLedger, read_fasta

__all__ = ["SegmentConfig", "change_points", "cut_proteins", "cut_records", "recurring_segments"]

logger = logging.getLogger(__name__)

FEW = 2_000
"""Proteins that are cut by one process, because starting others takes longer."""


@dataclass(frozen=True)
class SegmentConfig:
    """How to cut.

    Attributes
    ----------
    sensitivity : dimensionless, 1 to 7.5
        MMseqs2's `-s`.
    cut_cost : residues
        What a segment costs. A cut must explain more residues of the mean alignment than this.
    length_cost : residues
        Weight of the squared logarithm of a segment's length over `usual_length`.
    usual_length : residues
        Of a domain. Where alignments say nothing, sizes still tell: Wheelan, Marchler-Bauer and Bryant,
        Bioinformatics 16:613 (2000), from domains of known structure.
    min_length, max_length : residues
    min_support : share of a protein's alignments that must cover a segment
    max_alignments : int
        Of a protein; of more, an even sample.
    step : residues
        Between places for a cut.
    n_rounds : int
        How often all proteins are cut; from the second on, by their homologs' cuts too.
    """

    sensitivity: float = 5.7
    cut_cost: float = 10.0
    length_cost: float = 20.0
    usual_length: float = 140.0
    min_length: int = 25
    max_length: int = 1_000
    min_support: float = 0.1
    max_alignments: int = 80
    step: int = 8
    n_rounds: int = 3

    def __post_init__(self) -> None:
        if not self.step <= self.min_length <= self.max_length:
            raise InvalidParameter("min_length", self.min_length, "must lie between step and max_length")


def recurring_segments(
    sequences: Sequence[NDArray[np.uint8]],
    config: SegmentConfig | None = None,
    *,
    context: Sequence[NDArray[np.uint8]] = (),
    threads: int = 2,
) -> NDArray[np.int64]:
    """Align proteins with each other and cut each at the change points of its alignments.

    Parameters
    ----------
    sequences : N arrays of codes, each (L_i,)
    config : SegmentConfig, optional
    context : sequence of arrays of codes
        Further proteins that are aligned with but not cut: in few families domains may never part.
    threads : int

    Returns
    -------
    segments : (M, 3), int64
        Row of the protein, start and end (0-based, half-open), in order. A protein that is like no other
        has none.

    Raises
    ------
    MissingDependency
        If there is no MMseqs2.
    """
    config = config or SegmentConfig()
    lengths = np.fromiter((len(s) for s in sequences), dtype=np.int64, count=len(sequences))
    hits = align_all(
        [*sequences, *context],
        queries=np.arange(len(sequences)) if len(context) else None,
        sensitivity=config.sensitivity,
        threads=threads,
    )
    return cut_proteins(lengths, hits, config, threads=threads)


def cut_records(
    proteins: Corpus, config: SegmentConfig, *, context: str | Path | None = None, threads: int
) -> Iterator[Record]:
    """Yield the segments of whole proteins as records `protein/start-end`, 1-based and inclusive.

    Proteins that are like no other have none; a warning says how many.

    Parameters
    ----------
    proteins : Corpus
    config : SegmentConfig
    context : path, optional
        FASTA file of further proteins to align with.
    threads : int

    Raises
    ------
    InputError
        If no part of any protein recurs in another.
    MissingDependency
        If there is no MMseqs2.
    """
    others: list[NDArray[np.uint8]] = []
    if context is not None:
        ledger = RejectionLedger()
        known = set(proteins.ids)
        records = read_fasta(context, rejected=ledger)
        others = [AMINO.encode(record.sequence) for record in records if record.id not in known]
        logger.info("%d proteins of %s to align with, %d rejected", len(others), context, len(ledger.rows))
    parts = recurring_segments(proteins, config, context=others, threads=threads).tolist()
    if not parts:
        raise InputError(
            "the input",
            "no part of any protein recurs in another",
            remedy="Give more proteins, or leave --segment out.",
        )
    n = len({row for row, _, _ in parts})
    if n < len(proteins):
        logger.warning(
            "%d of %d proteins are like no other and take no part in the training; domains.tsv has them too",
            len(proteins) - n,
            len(proteins),
        )
    for row, start, end in parts:
        text = proteins.residues(row)[start:end]
        yield Record(f"{proteins.ids[row]}/{start + 1}-{end}", proteins.descriptions[row], text)


def cut_proteins(
    lengths: NDArray[np.int64], hits: Alignments, config: SegmentConfig, *, threads: int = 1
) -> NDArray[np.int64]:
    """Cut the proteins of lengths (N,) that have alignments; return segments as `recurring_segments` does.

    Each protein is first cut by itself. Then all are cut again, and a cut costs twice as much where no
    homolog has one and nothing where all have one: a family decides together what its alignments leave open.
    Within a round no protein waits for another, so `threads` processes share it.
    """
    aligned, first, counts = np.unique(hits.query, return_index=True, return_counts=True)
    n_batches = 1 if threads == 1 or len(aligned) < FEW else 8 * threads
    cuts: _Cuts | None = None
    segments = np.empty((0, 3), np.int64)
    with Parallel(n_jobs=threads if n_batches > 1 else 1) as parallel:
        for _ in range(config.n_rounds):
            found = parallel(
                delayed(_cut_each)(own, lengths, hits, config, cuts)
                for own in np.array_split(np.stack([aligned, first, counts], axis=1), n_batches)
            )
            new = [np.empty(0, np.int64)] * len(lengths)
            for row, places in zip(aligned, chain.from_iterable(cut for cut, _ in found), strict=True):
                new[row] = places
            segments = np.concatenate([part for _, part in found])
            cuts = _Cuts(lengths, new, config.step)
    return segments


def _cut_each(
    proteins: NDArray[np.int64],
    lengths: NDArray[np.int64],
    hits: Alignments,
    config: SegmentConfig,
    cuts: _Cuts | None,
) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    """Cut proteins: row, place of the first hit, number of hits; return the cuts of each and all segments."""
    places_of: list[NDArray[np.int64]] = []
    segments: list[tuple[int, int, int]] = []
    for row, low, n in proteins.tolist():
        chosen = low + np.unique(np.linspace(0, n - 1, min(n, config.max_alignments)).astype(int))
        # Near-identical proteins align from end to end and say nothing about where a unit ends.
        weights = np.maximum(1.0 - hits.identity[chosen].astype(np.float64), 0.05)
        places = _places(int(lengths[row]), config.step)
        agreement = None if cuts is None else cuts.agreement(places, row, hits, chosen, weights)
        starts, ends = hits.query_start[chosen], hits.query_end[chosen]
        own, parts = change_points(places, starts, ends, weights, config, agreement)
        places_of.append(own)
        segments.extend((row, start, end) for start, end in parts)
    return places_of, np.array(segments, dtype=np.int64).reshape(-1, 3)


def _places(length: int, step: int) -> NDArray[np.int64]:
    """Where a protein may be cut, its two ends included."""
    return np.unique(np.append(np.arange(0, length, step), length))


class _Cuts:
    """Where each of N proteins was cut in the round before.

    All proteins stand end to end, so far apart that a cut is near no place of another protein.

    Parameters
    ----------
    lengths : (N,), residues
    of_each : list of (C_i,), int64
    step : residues
    """

    def __init__(self, lengths: NDArray[np.int64], of_each: list[NDArray[np.int64]], step: int) -> None:
        self.n, self.step = len(of_each), step
        self._base = np.concatenate([[0], np.cumsum(lengths + 2 * step)])
        shifted = [base + cuts for base, cuts in zip(self._base, of_each, strict=False) if len(cuts)]
        self._all = np.concatenate([[-np.inf], *shifted, [np.inf]])

    def agreement(
        self,
        places: NDArray[np.int64],
        row: int,
        hits: Alignments,
        chosen: NDArray[np.int64],
        weights: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return which share of a protein and its homologs, by weight, is cut near each place (P,).

        Homologs of the context, which are not cut, have no say. Positions are carried over in proportion
        within an alignment: gaps are small beside the distance at which cuts count as the same.
        """
        own = hits.target[chosen] < self.n
        chosen, weights = chosen[own], weights[own]
        start, end = hits.query_start[chosen, None], hits.query_end[chosen, None]
        inside = (places >= start + self.step) & (places <= end - self.step)
        hit, place = np.nonzero(inside)
        length = hits.target_end[chosen] - hits.target_start[chosen]
        scale = length / (end - start)[:, 0]
        origin = self._base[hits.target[chosen]] + hits.target_start[chosen]
        near = np.zeros(inside.shape)
        near[hit, place] = self._nearness(origin[hit] + (places[place] - start[hit, 0]) * scale[hit])
        votes = self._nearness(self._base[row] + places) + weights @ near
        return votes / (1.0 + weights @ inside)

    def _nearness(self, places: NDArray[np.integer] | NDArray[np.floating]) -> NDArray[np.float64]:
        """Return 1 at a cut, falling to 0 at two steps from it."""
        after = np.searchsorted(self._all, places)
        distance = np.minimum(places - self._all[after - 1], self._all[after] - places)
        return np.maximum(1.0 - distance / (2.0 * self.step), 0.0)


def change_points(
    places: NDArray[np.int64],
    starts: NDArray[np.integer],
    ends: NDArray[np.integer],
    weights: NDArray[np.float64],
    config: SegmentConfig,
    agreement: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.int64], list[tuple[int, int]]]:
    """Cut one protein so that each alignment covers each segment nearly whole or nearly not.

    Parameters
    ----------
    places : (P,)
        Where the protein may be cut, its two ends included.
    starts, ends : (H,), 0-based and half-open
        The aligned parts.
    weights : (H,)
        How much each alignment counts.
    config : SegmentConfig
    agreement : (P,), optional
        Share of the homologs that are cut near each place.

    Returns
    -------
    cuts : (C,)
        Without the two ends.
    segments : list of (start, end)
        Those that enough alignments cover, each trimmed to what half of these share.

    Notes
    -----
    A segment costs the residues of the mean alignment that go against the majority within it, plus
    `cut_cost`, plus the prior on its length; the cheapest division of the protein is found exactly.

    Examples
    --------
    >>> starts, ends = np.array([0, 0, 160, 160]), np.array([160, 160, 320, 320])
    >>> cuts, segments = change_points(np.arange(0, 321, 8), starts, ends, np.ones(4), SegmentConfig())
    >>> cuts.tolist(), segments
    ([160], [(0, 160), (160, 320)])
    """
    weights = weights / weights.sum()
    overlap = np.minimum(ends[:, None], places[1:]) - np.maximum(starts[:, None], places[:-1])
    covered = np.zeros((len(starts), len(places)))
    np.cumsum(np.maximum(overlap, 0), axis=1, out=covered[:, 1:])
    n = len(places)
    cut_cost = config.cut_cost * (np.ones(n) if agreement is None else 2.0 * (1.0 - agreement))
    cost, previous, support = np.zeros(n), np.zeros(n, dtype=np.int64), np.zeros(n)
    for end in range(1, n):
        # The last cell is narrower than the others, so that the first place always has one to come from.
        begin = min(int(np.searchsorted(places, places[end] - config.max_length)), end - 1)
        span = (places[end] - places[begin:end]).astype(np.float64)
        inside = covered[:, end, None] - covered[:, begin:end]
        covering = weights @ (inside > span / 2)
        against = weights @ np.minimum(inside, span - inside)
        size = config.length_cost * np.log(span / config.usual_length) ** 2
        total = (
            cost[begin:end] + against + cut_cost[end] + np.where(covering >= config.min_support, size, 0.0)
        )
        best = int(total.argmin())
        cost[end], previous[end], support[end] = total[best], begin + best, covering[best]
    cuts, segments = [], []
    end = n - 1
    while end > 0:
        start = int(previous[end])
        cuts.append(int(places[start]))
        if support[end] >= config.min_support and places[end] - places[start] >= config.min_length:
            segments.append(_core(int(places[start]), int(places[end]), starts, ends, weights, config))
        end = start
    return np.array(cuts[-2::-1], np.int64), segments[::-1]


def _core(
    start: int,
    end: int,
    starts: NDArray[np.integer],
    ends: NDArray[np.integer],
    weights: NDArray[np.float64],
    config: SegmentConfig,
) -> tuple[int, int]:
    """Trim a segment to what half of the alignments that cover it, by weight, share.

    A tail that few share is too short to pay for a cut of its own, most of all at the end of a protein.
    """
    own = np.minimum(ends, end) - np.maximum(starts, start) > (end - start) / 2
    first, last = np.maximum(starts[own], start), np.minimum(ends[own], end)
    core = _median(first, weights[own]), _median(last, weights[own])
    return core if core[1] - core[0] >= config.min_length else (start, end)


def _median(values: NDArray[np.integer], weights: NDArray[np.float64]) -> int:
    """Return the smallest value up to which half of the weight lies."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order])
    return int(values[order[np.searchsorted(below, below[-1] / 2)]])
