"""Print the figures of annotations, audits and ontologies, each beside its baselines.

    python benchmarks/ontology.py [--data FOLDER] [--output FOLDER] [--seed 0] [--proteins 2000]
        [--domains 1200] [--only ...]

FOLDER (default `../shared/data`) must hold `go/annotations_2014.tsv.gz`, `go/go-basic_2022-07.obo.gz`,
`corpus/swissprot_nr90.fasta.gz`, `cath/cath41_s35.fasta.gz` and `pfam_all_dev/`; parts whose data are
missing are named and left out. The proteins are a stated random subset of 40,000 annotated ones: three
quarters in whole homologous groups (random proteins and all that MMseqs2 finds for them there, at most 60
each), one quarter drawn one by one. The trees are of about 1,200 domains each: random superfamilies of CATH
with at most 60 domains, and random Pfam clans with two families and more, at most four families of a clan
and 15 domains of a family. Clusters come from `discover_categories` without joint learning; what was found
is kept in --output, so a second call is short. The shipped encoder saw all of these sequences, without
labels, in its training text.
"""

from __future__ import annotations

import argparse
import gzip
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.cluster.hierarchy import average, fcluster
from scipy.spatial.distance import pdist
from sklearn.metrics import average_precision_score, roc_auc_score

from seqscan.alignment import mmseqs_clusters, run_mmseqs
from seqscan.artifact import file_checksum, scratch_folder
from seqscan.corpus import Corpus, write_corpus
from seqscan.discovery import DiscoveryConfig, Found, discover_categories
from seqscan.errors import SeqscanError
from seqscan.fasta import RejectionLedger, read_fasta
from seqscan.knowledge.annotate import Predictions, annotate
from seqscan.knowledge.annotations import propagate, read_annotations
from seqscan.knowledge.audit import audit, corrupted, disagreement
from seqscan.knowledge.candidates import Knowledge, propose
from seqscan.knowledge.categories import Category, categories, cluster_means, covariance_within
from seqscan.knowledge.enrich import enrich
from seqscan.knowledge.ontology import Ontology
from seqscan.knowledge.support import Surroundings, aligned, nearest
from seqscan.scan import ScanConfig
from seqscan.stages import StageLog
from seqscan.store import unit

N_CLUSTERS = 150
PARTS = ("proteins", "wrong", "rebuild", "terms", "scale", "tree")
CASCADE = ("-s", "7.5", "-c", "0.5")
MAX_GROUP = 60
MAX_FAMILIES = 4
N_DRAWN = 40_000
MAX_LENGTH = 800


@dataclass(frozen=True)
class World:
    """The drawn proteins, what they carry, and what was found without it."""

    ids: list[str]
    ontology: Ontology
    direct: Any
    propagated: Any
    information: NDArray[np.float64]
    points: NDArray[np.float32]
    labels: NDArray[np.int32]
    probabilities: NDArray[np.float32]
    alignments: Any
    categories: list[Category]

    def surroundings(self, known: NDArray[np.bool_]) -> Surroundings:
        """Only known proteins become neighbors."""
        near = nearest(self.points, np.flatnonzero(known))
        return Surroundings(self.ids, self.labels, self.probabilities, near, self.alignments)


def read_world(data: Path, folder: Path, n: int, seed: int) -> World:
    """Draw, cluster and align the proteins, or take what an earlier call did."""
    ontology = Ontology.read(data / "go" / "go-basic_2022-07.obo.gz")
    lines = gzip.decompress((data / "go" / "annotations_2014.tsv.gz").read_bytes()).decode().splitlines()[1:]
    fasta = draw_proteins(data, folder, {line.split("\t", 1)[0] for line in lines}, n, seed)
    corpus, found = clusters_of(fasta, folder / "swissprot", seed)
    kept = folder / "alignments.npz"
    if not kept.exists():
        sparse.save_npz(kept, aligned(corpus, threads=1))
    drawn = set(corpus.ids)
    own = folder / "annotations.tsv"
    own.write_text("".join(f"{line}\n" for line in lines if line.split("\t", 1)[0] in drawn))
    matched = read_annotations(own, ontology).match(corpus.ids)
    for line in matched.report():
        print(f"- {line}")
    head = found.model.head
    assigned = head.assign(corpus.ids, found.vectors)
    points = head.points(found.vectors)
    propagated = matched.propagated
    counts = np.asarray(propagated.sum(axis=0)).ravel()
    # How much a term says beyond its parents, as in CAFA.
    information = np.zeros(len(ontology))
    for row, term in enumerate(ontology.terms):
        above = [counts[ontology.row_of[i]] for _, i in term.parents if i in ontology.row_of]
        if counts[row] and above:
            information[row] = np.log2(max(min(above), 1) / counts[row])
    return World(
        corpus.ids, ontology, matched.direct, propagated, np.maximum(information, 0), points, assigned.labels,
        assigned.probabilities, sparse.csr_array(sparse.load_npz(kept)),
        _categories(found.vectors, assigned.labels, found.model.tied),
    )  # fmt: skip


