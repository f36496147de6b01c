"""The clusters of a store of any size: more prototypes than clusters, joined where neighbors link them.

What `seqscan.scan.discover` does in memory, shard by shard. Prototypes begin from proteins far from each
other, many more than there are families, and are trained on the pairs of the graph. The clusters that
neighbors link are joined; where alignments hold proteins together already, their pieces stand in for all
this. A head then begins from the means of the groups and is trained on the pairs, the groups teaching it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from seqscan.artifact import write_arrays, write_atomically
from seqscan.checkpoint import remove_checkpoint
from seqscan.distributed import rank, wait_for_all
from seqscan.errors import OneCluster
from seqscan.head import Whitening, fully_whitened
from seqscan.model import load_head, save_head
from seqscan.neighbors.graph import NeighborGraph
from seqscan.neighbors.joining import linked_groups
from seqscan.neighbors.merging import join_pieces
from seqscan.neighbors.pieces import smallest_part
from seqscan.scan.heads import over_provision
from seqscan.scan.streaming import (
    StreamConfig,
    held_out_pairs,
    spread_prototypes,
    stream_head,
    stream_labels,
    stream_means,
)
from seqscan.stages import StageLog
from seqscan.store import EmbeddingStore

__all__ = ["StoreScan", "n_prototypes", "on_all_ranks", "on_first_rank"]

logger = logging.getLogger(__name__)

N_WHITENED = 64
"""Directions in which the first prototypes are compared, with unit variance in each: half-whitened vectors
choose proteins that are far apart badly."""
PAIRS_PER_PROTOTYPE = 128
"""That first prototypes are trained on, of many proteins: there are more prototypes the more proteins, and on
all pairs each of them would be trained longer too."""


def n_prototypes(n_proteins: int, n_clusters: int | None) -> int:
    """Return how many prototypes to begin with: eight for each root of the proteins, and twice the clusters.

    Examples
    --------
    >>> n_prototypes(16_000_000, None), n_prototypes(6000, 10)
    (32000, 616)
    """
    wanted = max(8 * int(n_proteins**0.5), over_provision(n_proteins, n_clusters))
    return max(2, n_clusters or 2, min(wanted, n_proteins // 8))


def on_first_rank(
    log: StageLog, name: str, depends: dict[str, Any], made: list[Path], work: Callable[[], object]
) -> None:
    """Do a stage on the first rank, the others waiting."""
    if rank() == 0:
        log.run(name, depends, made, work)
    wait_for_all()


def on_all_ranks(
    log: StageLog, name: str, depends: dict[str, Any], made: list[Path], work: Callable[[], object]
) -> str:
    """Do a stage on all ranks together, unless it is done; the first keeps the note of it.

    Returns
    -------
    key : str
        For the stages that build on this one; empty on other ranks.
    """
    # All ranks look before any writes: all work, or none does.
    done = log.is_done(name, depends, made)
    wait_for_all()
    key = ""
    if rank() == 0:
        key = log.run(name, depends, made, work)
    elif not done:
        work()
    wait_for_all()
    return key


@dataclass(frozen=True)
class StoreScan:
    """One search for the clusters of a store, in stages that are done once.

    Attributes
    ----------
    store : EmbeddingStore
    graph : NeighborGraph
        Pairs to train on; may be a memory map.
    whitening : Whitening
        From `stream_whitening`.
    work : Path
        Folder of what a rerun can use again.
    log : StageLog
    depends : dict
        How store, graph and pieces were made, JSON values.
    config : StreamConfig
    n_clusters : int, optional
        Found from the data if not given.
    seed : int
    suffix : str
        Of the names of stages and files.
    pieces : (N,), optional
        What alignments hold together, -1 for proteins in none.
    notes : dict
        Kept with the head, JSON values.
    """

    store: EmbeddingStore
    graph: NeighborGraph
    whitening: Whitening
    work: Path
    log: StageLog
    depends: dict[str, Any]
    config: StreamConfig
    n_clusters: int | None
    seed: int
    suffix: str = ""
    pieces: NDArray[np.int64] | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    def run(self, head: Path) -> str:
        """Do what is not done yet and write the artifact of a head, clusters numbered by size.

        Returns
        -------
        key : str
            For the stages that build on this; empty on other ranks than the first.

        Raises
        ------
        OneCluster
            If all proteins come into one cluster.
        """
        recipe = self.recipe
        if self.pieces is None:
            stage, made = f"begin{self.suffix}", [self._begin]
            on_first_rank(self.log, stage, recipe, made, self._write_beginning)
            stage, made = f"over_provision{self.suffix}", [self._fine]
            on_all_ranks(self.log, stage, recipe, made, self._over_provision)
        on_first_rank(self.log, f"join{self.suffix}", recipe, [self._joined], self._join)
        key = on_all_ranks(self.log, f"scan{self.suffix}", recipe, [head], lambda: self._train(head))
        if rank() == 0:
            for checkpoint in (self._fine_training, self._training):
                remove_checkpoint(checkpoint)
        return key

    @property
    def recipe(self) -> dict[str, Any]:
        """All that the clusters depend on, JSON values."""
        options = {"n_clusters": self.n_clusters, "seed": self.seed, "stream": asdict(self.config)}
        return self.depends | options

    @property
    def _begin(self) -> Path:
        return self.work / f"begin{self.suffix}.safetensors"

    @property
    def _fine(self) -> Path:
        return self.work / f"over_provisioned{self.suffix}"

    @property
    def _fine_training(self) -> Path:
        return self._fine.with_suffix(".training.safetensors")

    @property
    def _training(self) -> Path:
        return self.work / f"scan{self.suffix}.training.safetensors"

    @property
    def _joined(self) -> Path:
        return self.work / f"joined{self.suffix}.safetensors"

    @property
    def _full_whitening(self) -> Whitening:
        return self.whitening._replace(projection=fully_whitened(self.whitening.projection, N_WHITENED))

    def _write_beginning(self) -> None:
        n = n_prototypes(len(self.store), self.n_clusters)
        prototypes = spread_prototypes(self.store, n, self._full_whitening, seed=self.seed)
        _save(self._begin, prototypes=prototypes)

    def _over_provision(self) -> None:
        begin = load_file(self._begin)["prototypes"]
        enough = -(-PAIRS_PER_PROTOTYPE * len(begin) // self.config.batch_size)
        config = replace(self.config, max_steps=max(self.config.min_steps, enough))
        fine, notes = stream_head(
            self.store, self.graph, begin, self._full_whitening, config,
            seed=self.seed, made_from=self.recipe, checkpoint=self._fine_training,
        )  # fmt: skip
        if rank() == 0:
            fine = fine.ordered_by_size(stream_labels(fine, self.store))
            save_head(self._fine, fine, curve=[], notes=notes)

    def _join(self) -> None:
        """Write to which group each protein belongs, and the means of the groups."""
        groups: NDArray[np.integer] = (
            stream_labels(load_head(self._fine), self.store) if self.pieces is None else self.pieces
        )
        if self.pieces is None or self.n_clusters is not None:
            smallest = smallest_part(len(groups), self.n_clusters)
            groups = linked_groups(self.graph, groups, self.n_clusters, smallest)
        n_groups = int(groups.max(initial=-1)) + 1
        if n_groups < 2:
            raise OneCluster(self.n_clusters)
        if self.n_clusters is not None and n_groups > self.n_clusters:
            # As many as links leave are too many: those with the nearest means.
            sums = stream_means(self.store, groups, n_groups, self._full_whitening)
            sums *= np.bincount(groups[groups >= 0], minlength=n_groups)[:, None].astype(np.float32)
            further = join_pieces(sums, np.arange(n_groups), self.n_clusters)
            groups = np.where(groups >= 0, further[groups], -1)
            n_groups = self.n_clusters
        means = stream_means(self.store, groups, n_groups, self.whitening)
        _save(self._joined, prototypes=means, groups=groups.astype(np.int32))

    def _train(self, path: Path) -> None:
        """Train the head on all ranks together; the first writes it."""
        begin = load_file(self._joined)
        curve: list[dict[str, float]] = []
        trained, notes = stream_head(
            self.store, self.graph, begin["prototypes"], self.whitening, self.config,
            seed=self.seed, labels=begin["groups"], made_from=self.recipe,
            checkpoint=self._training, on_step=curve.append,
        )  # fmt: skip
        if rank() > 0:
            return
        head = trained.ordered_by_size(stream_labels(trained, self.store))
        if self.n_clusters is not None and head.n_clusters < self.n_clusters:
            logger.warning("%d of %d clusters are in use", head.n_clusters, self.n_clusters)
        known: dict[str, Any] = {
            "began_from": "alignment" if self.pieces is not None else "linked prototypes",
            "clusters_used": head.n_clusters,
        }
        pairs = held_out_pairs(self.graph, self.seed)
        save_head(path, head, curve=curve, notes=notes | self.notes | known, held_out=pairs)


def _save(path: Path, **arrays: NDArray[Any]) -> None:
    with write_atomically(path) as temporary:
        write_arrays(temporary, arrays)
