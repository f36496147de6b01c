"""Checkpoints of a training: weights, optimizer and place, in one file that is never half written."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from seqscan.artifact import write_atomically
from seqscan.checkpoint import Checkpoint, write_checkpoint
from seqscan.errors import ArtifactError
from seqscan.pretrain.config import PretrainConfig, TrainerState
from seqscan.pretrain.trainer import Trainer

__all__ = ["check_checkpoint", "cut_log", "load_checkpoint", "save_checkpoint"]

CYCLE = ("max_steps", "minutes", "learning_rate")
"""What may be another when a run is resumed; it then begins a new cycle of the learning rate."""
SPEED = ("accumulate",)
"""What may be another because it changes nothing in the result."""


def save_checkpoint(
    path: Path, trainer: Trainer, *, corpus: str, homologs: dict[str, str], encoder: dict[str, Any]
) -> None:
    """Write a checkpoint.

    Parameters
    ----------
    path : path
    trainer : Trainer
    corpus : str
        Checksum of the proteins.
    homologs : dict of str to str
        Checksums of the files of the homologs, none where there are none.
    encoder : dict
        Shape of the network, JSON values.
    """
    tensors = {f"encoder.{name}": tensor for name, tensor in trainer.encoder.state_dict().items()}
    if trainer.prototypes is not None:
        tensors["prototypes.weight"] = trainer.prototypes.weight
    metadata = {
        "config": json.dumps(asdict(trainer.config)),
        "state": json.dumps(asdict(trainer.state)),
        "encoder": json.dumps(encoder),
        "corpus": corpus,
        "homologs": json.dumps(homologs, sort_keys=True),
    }
    write_checkpoint(path, tensors, trainer.optimizer, metadata)


def check_checkpoint(path: Path, config: PretrainConfig, *, corpus: str, encoder: dict[str, Any]) -> None:
    """Refuse a checkpoint of another training, before any work.

    Raises
    ------
    ArtifactError
        If it was made with another configuration, network or corpus.
    """
    metadata = Checkpoint.read_metadata(path)
    refused = [name for name in _changed(metadata, config) if name not in CYCLE + SPEED]
    if refused or json.loads(metadata["encoder"]) != json.loads(json.dumps(encoder)):
        raise ArtifactError(
            str(path),
            f"was made with another configuration ({', '.join(refused) or 'encoder'})",
            remedy="Resume with the options the training began with.",
        )
    if metadata["corpus"] != corpus:
        raise ArtifactError(
            str(path), "was made with other proteins", remedy="Resume with the input the training began with."
        )


def load_checkpoint(path: Path, trainer: Trainer, *, homologs: dict[str, str]) -> None:
    """Put a trainer where a checkpoint that `check_checkpoint` allows was written.

    Raises
    ------
    ArtifactError
        If it was made with other homologs: their communities are what the prototypes stand for.
    """
    checkpoint = Checkpoint.read(path)
    metadata = checkpoint.metadata
    # A checkpoint of an earlier version does not say.
    if json.loads(metadata.get("homologs", json.dumps(homologs))) != homologs:
        raise ArtifactError(
            str(path),
            "was made with other homologs",
            remedy="Resume with the homologs the training began with.",
        )
    trainer.encoder.load_state_dict(checkpoint.part("encoder"))
    if trainer.prototypes is not None:
        trainer.prototypes.load_state_dict(checkpoint.part("prototypes"))
    checkpoint.restore(trainer.optimizer)
    state = TrainerState(**json.loads(metadata["state"]))
    if any(name in CYCLE for name in _changed(metadata, trainer.config)):
        state.cycle_step, state.cycle_seconds = state.step, state.seconds
    trainer.begin(state)


def _changed(metadata: dict[str, str], config: PretrainConfig) -> list[str]:
    """Return the names of the options that are others than those of a checkpoint."""
    then, now = json.loads(metadata["config"]), json.loads(json.dumps(asdict(config)))
    return [name for name in now if now[name] != then.get(name)]


def cut_log(path: Path, step: int) -> None:
    """Drop the rows of a log that were written after the checkpoint."""
    if not path.exists():
        return
    rows = path.read_text().splitlines()
    kept = [row for row in rows if row.endswith("}") and json.loads(row)["step"] <= step]
    with write_atomically(path) as temporary:
        temporary.write_text("".join(row + "\n" for row in kept))
