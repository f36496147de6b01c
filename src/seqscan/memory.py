"""How much memory a run needs, and the way of working that keeps within what there is."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace

from seqscan.discovery import N_ALIGNED, N_NEIGHBORS, DiscoveryConfig
from seqscan.encoder import AbstractEncoder
from seqscan.errors import InvalidParameter
from seqscan.head import BLOCK_LOGITS
from seqscan.scan import n_prototypes, over_provision
from seqscan.scan.heads import HELD_LOGITS

__all__ = ["fitted_to_memory", "needed_bytes"]

BASE_BYTES = 1_000_000_000
"""Libraries and a batch; measured on 6,000 domains."""
TRAINING_BYTES = 500_000_000
"""Activations of joint learning; measured on 6,000 domains."""
LOGIT_BYTES = 32
"""What judging, assigning and self-labelling hold of each logit of a block; 28 were measured."""
TRAINED_LOGIT_BYTES = 64
"""What training holds of each logit of a batch, gradients included; 55 were measured."""
PROTEINS_PER_PIECE = 20
"""Expected; `pfam_all_dev` has a hundred. A run that finds too many for its memory goes on in shards."""
PROTEINS_PER_CLUSTER = 100
"""Expected, as in `pfam_all_dev`: twenty would make the tree count 25 times as much."""
LINK_BYTES = 20_000
"""A prototype before clusters are joined, what trains it, and its links to others."""
TREE_BYTES = 8
"""The tree of clusters, for the square of their number: half as many distances, which SciPy copies."""


def needed_bytes(
    n: int, config: DiscoveryConfig, encoder: AbstractEncoder, *, streamed: bool, n_pieces: int | None = None
) -> int:
    """Return the highest memory of a run on n proteins, bytes.

    In memory: vectors in single precision, centered and whitened a few times over, both graphs and the pairs
    made of them, logits, and a prototype for each of the pieces that alignments give, `n_pieces` if they are
    known. In shards: vectors once for the tables, the alignments, the pairs, and prototypes with what trains
    and joins them. In both the tree of the clusters that are given, or expected.
    """
    n_clusters = over_provision(n, config.n_clusters) if n >= 6 else 2
    weights = sum(tensor.nbytes for tensor in encoder.state_dict().values())
    fixed = BASE_BYTES + weights + (TRAINING_BYTES if config.finetune else 0)
    vector = 4 * encoder.n_dimensions
    pairs = (N_NEIGHBORS + (0 if config.neighbors == "embedding" else 2 * N_ALIGNED)) * 8
    expected = n // PROTEINS_PER_CLUSTER if n_pieces is None else n_pieces
    if streamed:
        n_begin = n_prototypes(n, config.n_clusters)
        tree = TREE_BYTES * (config.n_clusters or max(n_begin, expected)) ** 2
        return fixed + n * (2 * vector + pairs) + LINK_BYTES * n_begin + 16 * vector * n_clusters + tree
    if n_pieces is None:
        n_pieces = n // PROTEINS_PER_PIECE if config.neighbors != "embedding" else 0
    most = max(n_clusters, n_pieces)
    batch = config.scan.batch_size * max(config.scan.n_heads * n_clusters, n_pieces)
    logits = 4 * min(n * most, HELD_LOGITS)
    logits += max(LOGIT_BYTES * min(n * most, BLOCK_LOGITS), TRAINED_LOGIT_BYTES * batch)
    tree = TREE_BYTES * (config.n_clusters or max(n_clusters, expected)) ** 2
    return fixed + n * (6 * vector + 2 * pairs) + logits + 16 * vector * most + tree


def most_pieces(n: int, config: DiscoveryConfig, encoder: AbstractEncoder, budget: int) -> int:
    """Return how many pieces the alignments of n proteins may give to a run in memory of so many bytes."""

    def too_many(n_pieces: int) -> bool:
        return needed_bytes(n, config, encoder, streamed=False, n_pieces=n_pieces) > budget

    return bisect_left(range(n + 1), True, key=too_many) - 1


def fitted_to_memory(
    n: int, config: DiscoveryConfig, encoder: AbstractEncoder, budget: int
) -> tuple[DiscoveryConfig, int]:
    """Return the configuration that keeps within a budget, and what it will need.

    Parameters
    ----------
    n : int, proteins
    config : DiscoveryConfig
    encoder : AbstractEncoder
        Its weights, and the length of its vectors, take memory too.
    budget : int, bytes

    Raises
    ------
    InvalidParameter
        If no way of working would do.
    """
    for streamed in sorted({config.streamed, True}):
        needed = needed_bytes(n, config, encoder, streamed=streamed)
        if needed <= budget:
            most = None if streamed else most_pieces(n, config, encoder, budget)
            return replace(config, streamed=streamed, max_pieces=most), needed
    raise InvalidParameter(
        "memory",
        budget,
        f"{n} proteins need about {needed / 1e9:.1f} GB",
        remedy=f"Give --memory {needed / 1e9 + 0.1:.1f}GB if the machine has it, or use 'seqscan embed' and "
        "'seqscan scan', which read vectors from disk.",
    )
