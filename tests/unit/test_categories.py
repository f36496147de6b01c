"""The graph of categories, what is said of each, and the files they are written to."""

import io

import fastobo
import numpy as np
import pytest
from scipy import sparse
from scipy.cluster.hierarchy import average, cophenet
from scipy.spatial.distance import pdist

from seqscan.alphabet import AMINO
from seqscan.errors import InputError, InvalidParameter
from seqscan.knowledge.annotations import propagate
from seqscan.knowledge.candidates import Candidate, Knowledge, propose
from seqscan.knowledge.categories import (
    Category,
    Linkage,
    categories,
    cluster_means,
    covariance_within,
    linkage,
    stable_id,
)
from seqscan.knowledge.enrich import enrich
from seqscan.knowledge.export import document, write_members, write_ontology
from seqscan.knowledge.fits import narrowed
from seqscan.knowledge.ontology import Ontology, Term
from seqscan.knowledge.page import enrichment_part, ontology_part, update_page
from seqscan.knowledge.traits import motif, shared_phrase, word_shares
from seqscan.store import unit

# Four clusters in two pairs.
MEANS = unit(
    np.random.default_rng(0).normal(size=(2, 64)).repeat(2, axis=0) + np.diag([5, 5, 7, 7]) @ np.eye(4, 64)
)


def test_pairs_of_clusters_become_categories_above_them():
    labels = np.repeat([0, 1, 2, 3, -1], 5)
    found = categories(labels, MEANS, np.arange(4))
    assert [c.clusters for c in found] == [(0,), (1,), (2,), (3,), (0, 1), (2, 3)]
    assert [c.parents for c in found] == [(4,), (4,), (5,), (5,), (), ()]
    assert found[4].rows.tolist() == list(range(10))
    assert found[4].cohesion == pytest.approx(float(MEANS[0] @ MEANS[1]))


def families(n, *, scale=1.0, seed=0, within=0.1, size=6):
    """Members of n clusters in groups of four: points, labels, their means and the covariance within."""
    generator = np.random.default_rng(seed)
    centers = generator.normal(size=(n, 64)) + 1.5 * generator.normal(size=(n, 64))[np.arange(n) // 4 * 4]
    labels = np.repeat(np.arange(n), size)
    points = scale * unit(centers[labels] / 15 + within * generator.normal(size=(n * size, 64)))
    means = cluster_means(points, labels, np.arange(n))
    return labels, means, covariance_within(points, labels, means)


def test_groups_of_clusters_are_found_whatever_the_scale_of_cosines():
    for scale in (1.0, 0.2):
        labels, means, covariance = families(40, scale=scale)
        found = {c.clusters for c in categories(labels, means, np.arange(40), covariance=covariance)}
        assert {tuple(range(i, i + 4)) for i in range(0, 40, 4)} <= found


def test_what_other_members_would_not_form_is_no_category():
    """Of clusters equally far from each other nominally 5 % of the joins, by their branches.

    That these are no nearer than chance explains is seen without members too.
    """
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(60), 6)
    shares = []
    for _ in range(5):
        points = unit(np.eye(60, 64)[labels] + 0.2 * generator.normal(size=(360, 64)))
        means = cluster_means(points, labels, np.arange(60))
        within = covariance_within(points, labels, means)
        made = categories(labels, means, np.arange(60), covariance=within, max_q=1.0)
        shares.append(sum(len(c.clusters) > 1 for c in made) / 58)
        assert len(categories(labels, means, np.arange(60), covariance=within)) == 60
        assert len(categories(labels, means, np.arange(60))) == 60
    assert 0 < np.mean(shares) < 0.2
    assert len(categories(labels, means, np.arange(60), max_q=1.0)) == 118


