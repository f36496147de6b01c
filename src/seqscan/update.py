"""New proteins for a finished run: known ones are assigned, novel ones pooled, new clusters grown.

What a run or an update left is one folder: `model/`, `assignments.tsv`, `clusters.tsv` and, after an update,
`pool/`, the proteins that no cluster has taken yet. An update reads such a folder and writes another; the
old one stays as it is.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqscan.alignment import find_mmseqs, mmseqs_version
from seqscan.artifact import VERSION, file_checksum, read_manifest, write_atomically
from seqscan.corpus import Corpus, write_corpus
from seqscan.device import best_device
from seqscan.embed import embed_corpus
from seqscan.errors import InvalidParameter, NoUsableRecord
from seqscan.fasta import Record, Rejected, RejectionLedger, read_fasta
from seqscan.growth import grow
from seqscan.hierarchy import HIERARCHY_COLUMNS
from seqscan.job import check_folder, check_not_of_another, input_checksum, kept_input
from seqscan.model import Model
from seqscan.neighbors import AlignmentNeighbors, Pieces, find_pieces
from seqscan.novelty import FALSE_ALARM_RATE
from seqscan.overview import report_data
from seqscan.report import write_report
from seqscan.residues.domains import learn_prior
from seqscan.results import ASSIGNMENT_COLUMNS, Assignments, ClusterSummary, kept_ledger, read_rejected
from seqscan.stages import Stage, StageLog
from seqscan.store import EmbeddingStore
from seqscan.tables import read_rows, write_tsv
from seqscan.tally import shown, summarize
from seqscan.threads import use_threads
from seqscan.wording import plural

__all__ = ["UpdateConfig", "update"]

logger = logging.getLogger(__name__)

N_ALIGNED = 100

OUTPUTS = ("model", "pool", "assignments.tsv", "clusters.tsv", "hierarchy.tsv", "report.html", "update.json")


@dataclass(frozen=True)
class UpdateConfig:
    """Options of an update.

    Attributes
    ----------
    false_alarm_rate : share of known proteins, optional
        How many proteins of known clusters may be taken for novel; by default that of the update before, or
        else `Novelty.default_rate`.
    align : bool
        Look for relatives among the novel ones by alignment too, if MMseqs2 is installed.
    max_length : int, residues
    seed, threads : int
    """

    false_alarm_rate: float | None = None
    align: bool = True
    max_length: int = 100_000
    seed: int = 0
    threads: int = 2


def update(
    model_path: str | Path,
    source: str | Path,
    output: str | Path,
    config: UpdateConfig,
    *,
    command: str = "",
    on_start: Callable[[str], None] | None = None,
    on_end: Callable[[Stage], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Assign new proteins, grow clusters from the novel ones, and write model and tables of all.

    Every protein of the old assignments keeps its line, byte for byte, unless it was in the pool and has
    now found a cluster.

    Parameters
    ----------
    model_path : path
        `OUT/model` of a run or an update; what lies beside it is read too, if it is there.
    source : path
        FASTA or FASTQ; `-` is standard input.
    output : path
        Another folder.
    config : UpdateConfig
    command : str
        For the report.
    on_start, on_end, on_progress : callable, optional
        Tell how the work goes on.

    Returns
    -------
    counts : dict
        What `update.json` holds: counts, and what they were made from.

    Raises
    ------
    InputError, InvalidParameter
        If the input or an option cannot work, or the folder holds a run or another update.
    """
    model_path, output = Path(model_path), Path(output)
    before = model_path.parent
    if output.resolve() == before.resolve() or output.resolve().is_relative_to(model_path.resolve()):
        raise InvalidParameter(
            "output", str(output), "is the folder that is updated", remedy="Give a new folder."
        )
    check_folder(output)
    model = Model.load(model_path)
    config = replace(config, false_alarm_rate=_rate(model, config.false_alarm_rate))
    use_threads(config.threads)
    work = output / "work"
    log = StageLog(work / "stages", on_start, on_end)
    source = kept_input(source, work)
    checksum = input_checksum(source)
    check_not_of_another(output, "update.json", checksum)
    old_table = before / "assignments.tsv"
    for table in (old_table, before / "clusters.tsv"):
        if not table.exists():
            logger.warning("%s is not there: the new one speaks of the new proteins alone", table)
    base = {
        "model": read_manifest(model_path, "model").files,
        "assignments": file_checksum(old_table) if old_table.exists() else None,
    }
    key = log.run(
        "read",
        base | {"input": checksum, "max_length": config.max_length},
        [work / "corpus", output / "rejected.tsv"],
        lambda: _read(source, before, work / "corpus", output / "rejected.tsv", config.max_length),
    )
    corpus = Corpus.open(work / "corpus")
    store = work / "new_store"  # not that of a run: it has the new and the pooled proteins alone
    key = log.run(
        "embed",
        {"from": key, "threads": config.threads, "device": best_device().type},
        [store],
        lambda: embed_corpus(model.encoder, corpus, store, {"from": key}, on_progress=on_progress),
    )
    made_from = {"input": {"name": source.name, "sha256": checksum}, "before": base}
    log.run(
        "grow",
        {"from": key, "config": asdict(config), "mmseqs2": mmseqs_version() if config.align else None},
        [output / name for name in OUTPUTS],
        lambda: _grow_and_write(
            model, before, corpus, EmbeddingStore.open(store), output, config, made_from, command
        ),
    )
    return json.loads((output / "update.json").read_text())


