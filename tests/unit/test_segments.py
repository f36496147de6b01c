"""Whole proteins are cut where their alignments begin and end."""

import numpy as np
import pytest

from seqscan.alignment import Alignments, find_mmseqs
from seqscan.errors import InvalidParameter
from seqscan.segments import SegmentConfig, change_points, cut_proteins, recurring_segments


def cost_of(division, starts, ends, weights, config):
    """What a division of a protein costs, by the definition."""
    weights = weights / weights.sum()
    total = 0.0
    for start, end in division:
        span = end - start
        inside = np.maximum(np.minimum(ends, end) - np.maximum(starts, start), 0)
        total += config.cut_cost + weights @ np.minimum(inside, span - inside)
        if weights @ (inside > span / 2) >= config.min_support:
            total += config.length_cost * np.log(span / config.usual_length) ** 2
    return total


def divisions(places):
    first, *rest = places
    if not rest:
        yield []
        return
    for index, end in enumerate(rest):
        for others in divisions(rest[index:]):
            yield [(first, end), *others]


@pytest.mark.parametrize("seed", range(5))
def test_no_division_is_cheaper(seed):
    generator = np.random.default_rng(seed)
    config = SegmentConfig(step=20, min_length=20, usual_length=50.0, min_support=1e-9)
    length = 170
    starts = generator.integers(0, 100, 6)
    ends = starts + generator.integers(20, 70, 6)
    weights = generator.random(6) + 0.1
    found = change_points(length, starts, ends, weights, config)
    places = [*range(0, length, 20), length]
    covered = {
        (a, b)
        for division in [min(divisions(places), key=lambda d: cost_of(d, starts, ends, weights, config))]
        for a, b in division
        if np.any(np.minimum(ends, b) - np.maximum(starts, a) > (b - a) / 2) and b - a >= 20
    }
    assert set(found) == {core_of(a, b, starts, ends, weights) for a, b in covered}


def core_of(start, end, starts, ends, weights):
    """What half of the covering alignments share, residue by residue; the whole if that is too short."""
    covering = np.minimum(ends, end) - np.maximum(starts, start) > (end - start) / 2
    shared = [
        x
        for x in range(start, end)
        if weights[covering & (np.maximum(starts, start) <= x)].sum() >= weights[covering].sum() / 2
        and weights[covering & (np.minimum(ends, end) <= x)].sum() < weights[covering].sum() / 2
    ]
    return (shared[0], shared[-1] + 1) if len(shared) >= 20 else (start, end)


def test_segment_is_trimmed_to_what_most_alignments_share():
    """Tails of twelve residues do not pay for a cut."""
    starts, ends = np.array([12, 12, 12, 0]), np.array([150, 151, 152, 163])
    assert change_points(163, starts, ends, np.ones(4), SegmentConfig()) == [(12, 151)]


def test_part_that_nothing_covers_is_no_segment():
    starts, ends = np.array([200] * 4), np.array([352] * 4)
    assert change_points(600, starts, ends, np.ones(4), SegmentConfig()) == [(200, 352)]


def test_alignments_from_end_to_end_of_near_copies_say_little():
    lengths = np.array([304, 304])
    n = 20
    starts = np.array([0] * n + [152] * n)
    ends = np.array([152] * n + [304] * n)
    rows, copies = np.zeros(2 * n, np.int32), np.zeros(60, np.int32)
    identity = np.full(2 * n, 0.3, np.float32)
    whole = np.full(60, 304)
    hits = Alignments(
        np.concatenate([rows, copies]), np.concatenate([rows, copies]) + 1,
        np.concatenate([starts, copies]), np.concatenate([ends, whole]),
        np.concatenate([starts, copies]), np.concatenate([ends, whole]),
        np.concatenate([identity, copies + np.float32(0.99)]), np.ones(2 * n + 60, np.float32),
    )  # fmt: skip
    config = SegmentConfig(max_alignments=1000, length_cost=0.0)
    assert list(cut_proteins(lengths, hits, config)) == [(0, 0, 152), (0, 152, 304)]


def test_nothing_recurs():
    none, nowhere = np.empty(0, np.int32), np.empty(0, np.float32)
    hits = Alignments(none, none, none, none, none, none, nowhere, nowhere)
    assert list(cut_proteins(np.array([100, 50]), hits, SegmentConfig())) == []


def test_lengths_must_fit():
    with pytest.raises(InvalidParameter, match="between step and max_length"):
        SegmentConfig(min_length=2000)


@pytest.mark.skipif(find_mmseqs() is None, reason="MMseqs2 is not installed")
def test_a_unit_that_moves_between_proteins_is_found():
    generator = np.random.default_rng(0)
    unit, other = (generator.integers(1, 21, 120).astype(np.uint8) for _ in range(2))

    def copy(codes):
        changed = codes.copy()
        places = generator.choice(len(codes), 40, replace=False)
        changed[places] = generator.integers(1, 21, 40)
        return changed

    def filler(n):
        return generator.integers(1, 21, n).astype(np.uint8)

    proteins = [np.concatenate([filler(80), copy(unit), filler(60)]) for _ in range(6)]
    proteins += [np.concatenate([copy(other), copy(unit)]) for _ in range(6)]
    proteins += [np.concatenate([copy(other), filler(90)]) for _ in range(6)]
    proteins.append(filler(200))
    segments = recurring_segments(proteins, threads=1)
    expected = [(row, 80, 200) for row in range(6)]
    expected += [(row, *part) for row in range(6, 12) for part in ((0, 120), (120, 240))]
    expected += [(row, 0, 120) for row in range(12, 18)]
    near = [np.abs(segments - np.array(part)).max(axis=1).min() <= 16 for part in expected]
    assert np.mean(near) >= 0.9
    assert 18 not in segments[:, 0]
