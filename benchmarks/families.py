"""Print the table of hundreds of families: seqscan without a number of clusters, beside what finds it too.

    python benchmarks/families.py [--data FOLDER] [--families 60] [--zipf 1] [--seed 0] [--output FOLDER]

Reads `pfam_all_dev.fasta.gz` and its labels from FOLDER (by default `../shared/data/pfam_all_dev`), all
families or a random draw of them. Every method works on the same records; labels are opened to draw the
families and to score. Families of one clan are homologous, so the clans are scored beside: joining two
families of a clan is no error there. Beside them: which share of all pairs of one family is together, and
which share of the pairs that are together is of one family, and of one clan. One tenth of the records is kept
out of training and then assigned.

What was done is kept in the output folder, and a second call goes on from there. The shipped encoder saw
these proteins, without labels, in its training text.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from seqscan.alignment import mmseqs_clusters, write_rows
from seqscan.baselines import MMSEQS_SENSITIVE, kmeans_on_pca, kmers, label_propagation, leiden
from seqscan.corpus import Corpus, write_corpus
from seqscan.discovery import DiscoveryConfig, discover_categories
from seqscan.encoder import load_encoder
from seqscan.evaluate import evaluate, label_scores
from seqscan.fasta import RejectionLedger, read_fasta
from seqscan.head import ClusterHead, fit_whitening, whiten
from seqscan.hierarchy import join_clusters
from seqscan.neighbors import NeighborGraph, Pieces, combine
from seqscan.results import Assignments, read_truth
from seqscan.stages import StageLog

Labels = NDArray[np.int64]
COLUMNS = ("nmi", "ami", "ari", "accuracy", "bcubed_f1")


@dataclass(frozen=True)
class Case:
    """The records of one benchmark: those to cluster and those kept out."""

    corpus: Corpus
    unseen: Corpus
    family: dict[str, str]
    clan: dict[str, str]

    @property
    def n_families(self) -> int:
        """Families among the records to cluster."""
        return len({self.family[id] for id in self.corpus.ids})


def read_case(
    data: Path, folder: Path, n_families: int | None, seed: int, *, zipf: float | None = None
) -> Case:
    """Read the records, draw the families and keep a tenth of the records out.

    With `zipf` the families, by size, are thinned until the one of rank r has r ** -zipf of the first's
    members, or eight.
    """
    labels = data / "pfam_all_dev.labels.tsv.gz"
    sequences = data / "pfam_all_dev.fasta.gz"
    for path in (labels, sequences):
        if not path.exists():
            raise SystemExit(f"{path} is missing: give the folder that holds it with --data")
    family, clan = read_truth(labels, "pfam"), read_truth(labels, "clan")
    names = sorted(set(family.values()))
    generator = np.random.default_rng(seed)
    drawn = set(names) if n_families is None else set(generator.permutation(names)[:n_families].tolist())
    # A family without a clan is its own.
    clan = {id: name or family[id] for id, name in clan.items()}
    paths = {"corpus": folder / "corpus", "unseen": folder / "unseen"}
    if not paths["unseen"].exists():
        taken = {id for id, name in family.items() if name in drawn}
        if zipf is not None:
            taken = thinned({id: family[id] for id in sorted(taken)}, zipf, generator)
        records = [r for r in read_fasta(sequences, rejected=RejectionLedger()) if r.id in taken]
        out = generator.random(len(records)) < 0.1
        write_corpus(paths["corpus"], (r for r, o in zip(records, out, strict=True) if not o))
        write_corpus(paths["unseen"], (r for r, o in zip(records, out, strict=True) if o))
    # The order in which the stages, and so their graphs, see the proteins.
    corpus = Corpus.open(paths["corpus"])
    corpus = corpus.reordered(corpus.canonical_order())
    return Case(corpus, Corpus.open(paths["unseen"]), family, clan)


def thinned(family: dict[str, str], exponent: float, generator: np.random.Generator) -> set[str]:
    """Return ids of families whose sizes fall as their rank to the power -`exponent`, but not below eight."""
    members: dict[str, list[str]] = {}
    for id, name in family.items():
        members.setdefault(name, []).append(id)
    ranked = sorted(members.values(), key=lambda ids: (-len(ids), ids[0]))
    taken: set[str] = set()
    for rank, ids in enumerate(ranked, 1):
        size = max(8, round(len(ranked[0]) * rank**-exponent))
        taken.update(generator.permutation(ids)[:size].tolist())
    return taken


def seqscan_rows(case: Case, folder: Path, threads: int) -> dict[str, Callable[[], Any]]:
    """Return what runs seqscan: with and without joint learning, without and with the number of families."""

    def cluster(finetune: bool, n_clusters: int | None) -> Callable[[], dict[str, Any]]:
        def run() -> dict[str, Any]:
            log = StageLog(folder / "stages")
            config = DiscoveryConfig(n_clusters=n_clusters, finetune=finetune, threads=threads)
            found = discover_categories(case.corpus, "", folder, config, log)
            head = found.model.head
            row = scores_of(case, head.assign(case.corpus.ids, found.vectors))
            row["seconds"] = sum(stage.seconds for stage in log.stages)
            unseen = head.assign(case.unseen.ids, found.model.encoder.embed(case.unseen))
            row["unseen"] = scores_of(case, unseen)
            labels = head.labels(found.vectors)
            tree = join_clusters(head.prototypes, np.bincount(labels, minlength=head.n_clusters))
            groups = tree.cut(0.5)
            row["groups"] = label_scores(
                [case.clan[id] for id in case.corpus.ids], [groups[label] for label in labels.tolist()]
            )
            return row

        return run

    return {
        "seqscan": cluster(True, None),
        "seqscan --no-finetune": cluster(False, None),
        "seqscan, number of families given": cluster(True, case.n_families),
        "seqscan --no-finetune, number of families given": cluster(False, case.n_families),
    }


def baseline_rows(case: Case, folder: Path, threads: int) -> dict[str, Callable[[], Any]]:
    """Return what runs each other method."""
    corpus, n = case.corpus, case.n_families

    def graph() -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        near = NeighborGraph.read(folder / "graph")
        if (folder / "pieces").exists():
            near = combine(Pieces.read(folder / "pieces").graph, near)
        return near.indices, (near.indices >= 0).astype(np.float32)

    def aligned() -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        near = Pieces.read(folder / "pieces").graph.indices
        return near, (near >= 0).astype(np.float32)

    def vectors() -> NDArray[np.float32]:
        return load_encoder("default").embed(corpus)

    def distilled() -> Labels:
        points = vectors()
        head = distilled_head(points, leiden(*aligned(), resolution=0.01).labels)
        return head.labels(points)

    methods: dict[str, Callable[[], Labels]] = {
        "MMseqs2": lambda: mmseqs_clusters(corpus, threads=threads),
        "MMseqs2, sensitive, connected components": lambda: mmseqs_clusters(
            corpus, options=MMSEQS_SENSITIVE, threads=threads
        ),
        "DIAMOND cluster": lambda: diamond_clusters(corpus, (), threads),
        "DIAMOND cluster, very sensitive": lambda: diamond_clusters(
            corpus, ("--cluster-steps", "very-sensitive", "--approx-id", "0", "--member-cover", "30"), threads
        ),
        "Leiden, modularity, same graph": lambda: (
            leiden(*graph(), resolution=1.0, objective="modularity").labels
        ),
        "Leiden, CPM 0.01, same graph": lambda: leiden(*graph(), resolution=0.01).labels,
        "Leiden, CPM 0.01, alignments alone": lambda: leiden(*aligned(), resolution=0.01).labels,
        "label propagation, same graph": lambda: label_propagation(*graph()).labels,
        "head distilled from Leiden, CPM 0.01, alignments alone": distilled,
        "k-means of 3-mers, number of families given": lambda: kmeans_on_pca(kmers(corpus, 3), n, 0),
        "k-means of vectors, number of families given": lambda: kmeans_on_pca(vectors(), n, 0),
        "Leiden, CPM, same graph, number of families given": lambda: leiden(*graph(), n_clusters=n).labels,
    }

    def scored(cluster: Callable[[], Labels]) -> Callable[[], dict[str, Any]]:
        def run() -> dict[str, Any]:
            begun = time.perf_counter()
            labels = cluster()
            seconds = time.perf_counter() - begun
            return scores_of(case, Assignments.certain(case.corpus.ids, labels)) | {"seconds": seconds}

        return run

    return {name: scored(cluster) for name, cluster in methods.items()}


def scores_of(case: Case, found: Assignments) -> dict[str, Any]:
    """Score against families and clans."""
    by_family = evaluate(found, case.family)
    clan = evaluate(found, case.clan).labelled
    pairs = pair_shares(found, case)
    return {"family": by_family.labelled, "deciles": by_family.by_decile, "clan": clan, "pairs": pairs}


def pair_shares(found: Assignments, case: Case) -> dict[str, float]:
    """Return which share of the pairs of one family are together, and what the pairs together are."""

    def n_pairs(*columns: Any) -> float:
        sizes = np.array(list(Counter(zip(*columns, strict=True)).values()), dtype=np.float64)
        return float((sizes * (sizes - 1) / 2).sum())

    ids, labels = found.ids, found.labels.tolist()
    family, clan = [case.family[id] for id in ids], [case.clan[id] for id in ids]
    both, together = n_pairs(labels, family), n_pairs(labels)
    return {
        "together": both / n_pairs(family),
        "of_one_family": both / together,
        "of_one_clan": n_pairs(labels, clan) / together,
    }


def diamond_clusters(corpus: Corpus, options: tuple[str, ...], threads: int) -> Labels:
    """Cluster with `diamond cluster`."""
    program = shutil.which("diamond")
    if program is None:
        raise FileNotFoundError("diamond is not on PATH")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(corpus, np.arange(len(corpus)), folder / "in.fasta")
        subprocess.run(
            [program, "cluster", "-d", folder / "in.fasta", "-o", folder / "out.tsv", "-M", "8G",
             "--threads", str(threads), *options],
            check=True, capture_output=True, cwd=folder,
        )  # fmt: skip
        pairs = np.loadtxt(folder / "out.tsv", dtype=np.int64, ndmin=2)
    representatives = np.arange(len(corpus))
    representatives[pairs[:, 1]] = pairs[:, 0]
    return np.unique(representatives, return_inverse=True)[1]


def distilled_head(vectors: NDArray[np.float32], labels: Labels, n_steps: int = 600) -> ClusterHead:
    """Train a cosine head on the labels of a graph clustering, -1 for none: constant-time inference."""
    sizes = np.bincount(labels[labels >= 0])
    kept = (labels >= 0) & (sizes[labels] >= 3)
    used, target = np.unique(labels[kept], return_inverse=True)
    center, projection = fit_whitening(vectors)
    x, y = torch.from_numpy(whiten(vectors[kept], center, projection)), torch.from_numpy(target)
    sums = torch.zeros(len(used), x.shape[1]).index_add_(0, y, x)
    prototypes = F.normalize(sums, dim=1).requires_grad_(True)
    optimizer = torch.optim.Adam([prototypes], lr=0.01)
    generator = torch.Generator().manual_seed(0)
    for _ in range(n_steps):
        rows = torch.randint(len(x), (2048,), generator=generator)
        loss = F.cross_entropy(x[rows] @ F.normalize(prototypes, dim=1).T / 0.1, y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return ClusterHead(F.normalize(prototypes.detach(), dim=1).numpy(), center, projection, 0.1)


def main() -> None:
    """Run what is not done yet and print the table after each method."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data/pfam_all_dev"))
    parser.add_argument("--output", type=Path, default=Path("out/families"))
    parser.add_argument("--families", type=int, default=None, help="draw so many; all by default")
    parser.add_argument(
        "--zipf", type=float, default=None, help="thin sizes to ranks to the power of minus this"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=None, help="methods whose name begins so")
    options = parser.parse_args()
    zipf = "" if options.zipf is None else f"-zipf{options.zipf:g}"
    folder = options.output / f"{options.families or 'all'}{zipf}-{options.seed}"
    torch.set_num_threads(options.threads)
    case = read_case(options.data, folder, options.families, options.seed, zipf=options.zipf)
    n_clans = len({case.clan[id] for id in case.corpus.ids})
    print(f"{len(case.corpus)} domains of {case.n_families} families and {n_clans} clans, ", end="")
    print(f"{len(case.unseen)} kept out\n", flush=True)
    kept = folder / "rows.json"
    rows: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    methods = seqscan_rows(case, folder, options.threads) | baseline_rows(case, folder, options.threads)
    for name, run in methods.items():
        if name in rows or (options.only is not None and not name.startswith(tuple(options.only))):
            continue
        try:
            rows[name] = run()
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"{name}: left out, {error}", flush=True)
            continue
        kept.write_text(json.dumps(rows))
        print(f"{name}: {rows[name]['seconds']:.0f} s", flush=True)
    print_tables({name: rows[name] for name in methods if name in rows})


