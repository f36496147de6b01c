"""Batches hold every sequence once and stay within their budget."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqscan.alphabet import AMINO
from seqscan.errors import InvalidParameter, ShapeMismatch
from seqscan.tokens import TokenBatch, mask_residues, pad, random_crop, token_batches


def sequences_of(lengths):
    generator = np.random.default_rng(0)
    return [generator.integers(1, 21, length).astype(np.uint8) for length in lengths]


@given(st.lists(st.integers(1, 60), max_size=30), st.integers(1, 200))
def test_every_sequence_once_within_the_budget(lengths, max_residues):
    sequences = sequences_of(lengths)
    seen = []
    for batch in token_batches(sequences, max_residues=max_residues):
        assert batch.codes.size <= max_residues or len(batch.rows) == 1
        for row, codes, mask in zip(batch.rows, batch.codes, batch.mask, strict=True):
            assert codes[mask].tolist() == sequences[row].tolist()
            assert not codes[~mask].any()
        seen += batch.rows.tolist()
    assert sorted(seen) == list(range(len(lengths)))


def test_shortest_first_and_stable():
    rows = [row for batch in token_batches(sequences_of([5, 2, 5, 2])) for row in batch.rows.tolist()]
    assert rows == [1, 3, 0, 2]


@pytest.mark.parametrize("max_residues", [0, -1])
def test_budget_must_hold_a_residue(max_residues):
    with pytest.raises(InvalidParameter):
        next(token_batches([], max_residues=max_residues))


def test_pad():
    batch = pad(sequences_of([2, 3]), np.array([7, 4]))
    assert batch.codes.dtype == np.int64
    assert batch.mask.tolist() == [[True, True, False], [True, True, True]]
    assert batch.rows.tolist() == [7, 4]
    assert pad([]).codes.shape == (0, 0)


def test_shapes_are_checked():
    with pytest.raises(ShapeMismatch):
        TokenBatch(np.zeros((2, 3), np.int64), np.zeros((2, 2), bool), np.arange(2))
    with pytest.raises(ShapeMismatch):
        TokenBatch(np.zeros((2, 3), np.int64), np.zeros((2, 3), bool), np.arange(3))


def test_crops_are_consecutive_and_reach_both_ends():
    sequence = np.arange(10, dtype=np.uint8)
    generator = np.random.default_rng(0)
    crops = [random_crop(sequence, 4, generator).tolist() for _ in range(200)]
    assert all(crop == list(range(crop[0], crop[0] + 4)) for crop in crops)
    assert {crop[0] for crop in crops} == set(range(7))
    assert random_crop(sequence, 10, generator) is sequence
    assert random_crop(sequence, 11, generator) is sequence


def test_masking_hides_a_share_of_the_residues_and_no_padding():
    sequences = [*sequences_of([400, 300]), AMINO.encode("X" * 200)]
    batch = pad(sequences)
    masked, told = mask_residues(batch, 0.3, np.random.default_rng(0))
    hidden = masked.codes == AMINO.mask
    assert not hidden[~batch.mask].any()
    assert (masked.codes[~hidden] == batch.codes[~hidden]).all()
    assert 0.25 < hidden[batch.mask].mean() < 0.35
    # An uncertain residue is hidden, but there is nothing to learn of it.
    assert hidden[2].any()
    assert not told[2].any()
    assert (told == (hidden & (batch.codes <= 20))).all()
    assert (batch.codes != AMINO.mask).all()


def test_masking_nothing_and_everything():
    batch = pad(sequences_of([5]))
    assert not mask_residues(batch, 0.0, np.random.default_rng(0))[1].any()
    assert mask_residues(batch, 1.0, np.random.default_rng(0))[1].all()
