"""Support, prediction and audit on a small world in which the truth is known."""

import numpy as np
import pytest
from scipy import sparse

from seqscan.errors import InputError
from seqscan.knowledge.annotate import annotate
from seqscan.knowledge.annotations import propagate
from seqscan.knowledge.audit import Audit, audit, corrupted, term_verdicts
from seqscan.knowledge.cooccurrence import Cooccurrence
from seqscan.knowledge.ontology import Ontology, Term
from seqscan.knowledge.support import FEATURES, Surroundings, nearest
from seqscan.knowledge.weights import apply_true_path_rule
from seqscan.store import unit

N_FAMILIES, N_MEMBERS = 12, 20


@pytest.fixture(scope="module")
def ontology():
    """A root, three branches below it, four leaves in each."""
    terms = [Term("T:root", "root", "x")]
    for branch in range(3):
        terms.append(Term(f"T:{branch}", f"branch {branch}", "x", parents=(("is_a", "T:root"),)))
        terms += [
            Term(f"T:{branch}{leaf}", f"leaf {branch}{leaf}", "x", parents=(("is_a", f"T:{branch}"),))
            for leaf in range(4)
        ]
    return Ontology.of(terms)


@pytest.fixture(scope="module")
def world(ontology):
    """Families of 20; each carries one leaf, and its vectors point one way."""
    generator = np.random.default_rng(0)
    family = np.repeat(np.arange(N_FAMILIES), N_MEMBERS)
    centers = generator.normal(size=(N_FAMILIES, 16))
    points = unit((centers[family] + 0.5 * generator.normal(size=(len(family), 16))).astype(np.float32))
    leaves = np.array([ontology.row(f"T:{f // 4}{f % 4}") for f in family])
    direct = sparse.csr_array(
        (np.ones(len(family), bool), (np.arange(len(family)), leaves)), shape=(len(family), len(ontology))
    )
    return family, points, direct


def around(family, points, annotated):
    n = len(family)
    return Surroundings(
        [f"P{i}" for i in range(n)],
        family.astype(np.int32),
        np.full(n, 0.9, np.float32),
        nearest(points, np.flatnonzero(annotated), 10),
        sparse.csr_array((n, n), dtype=np.float32),
    )


def test_nearest_is_brute_force_without_itself(world):
    _, points, _ = world
    among = np.arange(0, len(points), 2)
    graph = nearest(points, among, 5).toarray()
    cosine = points @ points.T
    np.fill_diagonal(cosine, -np.inf)
    hidden = np.setdiff1d(np.arange(len(points)), among)
    cosine[:, hidden] = -np.inf
    for row in range(len(points)):
        assert set(np.flatnonzero(graph[row])) == set(np.argsort(-cosine[row])[:5])


def test_a_protein_does_not_speak_for_itself(world, ontology):
    family, points, direct = world
    alone = direct.copy().tolil()
    alone[0] = False
    alone[0, ontology.row("T:23")] = True
    propagated = propagate(alone.tocsr(), ontology)
    evidence = around(family, points, np.ones(len(family), bool)).evidence(propagated)
    rows, place = np.array([0]), np.array([0, 0])
    terms = np.array([ontology.row("T:23"), ontology.row("T:00")])
    features = evidence.features(rows, place, terms)
    own, families = features[:, FEATURES.index("cluster")]
    assert own == 0
    assert families == pytest.approx(19 / 20)
    carriers, members = evidence.share_of_cluster(rows, place, terms)
    assert (carriers.tolist(), members.tolist()) == ([0, 19], [19, 19])


def test_parts_of_a_protein_do_not_speak_for_each_other(ontology):
    ids = ["A/1-50", "A/60-90", "B/1-50", "C", "A"]
    wrong, right = ontology.row("T:23"), ontology.row("T:00")
    direct = sparse.lil_array((5, len(ontology)), dtype=bool)
    direct[[0, 1, 4], wrong] = True
    direct[[2, 3], right] = True
    similar = sparse.csr_array(np.full((5, 5), 0.9, np.float32) - 0.9 * np.eye(5, dtype=np.float32))
    surroundings = Surroundings(ids, np.zeros(5, np.int32), np.ones(5, np.float32), similar, similar)
    propagated = propagate(direct.tocsr(), ontology)
    evidence = surroundings.evidence(propagated)
    rows, place, terms = np.array([0, 2]), np.array([0, 0, 1]), np.array([wrong, right, wrong])
    features = evidence.features(rows, place, terms)
    for name in ("neighbors", "nearest", "cluster", "alignments", "best_alignment"):
        of_itself, of_others, of_another = features[:, FEATURES.index(name)]
        assert of_itself == 0 < min(of_others, of_another)
    carriers, members = evidence.share_of_cluster(rows, place, terms)
    assert (carriers.tolist(), members.tolist()) == ([0, 2, 3], [2, 2, 4])
    assert evidence.witnesses(0, wrong) == []
    assert evidence.witnesses(2, wrong) == ["A/1-50(0.90)", "A/60-90(0.90)", "A(0.90)"]
    far = Surroundings(
        ids, surroundings.labels, surroundings.probabilities, sparse.csr_array((5, 5)), similar
    )
    assert far.evidence(propagated).witnesses(3, right) == ["B/1-50(0.90 bits)"]
    # What goes with a term is learnt from other proteins too.
    direct[[0, 1, 4], ontology.row("T:12")] = True
    propagated = propagate(direct.tocsr(), ontology)
    held = sparse.csr_array(([True], ([0], [wrong])), shape=(1, len(ontology)))
    together = Cooccurrence(propagated, ontology, surroundings.proteins)
    best = together.features(np.array([0]), held, np.array([0]), np.array([ontology.row("T:12")]))[0, 0]
    assert best == 0


