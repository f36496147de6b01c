"""What a run will take: time and disk from a short run on a part of the input, memory from what is held.

The short run does what the long one does, with fewer training steps, on two samples of the input; the time of
each stage follows a power of the number of proteins between them. Alignments are timed otherwise, since in a
sample a protein has few relatives: a part of the proteins searches through all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqscan.artifact import scratch_folder
from seqscan.corpus import Corpus
from seqscan.discovery import N_ALIGNED, N_NEIGHBORS, DiscoveryConfig, chosen_encoder
from seqscan.errors import InvalidParameter
from seqscan.memory import fitted_to_memory
from seqscan.neighbors import AlignmentNeighbors
from seqscan.neighbors.pieces import N_BRIDGES
from seqscan.pipeline import RunConfig, run
from seqscan.stages import Stage

__all__ = ["Plan", "StagePlan", "plan"]

SAMPLES = (400, 1600)
"""Proteins of the two short runs."""
QUERIES = (100, 500)
"""Proteins of the two searches among all."""
PROBE_STEPS = 10
# The least and the largest power of the number of proteins that a stage's time can follow. Training takes a
# fixed number of steps; embedding is linear; comparing all pairs is quadratic at most.
POWERS = {
    "pieces": (0.5, 1.0),
    "neighbors": (1.0, 2.0),
    "neighbors_again": (1.0, 2.0),
    "finetune": (0.0, 0.1),
    "over_provision": (0.5, 1.5),
    "over_provision_again": (0.5, 1.5),
    "scan": (0.0, 1.0),
    "scan_again": (0.0, 1.0),
    "report": (0.0, 1.0),
    "baselines": (1.0, 2.0),
}


@dataclass(frozen=True)
class StagePlan:
    """What a stage will take: time in seconds, disk in bytes."""

    stage: str
    seconds: float
    disk_bytes: int


@dataclass(frozen=True)
class Plan:
    """What a run will take.

    Attributes
    ----------
    n_proteins, n_residues : int
    stages : list of StagePlan
    memory_bytes : int
        Highest resident memory.
    streamed : bool
        The memory asks for working in shards.
    """

    n_proteins: int
    n_residues: int
    stages: list[StagePlan]
    memory_bytes: int
    streamed: bool

    @property
    def seconds(self) -> float:
        """Time of the whole run."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def disk_bytes(self) -> int:
        """Disk of the whole run."""
        return sum(stage.disk_bytes for stage in self.stages)


def plan(corpus: Corpus, config: RunConfig, *, on_start: Callable[[str], None] = lambda text: None) -> Plan:
    """Predict time, disk and memory of a run on a corpus.

    Parameters
    ----------
    corpus : Corpus
    config : RunConfig
    on_start : callable, optional
        Called with what begins, in words, and with each of its stages.

    Raises
    ------
    InvalidParameter
        If the memory cannot suffice, the input is too small for a short run, or whole proteins are to be cut:
        in a sample they have fewer relatives, so that it has fewer segments for each protein, if any.
    """
    if config.segment:
        raise InvalidParameter(
            "segment", True, "how many segments there will be is not known before all proteins are aligned",
            remedy="Leave --dry-run out: a run that is stopped goes on where it was.",
        )  # fmt: skip
    encoder = chosen_encoder(config.discovery)
    discovery, needed = fitted_to_memory(len(corpus), config.discovery, encoder, config.memory_bytes)
    n = len(corpus)
    sizes = [size for size in SAMPLES if size < n] or [n]
    if n < 100:
        raise InvalidParameter("input", n, "a dry run needs 100 proteins", remedy="Just run it.")
    order = np.random.default_rng((discovery.seed, 81)).permutation(n)
    config = replace(config, discovery=discovery)
    results = []
    for size in sizes:
        on_start(f"trial run on {size:,} of {n:,} proteins, a minute or two")
        results.append(_probe(corpus, np.sort(order[:size]), config, on_start))
    probes, found, fixed = zip(*results, strict=True)
    residues = [int(corpus.lengths[order[:size]].sum()) for size in sizes]
    total = int(corpus.lengths.sum())
    disk = _disk(n, total, encoder.n_dimensions)
    for stage, size in fixed[-1].items():
        disk[stage] = disk.get(stage, 0) + size
    n_clusters = discovery.n_clusters or _extrapolated(list(found), sizes, n)
    stages = []
    for stage, seconds in probes[-1].items():
        if stage == "align":
            on_start(f"trial searches among {n:,} proteins")
            stages.append(StagePlan(stage, _align_seconds(corpus, order, discovery), disk[stage]))
            continue
        times = [probe[stage] for probe in probes]
        factor = _steps_left_out(stage, discovery, n_clusters)
        expected = factor * seconds * (total / residues[-1]) ** _power(stage, times, residues)
        stages.append(StagePlan(stage, expected, disk.get(stage, 0)))
    return Plan(n, total, stages, needed, discovery.streamed)


