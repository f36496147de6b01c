"""A protein's vector depends on the protein alone: not on padding, batch, order or windows."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqscan.encoder import ConvEncoder, ConvEncoderConfig, WordEncoder, WordEncoderConfig
from seqscan.encoder import abstract as module
from seqscan.tokens import pad

TOLERANCE = 1e-5

sequence_lists = st.lists(
    st.lists(st.integers(1, 21), min_size=1, max_size=50).map(lambda codes: np.array(codes, np.uint8)),
    min_size=1,
    max_size=6,
)
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module", params=["conv", "words"])
def encoder(request):
    torch.manual_seed(0)
    if request.param == "words":
        return WordEncoder(WordEncoderConfig(n_features=12, n_dimensions=6)).eval()
    return ConvEncoder(
        ConvEncoderConfig(width=8, n_features=12, kernel=5, dilations=(1, 3), n_dimensions=6)
    ).eval()


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    monkeypatch.setattr(module, "fast_dtype", lambda device: torch.float32)


@quick
@given(sequence_lists, st.integers(1, 200), st.randoms(use_true_random=False))
def test_batches_and_order_change_nothing(encoder, sequences, max_residues, random):
    alone = np.concatenate([encoder.embed([sequence]) for sequence in sequences])
    order = list(range(len(sequences)))
    random.shuffle(order)
    together = encoder.embed([sequences[i] for i in order], max_residues=max_residues)
    np.testing.assert_allclose(together, alone[order], atol=TOLERANCE)


@quick
@given(sequence_lists, st.integers(0, 40))
def test_padding_changes_nothing(encoder, sequences, extra):
    batch = pad(sequences)
    codes = torch.from_numpy(np.pad(batch.codes, ((0, 0), (0, extra))))
    mask = torch.from_numpy(np.pad(batch.mask, ((0, 0), (0, extra))))
    with torch.inference_mode():
        wide = encoder(codes, mask)
        narrow = encoder(torch.from_numpy(batch.codes), torch.from_numpy(batch.mask))
        vectors = encoder.vectors(codes, mask)
    torch.testing.assert_close(wide.pooled, narrow.pooled, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(vectors, narrow.pooled, atol=TOLERANCE, rtol=0)
    length = batch.codes.shape[1]
    torch.testing.assert_close(wide.residues[:, :length], narrow.residues, atol=TOLERANCE, rtol=0)


@quick
@given(sequence_lists, st.integers(1, 30))
def test_windows_change_nothing(encoder, sequences, window):
    whole = encoder.embed(sequences)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "WINDOW", window)
        windows = encoder.embed(sequences)
        for rows, output, mask in encoder.encode(sequences):
            expected = encoder(
                *map(torch.from_numpy, (pad([sequences[row] for row in rows]).codes, mask.numpy()))
            )
            torch.testing.assert_close(output.residues, expected.residues, atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(windows, whole, atol=TOLERANCE)


@quick
@given(sequence_lists)
def test_pooled_is_the_projected_sum_of_weighted_residues(encoder, sequences):
    for _, output, _ in encoder.encode(sequences):
        summed = (output.weights * output.residues).sum(dim=1)
        torch.testing.assert_close(encoder.project(summed), output.pooled, atol=TOLERANCE, rtol=0)


@quick
@given(sequence_lists, st.integers(1, 9), st.integers(1, 30))
def test_cells_add_up_to_the_mean_however_they_are_read(encoder, sequences, step, window):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "WINDOW", window)
        cells = dict(encoder.cell_terms(sequences, step))
    finest = dict(encoder.cell_terms(sequences, 1))
    for row, codes in enumerate(sequences):
        starts = np.arange(0, len(codes), step)
        assert len(finest[row]) == len(codes)
        np.testing.assert_allclose(cells[row], np.add.reduceat(finest[row], starts), atol=TOLERANCE)
        mean = torch.from_numpy(cells[row].sum(axis=0))
        vector = encoder.project(mean).detach().numpy()
        np.testing.assert_allclose(vector, encoder.embed([codes])[0], atol=TOLERANCE)