def _rate(model: Model, asked: float | None) -> float:
    """Return the false alarm rate that is asked for, else a default; raises if the model cannot tell it."""
    novelty = model.require_novelty()
    if asked is None:
        asked = model.content.get("false_alarm_rate")
    rate = novelty.default_rate if asked is None else asked
    novelty.threshold(rate)  # refuses it
    if asked is None and rate > FALSE_ALARM_RATE:
        n = plural(len(novelty.calibration), "protein")
        told = "false alarm rate: %g in place of %g, the smallest that a model calibrated on %s can tell"
        logger.warning(told, rate, FALSE_ALARM_RATE, n)
    return rate


def _read(source: str | Path, before: Path, target: Path, rejected: Path, max_length: int) -> None:
    pool = list(Corpus.open(before / "pool").records()) if (before / "pool").exists() else []
    table = before / "assignments.tsv"
    known = {row["id"] for row in read_rows(table, ("id",))} if table.exists() else set()

    def fresh(ledger: RejectionLedger) -> Iterator[Record]:
        for record in read_fasta(source, rejected=ledger, max_length=max_length):
            if record.id in known:
                ledger.rows.append(Rejected(ledger.n_read, record.id, "already in the assignments"))
            else:
                yield record
        if len(ledger.rows) == ledger.n_read and not pool:
            raise NoUsableRecord(
                str(source), f"nothing new in {plural(ledger.n_read, 'record')} ({ledger.summary()})"
            )

    with kept_ledger(rejected) as ledger:
        write_corpus(target, chain(fresh(ledger), pool), {"n_pooled_before": len(pool)})
    if ledger.rows:
        told = plural(len(ledger.rows), "record")
        logger.warning("rejected %s, see %s: %s", told, rejected, ledger.summary())