def test_a_few_unrelated_families_are_no_category():
    """That is the rate of false discoveries, and what few pairs tell of chance is uncertain."""
    n_wrong = 0
    for seed in range(100):
        means = np.random.default_rng(seed).normal(size=(8, 64))
        n_wrong += len(categories(np.arange(8), unit(means - means.mean(axis=0)), np.arange(8))) > 8
    assert n_wrong <= 10


def test_branches_are_measured_by_what_other_members_would_give():
    generator = np.random.default_rng(0)
    sizes = np.array([30, 60, 40, 80, 30])
    labels, spread = np.repeat(np.arange(5), sizes), np.linspace(0.05, 0.4, 8)
    centers = unit(generator.normal(size=(5, 8)))
    tree = Linkage.of(centers, sizes, np.diag(spread**2))

    def lengths(means):
        """Of the branches of the same tree."""
        nodes, weights, found = list(means), list(sizes), []
        for left, right in tree.sides.tolist():
            weights.append(weights[left] + weights[right])
            nodes.append((weights[left] * nodes[left] + weights[right] * nodes[right]) / weights[-1])
        for node, (left, right) in enumerate(tree.sides[:-1].tolist(), 5):
            (pair,) = (pair for pair in tree.sides.tolist() if node in pair)
            found.append(nodes[left] @ nodes[right] - nodes[node] @ nodes[sum(pair) - node])
        return np.array(found)

    drawn = []
    for _ in range(500):
        points = (centers[labels] + spread * generator.normal(size=(len(labels), 8))).astype(np.float32)
        drawn.append(lengths(cluster_means(points, labels, np.arange(5))))
    assert tree.branch_z() == pytest.approx(lengths(centers) / np.std(drawn, axis=0), rel=0.15)
    within = covariance_within(points, labels, cluster_means(points, labels, np.arange(5)))
    assert within == pytest.approx(np.diag(spread**2), abs=0.03)


def test_a_category_between_two_groups_gets_both_parents():
    # On the sphere, degrees from the first: nearest is the second, but the other two, on its other side, are
    # farther from each other than from it.
    places = np.radians([[0, 0], [-16, 0], [13.4, 12], [13.4, -12]])
    means = unit(np.column_stack([np.tan(places), np.ones(4)]))
    found = categories(np.repeat(np.arange(4), 4), means, np.arange(4), min_z=0.0, max_q=1.0)
    assert len(found[0].parents) == 2
    several = [c for c in found if len(c.parents) > 1]
    assert several
    for child in several:
        for parent in child.parents:
            assert set(child.rows) <= set(found[parent].rows)


@pytest.mark.parametrize("seed", range(8))
def test_the_graph_has_no_cycle_and_parents_hold_their_children(seed):
    generator = np.random.default_rng(seed)
    means = unit(generator.normal(size=(30, 3)))
    found = categories(np.repeat(np.arange(30), 2), means, np.arange(30), min_z=0.0, max_q=1.0)
    for child in found:
        for parent in child.parents:
            assert set(child.rows) <= set(found[parent].rows)

    def depth(place, above=()):
        assert place not in above
        return 1 + max((depth(p, (*above, place)) for p in found[place].parents), default=0)

    assert max(depth(place) for place in range(len(found))) > 1


def test_means_give_the_mean_cosine_between_members():
    generator = np.random.default_rng(0)
    points = unit(generator.normal(size=(20, 5)).astype(np.float32))
    labels = np.array([3] * 8 + [7] * 10 + [-1] * 2)
    means = cluster_means(points, labels, np.array([3, 7]))
    assert means[0] @ means[1] == pytest.approx((points[:8] @ points[8:18].T).mean(), abs=1e-6)


