"""Enrichment against exact fractions, and which ancestors are folded."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from scipy import sparse

from seqscan.errors import InputError, InvalidParameter
from seqscan.knowledge.annotations import propagate
from seqscan.knowledge.enrich import enrich
from seqscan.knowledge.ontology import Ontology, Term


@pytest.fixture
def ontology():
    parents = {"1": "", "2": "1", "3": "2", "4": "1"}
    return Ontology.of(
        Term(f"T:{i}", f"term {i}", "x", parents=((("is_a", f"T:{p}"),) if p else ()))
        for i, p in parents.items()
    )


def annotated(ontology, terms):
    direct = sparse.lil_array((len(terms), len(ontology)), dtype=bool)
    for row, term in enumerate(terms):
        if term:
            direct[row, ontology.row(term)] = True
    return propagate(direct.tocsr(), ontology)


def exact(k, n, annotated, drawn):
    ways = sum(
        comb(annotated, i) * comb(n - annotated, drawn - i) for i in range(k, min(annotated, drawn) + 1)
    )
    return Fraction(ways, comb(n, drawn))


def test_p_is_exact(ontology):
    generator = np.random.default_rng(0)
    terms = generator.choice(["", "T:2", "T:3", "T:4"], 60)
    labels = generator.integers(-1, 3, 60)
    carries = annotated(ontology, terms)
    found = enrich(labels, carries, ontology, max_q=1.0)
    used = (labels >= 0) & (terms != "")
    assert found.background == used.sum()
    dense = carries.toarray()[used]
    assert len(found) == found.n_tests > 8
    for i in range(len(found)):
        members = labels[used] == found.clusters[i]
        carrying = dense[:, found.terms[i]]
        assert found.members[i] == (members & carrying).sum()
        truth = exact(int(found.members[i]), int(used.sum()), int(carrying.sum()), int(members.sum()))
        assert found.p[i] == pytest.approx(float(truth), rel=1e-9)
    # Benjamini and Hochberg (1995): p times the number of tests over its rank, made to rise.
    p = np.sort(found.p)
    q = [min(p[j] * len(p) / (j + 1) for j in range(i, len(p))) for i in range(len(p))]
    np.testing.assert_allclose(np.sort(found.q), np.minimum(q, 1.0))


def test_background_of_all_counts_the_proteins_without_terms(ontology):
    labels = np.array([0, 0, 1, 1, 1, -1])
    carries = annotated(ontology, ["T:3", "T:3", "T:4", "", "", "T:4"])
    assert enrich(labels, carries, ontology, max_q=1).background == 3
    assert enrich(labels, carries, ontology, max_q=1, background="all").background == 5
    with pytest.raises(InvalidParameter, match="Choose from"):
        enrich(labels, carries, ontology, background="genome")


def test_an_ancestor_that_says_nothing_more_is_folded(ontology):
    # Cluster 0 carries T:3 and so T:2; in cluster 2, T:2 has proteins of its own.
    terms = ["T:3"] * 20 + ["T:4"] * 60 + ["T:3"] * 10 + ["T:2"] * 10
    labels = np.array([0] * 20 + [1] * 60 + [2] * 20)
    found = enrich(labels, annotated(ontology, terms), ontology)
    folded = {
        (int(c), ontology.terms[t].id): ontology.terms[f].id if f >= 0 else ""
        for c, t, f in zip(found.clusters, found.terms, found.folded_into, strict=True)
    }
    assert folded[0, "T:3"] == ""
    assert folded[0, "T:2"] == "T:3"
    assert folded[2, "T:2"] == ""
    assert folded[1, "T:4"] == ""


def test_p_below_the_smallest_number_is_not_zero(ontology):
    terms = ["T:3"] * 3000 + ["T:4"] * 3000
    found = enrich(np.repeat([0, 1], 3000), annotated(ontology, terms), ontology)
    assert (found.p > 0).all()
    assert found.p.max() < 1e-300


def test_terms_stand_in_order_of_p_below_the_smallest_number_too(ontology):
    # All of cluster 0 carry T:2 and all but a few T:3; T:2 has some carriers elsewhere, T:3 none.
    terms = ["T:2"] * 20 + ["T:3"] * 2980 + ["T:2"] * 200 + ["T:4"] * 3000
    found = enrich(np.repeat([0, 1], [3000, 3200]), annotated(ontology, terms), ontology)
    own = found.clusters == 0
    assert found.p[own].tolist() == [np.nextafter(0, 1)] * 2
    assert [ontology.terms[t].id for t in found.terms[own]] == ["T:3", "T:2"]
    terms = ["T:2"] * 200 + ["T:3"] * 2800 + ["T:2"] * 20 + ["T:4"] * 3180
    found = enrich(np.repeat([0, 1], [3000, 3200]), annotated(ontology, terms), ontology)
    assert [ontology.terms[t].id for t in found.terms[found.clusters == 0]] == ["T:2", "T:3"]


def test_parts_of_a_protein_count_once(ontology):
    # Cluster 0 has ten repeats of one protein with T:2, cluster 1 ten other proteins.
    labels = np.repeat([0, 1], 10)
    carries = annotated(ontology, ["T:2"] * 10 + ["T:4"] * 10)
    assert len(enrich(labels, carries, ontology)) == 2
    proteins = np.array([0] * 10 + list(range(1, 11)))
    found = enrich(labels, carries, ontology, proteins=proteins, max_q=1.0)
    assert found.background == 11
    assert found.cluster_sizes.tolist() == [1, 10]
    assert found.members.tolist() == [1, 10]
    assert found.p == pytest.approx([1 / 11, 1 / 11])
    # One with parts in both clusters is a member of both.
    across = enrich(np.array([0, 1, 1]), annotated(ontology, ["T:2", "T:2", "T:4"]), ontology,
                    proteins=np.array([0, 0, 1]), max_q=1.0)  # fmt: skip
    assert across.background == 2
    assert across.cluster_sizes.tolist() == [1, 2, 2]


def test_roots_are_not_tested(ontology):
    # All that is annotated carries the root, which would be enriched beside proteins that are not.
    labels = np.repeat([0, 1], 20)
    found = enrich(labels, annotated(ontology, ["T:2"] * 20 + [""] * 20), ontology, background="all")
    assert [ontology.terms[t].id for t in found.terms] == ["T:2"]
    assert found.n_tests == 1


def test_nothing_to_test(ontology):
    with pytest.raises(InputError, match="no protein is in a cluster"):
        enrich(np.array([-1, 0]), annotated(ontology, ["T:2", ""]), ontology)


def test_nothing_enriched_is_a_table_without_rows(ontology, tmp_path):
    found = enrich(np.array([0, 1]), annotated(ontology, ["T:2", "T:2"]), ontology)
    found.write(tmp_path / "e.tsv")
    assert (tmp_path / "e.tsv").read_text().startswith("cluster\tterm\tname")
    assert len(found) == 0