def test_hidden_annotations_are_found_and_follow_the_hierarchy(world, ontology):
    family, points, direct = world
    hidden = np.arange(0, len(family), 5)
    known = np.ones(len(family), bool)
    known[hidden] = False
    shown = direct.multiply(known[:, None]).tocsr()
    shown.eliminate_zeros()
    found = annotate(around(family, points, known), shown, ontology, hidden)
    truth = propagate(direct, ontology)
    leaf = ontology.depths[found.terms] == 2
    best = {}
    for row, term, p in zip(found.rows[leaf], found.terms[leaf], found.probabilities[leaf], strict=True):
        best.setdefault(int(row), (int(term), p))
    right = [bool(truth[row, term]) for row, (term, _) in best.items()]
    assert len(best) == len(hidden)
    assert np.mean(right) > 0.9
    assert not found.known.any()
    assert not ontology.roots[found.terms].any()
    table = {
        (int(r), int(t)): p for r, t, p in zip(found.rows, found.terms, found.probabilities, strict=True)
    }
    for (row, term), p in table.items():
        for up in ontology.above(term):
            assert ontology.roots[up] or table[row, int(up)] >= p


def test_what_is_stated_not_to_hold_is_not_predicted(world, ontology):
    family, points, direct = world
    negated = sparse.lil_array(direct.shape, dtype=bool)
    negated[0, ontology.row("T:0")] = True
    surroundings = around(family, points, np.ones(len(family), bool))
    free = annotate(surroundings, direct, ontology, np.array([0]))
    bound = annotate(surroundings, direct, ontology, np.array([0]), negated=negated.tocsr())
    assert ontology.row("T:00") in free.terms
    assert not {ontology.row("T:0"), ontology.row("T:00")} & set(bound.terms.tolist())


def test_tables_of_predictions(world, ontology, tmp_path):
    family, points, direct = world
    found = annotate(around(family, points, np.ones(len(family), bool)), direct, ontology, np.array([3]))
    found.write(tmp_path / "p.tsv", residues={"P3": "4-9"})
    header, first, *_ = [line.split("\t") for line in (tmp_path / "p.tsv").read_text().splitlines()]
    assert header[:3] == ["protein", "term", "probability"]
    row = dict(zip(header, first, strict=True))
    assert (row["protein"], row["known"], row["cluster_annotated"], row["residues"]) == (
        "P3",
        "yes",
        "19",
        "4-9",
    )
    assert row["neighbors_that_carry_it"].count("(") == 3
    found.write_cafa(tmp_path / "p.txt")
    assert (tmp_path / "p.txt").read_text().splitlines()[0].split("\t")[::2] == ["P3", row["probability"]]


def test_too_few_annotations(world, ontology):
    family, points, direct = world
    few = direct[:10]
    surroundings = around(family[:10], points[:10], np.ones(10, bool))
    with pytest.raises(InputError, match="only 10 proteins"):
        annotate(surroundings, few, ontology, np.array([0]))
    with pytest.raises(InputError, match="10 of these proteins' annotations are too few"):
        audit(surroundings, few, ontology)


def test_the_true_path_rule_takes_the_highest_of_the_descendants(ontology):
    terms = np.array([ontology.row("T:0"), ontology.row("T:00"), ontology.row("T:01")])
    raised = apply_true_path_rule(np.zeros(3, np.int64), terms, np.array([0.2, 0.7, 0.1]), ontology)
    assert raised.tolist() == [0.7, 0.7, 0.1]


