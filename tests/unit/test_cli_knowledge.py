"""The commands that read annotations: files in, files out, and one clear line for each mistake."""

import re

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
    order = corpus.canonical_order()
    stored = corpus.reordered(order)
    write_store(folder / "work" / "store", stored.ids, stored.lengths, lambda rows: vectors[order[rows]], {})
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
    assert "24 of 36 proteins (67 %) have annotations" in err
    assert "1 with an id that the ontology does not know, left out (such as T:99)" in err
    assert "1 annotated protein not among them" in err
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


@pytest.mark.parametrize("reference", [(), ("--reference", "all.fasta")], ids=["of the run", "a FASTA"])
def test_annotate_refuses_another_sequence_of_a_known_id(seqscan, out, tmp_path, reference):
    (tmp_path / "new.fasta").write_text(">f1m0 known\nMKVLAAGG\n")
    arguments = ("annotate", "new.fasta", "--model", out / "model", *FILES, "-o", "p.tsv", *reference)
    code, _, err = seqscan(*arguments, "--no-alignments")
    assert code == 2
    assert "new.fasta: f1m0 has another sequence" in err
    assert not (tmp_path / "p.tsv").exists()


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
    assert "p.gaf has 1 new term;" in said
    assert len(lines) == 1
    assert probable == [(NOVEL, line.split("\t")[4]) for line in lines]
    assert probable
    for line in lines:
        assert line.startswith("UniProtKB\tP99999\tnov\tenables\tGO:")
        assert line.endswith("\tprotein\ttaxon:562\t20240229\tseqscan\t\t")


def test_annotate_without_the_run_asks_for_a_reference(seqscan, out, tmp_path):
    (out / "model").rename(tmp_path / "model")
    code, _, err = seqscan("annotate", "new.fasta", "--model", "model", *FILES, "-o", "p.tsv")
    assert code == 2
    assert "not in the folder 'work' beside it. Give a FASTA of annotated proteins with --reference." in err


def test_annotate_by_a_grown_model_says_that_the_run_is_elsewhere(seqscan, out, tmp_path):
    (out / "work" / "store").rename(out / "work" / "new_store")  # as an update leaves its folder
    (out / "update.json").touch()
    code, _, err = seqscan("annotate", "new.fasta", "--model", "OUT", *FILES, "-o", "p.tsv")
    assert code == 2
    assert "the proteins that 'update' added, not those of before" in err
    assert "with --reference: for instance the inputs of the run and of its updates" in err


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
    assert "existing term" in said
    text = (tmp_path / "c.obo").read_text()
    assert "xref: T:4" in text
    for suffix in ("json", "ofn", "tsv"):
        code, said, err = seqscan("ontology", out, "-o", f"alone.{suffix}")
        assert code == 0, err
        assert "categories from sequences alone" in said
        assert (tmp_path / f"alone.{suffix}").stat().st_size > 300
    members = rows_of(tmp_path / "alone.members.tsv")
    assert {row["protein"] for row in members} == {row["id"] for row in rows_of(out / "assignments.tsv")}


def test_ontology_without_the_vectors_keeps_no_join_that_chance_explains(seqscan, out, tmp_path):
    (out / "work").rename(tmp_path / "elsewhere")
    code, said, err = seqscan("ontology", out, "-o", "c.tsv")
    assert code == 0, err
    # Three unrelated clusters, and not the two of them that join first.
    assert "3 categories from sequences alone" in said


def test_one_page_holds_what_each_command_found(seqscan, out, tmp_path):
    assert seqscan("enrich", out / "assignments.tsv", *FILES, "-o", "e.tsv")[0] == 0
    assert seqscan("ontology", out, *FILES, "-o", "c.obo")[0] == 0
    page = (tmp_path / "knowledge.html").read_text()
    assert 'id="enrichment"' in page
    assert 'id="ontology"' in page
    assert 'id="audit"' not in page


def test_folder_of_a_run_stands_for_its_table(seqscan, out, tmp_path):
    assert seqscan("enrich", out / "assignments.tsv", *FILES, "-o", "e.tsv", "--page", "p.html")[0] == 0
    assert seqscan("enrich", out, *FILES, "-o", "f.tsv")[0] == 0
    assert rows_of(tmp_path / "f.tsv") == rows_of(tmp_path / "e.tsv")


@pytest.mark.parametrize("inside", ["model", "assignments.tsv"])
def test_ontology_of_what_is_in_the_folder_of_a_run(seqscan, out, inside):
    code, _, err = seqscan("ontology", out / inside, "-o", "c.obo")
    assert f"Give {out}." in said_once(code, err)


