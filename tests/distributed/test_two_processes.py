"""Two gloo processes do what one does with the joined batch."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from seqscan.distributed import mean_over_ranks, n_ranks, process_group, rank, wait_for_all
from seqscan.losses import scan_loss

LOSS = """
import sys, torch
from seqscan.distributed import mean_over_ranks, n_ranks, process_group, rank, wait_for_all
from seqscan.losses import scan_loss
with process_group():
    inputs, weights = torch.load(sys.argv[1])
    weights.requires_grad_(True)
    own = inputs[:, rank() :: n_ranks()] @ weights
    scan_loss(*own, entropy_weight=2.0, mean=lambda p: mean_over_ranks(p.mean(0))).total.backward()
    torch.save(mean_over_ranks(weights.grad), f"{sys.argv[1]}.{rank()}")
    wait_for_all()
"""


@pytest.fixture
def torchrun(tmp_path):
    """Return a function that runs a program in two processes."""

    def run(program: str, *arguments: str) -> str:
        path = tmp_path / "program.py"
        path.write_text(program)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        done = subprocess.run(
            [*command, path, *arguments], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_gradients_of_two_processes_are_those_of_one_on_the_joined_batch(torchrun, tmp_path):
    torch.manual_seed(0)
    inputs, weights = torch.randn(2, 32, 6), torch.randn(6, 4)
    path = tmp_path / "case.pt"
    torch.save((inputs, weights), path)
    torchrun(LOSS, str(path))
    weights.requires_grad_(True)
    scan_loss(*(inputs @ weights), entropy_weight=2.0).total.backward()
    for number in range(2):
        found = torch.load(Path(f"{path}.{number}"))
        torch.testing.assert_close(found, weights.grad)


def test_one_process_needs_no_group():
    with process_group():
        assert (rank(), n_ranks()) == (0, 1)
        wait_for_all()
        values = torch.ones(3)
        assert mean_over_ranks(values) is values
