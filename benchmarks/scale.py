"""Measure graph, heads and assignment on generated vectors of any number, and assignment beside searches.

    python benchmarks/scale.py [--sizes 100000 200000] [--k 1500] [--epochs 1] [--threads 2]
    python benchmarks/scale.py --sizes 1000000 4000000 16000000 --k 15000     # hours and 40 GB of disk
    python benchmarks/scale.py --sizes --reference 10000 1000000 --profiles 2000

The first table: vectors made by `benchmarks/generate.py`, clustered by the stages of `seqscan scan`, each
size in a process of its own so that the peak memory is its own. Seconds are processor time, all threads
together. "Matrix peak" is the rate of this machine's best product of two large float32 matrices, measured in
the same run; the last training is compared by the multiplications that SCAN needs, not by those that were
done.

The second: seconds for `--queries` generated sequences by a model whose head was trained on more and more
vectors, by an exact look-up among as many vectors as the model has seen, by `mmseqs search` against as many
sequences, and by `hmmscan` (pyhmmer) against profiles; programs that are missing are named. Sizes that are
done are read from the output folder, and a stage that was killed goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from generate import Families, Parameters, write_vectors
from seqscan.alignment import find_mmseqs
from seqscan.alphabet import AMINO
from seqscan.artifact import write_atomically
from seqscan.encoder import load_encoder
from seqscan.evaluate import label_scores
from seqscan.head import Whitening
from seqscan.model import load_head
from seqscan.neighbors import NeighborGraph, index_recall, mine_neighbors
from seqscan.scan import StoreScan, StreamConfig, stream_labels, stream_whitening
from seqscan.stages import Stage, StageLog, peak_memory_mb
from seqscan.store import EmbeddingStore, unit
from seqscan.threads import use_threads


def matrix_peak(seconds: float = 3.0) -> float:
    """Return the best rate of a float32 matrix product on this machine, operations a processor second."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    best, begun = np.inf, time.monotonic()
    while time.monotonic() - begun < seconds:
        start = time.process_time()
        a @ b
        best = min(best, time.process_time() - start)
    return 2 * 2048**3 / best


def measure(folder: Path, n: int, k: int, epochs: int, threads: int) -> dict[str, float]:
    """Run every stage on n vectors of k families; return processor seconds, memory and quality."""
    use_threads(threads)
    truth = folder / "store.families.npy"
    if not truth.exists():
        _, labels = write_vectors(folder / "store", n, Families(k, Parameters()))
        np.save(truth, labels.astype(np.int32))
    store = EmbeddingStore.open(folder / "store")
    path = folder / "figures.json"
    row: dict[str, float] = {"n": n, "k": k, "epochs": epochs, "threads": threads}
    if path.exists():
        row |= json.loads(path.read_text())
    begun: list[float] = []

    def start(_: str) -> None:
        begun.append(time.process_time())  # all threads; other work on the machine takes nothing from it

    def end(stage: Stage) -> None:
        if stage.status == "done":
            done(
                **{stage.stage: time.process_time() - begun.pop(), f"{stage.stage}_memory": peak_memory_mb()}
            )

    def done(**figures: float) -> None:
        row.update(figures)
        with write_atomically(path) as temporary:
            temporary.write_text(json.dumps(row))

    log = StageLog(folder / "stages", start, end)
    frame_file = folder / "frame.npz"
    log.run("frame", {}, [frame_file], lambda: np.savez(frame_file, *stream_whitening(store)))
    with np.load(frame_file) as saved:
        whitening = Whitening(saved["arr_0"], saved["arr_1"])
    graph_path = folder / "graph"
    log.run(
        "graph",
        {},
        [graph_path],
        lambda: mine_neighbors(store, graph_path, 20, threads=threads),
    )
    graph = NeighborGraph.read(graph_path, mapped=True)
    if "recall" not in row:
        done(recall=index_recall(store, graph, n_queries=200))
    config = StreamConfig(n_epochs=epochs, min_steps=1)
    scan = StoreScan(
        store=store, graph=graph, whitening=whitening, work=folder, log=log, depends={}, config=config,
        n_clusters=k, seed=0,
    )  # fmt: skip
    scan.run(folder / "head")
    head = load_head(folder / "head")
    if "peak_share" not in row:
        # Forward and backward for anchor and neighbor, two operations for each multiplication.
        work = epochs * n * 8 * head.prototypes.size
        done(peak_share=work / row["scan"] / matrix_peak())
    if "assign" not in row:
        start("assign")
        found = stream_labels(head, store)
        end(Stage("assign", "", "done", 0.0, 0.0))
        scores = label_scores(np.load(truth), found)
        done(ami=scores["ami"], ari=scores["ari"], used=len(np.unique(found)))
    return row


