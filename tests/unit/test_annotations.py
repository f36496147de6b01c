"""Reading annotations: every layout, ids that do not fit, and what is counted."""

import pytest

from seqscan.errors import InputError
from seqscan.knowledge.annotations import read_annotations
from seqscan.knowledge.ontology import Ontology, Term


@pytest.fixture
def ontology():
    terms = [
        Term("GO:1", "root"),
        Term("GO:2", "left", parents=(("is_a", "GO:1"),)),
        Term("GO:3", "leaf", parents=(("is_a", "GO:2"),)),
    ]
    return Ontology.of(terms, replaced={"GO:30": "GO:3"}, obsolete=["GO:9"])


def gaf(protein, term, qualifier="enables", evidence="IEA"):
    columns = ["UniProtKB", protein, "sym", qualifier, term, "GO_REF:1", evidence, "", "F", "", "", "protein"]
    return "\t".join([*columns, "taxon:1", "20140101", "UniProt", "", ""])


LAYOUTS = {
    "GAF": f"!gaf-version: 2.2\n!made by hand\n{gaf('P1', 'GO:3')}\n{gaf('P2', 'GO:2')}\n",
    "GAF without its head": f"{gaf('P1', 'GO:3')}\n{gaf('P2', 'GO:2')}\n",
    "GPAD 1.2": "!gpa-version: 1.2\n"
    "UniProtKB\tP1\tenables\tGO:3\tR:1\tECO:1\t\t\t20140101\tU\t\t\n"
    "UniProtKB\tP2\tenables\tGO:2\tR:1\tECO:1\t\t\t20140101\tU\t\t\n",
    "GPAD 2.0": "!gpad-version: 2.0\n"
    "UniProtKB:P1\t\tRO:0002327\tGO:3\tR:1\tECO:1\t\t\t2014-01-01\tU\t\t\n"
    "UniProtKB:P2\t\tRO:0002327\tGO:2\tR:1\tECO:1\t\t\t2014-01-01\tU\t\t\n",
    "GPAD 2.0, no space in its head": "!gpad-version:2.0\n"
    "UniProtKB:P1\t\tRO:0002327\tGO:3\tR:1\tECO:1\t\t\t2014-01-01\tU\t\t\n"
    "UniProtKB:P2\t\tRO:0002327\tGO:2\tR:1\tECO:1\t\t\t2014-01-01\tU\t\t\n",
    "two columns": "P1\tGO:3\nP2\tGO:2\n",
    "two columns with a header": "id\tterm\nP1\tGO:3\nP2\tGO:2\n",
    "many terms in a cell": "protein\taspect\tterms\nP1\tF\tGO:3,GO:2\nP2\tF\tGO:2\n",
    "empty cells and lines": "Entry\tTerms\nP0\t\nP1\tGO:3; GO:2\n\nP2\tGO:2\nP3\t\n\n",
    "names before the ids": "Entry\tGene Ontology (GO)\n"
    "P1\tleaf, a [GO:3]; left; b [GO:2]\nP2\tleft [GO:2]\n",
    "many columns": "\n".join(
        "\t".join([*row, *[""] * 12]) for row in (["Entry"], ["P1", "", "GO:3"], ["P2", "", "GO:2"])
    ),
    "commas": 'protein,term\n"P1",GO:3\nP1,GO:2\nP2,GO:2\n',
    "commas between terms too": "P1,GO:3,GO:2\nP2,GO:2\n",
    "byte order mark": "\ufeffP1\tGO:3\nP2\tGO:2\n",
    "protein, term, aspect": "P1\tGO:3\tF\nP2\tGO:2\tF\n",
    "CAFA": "AUTHOR team\nMODEL 1\nKEYWORDS none.\nP1\tGO:3\t0.91\nP2 GO:2 0.5\nP2 GO:3 0.3\nEND\n",
}


def test_a_root_says_that_nothing_is_known(tmp_path, ontology):
    path = tmp_path / "a.tsv"
    path.write_text("P1\tGO:3\nP2\tGO:1\n")
    found = read_annotations(path, ontology)
    assert found.proteins == ["P1"]
    assert found.counts["root"] == 1
    assert "1 with a root of the ontology" in found.problems()[-1]
    path.write_text("P2\tGO:1\n")
    with pytest.raises(InputError, match="1 that nothing is known"):
        read_annotations(path, ontology)


