"""What counts as a residue; the rules are in docs/decisions/0001."""

import numpy as np
import pytest

from seqscan.alphabet import AMINO

STANDARD = "ACDEFGHIKLMNPQRSTVWY"


def test_standard_residues_have_codes_1_to_20_and_come_back():
    assert AMINO.n_residues == 20
    assert AMINO.encode(STANDARD).tolist() == list(range(1, 21))
    assert AMINO.decode(AMINO.encode(STANDARD)) == STANDARD


def test_special_codes_are_distinct():
    assert AMINO.pad == 0
    assert AMINO.unknown == 21
    assert AMINO.mask == len(AMINO) - 1 == 22


@pytest.mark.parametrize(
    ("symbol", "stands_for"), [("U", "C"), ("O", "K"), ("B", "X"), ("J", "X"), ("Z", "X")]
)
def test_synonyms_in_either_case(symbol, stands_for):
    assert AMINO.decode(AMINO.encode(symbol + symbol.lower())) == stands_for * 2


def test_codes_are_bytes_and_fresh():
    codes = AMINO.encode("MKV")
    assert codes.dtype == np.uint8
    codes[0] = 1
    assert AMINO.decode(AMINO.encode("MKV")) == "MKV"


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("mkv", "MKV"),
        ("M-K.V", "MKV"),
        ("MKV*", "MKV"),
        ("MKV*-", "MKV"),
        ("MKV**", "MKV*"),
        ("*", ""),
        ("", ""),
    ],
)
def test_clean(raw, clean):
    assert AMINO.clean(raw) == clean


@pytest.mark.parametrize("raw", ["MKß", "MKſ", "MKı", "MKﬀ"])
def test_capitals_of_foreign_letters_are_no_residues(raw):
    assert f"{raw[-1]!r} at position 3" in AMINO.fault(AMINO.clean(raw))


@pytest.mark.parametrize(
    ("residues", "fault"),
    [
        ("", "the sequence is empty"),
        ("MK7", "character '7' at position 3 is not a residue"),
        ("MK?", "character '?' at position 3 is not a residue"),
        ("M K", "character ' ' at position 2 is not a residue"),
        ("MKé", "character 'é' at position 3 is not a residue"),
        ("M*K", "stop codon '*' at position 2, inside the sequence"),
        ("XBZJ", "no residue is known (all are X, B, Z or J)"),
    ],
)
def test_fault(residues, fault):
    assert AMINO.fault(residues) == fault


@pytest.mark.parametrize("residues", [STANDARD, "U", "XXM", "ACGT", "AT" * 30, "ACG" * 20, "ACGTM" * 10])
def test_no_fault(residues):
    assert AMINO.fault(residues) == ""


@pytest.mark.parametrize("residues", ["ACGT" * 8, "ACGU" * 8, "ACGTN" * 8, "ACGT" * 8 + "RYK"])
def test_long_nucleotides_are_refused(residues):
    assert AMINO.fault(residues).startswith("looks like nucleotides")


def test_a_symbol_without_a_code_becomes_0():
    assert AMINO.encode("M7é").tolist() == [11, 0, 0]
