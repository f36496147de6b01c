"""Compare what `seqscan run --dry-run` predicts with what the run then takes.

    python benchmarks/dry_run.py [--sizes 2000 8000] [--threads 2] [--data FOLDER] [--output FOLDER]

Random domains of `pfam_all_dev`; each size is predicted by `seqscan.plan`, as `--dry-run` does, and then run
by a command of its own, so that the peak memory is its own. Time is that of the clock: both must have the
machine for themselves.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from encoder_figures import markdown, read_set
from seqscan.alphabet import AMINO
from seqscan.corpus import write_corpus
from seqscan.discovery import DiscoveryConfig
from seqscan.fasta import read_fasta
from seqscan.pipeline import RunConfig
from seqscan.plan import plan


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
        corpus = write_corpus(folder / "corpus", read_fasta(fasta))
        config = RunConfig(DiscoveryConfig(threads=options.threads), baselines=False)
        expected = plan(corpus, config)
        command = [sys.executable, "-m", "seqscan", "run", fasta, "-o", folder / "run", "--no-baselines"]
        subprocess.run([*command, "--threads", str(options.threads)], check=True, capture_output=True)
        ran = json.loads((folder / "run" / "run.json").read_text())
        taken = {stage["stage"]: stage["seconds"] for stage in ran["stages"]}
        seconds = {stage.stage: stage.seconds for stage in expected.stages}
        figures = [(f"{stage}, s", seconds.get(stage, 0.0), spent) for stage, spent in taken.items()]
        figures += [
            ("all, s", expected.seconds, sum(taken.values())),
            ("disk, MB", expected.disk_bytes / 1e6, size_of(folder / "run")),
            ("memory, GB", expected.memory_bytes / 1e9, ran["memory_mb"]["peak"] / 1e3),
        ]
        table = [
            [name, f"{said:.1f}", f"{true:.1f}", f"{said / true:.2f}" if true else ""]
            for name, said, true in figures
        ]
        print(f"\n{size:,} domains\n\n" + markdown(["", "predicted", "measured", "ratio"], table), flush=True)


if __name__ == "__main__":
    main()
