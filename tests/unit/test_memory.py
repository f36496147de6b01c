"""The memory a run needs, and the way of working that keeps within a budget."""

import pytest

from seqscan.discovery import DiscoveryConfig
from seqscan.encoder import WordEncoder, WordEncoderConfig, load_encoder
from seqscan.errors import InvalidParameter
from seqscan.memory import fitted_to_memory, needed_bytes

CONFIG = DiscoveryConfig()
ENCODER = load_encoder()


def test_plenty_of_memory_changes_nothing():
    fitted, needed = fitted_to_memory(6000, CONFIG, ENCODER, 8 * 10**9)
    assert fitted == CONFIG
    assert 1.4e9 < needed < 3e9


def test_less_memory_works_in_shards():
    whole, shards = (needed_bytes(10**6, CONFIG, ENCODER, streamed=streamed) for streamed in (False, True))
    assert shards < whole / 3
    fitted, needed = fitted_to_memory(10**6, CONFIG, ENCODER, (whole + shards) // 2)
    assert fitted.streamed
    assert needed == shards


def test_too_little_memory_is_refused_with_a_way_out():
    with pytest.raises(InvalidParameter, match=r"need about .* GB.*--memory .*seqscan scan"):
        fitted_to_memory(10**6, CONFIG, ENCODER, 10**9)


def test_memory_grows_with_what_is_held():
    for streamed in (False, True):
        sizes = [needed_bytes(n, CONFIG, ENCODER, streamed=streamed) for n in (4, 100, 10**4, 10**6, 10**7)]
        assert sizes == sorted(sizes)
    without = DiscoveryConfig(neighbors="embedding", finetune=False)
    assert needed_bytes(10**5, without, ENCODER, streamed=True) < needed_bytes(
        10**5, CONFIG, ENCODER, streamed=True
    )


def test_longer_vectors_and_heavier_weights_take_more():
    small = WordEncoder(WordEncoderConfig(n_features=8, n_dimensions=8))
    wide = WordEncoder(WordEncoderConfig(n_features=8, n_dimensions=1280))
    heavy = WordEncoder(WordEncoderConfig(n_features=256, n_dimensions=8))
    for streamed in (False, True):
        needed = [needed_bytes(10**6, CONFIG, encoder, streamed=streamed) for encoder in (small, wide, heavy)]
        assert needed[1] - needed[0] > 10**6 * 2 * 4 * 1272
        assert needed[2] - needed[0] > 4 * 20**3 * 248 * 4
