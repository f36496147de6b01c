"""The neighbor graph and the backends that fill it."""

import numpy as np
import pytest

from seqscan.alignment import find_mmseqs
from seqscan.errors import ArtifactError, InvalidParameter, ShapeMismatch
from seqscan.neighbors import (
    AlignmentNeighbors,
    ExactNeighbors,
    FaissNeighbors,
    NeighborGraph,
    combine,
    fill,
    nearest_vectors,
    vector_neighbors,
)
from seqscan.neighbors import backends as module


def graph_of(rows, metric="test"):
    """Make a graph of lists of neighbors; distances are ranks."""
    width = max(map(len, rows))
    indices = np.array([[*row, *[-1] * (width - len(row))] for row in rows], dtype=np.int32)
    distances = np.where(indices < 0, np.inf, np.arange(width)[None]).astype(np.float32)
    return NeighborGraph(indices, distances, metric)


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def graph(vectors):
    return ExactNeighbors(vectors).neighbors(7)


def check(graph, n, k):
    assert graph.indices.shape == graph.distances.shape == (n, k)
    assert graph.indices.dtype == np.int32
    assert graph.distances.dtype == np.float32
    assert not (graph.indices == np.arange(n)[:, None]).any()
    assert ((graph.indices >= -1) & (graph.indices < n)).all()
    assert (np.diff(np.where(graph.indices < 0, 1e9, graph.distances), axis=1) >= 0).all()
    assert (np.isinf(graph.distances) == (graph.indices < 0)).all()
    for row in graph.indices:
        row = row[row >= 0]
        assert len(set(row.tolist())) == len(row)


def test_never_itself_ascending_and_no_neighbor_twice(graph):
    check(graph, 200, 7)
    assert (graph.counts == 7).all()


