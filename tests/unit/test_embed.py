"""A corpus becomes a store."""

import numpy as np
import pytest

from seqscan import embed as module
from seqscan import store
from seqscan.corpus import write_corpus
from seqscan.embed import embed_corpus


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
    monkeypatch.setattr(store, "SHARD_ROWS", 10)
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
