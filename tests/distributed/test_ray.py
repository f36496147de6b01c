"""A Ray cluster on this machine: the store of one process, also where a worker is killed."""

import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from seqscan.corpus import write_corpus
from seqscan.embed import embed_corpus
from seqscan.encoder import load_encoder
from seqscan.fasta import RejectionLedger, read_fasta
from seqscan.store import EmbeddingStore

pytest.importorskip("ray")

EMBED = """
import sys
from seqscan import store
from seqscan.cli import main
store.PART_ROWS = 7
sys.argv = ["seqscan", "embed", *sys.argv[1:], "--threads", "1"]
main()
"""

# The encoder kills the process that it computes in, the first time it comes to the second part.
KILL = """
import os, sys
from pathlib import Path
from signal import SIGKILL
from seqscan import store
from seqscan.corpus import Corpus
from seqscan.embed import embed_on_ray
from seqscan.encoder import load_encoder

store.PART_ROWS = 7
corpus, output, killed = map(Path, sys.argv[1:])

class Fatal:
    def __init__(self):
        self.encoder = load_encoder()
    def cpu(self):
        return self
    def to(self, device):
        return self
    def embed(self, sequences):
        if len(sequences[0]) == 47 and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), SIGKILL)
        return self.encoder.embed(sequences)

embed_on_ray(Fatal(), Corpus.open(corpus), output, {})
"""


@pytest.fixture
def fasta(tmp_path):
    generator = np.random.default_rng(0)
    texts = ["".join(generator.choice(list("ACDEFGHIKLMNPQRSTVWY"), 40 + i)) for i in range(30)]
    path = tmp_path / "in.fasta"
    path.write_text("".join(f">p{i}\n{texts[i % 30]}\n" for i in range(40)) + ">bad\nM1K\n")
    return path


def embed(*arguments):
    command = [sys.executable, "-c", EMBED, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_store_is_that_of_one_process(fasta, tmp_path):
    assert embed(fasta, "-o", tmp_path / "one").returncode == 0
    done = embed(fasta, "-o", tmp_path / "ray", "--ray", "local")
    assert done.returncode == 0, done.stderr
    assert "40 vectors" in done.stdout
    assert "WARNING" not in done.stderr
    for name in ("vectors-00000.npy", "records.parquet"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "ray" / name).read_bytes()
    assert "bad" in (tmp_path / "ray.rejected.tsv").read_text()
    assert not {"ray.partial", "ray.corpus"} & {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "ray://localhost:{}", "127.0.0.1:port"])
def test_an_address_where_nothing_answers_is_refused_at_once(fasta, tmp_path, address):
    with socket.socket() as taken:  # by none that listens
        taken.bind(("127.0.0.1", 0))
        address = address.format(taken.getsockname()[1])
        begun = time.monotonic()
        done = embed(fasta, "-o", tmp_path / "ray", "--ray", address)
    assert done.returncode == 2
    assert f"ray='{address}': nothing answers there" in done.stderr
    assert "Give the address that" in done.stderr
    assert time.monotonic() - begun < 60
    assert {path.name for path in tmp_path.iterdir()} == {"in.fasta"}


def test_what_a_killed_worker_leaves_another_makes(fasta, tmp_path):
    corpus = write_corpus(tmp_path / "corpus", read_fasta(fasta, rejected=RejectionLedger()))
    whole = embed_corpus(load_encoder(), corpus, tmp_path / "one", {})
    arguments = [corpus.path, tmp_path / "ray", tmp_path / "killed"]
    subprocess.run([sys.executable, "-c", KILL, *map(str, arguments)], check=True)
    assert (tmp_path / "killed").exists()
    # Other parts, other batches: the same but for rounding.
    np.testing.assert_allclose(EmbeddingStore.open(tmp_path / "ray").vectors(), whole.vectors(), atol=2e-3)
