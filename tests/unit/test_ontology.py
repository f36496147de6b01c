"""Reading ontologies: the closure, old ids, and files that cannot be one."""

import gzip
import json

import pytest

from seqscan.errors import InputError
from seqscan.knowledge.ontology import Ontology, Term

OBO = """format-version: 1.2
data-version: test/1
default-namespace: things

[Term]
id: T:1
name: root

[Term]
id: T:2
name: left
alt_id: T:20
is_a: T:1 ! root

[Term]
id: T:3
name: right
is_a: T:1
relationship: regulates T:2

[Term]
id: T:4
name: leaf
namespace: others
def: "A leaf." []
subset: tips
is_a: T:3
relationship: part_of T:2

[Term]
id: T:5
name: gone
is_obsolete: true

[Term]
id: T:6
name: renamed
is_obsolete: true
replaced_by: T:20

[Typedef]
id: part_of
name: part of
"""


@pytest.fixture
def obo(tmp_path):
    path = tmp_path / "t.obo"
    path.write_text(OBO)
    return path


def test_read(obo):
    ontology = Ontology.read(obo)
    assert [term.id for term in ontology.terms] == ["T:1", "T:2", "T:3", "T:4"]
    leaf = ontology.terms[3]
    assert (leaf.definition, leaf.namespace) == ("A leaf.", "others")
    assert leaf.parents == (("is_a", "T:3"), ("part_of", "T:2"))
    assert leaf.subsets == ("tips",)
    assert ontology.terms[0].namespace == "things"
    assert ontology.version == "test/1"
    # regulates is no part of the hierarchy
    above = {
        term.id: {ontology.terms[i].id for i in ontology.above(row)}
        for row, term in enumerate(ontology.terms)
    }
    assert above == {
        "T:1": {"T:1"}, "T:2": {"T:1", "T:2"}, "T:3": {"T:1", "T:3"}, "T:4": {"T:1", "T:2", "T:3", "T:4"}
    }  # fmt: skip
    assert ontology.depths.tolist() == [0, 1, 1, 2]
    assert ontology.most_specific([0, 1, 2]) == [1, 2]


def test_old_ids_lead_to_the_term_in_use(obo):
    ontology = Ontology.read(obo)
    assert ontology.row("T:20") == ontology.row("T:2") == 1
    assert ontology.row("T:6") == 1  # replaced by an id that was merged itself
    assert ontology.row("T:5") == ontology.row("T:99") == -1
    assert ontology.obsolete == {"T:5"}


def test_compressed(obo, tmp_path):
    packed = tmp_path / "t.obo.gz"
    packed.write_bytes(gzip.compress(OBO.encode()))
    assert len(Ontology.read(packed)) == 4


def test_without_a_branch(obo):
    left = Ontology.read(obo).without([2])
    assert [term.id for term in left.terms] == ["T:1", "T:2", "T:4"]
    assert left.terms[2].parents == (("part_of", "T:2"),)


def test_a_cycle_is_refused_and_shown():
    terms = [
        Term("T:1"),
        Term("T:2", parents=(("is_a", "T:1"), ("part_of", "T:4"))),
        Term("T:3", parents=(("is_a", "T:2"),)),
        Term("T:4", parents=(("is_a", "T:3"),)),
    ]
    with pytest.raises(InputError, match=r"own ancestor: T:2 -> T:4 -> T:3 -> T:2"):
        Ontology.of(terms)
    with pytest.raises(InputError, match="own ancestor: T:1 -> T:1"):
        Ontology.of([Term("T:1", parents=(("is_a", "T:1"),))])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no term"),
        (b"not an ontology at all\n", "not a readable ontology"),
        (gzip.compress(OBO.encode(), mtime=0)[:100], "cannot be read .* Give an ontology in OBO"),
    ],
)
def test_files_that_are_no_ontology(tmp_path, content, said):
    path = tmp_path / ("x.obo.gz" if content[:2] == b"\x1f\x8b" else "x.obo")
    path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        Ontology.read(path)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        Ontology.read(tmp_path / "none.obo")


def test_replacements_are_followed_to_a_term_in_use(tmp_path):
    path = tmp_path / "a.obo"
    obsolete = "".join(
        f"[Term]\nid: T:{old}\nname: old\nis_obsolete: true\nreplaced_by: T:{new}\n\n"
        for old, new in ((3, 4), (4, 5), (5, 2), (6, 7), (7, 6))
    )
    # T:1 is in use, whatever T:2 says.
    path.write_text(
        "format-version: 1.4\n\n[Term]\nid: T:1\nname: a\n\n"
        f"[Term]\nid: T:2\nname: b\nalt_id: T:1\nalt_id: T:8\n\n{obsolete}"
    )
    found = Ontology.read(path)
    assert found.replaced == dict.fromkeys(["T:3", "T:4", "T:5", "T:8"], "T:2")
    assert found.obsolete == {"T:6", "T:7"}
    assert found.row("T:1") == 0


def test_subsets_in_json_are_named_as_in_obo(tmp_path):
    path = tmp_path / "a.json"
    node = {"id": "http://purl.obolibrary.org/obo/GO_0000001", "lbl": "a", "type": "CLASS"}
    node["meta"] = {"subsets": ["http://purl.obolibrary.org/obo/go#gocheck_do_not_annotate"]}
    path.write_text(json.dumps({"graphs": [{"id": "go", "nodes": [node], "edges": []}]}))
    assert Ontology.read(path).terms[0].subsets == ("gocheck_do_not_annotate",)
