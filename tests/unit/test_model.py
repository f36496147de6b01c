"""A model is saved whole, loaded checked, and applied block by block."""

from dataclasses import replace

import numpy as np
import pytest

from seqscan import model as module
from seqscan.artifact import write_artifact
from seqscan.encoder import save_encoder
from seqscan.errors import ArtifactError, InvalidParameter
from seqscan.head import ClusterHead
from seqscan.model import Model, load_clusters, record_blocks
from seqscan.novelty import fit_novelty
from seqscan.results import ASSIGNMENT_COLUMNS, NOVELTY_COLUMNS


@pytest.fixture
def model(tiny_encoder, family_records):
    generator = np.random.default_rng(0)
    vectors = tiny_encoder.embed([module.AMINO.encode(record.sequence) for record in family_records])
    prototypes = generator.normal(size=(4, 8)).astype(np.float32)
    return Model(
        tiny_encoder,
        ClusterHead(prototypes, vectors.mean(axis=0), np.eye(8, dtype=np.float32), 0.2),
        {"n_proteins": 36},
    )


def table(model, records, path, **options):
    (found,) = model.assign(records, **options)
    found.write(path)
    return path.read_bytes()


def test_round_trip_gives_the_same_bytes(model, family_records, tmp_path):
    model.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")
    assert loaded.content["n_proteins"] == 36
    assert loaded.content["n_clusters"] == 4
    assert loaded.head.temperature == 0.2
    first = table(model, family_records, tmp_path / "a.tsv")
    assert table(loaded, family_records, tmp_path / "b.tsv") == first
    loaded.save(tmp_path / "again")
    assert table(Model.load(tmp_path / "again"), family_records, tmp_path / "c.tsv") == first


@pytest.mark.parametrize("name", ["head.safetensors", "encoder/weights.safetensors", "encoder/manifest.json"])
def test_damage_is_found(model, tmp_path, name):
    model.save(tmp_path / "model")
    file = tmp_path / "model" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match="changed or damaged"):
        Model.load(tmp_path / "model")


def test_missing_parts_are_found(model, tmp_path):
    model.save(tmp_path / "model")
    (tmp_path / "model" / "head.safetensors").unlink()
    with pytest.raises(ArtifactError, match="missing"):
        Model.load(tmp_path / "model")
    with pytest.raises(ArtifactError):
        Model.load(tmp_path / "none")


def test_an_encoder_is_no_model(tiny_encoder, tmp_path):
    save_encoder(tiny_encoder, tmp_path / "encoder")
    with pytest.raises(ArtifactError, match="is an encoder, not a model"):
        Model.load(tmp_path / "encoder")


def test_head_of_another_encoder_is_found(tiny_encoder, tmp_path):
    with write_artifact(tmp_path / "model", "model", {"temperature": 0.1}) as folder:
        save_encoder(tiny_encoder, folder / "encoder")
        head = ClusterHead(
            np.ones((2, 3), np.float32), np.zeros(5, np.float32), np.ones((5, 3), np.float32), 0.1
        )
        module._write_head(head, folder / "head.safetensors")
    with pytest.raises(ArtifactError, match="do not fit"):
        Model.load(tmp_path / "model")


@pytest.mark.parametrize(("n_records", "n_residues"), [(1, 1 << 20), (5, 1 << 20), (4096, 100)])
def test_blocks_change_nothing(model, family_records, monkeypatch, n_records, n_residues):
    (whole,) = model.assign(family_records)
    monkeypatch.setattr(module, "_BLOCK_RECORDS", n_records)
    monkeypatch.setattr(module, "_BLOCK_RESIDUES", n_residues)
    blocks = list(model.assign(iter(family_records)))
    assert len(blocks) > 1
    assert [id for block in blocks for id in block.ids] == list(whole.ids)
    np.testing.assert_array_equal(np.concatenate([block.labels for block in blocks]), whole.labels)
    np.testing.assert_allclose(
        np.concatenate([block.probabilities for block in blocks]), whole.probabilities, atol=1e-5
    )


def test_assigning_reads_no_further_than_a_block(model, family_records, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_RECORDS", 4)
    taken = []
    next(model.assign(taken.append(record.id) or record for record in family_records))
    assert len(taken) == 4


def test_record_blocks_are_bounded(family_records, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_RESIDUES", 150)
    blocks = list(record_blocks(family_records))
    assert [record for block in blocks for record in block] == family_records
    assert {len(block) for block in blocks} == {3}
    assert list(record_blocks([])) == []


def test_min_probability(model, family_records):
    (found,) = model.assign(family_records, min_probability=0.9)
    assert ((found.labels == -1) == (found.probabilities < 0.9)).all()
    assert (found.labels == -1).sum() > 0


def test_novelty_columns_are_there_when_asked_for(model, family_records, tmp_path):
    with pytest.raises(InvalidParameter, match="cannot tell novel proteins"):
        next(model.assign(family_records, false_alarm_rate=0.1))
    vectors = model.encoder.embed([module.AMINO.encode(record.sequence) for record in family_records])
    labels = np.repeat(np.arange(3, dtype=np.int32), 12)
    held_out = np.arange(0, 36, 2)
    sureness = model.head.probabilities(vectors[held_out]).max(axis=1)
    novelty = fit_novelty(lambda rows: vectors[rows], labels, model.head.center, held_out, sureness, seed=0)
    replace(model, novelty=novelty).save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")
    # The usual columns are as they were.
    assert table(loaded, family_records, tmp_path / "a.tsv") == table(
        model, family_records, tmp_path / "b.tsv"
    )
    lines = table(loaded, family_records, tmp_path / "c.tsv", false_alarm_rate=0.5).decode().splitlines()
    header, *rows = (line.split("\t") for line in lines)
    assert tuple(header) == ASSIGNMENT_COLUMNS + NOVELTY_COLUMNS
    for _, cluster, *_, status, distance, share, reason in rows:
        novel = float(share) <= 0.5
        assert (cluster == "-1") == (status == "unassigned") == (reason == "novel") == novel
        assert float(distance) >= 0.0
    assert 0 < sum(row[-1] == "novel" for row in rows) < 36
    unsure = table(loaded, family_records, tmp_path / "d.tsv", false_alarm_rate=0.06, min_probability=0.9)
    assert b"\tnot sure\n" in unsure
    with pytest.raises(InvalidParameter, match="calibrated on 18 proteins"):
        next(loaded.assign((record for record in [None]), false_alarm_rate=0.01))


def test_what_a_model_knows_of_its_clusters_is_read_without_its_encoder(model, tmp_path, monkeypatch):
    replace(model, content={"tied": [[0, 2]]}).save(tmp_path / "model")
    monkeypatch.setattr(module, "load_encoder", None)
    head, tied = load_clusters(tmp_path / "model")
    np.testing.assert_array_equal(head.prototypes, model.head.prototypes)
    assert head.temperature == 0.2
    assert tied.tolist() == [[0, 2]]
    (tmp_path / "model" / "head.safetensors").unlink()
    with pytest.raises(ArtifactError, match="missing"):
        load_clusters(tmp_path / "model")
