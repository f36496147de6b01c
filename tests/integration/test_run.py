"""From FASTA to the report: every file, every record once, same seed same bytes, whatever was killed."""

import contextlib
import csv
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from seqscan.checkpoint import Checkpoint
from seqscan.datasets import pfam10_labels, pfam10_sequences
from seqscan.discovery import DiscoveryConfig
from seqscan.encoder import save_encoder
from seqscan.errors import InputError, InvalidParameter
from seqscan.fasta import RejectionLedger, read_fasta
from seqscan.knowledge.finished import find_run
from seqscan.model import Model
from seqscan.pipeline import RunConfig, run
from seqscan.results import ASSIGNMENT_COLUMNS, Scores
from seqscan.scan import ScanConfig

STAGES = [
    "read", "embed", "neighbors", "scan", "finetune", "embed_again", "neighbors_again", "scan_again",
    "prior", "assign", "evaluate", "report",
]  # fmt: skip
TABLES = ("assignments.tsv", "clusters.tsv", "hierarchy.tsv", "clusters_members.tsv", "rejected.tsv")
SAME_BYTES = (*TABLES, "scores.json", "report.html", "model/head.safetensors", "model/manifest.json")
UNUSABLE = ">odd\nMK1L\n>Q0 once\nMKVLAAGG\n>Q0 twice\nMKVLAAGG\n"

# Imports once, then forks a process for each output folder that is asked for. The command line has no
# options to make training small.
SERVER = """
import os, sys, traceback
import sklearn.manifold, torch._dynamo  # what the stages would import, each process anew
from seqscan.discovery import DiscoveryConfig
from seqscan.finetune import FinetuneConfig
from seqscan.pipeline import RunConfig, run
from seqscan.scan import ScanConfig

source, encoder = sys.argv[1:]
config = RunConfig(
    DiscoveryConfig(
        n_clusters=4, neighbors="embedding", encoder=encoder, seed=3, threads=1,
        scan=ScanConfig(n_heads=2, n_steps=20),
        joint=FinetuneConfig(n_steps=30, batch_residues=512, crop_lengths=(16,), checkpoint_seconds=0.0),
    ),
    min_probability=0.3,
)
print("ready", flush=True)
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        try:
            done = []
            run(source, line.strip(), config, command="seqscan run", on_end=lambda s: done.append(s.status))
            os.write(1, (" ".join(["done", *done]) + "\\n").encode())
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os.write(1, f"pid {pid}\\n".encode())
    os.write(1, f"ended {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\\n".encode())
"""

# The real command line, but heads that are trained for a moment.
SHORT = """
from seqscan import cli, scan
defaults = scan.ScanConfig.__init__.__defaults__
scan.ScanConfig.__init__.__defaults__ = (2, 20, *defaults[2:])
cli.main()
"""


class Server:
    """Runs the pipeline in processes that can be killed."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.read() == ["ready"]

    def read(self):
        return self.process.stdout.readline().split()

    def run(self, output, wait_to_kill=None):
        """Return the status of each stage, or None if the run was killed when `wait_to_kill` returned."""
        print(output, file=self.process.stdin, flush=True)
        said = {}
        while "pid" not in said:
            word, *rest = self.read()
            said[word] = rest
        if wait_to_kill is not None:
            wait_to_kill(Path(f"/proc/{said['pid'][0]}"))
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(said["pid"][0]), signal.SIGKILL)
        while "ended" not in said:
            word, *rest = self.read()
            said[word] = rest
        status = int(said["ended"][0])
        assert status == 0 or (wait_to_kill is not None and status == -signal.SIGKILL)
        return said["done"] if status == 0 else None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten proteins of each of four families, records that cannot be used, and a small encoder."""
    import torch

    from seqscan.encoder import ConvEncoder, ConvEncoderConfig

    path = tmp_path_factory.mktemp("run")
    with pfam10_labels().open() as handle:
        family = {row["id"]: row["pfam"] for row in csv.DictReader(handle, delimiter="\t")}
    taken = {name: [] for name in sorted(set(family.values()))[:4]}
    for record in read_fasta(pfam10_sequences()):
        own = taken.get(family[record.id])
        if own is not None and len(own) < 10:
            own.append(record)
    records = [record for own in taken.values() for record in own]
    text = "".join(f">{record.id} {record.description}\n{record.sequence[:150]}\n" for record in records)
    (path / "in.fasta.gz").write_bytes(gzip.compress((text + UNUSABLE).encode()))
    lines = (f"{record.id}\t{family[record.id]}\n" for record in records)
    (path / "truth.tsv").write_text("id\tpfam\n" + "".join(lines))
    torch.manual_seed(0)
    save_encoder(ConvEncoder(ConvEncoderConfig(width=8, n_features=16, n_dimensions=8)), path / "encoder")
    return path


