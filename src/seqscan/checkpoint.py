"""The state of a training in one file, so that one that was killed goes on where it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from seqscan.artifact import remove_leftovers, write_atomically

__all__ = ["Checkpoint", "remove_checkpoint", "write_checkpoint"]


@dataclass(frozen=True)
class Checkpoint:
    """What `write_checkpoint` wrote.

    Attributes
    ----------
    tensors : dict of name to tensor
        On the CPU; the optimizer's are named `optimizer.<parameter>.<slot>`.
    metadata : dict of str to str
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Read a checkpoint."""
        with safe_open(path, framework="pt") as file:
            return cls({name: file.get_tensor(name) for name in file.keys()}, file.metadata())  # noqa: SIM118

    @staticmethod
    def read_metadata(path: Path) -> dict[str, str]:
        """Read the texts of a checkpoint alone."""
        with safe_open(path, framework="pt") as file:
            return file.metadata()

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin with `<prefix>.`, without it."""
        start = prefix + "."
        return {name.removeprefix(start): t for name, t in self.tensors.items() if name.startswith(start)}

    def restore(self, optimizer: torch.optim.Optimizer) -> None:
        """Give an optimizer of the same parameters its state; their groups keep their options."""
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in self.part("optimizer").items():
            index, slot = name.split(".")
            slots.setdefault(int(index), {})[slot] = tensor
        optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})


def write_checkpoint(
    path: Path, tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, metadata: dict[str, str]
) -> None:
    """Write tensors, the state of an optimizer and texts, atomically.

    Examples
    --------
    >>> import tempfile
    >>> weight = torch.nn.Parameter(torch.ones(2))
    >>> optimizer = torch.optim.AdamW([weight])
    >>> weight.sum().backward()
    >>> optimizer.step()
    >>> path = Path(tempfile.mkdtemp()) / "checkpoint"
    >>> write_checkpoint(path, {"encoder.weight": weight}, optimizer, {"step": "1"})
    >>> found = Checkpoint.read(path)
    >>> sorted(found.tensors), found.metadata
    (['encoder.weight', 'optimizer.0.exp_avg', 'optimizer.0.exp_avg_sq', 'optimizer.0.step'], {'step': '1'})
    """
    held = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    for index, slots in optimizer.state_dict()["state"].items():
        held |= {f"optimizer.{index}.{name}": tensor.contiguous() for name, tensor in slots.items()}
    with write_atomically(path) as temporary:
        temporary.write_bytes(save(held, metadata))  # not `save_file`, see `write_arrays`


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint, if it is there, and what kills left beside; not before its stage has its note."""
    path.unlink(missing_ok=True)
    remove_leftovers(path)
