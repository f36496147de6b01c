"""Measure seqscan beside what a user would pick instead: same records, same scores, several seeds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqscan.alphabet import AMINO
from seqscan.artifact import scratch_folder, write_atomically
from seqscan.baselines import kmeans_on_pca, leiden, run_baselines, shuffled
from seqscan.corpus import Corpus, write_corpus
from seqscan.device import best_device
from seqscan.discovery import DiscoveryConfig, Found, discover_categories
from seqscan.encoder import load_encoder
from seqscan.errors import InvalidParameter
from seqscan.evaluate import evaluate
from seqscan.fasta import Record, RejectionLedger, read_fasta
from seqscan.neighbors import NeighborGraph, Pieces, combine
from seqscan.results import Assignments, match_truth, read_truth
from seqscan.stages import StageLog
from seqscan.tables import write_tsv

__all__ = ["COLUMNS", "benchmark", "summarize_runs"]

COLUMNS = ("nmi", "ami", "ari", "accuracy", "macro_accuracy", "bcubed_f1", "aupr_macro", "n_clusters")
"""The scores of the table; `docs/metrics.md` defines them."""


SHUFFLED = ", shuffled residues"


@dataclass(frozen=True)
class _Run:
    method: str
    seed: int | None
    seconds: float
    assignments: Assignments


def benchmark(
    source: str | Path,
    truth_path: str | Path,
    output: str | Path,
    config: DiscoveryConfig,
    *,
    n_seeds: int = 3,
    truth_column: str = "pfam",
    id_column: str = "id",
    on_line: Callable[[str], None] | None = None,
) -> list[dict[str, Any]]:
    """Cluster one set of records by seqscan and by every baseline, then score all of them.

    seqscan runs with joint learning, if `config.finetune` asks for it, and without. Beside the records,
    sequences whose residues were put in random order are clustered: what is found there is composition
    and length.

    Parameters
    ----------
    source : path
        FASTA.
    truth_path : path
        Labels; opened after everything was clustered.
    output : path
        Folder for `benchmark.tsv` and `benchmark.json`.
    config : DiscoveryConfig
        `n_clusters` must be given: the baselines need it.
    n_seeds : int
    on_line : callable, optional
        Called with a line for each finished method and seed.

    Returns
    -------
    runs : list of dict
        A row for each method and seed, with its scores; `summarize_runs` gives means and spreads.
    """
    if config.n_clusters is None:
        raise InvalidParameter("n_clusters", None, "the baselines need a number", remedy="Give --clusters K.")
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    say = on_line or (lambda line: None)
    seeds = range(config.seed, config.seed + n_seeds)
    runs: list[_Run] = []
    with scratch_folder() as folder:
        corpus = write_corpus(folder / "corpus", read_fasta(source, rejected=RejectionLedger()))
        mixed = _shuffled(corpus, folder / "mixed", config.seed)
        for run in chain(
            _ours(corpus, folder / "ours", config, seeds),
            # With MMseqs2 too: that nothing aligns here is part of what the control shows, not to be assumed.
            # Without joint learning: it finds no more there (docs/experiments.md), and takes minutes.
            _ours(mixed, folder / "control", replace(config, finetune=False), seeds[:1], suffix=SHUFFLED),
            _baselines(corpus, folder / "ours", config, seeds),
        ):
            say(f"{run.method}, seed {run.seed}: {run.seconds:.0f} s")
            runs.append(run)
        ids = corpus.ids
    truth = match_truth(read_truth(truth_path, truth_column, id_column=id_column), truth_path, ids)
    rows: list[dict[str, Any]] = [
        {"method": run.method, "seed": run.seed, "seconds": run.seconds}
        | dict(evaluate(run.assignments, truth).labelled)
        for run in runs
    ]
    table = summarize_runs(rows)
    header = ("method", "runs", *(f"{c}{s}" for c in COLUMNS for s in ("", "_sd")), "seconds")
    cells = ([_shown(row.get(column, "")) for column in header] for row in table)
    write_tsv(header, cells, output / "benchmark.tsv")
    with write_atomically(output / "benchmark.json") as temporary:
        temporary.write_text(json.dumps(rows, indent=1) + "\n")
    return rows


def summarize_runs(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row for each method: runs, mean and standard deviation (n - 1) of each score.

    Examples
    --------
    >>> rows = [{"method": "a", "seconds": 1.0, "nmi": 0.5}, {"method": "a", "seconds": 3.0, "nmi": 0.7}]
    >>> summarize_runs(rows)[0]["nmi"]
    0.6
    """
    table = []
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        summary: dict[str, Any] = {"method": method, "runs": len(own)}
        for column in (*COLUMNS, "seconds"):
            values = np.array([row[column] for row in own if column in row])
            if len(values):
                summary[column] = float(values.mean())
            if len(values) > 1:
                summary[f"{column}_sd"] = float(values.std(ddof=1))
        table.append(summary)
    return table


