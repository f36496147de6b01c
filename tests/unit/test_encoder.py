"""The encoder: shapes, the additive pooling, artifacts."""

import json

import numpy as np
import pytest
import torch

from seqscan.alphabet import AMINO
from seqscan.encoder import ConvEncoder, ConvEncoderConfig, fast_dtype, load_encoder, save_encoder
from seqscan.encoder import abstract as module
from seqscan.errors import ArtifactError, InvalidParameter
from seqscan.tokens import pad

TINY = ConvEncoderConfig(width=6, n_features=8, kernel=3, dilations=(1, 2), n_dimensions=4)
SEQUENCES = [AMINO.encode(text) for text in ("MKVLAC", "MK", "ACDEFGHIKL")]


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return ConvEncoder(TINY).eval()


def tensors(sequences):
    batch = pad(sequences)
    return torch.from_numpy(batch.codes), torch.from_numpy(batch.mask)


def test_shapes(encoder):
    codes, mask = tensors(SEQUENCES)
    output = encoder(codes, mask)
    assert output.residues.shape == (3, 10, 8)
    assert output.weights.shape == (3, 10, 8)
    assert output.pooled.shape == (3, 4)
    assert encoder.n_dimensions == 4
    assert encoder.embed(SEQUENCES).shape == (3, 4)
    assert encoder.embed([]).shape == (0, 4)


def test_what_is_no_residue_is_zero_and_weighs_nothing(encoder):
    codes, mask = tensors(SEQUENCES)
    output = encoder(codes, mask)
    assert not output.residues[~mask].any()
    assert not output.weights[~mask].any()
    assert torch.allclose(output.weights.sum(dim=1), torch.ones(3, 8))


def test_sharpness_goes_from_the_mean_to_the_maximum(encoder):
    codes, mask = tensors(SEQUENCES)
    assert encoder.sharpness[0] == 0.0
    assert torch.allclose(encoder(codes, mask).weights[1, :2, 0], torch.tensor([0.5, 0.5]))
    torch.nn.init.constant_(encoder.sharpness, 1e6)
    output = encoder(codes, mask)
    mean = (output.weights * output.residues).sum(dim=1)
    highest = output.residues.masked_fill(~mask.unsqueeze(-1), -torch.inf).amax(dim=1)
    assert torch.allclose(mean, highest, atol=1e-5)


def test_margin_is_how_far_a_residue_is_seen(encoder):
    assert encoder.margin == 3
    codes, mask = tensors([AMINO.encode("A" * 20)])
    changed = codes.clone()
    changed[0, 10] = 5
    difference = (encoder(codes, mask).residues - encoder(changed, mask).residues).abs().sum(dim=2)[0]
    assert torch.nonzero(difference).squeeze(1).tolist() == list(range(7, 14))


@pytest.mark.parametrize("autocast", [False, True])
def test_pooling_keeps_full_precision(encoder, autocast):
    torch.manual_seed(0)
    residues, log_weights = torch.randn(2, 2, 50, 8)
    mask = torch.ones(2, 50, dtype=torch.bool)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        output = encoder.pool(residues, log_weights, mask)
    weights = torch.softmax(log_weights.double(), dim=1)
    exact = (weights * residues.double()).sum(dim=1)
    exact = exact @ encoder.project.weight.double().T + encoder.project.bias.double()
    assert torch.allclose(output.pooled.double(), exact, atol=1e-6)


def test_caller_of_encode_keeps_full_precision(encoder, monkeypatch):
    monkeypatch.setattr(module, "fast_dtype", lambda device: torch.bfloat16)
    for _, output, _ in encoder.encode(SEQUENCES):
        assert output.pooled.dtype == output.weights.dtype == torch.float32
        # The terms are rounded, but they sum to what was pooled.
        summed = (output.weights * output.residues).sum(dim=1)
        torch.testing.assert_close(encoder.project(summed), output.pooled, atol=1e-5, rtol=0)
        assert not torch.is_autocast_enabled("cpu")
        assert not torch.is_inference_mode_enabled()


def test_rows_say_which_sequences_a_batch_holds(encoder):
    seen = []
    for rows, output, mask in encoder.encode(SEQUENCES, max_residues=8):
        assert mask.sum(dim=1).tolist() == [len(SEQUENCES[row]) for row in rows]
        assert len(output.pooled) == len(rows)
        seen += rows.tolist()
    assert sorted(seen) == [0, 1, 2]


def test_even_kernel_is_refused():
    with pytest.raises(InvalidParameter, match="odd"):
        ConvEncoderConfig(kernel=4)


def test_config_takes_what_json_gives():
    assert ConvEncoderConfig(dilations=[1, 2]).dilations == (1, 2)


def test_float32_where_bfloat16_would_be_emulated(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    assert fast_dtype(torch.device("cpu")) == torch.float32
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert fast_dtype(torch.device("cpu")) == torch.bfloat16


@pytest.mark.parametrize(("half", "tolerance"), [(False, 0.0), (True, 5e-3)])
def test_round_trip(encoder, tmp_path, half, tolerance):
    save_encoder(encoder, tmp_path / "encoder", half=half, provenance={"steps": 3})
    loaded = load_encoder(tmp_path / "encoder")
    assert not loaded.training
    assert loaded.config == TINY
    assert all(tensor.dtype == torch.float32 for tensor in loaded.state_dict().values())
    np.testing.assert_allclose(loaded.embed(SEQUENCES), encoder.embed(SEQUENCES), atol=tolerance)


def test_same_weights_give_the_same_bytes(encoder, tmp_path):
    for name in ("a", "b"):
        save_encoder(encoder, tmp_path / name)
    first, second = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("a", "b"))
    assert first == second


def test_damaged_weights_are_refused(encoder, tmp_path):
    save_encoder(encoder, tmp_path / "encoder")
    file = tmp_path / "encoder" / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(ArtifactError, match="changed or damaged"):
        load_encoder(tmp_path / "encoder")


@pytest.mark.parametrize("config", [{}, {"width": 6, "novelty": 1}, {"width": 9, "n_dimensions": 4}])
def test_weights_that_do_not_fit_are_refused(encoder, tmp_path, config):
    save_encoder(encoder, tmp_path / "encoder")
    manifest = json.loads((tmp_path / "encoder" / "manifest.json").read_text())
    manifest["content"] = {"config": config} if config else {}
    (tmp_path / "encoder" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="do not fit"):
        load_encoder(tmp_path / "encoder")


def test_no_encoder(tmp_path):
    with pytest.raises(ArtifactError):
        load_encoder(tmp_path / "none")
