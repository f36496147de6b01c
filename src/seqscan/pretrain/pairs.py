"""Pairs of views of unlabelled proteins: crops of one protein, or of the aligned parts of two homologs."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from seqscan.alignment import (
    Alignments,
    align_all,
    find_mmseqs,
    mmseqs_version,
    representatives,
)
from seqscan.alphabet import AMINO
from seqscan.artifact import read_manifest, write_artifact
from seqscan.corpus import Corpus
from seqscan.distributed import rank
from seqscan.errors import ArtifactError
from seqscan.pretrain.communities import Communities
from seqscan.tokens import pad, random_crop

__all__ = ["HomologPairs", "PairSampler", "ViewBatch", "corpus_checksum", "join_views", "mine_homologs"]

logger = logging.getLogger("seqscan.pretrain")

WHOLE = 0.7
"""Share of both proteins that an alignment covers if they are taken to be alike as a whole."""
MIN_FILL = 0.6
"""Share of a view that a segment must fill: what is padding is computed in vain."""
SIZE_POWER = 0.75
"""How often a community is drawn grows with this power of its size. With 1/2 large ones, which are diverse,
are learned too little; with 1 small ones are (docs/experiments.md, section 18)."""
SHORTEST_OVERLAP = 40
"""Residues that two alignments of one protein must share for its two homologs to be a pair."""


@dataclass(frozen=True)
class HomologPairs:
    """Aligned parts of related proteins.

    Attributes
    ----------
    pairs : (M, 6), int32
        Query row, its part's start and end, target row, its part's start and end; 0-based, half-open.
        Ordered by query.
    identity : (M,), float32
        Share of identical residues in each alignment.
    representative : (N,), int32
        The protein of the corpus that stands for each; only such were searched. Each protein's own row where
        nothing is known.
    """

    pairs: NDArray[np.int32]
    identity: NDArray[np.float32]
    representative: NDArray[np.int32]

    @classmethod
    def from_alignments(cls, a: Alignments, representative: NDArray[np.int64]) -> HomologPairs:
        """Keep the places of alignments."""
        columns = (a.query, a.query_start, a.query_end, a.target, a.target_start, a.target_end)
        return cls(np.stack(columns, axis=1).astype(np.int32), a.identity, representative.astype(np.int32))

    @classmethod
    def none(cls, n_proteins: int) -> HomologPairs:
        """Return no pairs among so many proteins."""
        alone = np.arange(n_proteins, dtype=np.int32)
        return cls(np.empty((0, 6), dtype=np.int32), np.empty(0, dtype=np.float32), alone)

    @classmethod
    def read(cls, path: str | Path, corpus: Corpus) -> HomologPairs:
        """Open pairs that were mined before; raises `ArtifactError` if they are of another corpus."""
        manifest = read_manifest(path, "homologs")
        if manifest.content.get("checksum") != corpus_checksum(corpus):
            raise ArtifactError(
                str(path), "holds homologs of other proteins", remedy="Give those of this corpus, or none."
            )
        if "representative.npy" not in manifest.files:
            raise ArtifactError(
                str(path), "was made by an earlier version that kept less", remedy="Mine the homologs again."
            )
        folder = Path(path)
        return cls(
            np.load(folder / "pairs.npy", mmap_mode="r"),
            np.load(folder / "identity.npy"),
            np.load(folder / "representative.npy"),
        )

    def write(self, path: Path, content: dict[str, Any]) -> None:
        """Write an artifact; `content` says which corpus (checksum), how many proteins, and the seed."""
        with write_artifact(path, "homologs", content) as directory:
            np.save(directory / "pairs.npy", self.pairs)
            np.save(directory / "identity.npy", self.identity)
            np.save(directory / "representative.npy", self.representative)

    def alignments(self) -> Alignments:
        """Return the pairs as alignments; their bit scores are not known (nan)."""
        query, q_start, q_end, target, t_start, t_end = np.ascontiguousarray(np.asarray(self.pairs).T)
        bits = np.full(len(self.pairs), np.nan, dtype=np.float32)
        return Alignments(query, target, q_start, q_end, t_start, t_end, self.identity, bits)

    def restricted_to(self, allowed: NDArray[np.bool_]) -> HomologPairs:
        """Return the pairs both of whose proteins are allowed, (N,) bool."""
        kept = allowed[self.pairs[:, 0]] & allowed[self.pairs[:, 3]]
        return HomologPairs(self.pairs[kept], self.identity[kept], self.representative)

    def groups(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number the proteins, (N,) -> (N,), so that relatives by whole length have one number.

        Two proteins are linked if an alignment covers `WHOLE` of both; what is linked by steps is one
        group. A shared domain links nothing, or proteins of many domains would chain everything together.
        """
        query, q_start, q_end, target, t_start, t_end = np.asarray(self.pairs, dtype=np.int64).T
        whole = (q_end - q_start >= WHOLE * lengths[query]) & (t_end - t_start >= WHOLE * lengths[target])
        links = sparse.coo_array(
            (np.ones(int(whole.sum()), dtype=bool), (query[whole], target[whole])), shape=(len(lengths),) * 2
        )
        return connected_components(links, directed=False)[1].astype(np.int64)


