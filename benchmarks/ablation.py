"""Print what each part of the search for clusters is worth: one thing is changed at a time, all else stays.

    python benchmarks/ablation.py [--data FOLDER] [--families 747] [--zipf EXPONENT] [--threads 2]
    python benchmarks/ablation.py --families 300 --zipf 1    # families thinned to sizes by Zipf's law

Two tables of the same records of `pfam_all_dev`, number of clusters not given. The first changes what
`seqscan run` does (alignments and vectors, in memory, no joint learning unless the row says so); the second
what `seqscan scan` does (vectors alone, from a store). Labels are opened to draw the families and to score; a
tenth of the records is kept out and assigned. Two figures need no label and may be compared within a table:
"agreement" is that of held-out pairs of neighbors, "hidden proteins placed" the share of proteins that come
to their own piece of the alignments although it was hidden while a temperature was chosen.

What was done is kept in the output folder, and a second call goes on from there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from families import Case, distilled_head, read_case, scores_of
from seqscan.artifact import read_manifest
from seqscan.baselines import leiden
from seqscan.discovery import DiscoveryConfig, discover_categories
from seqscan.embed import embed_corpus
from seqscan.encoder import load_encoder
from seqscan.head import ClusterHead, Whitening, whiten
from seqscan.losses import local_mean
from seqscan.model import load_head
from seqscan.neighbors import NeighborGraph, Pieces, combine, joining, nearest_vectors
from seqscan.neighbors.pieces import by_size, smallest_part
from seqscan.scan import (
    ScanConfig,
    StoreScan,
    StreamConfig,
    discover,
    heads,
    in_memory,
    store_scan,
    stream_means,
    stream_whitening,
)
from seqscan.stages import StageLog
from seqscan.store import EmbeddingStore
from seqscan.threads import use_threads

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Inputs:
    """What every row begins with.

    Attributes
    ----------
    case : Case
    store : EmbeddingStore
        Of the records to cluster.
    unseen : (M, P), float32
        Vectors of those kept out.
    graph : NeighborGraph
        By vectors.
    pieces : Pieces
        Of the alignments.
    held_together : (N,)
        The pieces that `seqscan run` begins from.
    folder : Path
    """

    case: Case
    store: EmbeddingStore
    unseen: Vectors
    graph: NeighborGraph
    pieces: Pieces
    held_together: NDArray[np.int64]
    folder: Path


@dataclass(frozen=True)
class Change:
    """What a row does otherwise.

    Attributes
    ----------
    config : dict
        Fields of `ScanConfig` or `StreamConfig`.
    arguments : callable
        Returns those of `discover`, or fields of `StoreScan`; called when the row is done.
    patches : tuple of (object, str, object)
        Names of a module or class and what stands in for them.
    """

    config: dict[str, Any] = field(default_factory=dict)
    arguments: Callable[[], dict[str, Any]] = dict
    patches: tuple[tuple[Any, str, Any], ...] = ()

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the patches hold for a while."""
        with ExitStack() as stack:
            for owner, name, value in self.patches:
                stack.enter_context(patch.object(owner, name, value))
            yield


