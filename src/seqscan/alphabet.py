"""Residue symbols and their small-integer codes: the one rule for what counts as a protein sequence.

Twenty standard residues have a code each. `U` (selenocysteine) is read as `C`, `O` (pyrrolysine) as `K`;
`B`, `J`, `Z` and `X` stand for uncertain residues and share the code of `X`. Lower case (soft masking) is
read as upper case. Gaps (`-`, `.`) and one `*` at the end are removed. Anything else is an error.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["AMINO", "Alphabet"]

_NUCLEOTIDE_MIN_RESIDUES = 30

_NUCLEOTIDE_CODES = frozenset("ACGTUNRYSWKMBDHV")
"""Bases, and IUPAC's letters for one of several."""

_NUCLEOTIDE_SHARE = 0.9
"""Of the letters, bases and N; no protein of Swiss-Prot of `_NUCLEOTIDE_CODES` alone has 0.6 of them."""


def _is_nucleotide(residues: str) -> bool:
    letters = set(residues)
    # All four bases: there are real proteins of A and T alone (antifreeze, P02732).
    if not (letters <= _NUCLEOTIDE_CODES and letters >= set("ACG") and letters & set("TU")):
        return False
    return sum(map(residues.count, "ACGTUN")) >= _NUCLEOTIDE_SHARE * len(residues)


@dataclass(frozen=True)
class Alphabet:
    """Residue symbols <-> codes.

    Attributes
    ----------
    symbols : str
        Symbol of code `i` at position `i`; position 0 is padding, the last one the mask.
    synonyms : dict of str to str
        Further symbols and the symbol whose code each takes.

    Examples
    --------
    >>> AMINO.encode("acU").tolist()
    [1, 2, 2]
    >>> AMINO.decode(AMINO.encode("MKV"))
    'MKV'
    """

    symbols: str
    synonyms: dict[str, str]
    _table: NDArray[np.uint8] = field(init=False, repr=False, compare=False)
    _symbols: NDArray[np.uint8] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_symbols", np.frombuffer(self.symbols.encode("ascii"), dtype=np.uint8))
        table = np.zeros(256, dtype=np.uint8)
        for code, symbol in enumerate(self.symbols[:-1]):
            if code:
                table[[ord(symbol), ord(symbol.lower())]] = code
        for synonym, symbol in self.synonyms.items():
            table[[ord(synonym), ord(synonym.lower())]] = self.symbols.index(symbol)
        object.__setattr__(self, "_table", table)

    def __len__(self) -> int:
        return len(self.symbols)

    @property
    def pad(self) -> int:
        """Code of padding."""
        return 0

    @property
    def unknown(self) -> int:
        """Code of an uncertain residue."""
        return self.symbols.index("X")

    @property
    def mask(self) -> int:
        """Code of a residue hidden from the encoder in training."""
        return len(self.symbols) - 1

    @property
    def n_residues(self) -> int:
        """Number of standard residues; their codes are 1 to `n_residues`."""
        return self.unknown - 1

    def clean(self, text: str) -> str:
        """Return the residues of a raw sequence line: gaps and one final `*` removed, upper case."""
        # Some letters that are no residues have residues for capitals: that of the German sharp s is SS.
        text = (text.upper() if text.isascii() else text).replace("-", "").replace(".", "")
        return text[:-1] if text.endswith("*") else text

    def fault(self, residues: str) -> str:
        """Say why a cleaned sequence is not a protein, or return an empty string.

        Examples
        --------
        >>> AMINO.fault("MKV7")
        "character '7' at position 4 is not a residue"
        >>> AMINO.fault("MKV")
        ''
        """
        if not residues:
            return "the sequence is empty"
        try:
            raw = np.frombuffer(residues.encode("ascii"), dtype=np.uint8)
        except UnicodeEncodeError as error:
            return f"character {residues[error.start]!r} at position {error.start + 1} is not a residue"
        codes = self._table[raw]
        if not codes.all():
            position = int(np.argmin(codes))
            if residues[position] == "*":
                return f"stop codon '*' at position {position + 1}, inside the sequence"
            return f"character {residues[position]!r} at position {position + 1} is not a residue"
        if (codes == self.unknown).all():
            return "no residue is known (all are X, B, Z or J)"
        if len(residues) >= _NUCLEOTIDE_MIN_RESIDUES and _is_nucleotide(residues):
            return "looks like nucleotides (A, C, G, T or U, and hardly another letter)"
        return ""

    def encode(self, residues: str) -> NDArray[np.uint8]:
        """Return the codes of a sequence, shape (L,); a symbol without a code becomes 0."""
        return self._table[np.frombuffer(residues.encode("ascii", "replace"), dtype=np.uint8)]

    def decode(self, codes: NDArray[np.uint8]) -> str:
        """Return the symbols of an array of codes."""
        return self._symbols[codes].tobytes().decode("ascii")


AMINO = Alphabet(
    symbols=" ACDEFGHIKLMNPQRSTVWYX?",
    synonyms={"U": "C", "O": "K", "B": "X", "J": "X", "Z": "X"},
)
"""The protein alphabet every part of seqscan uses."""