def _ours(
    corpus: Corpus, folder: Path, config: DiscoveryConfig, seeds: Sequence[int], *, suffix: str = ""
) -> Iterator[_Run]:
    folder.mkdir()
    for finetune in (True, False) if config.finetune else (False,):
        for seed in seeds:
            begun = time.perf_counter()
            log = StageLog(folder / "stages")
            found = discover_categories(
                corpus, "", folder, replace(config, seed=seed, finetune=finetune), log
            )
            seconds = time.perf_counter() - begun
            seconds += sum(stage.seconds for stage in log.stages if stage.status == "skipped")
            name = "seqscan" if finetune else "seqscan --no-finetune"
            yield _Run(name + suffix, seed, seconds, found.model.head.assign(corpus.ids, found.vectors))
            if finetune and not suffix:
                yield from _on_learnt_vectors(corpus.ids, found, config, seed)


def _on_learnt_vectors(ids: list[str], found: Found, config: DiscoveryConfig, seed: int) -> Iterator[_Run]:
    """Give other methods what joint learning made: is it the vectors, or the way they are clustered?"""
    assert config.n_clusters is not None
    edges = (found.graph.indices >= 0).astype(np.float32)
    methods: dict[str, Callable[[int], NDArray[np.int64]]] = {
        "kmeans_vectors": lambda k: kmeans_on_pca(found.vectors, k, seed),
        "leiden_cpm": lambda k: leiden(found.graph.indices, edges, n_clusters=k, seed=seed).labels,
    }
    for method, cluster in methods.items():
        begun = time.perf_counter()
        labels = cluster(config.n_clusters)
        yield _Run(
            f"{method}, after joint learning",
            seed,
            time.perf_counter() - begun,
            Assignments.certain(ids, labels),
        )


def _baselines(corpus: Corpus, folder: Path, config: DiscoveryConfig, seeds: Sequence[int]) -> Iterator[_Run]:
    assert config.n_clusters is not None
    # The graph seqscan's own heads begin from, by the same encoder, and in the order it was made in.
    corpus = corpus.reordered(corpus.canonical_order())
    graph = NeighborGraph.read(folder / "graph")
    if (folder / "pieces").exists():
        graph = combine(Pieces.read(folder / "pieces").graph, graph)
    rows = run_baselines(
        corpus,
        config.n_clusters,
        seeds=seeds,
        vectors=load_encoder(config.encoder).to(best_device()).embed(corpus),
        graph=(graph.indices, (graph.indices >= 0).astype(np.float32)),
        threads=config.threads,
    )
    for row in rows:
        yield _Run(row.method, row.seed, row.seconds, Assignments.certain(corpus.ids, row.labels))


def _shuffled(corpus: Corpus, path: Path, seed: int) -> Corpus:
    mixed = shuffled(corpus, seed)
    return write_corpus(
        path, (Record(id, "", AMINO.decode(codes)) for id, codes in zip(corpus.ids, mixed, strict=True))
    )


def _shown(value: object) -> object:
    return f"{value:.4f}" if isinstance(value, float) else value
