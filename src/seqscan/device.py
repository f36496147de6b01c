"""Where networks compute."""

from __future__ import annotations

import torch

__all__ = ["best_device"]


def best_device() -> torch.device:
    """Return this process's GPU, or the processor where there is none.

    An empty `CUDA_VISIBLE_DEVICES` keeps all work on the processor.
    """
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")
