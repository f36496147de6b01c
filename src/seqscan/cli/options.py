"""Arguments that several commands share, and what their texts mean."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqscan.errors import InvalidParameter
from seqscan.job import model_folder

if TYPE_CHECKING:
    from seqscan.discovery import DiscoveryConfig

# Those that this process may use, where the system says so: a cluster gives a job a few of a node's.
N_THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

Input = Annotated[
    str,
    typer.Argument(
        metavar="IN.fasta", help="FASTA or FASTQ, plain, gz, bz2, xz or zst; - is standard input."
    ),
]
AssignmentTable = Annotated[
    Path,
    typer.Argument(
        metavar="assignments.tsv",
        help="Table with the columns id and cluster, or the folder of a run with its assignments.tsv.",
        callback=lambda path: path / "assignments.tsv" if path.is_dir() else path,
    ),
]
Threads = Annotated[int, typer.Option(min=1, help="Processor cores to use.")]
Clusters = Annotated[
    str, typer.Option(metavar="K|auto", help="How many clusters, or auto to find the number.")
]
Seed = Annotated[int, typer.Option(min=0, help="Of the random numbers; same seed and threads: same result.")]
Encoder = Annotated[
    str,
    typer.Option(
        metavar="default|PATH|lm:NAME",
        help="Network that makes a vector of each protein: the one that comes with seqscan, the folder of "
        "one that 'seqscan pretrain' trained, or ESM-2 or ProtT5 (lm: and a folder, or a Hugging Face name).",
    ),
]
Neighbors = Annotated[
    str,
    typer.Option(
        metavar="auto|embedding|mmseqs2",
        help="How similar proteins are found: by the encoder's vectors alone (embedding), by alignments too "
        "(mmseqs2), or by alignments too if MMseqs2 is installed (auto). Alignments make clusters better.",
    ),
]
ModelPath = Annotated[
    Path,
    typer.Option(
        "--model",
        help="Model of 'run', 'scan' or 'update': OUT/model, or OUT itself.",
        callback=model_folder,
    ),
]
Finetune = Annotated[
    bool,
    typer.Option(
        help="Train the encoder together with the clusters, which takes most of the time and makes them a "
        "little better, or leave it as it is."
    ),
]
MinProbability = Annotated[
    float,
    typer.Option(
        min=0.0,
        max=1.0,
        help="Proteins whose cluster is less probable stay unassigned; for instance 0.5. At 0 all are "
        "assigned.",
    ),
]
FalseAlarmRate = Annotated[
    float | None,
    typer.Option(
        "--novelty",
        min=0.0,
        max=1.0,
        metavar="RATE",
        help="Add novelty columns, and leave novel proteins unassigned: those farther from all clusters than "
        "all but this share (above 0, below 1) of the proteins that the model was trained on. The smallest "
        "that a model of N proteins can tell is about 10/N.",
    ),
]
IdColumn = Annotated[str, typer.Option(help="Which column of --truth has the ids.")]
MaxLength = Annotated[int, typer.Option(min=1, help="Residues; longer records are rejected.")]


def typed_command() -> str:
    """Return the command as it was typed, for reports."""
    return shlex.join(["seqscan", *sys.argv[1:]])


def named_output(text: str) -> Any:
    """Return the option `--output` of what others are written beside; it must have a name to name them by."""

    def check(output: Path) -> Path:
        if output.name in ("", ".."):
            raise InvalidParameter(
                "output", str(output), "has no name", remedy="Name the file or folder to write."
            )
        return output

    return typer.Option("--output", "-o", help=text, callback=check)


def check_outputs(*files: Path, inputs: Iterable[str | Path | None] = ()) -> None:
    """Raise, before any work, what would else end it half-way, or overwrite what is read."""
    read = {Path(name).resolve() for name in inputs if name is not None}
    for number, file in enumerate(files):
        if file.is_dir():
            raise InvalidParameter("output", str(file), "is a directory", remedy="Name another file.")
        if file.suffix.lower() == ".csv":
            raise InvalidParameter(
                "output", str(file), "would hold tabs, not commas", remedy="Let the name end in .tsv."
            )
        above = next(folder for folder in file.absolute().parents if folder.exists())
        if not above.is_dir():
            raise InvalidParameter(
                "output", str(file), f"{above} is a file", remedy="Name a file in a directory."
            )
        if file.resolve() in {other.resolve() for other in files[:number]}:
            raise InvalidParameter(
                "output", str(file), "is named for two outputs", remedy="Name another file."
            )
        if file.resolve() in read:
            raise InvalidParameter("output", str(file), "is an input", remedy="Name another file.")


def discovery_config(
    clusters: str, neighbors: str, finetune: bool, encoder: str, seed: int, threads: int
) -> DiscoveryConfig:
    from seqscan.discovery import DiscoveryConfig

    return DiscoveryConfig(
        n_clusters=cluster_count(clusters),
        neighbors=neighbors,
        finetune=finetune,
        encoder=encoder,
        seed=seed,
        threads=threads,
    )


def cluster_count(text: str) -> int | None:
    """Read a number of clusters; None stands for `auto`."""
    if text != "auto" and (not text.isdecimal() or int(text) < 2):
        raise InvalidParameter("clusters", text, "must be a whole number, 2 or more, or 'auto'")
    return None if text == "auto" else int(text)


def size(text: str) -> int:
    """Read a size such as `8GB` or `500MB`.

    >>> size("1.5GB")
    1500000000
    """
    units = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
    number, unit = text[:-2].strip(), text[-2:].upper()
    try:
        return int(float(number) * units[unit])
    except (KeyError, ValueError, OverflowError):
        raise InvalidParameter("memory", text, "is not a size", remedy="Write for instance 8GB.") from None
