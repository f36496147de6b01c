"""A directed acyclic graph of categories from clusters, and what each has in common.

Clusters are the leaves. What is above them comes from an average linkage of their members, where only groups
that hold together over a range of similarity become categories. A category gets a second parent if it is as
near to that parent's members as they are to each other.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Category", "categories", "cluster_means", "linkage", "motif", "shared_phrase", "stable_id"]

MIN_PERSISTENCE = 0.04
"""A merged group becomes a category if it stays alone over this range of cosine."""

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9'-]*")
_DULL = {
    "protein",
    "putative",
    "uncharacterized",
    "probable",
    "hypothetical",
    "subunit",
    "of",
    "and",
    "the",
    "fragment",
}
_MOTIF_LENGTH = 4
_MAX_MOTIF_MEMBERS = 200


@dataclass(frozen=True)
class Category:
    """A set of proteins.

    Attributes
    ----------
    clusters : tuple of int
        The clusters within it, ascending.
    rows : (n,), int64
        Members.
    parents : tuple of int
        Places of its parents in the list of categories; none for the topmost.
    cohesion : cosine
        At which its parts join; 1 for a cluster.
    """

    clusters: tuple[int, ...]
    rows: NDArray[np.int64]
    parents: tuple[int, ...]
    cohesion: float


def cluster_means(
    points: NDArray[np.float32], labels: NDArray[np.integer], numbers: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Return the mean of each cluster's points, (C, Q): their products are mean cosines between members."""
    means = np.zeros((len(numbers), points.shape[1]))
    place = np.searchsorted(numbers, labels)
    place[place == len(numbers)] = 0
    inside = numbers[place] == labels
    np.add.at(means, place[inside], points[inside])
    return means / np.bincount(place[inside], minlength=len(numbers))[:, None]


def linkage(means: NDArray[np.floating], sizes: NDArray[np.integer]) -> NDArray[np.float64]:
    """Join clusters by the mean cosine between their members, every member counting the same.

    Parameters
    ----------
    means : (C, Q)
        Of points of length 1.
    sizes : (C,), proteins

    Returns
    -------
    tree : (C - 1, 4)
        As SciPy's linkages, whose average one knows no sizes: two nodes, 1 - cosine, clusters.

    Notes
    -----
    Chains of nearest neighbors (Murtagh 1983): memory and time grow with the square of C.

    Examples
    --------
    >>> linkage(np.array([[1.0, 0], [0.8, 0.6], [0, 1]]), np.array([1, 1, 4])).round(2).tolist()
    [[0.0, 1.0, 0.2, 2.0], [2.0, 3.0, 0.7, 3.0]]
    """
    n = len(means)
    alike = np.asarray(means @ means.T, dtype=np.float32)
    np.fill_diagonal(alike, -np.inf)
    weight = np.asarray(sizes, dtype=np.float32).copy()
    joins: list[tuple[int, int, float]] = []
    chain: list[int] = []
    while len(joins) < n - 1:
        if not chain:
            chain.append(int(np.flatnonzero(weight)[0]))
        row = alike[chain[-1]]
        near = int(row.argmax())
        if len(chain) == 1 or row[chain[-2]] < row[near]:
            chain.append(near)
            continue
        one, other = chain.pop(), chain.pop()
        joins.append((one, other, float(row[other])))
        mixed = (weight[one] * alike[one] + weight[other] * alike[other]) / (weight[one] + weight[other])
        alike[one] = alike[:, one] = mixed
        alike[other] = alike[:, other] = -np.inf
        weight[one] += weight[other]
        weight[other] = 0
    # The chain finds joins of one branch after the other; the tree lists them by height.
    node, count = np.arange(n), np.ones(2 * n, dtype=np.int64)
    tree = np.zeros((max(n - 1, 0), 4))
    for step, i in enumerate(np.argsort([-value for _, _, value in joins], kind="stable").tolist()):
        one, other, value = joins[i]
        left, right = sorted((int(node[one]), int(node[other])))
        count[n + step] = count[left] + count[right]
        tree[step] = left, right, max(1.0 - value, 0.0), count[n + step]
        node[one] = n + step
    return tree


