"""The command line: one thin command for each stage. Torch is loaded by the commands that need it."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import warnings
from typing import Annotated

import typer
from rich.logging import RichHandler

from seqscan import __version__
from seqscan.cli.clustering import assign, benchmark, demo, evaluate, run
from seqscan.cli.console import console
from seqscan.cli.encoding import cluster, embed, pretrain
from seqscan.cli.growth import scan, update
from seqscan.cli.knowledge import annotate, audit, enrich, ontology
from seqscan.cli.residues import domains, explain
from seqscan.errors import OtherRankFailed, SeqscanError

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find the functional categories of proteins with no labels at all.",
)
for command in (
    run,
    assign,
    update,
    scan,
    evaluate,
    explain,
    domains,
    benchmark,
    pretrain,
    embed,
    cluster,
    enrich,
    annotate,
    audit,
    ontology,
    demo,
):
    app.command()(command)


@app.callback(invoke_without_command=True)
def _global(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"seqscan {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; an error a user can mend is one line, and the exit code is 2."""
    # Before torch is loaded. Threads that spin while they wait for each other make a run slower on a machine
    # that has other work, and not faster on one that has none.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # What a scheduler sends, and a terminal that closes, end a run like Ctrl-C: what it started ends too, and
    # no scratch is left. Under nohup the second stays ignored.
    for told in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(told) == signal.SIG_DFL:
            signal.signal(told, lambda number, _: sys.exit(128 + number))
    handler = RichHandler(console=console, show_path=False, show_time=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    warnings.simplefilter("ignore", category=FutureWarning)
    try:
        app()
    except BrokenPipeError:
        sys.exit(1)
    except OtherRankFailed:  # which says it
        sys.exit(2)
    except (SeqscanError, OSError) as error:  # the second: no permission, no space, a folder in the way
        said = _refused(error) if isinstance(error, OSError) else str(error)
        console.print(f"seqscan: {said}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(2)


def _refused(error: OSError) -> str:
    """Say what the system refused, and what to do."""
    if error.strerror is None:
        return str(error)
    where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    remedy = ""
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = " Read and write where you may, or have the permissions changed."
    elif error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = (
            " Make room, or write elsewhere; temporary files are in the folder that TMPDIR names, or /tmp."
        )
    return f"{where}{error.strerror}.{remedy}"