def print_scale(rows: list[dict[str, float]]) -> None:
    """Print time per million and memory, Markdown."""
    timed = ("frame", "graph", "begin", "over_provision", "join", "scan", "assign")
    columns = (
        "vectors x clusters", *(f"{name}, CPU s/M" for name in timed), "recall@20",
        "scan, of the matrix peak", "peak memory, GB", "AMI", "ARI", "in use",
    )  # fmt: skip
    print("\n| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for row in rows:
        seconds = (f"{row[name] / row['n'] * 1e6:.0f}" for name in timed)
        memory = max(row[f"{name}_memory"] for name in timed) / 1e3
        cells = (
            f"{row['n']:,} x {row['k']:,}", *seconds, f"{row['recall']:.3f}", f"{row['peak_share']:.0%}",
            f"{memory:.1f}", f"{row['ami']:.3f}", f"{row['ari']:.3f}", str(row["used"]),
        )  # fmt: skip
        print("| " + " | ".join(cells) + " |")


def latency(
    folder: Path, rows: list[dict[str, float]], references: list[int], profiles: int, n: int, threads: int
) -> None:
    """Time the assignment of n sequences beside searches, and print seconds and proteins a second."""
    families = Families(1500, Parameters())
    family, sub = families.labels(10**6, n)
    queries = [AMINO.encode(text) for text in families.sequences(10**6, family, sub)]
    encoder = load_encoder()
    table: list[tuple[str, str, float]] = []
    vectors, seconds = timed(lambda: encoder.embed(queries))
    table.append(("encoder alone (part of each row of seqscan)", "-", seconds))
    for row in rows:
        head = load_head(folder / f"{row['n']}" / "head")
        # Generated vectors have fewer dimensions than the encoder's; the time is what matters here.
        cut = np.ascontiguousarray(vectors[:, : len(head.center)])
        _, own = timed(lambda head=head, cut=cut: head.assign(range(n), cut))
        what = f"{row['n']:,} proteins, {head.n_clusters:,} clusters"
        table.append(("**seqscan assign**", f"trained on {what}", seconds + own))
    for size in references:
        known = unit(np.random.default_rng(0).standard_normal((size, vectors.shape[1]), dtype=np.float32))

        def look_up(known: Any = known) -> None:
            for start in range(0, n, 256):
                (unit(vectors[start : start + 256]) @ known.T).argmax(axis=1)

        table.append(
            ("exact nearest neighbor, encoder included", f"{size:,} vectors", seconds + timed(look_up)[1])
        )
        del known
    table += searches(families, queries, references, profiles, threads)
    print(f"\n| {n:,} sequences by | against | seconds | proteins a second |\n|---|---|---|---|")
    for method, against, spent in table:
        print(f"| {method} | {against} | {spent:.2f} | {n / spent:,.0f} |")


def timed(call: Any, repeats: int = 3) -> tuple[Any, float]:
    """Return what a call returns and the least seconds it took."""
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        best = min(best, time.perf_counter() - start)
    return result, best


def searches(
    families: Families, queries: list[Any], references: list[int], profiles: int, threads: int
) -> list[tuple[str, str, float]]:
    """Time MMseqs2 and pyhmmer, those that are installed."""
    table = []
    mmseqs = find_mmseqs()
    with tempfile.TemporaryDirectory(prefix="seqscan-") as name:
        work = Path(name)
        asked = "".join(f">q{i}\n{AMINO.decode(q)}\n" for i, q in enumerate(queries))
        (work / "queries.fasta").write_text(asked)
        for size in references if mmseqs is not None else []:
            family, sub = families.labels(0, size)
            with (work / "known.fasta").open("w") as handle:
                for i, text in enumerate(families.sequences(0, family, sub)):
                    handle.write(f">k{i}\n{text}\n")
            quiet: dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL}
            for fasta in ("queries", "known"):
                subprocess.run([mmseqs, "createdb", work / f"{fasta}.fasta", work / fasta], **quiet)
            start = time.perf_counter()
            command = [mmseqs, "search", work / "queries", work / "known", work / "found", work / "tmp"]
            subprocess.run([*map(str, command), "--threads", str(threads), "--max-seqs", "20"], **quiet)
            table.append(("mmseqs search", f"{size:,} sequences", time.perf_counter() - start))
            for left in work.glob("found*"):
                left.unlink()
            shutil.rmtree(work / "tmp")
    if mmseqs is None:
        print("MMseqs2 is not installed: its rows are left out")
    try:
        import pyhmmer
    except ImportError:
        print("pyhmmer is not installed (pip install pyhmmer): hmmscan is left out")
        return table
    alphabet = pyhmmer.easel.Alphabet.amino()
    builder, background = pyhmmer.plan7.Builder(alphabet), pyhmmer.plan7.Background(alphabet)
    count = min(profiles, families.n_families)
    names = np.arange(count)
    models = []
    for i, text in enumerate(families.sequences(7, names, np.zeros(count, np.int64))):
        record = pyhmmer.easel.TextSequence(name=f"p{i}".encode(), sequence=text)
        models.append(builder.build(record.digitize(alphabet), background)[0])
    digital = pyhmmer.easel.DigitalSequenceBlock(
        alphabet,
        [
            pyhmmer.easel.TextSequence(name=f"q{i}".encode(), sequence=AMINO.decode(q)).digitize(alphabet)
            for i, q in enumerate(queries)
        ],
    )
    start = time.perf_counter()
    for _ in pyhmmer.hmmer.hmmscan(digital, models, cpus=threads):
        pass
    table.append(("hmmscan (pyhmmer)", f"{len(models):,} profiles", time.perf_counter() - start))
    return table


