"""How much of what the machine can multiply a training uses."""

from __future__ import annotations

import time

import torch
from torch.nn.utils import parametrize
from torch.utils.flop_counter import FlopCounterMode

from seqscan.encoder import AbstractEncoder

__all__ = ["flops_per_residue", "matrix_peak"]


def matrix_peak(device: torch.device, dtype: torch.dtype, *, size: int = 1024, seconds: float = 0.3) -> float:
    """Measure the machine's fastest matrix product.

    Parameters
    ----------
    device : torch.device
    dtype : torch.dtype
    size : int
        Rows and columns of the square matrices.
    seconds : float
        How long to measure at least; the best of the products counts.

    Returns
    -------
    peak : floating-point operations a second
        With the threads that torch has now.
    """
    a, b = (torch.rand(size, size, device=device).to(dtype) for _ in range(2))
    best, begun = float("inf"), time.perf_counter()
    while best == float("inf") or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        product = a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
        del product
    return 2.0 * size**3 / best


@torch.no_grad()
def flops_per_residue(encoder: AbstractEncoder) -> float:
    """Count the floating-point operations of matrix products and convolutions that a residue costs, forward.

    Training costs three times as many. Look-ups, normalisation and the like are not counted, nor is what is
    done once for a batch of any size.
    """
    codes = torch.ones(8, 128, dtype=torch.int64, device=encoder.device)
    counter = FlopCounterMode(display=False)
    with parametrize.cached():
        encoder(codes, codes > 0)
        with counter:
            encoder(codes, codes > 0)
    return counter.get_total_flops() / codes.numel()
