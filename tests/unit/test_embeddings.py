"""Vectors of other programs: every layout, and ids that must fit in both directions."""

import builtins

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from seqscan.cli import app
from seqscan.embeddings import read_embeddings
from seqscan.errors import InputError, MissingDependency, OneCluster
from seqscan.results import Assignments
from seqscan.store import write_store

h5py = pytest.importorskip("h5py")
IDS = ["sp|P1|A", "P2", "P3"]
VECTORS = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float16).astype(np.float32)


def write(path, kind):
    if kind == "npy":
        np.save(path / "v.npy", VECTORS)
        (path / "v.ids.txt").write_text("\n".join(IDS) + "\n")
        return path / "v.npy"
    if kind == "lists":
        pq.write_table(pa.table({"embedding": list(VECTORS), "id": IDS}), path / "v.parquet")
        return path / "v.parquet"
    if kind == "columns":
        pq.write_table(pa.table({"id": IDS} | {f"d{i}": VECTORS[:, i] for i in range(4)}), path / "v.parquet")
        return path / "v.parquet"
    if kind == "store":
        write_store(path / "store", IDS, np.array([5, 6, 7]), lambda rows: VECTORS[rows], {})
        return path / "store"
    with h5py.File(path / "v.h5", "w") as file:
        for id, vector in zip(IDS, VECTORS, strict=True):
            residues = np.stack([vector - 1, vector + 1]).astype(np.float32)
            file[id] = residues if kind == "residues" else vector.astype(np.float16)
    return path / "v.h5"


@pytest.mark.parametrize("kind", ["npy", "lists", "columns", "store", "vectors", "residues"])
def test_every_layout_gives_the_same(tmp_path, kind):
    found = read_embeddings(write(tmp_path, kind))
    assert found.vectors.dtype == np.float32
    np.testing.assert_allclose(found.in_order_of(IDS, source="v"), VECTORS, atol=1e-6)
    np.testing.assert_allclose(found.in_order_of(IDS[::-1], source="v"), VECTORS[::-1], atol=1e-6)


def test_slash_in_an_id_and_kept_headers(tmp_path):
    with h5py.File(tmp_path / "v.hdf5", "w") as file:
        file["P1/4-80"] = VECTORS[0]
        file["0"] = VECTORS[1]
        file["0"].attrs["original_id"] = "P2"
    assert sorted(read_embeddings(tmp_path / "v.hdf5").ids) == ["P1/4-80", "P2"]


def test_datasets_that_cannot_be_used(tmp_path):
    with h5py.File(tmp_path / "twice.h5", "w") as file:
        for name in "01":
            file[name] = VECTORS[0]
            file[name].attrs["original_id"] = "P1"
    with pytest.raises(InputError, match="ids twice, for instance P1"):
        read_embeddings(tmp_path / "twice.h5")
    with h5py.File(tmp_path / "text.h5", "w") as file:
        file["ids"] = [b"P1", b"P2"]
    with pytest.raises(InputError, match=r"dataset ids holds something else than numbers\. Give one dataset"):
        read_embeddings(tmp_path / "text.h5")
    pq.write_table(pa.table({"id": ["a"], "v": [["x"]]}), tmp_path / "v.parquet")
    with pytest.raises(InputError, match="something else than numbers"):
        read_embeddings(tmp_path / "v.parquet")


def test_ids_are_compared_in_both_directions(tmp_path):
    found = read_embeddings(write(tmp_path, "npy"))
    with pytest.raises(InputError, match=r"no vector for 1 of 2 proteins, for instance P9.*look like sp\|P1"):
        found.in_order_of(["P2", "P9"], source="v.npy")
    with pytest.raises(InputError, match=r"2 of 3 vectors without a protein, for instance sp\|P1\|A, P3"):
        found.in_order_of(["P2"], source="v.npy")
    assert len(found.in_order_of(["P2"], source="v.npy", ignored={"sp|P1|A", "P3"})) == 1


def broken(path, what):
    if what == "no such file":
        return path / "none.npy"
    if what == "no known kind":
        (path / "v.txt").write_text("1 2 3")
        return path / "v.txt"
    if what in ("cannot be read as HDF5", "cannot be read as Parquet"):
        target = path / ("v.h5" if "HDF5" in what else "v.parquet")
        target.write_text("hello")
        return target
    if what == "cannot be read as an array":
        (path / "v.npy").touch()
        (path / "v.ids.txt").write_text("\n".join(IDS))
        return path / "v.npy"
    vectors, ids = VECTORS.copy(), list(IDS)
    if what == "no ids":
        np.save(path / "v.npy", vectors)
        return path / "v.npy"
    if what == "3 vectors and 2 ids":
        ids = ids[:2]
    if what == "ids twice":
        ids[2] = ids[1]
    if what == "not finite":
        vectors[1, 1] = np.nan
    if what == "something else than numbers":
        vectors = np.array([["a"], ["b"], ["c"]])
    np.save(path / "v.npy", vectors[0] if what == "holds no vectors" else vectors)
    (path / "v.ids.txt").write_text("\n".join(ids))
    return path / "v.npy"


