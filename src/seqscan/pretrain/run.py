"""A whole training, from a corpus to an encoder artifact, killed and resumed as often as it must be."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils import parametrize

from seqscan.allocator import freed_memory_kept
from seqscan.artifact import check_replaceable, read_manifest
from seqscan.corpus import Corpus
from seqscan.device import best_device
from seqscan.distributed import n_ranks, process_group, rank, wait_for_all
from seqscan.encoder import (
    AbstractEncoder,
    ConvEncoder,
    ConvEncoderConfig,
    TrainableEncoder,
    WordEncoder,
    WordEncoderConfig,
    encoder_path,
    fast_dtype,
    load_trainable_encoder,
    save_encoder,
)
from seqscan.errors import ArtifactError, InvalidParameter
from seqscan.pretrain.checkpoint import check_checkpoint, cut_log, load_checkpoint, save_checkpoint
from seqscan.pretrain.communities import Communities, find_communities
from seqscan.pretrain.config import PretrainConfig
from seqscan.pretrain.pairs import HomologPairs, PairSampler, corpus_checksum, mine_homologs
from seqscan.pretrain.plot import plot_training
from seqscan.pretrain.throughput import flops_per_residue, matrix_peak
from seqscan.pretrain.trainer import Trainer, community_recall, mean_losses, recall
from seqscan.threads import use_threads

__all__ = ["check_output", "pretrain"]

logger = logging.getLogger("seqscan.pretrain")

CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_SECONDS = 300.0
VALIDATION_STEPS = 200
N_VALIDATION_PAIRS = 512
N_VALIDATION_SEGMENTS = 2000


def pretrain(
    corpus: Corpus,
    output: str | Path,
    config: PretrainConfig,
    *,
    encoder_config: ConvEncoderConfig | WordEncoderConfig | None = None,
    parent: str | Path | None = None,
    mined: str | Path | None = None,
    threads: int = 2,
    resume: bool = False,
    half: bool = False,
    on_step: Callable[[dict[str, float]], None] | None = None,
) -> TrainableEncoder:
    """Train an encoder on unlabelled proteins and write it to `output`.

    Under `torchrun` every process calls this with the same arguments, and all share each batch.

    Parameters
    ----------
    corpus : Corpus
        Read through a memory map: memory does not grow with it.
    output : path
        The encoder artifact; a folder `<output>.training` beside it holds homologs, checkpoint, log and plot.
    config : PretrainConfig
    encoder_config : WordEncoderConfig or ConvEncoderConfig, optional
        Shape of a new network.
    parent : path or "default", optional
        Encoder artifact whose weights to begin with, instead of a new network.
    mined : path, optional
        Artifact of homologs of this corpus that were mined before.
    threads : int
    resume : bool
        Go on from the last checkpoint. Without it a training folder that exists is an error. With another
        length or learning rate than before, a new cycle begins: the rate rises again over the warm-up and
        falls towards the new end.
    half : bool
        Store the result in half precision.
    on_step : callable, optional
        Called with each row of the log, in the first process.

    Raises
    ------
    ArtifactError
        As from `check_output`, or if the checkpoint is of another configuration, corpus or homologs.
    InvalidParameter
        If no protein is left to train on, or both a parent and a shape are given.
    """
    with process_group():
        return _pretrain(
            corpus, Path(output), config, encoder_config=encoder_config, parent=parent, mined=mined,
            threads=threads, resume=resume, half=half, on_step=on_step or (lambda row: None),
        )  # fmt: skip


def _pretrain(
    corpus: Corpus,
    output: Path,
    config: PretrainConfig,
    *,
    encoder_config: ConvEncoderConfig | WordEncoderConfig | None,
    parent: str | Path | None,
    mined: str | Path | None,
    threads: int,
    resume: bool,
    half: bool,
    on_step: Callable[[dict[str, float]], None],
) -> TrainableEncoder:
    """Do what `pretrain` says, as one of the processes of a group."""
    use_threads(threads)
    check_output(output, resume=resume)
    encoder, ancestry = _begin(encoder_config, parent, config.seed)
    folder = _training_folder(output)
    shape = asdict(encoder.config)
    if (folder / CHECKPOINT).exists():  # before its homologs and communities are made anew
        check_checkpoint(folder / CHECKPOINT, config, corpus=corpus_checksum(corpus), encoder=shape)
    wait_for_all()  # none may look for the checkpoint after another has begun to write
    folder.mkdir(parents=True, exist_ok=True)
    training, validation, origin = _samplers(corpus, folder, mined, config, threads)
    encoder.to(best_device())
    trainer = Trainer(encoder, training, config)
    _train(trainer, validation, folder, origin | {"encoder": shape}, on_step)
    if isinstance(encoder, WordEncoder):
        encoder.settle()
    if rank() == 0:
        provenance = {
            "config": asdict(config),
            "corpus": {"n_proteins": len(corpus), "n_residues": int(corpus.offsets[-1]),
                       "checksum": origin["corpus"]},
            "steps": trainer.state.step,
            "residues": trainer.state.residues,
            "hours": round(trainer.state.seconds / 3600, 3),
        } | ancestry  # fmt: skip
        save_encoder(encoder, output, provenance=provenance, half=half)
    wait_for_all()
    return load_trainable_encoder(output)


def check_output(output: Path, *, resume: bool) -> None:
    """Refuse, before any work, what a training may not replace.

    Raises
    ------
    ArtifactError
        If `output` is not an encoder, or one that no training folder beside it goes on from; or if there is a
        training that was begun, and it is not to be resumed.
    """
    check_replaceable(output, "encoder")
    folder = _training_folder(output)
    begun = (folder / CHECKPOINT).exists()
    if begun and not resume:
        raise ArtifactError(
            str(folder), "holds a training that was begun", remedy="Add --resume, or remove it."
        )
    if not begun and (output / "manifest.json").exists():
        raise ArtifactError(
            str(output),
            f"holds a finished encoder, and {folder.name} beside it no training to go on with",
            remedy="Give another folder, or remove this one first.",
        )


def _training_folder(output: Path) -> Path:
    return output.with_name(output.name + ".training")


def _samplers(
    corpus: Corpus, folder: Path, mined: str | Path | None, config: PretrainConfig, threads: int
) -> tuple[PairSampler, PairSampler, dict[str, Any]]:
    """Divide the proteins into those to train on and those held out; also return what `_homologs` does."""
    homologs, origin = _homologs(corpus, folder, mined, config, threads)
    # Near-identical proteins together: what is learned of one is known of the other.
    chance = np.random.default_rng((config.seed, 0)).random(len(corpus))
    held_out = (chance < config.validation_fraction)[homologs.representative]
    if held_out.all():
        raise InvalidParameter("corpus", len(corpus), "too few proteins: none is left to train on")
    communities = _communities(corpus, folder, homologs, origin, config, threads)
    training = PairSampler(
        corpus,
        np.flatnonzero(~held_out),
        homologs.restricted_to(~held_out),
        remote_fraction=config.remote_fraction,
        communities=communities.restricted_to(~held_out),
        community_fraction=config.community_fraction,
    )
    validation = PairSampler(
        corpus,
        np.flatnonzero(held_out),
        homologs.restricted_to(held_out),
        communities=communities.restricted_to(held_out),
    )
    return training, validation, origin


@freed_memory_kept()
def _train(
    trainer: Trainer,
    validation: PairSampler,
    folder: Path,
    origin: dict[str, Any],
    on_step: Callable[[dict[str, float]], None],
) -> None:
    """Take the steps that are left and log each; the checkpoint notes `origin`, what the training is of."""
    encoder, config = trainer.encoder, trainer.config
    checkpoint, log = folder / CHECKPOINT, folder / "log.jsonl"
    least_seconds = _least_seconds_per_residue(trainer)  # measured before the trainer's clock starts
    if checkpoint.exists():
        load_checkpoint(checkpoint, trainer, homologs=origin["homologs"])
        logger.info("resuming after step %d", trainer.state.step)
    else:
        trainer.begin()
    if rank() == 0:
        # Also without a checkpoint: a run that was killed before its first one has left rows as well.
        cut_log(log, trainer.state.step)

    def save() -> None:
        save_checkpoint(checkpoint, trainer, **origin)
        plot_training(log, folder / "log.svg")

    saved_at = time.monotonic()
    while trainer.progress < 1.0:
        row = trainer.step()
        row["peak_share"] = row["residues_per_second"] * least_seconds
        if rank() > 0:
            continue
        due = time.monotonic() - saved_at > CHECKPOINT_SECONDS
        if due or trainer.state.step % VALIDATION_STEPS == 0 or trainer.progress >= 1.0:
            row |= _validate(encoder, validation, config)
        with log.open("a") as handle:
            handle.write(json.dumps({key: round(value, 6) for key, value in row.items()}) + "\n")
        on_step(row)
        if due:
            save()
            saved_at = time.monotonic()
    if rank() == 0:
        save()


def _least_seconds_per_residue(trainer: Trainer) -> float:
    """Return how long a residue takes if all processes do nothing but multiply matrices at their fastest."""
    encoder = trainer.encoder
    speed = matrix_peak(encoder.device, fast_dtype(encoder.device))
    # A step is a forward and a backward pass, and the first of two forward passes where the batch is cut.
    flops = flops_per_residue(encoder) * (3 if trainer.config.accumulate == 1 else 4)
    return flops / (speed * n_ranks())


def _homologs(
    corpus: Corpus, folder: Path, mined: str | Path | None, config: PretrainConfig, threads: int
) -> tuple[HomologPairs, dict[str, Any]]:
    """Read or mine the pairs; also return the checksums of the corpus and of the files that hold them."""
    if mined is not None:
        found = HomologPairs.read(mined, corpus)
    else:
        mined = folder / "homologs"
        options = {"n_proteins": config.n_homolog_proteins, "seed": config.seed, "threads": threads}
        if rank() > 0:
            wait_for_all()  # then it is read
        found = mine_homologs(corpus, mined, **options)
        if rank() == 0:
            wait_for_all()
    files = read_manifest(mined, "homologs").files if len(found.pairs) else {}
    return found, {"corpus": corpus_checksum(corpus), "homologs": files}


def _communities(
    corpus: Corpus,
    folder: Path,
    homologs: HomologPairs,
    origin: dict[str, Any],
    config: PretrainConfig,
    threads: int,
) -> Communities:
    """Return the communities of the homologs' segments, kept in the training's folder with their `origin`."""
    path = folder / "communities"
    if config.community_fraction == 0.0 or not len(homologs.pairs):
        return Communities.none()
    if rank() == 0 and not (
        path.exists() and origin.items() <= read_manifest(path, "communities").content.items()
    ):
        found = find_communities(corpus, homologs.alignments(), homologs.representative, threads=threads)
        found.write(path, origin)
    wait_for_all()
    return Communities.read(path)


def _begin(
    shape: ConvEncoderConfig | WordEncoderConfig | None, parent: str | Path | None, seed: int
) -> tuple[TrainableEncoder, dict[str, Any]]:
    """Make a network, or read the parent; also return what the provenance says of it."""
    if parent is None:
        torch.manual_seed(seed)
        if isinstance(shape, ConvEncoderConfig):
            return ConvEncoder(shape), {}
        words = WordEncoder(shape)
        words.exchange_words(new=True)
        return words, {}
    if shape is not None:
        raise InvalidParameter("parent", str(parent), "has its shape already; give no encoder_config")
    encoder = load_trainable_encoder(parent)
    manifest = read_manifest(encoder_path(parent), "encoder")
    weights = manifest.files["weights.safetensors"]
    return encoder, {"parent": {"checksum": weights, "provenance": manifest.content["provenance"]}}


def _validate(encoder: AbstractEncoder, sampler: PairSampler, config: PretrainConfig) -> dict[str, float]:
    """Losses on held-out proteins, and how often a partner's vector is the nearest.

    The partner is a homolog, or another crop where no two held-out proteins are known to be homologs.
    """
    if len(sampler.rows) < 2:
        return {}
    encoder.eval()
    with parametrize.cached():
        return _figures(encoder, sampler, config)


def _figures(encoder: AbstractEncoder, sampler: PairSampler, config: PretrainConfig) -> dict[str, float]:
    found = {f"validation_{name}": value for name, value in mean_losses(encoder, sampler, config).items()}
    found["validation_recall"] = recall(
        encoder.embed, sampler, n_pairs=N_VALIDATION_PAIRS, homologs=True, key=(config.seed, 5)
    )
    known = community_recall(encoder.embed, sampler, n_segments=N_VALIDATION_SEGMENTS, seed=config.seed)
    return found if math.isnan(known) else found | {"validation_community": known}
