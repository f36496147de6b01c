"""The consensus of a cluster: members aligned, counted by place, and drawn."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from seqscan.alignment import find_mmseqs
from seqscan.alphabet import AMINO
from seqscan.errors import MissingDependency
from seqscan.residues import consensus as module
from seqscan.residues.consensus import Consensus, consensus_of, first_members, logo, write_consensus
from seqscan.residues.maps import ActivationMap


def make_consensus(text="MKV", n=50, **changes):
    counts = np.zeros((len(text), 20), np.int64)
    counts[np.arange(len(text)), AMINO.encode(text) - 1] = n
    values = {
        "cluster": 2, "representative": "<b>", "residues": text, "n_members": n + 1, "n_aligned": n,
        "counts": counts, "contributions": np.linspace(-1, 1, len(text), dtype=np.float32),
    }  # fmt: skip
    return Consensus(**values | changes)


def test_information():
    same = make_consensus().information
    small = 19 / (2 * np.log(2) * 50)
    np.testing.assert_allclose(same, np.log2(20) - small)
    even = make_consensus(counts=np.full((3, 20), 100)).information
    np.testing.assert_allclose(even, 0.0, atol=1e-9)
    assert make_consensus(counts=np.zeros((3, 20), np.int64)).information.tolist() == [0, 0, 0]


def test_paths_through_gaps(monkeypatch):
    maps = [
        ActivationMap("center", 0, "MKVWA", np.arange(5, dtype=np.float32), 99.0),
        ActivationMap("gap", 0, "MKWA", np.full(4, 2.0, np.float32), 0.0),
        ActivationMap("more", 0, "CMKVVWA", np.full(7, 4.0, np.float32), 0.0),
        ActivationMap("far", 0, "GGG", np.zeros(3, np.float32), 0.0),
        ActivationMap("other", 1, "MKVWA", np.zeros(5, np.float32), 0.0),
    ]
    paths = [(0, 0, 0, 0, "5M"), (1, 0, 0, 0, "2M1D2M"), (2, 0, 1, 0, "3M1I2M"), (4, 0, 0, 0, "5M")]
    monkeypatch.setattr(module, "align_to", lambda codes, targets, threads: paths)
    first, second = consensus_of(maps)
    assert (first.cluster, first.representative, first.n_members, first.n_aligned) == (0, "center", 4, 3)
    assert first.counts.sum(axis=1).tolist() == [3, 3, 2, 3, 3]
    np.testing.assert_allclose(first.contributions, [2, 7 / 3, 3, 3, 10 / 3], rtol=1e-6)
    assert (second.n_members, second.n_aligned) == (1, 1)


def test_first_members():
    maps = [ActivationMap(str(i), i % 2, "M", np.zeros(1, np.float32), 0.0) for i in range(7)]
    kept = []
    assert list(first_members(iter(maps), kept, 2)) == maps
    assert [item.id for item in kept] == ["0", "1", "2", "3"]


def test_files(tmp_path):
    write_consensus([make_consensus()], tmp_path)
    header, first, *_ = (tmp_path / "cluster_2.tsv").read_text().splitlines()
    assert header.startswith("position\tresidue\tn_aligned\tinformation_bits\tmean_contribution\tA\t")
    assert first.split("\t")[:3] == ["1", "M", "50"]
    assert (tmp_path / "cluster_2.svg").exists()


@pytest.mark.parametrize("n", [0, 1, 60, 61, 250])
def test_logo_is_a_picture_of_every_place(n):
    tree = ElementTree.fromstring(logo(make_consensus("MKVLW" * 50 if n == 250 else "W" * n)))
    assert len(tree.findall("{*}rect")) == n
    letters = [node.text for node in tree.findall("{*}text") if "transform" in node.attrib]
    assert len(letters) == n
    assert "<b>" in tree.attrib["aria-label"]


def test_says_that_mmseqs_is_missing(monkeypatch):
    monkeypatch.setattr("seqscan.alignment.find_mmseqs", lambda: None)
    with pytest.raises(MissingDependency, match="MMseqs2"):
        consensus_of([ActivationMap("a", 0, "MK", np.zeros(2, np.float32), 0.0)])


@pytest.mark.skipif(find_mmseqs() is None, reason="MMseqs2 is not installed")
def test_members_are_aligned_with_the_representative():
    generator = np.random.default_rng(0)
    ancestor = generator.integers(1, 21, 80).astype(np.uint8)
    maps = []
    for member in range(5):
        codes = ancestor.copy()
        codes[generator.choice(80, 12, replace=False)] = 1
        codes = np.concatenate([generator.integers(1, 21, member).astype(np.uint8), codes])
        values = np.concatenate([np.zeros(member, np.float32), np.ones(80, np.float32)])
        maps.append(ActivationMap(f"m{member}", 0, AMINO.decode(codes), values, float(member == 0)))
    (found,) = consensus_of(maps, threads=1)
    assert found.representative == "m0"
    assert found.n_aligned == 5
    assert (found.counts.argmax(axis=1) + 1 == ancestor).mean() > 0.9
    np.testing.assert_allclose(found.contributions, 1.0)