def main() -> None:
    """Measure what is not measured yet, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("out/scale"))
    parser.add_argument("--sizes", type=int, nargs="*", default=[100_000, 200_000], help="vectors")
    parser.add_argument("--k", type=int, default=1500, help="families and prototypes")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--queries", type=int, default=1000, help="sequences that are assigned")
    parser.add_argument("--reference", type=int, nargs="*", default=[10_000], help="known sequences")
    parser.add_argument("--profiles", type=int, default=2000)
    parser.add_argument("--no-latency", action="store_true", help="leave the second table out")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    shared = (options.k, options.epochs, options.threads)
    if options.measure is not None:
        folder = options.output / str(options.measure)
        folder.mkdir(parents=True, exist_ok=True)
        measure(folder, options.measure, *shared)
        return
    rows = []
    for size in options.sizes:
        # A process of its own: peak memory cannot be taken back.
        names = ("--output", "--k", "--epochs", "--threads")
        values = (options.output, *shared)
        arguments = [str(part) for pair in zip(names, values, strict=True) for part in pair]
        subprocess.run([sys.executable, __file__, "--measure", str(size), *arguments], check=True)
        rows.append(json.loads((options.output / str(size) / "figures.json").read_text()))
        print_scale(rows)
    if not options.no_latency:
        use_threads(options.threads)
        latency(options.output, rows, options.reference, options.profiles, options.queries, options.threads)


if __name__ == "__main__":
    main()
