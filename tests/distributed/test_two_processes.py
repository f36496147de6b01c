"""Two gloo processes do what one does with the joined batch."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import adjusted_rand_score

from seqscan.corpus import write_corpus
from seqscan.distributed import mean_over_ranks, n_ranks, process_group, rank, wait_for_all
from seqscan.encoder import load_encoder
from seqscan.fasta import Record
from seqscan.losses import scan_loss
from seqscan.pretrain import HomologPairs
from seqscan.pretrain.pairs import corpus_checksum
from seqscan.results import Assignments
from seqscan.scaling import ScalingConfig, cluster_store
from seqscan.scan import StreamConfig
from seqscan.scan.streaming import pair_gradient
from seqscan.store import write_store

LOSS = """
import sys, torch
from seqscan.distributed import mean_over_ranks, n_ranks, process_group, rank, wait_for_all
from seqscan.losses import scan_loss
with process_group():
    inputs, weights = torch.load(sys.argv[1])
    weights.requires_grad_(True)
    own = inputs[:, rank() :: n_ranks()] @ weights
    scan_loss(*own, entropy_weight=2.0, mean=lambda p: mean_over_ranks(p.mean(0))).total.backward()
    torch.save(mean_over_ranks(weights.grad), f"{sys.argv[1]}.{rank()}")
    wait_for_all()
"""


@pytest.fixture
def start_torchrun(tmp_path):
    """Return a function that runs a program in two processes, which may fail."""

    def start(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "program.py"
        path.write_text(program)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        return subprocess.run(
            [*command, path, *arguments], capture_output=True, text=True, timeout=400, check=False
        )

    return start


@pytest.fixture
def torchrun(start_torchrun):
    """Return a function that runs a program in two processes and returns what it prints."""

    def run(program: str, *arguments: str) -> str:
        done = start_torchrun(program, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_gradients_of_two_processes_are_those_of_one_on_the_joined_batch(torchrun, tmp_path):
    torch.manual_seed(0)
    inputs, weights = torch.randn(2, 32, 6), torch.randn(6, 4)
    path = tmp_path / "case.pt"
    torch.save((inputs, weights), path)
    torchrun(LOSS, str(path))
    weights.requires_grad_(True)
    scan_loss(*(inputs @ weights), entropy_weight=2.0).total.backward()
    for number in range(2):
        found = torch.load(Path(f"{path}.{number}"))
        torch.testing.assert_close(found, weights.grad)


PRETRAIN = """
import sys
import torch
import seqscan.encoder.abstract
from seqscan.corpus import Corpus
from seqscan.encoder import ConvEncoderConfig
from seqscan.pretrain import PretrainConfig, pretrain
# Where the processor has bfloat16 the shape of a batch decides how its products are rounded.
seqscan.encoder.abstract.fast_dtype = lambda device: torch.float32
config = PretrainConfig(max_steps=12, n_homolog_proteins=0, batch_residues=1056, crop_lengths=(32,),
                        warmup_steps=2, learning_rate=1e-2, validation_fraction=0.1,
                        mask_fraction=0.1, masked_weight=0.25, contrastive_weight=1.0)