def draw_proteins(data: Path, folder: Path, annotated: set[str], n: int, seed: int) -> Path:
    """Write the random subset of Swiss-Prot, FASTA, and return its path; no label is used but "has any"."""
    target = folder / "proteins.fasta"
    if target.exists():
        return target
    source = data / "corpus" / "swissprot_nr90.fasta.gz"
    generator = np.random.default_rng((seed, 71))
    drawn = set(generator.permutation(sorted(annotated))[:N_DRAWN].tolist())
    records = {
        r.id: r
        for r in read_fasta(source, rejected=RejectionLedger())
        if r.id in drawn and 40 <= len(r) <= MAX_LENGTH
    }
    ids = np.array(sorted(records))
    order = generator.permutation(len(ids))
    groups: dict[str, list[str]] = {}
    with scratch_folder() as scratch:
        everything, queries, hits = scratch / "all.fasta", scratch / "queries.fasta", scratch / "hits.tsv"
        everything.write_text("".join(f">{i}\n{r.sequence}\n" for i, r in records.items()))
        queries.write_text("".join(f">{i}\n{records[i].sequence}\n" for i in ids[order[: n // 10]]))
        run_mmseqs(
            "easy-search", queries, everything, hits, scratch / "tmp", "-s", 3, "-c", 0.5, "--max-seqs", 300,
            "--format-output", "query,target", "--threads", 1,
        )  # fmt: skip
        for line in hits.read_text().splitlines():
            query, hit = line.split("\t")
            groups.setdefault(query, [query])
            if hit != query:
                groups[query].append(hit)
    chosen: dict[str, None] = {}
    for query in ids[order[: n // 10]]:
        if len(chosen) >= n * 3 // 4:
            break
        if len(groups.get(query, [])) >= 5:
            chosen.update(dict.fromkeys(groups[query][:MAX_GROUP]))
    for id in ids[order[n // 10 :]]:
        if len(chosen) >= n:
            break
        chosen[str(id)] = None
    target.write_text("".join(f">{i}\n{records[i].sequence}\n" for i in chosen))
    return target


def clusters_of(fasta: Path, folder: Path, seed: int) -> tuple[Corpus, Found]:
    """Cluster a FASTA without labels and without joint learning."""
    log = StageLog(folder / "stages")
    key = log.run("read", {"in": file_checksum(fasta)}, [folder / "corpus"], lambda: write_corpus(
        folder / "corpus", read_fasta(fasta)))  # fmt: skip
    corpus = Corpus.open(folder / "corpus")
    scan = ScanConfig(n_heads=3, n_steps=200)
    n_clusters = min(N_CLUSTERS, len(corpus) // 4)
    config = DiscoveryConfig(n_clusters=n_clusters, finetune=False, seed=seed, threads=1, scan=scan)
    return corpus, discover_categories(corpus, key, folder, config, log)


def missing_proteins(world: World, seed: int) -> list[list[str]]:
    """Hide all annotations of a fifth of the proteins and score methods on them."""
    generator = np.random.default_rng((seed, 73))
    n = len(world.ids)
    hidden = np.sort(generator.permutation(n)[: n // 5])
    lines = []
    known = np.ones(n, bool)
    known[hidden] = False
    truth = world.propagated[hidden]
    propagated = _masked(world.propagated, known)
    around = world.surroundings(known)
    evidence = around.evidence(propagated)
    naive = np.asarray(propagated.sum(axis=0)).ravel() / known.sum()
    hit = np.diff(evidence.alignments[hidden].indptr) > 0
    methods = {
        "seqscan annotate": _dense(
            annotate(around, _masked(world.direct, known), world.ontology, hidden, min_probability=0.01),
            hidden,
        ),
        "naive frequency": sparse.csr_array(np.tile(naive.astype(np.float32), (len(hidden), 1))),
        "MMseqs2 best hit": _best_hit(around, propagated, hidden),
        "nearest neighbors, same vectors": evidence.vectors[hidden] @ propagated.astype(np.float32),
    }
    for name, scores in methods.items():
        for rows, which in ((np.arange(len(hidden)), "all"), (np.flatnonzero(~hit), "no MMseqs2 hit")):
            for aspect, letter in enumerate("PCF"):
                figures = curve_figures(scores[rows], truth[rows], world, aspect)
                lines.append([name, which, letter, *figures])
    return lines


def missing_terms(world: World, seed: int, n_scored: int = 500) -> list[list[str]]:
    """Hide a fifth of the single annotations; score what is predicted beyond the others of some proteins."""
    generator = np.random.default_rng((seed, 101))
    n = len(world.ids)
    lines = []
    table = world.direct.tocoo()
    gone = generator.random(table.nnz) < 0.2
    kept = sparse.csr_array(
        (np.ones(int((~gone).sum()), bool), (table.coords[0][~gone], table.coords[1][~gone])),
        shape=table.shape,
    )
    propagated = propagate(kept, world.ontology)
    lost = (world.propagated.astype(np.int8) - propagated.astype(np.int8)).tocsr().astype(bool)
    lost.eliminate_zeros()
    around = world.surroundings(np.diff(propagated.indptr) > 0)
    rows = np.flatnonzero(np.diff(propagated.indptr) > 0)
    rows = np.sort(generator.permutation(rows)[:n_scored])
    evidence = around.evidence(propagated)
    naive = np.asarray(propagated.sum(axis=0)).ravel() / n
    methods = {
        "seqscan annotate": _dense(annotate(around, kept, world.ontology, rows, min_probability=0.01), rows),
        "naive frequency": sparse.csr_array(np.tile(naive.astype(np.float32), (len(rows), 1))),
        "MMseqs2 best hit": _best_hit(around, propagated, rows),
        "nearest neighbors, same vectors": evidence.vectors[rows] @ propagated.astype(np.float32),
    }
    for name, scores in methods.items():
        # What is known already is no prediction.
        new = (scores - scores.multiply(propagated[rows])).tocsr()
        for aspect, letter in enumerate("PCF"):
            columns = _columns(world, aspect)
            figures = curve_figures(new, lost[rows], world, aspect)
            # Whoever predicts does not know which proteins miss something.
            some = np.flatnonzero(world.propagated[rows][:, columns].sum(axis=1))
            stated, truth = new[some][:, columns].toarray(), lost[rows[some]][:, columns].toarray()
            overall = average_precision_score(truth.ravel(), stated.ravel())
            error = calibration_error(stated, truth)
            lines.append([name, letter, *figures[:-1], f"{overall:.3f}", f"{error:.3f}", figures[-1]])
    return lines


def curve_figures(scores: Any, truth: Any, world: World, aspect: int) -> list[str]:
    """Return Fmax, Smin, AUPR (micro) and expected calibration error of one aspect."""
    columns = _columns(world, aspect)
    t = truth[:, columns].toarray()
    has = t.any(axis=1)
    if has.sum() < 5:
        return ["", "", "", "", str(int(has.sum()))]
    t, s = t[has], scores[:, columns].toarray()[has]
    weight = world.information[columns]
    best_f, least_s = 0.0, np.inf
    for threshold in np.linspace(0.02, 1.0, 50):
        found = s >= threshold
        both = (found & t).sum(axis=1)
        covered = found.any(axis=1)
        recall = (both / t.sum(axis=1)).mean()
        precision = (both[covered] / found[covered].sum(axis=1)).mean() if covered.any() else 0.0
        best_f = max(best_f, 2 * precision * recall / max(precision + recall, 1e-9))
        remaining = ((t & ~found) @ weight).mean()
        wrong = ((found & ~t) @ weight).mean()
        least_s = min(least_s, float(np.hypot(remaining, wrong)))
    aupr = average_precision_score(t.ravel(), s.ravel())
    error = calibration_error(s, t)
    return [f"{best_f:.3f}", f"{least_s:.2f}", f"{aupr:.3f}", f"{error:.3f}", str(int(has.sum()))]


def calibration_error(stated: NDArray[np.floating], truth: NDArray[np.bool_]) -> float:
    """Return the expected calibration error of probabilities from 0.01 on, in ten bins."""
    listed = stated >= 0.01
    p, right = stated[listed], truth[listed]
    bins = np.minimum((p * 10).astype(int), 9)
    return float(
        sum(abs(p[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins))
    )


def _columns(world: World, aspect: int) -> NDArray[np.int64]:
    """Return the terms of one aspect that are in use and say something."""
    used = np.asarray(world.propagated.sum(axis=0)).ravel() > 0
    return np.flatnonzero((world.ontology.aspects == aspect) & ~world.ontology.roots & used)


def wrong_annotations(world: World, seed: int) -> list[list[str]]:
    """Swap 2 % of the annotations; how many of the first are swaps, against neighbor disagreement."""
    lines = []
    for name, share in (("another branch", 0.0), ("sibling", 1.0)):
        generator = np.random.default_rng((seed, 79, int(share)))
        swapped, wrong = corrupted(world.direct, world.ontology, 0.02, generator, sibling_share=share)
        around = world.surroundings(np.diff(swapped.indptr) > 0)
        found = audit(around, swapped, world.ontology, seed=seed + 1)
        rows, terms, against = disagreement(around, swapped, world.ontology)
        order = np.lexsort((terms, rows, -against))
        ranked = {
            "seqscan audit": (found.rows, found.terms, found.suspicion),
            "neighbor disagreement": (rows[order], terms[order], against[order]),
        }
        for method, (r, t, score) in ranked.items():
            is_wrong = np.asarray(wrong[r, t]).ravel().astype(bool)
            top = max(1, len(r) // 100)
            base = is_wrong.mean()
            lines.append(
                [name, method, f"{is_wrong[:100].mean():.2f}", f"{is_wrong[:top].mean():.2f}",
                 f"{is_wrong[:top].mean() / base:.1f}", f"{roc_auc_score(is_wrong, score):.3f}", str(len(r))]
            )  # fmt: skip
    return lines


def rebuilt_branches(world: World, seed: int, n_branches: int = 30) -> list[list[str]]:
    """Hide what is below some terms and look for it among candidates; shuffled members are the control."""
    generator = np.random.default_rng((seed, 83))
    # Terms that no protein carries can be neither hidden nor matched.
    idle = np.flatnonzero(np.asarray(world.propagated.sum(axis=0)).ravel() == 0)
    ontology = world.ontology.without(idle.tolist())
    propagated = world.propagated[:, np.array([world.ontology.row_of[term.id] for term in ontology.terms])]
    sizes = np.asarray(propagated.sum(axis=0)).ravel()
    usable = sizes >= 5
    below = (ontology.descendants.astype(np.int32) @ usable.astype(np.int32)) - usable
    roots = (below >= 8) & (below <= 60) & ~ontology.roots & (sizes <= 0.25 * len(world.ids))
    lines: list[list[str]] = []
    named: list[list[str]] = []
    for aspect, namespace in enumerate(ontology.namespaces):
        drawn = generator.permutation(np.flatnonzero(roots & (ontology.aspects == aspect)))[:n_branches]
        for alone in (True, False):
            found = [
                rebuilt_branch(world, ontology, propagated, int(root), usable, generator, alone=alone)
                for root in drawn
            ]
            known = "the branch's term and what is above it" if alone else "all other terms of the aspect"
            figures = np.array([f[:8] for f in found])
            reached = (figures[:, 2] > 0.3) & (figures[:, 3] > 0.3)
            mean = figures.mean(axis=0)
            lines.append(
                [namespace, known, f"mean of {len(found)} branches", *(f"{v:.0f}" for v in mean[:2]),
                 *(f"{v:.2f}" for v in mean[2:7]), f"{mean[7]:.0f}", f"{reached.sum()} of {len(found)}"]
            )  # fmt: skip
            for root, f in list(zip(drawn.tolist(), found, strict=True))[:2]:
                term = ontology.terms[root]
                numbers = (*(str(v) for v in f[:2]), *(f"{v:.2f}" for v in f[2:7]), str(f[7]))
                named.append([namespace, known, f"{term.name} ({term.id})", *numbers, f[8]])
    return [*lines, *named]


def rebuilt_branch(
    world: World,
    ontology: Ontology,
    propagated: Any,
    root: int,
    usable: NDArray[np.bool_],
    generator: np.random.Generator,
    *,
    alone: bool,
) -> tuple[int, int, float, float, float, float, float, int, str]:
    """Return hidden terms, candidates, recall, precision, both by chance, the ceiling, and what is novel.

    If `alone`, only the branch's term and what is above it are known, else all other terms of the aspect.
    The ceiling is the recall of the best union of clusters, cut down to what carries the branch's term: no
    way of joining these clusters finds more.
    """
    down, up = (
        links.indices[links.indptr[root] : links.indptr[root + 1]].tolist()
        for links in (ontology.descendants, ontology.ancestors)
    )
    gone = [t for t in down if t != root and ontology.aspects[t] == ontology.aspects[root]]
    # Of the other aspects, which often have a term with the same members, nothing is known.
    others = np.flatnonzero(ontology.aspects != ontology.aspects[root]).tolist()
    if alone:
        others = sorted(set(range(len(ontology))) - set(up))
    rest = ontology.without({*gone, *others})
    kept = np.array([ontology.row_of[term.id] for term in rest.terms])
    made = propose(world.categories, Knowledge(world.ids, ontology=rest, propagated=propagated[:, kept]))
    id = ontology.terms[root].id
    above = {c.id: {id for _, id in c.parents} for c in made}
    below = {id, *(t.id for t in rest.terms if rest.row_of[id] in rest.above(rest.row_of[t.id]))}
    for _ in made:
        more = {c for c, parents in above.items() if parents & below} - below
        if not more:
            break
        below |= more
    under = [c for c in made if c.status == "new" and c.id in below]
    hidden = sorted(t for t in gone if usable[t])
    terms = propagated[:, hidden].toarray().astype(np.float32)
    recall, precision, novel = _overlap(under, terms)
    chance = []
    for _ in range(20):
        mixed = generator.permutation(len(world.ids))
        chance.append(_overlap([replace(c, rows=mixed[c.rows]) for c in under], terms)[:2])
    leaves = np.zeros((len(world.ids), int(world.labels.max()) + 1), np.float32)
    leaves[np.arange(len(world.ids)), world.labels] = propagated[:, [root]].toarray().ravel()
    both, size = leaves.T @ terms, leaves.sum(axis=0)
    ceiling = 0
    for t in range(len(hidden)):
        order = np.argsort(-both[:, t] / np.maximum(size, 1))
        joined, wide = np.cumsum(both[order, t]), np.cumsum(size[order])
        ceiling += (joined / (wide + terms[:, t].sum() - joined)).max() >= 0.5
    names = "; ".join(c.name for c in under[:2])
    return (len(hidden), len(under), recall, precision, *np.mean(chance, axis=0).tolist(),
            ceiling / len(hidden), novel, names)  # fmt: skip


def _overlap(candidates: list[Any], terms: NDArray[np.float32]) -> tuple[float, float, int]:
    """Return recall, precision and number of unmatched candidates at a Jaccard of 0.5."""
    if not candidates:
        return 0.0, 0.0, 0
    members = np.zeros((len(candidates), len(terms)), np.float32)
    for i, candidate in enumerate(candidates):
        members[i, candidate.rows] = 1
    both = members @ terms
    jaccard = both / (members.sum(axis=1)[:, None] + terms.sum(axis=0)[None] - both)
    hit = jaccard >= 0.5
    return float(hit.any(axis=0).mean()), float(hit.any(axis=1).mean()), int((~hit.any(axis=1)).sum())


def enrichment_at_scale(data: Path, seed: int) -> list[list[str]]:
    """Time the test of 15,000 clusters of a million proteins, drawn from the annotated ones."""
    ontology = Ontology.read(data / "go" / "go-basic_2022-07.obo.gz")
    annotations = read_annotations(data / "go" / "annotations_2014.tsv.gz", ontology)
    generator = np.random.default_rng((seed, 97))
    rows = generator.integers(0, len(annotations.proteins), 1_000_000)
    # Clusters that mean something: proteins with the same rarest term, cut or joined to 15,000.
    counts = np.asarray(annotations.direct.sum(axis=0)).ravel()
    table = annotations.direct.tocsr()
    rarest = np.array([
        own[counts[own].argmin()] if len(own) else -1 for own in np.split(table.indices, table.indptr[1:-1])
    ])  # fmt: skip
    labels = (rarest[rows] * 7 + generator.integers(0, 7, len(rows))) % 15_000
    propagated = annotations.propagated[rows]
    begun, wall = time.process_time(), time.perf_counter()
    found = enrich(labels, propagated, ontology)
    used, passed = time.process_time() - begun, time.perf_counter() - wall
    return [
        [str(len(np.unique(labels))), str(found.n_tests), str(len(found)), f"{used:.0f}", f"{passed:.0f}"]
    ]


def sequence_trees(data: Path, folder: Path, n: int, seed: int, source: str) -> list[list[str]]:
    """Compare trees of domains, found without labels, with those of CATH or Pfam."""
    fasta, levels = DRAWS[source](data, folder / source, n, seed)
    corpus, found = clusters_of(fasta, folder / source, seed)
    sizes = [
        f"{len({levels[id][i] for id in corpus.ids})} of {name}" for i, name in enumerate(LEVELS[source])
    ]
    print(f"\n{source}: {len(corpus)} domains, {', '.join(sizes)}")
    truth = [np.unique([levels[id][i] for id in corpus.ids], return_inverse=True)[1] for i in range(
        len(levels[corpus.ids[0]]))]  # fmt: skip
    labels = found.model.head.assign(corpus.ids, found.vectors).labels
    ours = _together(_categories(found.vectors, labels, found.model.tied), len(corpus))
    plain = average(pdist(found.vectors - found.vectors.mean(axis=0), "cosine"))
    mixed = np.random.default_rng(seed).permutation(len(corpus))
    methods = {
        "seqscan ontology": ours,
        "average linkage, same vectors": (
            _same(fcluster(plain, k, "maxclust")) for k in _counts(len(corpus))
        ),
        "MMseqs2 cascade": (
            _same(
                mmseqs_clusters(
                    corpus, options=["-s", "7.5", "-c", "0.5", "--min-seq-id", str(identity)], threads=1
                )
            )
            for identity in (0.5, 0.3, 0.2, 0.0)
        ),
        "random tree of seqscan's shape": (cut[mixed][:, mixed] for cut in ours),
    }
    lines = []
    for name, cuts in methods.items():
        figures = np.array([[pair_figures(_same(t), cut) for t in truth] for cut in cuts])
        # For each level of the truth the level of the tree that fits it best.
        best = figures[figures[:, :, 2].argmax(axis=0), np.arange(len(truth))]
        weights = np.arange(1, len(truth) + 1) / np.arange(1, len(truth) + 1).sum()
        lines.append([name, *(f"{f:.3f}" for f in (*best[:, 2], *(weights @ best)))])
    return lines


def pair_figures(truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return precision, recall and F1 of the pairs of proteins under one ancestor, (N, N) each."""
    both = np.triu(truth & found, 1).sum()
    precision, recall = both / max(np.triu(found, 1).sum(), 1), both / max(np.triu(truth, 1).sum(), 1)
    return precision, recall, 2 * precision * recall / max(precision + recall, 1e-12)


def _same(labels: NDArray[Any]) -> NDArray[np.bool_]:
    return labels[:, None] == labels[None, :]


def _together(made: list[Category], n: int) -> list[NDArray[np.bool_]]:
    """Return which pairs of proteins share a category, at levels of falling cohesion, (N, N) each."""
    closest = np.full((n, n), -np.inf, np.float32)
    for category in made:
        block = np.ix_(category.rows, category.rows)
        closest[block] = np.maximum(closest[block], category.cohesion)
    heights = np.unique([category.cohesion for category in made])
    return [closest >= height for height in heights[np.linspace(0, len(heights) - 1, 40).astype(int)]]


def _categories(
    vectors: NDArray[np.float32], labels: NDArray[np.int32], tied: NDArray[np.int64]
) -> list[Category]:
    numbers = np.unique(labels)
    points = unit(vectors - vectors.mean(axis=0))
    means = cluster_means(points, labels, numbers)
    return categories(labels, means, numbers, covariance=covariance_within(points, labels, means), tied=tied)


def _counts(n: int) -> list[int]:
    return sorted({int(k) for k in np.geomspace(2, n, 40)})


def draw_cath(data: Path, folder: Path, n: int, seed: int) -> tuple[Path, dict[str, list[str]]]:
    """Write whole random superfamilies of CATH with ten domains and more, at most `MAX_GROUP` each."""
    records = {}
    levels: dict[str, list[str]] = {}
    for record in read_fasta(data / "cath" / "cath41_s35.fasta.gz", rejected=RejectionLedger()):
        code = record.description.split()[0].split(".")
        records[record.id] = record.sequence
        levels[record.id] = [".".join(code[: i + 1]) for i in range(4)]
    groups = {id: level[3] for id, level in levels.items()}
    return _draw_groups(records, groups, folder, n, seed), levels


def draw_pfam(data: Path, folder: Path, n: int, seed: int) -> tuple[Path, dict[str, list[str]]]:
    """Write random families of Pfam clans that have two and more here; the levels are clan and family.

    Of a clan at most `MAX_FAMILIES` families, of a family at most `MAX_GROUP // MAX_FAMILIES` domains.
    """
    folder_of = data / "pfam_all_dev"
    table = gzip.decompress((folder_of / "pfam_all_dev.labels.tsv.gz").read_bytes()).decode().splitlines()[1:]
    members: dict[str, dict[str, list[str]]] = {}
    for id, family, clan in (line.split("\t") for line in table):
        members.setdefault(clan, {}).setdefault(family, []).append(id)
    generator = np.random.default_rng((seed, 103))
    levels: dict[str, list[str]] = {}
    for clan, families in sorted(members.items()):
        # A family without a clan stands in the table as a clan of its own.
        if len(families) > 1:
            for family in generator.permutation(sorted(families))[:MAX_FAMILIES]:
                drawn = generator.permutation(families[family])[: MAX_GROUP // MAX_FAMILIES]
                levels |= {str(id): [clan, str(family)] for id in drawn}
    fasta = read_fasta(folder_of / "pfam_all_dev.fasta.gz", rejected=RejectionLedger())
    records = {record.id: record.sequence for record in fasta if record.id in levels}
    return _draw_groups(records, {id: levels[id][0] for id in records}, folder, n, seed), levels


DRAWS = {"cath": draw_cath, "pfam": draw_pfam}
LEVELS = {"cath": ("class", "architecture", "topology", "superfamily"), "pfam": ("clan", "family")}


def _draw_groups(records: dict[str, str], group_of: dict[str, str], folder: Path, n: int, seed: int) -> Path:
    groups: dict[str, list[str]] = {}
    for id, group in group_of.items():
        groups.setdefault(group, []).append(id)
    names = sorted(name for name, ids in groups.items() if len(ids) >= 10)
    generator = np.random.default_rng((seed, 89))
    chosen: list[str] = []
    for place in generator.permutation(len(names)):
        if len(chosen) >= n:
            break
        members = groups[names[place]]
        chosen += [members[i] for i in generator.permutation(len(members))[:MAX_GROUP]]
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "domains.fasta"
    target.write_text("".join(f">{i}\n{records[i]}\n" for i in chosen))
    return target


def _masked(matrix: Any, keep: NDArray[np.bool_]) -> Any:
    masked = matrix.multiply(keep[:, None]).tocsr()
    masked.eliminate_zeros()
    return masked


def _dense(found: Predictions, rows: NDArray[np.int64]) -> Any:
    place = np.searchsorted(rows, found.rows)
    shape = (len(rows), len(found.ontology))
    return sparse.csr_array((found.probabilities.astype(np.float32), (place, found.terms)), shape=shape)


def _best_hit(around: Surroundings, propagated: Any, rows: NDArray[np.int64]) -> Any:
    """Give each protein the terms of its best annotated alignment, scored by bits a residue."""
    known = np.diff(propagated.indptr) > 0
    graph = _masked(around.alignments.T.tocsr(), known).T.tocsr()[rows]
    best = graph.argmax(axis=1)
    value = np.asarray(graph.max(axis=1).todense()).ravel()
    place = np.flatnonzero(value > 0)
    pick = sparse.csr_array(
        (np.minimum(value[place] / 2, 1).astype(np.float32), (place, np.asarray(best).ravel()[place])),
        shape=(len(rows), propagated.shape[0]),
    )
    return (pick @ propagated.astype(np.float32)).tocsr()


def print_table(title: str, header: Sequence[str], lines: list[list[str]]) -> None:
    """Print Markdown."""
    print(f"\n{title}\n\n| {' | '.join(header)} |\n{'|---' * len(header)}|")
    for line in lines:
        print(f"| {' | '.join(line)} |", flush=True)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--output", type=Path, default=Path("out/ontology"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--proteins", type=int, default=2000)
    parser.add_argument("--domains", type=int, default=1200, help="of each tree")
    parser.add_argument("--only", nargs="*", choices=PARTS)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    wanted = options.only or PARTS
    needed = {
        "go": ["go/annotations_2014.tsv.gz", "go/go-basic_2022-07.obo.gz", "corpus/swissprot_nr90.fasta.gz"],
        "cath": ["cath/cath41_s35.fasta.gz"],
        "pfam": ["pfam_all_dev/pfam_all_dev.fasta.gz", "pfam_all_dev/pfam_all_dev.labels.tsv.gz"],
    }
    missing = {part: [f for f in names if not (options.data / f).exists()] for part, names in needed.items()}
    for part, names in missing.items():
        if names:
            print(f"{part}: {', '.join(names)} not in {options.data}, left out (give the folder with --data)")
    go_parts: dict[str, tuple[str, list[str], Callable[[World, int], list[list[str]]]]] = {
        "proteins": (
            "Missing annotations: a fifth of the proteins hidden",
            ["method", "proteins", "aspect", "Fmax", "Smin", "AUPR", "calibration error", "n"],
            missing_proteins,
        ),
        "wrong": (
            "Wrong annotations: 2 % swapped",
            ["swapped for", "method", "precision at 100", "precision at 1 %", "lift at 1 %", "AUROC", "n"],
            wrong_annotations,
        ),
        "rebuild": (
            "Rebuilding GO: terms below a hidden branch, Jaccard of members 0.5 and more",
            [
                "aspect",
                "branch",
                "hidden terms",
                "candidates",
                "recall",
                "precision",
                "recall by chance",
                "precision by chance",
                "highest recall of any union of clusters",
                "novel",
                "both above 0.3",
            ],
            rebuilt_branches,
        ),
        "terms": (
            "Missing annotations: a fifth of the single annotations hidden",
            [
                "method",
                "aspect",
                "Fmax",
                "Smin",
                "AUPR",
                "calibration error",
                "AUPR of all proteins",
                "calibration error of all proteins",
                "n",
            ],
            missing_terms,
        ),
    }
    begun = time.process_time()
    if not missing["go"] and set(wanted) & set(go_parts):
        world = read_world(options.data, options.output, options.proteins, options.seed)
        for name, (title, header, measure) in go_parts.items():
            if name in wanted:
                print_table(title, header, measure(world, options.seed))
                print(f"\n{time.process_time() - begun:.0f} CPU seconds so far", flush=True)
    if not missing["go"] and "scale" in wanted:
        header = ["clusters", "tests", "enriched pairs", "CPU seconds", "seconds"]
        print_table(
            "Enrichment of a million proteins", header, enrichment_at_scale(options.data, options.seed)
        )
    for source in DRAWS:
        if missing[source] or "tree" not in wanted:
            continue
        print_table(
            f"Ontology from sequences alone: F of pairs under one ancestor at the levels of {source}; "
            "the last three weighted by depth",
            ["method", *LEVELS[source], "precision", "recall", "F"],
            sequence_trees(options.data, options.output, options.domains, options.seed, source),
        )
    print(f"\n{time.process_time() - begun:.0f} CPU seconds, MMseqs2 not counted")


if __name__ == "__main__":
    try:
        main()
    except SeqscanError as error:  # MMseqs2 is missing or fails
        raise SystemExit(str(error)) from None