def run_changes(inputs: Inputs) -> dict[str, Change]:
    """Return the rows of the table of `seqscan run`."""
    fixed = ((in_memory, "LOWEST_TEMPERATURE", 1.0),)  # nothing sharper is tried

    def no_pieces() -> dict[str, Any]:
        return {"pieces": None}

    batch_mean = ((heads, "RunningMean", lambda n_clusters, batch_size: local_mean),)
    return {
        "as it is": Change(),
        "entropy weight 0.5": Change({"entropy_weight": 0.5}),
        "entropy weight 2": Change({"entropy_weight": 2.0}),
        "entropy weight 5 (the paper's)": Change({"entropy_weight": 5.0}),
        "shares of the clusters from the batch alone": Change(patches=batch_mean),
        "temperature 0.1, nothing sharper tried": Change({"temperature": 0.1}, patches=fixed),
        "temperature 0.02, nothing sharper tried": Change({"temperature": 0.02}, patches=fixed),
        "no self-labelling": Change(patches=((in_memory, "self_label", lambda fit, *a, **k: (fit, False)),)),
        "what pieces teach weighs as much as neighbors": Change({"label_weight": 1.0}),
        "what pieces teach weighs three times as much": Change({"label_weight": 3.0}),
        "what pieces teach weighs thirty times as much": Change({"label_weight": 30.0}),
        "pieces begin the head and do not teach it": Change(
            patches=((in_memory, "fit_heads", without_labels),)
        ),
        "neighbors by alignment alone": Change(arguments=lambda: {"graph": inputs.pieces.graph}),
        "neighbors by vectors alone, pieces of alignments": Change(arguments=lambda: {"trusted": None}),
        "neighbors by both, beginning from heads": Change(arguments=no_pieces),
        "the same with as many prototypes again": Change(
            arguments=no_pieces, patches=((in_memory, "over_provision", lambda n, k: 4 * int(n**0.5)),)
        ),
        "neighbors by vectors alone, beginning from heads": Change(
            arguments=lambda: {"pieces": None, "trusted": None}
        ),
        "beginning from Leiden (CPM 0.01) on alignments": Change(
            arguments=lambda: {"pieces": leiden_communities(inputs.pieces.graph)}
        ),
        "beginning from Leiden (CPM 0.01) on alignments and vectors": Change(
            arguments=lambda: {"pieces": leiden_communities(combine(inputs.pieces.graph, inputs.graph))}
        ),
    }


def scan_changes(inputs: Inputs) -> dict[str, Change]:
    """Return the rows of the table of `seqscan scan`."""
    own = store_scan.n_prototypes

    def prototypes(factor: float) -> tuple[tuple[Any, str, Any], ...]:
        return ((store_scan, "n_prototypes", lambda n, k: int(factor * own(n, k))),)

    unjoined = (
        (store_scan, "linked_groups", lambda graph, labels, n_clusters, smallest: labels.astype(np.int64)),
    )
    return {
        "as it is": Change(),
        "entropy weight 0.5": Change({"entropy_weight": 0.5}),
        "entropy weight 2": Change({"entropy_weight": 2.0}),
        "entropy weight 5 (the paper's)": Change({"entropy_weight": 5.0}),
        "temperature 0.1": Change({"temperature": 0.1}),
        "temperature 0.025": Change({"temperature": 0.025}),
        "what joined prototypes teach weighs ten times as much": Change({"label_weight": 10.0}),
        "three epochs": Change({"n_epochs": 3, "min_steps": 1200}),
        "a quarter of the prototypes": Change(patches=prototypes(0.25)),
        "half the prototypes": Change(patches=prototypes(0.5)),
        "twice the prototypes": Change(patches=prototypes(2.0)),
        "prototypes from random proteins": Change(
            patches=((store_scan, "spread_prototypes", random_prototypes),)
        ),
        "prototypes from k-means": Change(patches=((store_scan, "spread_prototypes", kmeans_prototypes),)),
        "clusters that links join stay apart": Change(patches=unjoined),
        "joined from a share of 0.025 of links on": Change(patches=joined_from(0.025)),
        "joined from a share of 0.1 of links on": Change(patches=joined_from(0.1)),
        "all of the nearest vectors, also what chance explains": Change(
            arguments=lambda: {
                "graph": nearest_vectors(inputs.store.vectors(), inputs.graph.indices.shape[1])
            }
        ),
        "pieces of alignments stand in": Change(
            {"label_weight": ScanConfig().label_weight},
            arguments=lambda: {"pieces": inputs.held_together},
        ),
    }


def joined_from(share: float) -> tuple[tuple[Any, str, Any], ...]:
    """Return what joins clusters from another share of links on."""
    join = joining.join_linked
    return ((joining, "join_linked", lambda *a, **k: join(*a, **k, min_linked=share)),)


def without_labels(*arguments: Any, **options: Any) -> Any:
    """Train heads that nothing teaches."""
    return heads.fit_heads(*arguments, **(options | {"labels": None}))


def random_prototypes(
    store: EmbeddingStore, n_clusters: int, whitening: Whitening, *, seed: int, candidates: int = 4
) -> Vectors:
    """Choose proteins at random, (C, Q)."""
    rows = np.sort(np.random.default_rng((seed, 71)).permutation(len(store))[:n_clusters])
    return whiten(store.gather(rows), *whitening)


