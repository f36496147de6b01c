"""One number of threads for all libraries that compute."""

import pytest
import torch
from threadpoolctl import threadpool_info

from seqscan.threads import use_threads


@pytest.fixture(autouse=True)
def as_before():
    before = torch.get_num_threads()
    yield
    use_threads(before)


@pytest.mark.parametrize("n", [1, 2])
def test_every_library_computes_with_as_many_threads(n):
    use_threads(n)
    assert torch.get_num_threads() == n
    pools = threadpool_info()
    assert any(pool["user_api"] == "blas" for pool in pools)
    assert {pool["num_threads"] for pool in pools} == {n}
