"""Communities of recurring segments: what stands in for families while no label is read.

The proteins that were searched against each other are cut where their alignments change
(`seqscan.segments`), the alignments link the segments, and the communities of these links are classes that
the encoder learns to tell apart. A community is often a part of a family; communities with a link between
them are therefore never told to be different.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from seqscan.alignment import Alignments
from seqscan.artifact import read_manifest, write_artifact
from seqscan.corpus import Corpus
from seqscan.neighbors.pieces import by_size, potts_communities
from seqscan.segments import SegmentConfig, cut_proteins

__all__ = ["Communities", "find_communities", "segment_links"]

logger = logging.getLogger("seqscan.pretrain")

MIN_OVERLAP = 0.6
"""Share of both segments that an alignment must cover to link them."""
MIN_DENSITY = 0.01
"""Two groups of segments come apart if less than this share of the pairs between them are linked. With a
hundred hits kept for each protein, a family holds together up to ten thousand members."""
MIN_MEMBERS = 3


@dataclass(frozen=True)
class Communities:
    """M segments of proteins and the community of each.

    Attributes
    ----------
    segments : (M, 4), int32
        Row of the protein, start and end (0-based, half-open), community; ordered by protein and start.
    related : (R, 2), int32
        Pairs of communities with a link between them, in both orders.
    n_communities : int
        C; some may have no segment among those that are left.
    """

    segments: NDArray[np.int32]
    related: NDArray[np.int32]
    n_communities: int

    @classmethod
    def none(cls) -> Communities:
        """Return no communities."""
        return cls(np.empty((0, 4), np.int32), np.empty((0, 2), np.int32), 0)

    def relations(self) -> sparse.csr_array:
        """Return which communities are related, (C, C), bool, none to itself."""
        ones = np.ones(len(self.related), dtype=bool)
        return sparse.csr_array(
            (ones, (self.related[:, 0], self.related[:, 1])), shape=(self.n_communities,) * 2
        )

    def restricted_to(self, allowed: NDArray[np.bool_]) -> Communities:
        """Return the segments of the allowed proteins, (N,) bool; the communities keep their numbers."""
        return Communities(self.segments[allowed[self.segments[:, 0]]], self.related, self.n_communities)

    def write(self, path: Path, content: Mapping[str, object]) -> None:
        """Write an artifact."""
        content = dict(content) | {"n_communities": self.n_communities}
        with write_artifact(path, "communities", content) as directory:
            np.save(directory / "segments.npy", self.segments)
            np.save(directory / "related.npy", self.related)

    @classmethod
    def read(cls, path: Path) -> Communities:
        """Open an artifact; raises `ArtifactError` if there is none."""
        n = read_manifest(path, "communities").content["n_communities"]
        return cls(np.load(path / "segments.npy"), np.load(path / "related.npy"), n)


def find_communities(
    corpus: Corpus,
    alignments: Alignments,
    representative: NDArray[np.integer] | None = None,
    *,
    threads: int = 1,
) -> Communities:
    """Cut the aligned proteins into segments and group these.

    Parameters
    ----------
    corpus : Corpus
    alignments : Alignments
        Of its proteins with each other.
    representative : (N,), optional
        The row of the protein that stands for each and is alike in its whole length: both have one division.
    threads : int
    """
    segments = cut_proteins(corpus.lengths, alignments, SegmentConfig(), threads=threads)
    segments = segments.astype(np.int32)
    n = len(segments)
    pairs = segment_links(segments, alignments, corpus.lengths)
    if not len(pairs):
        return Communities.none()
    links = sparse.csr_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    community = by_size(potts_communities(links, MIN_DENSITY), MIN_MEMBERS).astype(np.int32)
    n_communities = int(community.max()) + 1
    ties = community[pairs]
    ties = np.unique(ties[(ties >= 0).all(axis=1) & (ties[:, 0] != ties[:, 1])], axis=0)
    inside = community >= 0
    logger.info(
        "%d segments of %d proteins, %d of them in %d communities",
        n, len(np.unique(segments[:, 0])), int(inside.sum()), n_communities,
    )  # fmt: skip
    found = np.column_stack([segments[inside], community[inside]])
    if representative is not None:
        found = _carried_over(found, representative, corpus.lengths)
    return Communities(
        found,
        np.unique(np.concatenate([ties, ties[:, ::-1]]), axis=0),
        n_communities,
    )


def _carried_over(
    segments: NDArray[np.int32], representative: NDArray[np.integer], lengths: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Add the segments of each protein's representative, places in proportion to the lengths."""
    followers = np.flatnonzero(representative != np.arange(len(representative)))
    rows = representative[followers]
    first = np.searchsorted(segments[:, 0], rows)
    counts = np.searchsorted(segments[:, 0], rows, side="right") - first
    follower = np.repeat(followers, counts)
    own = np.repeat(first - (np.cumsum(counts) - counts), counts) + np.arange(len(follower))
    scale = lengths[follower] / lengths[representative[follower]]
    places = np.rint(segments[own, 1:3] * scale[:, None])
    new = np.column_stack([follower, places, segments[own, 3]]).astype(np.int32)
    joined = np.concatenate([segments, new[new[:, 2] > new[:, 1]]])
    return joined[np.lexsort((joined[:, 1], joined[:, 0]))]


