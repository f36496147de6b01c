"""Residue maps: contributions sum to the logit, exactly."""

import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqscan.alphabet import AMINO
from seqscan.encoder import ConvEncoder, ConvEncoderConfig, WordEncoder, WordEncoderConfig
from seqscan.encoder import abstract as encoder_module
from seqscan.encoder import words as words_module
from seqscan.errors import InvalidParameter
from seqscan.fasta import Record
from seqscan.head import ClusterHead
from seqscan.model import Model
from seqscan.residues.explain import explain

sequences = st.lists(st.text(AMINO.symbols[1:21], min_size=1, max_size=60), min_size=1, max_size=5)


def random_model(seed, *, temperature=0.1, n_clusters=4):
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    encoder = ConvEncoder(
        ConvEncoderConfig(width=4, n_features=6, kernel=3, dilations=(1, 2), n_dimensions=5)
    )
    torch.nn.init.normal_(encoder.sharpness)
    shapes = ((n_clusters, 4), (5,), (5, 4))
    arrays = (generator.normal(size=shape).astype(np.float32) for shape in shapes)
    return Model(encoder.eval(), ClusterHead(*arrays, temperature))


def check(model, texts, *, cluster=None, **options):
    records = [Record(f"p{i}", "", text) for i, text in enumerate(texts)]
    maps = list(explain(model, records, cluster=cluster, **options))
    logits = model.head.logits(model.encoder.embed([AMINO.encode(text) for text in texts]))
    assert [map.id for map in maps] == [record.id for record in records]
    for map, row, text in zip(maps, logits, texts, strict=True):
        assert map.residues == text
        if cluster is None:
            assert row[map.label] == pytest.approx(row.max(), abs=1e-4)
        else:
            assert map.label == cluster
        assert map.logit == pytest.approx(float(row[map.label]), abs=1e-4)
    return maps


@settings(max_examples=20, deadline=None)
@given(sequences, st.integers(0, 1000), st.sampled_from([None, 0, 3]), st.integers(1, 100))
def test_map_sums_to_the_logit(texts, seed, cluster, max_residues):
    check(random_model(seed), texts, cluster=cluster, max_residues=max_residues)


