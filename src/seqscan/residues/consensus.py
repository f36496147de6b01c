"""What the members of a cluster share: their residues and maps, aligned, as a table and a sequence logo."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqscan.alignment import align_to
from seqscan.alphabet import AMINO
from seqscan.artifact import write_atomically
from seqscan.residues.maps import ActivationMap
from seqscan.tables import write_tsv

__all__ = [
    "N_MEMBERS",
    "Consensus",
    "column_pairs",
    "consensus_of",
    "first_members",
    "logo",
    "write_consensus",
]

N_MEMBERS = 100
"""Members of a cluster that are aligned."""

RESIDUES = AMINO.symbols[1 : 1 + AMINO.n_residues]


@dataclass(frozen=True)
class Consensus:
    """The members of one cluster, aligned with the one of the highest logit; T residues of that one.

    Attributes
    ----------
    cluster : int
    representative : str
        Id of the member with the highest logit.
    residues : str
        Its T residues.
    n_members, n_aligned : int
        Members that were looked at, and those of them that could be aligned, the representative included.
    counts : (T, 20)
        Residues of the members at each place, columns as `AMINO.symbols[1:21]`.
    contributions : (T,), logit
        Mean contribution of the residues at each place.
    """

    cluster: int
    representative: str
    residues: str
    n_members: int
    n_aligned: int
    counts: NDArray[np.int64]
    contributions: NDArray[np.float32]

    @property
    def information(self) -> NDArray[np.float64]:
        """Bits at each place, (T,), corrected for few members (Schneider et al., J. Mol. Biol., 1986)."""
        n = np.maximum(self.counts.sum(axis=1), 1)
        share = self.counts / n[:, None]
        entropy = -(share * np.log2(np.where(share > 0, share, 1.0))).sum(axis=1)
        small = (len(RESIDUES) - 1) / (2 * np.log(2) * n)
        return np.maximum(np.log2(len(RESIDUES)) - entropy - small, 0.0)


def first_members(
    maps: Iterable[ActivationMap], kept: list[ActivationMap], n_members: int = N_MEMBERS
) -> Iterator[ActivationMap]:
    """Pass maps on and keep the first `n_members` of each cluster."""
    n: dict[int, int] = {}
    for item in maps:
        n[item.label] = n.get(item.label, 0) + 1
        if n[item.label] <= n_members:
            kept.append(item)
        yield item


def consensus_of(maps: Sequence[ActivationMap], *, threads: int = 2) -> list[Consensus]:
    """Align the members of each cluster with their representative, and sum up residues and maps by place.

    Parameters
    ----------
    maps : sequence of ActivationMap
        Of the members of any number of clusters.
    threads : int

    Raises
    ------
    MissingDependency
        If there is no MMseqs2.

    Notes
    -----
    A star alignment: places are residues of the representative, what a member has more is left out, and a
    member that MMseqs2 does not align counts only in `n_members`.
    """
    members: dict[int, list[int]] = {}
    for row, item in enumerate(maps):
        members.setdefault(item.label, []).append(row)
    best = {label: max(rows, key=lambda row: maps[row].logit) for label, rows in members.items()}
    codes = [AMINO.encode(item.residues) for item in maps]
    targets = {row: label for label, row in best.items()}
    paths: dict[int, list[tuple[int, int, int, str]]] = {}
    if maps:
        for query, target, query_start, target_start, cigar in align_to(
            codes, sorted(targets), threads=threads
        ):
            if query != target and maps[query].label == targets[target]:
                paths.setdefault(target, []).append((query, query_start, target_start, cigar))
    found = []
    for label in sorted(members):
        center = best[label]
        n = len(maps[center].residues)
        counts, sums, seen = np.zeros((n, len(AMINO)), np.int64), np.zeros(n), np.zeros(n)
        places = np.arange(n)
        pairs = [(center, places, places)]
        for query, query_start, target_start, cigar in paths.get(center, []):
            pairs.append((query, *column_pairs(query_start, target_start, cigar)))
        for row, own, place in pairs:
            np.add.at(counts, (place, codes[row][own]), 1)
            sums[place] += maps[row].contributions[own]
            seen[place] += 1
        found.append(
            Consensus(
                label,
                maps[center].id,
                maps[center].residues,
                len(members[label]),
                len(pairs),
                counts[:, 1 : 1 + AMINO.n_residues],
                (sums / np.maximum(seen, 1)).astype(np.float32),
            )
        )
    return found


def column_pairs(query: int, target: int, cigar: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the aligned positions of query and target, 0-based.

    >>> [place.tolist() for place in column_pairs(0, 5, "2M1I1M2D1M")]
    [[0, 1, 3, 4], [5, 6, 7, 10]]
    """
    own: list[int] = []
    other: list[int] = []
    for number, kind in re.findall(r"(\d+)([MID])", cigar):
        n = int(number)
        if kind == "M":
            own.extend(range(query, query + n))
            other.extend(range(target, target + n))
        query += n * (kind != "D")
        target += n * (kind != "I")
    return np.array(own, np.int64), np.array(other, np.int64)


