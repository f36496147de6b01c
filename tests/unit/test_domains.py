"""Domains of whole proteins: exact logits of windows, and the best set of them."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from seqscan.alphabet import AMINO
from seqscan.encoder import ConvEncoder, ConvEncoderConfig
from seqscan.errors import ArtifactError, InvalidParameter, ShapeMismatch
from seqscan.fasta import Record
from seqscan.head import ClusterHead
from seqscan.model import Model
from seqscan.prior import N_PARTS, DomainPrior
from seqscan.residues.domains import (
    STEP,
    _marginal,
    _Windows,
    find_domains,
    learn_prior,
    membership,
)
from seqscan.results import Domains
from seqscan.store import unit


def prior_for(head, lengths, spread, background):
    """Every third of a domain looks like the whole."""
    parts = np.repeat(unit(head.prototypes)[:, None], N_PARTS, axis=1)
    return DomainPrior(np.log(lengths), np.full(len(lengths), spread), parts, background)


def motif_model():
    """Cluster 0 listens to WWW, cluster 1 to HHH; everything else points nowhere."""
    encoder = ConvEncoder(ConvEncoderConfig(width=4, n_features=4, kernel=3, dilations=(1,), n_dimensions=3))
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
        encoder.project.weight[:3, :3] = torch.eye(3)
        n = len(AMINO)
        encoder.trimers.weight[:, 2] = 1.0
        for feature, letter in enumerate("WH"):
            code = int(AMINO.encode(letter)[0])
            number = (code * n + code) * n + code
            encoder.trimers.weight[number, feature] = 1.0
            encoder.trimers.weight[number, 2] = 0.0
    eye = np.eye(3, dtype=np.float32)
    head = ClusterHead(eye[:2], np.zeros(3, np.float32), eye, 0.1)
    return Model(encoder.eval(), head, prior=prior_for(head, [40.0, 80.0], 0.2, 5.0))


def found_in(model, text):
    (block,) = find_domains(model, [Record("p", "", text)])
    return list(zip(block.starts.tolist(), block.ends.tolist(), block.labels.tolist(), strict=True))


def test_two_domains_and_what_is_between():
    text = "A" * 64 + "W" * 40 + "A" * 64 + "H" * 80 + "A" * 16
    assert found_in(motif_model(), text) == [(64, 104, 0), (168, 248, 1)]


def test_repeats_are_several_domains():
    assert found_in(motif_model(), "W" * 120) == [(0, 40, 0), (40, 80, 0), (80, 120, 0)]


def test_protein_without_a_domain_has_a_row():
    model = motif_model()
    records = [Record("a", "", "A" * 30), Record("b", "", "W" * 40), Record("c", "", "M")]
    (block,) = find_domains(model, records)
    assert list(block.proteins) == ["a", "b", "c"]
    assert block.labels.tolist() == [-1, 0, -1]
    assert block.ends.tolist() == [30, 40, 1]
    assert block.probabilities[[0, 2]].tolist() == [0.0, 0.0]
    assert block.probabilities[1] > 0.9
    (block,) = find_domains(model, records, min_probability=float(block.probabilities[1]) + 0.001)
    assert list(block.proteins) == ["a", "b", "c"]
    assert block.labels.tolist() == [-1, -1, -1]


def test_domains_of_one_protein_do_not_overlap_and_do_not_depend_on_the_others(tiny_encoder):
    generator = np.random.default_rng(0)
    head = ClusterHead(*(generator.normal(size=s).astype(np.float32) for s in ((5, 8), (8,), (8, 8))), 0.1)
    model = Model(tiny_encoder, head, prior=prior_for(head, [30.0, 60, 90, 120, 40], 0.3, 4.0))
    texts = [AMINO.decode(generator.integers(1, 21, n).astype(np.uint8)) for n in (333, 50, 7, 250)]
    records = [Record(f"p{i}", "", text) for i, text in enumerate(texts)]
    (block,) = find_domains(model, records)
    for i, text in enumerate(texts):
        own = [row for row, name in enumerate(block.proteins) if name == f"p{i}"]
        spans = [(int(block.starts[row]), int(block.ends[row])) for row in own]
        assert all(first[1] <= second[0] for first, second in pairwise(spans))
        assert spans[-1][1] <= len(text)
        (alone,) = find_domains(model, [records[i]])
        assert alone.starts.tolist() == [start for start, _ in spans]
        assert alone.labels.tolist() == block.labels[own].tolist()


def test_logit_of_a_window_is_that_of_its_residues_alone():
    # No context: kernel 1 and one-letter tables make a residue vector its own residue's alone.
    torch.manual_seed(0)
    encoder = ConvEncoder(ConvEncoderConfig(width=4, n_features=6, kernel=1, dilations=(1,), n_dimensions=5))
    with torch.no_grad():
        encoder.trimers.weight.zero_()
        encoder.features.weight.normal_()
        encoder.embed_codes.weight.normal_()
        encoder.sharpness.zero_()  # else a residue's weight depends on the whole protein
    generator = np.random.default_rng(0)
    shapes = ((3, 4), (5,), (5, 4))
    head = ClusterHead(*(generator.normal(size=shape).astype(np.float32) for shape in shapes), 0.1)
    parts = unit(generator.normal(size=(9, 4)).astype(np.float32)).reshape(3, 3, 4)
    prior = DomainPrior(np.log([64.0, 64.0, 64.0]), np.full(3, 0.15), parts, -20.0)
    model = Model(encoder.eval(), head, prior=prior)
    text = AMINO.decode(generator.integers(1, 21, 64).astype(np.uint8))
    (block,) = find_domains(model, [Record("p", "", text)])
    codes = AMINO.encode(text)
    # Eight cells of eight residues: the thirds have two, three and three.
    thirds = head.points(encoder.embed([codes[:16], codes[16:40], codes[40:]]))
    logits = head.logits(encoder.embed([codes]))[0] / 2
    logits += np.einsum("jq,cjq->c", thirds, parts) / 3 / 0.1 / 2
    assert (block.starts[0], block.ends[0], block.labels[0]) == (0, 64, logits.argmax())
    odds = np.append(logits, -20.0)
    expected = np.exp(odds.max()) / np.exp(odds).sum()
    assert block.probabilities[0] == pytest.approx(expected, abs=1e-4)


def divisions(n, most):
    """Every set of windows (start, end) of n cells that do not overlap."""
    if n == 0:
        return [[]]
    found = list(divisions(n - 1, most))
    for k in range(1, min(n, most) + 1):
        found += [[*rest, (n - k, n)] for rest in divisions(n - k, most)]
    return found


def test_membership_sums_over_all_divisions():
    generator = np.random.default_rng(0)
    n, most = 6, 4
    odds = generator.normal(size=(n + 1, most + 1, 2))  # two clusters
    any_, wanted = np.logaddexp.reduce(odds, axis=2), odds[:, :, 1]
    windows = _Windows(n * STEP - 3, np.zeros((n + 1, most + 1), np.int32), odds.max(axis=2), any_, wanted)
    total, inside = 0.0, np.zeros(n)
    for division in divisions(n, most):
        weight = np.exp(sum(any_[end, end - start] for start, end in division))
        total += weight
        for start, end in division:
            inside[start:end] += weight * np.exp(wanted[end, end - start] - any_[end, end - start])
    found = _marginal(windows)
    assert len(found) == n * STEP - 3
    np.testing.assert_allclose(found, np.repeat(inside / total, STEP)[: len(found)])


def test_membership_is_high_within_the_domain():
    text = "A" * 64 + "W" * 40 + "A" * 64 + "H" * 80 + "A" * 16
    (first,), (second,) = (membership(motif_model(), [Record("p", "", text)], cluster=c) for c in (0, 1))
    assert first[72:96].min() > 0.75
    assert first[120:].max() < 0.2
    assert second[184:232].min() > 0.75
    assert second[:130].max() < 0.2
    with pytest.raises(InvalidParameter, match="0 to 1"):
        list(membership(motif_model(), [], cluster=2))


def test_prior_learns_lengths():
    model = motif_model()
    texts = ["W" * n for n in (36, 40, 44)] + ["H" * n for n in (60, 80, 120)]
    prior = learn_prior(model, [AMINO.encode(text) for text in texts], np.array([0, 0, 0, 1, 1, 1]), seed=0)
    np.testing.assert_allclose(np.exp(prior.log_length), [40, 80])
    assert prior.spread[0] == 0.15 < prior.spread[1]
    # All thirds of these members look alike.
    np.testing.assert_allclose(prior.parts, np.repeat(np.eye(3)[:2, None], 3, axis=1), atol=0.25)


def test_thirds_tell_where_a_domain_begins():
    """Cluster 0 is W then H: half of it, or it the wrong way round, is none."""
    model = motif_model()
    eye = np.eye(3, dtype=np.float32)
    both = unit(eye[:1] + eye[1:2])
    head = ClusterHead(both, model.head.center, model.head.projection, 0.1)
    model = replace(model, head=head)
    text = "W" * 40 + "H" * 40
    prior = learn_prior(model, [AMINO.encode(text)] * 3, np.zeros(3, int), seed=0)
    model = replace(model, prior=replace(prior, background=8.5))
    np.testing.assert_allclose(prior.parts[0, [0, 2]], eye[:2], atol=0.1)
    assert found_in(model, "A" * 80 + text + "A" * 80) == [(80, 160, 0)]
    inside = [next(membership(model, [Record("p", "", t)])).max() for t in (text, text[::-1])]
    assert inside[0] > 0.8 > 0.5 > inside[1]


def test_a_window_counts_only_as_clusters_whose_domains_are_as_long():
    """Cluster 1 has domains of 80 residues: 40 of its letters are none."""
    assert found_in(motif_model(), "H" * 40) == [(0, 40, -1)]
    assert found_in(motif_model(), "W" * 40) == [(0, 40, 0)]


def test_windows_of_a_long_protein_are_weighed_in_blocks(monkeypatch):
    text = "A" * 64 + "W" * 40 + "A" * 64 + "H" * 80 + "A" * 160 + "W" * 40
    model = motif_model()
    (whole,) = membership(model, [Record("p", "", text)], cluster=0)
    monkeypatch.setattr("seqscan.residues.domains.BLOCK_CELLS", 3)
    (part,) = membership(model, [Record("p", "", text)], cluster=0)
    np.testing.assert_allclose(part, whole, atol=1e-5)


def test_prior_is_kept_with_the_model_and_grows(tmp_path):
    model = motif_model()
    model.save(tmp_path / "model")
    again = Model.load(tmp_path / "model").prior
    np.testing.assert_allclose(again.parts, model.prior.parts, atol=1e-3)
    assert again.background == model.prior.background
    learned = DomainPrior(np.zeros(3), np.ones(3), np.ones((3, N_PARTS, 3), np.float32), 0.0)
    grown = again.with_clusters(learned)
    np.testing.assert_allclose(grown.log_length, [*again.log_length, 0.0])
    assert grown.parts.shape == (3, N_PARTS, 3)
    assert grown.background == again.background
    with pytest.raises(ShapeMismatch, match="same clusters"):
        replace(grown, spread=np.ones(2))


def test_model_without_a_prior():
    model = motif_model()
    with pytest.raises(ArtifactError, match="what the domains of its clusters look like"):
        list(find_domains(replace(model, prior=None), [Record("a", "", "MK")]))


def test_no_records():
    assert list(find_domains(motif_model(), [])) == []


def test_domain_that_ends_before_it_begins():
    one = np.ones(1, np.int64)
    with pytest.raises(ShapeMismatch, match="begin before it ends"):
        Domains(["a"], one, one, one.astype(np.int32), one.astype(np.float32))


@pytest.mark.parametrize("window", [64, 60])
def test_domains_of_a_protein_that_is_read_in_pieces(monkeypatch, window):
    """Also where the pieces do not end between two cells."""
    text = "A" * 64 + "W" * 40 + "A" * 64 + "H" * 80 + "A" * 16
    records = [Record("long", "", text), Record("short", "", "W" * 40)]
    whole = list(membership(motif_model(), records, cluster=1))
    monkeypatch.setattr("seqscan.encoder.abstract.WINDOW", window)
    for pieces, expected in zip(membership(motif_model(), records, cluster=1), whole, strict=True):
        np.testing.assert_allclose(pieces, expected, atol=1e-5)
