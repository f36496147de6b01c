"""Print the table of the main job: seqscan and its baselines on five sets of ten families.

    python benchmarks/main_job.py [--data FOLDER] [--seeds 3] [--no-finetune] [--only pfam10 ...]

The bundled set is always there. The four further draws are read from FOLDER (`draw0.fasta`,
`draw0.labels.tsv` and so on), by default `../shared/data/pfam10_more`; sets that are missing are named.
The shipped encoder saw these proteins, without labels, in its training text.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from seqscan.benchmark import COLUMNS, benchmark, summarize_runs
from seqscan.datasets import pfam10_labels, pfam10_sequences
from seqscan.discovery import DiscoveryConfig


def main() -> None:
    """Run what was asked for; a set that was measured before is read from the output folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data/pfam10_more"))
    parser.add_argument("--output", type=Path, default=Path("out/main_job"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-finetune", action="store_true", help="leave joint learning out")
    parser.add_argument("--only", nargs="*", default=None)
    options = parser.parse_args()
    sets = {"pfam10": (pfam10_sequences(), pfam10_labels())}
    for number in range(4):
        name = f"draw{number}"
        sets[name] = (options.data / f"{name}.fasta", options.data / f"{name}.labels.tsv")
    rows: list[dict[str, Any]] = []
    for name, (sequences, labels) in sets.items():
        if options.only is not None and name not in options.only:
            continue
        if not sequences.exists():
            print(f"{name}: {sequences} is missing, left out (give its folder with --data)")
            continue
        done = options.output / name / "benchmark.json"
        if not done.exists():
            config = DiscoveryConfig(n_clusters=10, threads=options.threads, finetune=not options.no_finetune)
            benchmark(
                sequences, labels, options.output / name, config, n_seeds=options.seeds,
                on_line=lambda line, name=name: print(f"{name}: {line}", flush=True),
            )  # fmt: skip
        rows += json.loads(done.read_text())
        print_table(f"so far, up to {name}", rows)


def print_table(title: str, rows: list[dict[str, Any]]) -> None:
    """Print means over sets and seeds, Markdown."""
    columns = (*COLUMNS[:7], "n_clusters")
    print(f"\n{title}\n\n| method | runs | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 2) + "|")
    for row in summarize_runs(rows):
        print(f"| {row['method']} | {row['runs']} | " + " | ".join(_cell(row, c) for c in columns) + " |")


def _cell(row: dict[str, Any], column: str) -> str:
    spread = f" ± {row[column + '_sd']:.3f}" if column + "_sd" in row else ""
    return f"{row[column]:.3f}{spread}" if column in row else ""


if __name__ == "__main__":
    main()
