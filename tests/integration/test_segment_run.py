"""Whole proteins in, domains out: a run with --segment."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from seqscan.alignment import find_mmseqs
from seqscan.alphabet import AMINO
from seqscan.corpus import write_corpus
from seqscan.discovery import DiscoveryConfig
from seqscan.encoder import save_encoder
from seqscan.errors import InputError, InvalidParameter
from seqscan.fasta import RejectionLedger, read_fasta
from seqscan.knowledge.finished import find_run
from seqscan.model import Model
from seqscan.pipeline import RunConfig, run
from seqscan.residues.domains import find_domains
from seqscan.residues.tracks import write_domains
from seqscan.results import Scores
from seqscan.scan import ScanConfig
from seqscan.segments import SegmentConfig, cut_records

pytestmark = pytest.mark.skipif(find_mmseqs() is None, reason="MMseqs2 is not installed")


def rows_of(path):
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle, delimiter="\t"))


@pytest.fixture
def proteins(tmp_path):
    """Three units of 100 residues in all pairs, six proteins each, and one protein of its own."""
    generator = np.random.default_rng(0)
    units = [generator.integers(1, 21, 100).astype(np.uint8) for _ in range(3)]

    def copy(codes):
        changed = codes.copy()
        places = generator.choice(100, 30, replace=False)
        changed[places] = generator.integers(1, 21, 30)
        return changed

    lines = []
    for first in range(3):
        for second in range(3):
            for number in range(6):
                whole = np.concatenate([copy(units[first]), copy(units[second])])
                lines.append(f">u{first}u{second}n{number}\n{AMINO.decode(whole)}\n")
    lines.append(">alone\n" + AMINO.decode(generator.integers(1, 21, 90).astype(np.uint8)) + "\n>bad\nMK1\n")
    path = tmp_path / "proteins.fasta"
    path.write_text("".join(lines))
    return path


def config(tmp_path, tiny_encoder, **changes):
    save_encoder(tiny_encoder, tmp_path / "encoder")
    discovery = DiscoveryConfig(
        n_clusters=3, finetune=False, encoder=str(tmp_path / "encoder"), threads=1, scan=ScanConfig(2, 20)
    )
    return RunConfig(discovery, segment=True, **changes)


def test_every_protein_is_in_the_table_of_domains(tmp_path, tiny_encoder, proteins):
    settings = config(tmp_path, tiny_encoder)
    run(proteins, tmp_path / "OUT", settings)
    rows = rows_of(tmp_path / "OUT" / "domains.tsv")
    assert len({row["protein"] for row in rows}) == 55
    # Every record is there or in the ledger.
    assert [row["id"] for row in rows_of(tmp_path / "OUT" / "rejected.tsv")] == ["bad"]
    assert "bad" not in {row["protein"] for row in rows}
    for row in rows:
        length = 90 if row["protein"] == "alone" else 200
        assert 1 <= int(row["start"]) <= int(row["end"]) <= length
    segments = rows_of(tmp_path / "OUT" / "assignments.tsv")
    assert not any(row["id"].startswith("alone/") for row in segments)
    # Most proteins are cut in the middle, where their units meet.
    ends = [int(row["id"].split("-")[-1]) for row in segments]
    assert np.mean(np.abs(np.array([end for end in ends if end < 190]) - 100) <= 16) > 0.8
    report = (tmp_path / "OUT" / "report.html").read_text()
    assert 'id="domains"' in report
    assert "those without a segment, as the clusters then call them, in domains.tsv" in report
    share = Scores.read(tmp_path / "OUT" / "scores.json").label_free["hidden_proteins_placed"]
    assert share == json.loads((tmp_path / "OUT" / "run.json").read_text())["notes"]["hidden_proteins_placed"]
    assert 0.0 <= share <= 1.0
    assert sorted(find_run(tmp_path / "OUT").ids) == sorted(row["id"] for row in segments)
    # The command line's model gives the same again.
    model = Model.load(tmp_path / "OUT" / "model")
    records = read_fasta(proteins, rejected=RejectionLedger())
    write_domains(find_domains(model, records), tmp_path / "again.tsv")
    assert (tmp_path / "again.tsv").read_bytes() == (tmp_path / "OUT" / "domains.tsv").read_bytes()


def test_nothing_recurs(tmp_path, tiny_encoder):
    generator = np.random.default_rng(1)
    texts = (AMINO.decode(generator.integers(1, 21, 80).astype(np.uint8)) for _ in range(3))
    (tmp_path / "in.fasta").write_text("".join(f">p{i}\n{text}\n" for i, text in enumerate(texts)))
    with pytest.raises(InputError, match="recurs"):
        run(tmp_path / "in.fasta", tmp_path / "OUT", config(tmp_path, tiny_encoder))


def test_truth_of_whole_records_is_refused(tmp_path, tiny_encoder, proteins):
    (tmp_path / "truth.tsv").write_text("id\tpfam\nu0u0n0\tA\n")
    settings = config(tmp_path, tiny_encoder, truth=str(tmp_path / "truth.tsv"))
    with pytest.raises(InvalidParameter, match="segments are none"):
        run(proteins, tmp_path / "OUT", settings)


def test_proteins_that_never_part_are_cut_where_those_of_the_context_do(tmp_path, proteins):
    lines = proteins.read_text().split(">")[1:]
    together = [line for line in lines if line.startswith("u0u1")]
    apart = [line for line in lines if line.startswith(("u0u2", "u2u1"))]
    (tmp_path / "few.fasta").write_text("".join(f">{line}" for line in together))
    (tmp_path / "many.fasta").write_text("".join(f">{line}" for line in (*together, *apart)))
    corpus = write_corpus(tmp_path / "corpus", read_fasta(tmp_path / "few.fasta", rejected=RejectionLedger()))
    settings = SegmentConfig(length_cost=0.0)
    alone = list(cut_records(corpus, settings, threads=1))
    assert len(alone) == 6
    found = list(cut_records(corpus, settings, context=tmp_path / "many.fasta", threads=1))
    assert len(found) == 12
    assert {record.id.split("/")[0] for record in found} == set(corpus.ids)


def test_context_without_segments_is_refused(tmp_path, tiny_encoder, proteins):
    settings = replace(config(tmp_path, tiny_encoder), segment=False, context=str(proteins))
    with pytest.raises(InvalidParameter, match="Add --segment"):
        run(proteins, tmp_path / "OUT", settings)