def categories(
    labels: NDArray[np.integer],
    means: NDArray[np.floating],
    numbers: NDArray[np.integer],
    *,
    min_persistence: float = MIN_PERSISTENCE,
) -> list[Category]:
    """Build the graph.

    Parameters
    ----------
    labels : (N,)
        Cluster of each protein, -1 for none.
    means : (C, Q)
        Of the clusters, or their prototypes.
    numbers : (C,)
        The clusters' numbers, ascending.
    min_persistence : cosine

    Returns
    -------
    list of Category
        The leaves first, by number, then from small to large.
    """
    rows_of = [np.flatnonzero(labels == number) for number in numbers]
    sizes = np.array([len(rows) for rows in rows_of])
    groups, cohesion, up = _merged(means, sizes, min_persistence)
    links = {child: {parent} for child, parent in up.items()}
    for child, parent in _second_parents(groups, cohesion, links, means, sizes):
        links.setdefault(child, set()).add(parent)
    # A category holds what is below it, by every way.
    below = [set(group) for group in groups]
    for _ in range(len(groups)):
        changed = False
        for child, above in links.items():
            for parent in above:
                if not below[child] <= below[parent]:
                    below[parent] |= below[child]
                    changed = True
        if not changed:
            break
    return [
        Category(
            tuple(sorted(int(numbers[i]) for i in held)),
            np.sort(np.concatenate([rows_of[i] for i in held])),
            tuple(sorted(links.get(place, ()))),
            cohesion[place],
        )
        for place, held in enumerate(below)
    ]


def _merged(
    means: NDArray[np.floating], sizes: NDArray[np.int64], min_persistence: float
) -> tuple[list[set[int]], list[float], dict[int, int]]:
    """Cut the linkage into groups that persist; return groups, cohesions, and the parent of each."""
    n = len(means)
    groups: list[set[int]] = [{i} for i in range(n)]
    cohesion = [1.0] * n
    up: dict[int, int] = {}
    if n < 2:
        return groups, cohesion, up
    tree = linkage(means, sizes)
    formed = np.concatenate([np.full(n, np.nan), 1.0 - tree[:, 2]])
    joined = np.zeros(2 * n - 1)
    for step, (left, right, _, _) in enumerate(tree):
        joined[int(left)] = joined[int(right)] = formed[n + step]
    held: dict[int, set[int]] = {i: {i} for i in range(n)}
    parts: dict[int, list[int]] = {i: [i] for i in range(n)}
    for step, (left, right, _, _) in enumerate(tree):
        node = n + step
        held[node] = held.pop(int(left)) | held.pop(int(right))
        # Places of the categories that have no parent yet.
        parts[node] = parts.pop(int(left)) + parts.pop(int(right))
        is_root = step == len(tree) - 1
        if not is_root and formed[node] - joined[node] >= min_persistence:
            up |= dict.fromkeys(parts[node], len(groups))
            parts[node] = [len(groups)]
            groups.append(held[node])
            cohesion.append(float(formed[node]))
    return groups, cohesion, up


def _second_parents(
    groups: list[set[int]],
    cohesion: list[float],
    links: dict[int, set[int]],
    means: NDArray[np.floating],
    sizes: NDArray[np.int64],
) -> Iterable[tuple[int, int]]:
    """Yield pairs of a category and a further parent that it is near enough to, no cycle among them."""
    inner = [place for place, group in enumerate(groups) if len(group) > 1]
    if not inner:
        return
    centers = np.stack(
        [np.average(means[sorted(group)], axis=0, weights=sizes[sorted(group)]) for group in groups]
    )
    near = centers @ centers[inner].T
    below = [set(group) for group in groups]
    for child in range(len(groups)):
        # The nearest of those whose parts are no nearer to each other than the child is to them.
        fits = [
            (float(near[child, i]), parent)
            for i, parent in enumerate(inner)
            if near[child, i] >= cohesion[parent]
            and not below[child] & below[parent]
            and len(groups[child]) <= len(groups[parent])
        ]
        if fits:
            _, parent = max(fits, key=lambda fit: (fit[0], -fit[1]))
            for other in _ancestors(parent, links) | {parent}:
                below[other] |= below[child]
            yield child, parent


