"""Predicting the time of a stage."""

import numpy as np
import pytest

from seqscan import plan as module
from seqscan.corpus import write_corpus
from seqscan.discovery import DiscoveryConfig
from seqscan.errors import InvalidParameter
from seqscan.fasta import Record
from seqscan.neighbors import AlignmentNeighbors
from seqscan.pipeline import RunConfig


@pytest.mark.parametrize("n", [60, 2000])
def test_alignments_take_a_start_and_a_time_for_each_query(monkeypatch, n):
    clock = [0.0]

    def search(self, n_neighbors, queries):
        clock[0] += 5.0 + 0.01 * len(queries)

    monkeypatch.setattr(AlignmentNeighbors, "search", search)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    seconds = module._align_seconds([None] * n, np.arange(n), DiscoveryConfig())
    assert seconds == pytest.approx(5.0 + 0.01 * n)


def test_segments_that_nobody_has_counted_are_not_predicted(family_records, tmp_path):
    corpus = write_corpus(tmp_path / "corpus", family_records)
    with pytest.raises(InvalidParameter, match="how many segments"):
        module.plan(corpus, RunConfig(segment=True))


def test_a_dry_run_says_what_it_does(monkeypatch, tmp_path):
    records = (Record(f"p{i}", "", "MKV" + "A" * (i % 7)) for i in range(500))
    corpus = write_corpus(tmp_path / "corpus", records)
    monkeypatch.setattr(module, "_probe", lambda corpus, rows, config, on_start: ({"align": 1.0}, 5, {}))
    monkeypatch.setattr(module, "_align_seconds", lambda *_: 2.0)
    said = []
    assert module.plan(corpus, RunConfig(), on_start=said.append).seconds == 2.0
    assert said == [
        "trial run on 400 of 500 proteins, a minute or two",
        "trial searches among 500 proteins",
    ]
