"""How many threads a process computes with, whatever library computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits

__all__ = ["threads_kept", "use_threads"]


def use_threads(n: int) -> None:
    """Compute with `n` threads from now on: PyTorch and what is behind NumPy, scikit-learn and faiss.

    PyTorch's own setting does not reach NumPy's: its threads would wait for each other on cores that other
    work was to have.
    """
    torch.set_num_threads(n)
    threadpool_limits(n)


@contextmanager
def threads_kept() -> Iterator[None]:
    """Let what is in the block compute with any number of threads; afterwards it is as it was before."""
    before = torch.get_num_threads()
    try:
        with threadpool_limits():  # without a limit it only puts back what it finds
            yield
    finally:
        torch.set_num_threads(before)
