"""A trained model: an encoder and a cluster head, saved as one artifact, applied in constant time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from seqscan.alphabet import AMINO
from seqscan.artifact import read_manifest, write_arrays, write_artifact
from seqscan.device import best_device
from seqscan.encoder import AbstractEncoder, load_encoder, save_encoder
from seqscan.errors import ArtifactError, InvalidParameter
from seqscan.fasta import Record, check_record
from seqscan.head import ClusterHead
from seqscan.novelty import Novelty
from seqscan.prior import DomainPrior
from seqscan.results import Assignments

__all__ = ["Model", "load_clusters", "load_head", "record_blocks", "save_head"]

_BLOCK_RECORDS = 4096
_BLOCK_RESIDUES = 1 << 20


@dataclass(frozen=True)
class Model:
    """What assigns proteins to clusters.

    Attributes
    ----------
    encoder : AbstractEncoder
    head : ClusterHead
    content : dict
        JSON values: provenance, and pairs of clusters as `tied`.
    novelty : Novelty, optional
        Tells proteins of the clusters from others.
    prior : DomainPrior, optional
        What a domain of each cluster looks like.
    """

    encoder: AbstractEncoder
    head: ClusterHead
    content: dict[str, Any] = field(default_factory=dict)
    novelty: Novelty | None = None
    prior: DomainPrior | None = None

    @property
    def tied(self) -> NDArray[np.int64]:
        """Pairs of clusters that profiles tie, (T, 2)."""
        return _tied(self.content)

    def save(self, path: str | Path) -> None:
        """Write a model artifact; replaces `path` if it is a model."""
        content = self.content | {
            "temperature": self.head.temperature,
            "n_clusters": self.head.n_clusters,
        }
        with write_artifact(path, "model", content) as directory:
            save_encoder(self.encoder, directory / "encoder", provenance=self.content.get("encoder"))
            _write_head(self.head, directory / "head.safetensors")
            if self.novelty is not None:
                self.novelty.write(directory / "novelty.safetensors")
            if self.prior is not None:
                self.prior.write(directory / "prior.safetensors")

    @classmethod
    def load(cls, path: str | Path, *, device: torch.device | str | None = None) -> Model:
        """Read a model artifact and check every file of it.

        Parameters
        ----------
        path : path
        device : torch.device or str, optional
            Where its encoder computes; by default on the GPU, if there is one. Results differ between
            devices by the rounding of their number formats (`seqscan.encoder.fast_dtype`).

        Raises
        ------
        ArtifactError
            If there is no model, or it is damaged.
        """
        path = Path(path)
        content = dict(read_manifest(path, "model", verify=True).content)
        encoder = load_encoder(path / "encoder")
        head = _read_head(path / "head.safetensors", float(content["temperature"]))
        if head.center.shape != (encoder.n_dimensions,):
            raise ArtifactError(str(path), "its head and its encoder do not fit", remedy="Make it again.")
        encoder.to(best_device() if device is None else device)
        known, prior = path / "novelty.safetensors", path / "prior.safetensors"
        return cls(
            encoder,
            head,
            content,
            Novelty.read(known) if known.exists() else None,
            DomainPrior.read(prior) if prior.exists() else None,
        )

    def assign(
        self,
        records: Iterable[Record],
        *,
        min_probability: float = 0.0,
        false_alarm_rate: float | None = None,
    ) -> Iterator[Assignments]:
        """Assign records as they come, in bounded memory.

        The cost of a protein is one pass of the encoder and one product with the prototypes, whatever the
        number of proteins the model was trained on.

        Parameters
        ----------
        records : iterable of Record
        min_probability : probability
            A protein below it stays unassigned.
        false_alarm_rate : share of the proteins of known clusters, optional
            Also say how novel each protein is, and leave those unassigned that are farther from all clusters
            than this share of known proteins.

        Raises
        ------
        InvalidParameter
            If a false alarm rate is given that the model cannot tell, before anything is read.

        Yields
        ------
        Assignments
            Of consecutive blocks, in the order of the input.
        """
        if false_alarm_rate is not None:
            self.require_novelty().threshold(false_alarm_rate)
        for block in record_blocks(records):
            vectors = self.encoder.embed([AMINO.encode(record.sequence) for record in block])
            found = self.head.assign(
                [record.id for record in block], vectors, min_probability=min_probability
            )
            yield found if false_alarm_rate is None else self.mark_novel(found, vectors, false_alarm_rate)

    def mark_novel(
        self, found: Assignments, vectors: NDArray[np.float32], false_alarm_rate: float
    ) -> Assignments:
        """Add how novel each protein is to assignments of vectors (N, P); novel ones become unassigned."""
        novelty = self.require_novelty()
        scores = novelty.scores(vectors, found.probabilities)
        novel = scores >= novelty.threshold(false_alarm_rate)
        return replace(
            found,
            labels=np.where(novel, -1, found.labels).astype(np.int32),
            novelty=scores,
            known_shares=novelty.known_shares(scores),
            novel=novel,
        )

    def require_novelty(self) -> Novelty:
        """Return `novelty`; raises `InvalidParameter` if there is none."""
        if self.novelty is None:
            raise InvalidParameter(
                "novelty", None, "the model cannot tell novel proteins", remedy="Train it on more proteins."
            )
        return self.novelty


def load_clusters(path: str | Path) -> tuple[ClusterHead, NDArray[np.int64]]:
    """Read a model's head and the pairs of clusters that profiles tie, (T, 2), without its encoder.

    Raises
    ------
    ArtifactError
        If there is no model, or it is damaged.
    """
    content = read_manifest(path, "model", verify=True).content
    head = _read_head(Path(path) / "head.safetensors", float(content["temperature"]))
    return head, _tied(content)


def _tied(content: dict[str, Any]) -> NDArray[np.int64]:
    return np.array(content.get("tied", []), dtype=np.int64).reshape(-1, 2)


def _write_head(head: ClusterHead, path: Path) -> None:
    """Write the arrays of a head, safetensors."""
    arrays = {"prototypes": head.prototypes, "center": head.center, "projection": head.projection}
    write_arrays(path, arrays)


def _read_head(path: Path, temperature: float) -> ClusterHead:
    """Read what `_write_head` wrote."""
    arrays = load_file(path)
    return ClusterHead(arrays["prototypes"], arrays["center"], arrays["projection"], temperature)


def save_head(
    path: Path,
    head: ClusterHead,
    *,
    curve: list[dict[str, float]],
    notes: dict[str, Any],
    held_out: NDArray[np.int64] | None = None,
    sureness: NDArray[np.float32] | None = None,
) -> None:
    """Write a head artifact: what a training of heads leaves, before there is a model.

    Parameters
    ----------
    path : path
    head : ClusterHead
    curve : list of dict
        Losses by step.
    notes : dict
        How the head was chosen, JSON values.
    held_out : (M, 2), optional
        The pairs it was judged by.
    sureness : (H,), optional
        Of the proteins that the choice was made by; see `ChosenHead`.
    """
    content = {"temperature": head.temperature, "curve": curve, "notes": notes}
    with write_artifact(path, "head", content) as directory:
        _write_head(head, directory / "head.safetensors")
        if held_out is not None:
            np.save(directory / "held_out.npy", held_out)
        if sureness is not None:
            np.save(directory / "sureness.npy", sureness)


def load_head(path: Path) -> ClusterHead:
    """Read the head of an artifact that `save_head` wrote; raises `ArtifactError` if there is none."""
    temperature = float(read_manifest(path, "head").content["temperature"])
    return _read_head(path / "head.safetensors", temperature)


def record_blocks(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Cut a stream of records into lists of bounded size; raises `InvalidSequence` at one that is none."""
    block: list[Record] = []
    n_residues = 0
    for number, record in enumerate(records, start=1):
        check_record(record, number)
        block.append(record)
        n_residues += len(record)
        if len(block) >= _BLOCK_RECORDS or n_residues >= _BLOCK_RESIDUES:
            yield block
            block, n_residues = [], 0
    if block:
        yield block