def mine_homologs(corpus: Corpus, path: Path, *, n_proteins: int, seed: int, threads: int) -> HomologPairs:
    """Search a part of the corpus against itself with MMseqs2; done once, kept at `path`.

    The part is drawn at random from representatives, no two of which were found to be half identical: what is
    near-identical teaches little, and families of few proteins are met more often.

    Without MMseqs2 there are no pairs, and the first process logs a warning.
    """
    asked = {"checksum": corpus_checksum(corpus), "n_proteins": n_proteins, "seed": seed}
    if path.exists() and asked.items() <= read_manifest(path, "homologs").content.items():
        return HomologPairs.read(path, corpus)
    if n_proteins == 0 or find_mmseqs() is None:
        if n_proteins and rank() == 0:
            logger.warning("MMseqs2 is not installed: training on crops of single proteins alone")
        return HomologPairs.none(len(corpus))
    representative = representatives(corpus, min_identity=0.5, threads=threads)
    rows = np.unique(representative)
    size = min(n_proteins, len(rows))
    rows = np.sort(np.random.default_rng((seed, 3)).choice(rows, size, replace=False, shuffle=False))
    logger.info("searching %d proteins against each other with MMseqs2 %s", len(rows), mmseqs_version())
    alignments = align_all(corpus, rows=rows, sensitivity=4.0, max_hits=100, max_evalue=1e-4, threads=threads)
    homologs = HomologPairs.from_alignments(alignments, representative)
    homologs.write(path, asked | {"mmseqs2": mmseqs_version()})
    return homologs


def corpus_checksum(corpus: Corpus) -> str:
    """Return the checksum of a corpus's residues."""
    return read_manifest(corpus.path, "corpus").files["codes.npy"]


class _Pair(NamedTuple):
    """Two views (L_i,), for each residue a number in [0, 1), below `mask_fraction` hidden, the group, and the
    community or -1."""

    left: NDArray[np.uint8]
    right: NDArray[np.uint8]
    left_chance: NDArray[np.float64]
    right_chance: NDArray[np.float64]
    group: int
    community: int


class ViewBatch(NamedTuple):
    """Pairs side by side.

    Attributes
    ----------
    codes : (2 B, L), int64
        All left views, then all right ones.
    masked : (2 B, L), int64
        With the mask code at the hidden places.
    mask : (2 B, L), bool
        True where there is a residue.
    hidden : (2 B, L), bool
        Places to guess: uncertain residues are hidden but not asked for.
    rows : (2 B,), int64
        Which rows of the whole step's views these are.
    groups : (2 B,), int64
        Views with one number are of relatives.
    communities : (2 B,), int64
        Of the views' segments; -1 where a view was not drawn from one.
    """

    codes: NDArray[np.int64]
    masked: NDArray[np.int64]
    mask: NDArray[np.bool_]
    hidden: NDArray[np.bool_]
    rows: NDArray[np.int64]
    groups: NDArray[np.int64]
    communities: NDArray[np.int64]


