"""What each cluster is: the same whether proteins are counted at once or block by block."""

import csv

import numpy as np
import pytest

from seqscan.head import ClusterHead
from seqscan.hierarchy import join_clusters
from seqscan.results import Assignments
from seqscan.tally import ClusterTally, write_clusters

N, C, P = 200, 6, 4


@pytest.fixture
def case():
    generator = np.random.default_rng(0)
    head = ClusterHead(
        generator.normal(size=(C, P)).astype(np.float32),
        np.zeros(P, np.float32),
        np.eye(P, dtype=np.float32),
        0.1,
    )
    vectors = generator.normal(size=(N, P)).astype(np.float32)
    lengths = generator.integers(50, 900, N)
    ids = [f"p{row}" for row in range(N)]
    return head, head.assign(ids, vectors, min_probability=0.6), vectors, lengths


def counted(case, size):
    head, found, vectors, lengths = case
    tally = ClusterTally(head)
    for start in range(0, N, size):
        part = slice(start, start + size)
        columns = (found.labels, found.probabilities, found.second_labels, found.second_probabilities)
        tally.add(
            Assignments(found.ids[part], *(column[part] for column in columns)), vectors[part], lengths[part]
        )
    return tally


def test_each_cluster_is_what_its_members_are(case):
    head, found, vectors, lengths = case
    assert not found.assigned.all()
    tally = counted(case, N)
    tree = join_clusters(head.prototypes, tally.sizes)
    rows = tally.summaries(tree, {0: "KR"})
    assert [row.cluster for row in rows] == np.unique(found.labels[found.assigned]).tolist()
    cosines = (
        head.points(vectors) @ (head.prototypes / np.linalg.norm(head.prototypes, axis=1, keepdims=True)).T
    )
    for row in rows:
        members = np.flatnonzero(found.labels == row.cluster)
        assert row.size == len(members)
        assert row.mean_probability == pytest.approx(found.probabilities[members].mean())
        assert row.mean_length == pytest.approx(lengths[members].mean())
        assert row.sd_length == pytest.approx(lengths[members].std())
        assert row.representative == f"p{members[cosines[members, row.cluster].argmax()]}"
        assert row.enriched_residues == ("KR" if row.cluster == 0 else "")
        assert row.parent == tree.parent_of(row.cluster)


def test_block_by_block(case):
    head = case[0]
    whole, parts = counted(case, N), counted(case, 7)
    tree = join_clusters(head.prototypes, whole.sizes)
    assert [row.representative for row in parts.summaries(tree)] == [
        row.representative for row in whole.summaries(tree)
    ]
    np.testing.assert_array_equal(parts.sizes, whole.sizes)


def test_tables(case, tmp_path):
    tally = counted(case, N)
    tree = join_clusters(case[0].prototypes, tally.sizes)
    write_clusters(tmp_path, tally.summaries(tree), tree)
    with (tmp_path / "clusters.tsv").open() as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    assert sum(int(row["size"]) for row in rows) == case[1].assigned.sum()
    with (tmp_path / "hierarchy.tsv").open() as handle:
        nodes = {row["node"] for row in csv.DictReader(handle, delimiter="\t")}
    assert {row["parent"] for row in rows} <= nodes
