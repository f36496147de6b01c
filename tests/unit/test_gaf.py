"""Predictions as GAF 2.2: every column, what is left out, and the way back."""

import re
from datetime import UTC, date, datetime

import numpy as np
import pytest
from scipy import sparse

from seqscan import __version__
from seqscan.knowledge.annotate import Predictions
from seqscan.knowledge.annotations import propagate, read_annotations
from seqscan.knowledge.gaf import write_gaf
from seqscan.knowledge.ontology import Ontology, Term
from seqscan.knowledge.support import Surroundings

FUNCTION, COMPONENT, PROCESS = "molecular_function", "cellular_component", "biological_process"
DAY = date(2024, 2, 29)

# What the specification says of each of the 17 columns.
COLUMNS = (
    r"[A-Za-z][\w.-]*", r"[^|\s]+", r"[^|\t]+", r"enables|involved_in|located_in|part_of", r"GO:\d{7}",
    r"\w+:\S+", "IEA", "", "[PFC]", "", "", "protein", r"taxon:[1-9]\d*", r"\d{8}", "seqscan", "",
    r"|UniProtKB:\S+",
)  # fmt: skip


@pytest.fixture
def ontology():
    terms = [
        Term("GO:0003674", "function", FUNCTION),
        Term("GO:0003824", "catalysis", FUNCTION, parents=(("is_a", "GO:0003674"),)),
        Term("GO:0008152", "metabolism", PROCESS),
        Term("GO:0005575", "component", COMPONENT),
        Term("GO:0032991", "complex", COMPONENT, parents=(("is_a", "GO:0005575"),)),
        Term("GO:0000502", "proteasome", COMPONENT, parents=(("is_a", "GO:0032991"),)),
        Term(
            "GO:0000001", "side of it", COMPONENT, parents=(("is_a", "GO:0005575"), ("part_of", "GO:0000502"))
        ),
        Term("X:0000001", "elsewhere", "x"),
    ]
    return Ontology.of(terms, version="releases/2024-01-01")


def predicted(ontology, *rows):
    """Return predictions from (id, term, probability, known)."""
    ids = list(dict.fromkeys(id for id, *_ in rows))
    n = len(ids)
    empty = sparse.csr_array((n, n), dtype=np.float32)
    around = Surroundings(ids, np.zeros(n, np.int32), np.ones(n, np.float32), empty, empty)
    nothing = sparse.csr_array((n, len(ontology)), dtype=bool)
    return Predictions(
        around.evidence(propagate(nothing, ontology)), ontology,
        np.array([ids.index(row[0]) for row in rows]), np.array([ontology.row(row[1]) for row in rows]),
        np.array([row[2] for row in rows]), np.array([row[3] for row in rows]),
    )  # fmt: skip


def written(path):
    return [line.split("\t") for line in path.read_text().splitlines() if not line.startswith("!")]


def test_header_and_columns(ontology, tmp_path):
    found = predicted(
        ontology,
        ("sp|P12345-2|AATM_RABIT", "GO:0003824", 0.9, False),
        ("tr|A0A024RBG1|NUD4B", "GO:0008152", 0.5, False),
        ("NP_000001.1", "GO:0000502", 0.7, False),
        ("SGD:S000000001", "GO:0000001", 0.7, False),
        ("mine", "GO:0003824", 0.7, False),
    )
    descriptions = {
        "sp|P12345-2|AATM_RABIT": "Isoform 2 of A OS=Oryctolagus cuniculus OX=9986 GN=GOT|2 b PE=1 SV=2",
        "mine": "hypothetical [Escherichia coli]",
    }
    counts = write_gaf(found, tmp_path / "p.gaf", descriptions=descriptions, day=DAY)
    assert counts == (5, 0, 0, 0, 0)
    head = [line for line in (tmp_path / "p.gaf").read_text().splitlines() if line.startswith("!")]
    assert head[:4] == [
        "!gaf-version: 2.2", "!generated-by: seqscan", "!date-generated: 2024-02-29",
        "!go-version: releases/2024-01-01",
    ]  # fmt: skip
    rows = written(tmp_path / "p.gaf")
    for row in rows:
        assert len(row) == 17
        for cell, form in zip(row, COLUMNS, strict=True):
            assert re.fullmatch(form, cell), (form, row)
        assert row[5] == f"seqscan:{__version__}"
        assert row[13] == "20240229"
    assert [(row[0], row[1], row[2], row[3], row[8], row[12], row[16]) for row in rows] == [
        ("UniProtKB", "P12345", "GOT 2 b", "enables", "F", "taxon:9986", "UniProtKB:P12345-2"),
        ("UniProtKB", "A0A024RBG1", "NUD4B", "involved_in", "P", "taxon:32644", ""),
        ("RefSeq", "NP_000001.1", "NP_000001.1", "part_of", "C", "taxon:32644", ""),
        ("SGD", "S000000001", "S000000001", "located_in", "C", "taxon:32644", ""),
        ("seqscan", "mine", "mine", "enables", "F", "taxon:32644", ""),
    ]