def print_tables(rows: dict[str, Any]) -> None:
    """Print the scores by family, by clan, of the unseen records, and by size of the family."""
    more = (
        "AMI of clans",
        "ARI of clans",
        "pairs of a family together",
        "pairs of one family",
        "of one clan",
    )
    print("\n| " + " | ".join(("method", "clusters", *COLUMNS, *more)) + " |")
    print("|---" * (2 + len(COLUMNS) + len(more)) + "|")
    for name, row in rows.items():
        cells = [f"{row['family'][column]:.3f}" for column in COLUMNS]
        cells += [f"{row['clan'][column]:.3f}" for column in ("ami", "ari")]
        cells += [f"{share:.3f}" for share in row["pairs"].values()]
        print(f"| {name} | {row['family']['n_clusters']:.0f} | " + " | ".join(cells) + " |")
    for name, row in rows.items():
        if "unseen" in row:
            seen, unseen = row["family"], row["unseen"]["family"]
            print(f"\n{name}: accuracy {seen['accuracy']:.3f}, of the unseen tenth {unseen['accuracy']:.3f}")
            print(f"groups of clusters (cosine distance 0.5) against clans: AMI {row['groups']['ami']:.3f}")
    first = next(iter(rows.values()), None)
    if first is None or not first["deciles"]:
        return
    print("\nby size of the family\n")
    for name, row in rows.items():
        shares = " | ".join(f"{decile['accuracy']:.2f}" for decile in row["deciles"])
        print(f"| {name} | {shares} |")


if __name__ == "__main__":
    main()