def write_consensus(found: Iterable[Consensus], folder: str | Path) -> None:
    """Write `cluster_<number>.tsv`, one row a place, and `cluster_<number>.svg`, the logo, into a folder."""
    folder = Path(folder)
    header = ("position", "residue", "n_aligned", "information_bits", "mean_contribution", *RESIDUES)
    for item in found:
        rows = zip(item.residues, item.counts, item.information, item.contributions, strict=True)
        write_tsv(
            header,
            (
                (position, residue, int(count.sum()), f"{bits:.3f}", f"{mean:.5f}", *count.tolist())
                for position, (residue, count, bits, mean) in enumerate(rows, 1)
            ),
            folder / f"cluster_{item.cluster}.tsv",
        )
        with write_atomically(folder / f"cluster_{item.cluster}.svg") as temporary:
            temporary.write_text(logo(item))


_COLORS = {
    **dict.fromkeys("AVILMC", "#4a6b8a"), **dict.fromkeys("FWY", "#8462b5"), **dict.fromkeys("GP", "#b7982a"),
    **dict.fromkeys("STNQ", "#3f9a62"), **dict.fromkeys("DE", "#c8475a"), **dict.fromkeys("KRH", "#3d6fb4"),
}  # fmt: skip
_ROW, _STEP, _HEIGHT, _BARS = 60, 12.0, 48.0, 18.0
_SCALE = _HEIGHT / np.log2(20)


def logo(item: Consensus) -> str:
    """Return a sequence logo with a bar for the mean contribution under each place, an SVG document.

    A letter's height is its share of the bits at its place; an orange bar speaks for the cluster, a blue one
    against it.
    """
    information, shares = item.information, item.counts / np.maximum(item.counts.sum(axis=1), 1)[:, None]
    limit = max(float(np.quantile(np.abs(item.contributions), 0.98)), 1e-9) if item.residues else 1.0
    line = _HEIGHT + 2 * _BARS + 18
    rows = -(-len(item.residues) // _ROW)
    parts = []
    for place in range(len(item.residues)):
        x, top = 30 + place % _ROW * _STEP, place // _ROW * line
        base = top + _HEIGHT + 6
        y = base
        for letter in np.argsort(shares[place], kind="stable")[-4:]:
            height = shares[place, letter] * information[place] * _SCALE
            if height >= 2.0:
                # A capital of 10 pixels in this font is 7.2 high and 6 wide.
                parts.append(
                    f'<text transform="translate({x:g} {y:.1f})scale(1.9 {height / 7.2:.2f})" '
                    f'fill="{_COLORS[RESIDUES[letter]]}">{RESIDUES[letter]}</text>'
                )
                y -= height
        size = _BARS * float(np.clip(item.contributions[place] / limit, -1, 1))
        color = "#c2601c" if size > 0 else "#2f69ad"  # as in the report's residue maps
        parts.append(
            f'<rect x="{x:g}" y="{base + 3 + _BARS - max(size, 0):.1f}" width="{_STEP - 1:g}" '
            f'height="{abs(size):.1f}" fill="{color}"/>'
        )
        if place % 10 == 9 or place % _ROW == 0:
            parts.append(f'<text x="{x:g}" y="{top + 6:g}" font-size="8" fill="#767676">{place + 1}</text>')
    width, height = 40 + min(_ROW, max(len(item.residues), 1)) * _STEP, max(rows, 1) * line + 6
    label = escape(
        f"Sequence logo of cluster {item.cluster}, {item.n_aligned} of {item.n_members} members aligned with "
        f"{item.representative}; bars: mean contribution"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="{label}" font-family="monospace" font-size="10" font-weight="bold">'
        + "".join(parts)
        + "</svg>\n"
    )