def _grow_and_write(
    model: Model,
    before: Path,
    corpus: Corpus,
    store: EmbeddingStore,
    output: Path,
    config: UpdateConfig,
    made_from: dict[str, Any],
    command: str,
) -> None:
    """Assign the new and the pooled proteins, grow clusters from the novel ones, and write `OUTPUTS`."""
    rate = config.false_alarm_rate
    assert rate is not None, "chosen by update"
    known = Assignments.joined(
        [
            model.mark_novel(model.head.assign(corpus.ids[part], block), block, rate)
            for part, block in store.blocks()
        ]
    )
    assert known.novel is not None, "just marked"
    n_pooled_before = read_manifest(corpus.path, "corpus").content["n_pooled_before"]
    _say_new_rate(model, known, n_pooled_before, rate)
    pooled = np.flatnonzero(known.novel)
    vectors = store.gather(pooled)
    grown, taken = grow(
        model,
        vectors,
        _aligned(corpus, pooled, config),
        seed=config.seed,
        false_alarm_rate=rate,
        threads=config.threads,
    )
    again = grown.head.assign([corpus.ids[row] for row in pooled.tolist()], vectors)
    assignments = _with_grown(known, pooled, replace(again, labels=taken.astype(np.int32)))
    n_old, labels = model.head.n_clusters, assignments.labels
    new_members = labels >= n_old
    waiting = pooled[taken < 0]

    n_kept = _write_assignments(assignments, before / "assignments.tsv", output / "assignments.tsv")
    summaries = _write_clusters(
        assignments, corpus, grown, store, before / "clusters.tsv", output / "clusters.tsv"
    )
    _write_report(grown, corpus, store, assignments, summaries, output, config, made_from, command)
    write_corpus(output / "pool", corpus.records(waiting.tolist()))
    if grown.prior is not None and grown.head.n_clusters > n_old:
        learned = learn_prior(grown, corpus, np.where(new_members, labels, -1), seed=config.seed)
        grown = replace(grown, prior=grown.prior.with_clusters(learned))
    content = model.content | {
        "n_proteins": model.content.get("n_proteins", 0) + int(assignments.assigned.sum()),
        "false_alarm_rate": rate,
        "grown": [*model.content.get("grown", []), grown.head.n_clusters - n_old],
    }
    replace(grown, content=content).save(output / "model")
    counts = {
        "seqscan": VERSION,
        **made_from,
        "n_new": len(corpus) - n_pooled_before,
        "n_pooled_before": n_pooled_before,
        "n_assigned_to_old_clusters": int((assignments.assigned & ~new_members).sum()),
        "n_novel": len(pooled),
        "n_new_clusters": grown.head.n_clusters - n_old,
        "n_assigned_to_new_clusters": int(new_members.sum()),
        "n_pooled": len(waiting),
        "n_old_lines_kept": n_kept,
        "false_alarm_rate": rate,
        "configuration": asdict(config),
        "mmseqs2": mmseqs_version() if config.align else None,
    }
    with write_atomically(output / "update.json") as temporary:
        temporary.write_text(json.dumps(counts, indent=1) + "\n")


def _say_new_rate(model: Model, known: Assignments, n_pooled_before: int, rate: float) -> None:
    """Say what another rate than before does to the proteins of the pool, the last of all."""
    before = model.content.get("false_alarm_rate", rate)
    if before == rate or not n_pooled_before:
        return
    assert known.novelty is not None, "just marked"
    waited = known.novelty[-n_pooled_before:]
    then, now = (int((waited >= model.require_novelty().threshold(r)).sum()) for r in (before, rate))
    logger.warning(
        "false alarm rate: %g, where the update before had %g; of %s that waited, %d are novel in place of "
        "%d, and the others join clusters that were there",
        rate, before, plural(len(waited), "protein"), now, then,
    )  # fmt: skip


def _with_grown(known: Assignments, pooled: NDArray[np.int64], again: Assignments) -> Assignments:
    """Return N assignments to old clusters, of which those of M rows, `pooled`, are again as they are now.

    The proteins of old clusters keep what the old prototypes say of them: only the pool sees the new ones.
    """
    columns = {}
    for name in ("labels", "probabilities", "second_labels", "second_probabilities"):
        columns[name] = getattr(known, name).copy()
        columns[name][pooled] = getattr(again, name)
    return Assignments(known.ids, **columns)


def _aligned(corpus: Corpus, pooled: NDArray[np.int64], config: UpdateConfig) -> Pieces | None:
    if not config.align or find_mmseqs() is None or len(pooled) < 2:
        return None
    sequences = [corpus[int(row)] for row in pooled]
    graph = AlignmentNeighbors(sequences, threads=config.threads).neighbors(N_ALIGNED)
    return find_pieces(sequences, graph, threads=config.threads) if graph.counts.any() else None