def test_only_what_is_new_probable_and_of_go_is_written_once(ontology, tmp_path):
    found = predicted(
        ontology,
        ("P12345/1-50", "GO:0003824", 0.9, False),
        ("P12345/1-50", "GO:0008152", 0.499, False),
        ("P12345/1-50", "GO:0005575", 0.99, True),
        ("P12345/60-90", "GO:0003824", 0.6, False),
        ("P12345/60-90", "X:0000001", 0.9, False),
    )
    assert write_gaf(found, tmp_path / "p.gaf", day=DAY) == (1, 1, 1, 0, 0)
    assert [(row[1], row[4]) for row in written(tmp_path / "p.gaf")] == [("P12345", "GO:0003824")]


def test_what_go_does_not_annotate_by_and_what_a_narrower_term_implies_is_left_out(tmp_path):
    parents = {"GO:0003674": "", "GO:0005488": "GO:0003674", "GO:0005515": "GO:0005488",
               "GO:0003824": "GO:0003674", "GO:0016740": "GO:0003824", "GO:0009987": ""}  # fmt: skip
    ontology = Ontology.of(
        Term(
            id, "", PROCESS if id == "GO:0009987" else FUNCTION,
            parents=(("is_a", above),) if above else (),
            subsets=("gocheck_do_not_annotate",) if id == "GO:0009987" else (),
        )
        for id, above in parents.items()
    )  # fmt: skip
    found = predicted(
        ontology,
        *(("P12345", id, 0.9, False) for id in parents if id != "GO:0003674"),
        ("P23456", "GO:0003824", 0.9, False),
        ("P23456", "GO:0016740", 0.4, False),
    )
    assert write_gaf(found, tmp_path / "p.gaf", day=DAY) == (2, 1, 0, 3, 1)
    rows = [(row[1], row[4]) for row in written(tmp_path / "p.gaf")]
    assert rows == [("P12345", "GO:0016740"), ("P23456", "GO:0003824")]


def test_the_day_is_today_in_utc(ontology, tmp_path):
    before = datetime.now(UTC)
    write_gaf(predicted(ontology, ("P12345", "GO:0003824", 0.9, False)), tmp_path / "p.gaf")
    days = {f"{before:%Y%m%d}", f"{datetime.now(UTC):%Y%m%d}"}
    assert written(tmp_path / "p.gaf")[0][13] in days


def test_reads_back(ontology, tmp_path):
    ids = ["sp|P12345|AATM_RABIT", "Q9Y261-2", "NP_000001.1", "SGD:S000000001", "mine|1", "AT1G01010.1"]
    found = predicted(ontology, *((id, "GO:0003824", 0.8, False) for id in ids))
    write_gaf(found, tmp_path / "p.gaf", day=DAY)
    matched = read_annotations(tmp_path / "p.gaf", ontology).match(ids)
    assert matched.direct.toarray()[:, ontology.row("GO:0003824")].all()
    assert matched.direct.sum() == len(ids)
    assert matched.annotations.counts == {"pairs": len(ids)}
