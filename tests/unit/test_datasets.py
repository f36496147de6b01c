"""The bundled data are whole, and the sequences do not give the labels away."""

import re
from collections import Counter

from seqscan.datasets import pfam10_labels, pfam10_sequences
from seqscan.fasta import read_fasta
from seqscan.results import read_truth


def test_sequences_and_labels_belong_together():
    records = list(read_fasta(pfam10_sequences()))
    truth = read_truth(pfam10_labels())
    assert [record.id for record in records] == list(truth)
    sizes = Counter(truth.values())
    assert (len(records), len(sizes), min(sizes.values()), max(sizes.values())) == (5851, 10, 485, 700)
    assert len(set(read_truth(pfam10_labels(), "clan").values())) == 10


def test_headers_hold_no_label():
    for record in read_fasta(pfam10_sequences()):
        assert re.fullmatch(r"[A-Z0-9]+/\d+-\d+", record.id)
        assert record.description == ""