def test_linkage_counts_every_member():
    """Joined from its clusters on, a tree is that of the members: the height is their mean cosine."""
    generator = np.random.default_rng(1)
    sizes = np.array([1, 9, 4, 2, 6])
    centers = unit(generator.normal(size=(5, 6)))
    labels = np.repeat(np.arange(5), sizes)
    points = unit((centers[labels] + 0.1 * generator.normal(size=(len(labels), 6))).astype(np.float32))
    tree = linkage(cluster_means(points, labels, np.arange(5)), sizes)
    held = {i: np.flatnonzero(labels == i) for i in range(5)}
    for step, (left, right, distance, _) in enumerate(tree):
        mean = (points[held[left]] @ points[held[right]].T).mean()
        assert distance == pytest.approx(1 - mean, abs=1e-5)
        held[5 + step] = np.concatenate([held[left], held[right]])
    assert (np.diff(tree[:, 2]) >= 0).all()


def test_linkage_of_equal_sizes_is_scipys():
    points = unit(np.random.default_rng(0).normal(size=(40, 5)))
    expected = average(pdist(points, "cosine"))
    found = linkage(points, np.ones(40, int))
    assert cophenet(found) == pytest.approx(cophenet(expected), abs=1e-6)
    assert found[:, 3].tolist() == expected[:, 3].tolist()


def test_tied_clusters_join_first():
    """The first is nearest to the second by its vector; a profile ties it to the fourth."""
    means = unit(np.array([[1, 0, 0], [0.82, 0.57, 0], [0, 0, -1], [0.8, -0.27, 0.53]]))
    sizes = np.array([4, 4, 4, 4])
    assert linkage(means, sizes)[0, :2].tolist() == [0, 1]
    tree = linkage(means, sizes, np.array([[0, 3]]))
    assert tree[0].tolist() == [0, 3, 0, 2]
    # Its cosine with another cluster is the mean of both, as ever.
    assert tree[1, 2] == pytest.approx(1 - (means[0] + means[3]) @ means[1] / 2, abs=1e-6)
    # Nor is it asked whether chance explains what ties join.
    labels, numbers = np.repeat([2, 5, 7, 9], 4), np.array([2, 5, 7, 9])
    tied = np.array([[2, 9], [2, 8]])  # there is no cluster 8
    plain, found = (
        [category.clusters for category in categories(labels, means, numbers, tied=ties)]
        for ties in (None, tied)
    )
    assert (2, 9) in found
    assert (2, 9) not in plain


def test_id_depends_on_the_members_alone():
    assert stable_id(["a", "b"]) == stable_id(["b", "a"]) != stable_id(["a", "b", "c"])
    assert stable_id(["a"]).startswith("SEQSCAN:")
    assert len({stable_id([str(i)]) for i in range(200_000)}) == 200_000


def test_words_and_residues_that_members_share():
    from collections import Counter

    texts = [
        "Putative ATP synthase subunit alpha OS=X",
        "ATP synthase subunit beta",
        "ATP synthase, chloroplast",
    ]
    usual = Counter({"ATP": 5, "synthase": 5})
    phrase, share = shared_phrase(texts, usual, 100)
    assert (phrase, share) == ("ATP synthase", 1.0)
    assert shared_phrase(["x1", "y1", "z1"], usual, 100) == ("", 0.0)
    generator = np.random.default_rng(0)
    random = [generator.integers(1, 21, 80).astype(np.uint8) for _ in range(40)]
    same = [np.concatenate([codes, AMINO.encode("GKST")]) for codes in random[:10]]
    letters, own, elsewhere = motif(same, word_shares(random), AMINO.symbols[1:21])
    assert (letters, own) == ("GKST", 1.0)
    assert elsewhere < 0.1


