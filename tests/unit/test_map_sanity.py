"""Maps depend on what was learned, name residues that matter, and hold for a part of a protein.

After Adebayo et al., NeurIPS 2018 (arXiv 1810.03292): a map that survives a random model explains nothing.
"""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from seqscan.alphabet import AMINO
from seqscan.datasets import pfam10_sequences
from seqscan.encoder import load_encoder
from seqscan.fasta import Record, read_fasta
from seqscan.head import ClusterHead, fit_whitening
from seqscan.model import Model
from seqscan.residues.explain import explain


@pytest.fixture(scope="module")
def records():
    every = (record for record in read_fasta(pfam10_sequences()) if 80 <= len(record) <= 200)
    return list(islice(every, 0, 2000, 40))


@pytest.fixture(scope="module")
def model(records):
    """The shipped encoder and a cluster around each of ten proteins."""
    torch.set_num_threads(1)
    encoder = load_encoder("default")
    vectors = encoder.embed([AMINO.encode(record.sequence) for record in records])
    center, projection = fit_whitening(vectors)
    projection = projection[:, :10].copy()
    head = ClusterHead(np.zeros((1, 10), np.float32), center, projection, 0.1)
    return Model(encoder, replace(head, prototypes=head.points(vectors)[::5].copy()))


@pytest.fixture(scope="module")
def maps(model, records):
    return list(explain(model, records))


def mean_correlation(maps, others):
    return np.mean(
        [spearmanr(a.contributions, b.contributions)[0] for a, b in zip(maps, others, strict=True)]
    )


def toward_the_same(model, maps):
    return [next(explain(model, [Record("p", "", m.residues)], cluster=m.label)) for m in maps]


def test_random_head_gives_unrelated_maps(model, maps):
    generator = np.random.default_rng(0)
    shape = model.head.prototypes.shape
    found = []
    for _ in range(5):
        head = replace(model.head, prototypes=generator.normal(size=shape).astype(np.float32))
        found.append(mean_correlation(maps, toward_the_same(Model(model.encoder, head), maps)))
    assert abs(np.mean(found)) < 0.15


def test_random_encoder_gives_unrelated_maps(model, maps):
    # One random encoder may by chance like or dislike what the trained one likes; several may not.
    found = []
    for seed in range(5):
        torch.manual_seed(seed)
        encoder = type(model.encoder)(model.encoder.config).eval()
        found.append(mean_correlation(maps, toward_the_same(Model(encoder, model.head), maps)))
    assert abs(np.mean(found)) < 0.15


def test_hiding_the_named_residues_hurts_most(model, maps):
    generator = np.random.default_rng(0)

    def mean_logit(order, hide):
        values = []
        for item in maps:
            codes = AMINO.encode(item.residues)
            first = np.isin(np.arange(len(codes)), order(item)[: len(codes) // 5])
            view = np.where(first == hide, AMINO.mask, codes).astype(np.uint8)
            values.append(model.head.logits(model.encoder.embed([view]))[0, item.label])
        return np.mean(values)

    def named(item):
        return np.argsort(-item.contributions, kind="stable")

    def random(item):
        return generator.permutation(len(item.residues))

    whole = np.mean([item.logit for item in maps])
    assert mean_logit(named, hide=True) < mean_logit(random, hide=True) - 0.05 * whole
    assert mean_logit(named, hide=False) > mean_logit(random, hide=False) + 0.05 * whole


def test_a_crop_has_the_map_of_its_part(model, maps):
    correlations = []
    for item in maps:
        crop = slice(len(item.residues) // 6, -(len(item.residues) // 6))
        (part,) = explain(model, [Record("c", "", item.residues[crop])], cluster=item.label)
        correlations.append(spearmanr(part.contributions, item.contributions[crop])[0])
    assert np.mean(correlations) > 0.5