def segment_links(
    segments: NDArray[np.integer], alignments: Alignments, lengths: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return which segments are aligned with each other.

    Parameters
    ----------
    segments : (M, 3)
        Protein, start and end; ordered by protein and start, none overlapping another.
    alignments : Alignments
    lengths : (N,), residues
        Of the proteins.

    Returns
    -------
    pairs : (L, 2), int64
        Places in `segments`, smaller first, each pair once: an alignment covers `MIN_OVERLAP` of both, and
        puts the middle of the one into the other (positions in proportion to its length on either side).

    Examples
    --------
    >>> def column(*values):
    ...     return np.array(values, np.int32)
    >>> hit = Alignments(
    ...     column(0), column(1), column(0), column(200), column(50), column(250),
    ...     np.ones(1, np.float32), np.ones(1, np.float32),
    ... )
    >>> segments = np.array([[0, 0, 100], [0, 100, 200], [1, 50, 150], [1, 160, 240]])
    >>> segment_links(segments, hit, np.array([200, 300])).tolist()
    [[0, 2], [1, 3]]
    """
    base = np.concatenate([[0], np.cumsum(lengths)])
    starts, ends = base[segments[:, 0]] + segments[:, 1], base[segments[:, 0]] + segments[:, 2]
    query, target = alignments.query.astype(np.int64), alignments.target.astype(np.int64)
    low, high = base[query] + alignments.query_start, base[query] + alignments.query_end
    first = np.searchsorted(ends, low, side="right")
    counts = np.maximum(np.searchsorted(starts, high, side="left") - first, 0)
    hit = np.repeat(np.arange(len(query)), counts)
    own = np.repeat(first, counts) + np.arange(len(hit)) - np.repeat(np.cumsum(counts) - counts, counts)
    begin, end = np.maximum(low[hit], starts[own]), np.minimum(high[hit], ends[own])
    covered = end - begin >= MIN_OVERLAP * (ends - starts)[own]
    hit, own, begin, end = hit[covered], own[covered], begin[covered], end[covered]
    scale = (alignments.target_end - alignments.target_start)[hit] / (high - low)[hit]
    origin = base[target[hit]] + alignments.target_start[hit]
    begin, end = origin + (begin - low[hit]) * scale, origin + (end - low[hit]) * scale
    middle = (begin + end) / 2
    other = np.searchsorted(starts, middle, side="right") - 1
    overlap = np.minimum(end, ends[other]) - np.maximum(begin, starts[other])
    linked = (other >= 0) & (segments[other, 0] == target[hit]) & (middle < ends[other]) & (other != own)
    linked &= overlap >= MIN_OVERLAP * (ends - starts)[other]
    own, other = own[linked], other[linked]
    return np.unique(np.stack([np.minimum(own, other), np.maximum(own, other)], axis=1), axis=0).astype(
        np.int64
    )