@pytest.fixture
def world():
    """Two clusters that are a term each, one below both of two branches, and one without annotations."""
    parents = {"1": [], "2": ["1"], "3": ["1"], "4": ["2"], "5": ["2"], "6": ["1"]}
    ontology = Ontology.of(
        Term(
            f"GO:{i}",
            f"term {i}",
            "molecular_function",
            "",
            tuple(("part_of" if i == "3" else "is_a", f"GO:{p}") for p in ps),
        )
        for i, ps in parents.items()
    )
    # The last keep the others from being what everything carries.
    kinds = [["GO:4"], ["GO:5"], ["GO:2", "GO:3"], [], ["GO:3"], ["GO:2"], ["GO:6"]]
    sizes = [6, 6, 6, 6, 12, 12, 80]
    marks = [own for own, size in zip(kinds, sizes, strict=True) for _ in range(size)]
    direct = sparse.lil_array((len(marks), len(ontology)), dtype=bool)
    for row, terms in enumerate(marks):
        for term in terms:
            direct[row, ontology.row(term)] = True
    labels = np.repeat(np.arange(7), sizes)
    ids = [f"P{i}" for i in range(len(marks))]
    known = Knowledge(ids, ontology=ontology, propagated=propagate(direct.tocsr(), ontology))
    means = unit(np.random.default_rng(0).normal(size=(7, 20)))
    found = categories(labels, means, np.arange(7), min_z=np.inf)
    return found, known, labels


def test_categories_are_matched_or_proposed(world):
    found, known, _ = world
    made = propose(found, known)
    assert [(c.status, c.match) for c in made[:2]] == [("existing", "GO:4"), ("existing", "GO:5")]
    assert made[0].parents == (("is_a", "GO:4"),)
    new = made[2]
    assert new.status == "new"
    assert set(new.parents) == {
        ("is_a", "GO:2"),
        ("is_a", "GO:3"),
    }  # several parents, as its members carry both
    assert new.name.startswith("term 2 and term 3") or new.name.startswith("term 3 and term 2")
    assert new.jaccard < 0.5
    assert new.definition == (
        f"A category of proteins alike in sequence to {new.representative} that carry 'term 3' and 'term 2'."
    )
    assert made[3].status == "unknown"
    assert made[3].n_annotated == 0
    assert len({c.name for c in made} | {t.name for t in known.ontology.terms}) == len(made) + 6


def test_members_that_carry_a_term_are_a_category_below_it(world):
    """Of a family, twelve carry term 2, none of the narrower terms, and eight a term of another branch."""
    _, known, _ = world
    ontology = known.ontology
    terms = [*["GO:2"] * 12, *["GO:6"] * 8, *["GO:4"] * 20, *["GO:6"] * 120]
    direct = sparse.lil_array((len(terms), len(ontology)), dtype=bool)
    for row, term in enumerate(terms):
        direct[row, ontology.row(term)] = True
    propagated = propagate(direct.tocsr(), ontology)
    family, narrow, rest = (
        Category((0,), np.arange(20), (), 1.0),
        Category((1,), np.arange(20, 40), (), 1.0),
        Category((2,), np.arange(40, 160), (), 1.0),
    )
    made = narrowed([family, narrow, rest], propagated, ontology)
    assert [(c.rows.tolist(), c.parents) for c in made] == [(list(range(12)), (0,))]
    ids = [f"P{i}" for i in range(len(terms))]
    new = propose([family, narrow, rest], Knowledge(ids, ontology=ontology, propagated=propagated))
    assert [(c.status, c.match) for c in new] == [
        ("new", "GO:2"), ("existing", "GO:4"), ("existing", "GO:6"), ("new", "GO:2")
    ]  # fmt: skip
    assert new[3].parents == (("is_a", new[0].id), ("is_a", "GO:2"))
    # Twelve parts of one protein are one witness.
    parts = [f"P0/{10 * i + 1}-{10 * i + 9}" for i in range(12)] + ids[12:]
    told = propose([family, narrow, rest], Knowledge(parts, ontology=ontology, propagated=propagated))
    assert [(c.status, c.n_annotated) for c in told] == [("new", 9), ("existing", 20), ("existing", 120)]
    assert told[0].evidence[:2] == (
        "20 members, parts of 9 proteins, in 1 cluster", "9 annotated proteins"
    )  # fmt: skip
    # Where a narrower term holds four fifths of them there is nothing to propose.
    for row in range(10):
        direct[row, ontology.row("GO:5")] = True
    propagated = propagate(direct.tocsr(), ontology)
    assert [len(c.rows) for c in narrowed([family, narrow, rest], propagated, ontology)] == [10]
    again = propose([family, narrow, rest], Knowledge(ids, ontology=ontology, propagated=propagated))
    assert len(again) == 3


