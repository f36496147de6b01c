"""The commands that read annotations: files in, files out, and one clear line for each mistake."""

import numpy as np
import pytest

from seqscan.alphabet import AMINO
from seqscan.corpus import write_corpus
from seqscan.head import ClusterHead
from seqscan.model import Model
from seqscan.store import write_store

OBO = """format-version: 1.2
ontology: t

[Term]
id: T:1
name: root
namespace: x

[Term]
id: T:2
name: alpha
namespace: x
is_a: T:1

[Term]
id: T:3
name: beta
namespace: x
is_a: T:1

[Term]
id: T:4
name: narrow alpha
namespace: x
is_a: T:2
"""


@pytest.fixture
def out(tmp_path, monkeypatch, tiny_encoder, family_records):
    """What `seqscan run` leaves of three families, and annotations of two of them."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "OUT"
    corpus = write_corpus(folder / "work" / "corpus", family_records)
    vectors = tiny_encoder.embed(corpus)
    write_store(folder / "work" / "store", corpus.ids, corpus.lengths, lambda rows: vectors[rows], {})
    center = vectors.mean(axis=0)
    means = np.stack([vectors[i : i + 12].mean(axis=0) - center for i in (0, 12, 24)])
    head = ClusterHead(means, center, np.eye(8, dtype=np.float32), 0.1)
    Model(tiny_encoder, head, {"config": {"finetune": False}}).save(folder / "model")
    head.assign(corpus.ids, vectors).write(folder / "assignments.tsv")
    terms = {"f0": "T:4", "f1": "T:3", "f2": ""}
    rows = [f"{r.id}\t{terms[r.id[:2]]}\n" for r in family_records if terms[r.id[:2]]]
    (tmp_path / "a.tsv").write_text("".join(rows) + "stranger\tT:3\n" + "f0m0\tT:99\n" + "f0m0\tT:2\n" * 30)
    (tmp_path / "t.obo").write_text(OBO)
    lines = [f">{r.id}\n{r.sequence}\n" for r in family_records]
    (tmp_path / "all.fasta").write_text("".join(lines))
    changed = AMINO.encode(family_records[0].sequence).copy()
    changed[::7] = 5
    (tmp_path / "new.fasta").write_text(
        f">sp|P99999|NOVEL\n{AMINO.decode(changed)}\n>f1m0 known\n{family_records[12].sequence}\n"
    )
    return folder


NOVEL = "sp|P99999|NOVEL"
FILES = ("--annotations", "a.tsv", "--ontology", "t.obo")


def rows_of(path):
    header, *rows = [line.split("\t") for line in path.read_text().splitlines()]
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_enrich_says_what_matched_before_any_result(seqscan, out, tmp_path):
    code, said, err = seqscan("enrich", out / "assignments.tsv", *FILES, "-o", "e.tsv")
    assert code == 0
    assert "24 of 36 proteins (67%) have annotations" in err
    assert "1 with an id that the ontology does not know, left out (such as T:99)" in err
    assert "1 annotated proteins are not among them" in err
    assert "background: 24 proteins" in said
    assert {row["term"] for row in rows_of(tmp_path / "e.tsv")} >= {"T:4", "T:3"}


@pytest.mark.parametrize("reference", [(), ("--reference", "all.fasta")], ids=["of the run", "a FASTA"])
def test_annotate_new_and_known_proteins(seqscan, out, tmp_path, reference):
    arguments = ("annotate", "new.fasta", "--model", out / "model", *FILES, "-o", "p.tsv", "--no-alignments")
    code, said, err = seqscan(*arguments, *reference, "--threads", 1)
    assert code == 0, err
    assert "of 2 proteins" in said
    rows = rows_of(tmp_path / "p.tsv")
    assert {row["protein"] for row in rows} == {NOVEL, "f1m0"}
    assert {row["known"] for row in rows if row["protein"] == NOVEL} == {"no"}
    assert all("-" in row["residues"] for row in rows)
    assert (tmp_path / "p.cafa.txt").exists()
    # The terms are not those of GO, so the format has no row for them.
    assert "p.gaf has 0 new terms" in said
    assert (tmp_path / "p.gaf").read_text().startswith("!gaf-version: 2.2\n")


def test_annotate_writes_gaf_of_what_is_probable(seqscan, out, tmp_path):
    for name in ("t.obo", "a.tsv"):
        text = (tmp_path / name).read_text().replace("namespace: x", "namespace: molecular_function")
        (tmp_path / name).write_text(text.replace("T:", "GO:000000"))
    fasta = (
        (tmp_path / "new.fasta")
        .read_text()
        .replace("NOVEL\n", "NOVEL A novel one OS=X y OX=562 GN=nov SV=1\n")
    )
    (tmp_path / "new.fasta").write_text(fasta)
    options = ("--no-alignments", "--no-residues", "--threads", 1, "--date", "2024-02-29")
    code, said, err = seqscan(
        "annotate", "new.fasta", "--model", out / "model", *FILES, "-o", "p.tsv", *options
    )
    assert code == 0, err
    probable = [
        (row["protein"], row["term"])
        for row in rows_of(tmp_path / "p.tsv")
        if row["known"] == "no" and float(row["probability"]) >= 0.5
    ]
    lines = [line for line in (tmp_path / "p.gaf").read_text().splitlines() if line[0] != "!"]
    assert f"p.gaf has {len(lines)} new terms" in said
    assert probable == [(NOVEL, line.split("\t")[4]) for line in lines]
    assert probable
    for line in lines:
        assert line.startswith("UniProtKB\tP99999\tnov\tenables\tGO:")
        assert line.endswith("\tprotein\ttaxon:562\t20240229\tseqscan\t\t")


def test_annotate_without_the_run_asks_for_a_reference(seqscan, out, tmp_path):
    (out / "model").rename(tmp_path / "model")
    code, _, err = seqscan("annotate", "new.fasta", "--model", "model", *FILES, "-o", "p.tsv")
    assert code == 2
    assert "--reference" in err


def test_audit(seqscan, out, tmp_path):
    arguments = ("audit", out / "assignments.tsv", *FILES, "-o", "audit.tsv", "--threads", 1)
    (tmp_path / "a.tsv").write_text((tmp_path / "a.tsv").read_text().replace("f1m3\tT:3", "f1m3\tT:4"))
    extra = "".join(f"f{f}m{m}\tT:{t}\n" for f, t in ((0, 2), (1, 1), (2, 3)) for m in range(12))
    (tmp_path / "a.tsv").write_text((tmp_path / "a.tsv").read_text() + extra)
    code, _, err = seqscan(*arguments, "--no-alignments")
    assert code == 0, err
    assert "evidence: clusters and neighbors by the run's vectors" in err
    rows = rows_of(tmp_path / "audit.tsv")
    assert list(rows[0])[:4] == ["protein", "term", "suspicion", "reason"]
    assert len(rows) == 12 + 12 + 24  # without the root
    assert rows == sorted(rows, key=lambda row: -float(row["suspicion"]))
    assert (tmp_path / "audit.terms.tsv").exists()
    (tmp_path / "alone.tsv").write_text((out / "assignments.tsv").read_text())
    code, _, err = seqscan("audit", "alone.tsv", *arguments[2:])
    assert code == 0
    assert "evidence: clusters alone" in err


def test_ontology_with_and_without_annotations(seqscan, out, tmp_path):
    code, said, err = seqscan("ontology", out, *FILES, "-o", "c.obo")
    assert code == 0, err
    assert "are existing terms" in said
    text = (tmp_path / "c.obo").read_text()
    assert "xref: T:4" in text
    for suffix in ("json", "ofn", "tsv"):
        code, said, err = seqscan("ontology", out, "-o", f"alone.{suffix}")
        assert code == 0, err
        assert "categories from sequences alone" in said
        assert (tmp_path / f"alone.{suffix}").stat().st_size > 300
    members = rows_of(tmp_path / "alone.members.tsv")
    assert {row["protein"] for row in members} == {row["id"] for row in rows_of(out / "assignments.tsv")}


def test_one_page_holds_what_each_command_found(seqscan, out, tmp_path):
    assert seqscan("enrich", out / "assignments.tsv", *FILES, "-o", "e.tsv")[0] == 0
    assert seqscan("ontology", out, *FILES, "-o", "c.obo")[0] == 0
    page = (tmp_path / "knowledge.html").read_text()
    assert 'id="enrichment"' in page
    assert 'id="ontology"' in page
    assert 'id="audit"' not in page
    (tmp_path / "mine.html").write_text("<p>mine</p>")
    code, _, err = seqscan("enrich", out / "assignments.tsv", *FILES, "-o", "e.tsv", "--page", "mine.html")
    assert code == 2
    assert "no page of seqscan" in err
    assert (tmp_path / "mine.html").read_text() == "<p>mine</p>"


FOUND = "OUT/assignments.tsv"
MISTAKES = {
    "cyclic ontology": ("enrich", FOUND, "a.tsv", "cyclic.obo", "own ancestor"),
    "no ontology": ("enrich", FOUND, "a.tsv", "none.obo", "no such file"),
    "unknown terms": ("enrich", FOUND, "u.tsv", "t.obo", "not one of its 1"),
    "other proteins": ("audit", FOUND, "o.tsv", "t.obo", "none of the 36 proteins"),
    "empty annotations": ("audit", FOUND, "0.tsv", "t.obo", "no annotation"),
    "empty assignments": ("enrich", "0.tsv", "a.tsv", "t.obo", "no column"),
    "table without rows": ("enrich", "rowless.tsv", "a.tsv", "t.obo", "no row"),
    "unknown suffix": ("ontology", "OUT", "a.tsv", "t.obo", "unknown suffix"),
}


@pytest.mark.parametrize(
    ("command", "source", "annotations", "ontology", "said"), MISTAKES.values(), ids=MISTAKES
)
def test_mistakes_are_one_line_and_exit_code_2(
    seqscan, out, tmp_path, command, source, annotations, ontology, said
):
    (tmp_path / "cyclic.obo").write_text(OBO.replace("name: root\n", "name: root\nis_a: T:4\n"))
    (tmp_path / "u.tsv").write_text("f0m0\tX:1\n")
    (tmp_path / "o.tsv").write_text("stranger\tT:3\n")
    (tmp_path / "0.tsv").write_text("")
    (tmp_path / "rowless.tsv").write_text("id\tcluster\n")
    options = ("--annotations", annotations, "--ontology", ontology, "-o", "e.xyz")
    code, _, err = seqscan(command, source, *options)
    errors = [line for line in err.splitlines() if line.startswith("seqscan: ")]
    assert code == 2
    assert len(errors) == 1
    assert said in errors[0]
    assert not (tmp_path / "e.xyz").exists()
