"""The memory a run needs, and the way of working that keeps within a budget."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from seqscan import head as head_module
from seqscan.discovery import DiscoveryConfig
from seqscan.encoder import WordEncoder, WordEncoderConfig, load_encoder
from seqscan.errors import InvalidParameter
from seqscan.head import ClusterHead
from seqscan.hierarchy import join_clusters
from seqscan.memory import TREE_BYTES, fitted_to_memory, needed_bytes
from seqscan.neighbors import merging
from seqscan.neighbors.merging import join_pieces, label_pieces
from seqscan.scan import heads
from seqscan.scan.heads import HeadFit, held_out_scores, self_label
from seqscan.store import unit

CONFIG = DiscoveryConfig()
ENCODER = load_encoder()


def test_plenty_of_memory_changes_nothing():
    fitted, needed = fitted_to_memory(6000, CONFIG, ENCODER, 8 * 10**9)
    assert fitted == replace(CONFIG, max_pieces=6000)
    assert 1.4e9 < needed < 3e9


def test_less_memory_works_in_shards():
    whole, shards = (needed_bytes(10**6, CONFIG, ENCODER, streamed=streamed) for streamed in (False, True))
    assert shards < whole / 2
    fitted, needed = fitted_to_memory(10**6, CONFIG, ENCODER, (whole + shards) // 2)
    assert fitted.streamed
    assert needed == shards


def test_too_little_memory_is_refused_with_a_way_out():
    with pytest.raises(InvalidParameter, match=r"need about .* GB.*--memory .*seqscan scan"):
        fitted_to_memory(10**6, CONFIG, ENCODER, 10**9)


def test_memory_grows_with_what_is_held():
    for streamed in (False, True):
        sizes = [needed_bytes(n, CONFIG, ENCODER, streamed=streamed) for n in (4, 100, 10**4, 10**6, 10**7)]
        assert sizes == sorted(sizes)
    without = DiscoveryConfig(neighbors="embedding", finetune=False)
    assert needed_bytes(10**5, without, ENCODER, streamed=True) < needed_bytes(
        10**5, CONFIG, ENCODER, streamed=True
    )


def test_longer_vectors_and_heavier_weights_take_more():
    small = WordEncoder(WordEncoderConfig(n_features=8, n_dimensions=8))
    wide = WordEncoder(WordEncoderConfig(n_features=8, n_dimensions=1280))
    heavy = WordEncoder(WordEncoderConfig(n_features=256, n_dimensions=8))
    for streamed in (False, True):
        needed = [needed_bytes(10**6, CONFIG, encoder, streamed=streamed) for encoder in (small, wide, heavy)]
        assert needed[1] - needed[0] > 10**6 * 2 * 4 * 1272
        assert needed[2] - needed[0] > 4 * 20**3 * 248 * 4


@pytest.fixture
def many():
    """4,000 vectors of 1,000 clusters: their logits take 16 MB, and so do the pairs of 2,000 pieces."""
    generator = np.random.default_rng(0)
    directions = unit(generator.normal(size=(1000, 8)).astype(np.float32))
    vectors = directions[np.arange(4000) % 1000] + 0.05 * generator.normal(size=(4000, 8)).astype(np.float32)
    return vectors, ClusterHead(directions, np.zeros(8, np.float32), np.eye(8, dtype=np.float32), 0.005)


@pytest.mark.parametrize("step", ["assign", "order", "judge", "self-label", "join", "label pieces"])
def test_no_step_holds_what_many_clusters_say_of_all_proteins(many, step, monkeypatch):
    vectors, head = many
    pairs = np.stack([np.arange(3000), np.arange(1000, 4000)], axis=1)
    fit = HeadFit(head, 0.0, 0.0, 0.0, 0)
    work = {
        "assign": lambda: head.assign([""] * 4000, vectors).labels,
        "order": lambda: head.ordered_by_size(head.labels(vectors)).prototypes,
        "judge": lambda: np.array(held_out_scores(head, vectors, pairs).loss),
        "self-label": lambda: self_label(fit, vectors, pairs, seed=0, n_steps=2)[0].head.prototypes,
        "join": lambda: join_pieces(unit(vectors), np.arange(4000) % 2000, None, min_cosine=0.999),
        "label pieces": lambda: label_pieces(head, vectors, np.arange(4000) % 2000),
    }[step]
    whole = work()
    for module, name in ((heads, "HELD_LOGITS"), (heads, "BLOCK_LOGITS"), (head_module, "BLOCK_LOGITS"),
                         (merging, "BLOCK_COSINES")):  # fmt: skip
        monkeypatch.setattr(module, name, 1 << 17)
    tracemalloc.start()
    in_blocks = work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_allclose(in_blocks, whole, atol=1e-5)
    assert peak < 8e6


def test_as_many_pieces_as_the_budget_holds():
    budget = 8_000_000_000
    fitted, needed = fitted_to_memory(10**5, CONFIG, ENCODER, budget)
    most = fitted.max_pieces
    assert needed < budget
    assert needed_bytes(10**5, CONFIG, ENCODER, streamed=False, n_pieces=most) <= budget
    assert needed_bytes(10**5, CONFIG, ENCODER, streamed=False, n_pieces=most + 1) > budget
    # The logits of a batch that is trained on, and the tree.
    left = budget - needed_bytes(10**5, CONFIG, ENCODER, streamed=False, n_pieces=0)
    assert left < most * 1024 * 128 + TREE_BYTES * most**2


@pytest.mark.parametrize("streamed", [False, True])
def test_tree_of_clusters_is_counted_as_it_is(streamed):
    few, many = (
        needed_bytes(10**6, replace(CONFIG, n_clusters=k), ENCODER, streamed=streamed) for k in (2, 10**4)
    )
    assert many - few > TREE_BYTES * 10**8
    prototypes = np.random.default_rng(0).normal(size=(1000, 8)).astype(np.float32)
    tracemalloc.start()
    join_clusters(prototypes, np.ones(1000, np.int64))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.9 < peak / (TREE_BYTES * 1000**2) < 1.1