def test_a_category_is_a_kind_of_terms_of_one_aspect():
    """Six proteins share a function, a process and a place; in OWL nothing may be all three."""
    names = {"F": "molecular_function", "P": "biological_process", "C": "cellular_component"}
    ontology = Ontology.of(
        Term(f"{letter}:{i}", f"{name} {i}", name, "", (("is_a", f"{letter}:1"),) if i > 1 else ())
        for letter, name in names.items()
        for i in (1, 2)
    )
    propagated = sparse.lil_array((200, len(ontology)), dtype=bool)
    for start, letter in zip((6, 20, 34), names, strict=True):
        propagated[:, ontology.row(f"{letter}:1")] = True
        propagated[[*range(6), *range(start, start + 14)], ontology.row(f"{letter}:2")] = True
    found = [
        Category((0,), np.arange(6), (), 1.0),
        Category((1,), np.arange(20, 34), (0,), 1.0),
    ]
    known = Knowledge([f"P{i}" for i in range(200)], ontology=ontology, propagated=propagated.tocsr())
    new, process = propose(found, known)
    assert (new.status, process.match) == ("new", "P:2")
    assert set(new.parents) == {("is_a", "F:2"), ("part_of", "P:2"), ("part_of", "C:2")}
    assert process.parents == (("part_of", new.id), ("is_a", "P:2"))
    assert new.name == f"molecular_function 2, {new.representative} type"


def test_without_any_ontology(world):
    found, known, _ = world
    made = propose(found, Knowledge(known.ids))
    assert {c.status for c in made} == {"unknown"}
    assert all(c.definition.startswith("A category of proteins alike in sequence to P") for c in made)


def test_joined_clusters_are_named_after_all_of_them():
    ids = [f"P{i}" for i in range(12)]
    found = [Category((0,), np.arange(2), (), 1.0)]
    found += [Category(tuple(range(n)), np.arange(2 * n), (), 0.3) for n in (2, 4, 5, 6)]
    made = propose(found, Knowledge(ids, representatives={i: f"P{2 * i}" for i in range(6)}))
    assert [c.name for c in made] == [
        "protein like P0", "protein like P0 or P2", "protein like P0, P2, P4 or P6",
        "protein like P0, P2, P4 or 2 others", "protein like P0, P2, P4 or 3 others",
    ]  # fmt: skip
    assert made[0].definition == "A category of proteins alike in sequence to P0."
    assert made[3].definition == "A category of proteins of the clusters of P0, P2, P4 and 2 others."


def test_a_definition_is_a_sentence():
    generator = np.random.default_rng(0)
    sequences = [generator.integers(1, 21, 80).astype(np.uint8) for _ in range(60)]
    sequences[:6] = [np.concatenate([codes, AMINO.encode("GKST")]) for codes in sequences[:6]]
    descriptions = ["acid kinase" if i < 6 else f"word{i}" for i in range(60)]
    ids = [f"P{i}" for i in range(60)]
    (made,) = propose([Category((0,), np.arange(6), (), 1.0)], Knowledge(ids, descriptions, sequences))
    assert made.definition == (
        "A category of proteins alike in sequence to P0 that are mostly described as 'acid kinase', "
        "mostly hold the residues GKST and are about 84 residues long."
    )


