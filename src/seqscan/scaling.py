"""From a store of vectors to clusters, for inputs of any size: graph, head, assignments, novelty.

Every stage reads the store a shard at a time, and a killed call goes on where it was. Under `torchrun` the
ranks train the head together; the first mines the graph and writes the tables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from seqscan.artifact import read_manifest, write_atomically
from seqscan.distributed import rank, wait_for_all
from seqscan.encoder import load_encoder
from seqscan.errors import InvalidParameter, ShapeMismatch
from seqscan.head import ClusterHead
from seqscan.index import index_recall, mine_neighbors
from seqscan.model import Model, load_head, save_head
from seqscan.neighbors import NeighborGraph
from seqscan.novelty import fit_novelty
from seqscan.results import Assignments
from seqscan.scan import over_provision
from seqscan.stages import Stage, StageLog
from seqscan.store import EmbeddingStore
from seqscan.streaming import (
    StreamConfig,
    spread_prototypes,
    stream_frame,
    stream_head,
    stream_labels,
    used_clusters,
)

__all__ = ["ScalingConfig", "cluster_store"]


@dataclass(frozen=True)
class ScalingConfig:
    """How to cluster a store.

    Attributes
    ----------
    n_clusters : int, optional
        Prototypes to begin with; by default two for each root of the proteins. Those that stay empty are
        dropped at the end.
    n_neighbors, n_probe : int
        Of the graph, and how thoroughly they are looked for.
    encoder : str, optional
        The encoder that made the store; with it a model is written that assigns sequences.
    seed, threads : int
    stream : StreamConfig
    """

    n_clusters: int | None = None
    n_neighbors: int = 20
    n_probe: int = 8
    encoder: str | None = None
    seed: int = 0
    threads: int = 2
    stream: StreamConfig = field(default_factory=StreamConfig)


def cluster_store(
    store: EmbeddingStore,
    output: str | Path,
    config: ScalingConfig,
    *,
    on_start: Callable[[str], None] | None = None,
    on_end: Callable[[Stage], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[ClusterHead, list[Stage]]:
    """Find the clusters of a store and write `assignments.tsv`, `head/` and, with an encoder, `model/`.

    Parameters
    ----------
    store : EmbeddingStore
    output : path
        Folder; `OUT/work` keeps what a rerun can use again.
    config : ScalingConfig
    on_start, on_end, on_progress : callable, optional
        Tell how the work goes on.

    Returns
    -------
    head : ClusterHead
        Clusters are numbered by size.
    stages : list of Stage
        With time and memory of each.

    Raises
    ------
    InvalidParameter
        If there are fewer proteins than clusters.
    """
    torch.set_num_threads(config.threads)
    output = Path(output)
    work = output / "work"
    first = rank() == 0
    log = StageLog(work / "stages", on_start if first else None, on_end if first else None)
    log.folder.mkdir(parents=True, exist_ok=True)
    encoder = load_encoder(config.encoder) if config.encoder is not None else None
    if encoder is not None and encoder.n_dimensions != store.n_dimensions:
        raise ShapeMismatch(
            f"the store has {store.n_dimensions} dimensions, the encoder {encoder.n_dimensions}."
        )
    n_clusters = config.n_clusters or over_provision(len(store), None)
    if not 2 <= n_clusters <= len(store):
        raise InvalidParameter("clusters", n_clusters, f"must be 2 to {len(store)}, the number of proteins")

    def prepare() -> None:
        center, projection = stream_frame(store)
        prototypes = spread_prototypes(store, n_clusters, (center, projection), seed=config.seed)
        arrays = {"center": center, "projection": projection, "prototypes": prototypes}
        with write_atomically(work / "begin.safetensors") as temporary:
            save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, temporary)

    def mine() -> None:
        graph = mine_neighbors(
            store, work / "graph", config.n_neighbors, begin["center"],
            n_probe=config.n_probe, threads=config.threads, on_progress=on_progress,
        )  # fmt: skip
        recall = index_recall(store, graph, begin["center"], n_queries=200)
        with write_atomically(work / "recall.txt") as temporary:
            temporary.write_text(f"{recall:.4f}\n")

    base: dict[str, Any] = {"store": read_manifest(store.path, "store").files, "seed": config.seed}
    search = base | {"k": config.n_neighbors, "n_probe": config.n_probe}
    training = search | {"n_clusters": n_clusters, "stream": asdict(config.stream)}
    if first:
        log.run("begin", base | {"n_clusters": n_clusters}, [work / "begin.safetensors"], prepare)
    wait_for_all()
    begin = load_file(work / "begin.safetensors")
    if first:
        log.run("neighbors", search, [work / "graph", work / "recall.txt"], mine)
    wait_for_all()
    graph = NeighborGraph.read(work / "graph", mapped=True)
    frame = (begin["center"], begin["projection"])

    def train() -> None:
        curve: list[dict[str, float]] = []
        trained, held_out = stream_head(
            store, graph, begin["prototypes"], frame, config.stream,
            seed=config.seed, checkpoint=work / "training.safetensors", on_step=curve.append,
        )  # fmt: skip
        if not first:
            return
        ordered = used_clusters(trained, store)
        recall = float((work / "recall.txt").read_text())
        notes = held_out | {"graph_recall": recall, "clusters_used": ordered.n_clusters}
        save_head(output / "head", ordered, curve=curve, notes=notes)

    # All ranks look before any writes: all train, or none does.
    done = log.is_done("scan", training, [output / "head"])
    wait_for_all()
    if first:
        log.run("scan", training, [output / "head"], train)
    elif not done:
        train()
    wait_for_all()
    head = load_head(output / "head")
    if not first:
        return head, log.stages

    def assign() -> None:
        with (
            write_atomically(output / "assignments.tsv") as temporary,
            temporary.open("w", newline="") as out,
        ):
            writer = Assignments.begin(out)
            for part, block in store.blocks():
                head.assign(store.ids[part], block).append(writer)
        if encoder is None:
            return
        labels = np.concatenate([labels for _, labels in stream_labels(head, store)])
        novelty = fit_novelty(store.gather, labels, head.center, seed=config.seed)
        content = {"n_proteins": len(store), "encoder": None, "config": {"seed": config.seed}}
        Model(encoder, head, content, novelty).save(output / "model")

    outputs = [output / "assignments.tsv"] + ([output / "model"] if encoder is not None else [])
    log.run("assign", training | {"encoder": config.encoder}, outputs, assign)
    return head, log.stages
