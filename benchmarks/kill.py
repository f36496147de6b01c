"""Kill `seqscan scan` in the middle of each of its stages and compare what it finds in the end.

    python benchmarks/kill.py [--n 1000000] [--k 1500] [--epochs 1] [--threads 2] [--output FOLDER]

Vectors are made by `benchmarks/generate.py`. One call runs undisturbed and says how long each stage takes.
Others write to another folder: each is killed (SIGKILL) half way through the next stage, the last is left
alone. Assignments and prototypes must be the same, byte for byte.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from encoder_figures import markdown
from generate import Families, Parameters, write_vectors
from seqscan.artifact import file_checksum

POLL_SECONDS = 0.05


def command(options: argparse.Namespace, folder: Path) -> list[str]:
    """Return the call, which goes on from what its folder holds."""
    return [
        sys.executable, "-m", "seqscan", "scan", str(options.output / "store"), "-o", str(folder),
        "--clusters", str(options.k), "--epochs", str(options.epochs), "--threads", str(options.threads),
    ]  # fmt: skip


def stages(folder: Path) -> dict[str, float]:
    """Return the seconds of each finished stage, in the order in which they ended."""
    notes = sorted((folder / "work" / "stages").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    return {path.stem: json.loads(path.read_text())["seconds"] for path in notes}


def killed_during(call: list[str], folder: Path, stage: str, before: str | None, after: float) -> float:
    """Kill a call `after` seconds into a stage; return how long it was in it, 0 if the stage ended sooner."""
    process = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    note = folder / "work" / "stages" / f"{stage}.json"
    begun: float | None = None
    while process.poll() is None and not note.exists():
        if begun is None and (before is None or before in stages(folder)):
            begun = time.monotonic()
        if begun is not None and time.monotonic() - begun >= after:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return time.monotonic() - begun
        time.sleep(POLL_SECONDS)
    process.kill()
    process.wait()
    return 0.0


def results(folder: Path) -> dict[str, str]:
    """Return the checksum of each file that a user reads or that later commands use."""
    files = [folder / "assignments.tsv", *sorted((folder / "head").glob("*.safetensors"))]
    return {str(path.relative_to(folder)): file_checksum(path) for path in files}


def main() -> None:
    """Run undisturbed, run killed, and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=1_000_000, help="vectors")
    parser.add_argument("--k", type=int, default=1500, help="families and prototypes")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("out/kill"))
    options = parser.parse_args()
    if not (options.output / "store").exists():
        write_vectors(options.output / "store", options.n, Families(options.k, Parameters()))
    undisturbed, disturbed = options.output / "undisturbed", options.output / "killed"
    subprocess.run(command(options, undisturbed), check=True)
    shutil.rmtree(disturbed, ignore_errors=True)
    rows = []
    before = None
    for stage, seconds in stages(undisturbed).items():
        spent = killed_during(command(options, disturbed), disturbed, stage, before, seconds / 2)
        rows.append([stage, f"{seconds:.1f}", f"{spent:.1f}" if spent else "too short to be killed in"])
        before = stage
        print(f"{stage}: killed after {spent:.1f} of {seconds:.1f} s", flush=True)
    subprocess.run(command(options, disturbed), check=True)
    print("\n" + markdown(["stage", "seconds, undisturbed", "killed after, seconds"], rows))
    same = results(undisturbed) == results(disturbed)
    print(f"\n{options.n:,} vectors: assignments and prototypes are {'the same' if same else 'NOT the same'}")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
