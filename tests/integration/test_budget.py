"""A memory budget is kept, measured in a process of its own; a dry run says what the run then takes."""

import json
import subprocess
import sys

import pytest

from seqscan.datasets import pfam10_sequences
from seqscan.fasta import read_fasta

RUN = """
import sys
from seqscan.discovery import DiscoveryConfig
from seqscan.encoder import load_encoder
from seqscan.pipeline import RunConfig, run
from seqscan.cli.clustering import say_plan
from seqscan.memory import needed_bytes
from seqscan.scan import ScanConfig
source, output = sys.argv[1:]
discovery = DiscoveryConfig(
    neighbors="embedding", finetune=False, threads=1, scan=ScanConfig(n_heads=2, n_steps=40)
)
encoder = load_encoder()
budget = needed_bytes(400, discovery, encoder, streamed=True)
assert budget < needed_bytes(400, discovery, encoder, streamed=False)
config = RunConfig(discovery, memory_bytes=budget)
run(source, output, config)
say_plan(source, config)
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    path = tmp_path_factory.mktemp("budget")
    records = list(read_fasta(pfam10_sequences()))[::14][:400]
    (path / "in.fasta").write_text("".join(f">{r.id}\n{r.sequence[:200]}\n" for r in records))
    command = [sys.executable, "-c", RUN, path / "in.fasta", str(path / "out")]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return json.loads((path / "out" / "run.json").read_text()), finished.stdout.splitlines()


def test_peak_is_below_the_budget(done):
    memory = done[0]["memory_mb"]
    assert memory["peak"] <= memory["budget"]
    assert memory["predicted"] <= memory["budget"]
    assert done[0]["configuration"]["discovery"]["streamed"]


def test_clusters_are_found_in_shards(done):
    assert done[0]["notes"]["clusters_used"] >= 5
    assert done[0]["notes"]["agreement"] > 0.3


def test_dry_run_names_every_stage(done):
    run, said = done
    first, _, *rows, memory = said
    assert first.startswith("400 proteins")
    named = [row.split()[2].removesuffix(":") for row in rows[:-1]]
    assert named == [stage["stage"] for stage in run["stages"]]
    seconds = [float(row.split()[0]) for row in rows]
    assert seconds[-1] == pytest.approx(sum(seconds[:-1]), abs=1.0)
    assert seconds[-1] > 0.0
    assert memory == f"memory: {run['memory_mb']['predicted'] / 1e3:.1f} GB, working in shards"
