"""The generator of benchmarks: any number of records from the same memory, with the sizes it states."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "generate.py"


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", PATH)
    module = sys.modules["generate"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def families(generate):
    return generate.Families(40, generate.Parameters(), n_dimensions=32, seed=1)


def test_a_block_is_the_same_whatever_is_asked_beside(generate, families):
    again = generate.Families(40, generate.Parameters(), n_dimensions=32, seed=1)
    for _ in range(2):
        family, sub = again.labels(3, 50)
        vectors = again.vectors(3, family, sub)
    np.testing.assert_array_equal(family, families.labels(3, 50)[0])
    np.testing.assert_array_equal(vectors, families.vectors(3, family, sub))
    assert list(again.sequences(3, family, sub)) == list(families.sequences(3, family, sub))
    assert not np.array_equal(family, families.labels(4, 50)[0])


def test_a_store_holds_the_blocks_whatever_its_parts(generate, families, tmp_path):
    store, labels = generate.write_vectors(tmp_path / "store", 20_000, families)
    family, sub = families.labels(0, 20_000)
    np.testing.assert_array_equal(labels, family)
    np.testing.assert_allclose(store.shards[0], families.vectors(0, family, sub), atol=1e-3)


def test_members_are_nearer_to_each_other_than_to_others(families):
    family, sub = families.labels(0, 2000)
    vectors = families.vectors(0, family, sub)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
    cosine = vectors @ vectors.T
    same = family[:, None] == family
    assert cosine[same].mean() > cosine[~same].mean() + 0.15


def test_sizes_fall_with_the_rank(families):
    family, _ = families.labels(0, 20_000)
    sizes = np.bincount(family, minlength=40)
    assert sizes[:5].min() > sizes[-5:].max()


def test_sequences_are_proteins_of_about_the_family_length(generate, families):
    family, sub = families.labels(0, 200)
    texts = list(families.sequences(0, family, sub))
    assert {residue for text in texts for residue in text} <= set(generate.RESIDUES)
    ratio = np.array([len(text) for text in texts]) / families.lengths[family]
    assert 0.8 < np.median(ratio) < 1.2


def test_statistics_of_what_is_known(generate):
    labels = np.repeat(np.arange(4), 30)
    vectors = np.eye(4, dtype=np.float32)[labels]
    found = generate.statistics(vectors, labels)
    assert found["within-family cosine, 50 %"] == pytest.approx(1.0)
    assert found["purity of 20 neighbors"] == 1.0
    assert found["nearest neighbor is of another family"] == 0.0
