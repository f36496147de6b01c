"""The whole job: a FASTA file in; assignments, clusters, a model, scores and a report out."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from seqscan.alignment import mmseqs_version, require_mmseqs
from seqscan.artifact import VERSION, file_checksum, write_atomically
from seqscan.baselines import aggregate, run_baselines
from seqscan.corpus import Corpus, write_corpus
from seqscan.discovery import DiscoveryConfig, Found, chosen_encoder, discover_categories
from seqscan.encoder import AbstractEncoder
from seqscan.errors import InputError, InvalidParameter, OneCluster
from seqscan.evaluate import evaluate, label_scores
from seqscan.fasta import Record, read_fasta
from seqscan.hierarchy import Hierarchy
from seqscan.job import check_folder, check_not_of_another, input_checksum, kept_input, sole_use
from seqscan.memory import fitted_to_memory
from seqscan.model import Model
from seqscan.overview import report_data
from seqscan.report import Architecture, Part, write_report
from seqscan.residues.domains import find_domains
from seqscan.residues.explain import explain
from seqscan.residues.maps import SPREAD
from seqscan.residues.tracks import write_domains
from seqscan.results import (
    WHY_UNSURE,
    Assignments,
    ClusterSummary,
    Domains,
    Scores,
    kept_ledger,
    match_truth,
    read_rejected,
    read_truth,
)
from seqscan.segments import SegmentConfig, cut_records
from seqscan.stages import Stage, StageLog
from seqscan.tally import summarize, write_clusters
from seqscan.wording import plural

__all__ = ["RunConfig", "run"]

logger = logging.getLogger(__name__)

N_ARCHITECTURES = 40
"""Whole proteins drawn in the report, those with the most domains."""

SEGMENT_COVERAGE = 0.6
"""Share of both segments that an alignment must cover to make them neighbors."""


@dataclass(frozen=True)
class RunConfig:
    """Options of a run.

    Attributes
    ----------
    discovery : DiscoveryConfig
    segment : bool
        The records are whole proteins: cut them first, cluster the segments, and find the domains of the
        proteins with the model.
    segments : SegmentConfig
    context : str, optional
        A FASTA file of further whole proteins in which to look for what recurs, with `segment`.
    truth : str, optional
        A table with the columns `id_column` and `truth_column`; read only to score what was found.
    truth_column, id_column : str
    baselines : bool
        Run other methods on the same records beside, if truth is given.
    min_probability : probability
        A protein below it stays unassigned.
    max_length : int, residues
        Longer records are rejected.
    memory_bytes : int
        The run works in shards where it would need more, and is refused where that does not do either.
    """

    discovery: DiscoveryConfig = field(default_factory=DiscoveryConfig)
    segment: bool = False
    segments: SegmentConfig = field(default_factory=SegmentConfig)
    context: str | None = None
    truth: str | None = None
    truth_column: str = "pfam"
    id_column: str = "id"
    baselines: bool = True
    min_probability: float = 0.0
    max_length: int = 100_000
    memory_bytes: int = 8_000_000_000


def run(
    source: str | Path,
    output: str | Path,
    config: RunConfig,
    *,
    command: str = "",
    on_start: Callable[[str], None] | None = None,
    on_end: Callable[[Stage], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Do every stage that is not done yet, and write all tables.

    Parameters
    ----------
    source : path
        FASTA or FASTQ; `-` is standard input.
    output : path
        Folder; `OUT/work` keeps what a rerun can use again.
    config : RunConfig
    command : str
        For the report.
    on_start, on_end, on_progress : callable, optional
        Tell how the work goes on.

    Raises
    ------
    InputError, InvalidParameter
        If the input or an option cannot work; nothing is half written.
    """
    output = Path(output)
    work = output / "work"
    check_folder(output)
    _check_options(config)
    truth = (
        read_truth(config.truth, config.truth_column, id_column=config.id_column) if config.truth else None
    )
    context = input_checksum(Path(config.context)) if config.context else None
    if config.segment:
        require_mmseqs(otherwise="leave --segment out")
    elif config.discovery.neighbors == "mmseqs2":
        require_mmseqs(otherwise="use '--neighbors embedding'")
    encoder = chosen_encoder(config.discovery)
    with sole_use(output) as new:
        log = StageLog(work / "stages", on_start, on_end)
        with _gone_if_refused(output, new=new):
            source = kept_input(source, work)
            checksum = input_checksum(source)
            check_not_of_another(output, "run.json", checksum)
            job = _Job(source, checksum, context, truth, output, config, command, log)
            proteins, key = _read(job)
            corpus, key = _cut(job, proteins, key) if config.segment else (proteins, key)
            job, needed = _fitted(job, len(corpus), encoder)
            if truth is not None:
                # Before the work, not after it.
                job = replace(job, truth=match_truth(truth, str(config.truth), corpus.ids))
            found = discover_categories(
                corpus, key, work, job.config.discovery, log, encoder=encoder, on_progress=on_progress
            )
        partition = _assign(proteins, corpus, found, config.min_probability)
        key = _write_tables(job, partition)
        key = _write_domains(job, partition, key)
        scores, key = _evaluate(job, partition, key)
        baselines, key = _compare(job, partition, key)
        log.run(
            "report",
            {"from": key, "command": command, "mmseqs2": mmseqs_version()},
            [output / "report.html"],
            lambda: _report(job, partition, scores, baselines),
        )
        _write_run_json(job, found, needed)
        return scores


