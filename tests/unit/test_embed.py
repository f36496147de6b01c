"""A corpus becomes a store."""

import subprocess
import sys

import numpy as np
import pytest

from seqscan import embed as module
from seqscan import store
from seqscan.alphabet import AMINO
from seqscan.corpus import write_corpus
from seqscan.embed import embed_corpus, number_distinct
from seqscan.fasta import Record


@pytest.fixture
def corpus(tmp_path, family_records):
    return write_corpus(tmp_path / "corpus", family_records)


@pytest.mark.parametrize("block", [1, 7, 2048])
def test_vectors_are_the_encoders_whatever_the_block(corpus, tiny_encoder, tmp_path, monkeypatch, block):
    monkeypatch.setattr(module, "_BLOCK_RECORDS", block)
    done = []
    made = embed_corpus(
        tiny_encoder, corpus, tmp_path / "store", {"encoder": "tiny"}, on_progress=lambda *at: done.append(at)
    )
    assert made.ids == corpus.ids
    assert made.lengths.tolist() == corpus.lengths.tolist()
    assert done[-1] == (36, 36)
    assert len(done) == -(-36 // block)
    np.testing.assert_allclose(made.vectors(), tiny_encoder.embed(corpus[:]), atol=2e-3, rtol=2e-3)


def test_goes_on_after_a_kill(corpus, tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "PART_ROWS", 10)
    whole = embed_corpus(tiny_encoder, corpus, tmp_path / "whole", {})

    def kill(done, n):
        if done > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_corpus(tiny_encoder, corpus, tmp_path / "killed", {}, on_progress=kill)
    again = []
    resumed = embed_corpus(
        tiny_encoder, corpus, tmp_path / "killed", {}, on_progress=lambda done, n: again.append(done)
    )
    assert again == [30, 36]
    np.testing.assert_array_equal(resumed.vectors(), whole.vectors())


def test_equal_sequences_are_encoded_once(tmp_path, tiny_encoder, family_records, monkeypatch):
    monkeypatch.setattr(store, "PART_ROWS", 5)
    monkeypatch.setattr(store, "SHARD_ROWS", 16)
    copies = [Record(f"copy-{r.id}", "", r.sequence) for r in family_records[::3]]
    corpus = write_corpus(tmp_path / "corpus", [*copies[:4], *family_records, *copies])
    encoded = []
    embed = tiny_encoder.embed

    def count(sequences, **options):
        encoded.extend(codes.tobytes() for codes in sequences)
        return embed(sequences, **options)

    monkeypatch.setattr(tiny_encoder, "embed", count)
    made = embed_corpus(tiny_encoder, corpus, tmp_path / "store", {})
    assert len(encoded) == len(set(encoded)) == len({r.sequence for r in family_records})
    assert made.ids == corpus.ids
    assert [len(shard) for shard in made.shards] == [16, 16, 16, 4]
    np.testing.assert_allclose(made.vectors(), embed(corpus[:]), atol=2e-3, rtol=2e-3)


def test_distinct_sequences_are_numbered_as_they_come(family_records):
    codes = [AMINO.encode(text) for text in ("MKV", "MK", "MKV", "A", "MK", "MKVA")]
    numbers, firsts = number_distinct(codes)
    assert numbers.tolist() == [0, 1, 0, 2, 1, 3]
    assert firsts.tolist() == [0, 1, 3, 5]


LONG = """
import resource
import numpy as np
from seqscan.encoder import ConvEncoder
encoder = ConvEncoder()
codes = np.random.default_rng(0).integers(1, 21, 35_000).astype(np.uint8)
encoder.embed([codes[:2048]] * 8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
encoder.embed([codes])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_protein_of_35000_residues_needs_no_more_memory_than_a_batch():
    done = subprocess.run([sys.executable, "-c", LONG], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 30, "megabytes above those of a batch of the usual size"