def kmeans_prototypes(
    store: EmbeddingStore, n_clusters: int, whitening: Whitening, *, seed: int, candidates: int = 4
) -> Vectors:
    """Return the centers of spherical k-means of all proteins, (C, Q)."""
    import faiss

    points = whiten(store.vectors(), *whitening)
    trained = faiss.Kmeans(points.shape[1], n_clusters, niter=10, seed=seed, spherical=True)
    trained.train(points)
    return trained.centroids


def leiden_communities(graph: NeighborGraph) -> NDArray[np.int64]:
    """Return Leiden's communities, largest first, (N,); -1 in those too small for a cluster."""
    labels = leiden(graph.indices, (graph.indices >= 0).astype(np.float32), resolution=0.01).labels
    return by_size(labels, smallest_part(len(labels), None))


def run_row(inputs: Inputs, change: Change, seed: int) -> tuple[ClusterHead, dict[str, float]]:
    """Find the clusters in memory; also return the figures that need no label."""
    found = {
        "graph": inputs.graph,
        "trusted": inputs.pieces.graph,
        "pieces": inputs.held_together,
    } | change.arguments()
    graph = found.pop("graph")
    config = ScanConfig(**change.config)
    with change.applied():
        chosen = discover(inputs.store.vectors(), graph, None, config, seed=seed, **found)
    figures = {"agreement": chosen.fit.agreement}
    if "hidden_proteins_placed" in chosen.notes:  # pieces teach
        figures["hidden_proteins_placed"] = chosen.notes["hidden_proteins_placed"]
    return chosen.fit.head, figures


def scan_row(inputs: Inputs, change: Change, seed: int) -> tuple[ClusterHead, dict[str, float]]:
    """Find the clusters of the store; also return the agreement of held-out pairs."""
    work = inputs.folder / "scan"
    found = StoreScan(
        store=inputs.store,
        whitening=stream_whitening(inputs.store),
        work=work,
        log=StageLog(work / "stages"),
        depends={"change": time.time_ns()},  # nothing of another row is used again
        config=StreamConfig(**change.config),
        n_clusters=None,
        seed=seed,
        **({"graph": inputs.graph} | change.arguments()),
    )
    with change.applied():
        found.run(work / "head")
    notes = read_manifest(work / "head", "head").content["notes"]
    return load_head(work / "head"), {"agreement": float(notes["agreement"])}


def joint_row(inputs: Inputs, threads: int) -> dict[str, Any]:
    """Learn encoder and clusters together."""
    config = DiscoveryConfig(threads=threads)
    found = discover_categories(
        inputs.case.corpus, "", inputs.folder, config, StageLog(inputs.folder / "stages")
    )
    unseen = found.model.encoder.embed(inputs.case.unseen)
    without_labels = {name: found.notes[name] for name in ("agreement", "hidden_proteins_placed")}
    return scored(inputs.case, found.model.head, found.vectors, unseen) | without_labels


def distilled_row(inputs: Inputs) -> dict[str, Any]:
    """Teach a head the pieces of the alignments and nothing else."""
    pieces = inputs.held_together
    begun = time.process_time()
    head = distilled_head(inputs.store.vectors(), pieces)
    seconds = time.process_time() - begun
    return scored(inputs.case, head, inputs.store.vectors(), inputs.unseen) | {"seconds": seconds}


def scored(case: Case, head: ClusterHead, vectors: Vectors, unseen: Vectors) -> dict[str, Any]:
    """Return the figures of a head."""
    seen = scores_of(case, head.assign(case.corpus.ids, vectors))["family"]
    kept_out = scores_of(case, head.assign(case.unseen.ids, unseen))["family"]
    return {"seen": seen, "unseen": kept_out}


def prepare(options: argparse.Namespace, folder: Path) -> Inputs:
    """Read the records and make what every row begins with."""
    case = read_case(options.data, folder, options.families, options.draw, zipf=options.zipf)
    # The first row trains the default head; the one made here is not used, so a step will do.
    config = DiscoveryConfig(finetune=False, threads=options.threads, scan=ScanConfig(n_steps=1))
    log = StageLog(folder / "stages", on_start=lambda stage: print(f"{stage} ...", flush=True))
    discover_categories(case.corpus, "", folder, config, log)
    path = folder / "unseen_store"
    if not path.exists():
        embed_corpus(load_encoder("default"), case.unseen, path, {})
    store, pieces = EmbeddingStore.open(folder / "store"), Pieces.read(folder / "pieces")
    return Inputs(
        case,
        store,
        EmbeddingStore.open(path).vectors(),
        NeighborGraph.read(folder / "graph"),
        pieces,
        pieces.enough_for(
            None, lambda groups: stream_means(store, groups, int(groups.max()) + 1, stream_whitening(store))
        ),
        folder,
    )


