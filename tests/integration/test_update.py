"""Growth: old proteins stay where they are, known ones join them, new families get new clusters."""

import csv
import re
import shutil
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from seqscan.artifact import file_checksum, read_manifest
from seqscan.datasets import pfam10_labels, pfam10_sequences
from seqscan.discovery import DiscoveryConfig
from seqscan.errors import InvalidParameter, NoUsableRecord
from seqscan.fasta import RejectionLedger, read_fasta
from seqscan.knowledge.finished import find_run
from seqscan.model import Model
from seqscan.pipeline import RunConfig, run
from seqscan.residues.domains import find_domains
from seqscan.results import Assignments
from seqscan.scan import ScanConfig
from seqscan.update import UpdateConfig, update

N_KNOWN, N_OLD, N_NEW = 5, 50, 20
CONFIG = UpdateConfig(false_alarm_rate=0.05, align=False, threads=1)


def write(path, records):
    path.write_text("".join(f">{record.id} d\n{record.sequence}\n" for record in records))


def lines(path):
    return path.read_text().splitlines()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run on six families, and new records: of these, of two others, and unusable ones."""
    path = tmp_path_factory.mktemp("update")
    with pfam10_labels().open() as handle:
        family = {row["id"]: row["pfam"] for row in csv.DictReader(handle, delimiter="\t")}
    of = {}
    for record in read_fasta(pfam10_sequences()):
        of.setdefault(family[record.id], []).append(record)
    names = sorted(of)
    write(path / "old.fasta", [r for name in names[:N_KNOWN] for r in of[name][:N_OLD]])
    fresh = [r for name in names[: N_KNOWN + 2] for r in of[name][N_OLD : N_OLD + N_NEW]]
    write(path / "new.fasta", fresh)
    with (path / "new.fasta").open("a") as handle:
        handle.write(f">bad d\nMK1\n>{of[names[0]][0].id} again\nMKVLA\n>{fresh[0].id} twice\nMKV\n")
    discovery = DiscoveryConfig(
        n_clusters=N_KNOWN,
        neighbors="embedding",
        finetune=False,
        threads=1,
        scan=ScanConfig(n_heads=2, n_steps=150),
    )
    run(path / "old.fasta", path / "before", RunConfig(discovery))
    path.joinpath("family.tsv").write_text("".join(f"{r.id}\t{family[r.id]}\n" for r in fresh))
    return path


@pytest.fixture(scope="module")
def counts(folder):
    return update(folder / "before" / "model", folder / "new.fasta", folder / "after", CONFIG)


def test_old_and_new_in_are_out(folder, counts):
    before, after = folder / "before", folder / "after"
    ids = Assignments.read(after / "assignments.tsv").ids
    old = Assignments.read(before / "assignments.tsv").ids
    # The repeated id of an old protein is none of the new ones.
    new = [record.id for record in read_fasta(folder / "new.fasta", rejected=RejectionLedger())]
    rejected = [line.split("\t")[:2] for line in lines(after / "rejected.tsv")[1:]]
    assert len(ids) == len(set(ids))
    n_before, n_fresh = N_KNOWN * N_OLD, (N_KNOWN + 2) * N_NEW
    assert sorted(ids) == sorted({*old, *new})
    assert len(ids) == n_before + n_fresh == counts["n_old_lines_kept"] + counts["n_new"]
    numbers = [int(number) for number, _ in rejected]
    assert sorted(numbers) == [n_fresh + 1, n_fresh + 2, n_fresh + 3]
    parts = ("n_assigned_to_old_clusters", "n_assigned_to_new_clusters", "n_pooled")
    assert sum(counts[name] for name in parts) == n_fresh


def test_what_an_update_leaves_is_not_taken_for_a_run(folder, counts):
    assert find_run(folder / "before") is not None
    assert find_run(folder / "after") is None


def test_old_lines_are_kept_byte_for_byte(folder, counts):
    old = lines(folder / "before" / "assignments.tsv")
    assert lines(folder / "after" / "assignments.tsv")[: len(old)] == old


def test_new_families_have_clusters_of_their_own(folder, counts):
    found = Assignments.read(folder / "after" / "assignments.tsv")
    label = dict(zip(found.ids, found.labels.tolist(), strict=True))
    n_old = Model.load(folder / "before" / "model").head.n_clusters
    of = {}
    for line in lines(folder / "family.tsv"):
        id, family = line.split("\t")
        of.setdefault(family, []).append(label[id])
    *known, first, second = (of[name] for name in sorted(of))
    assert counts["n_new_clusters"] >= 2
    # Without alignments the second one, short and diverse, waits in the pool by half.
    found_new = [sum(number >= n_old for number in labels) for labels in (first, second)]
    assert min(found_new) >= 0.4 * N_NEW
    assert sum(found_new) >= 0.6 * 2 * N_NEW
    assert not {n for n in first if n >= n_old} & {n for n in second if n >= n_old}
    assert sum(0 <= n < n_old for labels in known for n in labels) >= 0.7 * N_KNOWN * N_NEW


def test_the_grown_model_knows_its_old_clusters(folder, counts):
    before, after = (Model.load(folder / name / "model") for name in ("before", "after"))
    n_old = before.head.n_clusters
    assert after.head.n_clusters == n_old + counts["n_new_clusters"]
    assert (after.head.prototypes[:n_old] == before.head.prototypes).all()
    assert after.content["grown"] == [counts["n_new_clusters"]]


def test_sizes_of_clusters_are_those_of_the_assignments(folder, counts):
    found = Assignments.read(folder / "after" / "assignments.tsv").labels.tolist()
    with (folder / "after" / "clusters.tsv").open() as handle:
        sizes = {int(row["cluster"]): int(row["size"]) for row in csv.DictReader(handle, delimiter="\t")}
    assert sizes == {number: found.count(number) for number in set(found) - {-1}}


def test_the_report_shows_the_proteins_that_were_added(folder, counts):
    html = (folder / "after" / "report.html").read_text()
    n_fresh = (N_KNOWN + 2) * N_NEW
    used = set(Assignments.read(folder / "after" / "assignments.tsv").labels[-n_fresh:].tolist()) - {-1}
    n_assigned = n_fresh - counts["n_pooled"]
    assert f"{n_assigned} proteins fall into {len(used)} clusters." in html
    assert "Proteins that new.fasta adds" in html
    assert "3 records could not be used" in html
    assert "Every record that was read is accounted for." in html
    assert 'id="residues-0"' in html


def test_the_pool_is_tried_again(folder, counts, tmp_path, caplog):
    # Nothing new but one protein: all that waited is still there, once, and as novel as it was.
    record = next(iter(read_fasta(folder / "old.fasta")))
    (tmp_path / "one.fasta").write_text(f">one d\n{record.sequence}\n")
    config = replace(CONFIG, false_alarm_rate=None)
    again = update(folder / "after" / "model", tmp_path / "one.fasta", tmp_path / "third", config)
    assert again["false_alarm_rate"] == CONFIG.false_alarm_rate
    assert "false alarm rate" not in caplog.text
    assert again["n_pooled_before"] == counts["n_pooled"]
    assert again["n_new"] == 1
    first, second = (Assignments.read(f / "assignments.tsv") for f in (folder / "after", tmp_path / "third"))
    assert sorted(second.ids) == sorted([*first.ids, "one"])
    kept = dict(zip(second.ids, second.labels.tolist(), strict=True))
    assert all(kept[id] == n for id, n in zip(first.ids, first.labels.tolist(), strict=True) if n >= 0)


def test_what_another_rate_does_to_the_pool_is_said(folder, counts, tmp_path, caplog):
    record = next(iter(read_fasta(folder / "old.fasta")))
    (tmp_path / "one.fasta").write_text(f">one d\n{record.sequence}\n")
    config = replace(CONFIG, false_alarm_rate=0.2)
    update(folder / "after" / "model", tmp_path / "one.fasta", tmp_path / "more", config)
    assert Model.load(tmp_path / "more" / "model").content["false_alarm_rate"] == 0.2
    assert "false alarm rate: 0.2, where the update before had 0.05" in caplog.text
    n = counts["n_pooled"]
    told = re.search(rf"of {n} proteins that waited, (\d+) are novel in place of (\d+)", caplog.text)
    now, then = map(int, told.groups())
    assert then <= now <= n


def test_same_bytes_and_resumed(folder, counts):
    update(folder / "before" / "model", folder / "new.fasta", folder / "again", CONFIG)
    for name in ("assignments.tsv", "clusters.tsv", "report.html", "update.json", "model/head.safetensors"):
        assert (folder / "again" / name).read_bytes() == (folder / "after" / name).read_bytes(), name
    done = []
    update(
        folder / "before" / "model", folder / "new.fasta", folder / "again", CONFIG,
        on_end=lambda stage: done.append(stage.status),
    )  # fmt: skip
    assert done == ["skipped"] * 3


def test_where_a_small_rate_cannot_be_told_the_default_is_the_smallest_and_said(folder, tmp_path, caplog):
    model = folder / "before" / "model"
    smallest = Model.load(model).novelty.smallest_rate
    assert smallest > 0.01
    with pytest.raises(InvalidParameter, match="less than the model can tell"):
        update(model, folder / "new.fasta", tmp_path / "out", replace(CONFIG, false_alarm_rate=0.01))
    assert not (tmp_path / "out").exists()
    found = update(model, folder / "new.fasta", tmp_path / "out", replace(CONFIG, false_alarm_rate=None))
    assert found["false_alarm_rate"] == found["configuration"]["false_alarm_rate"] == smallest
    assert found["n_novel"] > 0
    assert f"{smallest:g} in place of 0.01" in caplog.text


def test_update_says_what_it_was_made_from(folder, counts):
    assert counts["input"] == {"name": "new.fasta", "sha256": file_checksum(folder / "new.fasta")}
    assert counts["before"]["model"] == read_manifest(folder / "before" / "model", "model").files
    assert counts["before"]["assignments"] == file_checksum(folder / "before" / "assignments.tsv")


@pytest.mark.parametrize(("output", "held"), [("after", "update, of new"), ("other", "run, of old")])
def test_folder_of_another_run_or_update_is_not_replaced(folder, counts, tmp_path, output, held):
    shutil.copytree(folder / "before", folder / "other", dirs_exist_ok=True)
    record = next(iter(read_fasta(folder / "old.fasta")))
    (tmp_path / "one.fasta").write_text(f">one d\n{record.sequence}\n")
    before = (folder / output / "assignments.tsv").read_bytes()
    with pytest.raises(InvalidParameter, match=f"holds another {held}"):
        update(folder / "before" / "model", tmp_path / "one.fasta", folder / output, CONFIG)
    assert (folder / output / "assignments.tsv").read_bytes() == before


def test_the_folder_itself_is_not_written_to(folder):
    with pytest.raises(InvalidParameter, match="new folder"):
        update(folder / "before" / "model", folder / "new.fasta", folder / "before", CONFIG)


def test_grown_model_knows_what_its_new_domains_look_like(folder, counts):
    before, after = (Model.load(folder / name / "model") for name in ("before", "after"))
    assert len(after.prior.log_length) == after.head.n_clusters > before.head.n_clusters
    np.testing.assert_array_equal(after.prior.log_length[: before.head.n_clusters], before.prior.log_length)
    records = list(read_fasta(folder / "new.fasta", rejected=RejectionLedger()))[-5:]
    assert list(find_domains(after, records))


def test_standard_input_gives_what_the_file_gives(folder, counts, tmp_path, monkeypatch):
    with (folder / "new.fasta").open("rb") as handle:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=handle))
        piped = update(folder / "before" / "model", "-", tmp_path / "piped", CONFIG)
    assert piped == counts | {"input": {"name": "input", "sha256": file_checksum(folder / "new.fasta")}}
    assert lines(tmp_path / "piped" / "assignments.tsv") == lines(folder / "after" / "assignments.tsv")


@pytest.mark.parametrize(
    ("text", "reason"), [(">bad d\nMK1\n", "usable"), (None, "nothing new in 250 records")]
)
def test_input_without_a_new_protein(folder, tmp_path, text, reason):
    source = folder / "old.fasta"
    if text is not None:
        source = tmp_path / "bad.fasta"
        source.write_text(text)
    with pytest.raises(NoUsableRecord, match=reason):
        update(folder / "before" / "model", source, tmp_path / "out", CONFIG)
    n_read = len([line for line in lines(source) if line.startswith(">")])
    assert len(lines(tmp_path / "out" / "rejected.tsv")) == 1 + n_read
    assert not (tmp_path / "out" / "assignments.tsv").exists()


def test_tables_that_speak_of_the_new_proteins_alone_are_told(folder, counts, tmp_path, caplog):
    # As `seqscan scan` leaves a folder.
    shutil.copytree(folder / "before" / "model", tmp_path / "before" / "model")
    shutil.copy(folder / "before" / "assignments.tsv", tmp_path / "before")
    update(tmp_path / "before" / "model", folder / "new.fasta", tmp_path / "after", CONFIG)
    assert "clusters.tsv is not there" in caplog.text
    assert "assignments.tsv is not there" not in caplog.text
