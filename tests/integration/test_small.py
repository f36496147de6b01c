"""Runs of a handful of proteins: nothing crashes, and every record is in exactly one table."""

import csv

import pytest

from seqscan.datasets import pfam10_sequences
from seqscan.discovery import DiscoveryConfig
from seqscan.fasta import read_fasta
from seqscan.finetune import FinetuneConfig
from seqscan.pipeline import RunConfig, run
from seqscan.results import Assignments
from seqscan.scan import ScanConfig


def rows(path):
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.mark.parametrize(("neighbors", "n_clusters"), [("auto", None), ("embedding", 3)])
@pytest.mark.parametrize("n", [5, 12, 40])
def test_every_protein_of_a_few_is_in_one_table(tmp_path, n, n_clusters, neighbors, tiny_encoder, caplog):
    from seqscan.encoder import save_encoder

    save_encoder(tiny_encoder, tmp_path / "encoder")
    every = list(read_fasta(pfam10_sequences()))
    records = every[:: len(every) // n][:n]
    text = "".join(f">{record.id}\n{record.sequence[:80]}\n" for record in records)
    (tmp_path / "in.fasta").write_text(text + ">odd\nMK1L\n")
    config = DiscoveryConfig(
        n_clusters,
        neighbors,
        encoder=str(tmp_path / "encoder"),
        threads=1,
        scan=ScanConfig(n_heads=2, n_steps=20),
        joint=FinetuneConfig(n_steps=2, batch_residues=512, crop_lengths=(16,)),
    )
    output = tmp_path / "out"
    run(tmp_path / "in.fasta", output, RunConfig(config))
    assert [row["id"] for row in rows(output / "assignments.tsv")] == [record.id for record in records]
    assert [row["id"] for row in rows(output / "rejected.tsv")] == ["odd"]
    assert sum(int(row["size"]) for row in rows(output / "clusters.tsv")) == n
    members = [line.split("\t")[1] for line in (output / "clusters_members.tsv").read_text().splitlines()]
    assert sorted(members) == sorted(record.id for record in records)
    unsure = Assignments.read(output / "assignments.tsv").mostly_unsure
    assert ("these clusters are hardly told apart" in caplog.text) == unsure