@dataclass(frozen=True)
class _Job:
    """What the stages of a run share.

    Attributes
    ----------
    source : Path
    checksum : str
        Of the input.
    context : str, optional
        Checksum of the file of further proteins.
    truth : dict of str to str, optional
        The label of each id.
    output, config, command
        As in `run`; the configuration is the one that keeps within the memory.
    log : StageLog
    """

    source: Path
    checksum: str
    context: str | None
    truth: dict[str, str] | None
    output: Path
    config: RunConfig
    command: str
    log: StageLog

    @property
    def work(self) -> Path:
        """Folder of what a rerun can use again."""
        return self.output / "work"


@dataclass(frozen=True)
class _Partition:
    """What was found, as the stages that write and score it read it.

    Attributes
    ----------
    proteins : Corpus
        As they were read.
    corpus : Corpus
        What was clustered: the proteins, or their segments.
    found : Found
    assignments : Assignments
        Of the corpus.
    clusters : list of ClusterSummary
    tree : Hierarchy
    """

    proteins: Corpus
    corpus: Corpus
    found: Found
    assignments: Assignments
    clusters: list[ClusterSummary]
    tree: Hierarchy


def _check_options(config: RunConfig) -> None:
    if config.segment and config.truth:
        raise InvalidParameter(
            "truth", config.truth, "scores whole records, and segments are none",
            remedy="Leave --truth or --segment out; benchmarks/residues.py scores domains.",
        )  # fmt: skip
    if config.context and not config.segment:
        raise InvalidParameter(
            "context", config.context, "helps to cut whole proteins", remedy="Add --segment."
        )


@contextmanager
def _gone_if_refused(output: Path, *, new: bool) -> Iterator[None]:
    """Remove a new folder if the block refuses the input; a ledger that names records stays."""
    try:
        yield
    except OneCluster:  # the next call, with a number of clusters, begins from the work
        raise
    except (InputError, InvalidParameter):
        if new and output.exists():
            shutil.rmtree(output / "work", ignore_errors=True)
            rejected = output / "rejected.tsv"
            if rejected.exists() and not read_rejected(rejected):
                rejected.unlink()
            with suppress(OSError):  # the ledger is in it
                output.rmdir()
        raise


def _read(job: _Job) -> tuple[Corpus, str]:
    """Read the usable records; like all stages, return what it yields and the key of the next ones."""
    target, rejected, max_length = job.work / "corpus", job.output / "rejected.tsv", job.config.max_length

    def read() -> None:
        with kept_ledger(rejected) as ledger:
            write_corpus(target, read_fasta(job.source, rejected=ledger, max_length=max_length))
        if ledger.rows:
            logger.warning(
                "rejected %d of %s, see %s: %s",
                len(ledger.rows),
                plural(ledger.n_read, "record"),
                rejected,
                ledger.summary(),
            )

    key = job.log.run("read", {"input": job.checksum, "max_length": max_length}, [target, rejected], read)
    return Corpus.open(target), key