def test_blocks_change_nothing(vectors, graph, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_ROWS", 13)
    again = ExactNeighbors(vectors).neighbors(7)
    np.testing.assert_array_equal(again.indices, graph.indices)
    np.testing.assert_allclose(again.distances, graph.distances, atol=1e-6)


def test_copies_of_a_protein_are_neighbors_but_not_the_protein_itself():
    graph = ExactNeighbors(np.ones((5, 3), dtype=np.float32)).neighbors(4)
    check(graph, 5, 4)
    np.testing.assert_allclose(graph.distances, 0.0, atol=1e-6)


def test_no_more_neighbors_than_other_proteins(vectors):
    check(ExactNeighbors(vectors[:4]).neighbors(20), 4, 3)


@pytest.mark.parametrize(("n", "k"), [(200, 0), (1, 3)])
def test_what_cannot_have_neighbors_is_refused(vectors, n, k):
    with pytest.raises(InvalidParameter):
        ExactNeighbors(vectors[:n]).neighbors(k)


def test_own_neighbor_is_refused():
    with pytest.raises(InvalidParameter, match="own neighbor"):
        graph_of([[1], [1]])


def test_shapes_that_differ_are_refused():
    with pytest.raises(ShapeMismatch):
        NeighborGraph(np.zeros((2, 1), np.int32), np.zeros((2, 2), np.float32), "cosine")


def test_edges_come_once_and_in_order():
    graph = graph_of([[1, 2], [0], [], [2, 0]])
    assert graph.edges().tolist() == [[0, 1], [0, 2], [0, 3], [2, 3]]
    assert graph.counts.tolist() == [2, 1, 0, 2]


def test_edges_are_the_pairs_of_the_graph(graph):
    expected = {
        (min(a, int(b)), max(a, int(b))) for a, row in enumerate(graph.indices) for b in row if b >= 0
    }
    edges = [tuple(edge) for edge in graph.edges().tolist()]
    assert edges == sorted(expected)


def test_hold_out_takes_both_directions_and_nothing_else(graph):
    rest, held_out = graph.hold_out(0.3, seed=0)
    check(rest, 200, 7)
    gone = {tuple(edge) for edge in held_out.tolist()}
    left = {tuple(edge) for edge in rest.edges().tolist()}
    assert not gone & left
    assert gone | left == {tuple(edge) for edge in graph.edges().tolist()}
    assert 0.2 < len(gone) / (len(gone) + len(left)) < 0.4
    # No direction of a pair that stays was lost.
    pairs = {(a, b) for a, row in enumerate(graph.indices.tolist()) for b in row}
    kept = {(a, b) for a, row in enumerate(rest.indices.tolist()) for b in row if b >= 0}
    assert kept == {(a, b) for a, b in pairs if (min(a, b), max(a, b)) not in gone}


def test_hold_out_is_the_same_for_the_same_seed(graph):
    first, second, other = (graph.hold_out(0.3, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first[1], second[1])
    np.testing.assert_array_equal(first[0].indices, second[0].indices)
    assert not np.array_equal(first[1], other[1])


@pytest.mark.parametrize(("fraction", "n_left"), [(0.0, 4), (1.0, 0)])
def test_hold_out_nothing_or_all(fraction, n_left):
    rest, held_out = graph_of([[1, 2], [0], [], [2, 0]]).hold_out(fraction, seed=0)
    assert len(rest.edges()) == n_left
    assert len(held_out) == 4 - n_left


def test_combine_keeps_the_first_and_adds_what_is_new():
    first = graph_of([[1], [], [3, 1], [2]], "a")
    second = graph_of([[2, 1], [0], [1, 3], []], "b")
    both = combine(first, second)
    check(both, 4, 4)
    assert [row[row >= 0].tolist() for row in both.indices] == [[1, 2], [0], [3, 1], [2]]
    assert both.metric == "rank (a; b)"


def test_combine_needs_the_same_proteins():
    with pytest.raises(ShapeMismatch):
        combine(graph_of([[1], [0]]), graph_of([[1], [0], [0]]))


def test_fill_gives_only_those_without_neighbors_the_others():
    first = graph_of([[1], [], [3, 1], [], []], "a")
    second = graph_of([[2, 1, 3], [0, 2, 3], [1], [2, 0], []], "b")
    both = fill(first, second)
    check(both, 5, 3)
    assert [row[row >= 0].tolist() for row in both.indices] == [[1], [0, 2, 3], [3, 1], [2, 0], []]
    assert both.metric == "a, else b"
    with pytest.raises(ShapeMismatch):
        fill(first, graph_of([[1], [0]]))


def test_round_trip(graph, tmp_path):
    graph.write(tmp_path / "graph", {"k": 7})
    again = NeighborGraph.read(tmp_path / "graph")
    np.testing.assert_array_equal(again.indices, graph.indices)
    np.testing.assert_array_equal(again.distances, graph.distances)
    assert again.metric == "cosine"
    with pytest.raises(ArtifactError):
        NeighborGraph.read(tmp_path / "none")


def test_faiss_finds_nearly_what_exact_search_finds():
    vectors = np.random.default_rng(1).normal(size=(1500, 8)).astype(np.float32)
    exact = ExactNeighbors(vectors).neighbors(10)
    found = FaissNeighbors(vectors, n_probe=48, threads=1).neighbors(10)
    check(found, 1500, 10)
    hits = (found.indices[:, :, None] == exact.indices[:, None, :]).any(axis=2)
    assert hits.mean() > 0.9
    shared = hits[:, 0]
    np.testing.assert_allclose(found.distances[shared, 0], exact.distances[shared, 0], atol=0.01)
    again = FaissNeighbors(vectors, n_probe=48, threads=1).neighbors(10)
    np.testing.assert_array_equal(again.indices, found.indices)


def test_backend_goes_by_the_number_of_vectors(vectors, graph, monkeypatch):
    np.testing.assert_array_equal(nearest_vectors(vectors, 7).indices, graph.indices)
    kept = vector_neighbors(vectors, 7).indices
    np.testing.assert_array_equal(kept, np.where(kept >= 0, graph.indices, -1))
    monkeypatch.setattr(module, "EXACT_LIMIT", 100)
    used = []
    monkeypatch.setattr(
        module.FaissNeighbors, "neighbors", lambda self, k: used.append((self.threads, k)) or graph
    )
    nearest_vectors(vectors, 7, threads=1)
    vector_neighbors(vectors, 7, threads=1)
    assert used == [(1, 7), (1, 7)]


@pytest.mark.skipif(find_mmseqs() is None, reason="MMseqs2 is not installed")
def test_alignment_neighbors_are_relatives_nearest_first():
    generator = np.random.default_rng(0)
    ancestors = generator.integers(1, 21, (2, 120)).astype(np.uint8)
    sequences = []
    for ancestor in ancestors:
        for n_changed in (0, 12, 36):
            member = ancestor.copy()
            places = generator.choice(120, n_changed, replace=False)
            member[places] = generator.integers(1, 21, n_changed)
            sequences.append(member)
    sequences.append(generator.integers(1, 21, 120).astype(np.uint8))
    graph = AlignmentNeighbors(sequences, threads=1).neighbors(5)
    check(graph, 7, 5)
    assert [set(row[row >= 0].tolist()) for row in graph.indices] == [
        {1, 2}, {0, 2}, {0, 1}, {4, 5}, {3, 5}, {3, 4}, set(),
    ]  # fmt: skip
    assert graph.indices[[0, 3], 0].tolist() == [1, 4]
    assert "MMseqs2" in graph.metric