def test_page_says_what_each_part_is_from_and_which_is_replaced(seqscan, out, tmp_path, caplog):
    assert seqscan("enrich", out / "assignments.tsv", *FILES, "-o", "e.tsv")[0] == 0
    assert seqscan("ontology", out, "-o", "c.obo")[0] == 0
    shown = re.sub("<[^>]*>", "", (tmp_path / "knowledge.html").read_text())
    assert "Clusters: OUT/assignments.tsv · Annotations: a.tsv · Ontology: t.obo · Output: e.tsv" in shown
    assert "Clusters: OUT/assignments.tsv · Output: c.obo" in shown
    assert seqscan("enrich", out / "assignments.tsv", *FILES, "-o", "e.tsv")[0] == 0
    assert "takes the place" not in caplog.text
    # Another file of the same content, such as another format, takes nothing away.
    assert seqscan("ontology", out, "-o", "c.json")[0] == 0
    assert seqscan("enrich", out / "assignments.tsv", *FILES, "-o", "f.tsv")[0] == 0
    assert "takes the place" not in caplog.text
    other = ("--background", "all")
    assert seqscan("enrich", out / "assignments.tsv", *FILES, *other, "-o", "g.tsv")[0] == 0
    assert "the enrichment of g.tsv takes the place of that of f.tsv" in caplog.text


COMMANDS = ("enrich", "annotate", "audit", "ontology")
TABLE = "f0m0\tT:4\nf1m0\tT:3\n"
CYCLIC = OBO.replace("name: root\n", "name: root\nis_a: T:4\n")
OLD = (
    OBO.replace("name: beta\n", "name: beta\nalt_id: T:30\n")
    + "\n[Term]\nid: T:31\nname: old\nis_obsolete: true\nreplaced_by: T:2\n"
    + "\n[Term]\nid: T:32\nname: older\nis_obsolete: true\n"
)


@pytest.fixture
def call(seqscan, out, tmp_path):
    """Run one of the commands on the finished run; return its exit code, errors and new files."""

    def run(command, *, annotations="a.tsv", ontology="t.obo", output=None, extra=()):
        source = {"annotate": ("new.fasta", "--model", "OUT/model"), "ontology": ("OUT",)}.get(
            command, ("OUT/assignments.tsv",)
        )
        quick = {"annotate": ("--no-alignments", "--no-residues"), "audit": ("--no-alignments",)}
        before = set(tmp_path.rglob("*"))
        code, _, err = seqscan(
            command, *source, "--annotations", annotations, "--ontology", ontology,
            "-o", output or ("e.obo" if command == "ontology" else "e.tsv"), *quick.get(command, ()), *extra,
        )  # fmt: skip
        return code, err, {str(path.relative_to(tmp_path)) for path in set(tmp_path.rglob("*")) - before}

    return run


def said_once(code, err):
    """Return the only line that says what is wrong."""
    errors = [line for line in err.splitlines() if line.startswith("seqscan: ")]
    assert code == 2, err
    assert len(errors) == 1
    assert "Traceback" not in err
    return errors[0]


# Name of the file, its content, and what is said of it.
ONTOLOGIES = {
    "cyclic": ("bad.obo", CYCLIC, "T:1 -> T:4 -> T:2 -> T:1"),
    "missing": ("bad.obo", None, "no such file"),
    "empty": ("bad.obo", "", "no term that is in use"),
    "FASTA": ("bad.obo", ">f0m0\nMKV\n", "(line 1: expected HeaderClause). Give an ontology in OBO"),
    "broken line": ("bad.obo", OBO.replace("name: beta", "name beta"), "(line 17: "),
    "term twice": ("bad.obo", OBO + "\n[Term]\nid: T:4\nname: again\n", "T:4 is defined twice"),
    "no JSON": ("bad.json", "format-version: 1.2\n", "line 1 column 1"),
    "JSON of something else": ("bad.json", '{"a": 1}', "no 'graphs'"),
    "JSON without a graph": ("bad.json", '{"graphs": []}', "no 'graphs'"),
}
ANNOTATIONS = {
    "unknown terms": ("f0m0\tX:1\n", "unknown are 1 (such as X:1)"),
    "obsolete terms": ("f0m0\tT:32\n", "obsolete, and not replaced, are 1 (such as T:32)"),
    "other proteins": ("stranger\tT:3\n", "proteins; they are called f0m"),
    "empty": ("", "holds no annotation"),
    "header alone": ("protein\tterm\n", "holds no annotation"),
    "one column": ("f0m0\nf0m1\n", "holds no annotation"),
    "row of one column": (TABLE + "f0m0\n", "line 3 has no terms in column 2"),
    "short row of GAF": ("!gaf-version: 2.2\nU\tf0m0\tx\n", "line 2 is no row of GAF"),
}
ASSIGNMENTS = {
    "empty": ("", "no column 'id'"),
    "header alone": ("id\tcluster\n", "no row"),
    "no clusters": ("id\tprobability\nf0m0\t1\n", "no column 'cluster'; it has id, probability"),
    "short row": ("id\tcluster\nf0m0\t0\nf0m1\n", "line 3: too few columns"),
    "no number": ("id\tcluster\tprobability\nf0m0\t0\t1\nf0m1\t0\thigh\n", "line 3: 'high' in column"),
    "below -1": ("id\tcluster\nf0m0\t0\nf0m1\t-7\n", "line 3: -7 is no cluster"),
    "id twice": ("id\tcluster\nf0m0\t0\nf0m0\t0\n", "line 3: the id 'f0m0' occurs twice"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("name", "content", "said"), ONTOLOGIES.values(), ids=ONTOLOGIES)
def test_what_is_no_ontology(call, tmp_path, command, name, content, said):
    if content is not None:
        (tmp_path / name).write_text(content)
    code, err, files = call(command, ontology=name)
    message = said_once(code, err)
    assert f"{name}: " in message
    assert said in message
    assert not files


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("content", "said"), ANNOTATIONS.values(), ids=ANNOTATIONS)
def test_what_are_no_annotations(call, tmp_path, command, content, said):
    (tmp_path / "old.obo").write_text(OLD)
    (tmp_path / "bad.tsv").write_text(content)
    code, err, files = call(command, annotations="bad.tsv", ontology="old.obo")
    message = said_once(code, err)
    assert "bad.tsv: " in message
    assert said in message
    assert not files


