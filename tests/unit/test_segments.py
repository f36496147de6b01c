"""Whole proteins are cut where their alignments begin and end."""

from dataclasses import replace

import numpy as np
import pytest

from seqscan.alignment import Alignments, find_mmseqs
from seqscan.errors import InvalidParameter
from seqscan.segments import (
    SegmentConfig,
    _Cuts,
    change_points,
    cut_proteins,
    recurring_segments,
)


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
    places = [*range(0, length, 20), length]
    _, found = change_points(np.array(places), starts, ends, weights, config)
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
    places = np.append(np.arange(0, 163, 8), 163)
    assert change_points(places, starts, ends, np.ones(4), SegmentConfig())[1] == [(12, 151)]


def test_part_that_nothing_covers_is_no_segment():
    starts, ends = np.array([200] * 4), np.array([352] * 4)
    cuts, segments = change_points(np.arange(0, 601, 8), starts, ends, np.ones(4), SegmentConfig())
    assert cuts.tolist() == [200, 352]
    assert segments == [(200, 352)]


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
    assert cut_proteins(lengths, hits, config).tolist() == [[0, 0, 152], [0, 152, 304]]


def test_nothing_recurs():
    none, nowhere = np.empty(0, np.int32), np.empty(0, np.float32)
    hits = Alignments(none, none, none, none, none, none, nowhere, nowhere)
    assert cut_proteins(np.array([100, 50]), hits, SegmentConfig()).shape == (0, 3)


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


def hits_of(rows):
    """Alignments from (query, target, query_start, query_end, target_start, target_end)."""
    columns = np.array(sorted(rows), np.int32).T
    identity = np.full(len(rows), 0.3, np.float32)
    return Alignments(*columns, identity, identity)


def test_family_is_cut_in_one_place():
    """Protein 0 alone would be cut into halves; its homologs, which it aligns with whole, know better."""
    lengths = np.array([400] * 7 + [264, 264])
    rows = []
    for one in range(7):
        rows += [(one, other, 0, 400, 0, 400) for other in range(7) if other != one]
        if one:
            rows += [(one, part, 0, 264, 0, 264) for part in (7, 8)]
            rows += [(part, one, 0, 264, 0, 264) for part in (7, 8)]
    config = SegmentConfig(n_rounds=1)
    alone, together = (
        {row: (start, end) for row, start, end in cut_proteins(lengths, hits_of(rows), c) if start == 0}
        for c in (config, replace(config, n_rounds=3))
    )
    assert alone[0] == (0, 200)
    assert all(together[row] == (0, 264) for row in range(7))


def test_processes_that_share_the_work_find_the_same(monkeypatch):
    generator = np.random.default_rng(0)
    lengths = generator.integers(100, 500, 60)
    rows = []
    for one, other in generator.integers(60, size=(400, 2)):
        size = generator.integers(50, min(lengths[one], lengths[other]))
        begins = [int(generator.integers(lengths[row] - size + 1)) for row in (one, other)]
        rows.append((one, other, begins[0], begins[0] + size, begins[1], begins[1] + size))
    hits = hits_of(rows)
    alone = cut_proteins(lengths, hits, SegmentConfig())
    monkeypatch.setattr("seqscan.segments.FEW", 0)
    np.testing.assert_array_equal(cut_proteins(lengths, hits, SegmentConfig(), threads=2), alone)
    assert len(alone) > 60


def test_agreement_with_homologs():
    of_each = [np.array([100]), np.array([92]), np.empty(0, np.int64)]
    cuts = _Cuts(np.full(3, 200), of_each, 8)
    places, none = np.array([0, 92, 100, 110, 116, 200]), np.empty(0, np.int64)
    alone = cuts.agreement(places, 0, hits_of([(0, 1, 0, 1, 0, 1)]), none, np.empty(0))
    assert alone.tolist() == [0, 0.5, 1, 0.375, 0, 0]
    hits = hits_of([(0, 1, 20, 180, 12, 172), (0, 2, 0, 60, 0, 60), (0, 3, 0, 200, 0, 200)])
    places = np.array([0, 40, 100, 160, 200])
    found = cuts.agreement(places, 0, hits, np.arange(3), np.ones(3))
    # The first homolog's cut lies at 100 of protein 0; the second has none; the third is of the context.
    assert found.tolist() == [0, 0, 1, 0, 0]


def test_proteins_side_by_side_do_not_share_cuts():
    """The end of one is the beginning of the next in memory alone."""
    cuts = _Cuts(np.array([200, 200]), [np.array([196]), np.array([4])], 8)
    nothing = hits_of([(0, 1, 0, 1, 0, 1)]), np.empty(0, np.int64), np.empty(0)
    assert cuts.agreement(np.array([0, 4]), 0, *nothing).tolist() == [0, 0]
    assert cuts.agreement(np.array([196, 200]), 1, *nothing).tolist() == [0, 0]
