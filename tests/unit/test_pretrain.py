"""Training learns, resumes exactly, and does without MMseqs2."""

import gzip
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from seqscan.alignment import Alignments
from seqscan.alphabet import AMINO
from seqscan.artifact import read_manifest, write_artifact
from seqscan.corpus import Corpus, write_corpus
from seqscan.encoder import ConvEncoder, ConvEncoderConfig, load_encoder
from seqscan.errors import ArtifactError, InputError, InvalidParameter
from seqscan.fasta import Record
from seqscan.pretrain import (
    HomologPairs,
    PairSampler,
    PretrainConfig,
    mine_homologs,
    plot_training,
    pretrain,
)
from seqscan.pretrain.pairs import corpus_checksum
from seqscan.pretrain.throughput import flops_per_residue, matrix_peak
from seqscan.pretrain.trainer import Prototypes

TINY = ConvEncoderConfig(width=16, n_features=16, kernel=3, dilations=(1, 2), n_dimensions=16)
OPTIONS = {
    "batch_residues": 2048,
    "crop_lengths": (32,),
    "mask_fraction": 0.1,
    "masked_weight": 0.25,
    "contrastive_weight": 1.0,
    "n_homolog_proteins": 0,
    "learning_rate": 1e-2,
    "warmup_steps": 5,
    "validation_fraction": 0.1,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Proteins of eight biased compositions, so that there is something to learn."""
    generator = np.random.default_rng(0)
    records = []
    for i in range(80):
        shares = np.random.default_rng(i % 8).dirichlet(np.full(20, 0.3))
        codes = generator.choice(20, size=int(generator.integers(40, 120)), p=shares) + 1
        records.append(Record(f"p{i}", "", AMINO.decode(codes.astype(np.uint8))))
    return write_corpus(tmp_path_factory.mktemp("data") / "corpus", records)


@pytest.fixture(autouse=True)
def few_validation_pairs(monkeypatch):
    monkeypatch.setattr("seqscan.pretrain.run.N_VALIDATION_PAIRS", 16)


def homologs(pairs):
    pairs = np.asarray(pairs, np.int32)
    return HomologPairs(pairs, np.full(len(pairs), 0.5, np.float32), np.arange(80))


def rows_of(output):
    log = output.with_name(output.name + ".training") / "log.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()]


def weights(output):
    return (output / "weights.safetensors").read_bytes()


def train(corpus, output, max_steps, *, encoder_config=TINY, threads=1, resume=False, **options):
    config = PretrainConfig(max_steps=max_steps, **(OPTIONS | options))
    return pretrain(corpus, output, config, encoder_config=encoder_config, threads=threads, resume=resume)


def test_that_mmseqs2_is_missing_is_said_once(corpus, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("seqscan.pretrain.pairs.find_mmseqs", lambda: None)
    train(corpus, tmp_path / "encoder", 1, n_homolog_proteins=80)
    assert caplog.messages == ["MMseqs2 is not installed: training on crops of single proteins alone"]


def test_losses_fall_and_the_encoder_is_written(corpus, tmp_path):
    output = tmp_path / "encoder"
    encoder = train(corpus, output, 60)
    rows = rows_of(output)
    assert [row["step"] for row in rows] == list(range(1, 61))
    for name in ("contrastive", "masked"):
        values = [row[name] for row in rows]
        assert np.mean(values[-10:]) < np.mean(values[:10]) - 0.2
    assert 0.0 <= rows[-1]["validation_recall"] <= 1.0
    assert rows[0]["learning_rate"] < rows[4]["learning_rate"] > rows[-1]["learning_rate"]
    provenance = read_manifest(output, "encoder", verify=True).content["provenance"]
    assert provenance["steps"] == 60
    assert provenance["corpus"]["n_proteins"] == 80
    codes = [AMINO.encode("MKVLA")]
    assert np.array_equal(encoder.embed(codes), load_encoder(output).embed(codes))


def test_seed_decides(corpus, tmp_path):
    train(corpus, tmp_path / "a", 3)
    train(corpus, tmp_path / "b", 3)
    train(corpus, tmp_path / "c", 3, seed=1)
    assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "c")


KILLED = """
import sys, time
import seqscan.pretrain.run
from seqscan.pretrain import PretrainConfig, pretrain
from seqscan.corpus import Corpus
from seqscan.encoder import ConvEncoderConfig
run = sys.modules["seqscan.pretrain.run"]
run.CHECKPOINT_SECONDS = float(sys.argv[5])
run.N_VALIDATION_PAIRS = 16
config = PretrainConfig(**eval(sys.argv[3]))
corpus = Corpus.open(sys.argv[1])
def wait_for_the_kill(row):
    if row["step"] == 8:
        print("ready", flush=True)
        time.sleep(600)

pretrain(corpus, sys.argv[2], config, encoder_config=ConvEncoderConfig(**eval(sys.argv[4])), threads=1,
         on_step=wait_for_the_kill)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs a signal that cannot be caught")
@pytest.mark.parametrize(
    "checkpoint_seconds", [0.0, 1e9], ids=["checkpoint at each step", "no checkpoint yet"]
)
def test_killed_and_resumed_run_gives_the_same_bytes(corpus, tmp_path, checkpoint_seconds):
    steps = 40
    train(corpus, tmp_path / "whole", steps)
    output = tmp_path / "killed"
    config = {"max_steps": steps, **OPTIONS}
    encoder = {"width": 16, "n_features": 16, "kernel": 3, "dilations": (1, 2), "n_dimensions": 16}
    arguments = [str(corpus.path), str(output), repr(config), repr(encoder), str(checkpoint_seconds)]
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, *arguments], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "ready\n"
        os.kill(child.pid, signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert not output.exists()
    assert len(rows_of(output)) == 8
    train(corpus, output, steps, resume=True)
    assert weights(output) == weights(tmp_path / "whole")
    assert [row["step"] for row in rows_of(output)] == list(range(1, steps + 1))


def test_torn_last_row_of_the_log_is_dropped(corpus, tmp_path):
    output = tmp_path / "encoder"
    train(corpus, output, 2)
    with (tmp_path / "encoder.training" / "log.jsonl").open("a") as log:
        log.write('{"step": 3, "mas')
    train(corpus, output, 4, resume=True)
    assert [row["step"] for row in rows_of(output)] == [1, 2, 3, 4]


def test_finished_encoder_is_not_replaced_by_another_training(corpus, tmp_path):
    output, folder = tmp_path / "encoder", tmp_path / "encoder.training"
    train(corpus, output, 2)
    before = weights(output)
    folder.rename(tmp_path / "moved")
    for resume in (False, True):
        with pytest.raises(ArtifactError, match="encoder: holds a finished encoder"):
            train(corpus, output, 2, resume=resume, seed=1)
    assert weights(output) == before
    assert not folder.exists()
    (tmp_path / "moved").rename(folder)
    train(corpus, output, 4, resume=True)
    assert weights(output) != before


def test_training_that_was_begun_is_not_overwritten(corpus, tmp_path):
    train(corpus, tmp_path / "encoder", 1)
    with pytest.raises(ArtifactError, match="--resume"):
        train(corpus, tmp_path / "encoder", 1)


def test_resuming_needs_the_same_configuration_and_corpus(corpus, tmp_path):
    train(corpus, tmp_path / "encoder", 1)
    with pytest.raises(ArtifactError, match="temperature"):
        train(corpus, tmp_path / "encoder", 2, resume=True, temperature=0.5)
    wider = ConvEncoderConfig(width=24, n_features=16, kernel=3, dilations=(1, 2), n_dimensions=16)
    with pytest.raises(ArtifactError, match="encoder"):
        train(corpus, tmp_path / "encoder", 2, resume=True, encoder_config=wider)
    records = [Record(f"p{i}", "", "MKVLAC" * 10) for i in range(80)]
    other = write_corpus(tmp_path / "other", records)
    with pytest.raises(ArtifactError, match="other proteins"):
        train(other, tmp_path / "encoder", 2, resume=True)


@pytest.mark.parametrize("length", [{}, {"max_steps": 1, "minutes": 1.0}])
def test_one_length_must_be_given(length):
    with pytest.raises(InvalidParameter, match="max_steps"):
        PretrainConfig(**length)


def test_a_batch_has_a_part():
    with pytest.raises(InvalidParameter, match="accumulate"):
        PretrainConfig(max_steps=1, accumulate=0)


def test_minutes_end_a_run(corpus, tmp_path):
    config = PretrainConfig(minutes=0.005, **OPTIONS)
    begun = time.monotonic()
    pretrain(corpus, tmp_path / "encoder", config, encoder_config=TINY, threads=1)
    assert time.monotonic() - begun < 20
    assert rows_of(tmp_path / "encoder")


def test_no_warm_up(corpus, tmp_path):
    train(corpus, tmp_path / "encoder", 1, warmup_steps=0)
    assert rows_of(tmp_path / "encoder")[0]["learning_rate"] == pytest.approx(OPTIONS["learning_rate"])


def test_nothing_to_train_on(tmp_path):
    with pytest.raises(InvalidParameter, match="none is left to train on"):
        train(write_corpus(tmp_path / "corpus", []), tmp_path / "encoder", 1)


def test_without_mmseqs_crops_alone_are_used(corpus, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING):
        train(corpus, tmp_path / "encoder", 2, n_homolog_proteins=50)
    assert "MMseqs2 is not installed" in caplog.text
    assert len(rows_of(tmp_path / "encoder")) == 2
    assert not (tmp_path / "encoder.training" / "homologs").exists()


@pytest.fixture
def found(monkeypatch, corpus):
    """Stand in for the program: protein i + 8 is the homolog of protein i, over residues 5 to 35."""
    calls = []

    def align(sequences, *, rows, **options):
        calls.append(rows)
        query = np.sort(rows[np.isin(rows + 8, rows)]).astype(np.int32)
        start, end = np.full_like(query, 5), np.full_like(query, 35)
        size = np.ones(len(query), np.float32)
        return Alignments(query, query + 8, start, end, start, end, size, size)

    monkeypatch.setattr("seqscan.pretrain.pairs.align_all", align)
    monkeypatch.setattr("seqscan.pretrain.pairs.find_mmseqs", lambda: "mmseqs")
    monkeypatch.setattr("seqscan.pretrain.pairs.mmseqs_version", lambda: "0")
    return calls


def test_homologs_are_mined_once(corpus, tmp_path, found):
    options = {"n_proteins": 80, "seed": 0, "threads": 1}
    first = mine_homologs(corpus, tmp_path / "homologs", **options)
    assert first.pairs[0].tolist() == [0, 5, 35, 8, 5, 35]
    assert np.array_equal(mine_homologs(corpus, tmp_path / "homologs", **options).pairs, first.pairs)
    assert len(found) == 1
    mine_homologs(corpus, tmp_path / "homologs", **(options | {"seed": 1}))
    other = write_corpus(tmp_path / "other", [Record(f"q{i}", "", "MKV" * 20) for i in range(80)])
    mine_homologs(other, tmp_path / "homologs", **(options | {"seed": 1}))
    assert len(found) == 3


def test_sample_of_the_corpus_depends_on_the_seed(corpus, tmp_path, found):
    for seed in (0, 1):
        mine_homologs(corpus, tmp_path / str(seed), n_proteins=30, seed=seed, threads=1)
    assert all(len(rows) == 30 and (np.diff(rows) > 0).all() for rows in found)
    assert found[0].tolist() != found[1].tolist()


def test_homologs_are_kept_when_a_resumption_is_refused(corpus, tmp_path, found):
    train(corpus, tmp_path / "encoder", 1, n_homolog_proteins=80)
    other = write_corpus(tmp_path / "other", [Record(f"q{i}", "", "MKV" * 20) for i in range(80)])
    for resumed, options in ((other, {}), (corpus, {"seed": 1})):
        with pytest.raises(ArtifactError, match="was made with"):
            train(resumed, tmp_path / "encoder", 2, resume=True, n_homolog_proteins=80, **options)
    assert len(found) == 1


def test_training_with_homologs(corpus, tmp_path, found):
    train(corpus, tmp_path / "encoder", 3, n_homolog_proteins=80)
    assert len(rows_of(tmp_path / "encoder")) == 3
    assert (tmp_path / "encoder.training" / "homologs" / "pairs.npy").exists()


def test_communities_are_those_of_the_homologs(corpus, tmp_path):
    for start in (0, 5):
        part = (start, start + 30)
        pairs = homologs([(row, *part, row + 8, *part) for row in range(72)])
        pairs.write(tmp_path / str(start), {"checksum": corpus_checksum(corpus)})
    config = PretrainConfig(max_steps=2, **OPTIONS)
    options = {"encoder_config": TINY, "threads": 1}

    def communities(output):
        return read_manifest(tmp_path / f"{output}.training" / "communities", "communities").files

    pretrain(corpus, tmp_path / "a", config, mined=tmp_path / "0", **options)
    pretrain(corpus, tmp_path / "b", config, mined=tmp_path / "5", **options)
    before = communities("a")
    with pytest.raises(ArtifactError, match="other homologs"):
        pretrain(corpus, tmp_path / "a", config, mined=tmp_path / "5", resume=True, **options)
    (tmp_path / "a.training" / "checkpoint.safetensors").unlink()
    shutil.rmtree(tmp_path / "a")
    pretrain(corpus, tmp_path / "a", config, mined=tmp_path / "5", **options)
    assert communities("a") == communities("b") != before
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


def test_prototypes_begin_from_the_encoder_once(corpus, tmp_path, found, monkeypatch):
    calls = []
    begin = Prototypes.begin
    monkeypatch.setattr(Prototypes, "begin", lambda *given: (calls.append(given), begin(*given)))
    train(corpus, tmp_path / "encoder", 3, n_homolog_proteins=80)
    train(corpus, tmp_path / "encoder", 6, resume=True, n_homolog_proteins=80)
    assert "prototype" in rows_of(tmp_path / "encoder")[-1]
    assert len(calls) == 1, "a checkpoint has them"


def test_held_out_proteins_are_in_no_training_pair():
    pairs = homologs([[0, 0, 9, 1, 0, 9], [1, 0, 9, 2, 0, 9], [2, 0, 9, 3, 0, 9]])
    allowed = np.array([True, True, True, False])
    assert pairs.restricted_to(allowed).pairs[:, [0, 3]].tolist() == [[0, 1], [1, 2]]


def test_alignments_of_whole_proteins_make_groups():
    lengths = np.array([100, 100, 100, 300, 50])
    rows = [[0, 0, 90, 1, 5, 95], [1, 10, 90, 2, 0, 80], [2, 0, 100, 3, 0, 100], [3, 0, 60, 4, 0, 50]]
    groups = homologs(rows).groups(lengths)
    assert groups[0] == groups[1] == groups[2], "linked by steps"
    assert len(set(groups.tolist())) == 3, "a shared domain of a longer protein links nothing"
    empty = HomologPairs.none(5).groups(lengths)
    assert sorted(empty.tolist()) == [0, 1, 2, 3, 4]


def test_remote_pairs_are_the_corresponding_parts_of_a_homologs_homologs(tmp_path):
    """Protein 0 is found to be like 1, and 1 like 2; the first 60 residues of 0 are the first 60 of 2."""
    generator = np.random.default_rng(3)
    core = "".join(generator.choice(list("ACDEFGHIKLMNQRSTVY"), 60))
    texts = [core, "W" * 40 + core, "P" * 20 + core + "P" * 30]
    small = write_corpus(tmp_path / "corpus", (Record(f"p{i}", "", text) for i, text in enumerate(texts)))
    pairs = np.array([[0, 0, 60, 1, 40, 100], [1, 40, 100, 2, 20, 80]], np.int32)
    sampler = PairSampler(small, np.arange(3), homologs(pairs), remote_fraction=1.0)
    reached = False
    for left, right, *_ in sampler.draw(np.arange(60), 40, 1.0, (0,)):
        left, right = AMINO.decode(left), AMINO.decode(right)
        # Only the third protein has any P, only the first has nothing around its core.
        reached |= left in core and "P" in right
        # Both are about the same place of the core.
        at_left, at_right = (core.find(text.strip("WP")) for text in (left, right))
        assert min(at_left, at_right) >= 0
        assert abs(at_left - at_right) <= 30
    assert reached, "the first protein is paired with its homolog's homolog"
    broken = np.array([[0, 0, 60, 1, 40, 100], [1, 0, 60, 2, 0, 60]], np.int32)
    sampler = PairSampler(small, np.arange(3), homologs(broken), remote_fraction=1.0)
    for left, right, *_ in sampler.draw(np.arange(60), 40, 1.0, (0,)):
        left, right = AMINO.decode(left), AMINO.decode(right)
        assert not (left in core and "P" in right), "alignments of different places make no pair"


def test_views_are_parts_of_their_proteins(corpus):
    query = np.arange(0, 60, dtype=np.int32)
    pairs = np.stack([query, query * 0 + 2, query * 0 + 38, query + 16, query * 0, query * 0 + 36], axis=1)
    sampler = PairSampler(corpus, np.arange(80), homologs(pairs))
    texts = [corpus.residues(i) for i in range(80)]
    for share in (0.0, 1.0):
        for left, right, *_ in sampler.draw(np.arange(50), 32, share, (0,)):
            owners = [
                {i for i, text in enumerate(texts) if AMINO.decode(view) in text} for view in (left, right)
            ]
            assert all(owners)
            assert min(len(left), len(right)) >= 20
            same = share == 0.0
            assert any((i in owners[1]) if same else (i + 16 in owners[1]) for i in owners[0])


def test_parts_of_a_batch_give_the_gradients_of_the_whole(corpus, tmp_path, monkeypatch):
    # Where the processor has bfloat16 the shape of a batch decides how its products are rounded.
    monkeypatch.setattr("seqscan.encoder.abstract.fast_dtype", lambda device: torch.float32)
    train(corpus, tmp_path / "whole", 6)
    train(corpus, tmp_path / "parts", 6, accumulate=3)
    for whole, parts in zip(rows_of(tmp_path / "whole"), rows_of(tmp_path / "parts"), strict=True):
        assert parts["residues"] == whole["residues"]
        for name in ("contrastive", "masked"):
            assert parts[name] == pytest.approx(whole[name], abs=2e-4)


def test_longer_run_begins_a_new_cycle(corpus, tmp_path):
    output = tmp_path / "encoder"
    train(corpus, output, 20)
    train(corpus, output, 50, resume=True)
    rates = [row["learning_rate"] for row in rows_of(output)]
    assert len(rates) == 50
    assert rates[19] < 0.2 * max(rates[:20])
    assert rates[20] < rates[24]
    assert max(rates[20:]) == pytest.approx(max(rates[:20]), rel=0.1)
    assert rates[49] < 0.2 * max(rates[20:])
    before = weights(output)
    train(corpus, output, 50, resume=True)
    assert weights(output) == before, "a finished run has nothing to do"
    train(corpus, output, 52, resume=True, learning_rate=1e-4)
    assert rows_of(output)[-1]["learning_rate"] < 1e-4


def test_training_goes_on_from_an_encoder(corpus, tmp_path):
    train(corpus, tmp_path / "parent", 30)
    config = PretrainConfig(max_steps=2, **OPTIONS | {"warmup_steps": 50})
    pretrain(corpus, tmp_path / "child", config, parent=tmp_path / "parent", threads=1)
    last, first = rows_of(tmp_path / "parent")[-1], rows_of(tmp_path / "child")[0]
    assert first["contrastive"] < rows_of(tmp_path / "parent")[0]["contrastive"] - 0.1
    assert first["contrastive"] == pytest.approx(last["contrastive"], abs=0.7)
    content = read_manifest(tmp_path / "child", "encoder").content
    assert content["config"]["width"] == TINY.width
    parent = read_manifest(tmp_path / "parent", "encoder")
    assert content["provenance"]["parent"]["checksum"] == parent.files["weights.safetensors"]
    with pytest.raises(InvalidParameter, match="shape"):
        pretrain(corpus, tmp_path / "other", config, parent=tmp_path / "parent", encoder_config=TINY)


def test_homologs_mined_before_are_used_for_their_corpus_alone(corpus, tmp_path, found):
    mine_homologs(corpus, tmp_path / "mined", n_proteins=80, seed=0, threads=1)
    config = PretrainConfig(max_steps=1, **OPTIONS)
    pretrain(corpus, tmp_path / "encoder", config, encoder_config=TINY, mined=tmp_path / "mined", threads=1)
    assert not (tmp_path / "encoder.training" / "homologs").exists()
    other = write_corpus(tmp_path / "other", [Record(f"q{i}", "", "MKV" * 20) for i in range(80)])
    with pytest.raises(ArtifactError, match="other proteins"):
        pretrain(other, tmp_path / "b", config, encoder_config=TINY, mined=tmp_path / "mined", threads=1)


def test_log_tells_speed_and_is_drawn(corpus, tmp_path):
    train(corpus, tmp_path / "encoder", 4)
    folder = tmp_path / "encoder.training"
    for row in rows_of(tmp_path / "encoder"):
        assert row["residues_per_second"] > 0
        assert 0 < row["peak_share"] < 1
    picture = ElementTree.parse(folder / "log.svg").getroot()
    text = " ".join(picture.itertext())
    assert "homolog is the nearest" in text
    assert "share of the matrix-product peak" in text
    packed = tmp_path / "log.jsonl.gz"
    packed.write_bytes(gzip.compress((folder / "log.jsonl").read_bytes()))
    plot_training(packed, tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == (folder / "log.svg").read_bytes()
    packed.write_text("")
    with pytest.raises(InputError, match="no rows"):
        plot_training(packed, tmp_path / "none.svg")


def test_matrix_peak_and_cost_of_a_residue():
    peak = matrix_peak(torch.device("cpu"), torch.float32, size=256, seconds=0.01)
    assert 1e8 < peak < 1e14
    encoder = ConvEncoder(TINY)
    by_hand = 2 * (2 * 16 * 16 * 3 + 16 * 16) + 2 * 16 * 16 / 128
    assert flops_per_residue(encoder) == pytest.approx(by_hand)


MEMORY = """
import re, sys
from pathlib import Path
from seqscan.corpus import Corpus
from seqscan.encoder import ConvEncoderConfig
from seqscan.pretrain import PretrainConfig, pretrain
config = PretrainConfig(max_steps=3, n_homolog_proteins=0, batch_residues=1024, crop_lengths=(64,))
shape = ConvEncoderConfig(width=8, n_features=8, kernel=3, dilations=(1,), n_dimensions=8)
held = []

def measure(row):
    # Not the resident pages of the file: the system drops those when it needs memory.
    held.append(int(re.search(r"RssAnon:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024)

pretrain(Corpus.open(sys.argv[1]), sys.argv[2], config, encoder_config=shape, threads=1, on_step=measure)
print(max(held))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of memory")
def test_memory_does_not_grow_with_the_corpus(tmp_path):
    """Train on 134 MB of residues, all of them a hole in the file."""
    peaks = []
    for n_residues in (1 << 20, 1 << 27):
        path = tmp_path / str(n_residues)
        with write_artifact(path, "corpus", {}) as directory:
            (directory / "records.parquet").touch()
            np.lib.format.open_memmap(directory / "codes.npy", "w+", np.uint8, (n_residues,)).flush()
            np.save(directory / "offsets.npy", np.linspace(0, n_residues, 2001).astype(np.int64))
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, path, f"{path}.encoder"],
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(done.stdout))
    assert peaks[1] - peaks[0] < 40, "megabytes"


def test_corpus_can_be_opened_again(corpus):
    assert len(Corpus.open(corpus.path)) == 80
