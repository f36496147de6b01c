"""A corpus gives back what was written to it."""

import numpy as np
import pytest

from seqscan import corpus as module
from seqscan.artifact import read_manifest
from seqscan.corpus import Corpus, write_corpus
from seqscan.errors import ArtifactError, InvalidSequence
from seqscan.fasta import Record

RECORDS = [Record("a", "first", "MKV"), Record("b", "", "M"), Record("c", "third one", "UXBO")]


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(tmp_path / "corpus", RECORDS)


def test_content(corpus):
    assert len(corpus) == 3
    assert corpus.ids == ["a", "b", "c"]
    assert corpus.descriptions == ["first", "", "third one"]
    assert [corpus.residues(i) for i in range(3)] == ["MKV", "M", "CXXK"]
    assert corpus.lengths.tolist() == [3, 1, 4]


def test_records(corpus):
    assert list(corpus.records()) == [*RECORDS[:2], Record("c", "third one", "CXXK")]
    shown = corpus.reordered(np.array([2, 0, 1]))
    assert [record.id for record in shown.records([0, 2])] == ["c", "b"]


def test_indexing(corpus):
    assert corpus[-1].tolist() == corpus[2].tolist()
    assert [len(sequence) for sequence in corpus[1:]] == [1, 4]
    assert [len(sequence) for sequence in corpus] == [3, 1, 4]
    assert corpus[np.int64(0)].dtype == np.uint8
    for index in (3, -4):
        with pytest.raises(IndexError):
            corpus[index]


def test_codes_are_not_writable(corpus):
    with pytest.raises(ValueError, match="read-only"):
        corpus[0][0] = 1


def test_blocks_change_nothing(tmp_path, corpus, monkeypatch):
    monkeypatch.setattr(module, "_FLUSH_RESIDUES", 2)
    blocks = write_corpus(tmp_path / "blocks", iter(RECORDS))
    assert blocks.codes.tolist() == corpus.codes.tolist()
    assert blocks.ids == corpus.ids
    assert blocks.offsets.tolist() == corpus.offsets.tolist()


def test_empty(tmp_path):
    corpus = write_corpus(tmp_path / "corpus", [])
    assert (len(corpus), corpus.ids, corpus.lengths.tolist()) == (0, [], [])


def test_provenance(tmp_path):
    write_corpus(tmp_path / "corpus", RECORDS, {"source": "x.fasta"})
    content = read_manifest(tmp_path / "corpus", "corpus", verify=True).content
    assert content == {"source": "x.fasta", "n_records": 3, "n_residues": 8}


def test_failing_input_leaves_nothing(tmp_path):
    def records():
        yield RECORDS[0]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_corpus(tmp_path / "corpus", records())
    assert list(tmp_path.iterdir()) == []


def test_no_corpus(tmp_path):
    with pytest.raises(ArtifactError):
        Corpus.open(tmp_path)


def test_canonical_order_does_not_depend_on_the_input(tmp_path):
    records = [Record(f"p{i}", f"d{i}", "MKV" + "ACDEF"[i % 5] * (1 + i % 3)) for i in range(30)]
    shown = []
    for name, given in (("a", records), ("b", records[::-1])):
        stored = write_corpus(tmp_path / name, given)
        corpus = stored.reordered(stored.canonical_order())
        # Of one that is in that order already, the order is that of its rows, wherever they are stored.
        assert corpus.canonical_order().tolist() == list(range(len(corpus)))
        rows = range(len(corpus))
        shown.append([(corpus.ids[i], corpus.descriptions[i], corpus.residues(i)) for i in rows])
        assert corpus.lengths.tolist() == [len(corpus[i]) for i in rows]
        assert [given[row].id for row in corpus.rows] == corpus.ids
    assert shown[0] == shown[1]
    same = [[id for id, _, text in shown[0] if text == residues] for residues in {row[2] for row in shown[0]}]
    assert len(same) == 15
    assert all(ids == sorted(ids) for ids in same)


@pytest.mark.parametrize(
    ("sequence", "said"), [("", "is empty"), ("MK-V", "'-' at position 3"), ("MK1", "'1'")]
)
def test_what_is_no_protein_is_refused(tmp_path, sequence, said):
    with pytest.raises(InvalidSequence, match=f"record 2 .odd.: .*{said}"):
        write_corpus(tmp_path / "c", [Record("a", "", "MKV"), Record("odd", "", sequence)])
    assert not (tmp_path / "c").exists()
