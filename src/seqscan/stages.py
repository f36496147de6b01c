"""Stages that are done once: each leaves a note of what it was made from, and is skipped while that holds."""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from seqscan.artifact import VERSION, write_atomically

__all__ = ["Stage", "StageLog", "peak_memory_mb"]


@dataclass(frozen=True)
class Stage:
    """What a finished stage says of itself.

    Attributes
    ----------
    stage : str
    key : str
        Stands for the version, the options and all that came before.
    status : str
        "done", or "skipped" if an earlier call had done it.
    seconds : float
        Of the call that did it.
    peak_memory_mb : float
        Highest resident memory of the process up to the end of the stage.
    """

    stage: str
    key: str
    status: str
    seconds: float
    peak_memory_mb: float


@dataclass
class StageLog:
    """Runs stages in a folder.

    Attributes
    ----------
    folder : Path
        Holds a note for each finished stage.
    on_start : callable, optional
        Called with the name of a stage before it begins.
    on_end : callable, optional
        Called with each finished or skipped stage.
    stages : list of Stage
    """

    folder: Path
    on_start: Callable[[str], None] | None = None
    on_end: Callable[[Stage], None] | None = None
    stages: list[Stage] = field(default_factory=list)

    def run(
        self, name: str, depends_on: dict[str, Any], outputs: Sequence[Path], make: Callable[[], object]
    ) -> str:
        """Do a stage, or skip it if it was done from the same things and its outputs are there.

        Parameters
        ----------
        name : str
        depends_on : dict
            Options and the keys of earlier stages, JSON values.
        outputs : sequence of Path
            What the stage leaves; it must write each atomically.
        make : callable

        Returns
        -------
        key : str
            For the stages that build on this one.
        """
        key = self._key(name, depends_on)
        note = self.folder / f"{name}.json"
        stage = self._finished(note, key, outputs)
        if stage is None:
            if self.on_start is not None:
                self.on_start(name)
            # Before the outputs change, not after: a kill between the two must not leave a note that
            # speaks of other outputs.
            note.unlink(missing_ok=True)
            begun = time.monotonic()
            make()
            stage = Stage(name, key, "done", round(time.monotonic() - begun, 3), peak_memory_mb())
            with write_atomically(note) as temporary:
                temporary.write_text(json.dumps(asdict(stage)) + "\n")
        self.stages.append(stage)
        if self.on_end is not None:
            self.on_end(stage)
        return key

    def forget(self, name: str, outputs: Sequence[Path]) -> None:
        """Remove the files that a stage left which this call does not have; none if it never ran here."""
        note = self.folder / f"{name}.json"
        if note.exists():
            for output in outputs:
                output.unlink(missing_ok=True)
            note.unlink()

    def is_done(self, name: str, depends_on: dict[str, Any], outputs: Sequence[Path]) -> bool:
        """Say whether `run` would skip a stage."""
        return self._finished(self.folder / f"{name}.json", self._key(name, depends_on), outputs) is not None

    @staticmethod
    def _key(name: str, depends_on: dict[str, Any]) -> str:
        # The version that wrote a stage is part of its key: a new release makes everything again.
        text = json.dumps([name, VERSION, depends_on], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @staticmethod
    def _finished(note: Path, key: str, outputs: Sequence[Path]) -> Stage | None:
        try:
            stage = Stage(**(json.loads(note.read_text()) | {"status": "skipped"}))
        except (FileNotFoundError, ValueError, TypeError):  # no note, or not one of this version
            return None
        if stage.key != key or not all(output.exists() for output in outputs):
            return None
        return stage


def peak_memory_mb() -> float:
    """Return the highest resident memory of this process so far, megabytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)