@pytest.mark.parametrize("most", [1, 256])
def test_words_are_looked_up_as_residue_vectors_would_be(most, monkeypatch):
    monkeypatch.setattr(words_module, "MAX_DIRECTIONS", most)
    torch.manual_seed(7)
    encoder = WordEncoder(WordEncoderConfig(n_features=6, n_dimensions=5)).eval()
    torch.nn.init.normal_(encoder.project.weight)
    generator = np.random.default_rng(7)
    codes = [generator.integers(1, 21, length).astype(np.uint8) for length in (1, 40, 3, 90, 2500)]
    directions, reference = torch.randn(4, 6), torch.randn(6)

    def choose(vectors):
        return np.argsort(vectors[:, :4], axis=1)[:, :2]

    call = (codes, directions, reference, choose)
    found, expected = {}, {}
    for into, terms_of in (
        (found, encoder.residue_terms),
        (expected, super(WordEncoder, encoder).residue_terms),
    ):
        for rows, vectors, chosen, terms in terms_of(*call, max_residues=100):
            for line, row in enumerate(rows.tolist()):
                into[row] = (vectors[line], chosen[line], terms[line, : len(codes[row])])
    assert found.keys() == expected.keys() == set(range(5))
    for row, parts in found.items():
        for one, other in zip(parts, expected[row], strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_cells_of_words_are_looked_up_as_residue_vectors_would_be():
    torch.manual_seed(7)
    encoder = WordEncoder(WordEncoderConfig(n_features=6, n_dimensions=5)).eval()
    generator = np.random.default_rng(7)
    codes = [generator.integers(1, 21, length).astype(np.uint8) for length in (1, 40, 8, 90, 2500)]
    found = dict(encoder.cell_terms(codes, 8, max_residues=100))
    expected = dict(super(WordEncoder, encoder).cell_terms(codes, 8, max_residues=100))
    assert found.keys() == expected.keys() == set(range(5))
    for row, cells in found.items():
        np.testing.assert_allclose(cells, expected[row], atol=1e-7)


def test_map_of_words_sums_to_the_logit():
    model = replace(random_model(6), encoder=WordEncoder(WordEncoderConfig(n_features=6, n_dimensions=5)))
    check(model, ["MKVLAACDEFGHIKLMWYACD", "M", "WW" * 1500], against_runner_up=True)


def test_map_of_a_long_protein_sums_to_the_logit(monkeypatch):
    generator = np.random.default_rng(0)
    text = AMINO.decode(generator.integers(1, 21, 500).astype(np.uint8))
    model = random_model(1)
    (whole,) = check(model, [text])
    monkeypatch.setattr(encoder_module, "WINDOW", 64)
    (windows,) = check(model, [text])
    np.testing.assert_allclose(windows.contributions, whole.contributions, atol=1e-5)


def test_map_sums_to_the_logit_in_half_precision(monkeypatch):
    monkeypatch.setattr(encoder_module, "fast_dtype", lambda device: torch.bfloat16)
    model = random_model(2)
    records = [Record("a", "", "MKVLAACDEFGH"), Record("b", "", "ACDE")]
    maps = list(explain(model, records))
    logits = model.head.logits(model.encoder.embed([AMINO.encode(record.sequence) for record in records]))
    for map, row in zip(maps, logits, strict=True):
        assert map.logit == pytest.approx(float(row[map.label]), abs=1e-4)


def test_what_makes_the_cluster_gets_the_credit():
    # The only trimer the prototype listens to is WWW's; the convolutions are silent.
    model = random_model(0)
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.zero_()
        model.encoder.project.weight[0, 0] = 1.0
        w = AMINO.encode("W")[0]
        model.encoder.trimers.weight[(int(w) * len(AMINO) + int(w)) * len(AMINO) + int(w), 0] = 1.0
    eye = np.eye(5, dtype=np.float32)
    head = ClusterHead(eye[:2], np.zeros(5, np.float32), eye, 0.1)
    (map,) = check(Model(model.encoder, head), ["AAWWWAAA"])
    assert map.label == 0
    assert np.flatnonzero(map.contributions).tolist() == list(range(7)), "what the residue vector sees"
    assert np.ptp(map.contributions[:7]) == pytest.approx(0.0, abs=1e-6)
    model.encoder.reach = 0
    (map,) = check(Model(model.encoder, head), ["AAWWWAAA"])
    assert np.flatnonzero(map.contributions).tolist() == [3]


def test_a_map_that_is_spread_still_sums_to_the_logit():
    (map,) = explain(random_model(4), [Record("a", "", "MKVLAACDEFGHIKLMWYACD")], against_runner_up=True)
    wide = map.spread(25)
    assert wide.logit == pytest.approx(map.logit, abs=1e-5)
    assert wide.lead.sum() == pytest.approx(map.lead.sum(), abs=1e-5)
    assert np.ptp(wide.contributions) < np.ptp(map.contributions)
    np.testing.assert_array_equal(map.spread(0).contributions, map.contributions)


def test_contributions_need_no_bias_where_the_center_can_be_reached():
    model = random_model(3)
    codes = AMINO.encode("MKVLAACDEFGHIKLM")
    center = model.encoder.embed([codes])[0]
    head = ClusterHead(model.head.prototypes, center, model.head.projection, 0.1)
    (map,) = check(Model(model.encoder, head), ["WWWWYYYYPPPP"])
    assert map.bias == pytest.approx(0.0, abs=1e-6)


def test_bias_is_what_the_affine_map_cannot_reach():
    model = random_model(3)
    with torch.no_grad():
        # Its second dimension repeats the first, and the center has them apart.
        model.encoder.project.weight[1] = model.encoder.project.weight[0]
        model.encoder.project.bias[:2] = 0.0
    center = np.array([1, -1, 0, 0, 0], np.float32)
    head = ClusterHead(model.head.prototypes, center, model.head.projection, 0.1)
    (map,) = check(Model(model.encoder, head), ["WWWWYYYYPPPP"])
    assert abs(map.bias) > 1e-2
    assert np.abs(map.contributions).max() < 10.0, "the reference is the shortest"


def test_lead_over_the_runner_up_sums_to_the_difference_of_the_logits():
    model = random_model(5)
    records = [Record("a", "", "MKVLAACDEFGH"), Record("b", "", "ACDE"), Record("c", "", "WYWYKKRRDE")]
    logits = model.head.logits(model.encoder.embed([AMINO.encode(record.sequence) for record in records]))
    for cluster in (None, 1):
        maps = explain(model, records, cluster=cluster, against_runner_up=True)
        for map, row in zip(maps, logits, strict=True):
            others = np.delete(np.arange(4), map.label)
            assert map.runner_up == others[row[others].argmax()]
            difference = float(row[map.label] - row[map.runner_up])
            assert map.lead.sum() + map.lead_bias == pytest.approx(difference, abs=1e-4)
            assert map.logit == pytest.approx(float(row[map.label]), abs=1e-4)


def test_one_cluster_has_no_runner_up():
    with pytest.raises(InvalidParameter, match="no runner-up"):
        list(explain(random_model(0, n_clusters=1), [Record("a", "", "MK")], against_runner_up=True))


@pytest.mark.parametrize("cluster", [-1, 4])
def test_no_such_cluster(cluster):
    with pytest.raises(InvalidParameter, match="0 to 3"):
        list(explain(random_model(0), [Record("a", "", "MK")], cluster=cluster))


def test_no_records():
    assert list(explain(random_model(0), [])) == []


def test_memory_does_not_hold_the_residue_vectors_of_a_long_protein(monkeypatch):
    """Every piece is let go before the next is computed."""
    monkeypatch.setattr(encoder_module, "WINDOW", 64)
    model = random_model(1)
    alive, most = weakref.WeakSet(), []
    plain = model.encoder.residue_vectors

    def watched(codes, mask):
        residues, weights = plain(codes, mask)
        alive.add(residues)
        most.append(sum(r.shape[1] for r in alive))
        return residues, weights

    monkeypatch.setattr(model.encoder, "residue_vectors", watched)
    list(explain(model, [Record("titin", "", "MKVLAACDEF" * 300)]))
    assert len(most) > 40
    assert max(most) <= 3 * (64 + 2 * model.encoder.margin)
