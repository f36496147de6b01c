"""Which terms go together, and what that says of a protein that has some."""

import numpy as np
import pytest
from scipy import sparse

from seqscan.knowledge.annotate import annotate
from seqscan.knowledge.annotations import propagate
from seqscan.knowledge.cooccurrence import COOCCURRENCE_FEATURES, Cooccurrence, specific
from seqscan.knowledge.ontology import Ontology, Term
from seqscan.knowledge.support import Surroundings


@pytest.fixture(scope="module")
def ontology():
    """Two aspects; in each a root, two branches and two leaves below each."""
    terms = []
    for aspect in "xy":
        terms.append(Term(f"{aspect}:r", "", aspect))
        for branch in "01":
            terms.append(Term(f"{aspect}:{branch}", "", aspect, "", (("is_a", f"{aspect}:r"),)))
            terms += [
                Term(f"{aspect}:{branch}{leaf}", "", aspect, "", (("is_a", f"{aspect}:{branch}"),))
                for leaf in "01"
            ]
    return Ontology.of(terms)


def table(ontology, rows):
    matrix = sparse.lil_array((len(rows), len(ontology)), dtype=bool)
    for row, terms in enumerate(rows):
        for term in terms:
            matrix[row, ontology.row(term)] = True
    return matrix.tocsr()


def test_specific_drops_what_is_implied(ontology):
    direct = table(ontology, [["x:00", "x:0", "y:1"], [], ["x:r"]])
    assert (specific(propagate(direct, ontology), ontology) != table(
        ontology, [["x:00", "y:1"], [], ["x:r"]])).nnz == 0  # fmt: skip


def test_shares_leave_the_protein_out(ontology):
    rows = [["x:00", "y:00"], ["x:00", "y:00"], ["x:00", "y:11"], ["x:00", "x:01", "y:11"], ["x:11", "y:00"]]
    direct = table(ontology, rows)
    cooccurrence = Cooccurrence(propagate(direct, ontology), ontology, np.arange(direct.shape[0]))
    held = table(ontology, [["x:00"], ["x:00"], [], ["x:01", "x:00"]])
    terms = np.array([ontology.row("y:00"), ontology.row("y:11"), ontology.row("y:00"), ontology.row("y:11")])
    place = np.array([0, 1, 2, 3])
    found = dict(
        zip(COOCCURRENCE_FEATURES, cooccurrence.features(np.arange(4), held, place, terms).T, strict=True)
    )
    # Four carry x:00: besides protein 0 one more has y:00, besides protein 1 two have y:11.
    assert found["cooccurrence_best"].tolist() == pytest.approx([1 / 4, 2 / 4, np.nan, 1 / 4], nan_ok=True)
    # The only carrier of x:01 is protein 3 itself.
    assert found["cooccurrence_mean"][3] == pytest.approx((1 / 4 + 0) / 2)
    assert np.expm1(found["n_held"]).round().tolist() == [1, 1, 0, 2]
    assert found["n_held_in_aspect"].tolist() == [0, 0, 0, 0]


def test_an_aspect_with_too_few_proteins_is_left_out_and_named(ontology, caplog):
    rows = [["x:00"] if i % 2 else ["x:11"] for i in range(40)]
    rows[3] = ["x:00", "y:00"]
    n = len(rows)
    empty = sparse.csr_array((n, n), dtype=np.float32)
    around = Surroundings([f"P{i}" for i in range(n)], np.arange(n) % 2, np.ones(n, np.float32), empty, empty)
    found = annotate(around, table(ontology, rows), ontology, np.arange(4))
    assert {ontology.namespaces[a] for a in ontology.aspects[found.terms]} == {"x"}
    assert "y (1 protein)" in caplog.text


def test_known_terms_decide_between_two_that_a_family_has(ontology):
    """Half of each family carry one pair of terms, half another; what is known of a protein tells which."""
    n = 240
    pairs = [("x:00", "y:00"), ("x:01", "y:11")]
    direct = table(ontology, [pairs[i % 2] if i % 10 else pairs[i // 10 % 2][:1] for i in range(n)])
    family = np.arange(n) // 40
    empty = sparse.csr_array((n, n), dtype=np.float32)
    around = Surroundings([f"P{i}" for i in range(n)], family, np.ones(n, np.float32), empty, empty)
    queries = np.arange(0, n, 10)
    found = annotate(around, direct, ontology, queries)
    rows, said = found.rows.tolist(), found.terms.tolist()
    p = dict(zip(zip(rows, said, strict=True), found.probabilities, strict=True))
    right = [p.get((r, ontology.row(pairs[r // 10 % 2][1])), 0) for r in queries.tolist()]
    wrong = [p.get((r, ontology.row(pairs[1 - r // 10 % 2][1])), 0) for r in queries.tolist()]
    assert np.mean(right) > 0.8
    assert np.mean(wrong) < 0.2