def test_files_are_read_back_unchanged(world, tmp_path):
    found, known, _ = world
    odd = Candidate(
        "SEQSCAN:0000000001", 'name "q" ! {x}', 'Def "x": y\\z [a].',
        (("is_a", "GO:3"), ("part_of", "GO:2")), np.array([0]), (0,), "P0", "new", "GO:3",
        0.3, 0.1, 4, ('a "b"', "c\\d"),
    )  # fmt: skip
    made = [*propose(found, known), odd]
    write_ontology(made, tmp_path / "c.obo", ontology=known.ontology)
    text = (tmp_path / "c.obo").read_text()
    assert str(fastobo.load(str(tmp_path / "c.obo"))) == text
    assert "comment: new, no existing term fits: a" in text
    assert "comment: unknown, too few members are annotated to tell whether a term fits: " in text
    again = Ontology.read(tmp_path / "c.obo")
    assert again.terms[again.row("SEQSCAN:0000000001")].name == odd.name
    assert {t.id for t in again.terms} >= {c.id for c in made}

    write_ontology(made, tmp_path / "c.json", ontology=known.ontology)
    assert str(fastobo.load_graph(str(tmp_path / "c.json"))) == text
    assert "obolibrary.org/obo/seqscan" not in (tmp_path / "c.json").read_text().replace("seqscan.owl", "")
    assert Ontology.read(tmp_path / "c.json").terms == again.terms

    write_ontology(made, tmp_path / "c.ofn", ontology=known.ontology)
    owl = (tmp_path / "c.ofn").read_text()
    n_links = sum(len(set(c.parents)) for c in made)
    assert owl.count("SubClassOf(obo:SEQSCAN_") == n_links
    assert owl.count("Declaration(Class(obo:SEQSCAN_") == len(made)


def test_robot_template_and_members(world, tmp_path):
    found, known, _ = world
    made = propose(found, known)
    write_ontology(made, tmp_path / "c.tsv")
    rows = [line.split("\t") for line in (tmp_path / "c.tsv").read_text().splitlines()]
    assert rows[0][:5] == ["ID", "Label", "Definition", "Parents", "Part of"]
    assert rows[1][:5] == ["ID", "LABEL", "A IAO:0000115", "SC % SPLIT=|", "SC 'part of' some % SPLIT=|"]
    assert len(rows) == 2 + sum(c.status != "existing" for c in made)
    assert set(rows[2][3].split("|")) == {"GO:2", "GO:3"}
    write_members(made, known.ids, tmp_path / "m.tsv")
    assert len((tmp_path / "m.tsv").read_text().splitlines()) == 1 + sum(len(c.rows) for c in made)


def test_unknown_suffix(tmp_path):
    with pytest.raises(InvalidParameter, match=r"\.obo, \.json"):
        write_ontology([], tmp_path / "c.owl")


def test_page_keeps_its_other_parts_and_escapes(world, tmp_path):
    found, known, labels = world
    path = tmp_path / "knowledge.html"
    evil = "<script>alert(1)</script>"
    made = propose(found, known)
    update_page(path, "ontology", ontology_part(made, known.ontology, [evil]), {"Output": evil})
    first = path.read_bytes()
    update_page(path, "ontology", ontology_part(made, known.ontology, [evil]), {"Output": evil})
    assert path.read_bytes() == first
    table = enrich(labels, known.propagated, known.ontology)
    update_page(path, "enrichment", enrichment_part(table, ["matched"]), {"Output": "e.tsv"})
    html = path.read_text()
    assert evil not in html
    assert 'id="ontology"' in html
    assert 'id="enrichment"' in html
    nothing = enrich(labels, known.propagated, known.ontology, max_q=0.0)
    assert enrichment_part(nothing, [])["clusters"] == []
    assert not any(word in html for word in ('src="', "http://", "https://", "@import", "url("))
    assert "default-src &#39;none&#39;" in html
    broken = tmp_path / "other.html"
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="no page of seqscan"):
        update_page(broken, "ontology", {}, {"Output": "c.obo"})


def test_json_of_an_empty_proposal():
    made = document([])
    out = io.BytesIO()
    fastobo.dump_graph(made, out)
    assert b"seqscan" in out.getvalue()
