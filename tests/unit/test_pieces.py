"""Dividing the graph of alignments into pieces."""

import numpy as np
import pytest

from seqscan.alignment import Alignments, find_mmseqs
from seqscan.neighbors import AlignmentNeighbors, NeighborGraph, Pieces, find_pieces
from seqscan.neighbors import pieces as module
from seqscan.neighbors.pieces import communities, needed_strength
from seqscan.store import unit


def divided(sizes, ties=(), strength=()):
    """Communities of these sizes, without links, and ties between them."""
    communities = np.repeat(np.arange(len(sizes)), sizes)
    n = len(communities)
    alone = NeighborGraph(np.full((n, 1), -1, np.int32), np.full((n, 1), np.inf, np.float32), "test")
    return Pieces(communities, np.array(ties, np.int64).reshape(-1, 2), np.array(strength, np.float32), alone)


class TestEnoughPieces:
    """Six communities of which ties of different strength join some."""

    pieces = divided([30, 30, 30, 6, 2, 1], [(0, 1), (1, 2), (3, 5)], [0.9, 0.7, np.inf])

    def n_pieces(self, n_clusters):
        return self.pieces.enough_for(n_clusters).max() + 1

    def test_without_a_number_three_members_make_a_piece(self):
        assert self.pieces.groups.tolist() == [0] * 90 + [1] * 6 + [2] * 2 + [1]
        assert self.pieces.enough_for(None).tolist() == [0] * 90 + [1] * 6 + [-1] * 2 + [1]

    def test_small_groups_make_up_for_missing_ones(self):
        assert [self.n_pieces(n) for n in (2, 3)] == [2, 3]

    def test_then_the_weakest_ties_are_cut(self):
        four, five = self.pieces.enough_for(4), self.pieces.enough_for(5)
        assert four[:90].tolist() == [0] * 60 + [1] * 30
        assert five[:90].tolist() == [0] * 30 + [1] * 30 + [2] * 30

    def test_never_more_than_there_are(self):
        assert self.n_pieces(6) == self.n_pieces(99) == 5

    def test_the_smallest_beyond_the_number_are_left_out(self):
        pieces = divided([150, 100, 50, 5])
        assert pieces.enough_for(3).tolist() == np.where(pieces.groups < 3, pieces.groups, -1).tolist()
        assert pieces.enough_for(2).max() + 1 == 3, "a sixth is much"


def test_one_strong_tie_does_not_join_what_others_hold_apart():
    """Two families of three communities; all ties but one between them are weak."""
    within = [(0, 1), (0, 2), (1, 2), (3, 4), (3, 5), (4, 5)]
    between = [(0, 3), (1, 4), (2, 5)]
    pieces = divided([10] * 6, within + between, [0.8] * 6 + [0.7, 0.1, 0.1])
    assert pieces.joined(0.5).tolist() == [0] * 30 + [1] * 30
    assert pieces.joined(0.3).tolist() == [0] * 60, "the mean of the three"


def test_vectors_speak_against_links():
    """Four communities of ten and one of two, linked in a chain; the third points away."""
    chain = np.append(np.arange(1, 42), -1).astype(np.int32)[:, None]
    graph = NeighborGraph(chain, np.where(chain < 0, np.inf, 0).astype(np.float32), "test")
    pieces = Pieces(
        np.repeat(np.arange(5), [10] * 4 + [2]), np.empty((0, 2), np.int64), np.empty(0, np.float32), graph
    )
    directions = unit(np.array([[1, 0], [1, 0.2], [0, -1], [0.4, 1], [0, 1]], np.float32))
    asked = []

    def means_of(groups):
        asked.append(groups.tolist())
        return directions[: groups.max() + 1]

    # No link connects 0 with 2 or 3, nor 1 with 3: 0 and 1 are nearer. Of two proteins vectors say little.
    assert pieces.enough_for(None, means_of).tolist() == [0] * 20 + [2] * 10 + [1] * 12
    assert asked[0] == pieces.communities.tolist()
    assert pieces.linked().tolist() == [0] * 42
    two = Pieces(np.repeat([0, 1], 21), np.empty((0, 2), np.int64), np.empty(0, np.float32), graph)
    assert two.linked(lambda _: np.eye(2, dtype=np.float32)).tolist() == [0] * 42, "nothing to compare with"