@pytest.mark.parametrize("command", ["enrich", "audit", "ontology"])
@pytest.mark.parametrize(("content", "said"), ASSIGNMENTS.values(), ids=ASSIGNMENTS)
def test_what_are_no_assignments(call, out, command, content, said):
    (out / "assignments.tsv").write_text(content)
    code, err, files = call(command)
    message = said_once(code, err)
    assert "assignments.tsv: " in message
    assert said in message
    assert not files


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_left_out_is_counted(call, tmp_path, command):
    (tmp_path / "old.obo").write_text(OLD)
    more = "".join(f"f{f}m{m}\tT:{t}\n" for f, t in ((0, 2), (1, 30), (2, 31)) for m in range(12))
    some = "f0m0\tT:98\nf0m1\tT:32\nf0m2\tT:32\nanother\tT:3\n"
    (tmp_path / "a.tsv").write_text((tmp_path / "a.tsv").read_text() + more + some)
    code, err, files = call(command, ontology="old.obo")
    assert code == 0, err
    assert files
    for line in (
        "24 with an alternative or replaced id, brought up to date (such as T:30, T:31)",
        "2 with an obsolete id that nothing replaces, left out (such as T:32)",
        "2 with an id that the ontology does not know, left out (such as T:99, T:98)",
        "2 annotated proteins not among them",
    ):
        assert line in err.splitlines()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("output", ["e.xyz", "e", "e.tsv.gz", "e.csv", "e.gaf", "e.html"])
def test_an_output_of_another_format(call, command, output):
    code, err, files = call(command, output=output)
    assert "unknown suffix. Choose from " in said_once(code, err)
    assert not files


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("output", ["folder.tsv", "new.fasta/e.tsv"])
def test_an_output_with_something_in_the_way(call, tmp_path, command, output):
    (tmp_path / "folder.tsv").mkdir()
    code, err, files = call(command, output=output)
    assert ("is a directory" if output == "folder.tsv" else "is a file") in said_once(code, err)
    assert not files


@pytest.mark.parametrize(
    ("command", "beside"),
    [
        ("annotate", "e.gaf"),
        ("audit", "e.terms.tsv"),
        ("ontology", "e.members.tsv"),
        ("enrich", "knowledge.html"),
    ],
)
def test_nothing_is_written_if_one_of_the_outputs_cannot_be(call, tmp_path, command, beside):
    (tmp_path / beside).mkdir()
    code, err, files = call(command)
    assert beside in said_once(code, err)
    assert not files


@pytest.mark.parametrize("command", ["enrich", "audit", "ontology"])
@pytest.mark.parametrize("content", ["<p>mine</p>", '<script type="application/json" id="data">{</script>'])
def test_a_page_of_someone_else_is_left_alone(call, tmp_path, command, content):
    (tmp_path / "mine.html").write_text(content)
    code, err, files = call(command, extra=("--page", "mine.html"))
    assert "no page of seqscan" in said_once(code, err)
    assert (tmp_path / "mine.html").read_text() == content
    assert not files


def test_a_page_that_is_the_output(call):
    code, err, files = call("enrich", extra=("--page", "e.tsv"))
    assert "is an output too" in said_once(code, err)
    assert not files


@pytest.mark.parametrize(("given", "other"), [("annotations", "ontology"), ("ontology", "annotations")])
def test_ontology_names_the_option_that_goes_with_the_one_given(seqscan, out, given, other):
    code, _, err = seqscan("ontology", out, f"--{given}", "x.tsv", "-o", "c.obo")
    assert code == 2
    assert f"{given}='x.tsv': says nothing without --{other}. Give both or none." in err