def _probe(
    corpus: Corpus, rows: np.ndarray, config: RunConfig, on_start: Callable[[str], None]
) -> tuple[dict[str, float], int, dict[str, int]]:
    """Run on some rows of a corpus with few steps.

    Returns the seconds of each stage, how many clusters there are, and the bytes of the encoders that stages
    write, however many proteins there are.
    """
    discovery = config.discovery
    few = replace(
        config,
        truth=None,
        discovery=replace(
            discovery,
            n_clusters=None if discovery.n_clusters is None else min(discovery.n_clusters, len(rows) // 4),
            scan=replace(discovery.scan, n_steps=min(discovery.scan.n_steps, 4 * PROBE_STEPS)),
            joint=replace(
                discovery.joint, n_steps=min(discovery.joint.n_steps, PROBE_STEPS), steps_per_cluster=0
            ),
        ),
    )
    done: list[Stage] = []
    with scratch_folder() as folder:
        fasta = folder / "sample.fasta"
        fasta.write_text("".join(f">p{row}\n{corpus.residues(int(row))}\n" for row in rows))
        output = folder / "out"
        scores = run(fasta, output, few, on_start=on_start, on_end=done.append)
        fixed = {
            "finetune": _size(output / "work" / "encoder"),
            "assign": _size(output / "model" / "encoder"),
        }
    seconds = {stage.stage: stage.seconds for stage in done}
    return seconds, int(scores.label_free["n_clusters"]), fixed


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*"))


def _align_seconds(corpus: Corpus, order: NDArray[np.int64], discovery: DiscoveryConfig) -> float:
    """Predict the search of all among all: what two numbers of queries differ by is what a query costs."""
    search = AlignmentNeighbors(corpus, min_coverage=discovery.min_coverage, threads=discovery.threads).search
    sizes = [min(size, len(corpus)) for size in QUERIES]
    spent = []
    for size in sizes:
        begun = time.monotonic()
        search(N_ALIGNED, np.sort(order[:size]))
        spent.append(time.monotonic() - begun)
    each = max(0.0, spent[1] - spent[0]) / max(1, sizes[1] - sizes[0])
    return spent[1] + each * (len(corpus) - sizes[1])


def _extrapolated(found: list[int], sizes: list[int], n: int) -> int:
    """Guess the number of clusters of n proteins from those of samples, as a power of the size.

    The power is a half at most: as with the words of a text, new ones become rare.
    """
    if len(found) < 2:
        return found[-1]
    power = math.log(max(1.0, found[1] / found[0])) / math.log(sizes[1] / sizes[0])
    return round(found[1] * (n / sizes[1]) ** min(power, 0.5))


def _power(stage: str, times: list[float], residues: list[int]) -> float:
    low, high = POWERS.get(stage, (1.0, 1.0))
    if len(times) < 2 or min(times) <= 0.0:
        return low
    measured = math.log(times[1] / times[0]) / math.log(residues[1] / residues[0])
    return min(max(measured, low), high)


def _steps_left_out(stage: str, discovery: DiscoveryConfig, n_clusters: int) -> float:
    if stage == "finetune":
        return max(1.0, discovery.joint.total_steps(n_clusters) / PROBE_STEPS)
    if stage.startswith(("over_provision", "scan")):
        return max(1.0, discovery.scan.n_steps / (4 * PROBE_STEPS))
    return 1.0


def _disk(n: int, n_residues: int, n_dimensions: int) -> dict[str, int]:
    vectors = n * 2 * n_dimensions
    graph = n * N_NEIGHBORS * 8
    found = {"read": n_residues + 40 * n, "embed": vectors, "neighbors": graph, "assign": 80 * n}
    found |= {"align": n * N_ALIGNED * 8, "pieces": n * (N_ALIGNED + N_BRIDGES + 2) * 8, "report": 100 * n}
    return found | {"embed_again": vectors, "neighbors_again": graph}