def join_views(
    pairs: list[_Pair], numbers: NDArray[np.int64], n_pairs: int, mask_fraction: float
) -> ViewBatch:
    """Put pairs, number `numbers` (B,) of the step's `n_pairs`, into one batch."""
    batch = pad([pair.left for pair in pairs] + [pair.right for pair in pairs])
    chances = np.ones(batch.codes.shape)
    for line, chance in zip(
        chances, [p.left_chance for p in pairs] + [p.right_chance for p in pairs], strict=True
    ):
        line[: len(chance)] = chance
    hidden = chances < mask_fraction
    masked = np.where(hidden, AMINO.mask, batch.codes)
    told = hidden & (batch.codes <= AMINO.n_residues)
    groups = np.array([pair.group for pair in pairs] * 2, dtype=np.int64)
    communities = np.array([pair.community for pair in pairs] * 2, dtype=np.int64)
    rows = np.concatenate([numbers, numbers + n_pairs])
    return ViewBatch(batch.codes, masked, batch.mask, told, rows, groups, communities)


class PairSampler:
    """Draws pairs of views: proteins evenly, then one of a protein's homologs evenly.

    Parameters
    ----------
    corpus : Corpus
    rows : (R,), int64
        Proteins whose crops may be drawn.
    homologs : HomologPairs
        Pairs that may be drawn.
    remote_fraction : share of the pairs of homologs
        That are of a homolog's homolog instead, where both align to the same part of it: relatives that the
        search did not find by itself.
    communities : Communities, optional
        Whose segments may be drawn.
    community_fraction : share of the pairs
        That are two members of one community.
    """

    def __init__(
        self,
        corpus: Corpus,
        rows: NDArray[np.int64],
        homologs: HomologPairs,
        *,
        remote_fraction: float = 0.0,
        communities: Communities | None = None,
        community_fraction: float = 0.0,
    ) -> None:
        self.corpus = corpus
        self.rows = rows
        self.pairs = homologs.pairs
        self.representative = homologs.representative
        self.remote_fraction = remote_fraction
        self.groups = homologs.groups(corpus.lengths)
        self.n_groups = int(self.groups.max(initial=-1)) + 1
        self.queries, self.first, self.counts = np.unique(
            homologs.pairs[:, 0], return_index=True, return_counts=True
        )
        self.communities = Communities.none() if communities is None else communities
        self.community_fraction = community_fraction if len(self.communities.segments) else 0.0
        self._members: dict[int, _Members] = {}

    def draw(
        self,
        numbers: NDArray[np.int64],
        length: int,
        homolog_fraction: float,
        key: tuple[int, ...],
    ) -> list[_Pair]:
        """Draw some of a step's pairs.

        Parameters
        ----------
        numbers : (B,), int64
            Which; a pair depends on its number and the key alone.
        length : int, residues
            About the length of a view.
        homolog_fraction : share of the pairs
            The others are two crops of one protein; so are all if there are no homologs.
        key : tuple of int
            Seed, stream and step.
        """
        share = homolog_fraction if len(self.queries) else 0.0
        pairs = []
        for number in numbers:
            generator = np.random.default_rng((*key, int(number)))
            community = -1
            if self.community_fraction and generator.random() < self.community_fraction:
                left, right, community = self._segments(length, generator)
                group = self.n_groups + community
            elif generator.random() < share:
                which = generator.integers(len(self.queries))
                pair = self.pairs[self.first[which] + generator.integers(self.counts[which])]
                if generator.random() < self.remote_fraction:
                    pair = self._remote(pair, generator)
                group = int(self.groups[pair[0]])
                left, right = self._homologs(pair, length, generator)
            else:
                row = int(self.rows[generator.integers(len(self.rows))])
                group = int(self.groups[row])
                left, right = self._crops(self.corpus[row], length, generator)
            chances = generator.random(len(left)), generator.random(len(right))
            pairs.append(_Pair(left, right, *chances, group, community))
        return pairs

    def _segments(
        self, length: int, generator: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], int]:
        """Two members of a random community, and which it is."""
        if length not in self._members:
            self._members[length] = _Members.of(self.communities.segments, length)
        community, chosen = self._members[length].draw(generator)
        place = generator.random()
        left, right = (
            self._part(self.corpus[row], start, end, length, place, generator) for row, start, end in chosen
        )
        return left, right, community

    def _crops(
        self, protein: NDArray[np.uint8], length: int, generator: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Two crops of one stretch half as long again, so that they share a third of it at least."""
        stretch = random_crop(protein, length + length // 2, generator)
        short = max(1, min(length, int(len(stretch) * 0.8)))
        return random_crop(stretch, short, generator), random_crop(stretch, short, generator)

    def _remote(self, pair: NDArray[np.int32], generator: np.random.Generator) -> NDArray[np.int32]:
        """Go from a pair's target on to one of its homologs; the pair itself if that leads nowhere."""
        query, q_start, q_end, middle, start, end = (int(value) for value in pair)
        place = int(np.searchsorted(self.queries, middle))
        if place == len(self.queries) or self.queries[place] != middle:
            return pair
        further = self.pairs[self.first[place] + generator.integers(self.counts[place])]
        _, m_start, m_end, target, t_start, t_end = (int(value) for value in further)
        low, high = max(start, m_start), min(end, m_end)
        if target == query or high - low < SHORTEST_OVERLAP:
            return pair
        return np.array(
            [
                query, *_corresponding(low, high, (start, end), (q_start, q_end)),
                target, *_corresponding(low, high, (m_start, m_end), (t_start, t_end)),
            ],
            dtype=np.int32,
        )  # fmt: skip

    def _homologs(
        self, pair: NDArray[np.int32], length: int, generator: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Corresponding parts of two aligned proteins, with ragged ends."""
        query, q_start, q_end, target, t_start, t_end = (int(value) for value in pair)
        place = generator.random()
        return (
            self._part(self.corpus[query], q_start, q_end, length, place, generator),
            self._part(self.corpus[target], t_start, t_end, length, place, generator),
        )

    @staticmethod
    def _part(
        protein: NDArray[np.uint8],
        start: int,
        end: int,
        length: int,
        place: float,
        generator: np.random.Generator,
    ) -> NDArray[np.uint8]:
        if end - start > length:
            start += int(place * (end - start - length))
            end = start + length
        spare = (length - (end - start)) // 2 + length // 8
        start = max(0, start + int(generator.integers(-min(spare, 20), 10)))
        end = min(len(protein), end + int(generator.integers(-9, min(spare, 20) + 1)))
        return protein[start:end] if end - start >= 20 else protein[:length]


@dataclass(frozen=True)
class _Members:
    """Segments for views of one length, by community.

    Attributes
    ----------
    segments : (M, 4)
        Row, start, end, community; ordered by community.
    first : (C + 1,)
        Where each community that has any begins.
    chances : (C,)
        Up to which number in [0, 1) each is drawn: in proportion to a power of its size.
    """

    segments: NDArray[np.int32]
    first: NDArray[np.int64]
    chances: NDArray[np.float64]

    @classmethod
    def of(cls, segments: NDArray[np.int32], length: int) -> _Members:
        """Choose the segments that fill a view of `length` residues well; all if none does."""
        long = segments[:, 2] - segments[:, 1] >= MIN_FILL * length
        if long.any():
            segments = segments[long]
        segments = segments[np.argsort(segments[:, 3], kind="stable")]
        _, first, counts = np.unique(segments[:, 3], return_index=True, return_counts=True)
        chances = np.cumsum(counts.astype(np.float64) ** SIZE_POWER)
        return cls(segments, np.append(first, len(segments)), chances / chances[-1])

    def draw(self, generator: np.random.Generator) -> tuple[int, list[list[int]]]:
        """Return a community and row, start and end of two members; of one twice if it has no other."""
        which = int(np.searchsorted(self.chances, generator.random(), side="right"))
        low, high = int(self.first[which]), int(self.first[which + 1])
        one = int(generator.integers(low, high))
        # One of the others, by a step around the ring of members.
        other = low + (one - low + int(generator.integers(1, max(2, high - low)))) % (high - low)
        return int(self.segments[one, 3]), self.segments[[one, other], :3].tolist()


def _corresponding(low: int, high: int, of: tuple[int, int], to: tuple[int, int]) -> tuple[int, int]:
    """Carry a part of one side of an alignment over to the other side, in proportion."""
    scale = (to[1] - to[0]) / (of[1] - of[0])
    return to[0] + round((low - of[0]) * scale), to[0] + round((high - of[0]) * scale)
