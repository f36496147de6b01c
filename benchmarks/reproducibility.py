"""Measure how far the clusters depend on the order of the input, the threads and the ranks.

    python benchmarks/reproducibility.py [--records 1500] [--finetune] [--neighbors embedding]

Prints the adjusted Rand index (ARI) of each run with the first, and the share of proteins whose cluster has
the same number. Every run is a process of its own. Bundled proteins; no label is read.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from seqscan.datasets import pfam10_sequences
from seqscan.evaluate import label_scores
from seqscan.fasta import Record, read_fasta
from seqscan.results import Assignments


def main() -> None:
    """Cluster the same proteins in several ways and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=1500)
    parser.add_argument("--finetune", action="store_true", help="with joint learning")
    parser.add_argument("--neighbors", default="embedding")
    options = parser.parse_args()
    records = list(read_fasta(pfam10_sequences()))
    records = [records[i] for i in np.linspace(0, len(records) - 1, options.records).astype(int)]
    shuffled = [records[i] for i in np.random.default_rng(0).permutation(len(records))]
    ways = {
        "first": (records, 1),
        "again": (records, 1),
        "input shuffled": (shuffled, 1),
        "2 threads": (records, 2),
        "input shuffled, 2 threads": (shuffled, 2),
    }
    with tempfile.TemporaryDirectory(prefix="seqscan-") as name:
        folder = Path(name)
        print("| seqscan run | ARI with the first | same number |\n|---|---|---|")
        base: dict[str, int] = {}
        for number, (way, (given, threads)) in enumerate(ways.items()):
            output = folder / str(number)
            command = ["run", _fasta(given, folder), "-o", str(output), "--threads", str(threads)]
            command += ["--neighbors", options.neighbors, "--clusters", "10"]
            _call(
                [sys.executable, "-m", "seqscan", *command, *([] if options.finetune else ["--no-finetune"])]
            )
            base = _compare(way, base, output / "assignments.tsv")
        print("\n| seqscan embed, seqscan scan | ARI with the first | same number |\n|---|---|---|")
        _call(
            [sys.executable, "-m", "seqscan", "embed", _fasta(records, folder), "-o", str(folder / "store")]
        )
        base = {}
        for number, (way, ranks) in enumerate({"1 process": 1, "again": 1, "2 processes": 2}.items()):
            output = folder / f"ranks{number}"
            start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
            command = ["-m", "seqscan", "scan", str(folder / "store"), "-o", str(output), "--clusters", "20"]
            command += ["--epochs", "20", "--threads", "1"]
            _call([sys.executable, *(start if ranks > 1 else []), *command])
            base = _compare(way, base, output / "assignments.tsv")


def _fasta(records: list[Record], folder: Path) -> str:
    path = folder / "in.fasta"
    path.write_text("".join(f">{record.id}\n{record.sequence}\n" for record in records))
    return str(path)


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    if done.returncode:
        raise SystemExit(f"{json.dumps(command)} failed:\n{done.stderr}")


def _compare(way: str, base: dict[str, int], path: Path) -> dict[str, int]:
    found = Assignments.read(path)
    labels = dict(zip(found.ids, found.labels.tolist(), strict=True))
    base = base or labels
    first = np.array(list(base.values()))
    own = np.array([labels[id] for id in base])
    print(f"| {way} | {label_scores(first, own)['ari']:.4f} | {(first == own).mean():.4f} |", flush=True)
    return base


if __name__ == "__main__":
    main()
