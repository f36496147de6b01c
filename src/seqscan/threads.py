"""How many threads a process computes with, whatever library computes."""

from __future__ import annotations

import torch
from threadpoolctl import threadpool_limits

__all__ = ["use_threads"]


def use_threads(n: int) -> None:
    """Compute with `n` threads from now on: PyTorch and what is behind NumPy, scikit-learn and faiss.

    PyTorch's own setting does not reach NumPy's: its threads would wait for each other on cores that other
    work was to have.
    """
    torch.set_num_threads(n)
    threadpool_limits(n)
