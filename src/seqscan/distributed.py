"""Several processes as one: rank, number of ranks, mean over ranks. The only user of `torch.distributed`.

Without `torchrun` there is one rank, and every function is its own trivial case.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from seqscan.errors import OtherRankFailed

__all__ = ["mean_over_ranks", "n_ranks", "process_group", "rank", "sum_over_ranks", "wait_for_all"]

PATIENCE = timedelta(hours=12)
"""How long a process waits for the others: the first may mine homologs or read a corpus meanwhile."""


@contextmanager
def process_group() -> Iterator[None]:
    """Join the processes that `torchrun` started; do nothing without it.

    The engine is NCCL where each process has a GPU, gloo for what lies in the processor's memory.

    Raises
    ------
    OtherRankFailed
        Instead of any other error, in all processes but the first to fail: they fail as soon as they would
        wait for that one, and it says why.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    store, number, count = next(dist.rendezvous("env://", timeout=PATIENCE))
    engine = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    dist.init_process_group(engine, store=store, rank=number, world_size=count, timeout=PATIENCE)
    try:
        yield
    except Exception:
        # Counted before the group is left: the others notice that, and must find the count.
        if store.add("failed", 1) > 1:
            raise OtherRankFailed from None
        raise
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Return the number of this process, 0 for the first."""
    return dist.get_rank() if dist.is_initialized() else 0


def n_ranks() -> int:
    """Return how many processes work together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def wait_for_all() -> None:
    """Return once every rank has come here."""
    if n_ranks() > 1:
        dist.barrier()


def sum_over_ranks(values: Tensor) -> Tensor:
    """Return the sum of a tensor over all ranks, the same on each; no gradient passes.

    Examples
    --------
    >>> sum_over_ranks(torch.tensor([1.0, 3.0])).tolist()
    [1.0, 3.0]
    """
    total = values.detach()
    if n_ranks() > 1:
        total = total.clone()
        dist.all_reduce(total)
    return total


def mean_over_ranks(values: Tensor) -> Tensor:
    """Return the mean of a tensor over all ranks.

    Parameters
    ----------
    values : tensor
        Of the same shape on every rank.

    Returns
    -------
    mean : tensor
        The same on every rank. Its gradient reaches every rank, so that after the usual averaging of
        gradients over ranks they equal those of one process on the joined batch.

    Examples
    --------
    >>> mean_over_ranks(torch.tensor([1.0, 3.0])).tolist()
    [1.0, 3.0]
    """
    if n_ranks() == 1:
        return values
    return _MeanOverRanks.apply(values)


class _MeanOverRanks(torch.autograd.Function):
    """Sum, divide; the backward pass does the same to the gradients and so keeps them a sum over ranks."""

    @staticmethod
    def forward(ctx: object, values: Tensor) -> Tensor:
        total = values.detach().clone()
        dist.all_reduce(total)
        return total / dist.get_world_size()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        # Each rank holds the mean, so each rank's loss pulls on every rank's values.
        total = gradient.clone()
        dist.all_reduce(total)
        return total / dist.get_world_size()