@pytest.mark.parametrize(
    "what",
    [
        "no such file", "no known kind", "cannot be read as HDF5", "cannot be read as Parquet", "no ids",
        "3 vectors and 2 ids", "ids twice", "not finite", "holds no vectors", "cannot be read as an array",
        "something else than numbers",
    ],
)  # fmt: skip
def test_errors_say_what_is_wrong(tmp_path, what):
    path = broken(tmp_path, what)
    with pytest.raises(InputError, match=what):
        read_embeddings(path)


@pytest.mark.parametrize(
    ("second", "what"),
    [
        ("P2\tx", r"line 2 of v\.ids\.txt has the id 'P2\\tx', which holds a tab"),
        (" ", r"line 2 .* has no id"),
    ],
)
def test_ids_that_cannot_stand_in_a_table(tmp_path, second, what):
    path = write(tmp_path, "npy")
    (tmp_path / "v.ids.txt").write_text(f"P1\n{second}\nP3\n")
    with pytest.raises(InputError, match=what + r".*\. Give each vector an id"):
        read_embeddings(path)
    pq.write_table(pa.table({"id": ["P1", None], "v": [[1.0], [2.0]]}), tmp_path / "v.parquet")
    with pytest.raises(InputError, match="vector 2 has no id"):
        read_embeddings(tmp_path / "v.parquet")


def test_vectors_of_different_length(tmp_path):
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["a"], file["b"] = VECTORS[0], VECTORS[1, :3]
    with pytest.raises(InputError, match=r"differ in length: 3 \(such as b\), 4 \(such as a\)"):
        read_embeddings(tmp_path / "v.h5")
    pq.write_table(pa.table({"id": ["a", "b"], "v": [[1.0], [1.0, 2.0]]}), tmp_path / "v.parquet")
    with pytest.raises(InputError, match=r"differ in length: 1 \(such as a\), 2 \(such as b\)"):
        read_embeddings(tmp_path / "v.parquet")
    pq.write_table(pa.table({"id": ["a", "b"], "v": [[1.0], None]}), tmp_path / "v.parquet")
    with pytest.raises(InputError, match="no vector for b"):
        read_embeddings(tmp_path / "v.parquet")


def test_without_h5py(tmp_path, monkeypatch):
    path = write(tmp_path, "vectors")
    real = builtins.__import__

    def without(name, *rest, **options):
        if name == "h5py":
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependency, match=r"seqscan\[h5\]"):
        read_embeddings(path)


def test_command_clusters_vectors_in_the_order_of_the_fasta_file(tmp_path):
    generator = np.random.default_rng(0)
    centers = generator.normal(size=(3, 8))
    truth = generator.integers(3, size=90)
    with h5py.File(tmp_path / "v.h5", "w") as file:
        for i in generator.permutation(90):
            file[f"p{i}"] = centers[truth[i]] + generator.normal(size=8) * 0.05
    (tmp_path / "in.fasta").write_text("".join(f">p{i}\nMKVLA\n" for i in range(90)))
    arguments = ["cluster", str(tmp_path / "v.h5"), "-o", str(tmp_path / "out.tsv"), "--clusters", "3"]
    done = CliRunner().invoke(app, [*arguments, "--fasta", str(tmp_path / "in.fasta"), "--threads", "1"])
    assert done.exit_code == 0, done.output
    assert "90 proteins in 3 clusters" in done.output
    found = Assignments.read(tmp_path / "out.tsv")
    assert found.ids == [f"p{i}" for i in range(90)]
    assert len({(a, b) for a, b in zip(truth, found.labels, strict=True)}) == 3


def test_command_says_which_vectors_are_left_out(tmp_path):
    (tmp_path / "in.fasta").write_text(">sp|P1|A\nMKVLA\n>P2\nMKVLA\n>P3\nMK1\n")
    arguments = ["cluster", str(write(tmp_path, "npy")), "-o", str(tmp_path / "out.tsv"), "--threads", "1"]
    arguments += ["--clusters", "2"]
    done = CliRunner().invoke(app, [*arguments, "--fasta", str(tmp_path / "in.fasta")])
    assert done.exit_code == 0, done.output
    assert "rejected: 1 x character '1'" in done.output
    assert Assignments.read(tmp_path / "out.tsv").ids == IDS[:2]
    assert (tmp_path / "out.rejected.tsv").read_text().splitlines()[1].startswith("3\tP3\t")


def test_command_needs_two_vectors(tmp_path):
    np.save(tmp_path / "v.npy", VECTORS[:1])
    (tmp_path / "v.ids.txt").write_text("P1\n")
    done = CliRunner().invoke(app, ["cluster", str(tmp_path / "v.npy"), "-o", str(tmp_path / "out.tsv")])
    assert isinstance(done.exception, InputError)


def test_command_refuses_one_cluster_of_few_as_of_many(tmp_path):
    done = CliRunner().invoke(
        app, ["cluster", str(write(tmp_path, "npy")), "-o", str(tmp_path / "out.tsv"), "--threads", "1"]
    )
    assert isinstance(done.exception, OneCluster)
    assert not (tmp_path / "out.tsv").exists()
