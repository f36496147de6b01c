"""Words that are like each other learn together while an encoder is trained, and only then."""

import numpy as np
import pytest
import torch

from seqscan.alphabet import AMINO
from seqscan.encoder import WordEncoder, WordEncoderConfig
from seqscan.encoder.exchange import RESIDUES, Exchange, exchange_shares
from seqscan.encoder.words import N_SYMBOLS
from seqscan.pretrain.throughput import flops_per_residue


def encoder(**options):
    torch.manual_seed(0)
    return WordEncoder(WordEncoderConfig(words=((-1, 0, 1),), n_features=6, n_dimensions=4, **options)).eval()


def test_shares_say_which_residues_take_each_others_place():
    shares = exchange_shares(N_SYMBOLS)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    codes = dict(zip(RESIDUES, AMINO.encode(RESIDUES).tolist(), strict=True))
    assert shares[codes["I"], codes["V"]] > 4 * shares[codes["I"], codes["D"]]
    assert shares[codes["W"], codes["W"]] > 0.5
    for other in (AMINO.pad, N_SYMBOLS - 1):
        assert shares[other, other] == 1.0


def test_every_word_is_the_mixture_that_was_asked_for():
    table = torch.randn(2 * N_SYMBOLS**3, 3)
    mixed = Exchange(N_SYMBOLS, share=0.3)(table).view(2, N_SYMBOLS, N_SYMBOLS, N_SYMBOLS, 3)
    shares = 0.7 * np.eye(N_SYMBOLS) + 0.3 * exchange_shares(N_SYMBOLS)
    cube = table.view(mixed.shape).numpy().astype(np.float64)
    a, b, c = AMINO.encode("LKW").tolist()
    expected = np.einsum("x,y,z,wxyzd->wd", shares[a], shares[b], shares[c], cube)
    np.testing.assert_allclose(mixed[:, a, b, c], expected, atol=1e-5)


def test_nothing_is_exchanged_at_share_zero():
    table = torch.randn(N_SYMBOLS**3, 2)
    torch.testing.assert_close(Exchange(N_SYMBOLS, share=0.0)(table), table)


def test_vectors_stay_when_the_exchange_begins_and_when_it_ends():
    network, plain = encoder(), encoder()
    codes = [AMINO.encode("MKVLAAC"), AMINO.encode("WYW")]
    before = network.embed(codes)
    network.exchange_words()
    # The mixtures are computed in the fastest number format while they are learned.
    np.testing.assert_allclose(network.embed(codes), before, atol=2e-3)
    with torch.no_grad():
        network.tables[0].mul_(3.0)
    network.settle()
    np.testing.assert_allclose(network.embed(codes), 3.0 * before, atol=1e-4)
    assert list(network.state_dict()) == list(plain.state_dict())
    network.settle()  # twice is no error


def test_the_rows_of_a_new_network_are_those_that_are_mixed():
    network = encoder()
    rows = network.table.weight.detach().clone()
    network.exchange_words(new=True)
    torch.testing.assert_close(network.tables[0], rows, check_device=False)
    assert network.table.weight.std() < 0.8 * rows.std(), "a mixture of rows drawn alone is smaller"


@pytest.mark.parametrize(("exchange", "share"), [(False, 0.0), (True, 1e-3)])
def test_a_word_that_was_never_met_learns_from_those_like_it(exchange, share):
    network = encoder()
    if exchange:
        network.exchange_words()
    unseen = network.embed([AMINO.encode("IIIII")])
    optimizer = torch.optim.SGD(network.tables, lr=1.0)
    codes = torch.from_numpy(AMINO.encode("VVVVV").astype(np.int64))[None]
    network.vectors(codes, codes > 0).sum().backward()
    optimizer.step()
    changed = np.abs(network.embed([AMINO.encode("IIIII")]) - unseen).max()
    assert changed > share if exchange else changed == 0.0


def test_mixing_is_no_cost_of_a_residue():
    network = encoder()
    plain = flops_per_residue(network)
    network.exchange_words()
    assert flops_per_residue(network) == plain > 0


def test_words_exchange_on_the_device_of_the_table():
    # Joint learning begins with an encoder on its device; "meta" is one that every machine has.
    network = encoder().to("meta")
    network.exchange_words()
    assert {tensor.device.type for tensor in [network.table.weight, *network.buffers()]} == {"meta"}