def test_without_a_hierarchy_no_term_is_a_root(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("P1\tEC:1\n")
    assert read_annotations(path, Ontology.of([Term("EC:1"), Term("EC:2")])).proteins == ["P1"]


@pytest.mark.parametrize("text", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts(tmp_path, ontology, text):
    path = tmp_path / "a.tsv"
    path.write_text(text)
    found = read_annotations(path, ontology)
    assert found.proteins == ["P1", "P2"]
    assert found.propagated.toarray().tolist() == [[True, True, True], [True, True, False]]
    assert found.counts.get("improbable", 0) == ("CAFA" in text or "AUTHOR" in text)
    assert found.counts.get("empty", 0) == ("P3" in text)


def test_what_is_not_used_is_counted(tmp_path, ontology):
    path = tmp_path / "a.gaf"
    rows = [
        gaf("P1", "GO:30"), gaf("P1", "GO:9"), gaf("P1", "GO:77"), gaf("P2", "GO:3", "NOT|enables"),
        gaf("P2", "GO:1", evidence="ND"), gaf("P2", "GO:2"),
    ]  # fmt: skip
    path.write_text("!gaf-version: 2.2\n" + "\n".join(rows) + "\n")
    found = read_annotations(path, ontology)
    assert found.counts == {
        "pairs": 6,
        "replaced": 1,
        "obsolete": 1,
        "unknown": 1,
        "negated": 1,
        "no_data": 1,
    }
    assert found.direct.toarray().tolist() == [[False, False, True], [False, True, False]]
    assert found.negated.toarray().tolist() == [[False, False, False], [False, False, True]]
    said = "\n".join(found.problems())
    for part in ("GO:30", "obsolete id", "GO:9", "does not know, left out (such as GO:77)", "say NOT"):
        assert part in said


def test_match_by_accession_and_say_so(tmp_path, ontology):
    path = tmp_path / "a.tsv"
    path.write_text("P1\tGO:3\nP2\tGO:2\nP3\tGO:2\n")
    matched = read_annotations(path, ontology).match(["P1/5-90", "sp|P2|X_Y", "P1", "Q9"])
    assert matched.propagated.toarray().sum(axis=1).tolist() == [3, 2, 3, 0]
    assert (matched.n_exact, matched.n_by_accession, matched.n_unused) == (1, 2, 1)
    assert (
        "3 of 4 proteins (75 %) have annotations (2 of them by the accession within the id)"
        in matched.report()
    )


def test_isoforms_and_versions_match_the_plain_accession_and_say_so(tmp_path, ontology):
    path = tmp_path / "a.tsv"
    path.write_text("P12345\tGO:3\nNP_000001\tGO:2\nP54321-2\tGO:2\nXP_000002.1\tGO:3\n")
    ids = ["sp|P12345-2|X_HUMAN", "NP_000001.1", "P54321-2", "P54321-3", "P54321", "XP_000002.4"]
    matched = read_annotations(path, ontology).match(ids)
    # An isoform that is annotated by itself is found; another isoform, and the protein, are not that isoform.
    assert matched.propagated.toarray().sum(axis=1).tolist() == [3, 2, 2, 0, 0, 3]
    assert (matched.n_exact, matched.n_by_accession, matched.n_by_plain) == (1, 0, 3)
    said = matched.report()
    assert "(3 of them only without the number of an isoform or a version)" in said[1]
    assert "2 have none (such as P54321-3; P54321)" in said


def test_the_nearest_id_wins(tmp_path, ontology):
    path = tmp_path / "a.tsv"
    path.write_text("P12345\tGO:3\nP12345-2\tGO:2\nsp|P12345|X_HUMAN\tGO:4\n")
    ontology = Ontology.of([*ontology.terms, Term("GO:4", "tip", parents=(("is_a", "GO:3"),))])
    ids = ["P12345", "P12345-2", "sp|P12345|X_HUMAN", "tr|P12345|OLD", "tr|P12345-2|OLD", "P12345-3"]
    matched = read_annotations(path, ontology).match(ids)
    assert matched.propagated.toarray().sum(axis=1).tolist() == [3, 2, 4, 3, 2, 3]
    assert (matched.n_exact, matched.n_by_accession, matched.n_by_plain) == (3, 2, 1)
    assert (
        "5 of them share the entry of another one (such as P12345 and tr|P12345|OLD and P12345-3: P12345; "
        "P12345-2 and tr|P12345-2|OLD: P12345-2)" in matched.report()
    )


def test_ids_that_fit_several_annotated_proteins_match_none_and_are_counted(tmp_path, ontology):
    path = tmp_path / "a.tsv"
    path.write_text("XP_000002.1\tGO:3\nXP_000002.2\tGO:2\nP12345/1-50\tGO:3\nP12345/60-90\tGO:2\nP1\tGO:3\n")
    found = read_annotations(path, ontology)
    matched = found.match(["XP_000002.3", "P12345", "XP_000002.2", "P1", "P2"])
    assert matched.propagated.toarray().sum(axis=1).tolist() == [0, 0, 2, 3, 0]
    assert (matched.n_exact, matched.n_ambiguous, matched.n_shared) == (2, 2, 0)
    said = "\n".join(matched.report())
    assert (
        "2 have none because their ids fit several annotated proteins (such as XP_000002.3: XP_000002.1 or "
        "XP_000002.2; P12345: P12345/1-50 or P12345/60-90)" in said
    )
    assert "1 have none (such as P2)" in said
    with pytest.raises(
        InputError, match=r"no annotation of 1 .* 1 may mean several of them \(P12345: P12345/1"
    ):
        found.match(["P12345"])


def test_a_number_at_the_end_is_no_isoform_or_version_of_any_name(tmp_path, ontology):
    path = tmp_path / "a.tsv"
    path.write_text("gene\tGO:3\ncontig.1\tGO:2\nAT1G01010\tGO:2\n")
    matched = read_annotations(path, ontology).match(["gene-2", "contig.2", "contig", "AT1G01010.1"])
    assert matched.propagated.toarray().sum(axis=1).tolist() == [0, 0, 0, 2]


def test_annotations_of_other_proteins_are_refused_with_both_kinds_of_id(tmp_path, ontology):
    path = tmp_path / "a.tsv"
    path.write_text("ENSP0001\tGO:3\n")
    with pytest.raises(InputError, match=r"no annotation of 1 protein;.*P1.*ENSP0001"):
        read_annotations(path, ontology).match(["P1"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no annotation"),
        ("protein\tterms\n", "holds no annotation"),
        ("P1\tGO:77\n", "not one of its 1 annotation "),
        ("P1\tGO:3\nP2\n", "line 2 has no terms"),
        (gaf("P1", "GO:3", "NOT|enables"), "no annotation that holds: of 1, 1 say NOT"),
        ("!gaf-version: 2.2\nP1\tGO:3\n", "line 2 is no row of GAF"),
    ],
)
def test_files_without_annotations(tmp_path, ontology, text, said):
    path = tmp_path / "a.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_annotations(path, ontology)


def test_missing_file(tmp_path, ontology):
    with pytest.raises(InputError, match="no such file"):
        read_annotations(tmp_path / "none", ontology)
