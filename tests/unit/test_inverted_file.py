"""The index finds nearly what comparing all pairs finds, in lists of one size."""

import numpy as np
import pytest

from seqscan.neighbors import inverted_file as module
from seqscan.neighbors.inverted_file import build_index, nearest_others, training_rows
from seqscan.store import unit

N, P = 1500, 12


@pytest.fixture
def vectors():
    return unit(np.random.default_rng(0).normal(size=(N, P)).astype(np.float32))


def index_of(vectors, n_probe):
    index = build_index(
        len(vectors), vectors[training_rows(len(vectors))], lambda: np.array_split(vectors, 7)
    )
    index.nprobe = n_probe
    return index


@pytest.mark.parametrize("few_lists", [4096, 4])
def test_neighbors_are_nearly_those_of_all_pairs(vectors, few_lists, monkeypatch):
    monkeypatch.setattr(module, "FEW_LISTS", few_lists)
    index = index_of(vectors, 12)
    assert index.ntotal == N
    rows, distances = nearest_others(index, vectors[200:300], 200, 5)
    cosine = vectors[200:300] @ vectors.T
    cosine[np.arange(100), np.arange(200, 300)] = -np.inf
    expected = np.argsort(-cosine, axis=1)[:, :5]
    assert (rows[:, :, None] == expected[:, None]).any(axis=2).mean() > 0.9
    np.testing.assert_allclose(
        distances, 1.0 - np.take_along_axis(cosine, rows.astype(np.int64), axis=1), atol=2e-3
    )
    assert (np.diff(distances, axis=1) >= 0).all()


def test_each_vector_is_in_one_list_and_lists_hold_what_they_should(vectors):
    index = index_of(vectors, 1)
    sizes = [index.invlists.list_size(number) for number in range(index.nlist)]
    assert sum(sizes) == N
    assert np.mean(sizes) == pytest.approx(module.LIST_SIZE, rel=0.1)


def test_gaps_where_lists_hold_too_few():
    vectors = unit(np.eye(3, dtype=np.float32) + 0.1)
    rows, distances = nearest_others(index_of(vectors, 1), vectors, 0, 4)
    assert rows.tolist() == [[1, 2, -1, -1], [0, 2, -1, -1], [0, 1, -1, -1]]
    assert np.isinf(distances[:, 2:]).all()


def test_a_vector_among_its_equals_is_not_its_own_neighbor():
    vectors = np.repeat(unit(np.ones((1, P), np.float32)), 40, axis=0)
    rows, _ = nearest_others(index_of(vectors, 1), vectors, 0, 5)
    assert not (rows == np.arange(40)[:, None]).any()
    assert (rows >= 0).all()
