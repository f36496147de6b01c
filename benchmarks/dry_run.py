"""Compare what `seqscan run --dry-run` predicts with what the run then takes.

    python benchmarks/dry_run.py [--sizes 2000 8000] [--threads 2] [--data FOLDER] [--output FOLDER]

Random domains of `pfam_all_dev`; each size is predicted and run by the package's own commands, one after
another. Time is that of the clock, so both must have the machine for themselves.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from encoder_figures import markdown, read_set
from seqscan.alphabet import AMINO


def call(*arguments: object) -> str:
    """Run a command of seqscan and return what it prints."""
    command = [sys.executable, "-m", "seqscan", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def predicted(text: str) -> tuple[dict[str, float], dict[str, float], float]:
    """Read seconds and MB of each stage and "in all", and GB of memory, from what a dry run prints."""
    lines = text.strip().splitlines()
    rows = [line.split() for line in lines[2:-1]]
    seconds = {row[0]: float(row[-2]) for row in rows}
    disk = {row[0]: float(row[-1]) for row in rows}
    return seconds, disk, float(lines[-1].split()[1])


def size_of(folder: Path) -> float:
    """Return the MB of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def main() -> None:
    """Predict, run, and print both, size by size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[2000, 8000], help="domains")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--output", type=Path, default=Path("out/dry_run"))
    options = parser.parse_args()
    domains = read_set("pfam_all_dev", options.data)
    if domains is None:
        return
    for size in options.sizes:
        part = domains.sample(size)
        folder = options.output / str(size)
        folder.mkdir(parents=True, exist_ok=True)
        fasta = folder / "in.fasta"
        rows = zip(part.ids, part.codes, strict=True)
        fasta.write_text("".join(f">{name}\n{AMINO.decode(codes)}\n" for name, codes in rows))
        common = [fasta, "-o", folder / "run", "--no-baselines", "--threads", options.threads]
        seconds, disk, memory = predicted(call("run", *common, "--dry-run"))
        call("run", *common)
        ran = json.loads((folder / "run" / "run.json").read_text())
        taken = {stage["stage"]: stage["seconds"] for stage in ran["stages"]}
        figures = [(f"{stage}, s", seconds.get(stage, 0.0), spent) for stage, spent in taken.items()]
        figures += [
            ("all, s", seconds["in"], sum(taken.values())),
            ("disk, MB", disk["in"], size_of(folder / "run")),
            ("memory, GB", memory, ran["memory_mb"]["peak"] / 1e3),
        ]
        table = [
            [name, f"{said:.1f}", f"{true:.1f}", f"{said / true:.2f}" if true else ""]
            for name, said, true in figures
        ]
        print(f"\n{size:,} domains\n\n" + markdown(["", "predicted", "measured", "ratio"], table), flush=True)


if __name__ == "__main__":
    main()