def test_reasons_of_proteins_without_alignments_or_without_a_cluster(world, ontology):
    family, points, direct = world
    labels = family.astype(np.int32)
    labels[0] = -1
    close = around(family, points, np.ones(len(family), bool))
    # All but the first are aligned with their families.
    alike = sparse.csr_array((family[:, None] == family).astype(np.float32) - np.eye(len(family)))
    alike = (sparse.diags_array((np.arange(len(family)) > 0).astype(np.float32)) @ alike).tocsr()
    surroundings = Surroundings(close.ids, labels, close.probabilities, close.neighbors, alike)
    wrong = direct.tolil()
    wrong[0], wrong[1] = False, False
    wrong[0, ontology.row("T:23")] = wrong[1, ontology.row("T:12")] = True
    found = audit(surroundings, wrong.tocsr(), ontology)
    reason = {line[0]: line[3] for line in found.table() if line[0] in ("P0", "P1")}
    for id, place in (("P0", "it is in no cluster"), ("P1", "0 of 18 other members of cluster 0 carry it")):
        assert reason[id].startswith(f"{place}; 0 % of the neighbors' votes are for it; ")
        assert "are for 'leaf 00', which it lacks (in another branch of the ontology)" in reason[id]


def test_what_the_annotations_also_deny_comes_first(world, ontology):
    family, points, direct = world
    surroundings = around(family, points, np.ones(len(family), bool))
    negated = sparse.lil_array(direct.shape, dtype=bool)
    own = ontology.terms[int(direct[[0]].nonzero()[1][0])].id
    assert len(own) == len("T:00")
    negated[0, ontology.row(own[:-1])] = True  # the parent
    negated[1, ontology.row("T:23")] = True  # says nothing of what it carries
    found = audit(surroundings, direct, ontology, negated=negated.tocsr())
    lines = found.head(2).table()
    assert lines[0][:3] == ("P0", own, "1.0000")
    assert lines[0][3].startswith("the annotations also say NOT '")
    assert f"({own[:-1]}) of it; " in lines[0][3]
    assert not any("NOT" in line[3] for line in found.table()[1:])


@pytest.mark.parametrize("sibling_share", [0.0, 1.0])
def test_swapped_annotations_come_first(world, ontology, sibling_share):
    family, points, direct = world
    swapped, wrong = corrupted(direct, ontology, 0.04, np.random.default_rng(1), sibling_share=sibling_share)
    found = audit(around(family, points, np.ones(len(family), bool)), swapped, ontology)
    is_wrong = np.asarray(wrong[found.rows, found.terms]).ravel()
    n = int(is_wrong.sum())
    assert n >= 4
    assert is_wrong[:n].mean() > 0.7
    first = found.table()[0]
    assert f"of 19 other members of cluster {first[6]} carry it" in first[3]
    assert "which it lacks" in first[3]


def test_corrupted_stays_in_the_aspect_and_off_the_branch(world, ontology):
    _, _, direct = world
    swapped, wrong = corrupted(direct, ontology, 0.3, np.random.default_rng(1), sibling_share=0.0)
    assert 40 < wrong.sum() < 100
    assert (swapped.sum(axis=1) == direct.sum(axis=1)).all()
    before = propagate(direct, ontology)
    assert before.multiply(wrong).sum() == 0


def verdicts(labels, direct, ontology):
    """Return what is said of terms; the audit needs more annotations than this, the verdicts do not."""
    n = len(labels)
    empty = sparse.csr_array((n, n), dtype=np.float32)
    surroundings = Surroundings([str(i) for i in range(n)], labels, np.ones(n, np.float32), empty, empty)
    none = np.zeros(0)
    found = Audit(
        surroundings.evidence(propagate(direct, ontology)), ontology, none.astype(int), none.astype(int),
        none, none, none.astype(int), none, none.astype(int),
    )  # fmt: skip
    return {line[0]: line[3] for line in term_verdicts(found, propagate(direct, ontology), min_proteins=3)}


def test_verdicts_on_terms(ontology):
    # Clusters 0 and 1 carry branch 0 with a leaf each; 2 and 3 carry branch 1 and nothing else;
    # a third of cluster 4 carries a leaf of branch 2, all of it the branch.
    terms = [["T:00"] * 6, ["T:01"] * 6, ["T:1"] * 6, ["T:1"] * 6, ["T:20"] * 3 + ["T:2"] * 6]
    flat = [term for cluster in terms for term in cluster]
    labels = np.repeat(np.arange(5), [len(cluster) for cluster in terms])
    direct = sparse.lil_array((len(flat), len(ontology)), dtype=bool)
    for row, term in enumerate(flat):
        direct[row, ontology.row(term)] = True
    said = verdicts(labels, direct.tocsr(), ontology)
    assert said == {"T:0": "too broad", "T:1": "split", "T:20": "too narrow"}
    # If all proteins carry branch 2, it says nothing of cluster 4.
    direct[:, ontology.row("T:2")] = True
    assert "T:20" not in verdicts(labels, direct.tocsr(), ontology)