def _cut(job: _Job, proteins: Corpus, key: str) -> tuple[Corpus, str]:
    """Cut whole proteins into segments."""
    target, config = job.work / "segments", job.config

    def cut() -> None:
        threads = config.discovery.threads
        write_corpus(target, cut_records(proteins, config.segments, context=config.context, threads=threads))

    depends_on = {"corpus": key, "mmseqs2": mmseqs_version(), "segments": asdict(config.segments)}
    if job.context:
        depends_on["context"] = job.context
    key = job.log.run("segment", depends_on, [target], cut)
    return Corpus.open(target), key


def _fitted(job: _Job, n: int, encoder: AbstractEncoder) -> tuple[_Job, int]:
    """Return the job with the way of working that keeps within the memory, and the bytes n records need."""
    asked = job.config.discovery
    discovery, needed = fitted_to_memory(n, asked, encoder, job.config.memory_bytes)
    if discovery.streamed and not asked.streamed:
        logger.warning("working in shards to keep within %.1f GB of memory", job.config.memory_bytes / 1e9)
    if job.config.segment:
        # A segment whose cuts are a little off would tie its neighbors in the protein together.
        discovery = replace(discovery, min_coverage=SEGMENT_COVERAGE)
    return replace(job, config=replace(job.config, discovery=discovery)), needed


def _assign(proteins: Corpus, corpus: Corpus, found: Found, min_probability: float) -> _Partition:
    head = found.model.head
    assignments = head.assign(corpus.ids, found.vectors, min_probability=min_probability)
    if assignments.mostly_unsure:
        logger.warning(
            "%d of %d assignments have a probability below 0.5: these clusters are hardly told apart; %s",
            assignments.unsure.sum(),
            assignments.assigned.sum(),
            WHY_UNSURE,
        )
    clusters, tree = summarize(assignments, corpus, head, found.vectors, found.model.tied)
    return _Partition(proteins, corpus, found, assignments, clusters, tree)


def _write_tables(job: _Job, partition: _Partition) -> str:
    output, found = job.output, partition.found

    def write() -> None:
        found.model.save(output / "model")
        partition.assignments.write(output / "assignments.tsv")
        write_clusters(output, partition.clusters, partition.tree)
        _write_members(partition.assignments, partition.clusters, output / "clusters_members.tsv")

    names = ("model", "assignments.tsv", "clusters.tsv", "hierarchy.tsv", "clusters_members.tsv")
    depends_on = {"found": found.key, "min_probability": job.config.min_probability}
    return job.log.run("assign", depends_on, [output / name for name in names], write)


def _write_domains(job: _Job, partition: _Partition, key: str) -> str:
    """Find the domains of whole proteins; without segments there are none to find."""
    path, proteins = job.output / "domains.tsv", partition.proteins
    if not job.config.segment:
        job.log.forget("domains", [path])
        return key
    model = partition.found.model
    return job.log.run(
        "domains", {"from": key}, [path], lambda: write_domains(find_domains(model, proteins.records()), path)
    )


def _write_members(assignments: Assignments, clusters: list[ClusterSummary], path: Path) -> None:
    """Write representative and member, one line a member, as MMseqs2 does; no header."""
    representative = {row.cluster: row.representative for row in clusters}
    rows = [
        (representative[label], id)
        for id, label in zip(assignments.ids, assignments.labels.tolist(), strict=True)
        if label in representative
    ]
    with write_atomically(path) as temporary:
        temporary.write_text("".join(f"{first}\t{second}\n" for first, second in rows))


def _evaluate(job: _Job, partition: _Partition, key: str) -> tuple[Scores, str]:
    """Score the assignments, and say how well hidden proteins were placed if alignments could tell."""
    path, config, found = job.output / "scores.json", job.config, partition.found

    def score() -> None:
        scores = evaluate(partition.assignments, job.truth, held_out_edges=found.held_out)
        share = found.notes.get("hidden_proteins_placed")
        if share is not None:
            scores = replace(scores, label_free=scores.label_free | {"hidden_proteins_placed": share})
        scores.write(path)

    truth = file_checksum(config.truth) if config.truth else None
    key = job.log.run(
        "evaluate",
        {"assign": key, "truth": truth, "column": config.truth_column, "ids": config.id_column},
        [path],
        score,
    )
    return Scores.read(path), key