@pytest.fixture(scope="module")
def server(folder):
    server = Server(folder / "in.fasta.gz", folder / "encoder")
    yield server
    server.process.stdin.close()
    server.process.wait()


@pytest.fixture(scope="module")
def undisturbed(folder, server):
    assert server.run(folder / "undisturbed") == ["done"] * len(STAGES)
    return folder / "undisturbed"


def rows_of(path):
    header, *rows = [line.split("\t") for line in path.read_text().splitlines()]
    return tuple(header), rows


def assert_same_bytes(first, second):
    assert not list(second.rglob(".*")), "left by a kill"
    for name in (*SAME_BYTES, "model/encoder/weights.safetensors"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_all_tables_are_there_with_their_columns(undisturbed):
    names = {path.name for path in undisturbed.iterdir()}
    assert names == {*TABLES, "scores.json", "report.html", "model", "run.json", "work"}
    assert {path.stem for path in (undisturbed / "work" / "stages").iterdir()} == set(STAGES)
    header, rows = rows_of(undisturbed / "assignments.tsv")
    assert header == ASSIGNMENT_COLUMNS
    assert header == ("id", "cluster", "probability", "second_cluster", "second_probability", "status")
    header, clusters = rows_of(undisturbed / "clusters.tsv")
    assert header == (
        "cluster", "size", "representative", "mean_probability", "mean_length", "sd_length",
        "enriched_residues", "parent",
    )  # fmt: skip
    assert rows_of(undisturbed / "rejected.tsv")[0] == ("record", "id", "reason")
    found = [row[1] for row in rows if row[5] == "assigned"]
    assert {row[0]: int(row[1]) for row in clusters} == {name: found.count(name) for name in set(found)}
    members = [line.split("\t") for line in (undisturbed / "clusters_members.tsv").read_text().splitlines()]
    representative = {row[0]: row[2] for row in clusters}
    assert members == [[representative[row[1]], row[0]] for row in rows if row[5] == "assigned"]
    assert Model.load(undisturbed / "model").head.n_clusters >= len(clusters)
    assert Scores.read(undisturbed / "scores.json").labelled == {}
    assert "<html" in (undisturbed / "report.html").read_text()


def test_every_record_is_in_exactly_one_table(undisturbed):
    _, rows = rows_of(undisturbed / "assignments.tsv")
    _, rejected = rows_of(undisturbed / "rejected.tsv")
    statuses = [row[5] for row in rows]
    assert statuses.count("assigned") + statuses.count("unassigned") + len(rejected) == 40 + 3
    assert all((row[1] == "-1") == (row[5] == "unassigned") for row in rows)
    assert len({row[0] for row in rows}) == len(rows) == 41
    assert [(number, id) for number, id, _ in rejected] == [("41", "odd"), ("43", "Q0")]


def test_finished_run_has_the_vectors_of_its_own_proteins(undisturbed):
    found = find_run(undisturbed)
    order = [row[0] for row in rows_of(undisturbed / "assignments.tsv")[1]]
    assert sorted(found.ids) == sorted(order)
    assert found.ids != order, "the store's order is another one"
    expected = Model.load(undisturbed / "model").encoder.embed(found.corpus)
    np.testing.assert_allclose(found.store.vectors(), expected, rtol=0, atol=0.01 * np.abs(expected).max())


def test_second_call_skips_every_stage(undisturbed, server):
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*") if path.is_file()}
    assert server.run(undisturbed) == ["skipped"] * len(STAGES)
    after = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*") if path.is_file()}
    assert before.keys() == after.keys()
    assert {path.name for path in before if before[path] != after[path]} == {"run.json"}


def test_run_of_another_input_is_not_replaced(undisturbed, folder):
    (folder / "other.fasta").write_text(">a\nMKV\n")
    before = (undisturbed / "assignments.tsv").read_bytes()
    with pytest.raises(InvalidParameter, match=r"holds another run, of in\.fasta\.gz"):
        run(folder / "other.fasta", undisturbed, RunConfig())
    assert (undisturbed / "assignments.tsv").read_bytes() == before
    (folder / "foreign").mkdir()
    (folder / "foreign" / "run.json").write_text("[1]")
    with pytest.raises(InputError, match=r"run\.json: is not of a seqscan run"):
        run(folder / "other.fasta", folder / "foreign", RunConfig())


def test_same_seed_same_bytes(undisturbed, folder, server):
    server.run(folder / "again")
    assert_same_bytes(undisturbed, folder / "again")
    (folder / "again" / "clusters.tsv").unlink()
    assert server.run(folder / "again").count("done") == 1  # a table that vanished is written again
    assert_same_bytes(undisturbed, folder / "again")


def test_order_of_the_input_does_not_matter(folder):
    records = list(read_fasta(folder / "in.fasta.gz", rejected=RejectionLedger()))
    random.Random(1).shuffle(records)
    found = []
    for name, given in (("ordered", sorted(records, key=lambda r: r.id)), ("shuffled", records)):
        path = folder / f"{name}.fasta"
        path.write_text("".join(f">{r.id} {r.description}\n{r.sequence}\n" for r in given))
        config = DiscoveryConfig(
            n_clusters=4, neighbors="embedding", encoder=str(folder / "encoder"), finetune=False, seed=3,
            threads=1, scan=ScanConfig(n_heads=2, n_steps=20),
        )  # fmt: skip
        run(path, folder / name, RunConfig(config))
        _, rows = rows_of(folder / name / "assignments.tsv")
        assert [row[0] for row in rows] == [record.id for record in given]
        found.append(sorted(rows))
    assert found[0] == found[1]
    models = [(folder / name / "model" / "head.safetensors").read_bytes() for name in ("ordered", "shuffled")]
    assert models[0] == models[1]


def test_killed_after_each_stage(undisturbed, folder, server):
    output = folder / "killed"
    n_killed = 0
    for stage in STAGES[:-1]:
        note = output / "work" / "stages" / f"{stage}.json"

        def done(process, note=note):
            while not note.exists() and "Z" not in (process / "stat").read_text().rsplit(")")[-1]:
                time.sleep(0.001)

        n_killed += server.run(output, done) is None
    assert n_killed >= len(STAGES) - 3
    server.run(output)
    assert_same_bytes(undisturbed, output)


def test_killed_within_joint_learning(undisturbed, folder, server):
    output = folder / "killed_within"
    checkpoint = output / "work" / "finetune.checkpoint"
    steps = []

    def written(process):
        """Wait until a checkpoint that is later than the last one lies there."""
        while not checkpoint.exists() or steps_of(checkpoint) < (steps[-1] if steps else 0) + 3:
            assert "Z" not in (process / "stat").read_text().rsplit(")")[-1]

    for _ in range(2):
        assert server.run(output, written) is None
        steps.append(steps_of(checkpoint))
    assert 0 < steps[0] < steps[1] < 30
    assert server.run(output).count("skipped") == STAGES.index("finetune")
    assert not checkpoint.exists()
    assert_same_bytes(undisturbed, output)


def steps_of(checkpoint):
    return len(json.loads(Checkpoint.read(checkpoint).metadata["rows"]))


def test_killed_at_any_moment(undisturbed, folder, server):
    begun = time.monotonic()
    server.run(folder / "timed")
    seconds = time.monotonic() - begun
    delays = random.Random(0)
    output = folder / "struck"
    for _ in range(8):
        pause = delays.uniform(0.0, 0.6 * seconds)
        server.run(output, lambda process, pause=pause: time.sleep(pause))
    server.run(output)
    assert_same_bytes(undisturbed, output)


def test_command_line(folder, undisturbed):
    output = folder / "by_command"
    command = [
        sys.executable, "-c", SHORT, "run", str(folder / "in.fasta.gz"), "-o", str(output),
        "--clusters", "4", "--neighbors", "embedding", "--no-finetune", "--encoder", str(folder / "encoder"),
        "--truth", str(folder / "truth.tsv"), "--no-baselines", "--threads", "1",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"report: {output / 'report.html'}" in done.stdout
    assert {path.name for path in output.iterdir()} == {path.name for path in undisturbed.iterdir()}
    scores = Scores.read(output / "scores.json")
    assert 0.0 < scores.labelled["accuracy"] <= 1.0
    assert f"{scores.labelled['accuracy']:.4g}" in done.stdout
    # Its model gives the same proteins the same clusters.
    command = [
        sys.executable, "-m", "seqscan", "assign", str(folder / "in.fasta.gz"),
        "--model", str(output / "model"), "-o", str(folder / "assigned.tsv"), "--threads", "1",
    ]  # fmt: skip
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    _, first = rows_of(output / "assignments.tsv")
    _, second = rows_of(folder / "assigned.tsv")
    assert [row[:2] for row in first] == [row[:2] for row in second]
