"""Joint learning: the loss falls, the input stays, the seed decides."""

import copy

import numpy as np
import pytest
import torch

from seqscan.alphabet import AMINO
from seqscan.finetune import FinetuneConfig, _pair_keys, _related, finetune
from seqscan.neighbors import ExactNeighbors, NeighborGraph

TINY = FinetuneConfig(n_steps=3, batch_residues=512, crop_lengths=(16,))


@pytest.fixture
def inputs(tiny_encoder, family_records):
    codes = [AMINO.encode(record.sequence) for record in family_records]
    vectors = tiny_encoder.embed(codes)
    graph = ExactNeighbors(vectors - vectors.mean(axis=0)).neighbors(5)
    return tiny_encoder, codes, vectors, graph, 4


def weights(encoder):
    return {name: tensor.clone() for name, tensor in encoder.state_dict().items()}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_input_stays_and_the_copy_learns(inputs):
    encoder = inputs[0]
    before = copy.deepcopy(weights(encoder))
    vectors = inputs[2].copy()
    trained = finetune(*inputs, TINY, seed=0)
    assert same(before, weights(encoder))
    assert not encoder.training
    assert not trained.training
    np.testing.assert_array_equal(inputs[2], vectors)
    assert not same(before, weights(trained))
    assert trained.config == encoder.config
    assert np.isfinite(trained.embed(inputs[1])).all()


def test_seed_decides(inputs):
    first, second, other = (weights(finetune(*inputs, TINY, seed=seed)) for seed in (0, 0, 1))
    assert same(first, second)
    assert not same(first, other)


def test_loss_falls(inputs):
    rows = []
    config = FinetuneConfig(n_steps=40, batch_residues=1024, crop_lengths=(16, 24))
    finetune(*inputs, config, seed=0, on_step=rows.append)
    assert [row["step"] for row in rows] == list(range(40))
    assert set(rows[0]) == {"step", "total", "consistency", "entropy", "contrastive"}
    losses = np.array([row["total"] + row["contrastive"] for row in rows])
    assert losses[-8:].mean() < losses[:8].mean() - 0.1


def test_relatives_are_no_negatives_of_each_other():
    graph = NeighborGraph(
        np.array([[1], [0], [3], [2], [-1]], np.int32), np.zeros((5, 1), np.float32), "test"
    )
    pairs = np.array([[0, 1], [1, 0], [2, 3], [0, 4]])
    known = {(0, 1), (1, 0), (2, 3), (3, 2)}
    expected = [
        [any(a == b or (a, b) in known for a in one for b in two) for two in pairs.tolist()]
        for one in pairs.tolist()
    ]
    assert _related(pairs, _pair_keys(graph), 5).tolist() == expected
