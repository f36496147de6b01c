"""One number of threads for all libraries that compute, and threads that wait without spinning."""

import os
import subprocess
import sys

import pytest
import torch
from threadpoolctl import threadpool_info

from seqscan.threads import threads_kept, use_threads


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


@threads_kept()
def killed():
    use_threads(1)
    raise KeyboardInterrupt


def test_threads_are_put_back_whatever_happens():
    use_threads(3)
    with pytest.raises(KeyboardInterrupt):
        killed()
    assert torch.get_num_threads() == 3
    assert {pool["num_threads"] for pool in threadpool_info()} == {3}


@pytest.mark.skipif(sys.platform != "linux", reason="the runtime that prints its settings is GNU's")
@pytest.mark.parametrize(("chosen", "spins"), [(None, "0"), ("active", "30000000000")])
def test_threads_of_the_command_line_sleep_while_they_wait_unless_told_otherwise(tmp_path, chosen, spins):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"OMP_DISPLAY_ENV": "verbose"} | ({"OMP_WAIT_POLICY": chosen} if chosen else {})
    told = subprocess.run(
        [sys.executable, "-m", "seqscan", "assign", "none.fasta", "--model", "none", "-o", "none.tsv"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 2  # there is no such file
    assert f"GOMP_SPINCOUNT = '{spins}'" in told.stderr