shape = ConvEncoderConfig(width=16, n_features=16, kernel=3, dilations=(1, 2), n_dimensions=16)
pretrain(
    Corpus.open(sys.argv[1]), sys.argv[2], config, encoder_config=shape, mined=sys.argv[3], threads=1
)
"""


def test_pretraining_in_two_processes_has_the_loss_curve_of_one(torchrun, tmp_path):
    generator = np.random.default_rng(0)
    records = [
        Record(f"p{i}", "", "".join(generator.choice(list("ACDEFGHIKLMNPQRSTVWY"), 60))) for i in range(40)
    ]
    corpus = write_corpus(tmp_path / "corpus", records)
    # Ten communities of four proteins.
    whole = [(i, 0, 60, j, 0, 60) for i in range(40) for j in range(40) if i != j and i // 4 == j // 4]
    half = np.full(len(whole), 0.5, np.float32)
    pairs = HomologPairs(np.array(whole, np.int32), half, np.arange(40))
    pairs.write(tmp_path / "homologs", {"checksum": corpus_checksum(corpus)})
    arguments = [str(corpus.path), str(tmp_path / "two"), str(tmp_path / "homologs")]
    torchrun(PRETRAIN, *arguments)
    arguments[1] = str(tmp_path / "one")
    subprocess.run([sys.executable, "-c", PRETRAIN, *arguments], check=True)
    curves = []
    for name in ("one", "two"):
        log = (tmp_path / f"{name}.training" / "log.jsonl").read_text()
        rows = [json.loads(line) for line in log.splitlines()]
        assert [row["step"] for row in rows] == list(range(1, 13))
        curves.append(
            [[row[key] for key in ("contrastive", "masked", "prototype", "residues")] for row in rows]
        )
    one, two = np.array(curves)
    np.testing.assert_allclose(two, one, atol=2e-4)
    assert one[-1, 0] < one[0, 0] - 0.1, "something was learned"
    vectors = [load_encoder(tmp_path / name).embed(corpus) for name in ("one", "two")]
    np.testing.assert_allclose(*vectors, atol=2e-3)


EMBED = """
import sys
from seqscan import store
from seqscan.cli import main
store.PART_ROWS = 7
sys.argv = ["seqscan", "embed", sys.argv[1], "-o", sys.argv[2], "--threads", "1"]
main()
"""


def test_embedding_in_two_processes_gives_the_store_of_one(start_torchrun, tmp_path):
    generator = np.random.default_rng(0)
    texts = ["".join(generator.choice(list("ACDEFGHIKLMNPQRSTVWY"), 40 + i)) for i in range(40)]
    fasta = tmp_path / "in.fasta"
    fasta.write_text("".join(f">p{i}\n{texts[i % 30]}\n" for i in range(40)) + ">bad\nM1K\n")
    done = start_torchrun(EMBED, str(fasta), str(tmp_path / "two"))
    assert done.returncode == 0, done.stderr
    assert "40 vectors" in done.stdout
    assert done.stderr.count("embed: ") == 1
    subprocess.run([sys.executable, "-c", EMBED, fasta, tmp_path / "one"], check=True)
    for name in ("vectors-00000.npy", "records.parquet"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert "bad" in (tmp_path / "two.rejected.tsv").read_text()
    left = {path.name for path in tmp_path.iterdir()}
    assert not {"two.partial", "two.corpus"} & left


FAIL = """
import sys
from seqscan.cli import main
sys.argv = ["seqscan", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        # On the first process alone, while the other waits for it.
        ("embed bad.fasta -o out", "no usable protein sequence in 1 record "),
        ("pretrain none.fasta -o out --steps 1", "none.fasta: there is no such file"),
        # On both.
        ("scan none -o out", "none: is not a seqscan store"),
    ],
)
def test_one_process_says_why_both_end(start_torchrun, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    Path("bad.fasta").write_text(">bad\nM1K\n")
    done = start_torchrun(FAIL, *arguments.split(), "--threads", "1")
    assert done.returncode != 0
    assert done.stderr.count("seqscan: ") == done.stderr.count(said) == 1, done.stderr
    assert "[rank1]" not in done.stderr, "no traceback of the process that waited"


def test_one_process_needs_no_group():
    with process_group():
        assert (rank(), n_ranks()) == (0, 1)
        wait_for_all()
        values = torch.ones(3)
        assert mean_over_ranks(values) is values


HEAD = """
import sys
import numpy as np, torch
from seqscan.scan import streaming
from seqscan.distributed import mean_over_ranks, process_group, rank, wait_for_all
from seqscan.scaling import ScalingConfig, cluster_store
from seqscan.store import EmbeddingStore
streaming.BLOCK_ROWS = 200
folder = sys.argv[1]
with process_group():
    # The gradient of a step: the mean over ranks is that of the joined batch.
    x, y, w, shares = torch.load(f"{folder}/batch.pt")
    own = slice(16 * rank(), 16 * rank() + 16)
    part = streaming.pair_gradient(x[own], y[own], w, shares, entropy_weight=1.0)
    torch.save([mean_over_ranks(value) for value in part], f"{folder}/step{rank()}.pt")
    config = ScalingConfig(
        6, n_probe=64, threads=1, stream=streaming.StreamConfig(4, batch_size=64, learning_rate=0.05)
    )
    head, stages = cluster_store(EmbeddingStore.open(f"{folder}/store"), f"{folder}/out", config)
    np.save(f"{folder}/head{rank()}.npy", head.prototypes)
    # A second call finds all done, on both ranks.
    _, again = cluster_store(EmbeddingStore.open(f"{folder}/store"), f"{folder}/out", config)
    assert {stage.status for stage in again} <= {"skipped"}
"""


def test_two_processes_train_one_head(torchrun, tmp_path):
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 6, 800)
    vectors = generator.normal(size=(6, 12))[truth] + generator.normal(0, 0.2, (800, 12))
    vectors = vectors.astype(np.float32)
    ids = [f"p{row}" for row in range(800)]
    store = write_store(tmp_path / "store", ids, np.ones(800, np.int64), lambda rows: vectors[rows], {})
    torch.manual_seed(0)
    x, y = (F.normalize(torch.randn(32, 5), dim=1) for _ in range(2))
    w, shares = torch.randn(9, 5), torch.full((9,), 1 / 9)
    torch.save((x, y, w, shares), tmp_path / "batch.pt")
    torchrun(HEAD, str(tmp_path))
    joined = pair_gradient(x, y, w, shares, entropy_weight=1.0)
    for number in range(2):
        torch.testing.assert_close(torch.load(tmp_path / f"step{number}.pt"), list(joined))
    first, second = (np.load(tmp_path / f"head{number}.npy") for number in range(2))
    np.testing.assert_array_equal(first, second)
    # One process finds the same clusters.
    config = ScalingConfig(
        6, n_probe=64, threads=1, stream=StreamConfig(4, batch_size=64, learning_rate=0.05)
    )
    cluster_store(store, tmp_path / "alone", config)
    both = (Assignments.read(tmp_path / name / "assignments.tsv") for name in ("out", "alone"))
    found, expected = (read.labels for read in both)
    assert adjusted_rand_score(found, expected) > 0.95
    assert adjusted_rand_score(found, truth) > 0.95
