"""The two estimators: scikit-learn's contract, and proteins in, clusters out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_info

from seqscan import SCANClusterer, SeqSCAN
from seqscan.encoder import save_encoder
from seqscan.errors import ArtifactError, DuplicateId, InvalidParameter
from seqscan.finetune import FinetuneConfig
from seqscan.scan import ScanConfig
from seqscan.threads import use_threads

GENERATOR = np.random.default_rng(0)
TRUTH = np.repeat([0, 1, 2], [20, 14, 8])
CORNERS = np.array([[0.0, 1.0], [-0.9, -0.5], [0.9, -0.5]])
X = CORNERS[TRUTH] + GENERATOR.normal(0, 0.1, (42, 2))


def small(n_clusters=3, **options):
    return SCANClusterer(n_clusters, **({"n_heads": 2, "n_steps": 20} | options))


@parametrize_with_checks([small()])
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("n_clusters", [3, None])
def test_clear_clusters_are_found_and_numbered_by_size(n_clusters):
    model = small(n_clusters, n_steps=60).fit(X)
    np.testing.assert_array_equal(model.labels_, TRUTH)
    assert model.labels_.dtype == np.int32
    assert model.n_features_in_ == 2


def test_predicts_what_it_was_not_fitted_on():
    model = small(n_steps=60, n_neighbors=3).fit(X[::2])
    np.testing.assert_array_equal(model.predict(X[1::2]), TRUTH[1::2])
    probabilities = model.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-6)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), model.predict(X))
    np.testing.assert_array_equal(model.predict(X[:1]), model.predict(X)[:1])


def test_clear_clusters_beside_a_direction_of_noise():
    vectors = np.eye(3)[TRUTH] + np.random.default_rng(0).normal(0, 0.1, (42, 3))
    np.testing.assert_array_equal(small(n_steps=60).fit_predict(vectors), TRUTH)


def test_labels_are_what_predict_says_and_y_is_ignored():
    model = small()
    np.testing.assert_array_equal(model.fit_predict(X), model.predict(X))
    first = clone(model).fit(X, TRUTH).head_.prototypes
    np.testing.assert_array_equal(first, clone(model).fit(X, TRUTH[::-1]).head_.prototypes)
    np.testing.assert_array_equal(first, model.head_.prototypes)


def test_works_in_a_pipeline():
    labels = make_pipeline(StandardScaler(), small(n_steps=60)).fit_predict(X)
    np.testing.assert_array_equal(labels, TRUTH)


def test_random_state():
    first, second = (small(random_state=np.random.RandomState(3)).fit(X).head_.prototypes for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, small(random_state=4).fit(X).head_.prototypes)
    np.testing.assert_array_equal(small(random_state=None, n_steps=60).fit_predict(X), TRUTH)


@pytest.mark.parametrize(
    "options",
    [
        {"n_clusters": 0}, {"n_clusters": 43}, {"n_clusters": 2.5}, {"n_clusters": True}, {"n_heads": 0},
        {"n_steps": 0}, {"n_neighbors": 0}, {"random_state": -1},
    ],
)  # fmt: skip
def test_impossible_options_are_named(options):
    (name,) = options
    with pytest.raises(InvalidParameter, match=name):
        small(**options).fit(X)


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_few_vectors_get_no_fewer_clusters_than_asked_for(n):
    vectors = np.eye(5)[:n]
    for n_clusters in range(1, n + 1):
        labels = small(n_clusters).fit_predict(vectors)
        assert labels.shape == (n,)
        if n_clusters in (1, n):
            assert len(set(labels)) == n_clusters
        assert len(set(labels)) <= n_clusters
    assert small(None).fit_predict(vectors).shape == (n,)


class Quick(SeqSCAN):
    """With few steps."""

    @property
    def config(self):
        return replace(
            super().config,
            scan=ScanConfig(n_heads=2, n_steps=20),
            joint=FinetuneConfig(n_steps=3, batch_residues=512, crop_lengths=(16,)),
        )


@pytest.fixture
def unfitted(tiny_encoder, tmp_path):
    save_encoder(tiny_encoder, tmp_path / "encoder")
    return Quick(3, neighbors="embedding", encoder=str(tmp_path / "encoder"), random_state=1, threads=1)


def test_proteins_in_clusters_out(unfitted, family_records, tmp_path):
    model = unfitted.fit(iter(family_records))
    found = model.assign(family_records)
    assert list(found.ids) == [record.id for record in family_records]
    np.testing.assert_array_equal(model.labels_, found.labels)
    assert set(found.labels) == {0, 1, 2}
    assert (np.diff(np.bincount(found.labels)) <= 0).all()

    model.save(tmp_path / "model")
    loaded = SeqSCAN.load(tmp_path)  # the folder of a run has its model by this name
    assert SeqSCAN.load(tmp_path / "model").get_params() == loaded.get_params()
    again = loaded.assign(family_records)
    np.testing.assert_array_equal(again.labels, found.labels)
    np.testing.assert_array_equal(again.probabilities, found.probabilities)
    assert loaded.get_params() == unfitted.get_params()

    refitted = unfitted.fit(family_records).assign(family_records)
    np.testing.assert_array_equal(refitted.probabilities, found.probabilities)


def test_frozen_encoder_stays(unfitted, family_records, tiny_encoder):
    before = tiny_encoder.state_dict()
    after = unfitted.set_params(finetune=False).fit(family_records).model_.encoder.state_dict()
    assert all(bool((before[name] == after[name]).all()) for name in before)


def test_nothing_fitted_or_nothing_given(unfitted, family_records, tmp_path):
    for use in (unfitted.assign, lambda records: unfitted.save(tmp_path / "model")):
        with pytest.raises(InvalidParameter, match="fit or load first"):
            use(family_records)
    with pytest.raises(InvalidParameter, match="at least 4"):
        SeqSCAN(2, neighbors="embedding").fit(family_records[:3])
    for no_records in ("proteins.fasta", tmp_path, None, family_records[0]):
        with pytest.raises(InvalidParameter, match=r"are no records\. Give list\(read_fasta\(path\)\)"):
            SeqSCAN(2, neighbors="embedding").fit(no_records)
    for no_records in ([("p1", "MKV")], ["MKV"]):
        with pytest.raises(InvalidParameter, match=r"is not a Record\. Give what read_fasta"):
            SeqSCAN(2, neighbors="embedding").fit(no_records)
    with pytest.raises(ArtifactError):
        SeqSCAN.load(tmp_path / "none")


def test_an_id_that_comes_twice_is_refused(family_records):
    for again in (family_records[3], replace(family_records[4], id=family_records[3].id)):
        with pytest.raises(DuplicateId, match=r"record 37 \(f0m3\): duplicate id, first used by record 4"):
            SeqSCAN(3, neighbors="embedding").fit([*family_records, again])


@pytest.mark.parametrize(
    "options",
    [
        {"neighbors": "blast"}, {"n_clusters": 1}, {"n_clusters": -1}, {"n_clusters": "auto"}, {"threads": 0},
        {"random_state": -1}, {"random_state": np.random.default_rng(0)}, {"random_state": "one"},
    ],
)  # fmt: skip
def test_impossible_options_of_seqscan(options, family_records):
    (name,) = options
    said = {"n_clusters": r"2 or more\. None finds the number", "random_state": "must be"}.get(name, "")
    with pytest.raises(InvalidParameter, match=f"{name}.*{said}"):
        SeqSCAN(**options).fit(family_records)


def test_an_estimator_of_records(unfitted, family_records):
    fitted = clone(unfitted).set_params(n_clusters=2, finetune=False)
    assert unfitted.n_clusters == 3
    assert "n_clusters=2" in repr(fitted)
    labels = fitted.fit_predict(iter(family_records))
    assert set(labels) == {0, 1}
    assert not hasattr(clone(fitted), "labels_")


def test_fit_leaves_the_threads_of_the_process_as_they_were(unfitted, family_records):
    use_threads(3)
    try:
        unfitted.set_params(finetune=False).fit(family_records)
        assert torch.get_num_threads() == 3
        assert {pool["num_threads"] for pool in threadpool_info()} == {3}
    finally:
        use_threads(1)