def _compare(job: _Job, partition: _Partition, key: str) -> tuple[list[dict[str, Any]], str]:
    """Score other methods on the same records, if there is truth to score them by."""
    if job.truth is None or not job.config.baselines:
        return [], key
    truth, path = job.truth, job.work / "baselines.json"
    key = job.log.run("baselines", {"from": key}, [path], lambda: _baselines(job, partition, truth, path))
    return json.loads(path.read_text()), key


def _baselines(job: _Job, partition: _Partition, truth: dict[str, str], path: Path) -> None:
    # An empty label is none, as in `evaluate`: both score the same proteins.
    held = np.array([truth.get(id) or "" for id in partition.corpus.ids])
    known = held != ""
    families = held[known]
    found, config = partition.found, job.config.discovery
    similarities = np.where(found.graph.indices >= 0, 1.0, 0.0).astype(np.float32)
    rows = run_baselines(
        partition.corpus,
        config.n_clusters or found.model.head.n_clusters,
        seeds=(config.seed,),
        vectors=found.vectors,
        graph=(found.graph.indices, similarities),
        threads=config.threads,
    )
    summaries = aggregate(rows, lambda labels: label_scores(families, labels[known]))
    table = [{"method": row.method} | dict(row.mean) for row in summaries]
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(table) + "\n")


def _report(job: _Job, partition: _Partition, scores: Scores, baselines: list[dict[str, Any]]) -> None:
    proteins, found, config = partition.proteins, partition.found, job.config.discovery
    domains = Domains.read(job.output / "domains.tsv") if job.config.segment else None
    rejected = read_rejected(job.output / "rejected.tsv")
    write_report(
        report_data(
            found.model,
            partition.corpus,
            found.vectors,
            partition.assignments,
            partition.clusters,
            seed=config.seed,
            threads=config.threads,
            title=f"Functional categories of {job.source.name}",
            command=job.command,
            input_name=job.source.name,
            n_read=len(proteins) + len(rejected),
            n_rejected=len(rejected),
            rejected=rejected,
            curves=found.curves,
            scores=scores,
            baselines=baselines,
            segments_of=0 if domains is None else len(proteins),
            architectures=[] if domains is None else _architectures(found.model, proteins, domains),
            configuration=asdict(job.config) | {"notes": found.notes},
        ),
        job.output / "report.html",
    )


def _architectures(model: Model, proteins: Corpus, domains: Domains) -> list[Architecture]:
    """Explain each domain of the proteins that have the most."""
    parts: dict[str, list[int]] = {}
    for row in np.flatnonzero(domains.labels >= 0).tolist():
        parts.setdefault(domains.proteins[row], []).append(row)
    chosen = sorted(parts, key=lambda id: (-len(parts[id]), id))[:N_ARCHITECTURES]
    row_of = {id: row for row, id in enumerate(proteins.ids)}
    drawn = []
    for id in chosen:
        text = proteins.residues(row_of[id])
        found = []
        for row in parts[id]:
            start, end, label = int(domains.starts[row]), int(domains.ends[row]), int(domains.labels[row])
            (item,) = explain(model, [Record(id, "", text[start:end])], cluster=label)
            shares = item.spread(SPREAD).contributions
            found.append(Part(start, end, label, float(domains.probabilities[row]), shares))
        drawn.append(Architecture(id, len(text), found))
    return drawn


def _write_run_json(job: _Job, found: Found, needed: int) -> None:
    content = {
        "seqscan": VERSION,
        "input": {"name": job.source.name, "sha256": job.checksum},
        "seed": job.config.discovery.seed,
        "configuration": asdict(job.config),
        "notes": found.notes,
        "memory_mb": {
            "budget": job.config.memory_bytes / 1e6,
            "predicted": needed / 1e6,
            "peak": max(stage.peak_memory_mb for stage in job.log.stages),
        },
        "stages": [asdict(stage) for stage in job.log.stages],
    }
    with write_atomically(job.output / "run.json") as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")
