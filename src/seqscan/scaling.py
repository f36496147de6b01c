"""From a store of vectors to clusters, for inputs of any size: graph, head, assignments, novelty.

Every stage reads the store a shard at a time, and a killed call goes on where it was. Under `torchrun` the
ranks train the head together; the first mines the graph and writes the tables.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from seqscan.artifact import VERSION, read_manifest, write_arrays, write_atomically
from seqscan.distributed import rank
from seqscan.encoder import AbstractEncoder, load_encoder
from seqscan.errors import InvalidParameter, ShapeMismatch
from seqscan.head import ClusterHead, Whitening
from seqscan.hierarchy import join_clusters
from seqscan.job import check_folder, check_not_of_another
from seqscan.model import Model, load_head
from seqscan.neighbors import NeighborGraph, held_out_proteins, index_recall, mine_neighbors
from seqscan.novelty import fit_novelty
from seqscan.results import Assignments
from seqscan.scan import StoreScan, StreamConfig, on_first_rank, stream_whitening
from seqscan.stages import Stage, StageLog
from seqscan.store import EmbeddingStore
from seqscan.tally import ClusterTally, write_clusters
from seqscan.threads import use_threads

__all__ = ["ScalingConfig", "cluster_store"]


@dataclass(frozen=True)
class ScalingConfig:
    """How to cluster a store.

    Attributes
    ----------
    n_clusters : int, optional
        Found from the data if not given.
    n_neighbors, n_probe : int
        Of the graph, and how thoroughly they are looked for.
    encoder : str, optional
        The encoder that made the store; with it a model is written that assigns sequences.
    seed, threads : int
    stream : StreamConfig
    """

    n_clusters: int | None = None
    n_neighbors: int = 20
    n_probe: int = 16
    encoder: str | None = None
    seed: int = 0
    threads: int = 2
    stream: StreamConfig = field(default_factory=StreamConfig)


@dataclass(frozen=True)
class _Job:
    """What the stages share: the store, the options, and where to write.

    Attributes
    ----------
    store : EmbeddingStore
    output : Path
    config : ScalingConfig
    encoder : AbstractEncoder, optional
    encoder_checksum : str, optional
    """

    store: EmbeddingStore
    output: Path
    config: ScalingConfig
    encoder: AbstractEncoder | None
    encoder_checksum: str | None

    @property
    def work(self) -> Path:
        """The folder of what a rerun can use again."""
        return self.output / "work"


def cluster_store(
    store: EmbeddingStore,
    output: str | Path,
    config: ScalingConfig,
    *,
    on_start: Callable[[str], None] | None = None,
    on_end: Callable[[Stage], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[ClusterHead, list[Stage]]:
    """Find the clusters of a store; write tables, `head/`, `scan.json` and, with an encoder, `model/`.

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
        If there are fewer proteins than clusters, another encoder made the store, or the folder is that of a
        run, an update or the scan of another store.
    """
    output = Path(output)
    check_folder(output)
    files = read_manifest(store.path, "store").files
    checksum = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    check_not_of_another(output, "scan.json", checksum)
    use_threads(config.threads)
    first = rank() == 0
    log = StageLog(output / "work" / "stages", on_start if first else None, on_end if first else None)
    job = _begin(store, output, config)
    base: dict[str, Any] = {"store": files, "seed": config.seed}
    search = base | {"k": config.n_neighbors, "n_probe": config.n_probe}

    frame_path = job.work / "frame.safetensors"
    on_first_rank(log, "frame", base, [frame_path], lambda: _write_frame(store, frame_path))
    frame = load_file(frame_path)

    made = [job.work / "graph", job.work / "recall.txt"]
    on_first_rank(log, "neighbors", search, made, lambda: _mine(job, on_progress))
    graph = NeighborGraph.read(job.work / "graph", mapped=True)

    scan = StoreScan(
        store=store,
        graph=graph,
        whitening=Whitening(frame["center"], frame["projection"]),
        work=job.work,
        log=log,
        depends=search,
        config=config.stream,
        n_clusters=config.n_clusters,
        seed=config.seed,
        notes={"graph_recall": float((job.work / "recall.txt").read_text())},
    )
    scan.run(job.output / "head")
    head = load_head(job.output / "head")

    names = ["assignments.tsv", "clusters.tsv", "hierarchy.tsv", *([] if job.encoder is None else ["model"])]
    made = [job.output / name for name in names]
    depends = scan.recipe | {"encoder": job.encoder_checksum}
    on_first_rank(log, "assign", depends, made, lambda: _assign(job, head))
    if first:
        made_from = {"input": {"name": store.path.name, "sha256": checksum}, "configuration": asdict(config)}
        with write_atomically(output / "scan.json") as temporary:
            temporary.write_text(json.dumps({"seqscan": VERSION, **made_from}, indent=1) + "\n")
    return head, log.stages


def _begin(store: EmbeddingStore, output: Path, config: ScalingConfig) -> _Job:
    """Check the options and read the encoder."""
    encoder = load_encoder(config.encoder) if config.encoder is not None else None
    if encoder is not None and encoder.n_dimensions != store.n_dimensions:
        raise ShapeMismatch(
            f"the store has {store.n_dimensions} dimensions, the encoder {encoder.n_dimensions}."
        )
    checksum = None if encoder is None else encoder.checksum()
    made_by = read_manifest(store.path, "store").content.get("encoder") or ""
    if checksum is not None and not checksum.startswith(made_by):  # the first versions kept its beginning
        raise InvalidParameter(
            "encoder",
            config.encoder,
            "did not make the store",
            remedy="Give the encoder that 'seqscan embed' was called with.",
        )
    if len(store) < 2:
        raise InvalidParameter("proteins", len(store), "at least 2 are needed", remedy="Give more proteins.")
    n_clusters = config.n_clusters
    if n_clusters is not None and not 2 <= n_clusters <= len(store):
        raise InvalidParameter(
            "clusters", n_clusters, f"must be at least 2 and at most {len(store)}, the number of proteins"
        )
    return _Job(store, output, config, encoder, checksum)


def _write_frame(store: EmbeddingStore, path: Path) -> None:
    """Write in which frame cosines are taken."""
    center, projection = stream_whitening(store)
    with write_atomically(path) as temporary:
        write_arrays(temporary, {"center": center, "projection": projection})


def _mine(job: _Job, on_progress: Callable[[int, int], None] | None) -> None:
    """Write the graph of neighbors, and which share of the true ones it has."""
    config = job.config
    graph = mine_neighbors(
        job.store, job.work / "graph", config.n_neighbors,
        n_probe=config.n_probe, threads=config.threads, on_progress=on_progress,
    )  # fmt: skip
    recall = index_recall(job.store, graph, n_queries=200)
    with write_atomically(job.work / "recall.txt") as temporary:
        temporary.write_text(f"{recall:.4f}\n")


def _assign(job: _Job, head: ClusterHead) -> None:
    """Write the cluster of each protein, what each cluster is and, with an encoder, the model."""
    store, tally = job.store, ClusterTally(head)
    labels, sureness = [], []
    with (
        write_atomically(job.output / "assignments.tsv") as temporary,
        temporary.open("w", newline="") as out,
    ):
        writer = Assignments.begin(out)
        for part, block in store.blocks():
            found = head.assign(store.ids[part], block)
            found.append(writer)
            tally.add(found, block, store.lengths[part])
            labels.append(found.labels)
            sureness.append(found.probabilities)
    tree = join_clusters(head.prototypes, tally.sizes)
    write_clusters(job.output, tally.summaries(tree), tree)
    if job.encoder is None:
        return
    seed = job.config.seed
    held_out = np.flatnonzero(held_out_proteins(len(store), seed=seed))
    novelty = fit_novelty(
        store.gather,
        np.concatenate(labels),
        head.center,
        held_out,
        np.concatenate(sureness)[held_out],
        seed=seed,
    )
    content = {"n_proteins": len(store), "encoder": None, "config": {"seed": seed}}
    Model(job.encoder, head, content, novelty).save(job.output / "model")
