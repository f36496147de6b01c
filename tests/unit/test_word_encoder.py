"""The network of words: what it looks up, and that it can be kept and trained."""

import numpy as np
import pytest
import torch

from seqscan.alphabet import AMINO
from seqscan.encoder import WordEncoder, WordEncoderConfig, load_encoder, save_encoder
from seqscan.errors import InvalidParameter
from seqscan.tokens import pad

TINY = WordEncoderConfig(words=((-1, 0, 1), (-3, 0, 1)), n_features=5, n_dimensions=4)
SEQUENCES = [AMINO.encode(text) for text in ("MKVLAC", "MK", "ACDEFGHIKL")]


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    encoder = WordEncoder(TINY).eval()
    torch.nn.init.normal_(encoder.project.weight)
    return encoder


def test_a_residue_is_the_sum_of_its_words(encoder):
    """Looked up one by one."""
    n = AMINO.unknown + 1
    batch = pad(SEQUENCES)
    residues, _ = encoder.residue_vectors(torch.from_numpy(batch.codes), torch.from_numpy(batch.mask))
    for line, codes in zip(residues, SEQUENCES, strict=True):
        for place in range(len(codes)):
            expected = torch.zeros(5)
            for number, word in enumerate(TINY.words):
                row = number
                for step in word:
                    at = place + step
                    row = row * n + (int(codes[at]) if 0 <= at < len(codes) else AMINO.pad)
                expected += encoder.table.weight[row]
            torch.testing.assert_close(line[place], expected)


def test_a_protein_is_the_mean_of_its_residues(encoder):
    batch = pad(SEQUENCES)
    codes, mask = torch.from_numpy(batch.codes), torch.from_numpy(batch.mask)
    residues, _ = encoder.residue_vectors(codes, mask)
    expected = torch.stack([line[: len(s)].mean(dim=0) for line, s in zip(residues, SEQUENCES, strict=True)])
    torch.testing.assert_close(encoder.vectors(codes, mask), encoder.project(expected))
    torch.testing.assert_close(encoder(codes, mask).pooled, encoder.project(expected))


def test_hidden_and_uncertain_residues_are_the_same(encoder):
    hidden = np.array([1, AMINO.mask, 3], np.uint8)
    uncertain = np.array([1, AMINO.unknown, 3], np.uint8)
    np.testing.assert_array_equal(encoder.embed([hidden]), encoder.embed([uncertain]))


def test_margin_is_the_longest_reach(encoder):
    assert encoder.margin == encoder.reach == 3
    codes = torch.ones(1, 20, dtype=torch.int64)
    changed = codes.clone()
    changed[0, 10] = 5
    mask = codes > 0
    difference = (encoder(codes, mask).residues - encoder(changed, mask).residues).abs().sum(dim=2)[0]
    assert torch.nonzero(difference).squeeze(1).tolist() == [9, 10, 11, 13]


def test_table_is_the_one_that_takes_larger_steps(encoder):
    assert [table is encoder.table.weight for table in encoder.tables] == [True]


@pytest.mark.parametrize("words", [(), ((-1, 1, 2),)])
def test_words_must_hold_their_residue(words):
    with pytest.raises(InvalidParameter, match="place 0"):
        WordEncoderConfig(words=words)


def test_round_trip(encoder, tmp_path):
    save_encoder(encoder, tmp_path / "encoder")
    loaded = load_encoder(tmp_path / "encoder")
    assert isinstance(loaded, WordEncoder)
    assert loaded.config == TINY
    np.testing.assert_array_equal(loaded.embed(SEQUENCES), encoder.embed(SEQUENCES))
