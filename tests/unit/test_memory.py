"""The memory a run needs, and the way of working that keeps within a budget."""

import pytest

from seqscan.discovery import DiscoveryConfig
from seqscan.errors import InvalidParameter
from seqscan.memory import fitted_to_memory, needed_bytes

CONFIG = DiscoveryConfig()


def test_plenty_of_memory_changes_nothing():
    fitted, needed = fitted_to_memory(6000, CONFIG, 8 * 10**9)
    assert fitted == CONFIG
    assert 1.4e9 < needed < 3e9


def test_less_memory_works_in_shards():
    whole, shards = (needed_bytes(10**6, CONFIG, streamed=streamed) for streamed in (False, True))
    assert shards < whole / 3
    fitted, needed = fitted_to_memory(10**6, CONFIG, (whole + shards) // 2)
    assert fitted.streamed
    assert needed == shards


def test_too_little_memory_is_refused_with_a_way_out():
    with pytest.raises(InvalidParameter, match=r"need about .* GB.*--memory .*seqscan scan"):
        fitted_to_memory(10**6, CONFIG, 10**9)


def test_memory_grows_with_what_is_held():
    for streamed in (False, True):
        sizes = [needed_bytes(n, CONFIG, streamed=streamed) for n in (4, 100, 10**4, 10**6, 10**7)]
        assert sizes == sorted(sizes)
    without = DiscoveryConfig(neighbors="embedding", finetune=False)
    assert needed_bytes(10**5, without, streamed=True) < needed_bytes(10**5, CONFIG, streamed=True)
