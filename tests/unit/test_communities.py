"""Recurring segments become classes that the encoder learns to tell apart."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from seqscan.alignment import Alignments
from seqscan.alphabet import AMINO
from seqscan.corpus import write_corpus
from seqscan.encoder import ConvEncoder, ConvEncoderConfig
from seqscan.errors import ArtifactError
from seqscan.fasta import Record
from seqscan.pretrain import HomologPairs, PairSampler, PretrainConfig, Trainer
from seqscan.pretrain.communities import Communities, find_communities, segment_links
from seqscan.pretrain.trainer import community_recall

LENGTH = 120
TINY = ConvEncoderConfig(width=16, n_features=16, kernel=3, dilations=(1, 2), n_dimensions=16)


def alignments(rows):
    """Query, its part, target, its part; in the order of the queries."""
    query, q_start, q_end, target, t_start, t_end = np.array(rows, np.int32).T
    half = np.full(len(rows), 0.5, np.float32)
    return Alignments(query, target, q_start, q_end, t_start, t_end, half, half)


def slow_links(segments, hits, min_overlap=0.6):
    """What `segment_links` finds, pair by pair."""
    found = set()
    query = hits.query, hits.query_start, hits.query_end
    target = hits.target, hits.target_start, hits.target_end
    for q, qs, qe, t, ts, te in zip(*query, *target, strict=True):
        for i, (row, start, end) in enumerate(segments):
            low, high = max(start, qs), min(end, qe)
            if row != q or high - low < min_overlap * (end - start) or high <= low:
                continue
            scale = (te - ts) / (qe - qs)
            begin, stop = ts + (low - qs) * scale, ts + (high - qs) * scale
            for j, (other, first, last) in enumerate(segments):
                inside = other == t and first <= (begin + stop) / 2 < last
                if inside and min(stop, last) - max(begin, first) >= min_overlap * (last - first) and i != j:
                    found.add((min(i, j), max(i, j)))
    return sorted(found)


@pytest.mark.parametrize("seed", range(8))
def test_links_are_those_of_the_definition(seed):
    generator = np.random.default_rng(seed)
    lengths = generator.integers(200, 500, 12)
    segments = []
    for row, length in enumerate(lengths):
        cuts = np.unique(generator.integers(0, length, 6))
        segments += [(row, a, b) for a, b in pairwise(cuts) if generator.random() < 0.8]
    rows = []
    for _ in range(80):
        q, t = generator.choice(12, 2, replace=False)
        a, b = np.sort(generator.choice(lengths[q], 2, replace=False))
        c, d = np.sort(generator.choice(lengths[t], 2, replace=False))
        rows.append((q, a, b, t, c, d))
    hits = alignments(sorted(rows))
    found = segment_links(np.array(segments), hits, lengths)
    assert found.tolist() == [list(pair) for pair in slow_links(segments, hits)]


@pytest.fixture(scope="module")
def families():
    """Forty proteins of two domains each, of a pool of four: domains recur, whole proteins do not."""
    generator = np.random.default_rng(0)
    ancestors = generator.integers(1, 21, (4, LENGTH)).astype(np.uint8)

    def member(family):
        codes = ancestors[family].copy()
        changed = generator.random(LENGTH) < 0.3
        codes[changed] = generator.integers(1, 21, int(changed.sum()))
        return codes

    made = [(int(a), int(b)) for a, b in (generator.choice(4, 2, replace=False) for _ in range(40))]
    texts = [AMINO.decode(np.concatenate([member(a), member(b)])) for a, b in made]
    rows = [
        (q, i * LENGTH, (i + 1) * LENGTH, t, j * LENGTH, (j + 1) * LENGTH)
        for q in range(40) for t in range(40) if q != t
        for i in (0, 1) for j in (0, 1) if made[q][i] == made[t][j]
    ]  # fmt: skip
    return made, texts, alignments(rows)


@pytest.fixture
def corpus(families, tmp_path):
    return write_corpus(
        tmp_path / "corpus", (Record(f"p{i}", "", text) for i, text in enumerate(families[1]))
    )


def test_domains_become_communities(families, corpus, tmp_path):
    made, _, hits = families
    found = find_communities(corpus, hits)
    assert found.n_communities == 4
    assert len(found.segments) == 80
    for row, start, end, community in found.segments:
        place = 0 if start < LENGTH // 2 else 1
        assert abs(start - place * LENGTH) <= 8
        assert abs(end - (place + 1) * LENGTH) <= 8
        twins = found.segments[found.segments[:, 3] == community]
        assert {made[r][0 if s < LENGTH // 2 else 1] for r, s, *_ in twins} == {made[row][place]}
    assert not len(found.related)
    found.write(tmp_path / "communities", {})
    again = Communities.read(tmp_path / "communities")
    assert np.array_equal(again.segments, found.segments)
    assert again.n_communities == 4
    with pytest.raises(ArtifactError):
        Communities.read(tmp_path / "none")


def test_communities_with_a_link_are_related(corpus):
    """Two groups of twenty, everything linked within, one link of four hundred between."""
    whole = (0, 240)
    rows = [(q, *whole, t, *whole) for q in range(40) for t in range(40) if q != t and (q < 20) == (t < 20)]
    found = find_communities(corpus, alignments(sorted([*rows, (3, *whole, 30, *whole)])))
    assert found.n_communities == 2
    assert found.related.tolist() == [[0, 1], [1, 0]]
    assert found.relations().toarray().tolist() == [[False, True], [True, False]]


def test_near_identical_proteins_share_segments(families, corpus):
    """The last ten proteins are not searched; each is said to be like one that is."""
    kept = families[2].query < 30
    kept &= families[2].target < 30
    hits = Alignments(*(column[kept] for column in vars(families[2]).values()))
    representative = np.arange(40)
    representative[30:] = np.arange(10)
    found = find_communities(corpus, hits, representative).segments
    assert (np.diff(found[:, 0]) >= 0).all()
    for follower in range(30, 40):
        own, of_leader = found[found[:, 0] == follower], found[found[:, 0] == follower - 30]
        assert len(of_leader) == 2
        assert own[:, 1:].tolist() == of_leader[:, 1:].tolist()


def test_no_alignment_makes_no_community(corpus):
    empty = HomologPairs.none(40).alignments()
    assert find_communities(corpus, empty).n_communities == 0


def test_views_of_a_pair_are_two_members_of_one_community(families, corpus):
    made, texts, hits = families
    sampler = PairSampler(
        corpus, np.arange(40), HomologPairs.none(40), communities=find_communities(corpus, hits),
        community_fraction=1.0,
    )  # fmt: skip
    for pair in sampler.draw(np.arange(50), 64, 0.0, (0,)):
        owners = []
        for view in (pair.left, pair.right):
            text = AMINO.decode(view)
            (row,) = [i for i, whole in enumerate(texts) if text in whole]
            middle = texts[row].index(text) + len(text) / 2
            owners.append((row, made[row][int(middle >= LENGTH)]))
        assert owners[0][0] != owners[1][0]
        assert owners[0][1] == owners[1][1]
        assert pair.community >= 0


def test_training_learns_the_communities(families, corpus):
    communities = find_communities(corpus, families[2])
    even = np.arange(40) % 2 == 0
    samplers = [
        PairSampler(
            corpus, np.flatnonzero(kept), HomologPairs.none(40), communities=communities.restricted_to(kept),
            community_fraction=0.8,
        )
        for kept in (even, ~even)
    ]  # fmt: skip
    torch.manual_seed(0)
    encoder = ConvEncoder(TINY)
    config = PretrainConfig(
        max_steps=60, batch_residues=2048, crop_lengths=(64,), learning_rate=1e-2, warmup_steps=5
    )
    before = community_recall(encoder.embed, samplers[1], n_segments=40, seed=0)
    trainer = Trainer(encoder, samplers[0], config)
    trainer.begin()
    losses = []
    while trainer.progress < 1.0:
        losses.append(trainer.step()["prototype"])
    after = community_recall(encoder.eval().embed, samplers[1], n_segments=40, seed=0)
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    assert after > max(before, 0.9)
