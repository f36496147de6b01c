"""Joint learning: the loss falls, the input stays, the seed decides."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from seqscan.alphabet import AMINO
from seqscan.checkpoint import Checkpoint
from seqscan.finetune import FinetuneConfig, finetune
from seqscan.head import ClusterHead, fit_whitening, whiten
from seqscan.neighbors import ExactNeighbors

TINY = FinetuneConfig(n_steps=3, batch_residues=512, crop_lengths=(16,))


@pytest.fixture
def inputs(tiny_encoder, family_records):
    codes = [AMINO.encode(record.sequence) for record in family_records]
    vectors = tiny_encoder.embed(codes)
    graph = ExactNeighbors(vectors - vectors.mean(axis=0)).neighbors(5)
    center, projection = fit_whitening(vectors)
    begin = whiten(vectors, center, projection)[[0, 12, 24, 30]]
    return tiny_encoder, codes, ClusterHead(begin, center, projection, 0.1), graph


def weights(encoder):
    return {name: tensor.clone() for name, tensor in encoder.state_dict().items()}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_input_stays_and_the_copy_learns(inputs):
    encoder = inputs[0]
    before = copy.deepcopy(weights(encoder))
    prototypes = inputs[2].prototypes.copy()
    trained = finetune(*inputs, TINY, seed=0)
    assert same(before, weights(encoder))
    assert not encoder.training
    assert not trained.training
    np.testing.assert_array_equal(inputs[2].prototypes, prototypes)
    assert not same(before, weights(trained))
    assert trained.config == encoder.config
    assert np.isfinite(trained.embed(inputs[1])).all()


def test_result_lies_between_the_encoder_and_the_trained_one(inputs):
    none, half, whole = (
        weights(finetune(*inputs, replace(TINY, interpolation=share), seed=0)) for share in (0.0, 0.5, 1.0)
    )
    assert same(none, weights(inputs[0]))
    assert not same(none, whole)
    for name, weight in half.items():
        torch.testing.assert_close(weight, (none[name] + whole[name]) / 2)


def test_seed_decides(inputs):
    first, second, other = (weights(finetune(*inputs, TINY, seed=seed)) for seed in (0, 0, 1))
    assert same(first, second)
    assert not same(first, other)


def test_goes_on_from_its_checkpoint(inputs, tmp_path):
    path = tmp_path / "checkpoint"
    config = replace(TINY, n_steps=5, checkpoint_seconds=0.0)
    whole, rest = [], []

    def struck(row):
        if row["step"] == 3:
            raise KeyboardInterrupt

    expected = weights(finetune(*inputs, config, seed=0, on_step=whole.append))
    with pytest.raises(KeyboardInterrupt):
        finetune(*inputs, config, seed=0, checkpoint=path, recipe="a", on_step=struck)
    assert json.loads(Checkpoint.read(path).metadata["rows"]) == whole[:3]
    found = weights(finetune(*inputs, config, seed=0, checkpoint=path, recipe="a", on_step=rest.append))
    assert same(expected, found)
    assert rest == whole


def test_checkpoint_of_another_recipe_is_not_used(inputs, tmp_path):
    path = tmp_path / "checkpoint"
    config = replace(TINY, checkpoint_seconds=0.0)
    finetune(*inputs, config, seed=1, checkpoint=path, recipe="seed 1")
    found = weights(finetune(*inputs, config, seed=0, checkpoint=path, recipe="seed 0"))
    assert same(found, weights(finetune(*inputs, config, seed=0)))


def test_no_checkpoint_before_its_time(inputs, tmp_path):
    finetune(*inputs, TINY, seed=0, checkpoint=tmp_path / "checkpoint")
    assert not any(tmp_path.iterdir())


def test_loss_falls(inputs):
    rows = []
    config = FinetuneConfig(n_steps=40, batch_residues=1024, crop_lengths=(16, 24))
    finetune(*inputs, config, seed=0, on_step=rows.append)
    assert [row["step"] for row in rows] == list(range(40))
    assert set(rows[0]) == {"step", "total", "consistency", "entropy"}
    losses = np.array([row["total"] for row in rows])
    assert losses[-8:].mean() < losses[:8].mean() - 0.1


def test_known_labels_teach_and_unknown_ones_do_not(inputs):
    n = len(inputs[1])
    without = weights(finetune(*inputs, TINY, seed=0))
    unknown = weights(finetune(*inputs, TINY, seed=0, labels=np.full(n, -1)))
    known = weights(finetune(*inputs, TINY, seed=0, labels=np.arange(n) % 4))
    assert same(without, unknown)
    assert not same(without, known)