def main() -> None:
    """Do the rows that are not done yet and print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data/pfam_all_dev"))
    parser.add_argument("--output", type=Path, default=Path("out/ablation"))
    parser.add_argument("--families", type=int, default=None, help="draw so many; all by default")
    parser.add_argument(
        "--zipf", type=float, default=None, help="thin them to sizes in proportion to rank^-S"
    )
    parser.add_argument("--draw", type=int, default=0, help="seed of the draw")
    parser.add_argument("--seeds", type=int, default=1, help="of the heads")
    parser.add_argument("--tables", nargs="*", default=["run", "scan"], choices=["run", "scan"])
    parser.add_argument("--joint", action="store_true", help="joint learning too, which takes longer")
    parser.add_argument("--only", nargs="*", default=[""], help="rows with one of these in their name")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    use_threads(options.threads)
    folder = options.output / f"{options.families or 'all'}-{options.zipf or 'whole'}-{options.draw}"
    inputs = prepare(options, folder)
    case = inputs.case
    print(
        f"{len(case.corpus)} domains of {case.n_families} families, {len(case.unseen)} kept out\n", flush=True
    )
    kept = folder / "rows.json"
    rows: dict[str, dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else {}

    def do(table: str, name: str, make: Callable[[], dict[str, Any]]) -> None:
        if f"{table}: {name}" in rows or not any(part in name for part in options.only):
            return
        rows[f"{table}: {name}"] = make()
        kept.write_text(json.dumps(rows))
        print(f"{table}: {name}: {shown(rows[f'{table}: {name}'])}", flush=True)

    def timed(
        row: Callable[..., tuple[ClusterHead, dict[str, float]]], change: Change, seed: int
    ) -> dict[str, Any]:
        begun = time.process_time()
        head, without_labels = row(inputs, change, seed)
        seconds = time.process_time() - begun
        figures = scored(case, head, inputs.store.vectors(), inputs.unseen)
        return figures | without_labels | {"seconds": seconds}

    parts = {"run": (run_changes, run_row), "scan": (scan_changes, scan_row)}
    for table in options.tables:
        changes, row = parts[table]
        for name, change in changes(inputs).items():
            for seed in range(options.seeds):
                do(table, f"{name} [{seed}]", lambda r=row, c=change, s=seed: timed(r, c, s))
        if table == "run":
            do(table, "a head taught the pieces alone, no SCAN [0]", lambda: distilled_row(inputs))
            if options.joint:
                do(table, "joint learning [0]", lambda: joint_row(inputs, options.threads))
    print_tables(rows)


def shown(row: dict[str, Any]) -> str:
    """Return the cells of a row."""
    seen = row["seen"]
    cells = [f"{seen['n_clusters']:.0f}"]
    cells += [f"{seen[name]:.3f}" for name in ("ami", "ari", "accuracy", "bcubed_f1")]
    cells.append(f"{row['unseen']['accuracy']:.3f}")
    cells += [f"{row[name]:.3f}" if name in row else "" for name in ("agreement", "hidden_proteins_placed")]
    cells.append(f"{row['seconds']:.0f}" if "seconds" in row else "")
    return " | ".join(cells)


def print_tables(rows: dict[str, dict[str, Any]]) -> None:
    """Print each table, its rows in the order in which they were done."""
    header = (
        "clusters", "AMI", "ARI", "accuracy", "BCubed F1", "accuracy, kept out", "agreement",
        "hidden proteins placed", "CPU s",
    )  # fmt: skip
    for table in ("run", "scan"):
        own = {n.removeprefix(f"{table}: "): row for n, row in rows.items() if n.startswith(f"{table}: ")}
        if own:
            print(f"\n| seqscan {table} [seed] | " + " | ".join(header) + " |")
            print("|---" * (1 + len(header)) + "|")
            for name, row in own.items():
                print(f"| {name} | {shown(row)} |")


if __name__ == "__main__":
    main()