def _ancestors(place: int, links: dict[int, set[int]]) -> set[int]:
    found: set[int] = set()
    waiting = list(links.get(place, ()))
    while waiting:
        parent = waiting.pop()
        if parent not in found:
            found.add(parent)
            waiting += links.get(parent, ())
    return found


def stable_id(members: Iterable[str], prefix: str = "SEQSCAN") -> str:
    """Return an id that depends on the members alone: the same set has the same id in every run.

    Examples
    --------
    >>> stable_id(["b", "a"]) == stable_id(["a", "b"])
    True
    """
    digest = hashlib.sha256("\n".join(sorted(members)).encode()).hexdigest()
    return f"{prefix}:{int(digest[:16], 16) % 10**10:010d}"


def shared_phrase(
    descriptions: Sequence[str], background: Counter[str], n_background: int
) -> tuple[str, float]:
    """Return the words that most descriptions share and others do not, and their share; "" if there are none.

    Parameters
    ----------
    descriptions : sequence of str
        Of the members: the rest of each FASTA header.
    background : Counter
        Of how many proteins each phrase occurs in, see `phrases`.
    n_background : int
    """
    counts: Counter[str] = Counter()
    n = 0
    for text in descriptions:
        own = phrases(text)
        n += bool(own)
        counts.update(own)
    best, strength = "", 0.0
    for phrase, count in counts.items():
        share, usual = count / max(n, 1), background[phrase] / max(n_background, 1)
        if share < 0.5 or n < 3 or set(phrase.lower().split()) <= _DULL:
            continue
        value = share * np.log(share / max(usual, 1e-9)) * (phrase.count(" ") + 1) ** 0.5
        if value > strength + 1e-9 or (abs(value - strength) <= 1e-9 and phrase < best):
            best, strength = phrase, float(value)
    return best, counts[best] / n if best else 0.0


def phrases(description: str) -> set[str]:
    """Return runs of up to five words of a description, before UniProt's `OS=` and the like.

    Examples
    --------
    >>> sorted(phrases("ATP synthase OS=Homo sapiens"))
    ['ATP', 'ATP synthase', 'synthase']
    """
    words = _WORD.findall(re.split(r"\s[A-Z]{2}=", description)[0])
    return {" ".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, min(i + 6, len(words) + 1))}


def motif(
    sequences: Sequence[NDArray[np.uint8]], background: NDArray[np.floating], symbols: str
) -> tuple[str, float, float]:
    """Return the run of four residues most particular to the members, its share among them and elsewhere.

    Parameters
    ----------
    sequences : sequence of residue codes
    background : (20 ** 4,), shares
        See `word_shares`.
    symbols : str
        The 20 residues, in the order of their codes from 1.
    """
    if len(sequences) < 3:
        return "", 0.0, 0.0
    step = max(1, len(sequences) // _MAX_MOTIF_MEMBERS)
    shares = word_shares(sequences[::step])
    word = int((shares - background).argmax())
    if shares[word] < 0.5 or shares[word] < 3 * background[word]:
        return "", 0.0, 0.0
    letters, rest = "", word
    for _ in range(_MOTIF_LENGTH):
        rest, code = divmod(rest, 20)
        letters = symbols[code] + letters
    return letters, float(shares[word]), float(background[word])


def word_shares(sequences: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Return the share of sequences in which each run of four residues occurs, (20 ** 4,)."""
    counts = np.zeros(20**_MOTIF_LENGTH)
    for codes in sequences:
        values = codes.astype(np.int64) - 1
        n = len(values) - _MOTIF_LENGTH + 1
        if n < 1:
            continue
        windows = np.stack([values[i : i + n] for i in range(_MOTIF_LENGTH)])
        kept = ((windows >= 0) & (windows < 20)).all(axis=0)
        words = np.zeros(n, np.int64)
        for line in windows:
            words = words * 20 + line
        counts[np.unique(words[kept])] += 1
    return counts / max(len(sequences), 1)