def test_links_join_few_families_as_long_as_there_are_enough():
    """Two connected parts of twenty."""
    chain = np.where(np.arange(40) % 20 < 19, np.arange(1, 41), -1).astype(np.int32)[:, None]
    graph = NeighborGraph(chain, np.where(chain < 0, np.inf, 0).astype(np.float32), "test")
    none = np.empty((0, 2), np.int64), np.empty(0, np.float32)
    few = Pieces(np.arange(40) // 10, *none, graph)
    assert few.enough_for(2).tolist() == [0] * 20 + [1] * 20
    assert few.enough_for(3).max() + 1 == 4, "two parts are too few"
    assert few.enough_for(None).tolist() == [0] * 20 + [1] * 20
    tied = Pieces(few.communities, np.array([[0, 3]]), np.array([0.9], np.float32), graph)
    assert tied.linked().tolist() == [0] * 40, "ties join what is linked too"
    many = Pieces(np.arange(40), *none, graph)
    assert many.enough_for(2).max() + 1 == 0, "among many a link is no proof"
    chain = np.append(np.arange(1, 400), -1).astype(np.int32)[:, None]
    graph = NeighborGraph(chain, np.where(chain < 0, np.inf, 0).astype(np.float32), "test")
    assert Pieces(np.arange(400), *none, graph).enough_for(None).max() + 1 == 0


class TestNeededStrength:
    def test_the_more_families_the_stronger(self):
        needed = [needed_strength(np.repeat(np.arange(n), 20)) for n in (1, 10, 100, 1000, 10**6)]
        assert needed[:2] == pytest.approx([0, 0], abs=1e-9)
        assert needed[2:] == pytest.approx([0.25, 0.5, 0.6])

    def test_what_is_weaker_joins_nothing(self):
        many = divided([20] * 100, [(0, 1), (2, 3)], [0.24, 0.26])
        assert many.groups.max() + 1 == 99


def test_clusters_are_tied_where_most_of_two_tied_communities_are():
    pieces = divided([4, 4, 4, 2, 1], [(0, 1), (1, 2), (2, 3), (3, 4)], [0.1, 0.9, 0.2, np.inf])
    clusters = [7, 7, 7, 2] + [2] * 4 + [2, 2, 2, 7] + [5, 5] + [7]
    assert pieces.tied_clusters(np.array(clusters)).tolist() == [[2, 5], [2, 7]]
    assert divided([2, 1]).tied_clusters(np.zeros(3, int)).shape == (0, 2)


def test_pieces_survive_writing(tmp_path):
    graph = NeighborGraph(np.array([[1], [0]], np.int32), np.zeros((2, 1), np.float32), "test")
    ties = np.array([[0, 1]])
    Pieces(np.array([0, 1]), ties, np.array([0.5], np.float32), graph).write(tmp_path / "pieces")
    found = Pieces.read(tmp_path / "pieces")
    assert (found.communities.tolist(), found.ties.tolist()) == ([0, 1], [[0, 1]])
    assert found.strength.tolist() == [0.5]
    assert found.graph.indices.tolist() == [[1], [0]]
    assert found.graph.metric == "test"


class TestFoundPieces:
    """Profiles as if they had found what is written here."""

    dense = np.array([0] * 10 + [1] * 10 + [2] * 4 + [3] * 4 + [4], np.int64)

    def find(self, monkeypatch, hits):
        query, target, bits = np.array(hits).T
        empty = np.zeros(len(hits), np.int32)
        found = Alignments(query, target, empty, empty, empty, empty, empty, bits.astype(np.float32))
        monkeypatch.setattr(module, "communities", lambda aligned: self.dense)
        monkeypatch.setattr(module, "align_all", lambda *_, **__: found)
        n = len(self.dense)
        alone = NeighborGraph(np.full((n, 1), -1, np.int32), np.full((n, 1), np.inf, np.float32), "test")
        return find_pieces([np.ones(50, np.uint8)] * n, alone)

    def test_a_good_share_of_each_joins_two_and_becomes_neighbors(self, monkeypatch):
        pieces = self.find(monkeypatch, [(0, 10, 40), (10, 1, 40), (0, 20, 40), (0, 21, 40)])
        assert pieces.groups.tolist() == [0] * 20 + [1] * 4 + [2] * 4 + [3]
        assert set(pieces.graph.indices[0].tolist()) - {-1} == {10}
        assert set(pieces.graph.indices[1].tolist()) - {-1} == {10}
        few = self.find(monkeypatch, [(0, 10, 40)] * 9)
        np.testing.assert_array_equal(few.groups, few.communities, "nothing leads back")

    def test_a_tie_is_as_strong_as_scores_are_beside_those_within(self, monkeypatch):
        own = [(0, 1, 100), (10, 11, 80)]
        pieces = self.find(monkeypatch, [*own, (0, 11, 20), (10, 1, 30), (11, 1, 10)])
        assert pieces.ties.tolist() == [[0, 1]]
        assert pieces.strength.tolist() == [0.25]
        better = self.find(monkeypatch, [*own, (0, 11, 20), (0, 12, 40), (10, 1, 30)])
        assert better.strength.tolist() == pytest.approx([0.3]), "what its own do not find counts full"

    def test_a_tenth_must_be_so_strong(self, monkeypatch):
        self.dense = np.repeat([0, 1], [20, 10])
        own = [(0, row, 100) for row in range(1, 20)] + [(20, row, 100) for row in range(21, 30)]
        there, back = [(0, 21, 90)], [(20, 1, 70), (20, 2, 50), (20, 3, 40)]
        assert self.find(monkeypatch, own + there + back).strength.tolist() == [0.5], "two of twenty"
        assert not len(self.find(monkeypatch, own + there + back[:1]).ties)

    def test_a_stray_protein_ties_nothing_together(self, monkeypatch):
        pieces = self.find(monkeypatch, [(0, 28, 40), (10, 28, 50), (28, 20, 30), (28, 21, 30)])
        assert pieces.groups.tolist() == [1] * 10 + [0] * 10 + [2] * 4 + [3] * 4 + [0]

    def test_nothing_found(self, monkeypatch):
        pieces = self.find(monkeypatch, [(0, 1, 90)])
        np.testing.assert_array_equal(pieces.groups, pieces.communities)
        assert not pieces.graph.counts.any()


@pytest.mark.skipif(find_mmseqs() is None, reason="MMseqs2 is not installed")
def test_relatives_make_a_piece_and_a_stranger_none():
    generator = np.random.default_rng(0)
    sequences = []
    for ancestor in generator.integers(1, 21, (2, 120)).astype(np.uint8):
        for n_changed in (0, 12, 36):
            member = ancestor.copy()
            places = generator.choice(120, n_changed, replace=False)
            member[places] = generator.integers(1, 21, n_changed)
            sequences.append(member)
    sequences.append(generator.integers(1, 21, 120).astype(np.uint8))
    pieces = find_pieces(sequences, AlignmentNeighbors(sequences, threads=1).neighbors(5), threads=1)
    assert pieces.enough_for(None).tolist() == [0] * 3 + [1] * 3 + [-1]


def test_communities_are_not_chained_by_a_link():
    """Twenty groups of ten, all linked within, and each with one link to the next."""
    near = np.full((200, 11), -1, np.int32)
    for row in range(200):
        start = row - row % 10
        own = [other for other in range(start, start + 10) if other != row]
        if row % 10 == 9 and row < 199:
            own.append(row + 1)
        near[row, : len(own)] = own
    graph = NeighborGraph(near, np.where(near < 0, np.inf, 0).astype(np.float32), "test")
    np.testing.assert_array_equal(communities(graph).reshape(20, 10), np.arange(20)[:, None].repeat(10, 1))
    assert communities(graph, share=1e-5).max() == 0
    alone = NeighborGraph(np.full((3, 1), -1, np.int32), np.full((3, 1), np.inf, np.float32), "test")
    assert communities(alone).tolist() == [0, 1, 2]
