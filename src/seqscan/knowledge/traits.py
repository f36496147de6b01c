"""What the members of a category have in common that others have not: words of descriptions, residues."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["motif", "phrases", "shared_phrase", "word_shares"]

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