def _write_assignments(new: Assignments, old_table: Path, path: Path) -> int:
    """Write old lines, then new ones; a line of the pool is replaced. Return how many old lines stay."""
    own = set(new.ids)
    n_kept = 0
    with write_atomically(path) as temporary, temporary.open("w", newline="") as handle:
        writer = Assignments.begin(handle)
        if old_table.exists():
            with old_table.open() as lines:
                next(lines)
                for line in lines:
                    if line.partition("\t")[0] not in own:
                        handle.write(
                            "\t".join(line.rstrip("\n").split("\t")[: len(ASSIGNMENT_COLUMNS)]) + "\n"
                        )
                        n_kept += 1
        new.append(writer)
    return n_kept


def _write_clusters(
    assignments: Assignments,
    corpus: Corpus,
    grown: Model,
    store: EmbeddingStore,
    old_table: Path,
    path: Path,
) -> list[ClusterSummary]:
    """Write the rows of old clusters with their new sizes and means, then those of new clusters.

    Returns what is said of the new proteins alone.

    What is a choice among members or a comparison with the whole input (representative, enriched residues)
    stays as it was. The groups of clusters are made anew.
    """
    columns = tuple(ClusterSummary.__dataclass_fields__)
    old = list(read_rows(old_table, columns)) if old_table.exists() else []
    previous = np.zeros(grown.head.n_clusters, dtype=np.int64)
    for row in old:
        previous[int(row["cluster"])] = int(row["size"])
    summaries, tree = summarize(assignments, corpus, grown.head, store.vectors(), grown.tied, previous)
    fresh = {row.cluster: asdict(row) for row in summaries}
    header = tuple(old[0]) if old else columns
    rows = []
    for row in old:
        more = fresh.pop(int(row["cluster"]), None)
        rows.append(row if more is None else row | _joined(row, more))
    rows += [{name: shown(row.get(name, "")) for name in header} for _, row in sorted(fresh.items())]
    rows = [row | {"parent": str(tree.parent_of(int(row["cluster"])))} for row in rows]
    write_tsv(HIERARCHY_COLUMNS, tree.rows(), path.with_name("hierarchy.tsv"))
    write_tsv(header, ([row[name] for name in header] for row in rows), path)
    return summaries


def _write_report(
    grown: Model,
    corpus: Corpus,
    store: EmbeddingStore,
    assignments: Assignments,
    clusters: list[ClusterSummary],
    output: Path,
    config: UpdateConfig,
    made_from: dict[str, Any],
    command: str,
) -> None:
    """Write what a run's report says, of the new and the pooled proteins."""
    name, rejected = made_from["input"]["name"], read_rejected(output / "rejected.tsv")
    data = report_data(
        grown,
        corpus,
        store.vectors(),
        assignments,
        sorted(clusters, key=lambda row: -row.size),
        seed=config.seed,
        threads=config.threads,
        title=f"Proteins that {name} adds",
        command=command,
        input_name=name,
        n_read=len(corpus) + len(rejected),
        n_rejected=len(rejected),
        rejected=rejected,
        configuration=asdict(config),
    )
    write_report(data, output / "report.html")


def _joined(row: dict[str, str], more: dict[str, Any]) -> dict[str, str]:
    """Return size, means and spread of a cluster's old and new members together."""
    n, m = int(row["size"]), int(more["size"])
    weights = np.array([n, m]) / (n + m)
    means = np.array([float(row["mean_length"]), more["mean_length"]])
    spreads = np.array([float(row["sd_length"]), more["sd_length"]])
    mean = float(weights @ means)
    return {
        "size": str(n + m),
        "mean_probability": shown(
            float(weights @ [float(row["mean_probability"]), more["mean_probability"]])
        ),
        "mean_length": shown(mean),
        "sd_length": shown(float(np.sqrt(weights @ (spreads**2 + (means - mean) ** 2)))),
    }
