"""Networks compute on the GPU where there is one, and say there what they say on the processor."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from seqscan import model as model_module
from seqscan.alphabet import AMINO
from seqscan.device import best_device
from seqscan.encoder import WordEncoder, WordEncoderConfig, abstract
from seqscan.fasta import Record
from seqscan.head import ClusterHead
from seqscan.model import Model
from seqscan.novelty import fit_novelty
from seqscan.residues.domains import find_domains, learn_prior
from seqscan.residues.explain import explain


def test_the_processor_computes_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert best_device() == torch.device("cpu")


def test_each_process_computes_on_its_own_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    assert best_device() == torch.device("cuda", 3)


@pytest.fixture(params=["conv", "words"])
def model(request, tiny_encoder, family_records):
    """A model that can do all that models do, its head untrained."""
    encoder = tiny_encoder
    if request.param == "words":
        torch.manual_seed(0)
        encoder = WordEncoder(WordEncoderConfig(n_features=16, n_dimensions=8)).eval()
    codes = [AMINO.encode(record.sequence) for record in family_records]
    vectors = encoder.embed(codes)
    head = ClusterHead(vectors[::12], vectors.mean(axis=0), np.eye(8, dtype=np.float32), 0.2)
    labels = np.repeat(np.arange(3, dtype=np.int32), 12)
    rows = np.arange(0, 36, 2)
    sureness = head.sureness(vectors[rows])
    novelty = fit_novelty(lambda rows: vectors[rows], labels, head.center, rows, sureness, seed=0)
    bare = Model(encoder, head, novelty=novelty)
    return replace(bare, prior=learn_prior(bare, codes, labels, seed=0))


def test_a_model_is_loaded_to_where_networks_compute(model, tmp_path, monkeypatch):
    model.save(tmp_path / "model")
    monkeypatch.setattr(model_module, "best_device", lambda: torch.device("meta"))
    assert Model.load(tmp_path / "model").encoder.project.weight.is_meta
    assert not Model.load(tmp_path / "model", device="cpu").encoder.project.weight.is_meta


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_says_what_the_processor_says(model, family_records, tmp_path, monkeypatch):
    monkeypatch.setattr(abstract, "fast_dtype", lambda device: torch.float32)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    model.save(tmp_path / "model")
    processor, gpu = Model.load(tmp_path / "model", device="cpu"), Model.load(tmp_path / "model")
    assert gpu.encoder.checksum() == processor.encoder.checksum()
    # The last is longer than a window.
    records = [*family_records, Record("long", "", family_records[0].sequence * 50)]
    for expected, found in zip(
        *(m.assign(records, false_alarm_rate=0.1) for m in (processor, gpu)), strict=True
    ):
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-4)
        np.testing.assert_allclose(found.novelty, expected.novelty, atol=1e-3)
    for expected, found in zip(*(explain(m, records) for m in (processor, gpu)), strict=True):
        assert found.label == expected.label
        np.testing.assert_allclose(found.contributions, expected.contributions, atol=1e-4)
    for expected, found in zip(*(find_domains(m, records) for m in (processor, gpu)), strict=True):
        np.testing.assert_array_equal(found.starts, expected.starts)
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-3)
