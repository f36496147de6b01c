"""Self-supervised training of the encoder: guess hidden residues, and know a protein's relatives.

Each step draws pairs of views. A pair is two crops of one protein, or crops of the aligned parts of two
homologs that MMseqs2 found; both have residues hidden. One pass of the network serves both losses. No label
is read. Every step draws from a generator made of the seed and the step's number, so a run that was killed
goes on from its last checkpoint as if nothing had happened.
"""

from __future__ import annotations

import json
import logging
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from seqscan.alignment import Alignments, align_all, find_mmseqs, mmseqs_version
from seqscan.artifact import read_manifest, write_artifact, write_atomically
from seqscan.checkpoint import Checkpoint, write_checkpoint
from seqscan.corpus import Corpus
from seqscan.encoder import ConvEncoder, ConvEncoderConfig, fast_dtype, load_encoder, save_encoder
from seqscan.errors import ArtifactError, InvalidParameter
from seqscan.losses import contrastive_loss, masked_residue_loss
from seqscan.tokens import mask_residues, pad, random_crop

__all__ = ["HomologPairs", "PretrainConfig", "mine_homologs", "pretrain"]

logger = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 300.0
N_VALIDATION_PAIRS = 512


@dataclass(frozen=True)
class PretrainConfig:
    """How to train.

    Attributes
    ----------
    max_steps : int, optional
        Steps in all. One of `max_steps` and `minutes` is needed; steps make the result independent of the
        machine's speed.
    minutes : float, optional
        Training time in all, over every resumption.
    batch_residues : int, residues
        Both views together.
    crop_lengths : tuple of int, residues
        One is drawn for each step.
    mask_fraction : share of the residues
    homolog_fraction : share of the pairs
        The others are two crops of one protein.
    n_homolog_proteins : int
        How many proteins, drawn at random, are searched against each other for homologs.
    masked_weight : dimensionless
        Weight of the masked-residue loss beside the contrastive one.
    temperature : dimensionless
        Of the contrastive loss.
    learning_rate : float
        Peak; rises over `warmup_steps`, falls along a cosine to a twentieth.
    table_scale : dimensionless
        Learning rate of the table of trimers, each row of which is seen rarely, in multiples of the others'.
    weight_decay : float
    validation_fraction : share of the proteins
        Never trained on.
    seed : int
    """

    max_steps: int | None = None
    minutes: float | None = None
    batch_residues: int = 16_384
    crop_lengths: tuple[int, ...] = (64, 96, 128, 192)
    mask_fraction: float = 0.1
    homolog_fraction: float = 0.8
    n_homolog_proteins: int = 100_000
    masked_weight: float = 0.25
    temperature: float = 0.1
    learning_rate: float = 1e-3
    table_scale: float = 3.0
    warmup_steps: int = 100
    weight_decay: float = 0.01
    validation_fraction: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "crop_lengths", tuple(self.crop_lengths))
        if (self.max_steps is None) == (self.minutes is None):
            raise InvalidParameter("max_steps", self.max_steps, "give either max_steps or minutes")


@dataclass(frozen=True)
class HomologPairs:
    """Aligned parts of related proteins.

    Attributes
    ----------
    pairs : (M, 6), int32
        Query row, its part's start and end, target row, its part's start and end; 0-based, half-open.
        Ordered by query.
    """

    pairs: NDArray[np.int32]

    @classmethod
    def from_alignments(cls, a: Alignments) -> HomologPairs:
        """Keep the places of alignments."""
        columns = (a.query, a.query_start, a.query_end, a.target, a.target_start, a.target_end)
        return cls(np.stack(columns, axis=1).astype(np.int32))

    def restricted_to(self, allowed: NDArray[np.bool_]) -> HomologPairs:
        """Return the pairs both of whose proteins are allowed, (N,) bool."""
        return HomologPairs(self.pairs[allowed[self.pairs[:, 0]] & allowed[self.pairs[:, 3]]])


def mine_homologs(corpus: Corpus, path: Path, *, n_proteins: int, seed: int, threads: int) -> HomologPairs:
    """Search a random sample of the corpus against itself with MMseqs2; done once, kept at `path`.

    Without MMseqs2 there are no pairs, and a warning is logged.
    """
    if path.exists():
        content = read_manifest(path, "homologs").content
        expected = {"corpus": len(corpus), "n_proteins": n_proteins, "seed": seed}
        same = content.get("checksum", _checksum(corpus)) == _checksum(corpus)
        if same and expected.items() <= content.items():
            return HomologPairs(np.load(path / "pairs.npy"))
    if n_proteins == 0 or find_mmseqs() is None:
        if n_proteins:
            logger.warning("MMseqs2 is not installed: training on crops of single proteins alone")
        return HomologPairs(np.empty((0, 6), dtype=np.int32))
    order = list(range(len(corpus)))
    random.Random(seed).shuffle(order)
    rows = np.sort(np.array(order[:n_proteins], dtype=np.int64))
    logger.info("searching %d proteins against each other with MMseqs2 %s", len(rows), mmseqs_version())
    alignments = align_all(corpus, rows=rows, sensitivity=4.0, max_hits=60, max_evalue=1e-4, threads=threads)
    homologs = HomologPairs.from_alignments(alignments)
    content = {
        "corpus": len(corpus),
        "checksum": _checksum(corpus),
        "n_proteins": n_proteins,
        "seed": seed,
        "mmseqs2": mmseqs_version(),
    }
    with write_artifact(path, "homologs", content) as directory:
        np.save(directory / "pairs.npy", homologs.pairs)
    return homologs


def _checksum(corpus: Corpus) -> str:
    return read_manifest(corpus.path, "corpus").files["codes.npy"]


class _PairSampler:
    """Draws pairs of views: proteins evenly, then one of a protein's homologs evenly."""

    def __init__(self, corpus: Corpus, rows: NDArray[np.int64], homologs: HomologPairs) -> None:
        self.corpus = corpus
        self.rows = rows
        self.pairs = homologs.pairs
        self.queries, self.first, self.counts = np.unique(
            homologs.pairs[:, 0], return_index=True, return_counts=True
        )

    def draw(
        self, n_pairs: int, length: int, homolog_fraction: float, generator: np.random.Generator
    ) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        share = homolog_fraction if len(self.queries) else 0.0
        views = []
        for is_homolog in generator.random(n_pairs) < share:
            if is_homolog:
                which = generator.integers(len(self.queries))
                pair = self.pairs[self.first[which] + generator.integers(self.counts[which])]
                views.append(self._homologs(pair, length, generator))
            else:
                protein = self.corpus[int(self.rows[generator.integers(len(self.rows))])]
                views.append(self._crops(protein, length, generator))
        return views

    def _crops(
        self, protein: NDArray[np.uint8], length: int, generator: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Two crops of one stretch half as long again, so that they share a third of it at least."""
        stretch = random_crop(protein, length + length // 2, generator)
        short = max(1, min(length, int(len(stretch) * 0.8)))
        return random_crop(stretch, short, generator), random_crop(stretch, short, generator)

    def _homologs(
        self, pair: NDArray[np.int32], length: int, generator: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Corresponding parts of two aligned proteins, with ragged ends."""
        query, q_start, q_end, target, t_start, t_end = (int(value) for value in pair)
        place = generator.random()
        return (
            self._part(self.corpus[query], q_start, q_end, length, place, generator),
            self._part(self.corpus[target], t_start, t_end, length, place, generator),
        )

    @staticmethod
    def _part(
        protein: NDArray[np.uint8],
        start: int,
        end: int,
        length: int,
        place: float,
        generator: np.random.Generator,
    ) -> NDArray[np.uint8]:
        if end - start > length:
            start += int(place * (end - start - length))
            end = start + length
        spare = (length - (end - start)) // 2 + length // 8
        start = max(0, start + int(generator.integers(-min(spare, 20), 10)))
        end = min(len(protein), end + int(generator.integers(-9, min(spare, 20) + 1)))
        return protein[start:end] if end - start >= 20 else protein[:length]


def pretrain(
    corpus: Corpus,
    output: str | Path,
    config: PretrainConfig,
    *,
    encoder_config: ConvEncoderConfig | None = None,
    threads: int = 2,
    resume: bool = False,
    half: bool = False,
    on_step: Callable[[dict[str, float]], None] | None = None,
) -> ConvEncoder:
    """Train an encoder on unlabelled proteins and write it to `output`.

    Parameters
    ----------
    corpus : Corpus
    output : path
        The encoder artifact; a folder `<output>.training` beside it holds homologs, checkpoint and log.
    config : PretrainConfig
    encoder_config : ConvEncoderConfig, optional
    threads : int
    resume : bool
        Go on from the last checkpoint. Without it a training folder that exists is an error.
    half : bool
        Store the result in half precision.
    on_step : callable, optional
        Called with each row of the log.

    Raises
    ------
    ArtifactError
        If there is a training folder and `resume` is False, or its checkpoint is of another configuration or
        corpus.
    InvalidParameter
        If no protein is left to train on.
    """
    torch.set_num_threads(threads)
    output = Path(output)
    folder = output.with_name(output.name + ".training")
    checkpoint = folder / "checkpoint.safetensors"
    if checkpoint.exists() and not resume:
        raise ArtifactError(
            str(folder), "holds a training that was begun", remedy="Add --resume, or remove it."
        )
    folder.mkdir(parents=True, exist_ok=True)

    generator = np.random.default_rng((config.seed, 0))
    held_out = generator.random(len(corpus)) < config.validation_fraction
    if held_out.all():
        raise InvalidParameter("corpus", len(corpus), "too few proteins: none is left to train on")
    homologs = mine_homologs(
        corpus, folder / "homologs", n_proteins=config.n_homolog_proteins, seed=config.seed, threads=threads
    )
    training = _PairSampler(corpus, np.flatnonzero(~held_out), homologs.restricted_to(~held_out))
    validation = _PairSampler(corpus, np.flatnonzero(held_out), homologs.restricted_to(held_out))

    torch.manual_seed(config.seed)
    encoder = ConvEncoder(encoder_config)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder.to(device)
    tables = [encoder.trimers.weight]
    decayed = [p for p in encoder.parameters() if p.ndim > 1 and p is not tables[0]]
    others = [p for p in encoder.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": config.weight_decay, "scale": 1.0},
            {"params": others, "weight_decay": 0.0, "scale": 1.0},
            {"params": tables, "weight_decay": 0.0, "scale": config.table_scale},
        ],
        betas=(0.9, 0.98),
    )
    state = _State()
    if checkpoint.exists():
        state = _load_checkpoint(checkpoint, encoder, optimizer, config, corpus)
        logger.info("resuming after step %d", state.step)
    # Also without a checkpoint: a run that was killed before its first one has left rows as well.
    _cut_log(folder / "log.jsonl", state.step)

    dtype = fast_dtype(device)
    last_saved = begun = time.monotonic()
    seconds_before = state.seconds
    with (folder / "log.jsonl").open("a") as log:
        while (progress := _progress(state, config)) < 1.0:
            generator = np.random.default_rng((config.seed, 1, state.step))
            rate = _learning_rate(config, state.step, progress)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["scale"]
            encoder.train()
            row = _losses(encoder, training, config, generator, dtype, backward=True)
            torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            state.step += 1
            state.residues += int(row["residues"])
            state.seconds = seconds_before + time.monotonic() - begun
            row |= {"step": state.step, "seconds": state.seconds, "learning_rate": rate}
            row["residues_per_second"] = state.residues / state.seconds
            due = time.monotonic() - last_saved > CHECKPOINT_SECONDS
            if due or state.step % 200 == 0 or _progress(state, config) >= 1.0:
                row |= _validate(encoder, validation, config, dtype)
            log.write(json.dumps({key: round(value, 5) for key, value in row.items()}) + "\n")
            log.flush()
            if on_step is not None:
                on_step(row)
            if due:
                _save_checkpoint(checkpoint, encoder, optimizer, config, corpus, state)
                last_saved = time.monotonic()
    _save_checkpoint(checkpoint, encoder, optimizer, config, corpus, state)
    provenance = {
        "objective": "masked residues and contrastive pairs (crops of one protein; homologs)",
        "config": asdict(config),
        "corpus": {"n_proteins": len(corpus), "n_residues": int(corpus.offsets[-1]),
                   "checksum": _checksum(corpus)},
        "steps": state.step,
        "residues": state.residues,
        "hours": round(state.seconds / 3600, 3),
    }  # fmt: skip
    save_encoder(encoder, output, provenance=provenance, half=half)
    return load_encoder(output)


@dataclass
class _State:
    step: int = 0
    residues: int = 0
    seconds: float = 0.0


def _progress(state: _State, config: PretrainConfig) -> float:
    if config.max_steps is not None:
        return state.step / config.max_steps
    assert config.minutes is not None
    return state.seconds / (60.0 * config.minutes)


def _learning_rate(config: PretrainConfig, step: int, progress: float) -> float:
    decay = 0.05 + 0.95 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return config.learning_rate * decay * min(1.0, (step + 1) / max(1, config.warmup_steps))


def _losses(
    encoder: ConvEncoder,
    sampler: _PairSampler,
    config: PretrainConfig,
    generator: np.random.Generator,
    dtype: torch.dtype,
    *,
    backward: bool,
) -> dict[str, float]:
    """Draw a batch and return its losses; `backward` also leaves their gradients in the encoder."""
    length = int(generator.choice(config.crop_lengths))
    n_pairs = max(2, config.batch_residues // (2 * length))
    views = sampler.draw(n_pairs, length, config.homolog_fraction, generator)
    device = encoder.project.weight.device
    batch = pad([left for left, _ in views] + [right for _, right in views])
    masked, hidden = mask_residues(batch, config.mask_fraction, generator)
    with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
        output = encoder(torch.from_numpy(masked.codes).to(device), torch.from_numpy(masked.mask).to(device))
        places = torch.from_numpy(hidden).to(device)
        guesses = encoder.predict_residue(output.residues[places])
    left, right = output.pooled.chunk(2)
    contrast = contrastive_loss(left, right, temperature=config.temperature)
    truth = torch.from_numpy(batch.codes).to(device)[places]
    guess = masked_residue_loss(guesses, truth)
    if backward:
        (contrast + config.masked_weight * guess).backward()
    return {
        "contrastive": float(contrast.detach()) - math.log(2 * n_pairs - 1),
        "masked": float(guess.detach()),
        "residues": float(batch.mask.sum()),
    }


@torch.no_grad()
def _validate(
    encoder: ConvEncoder, sampler: _PairSampler, config: PretrainConfig, dtype: torch.dtype
) -> dict[str, float]:
    """Losses on held-out proteins, and how often a held-out protein's homolog is its nearest vector."""
    if len(sampler.rows) < 2:
        return {}
    encoder.eval()
    generator = np.random.default_rng((config.seed, 2))
    rows = [_losses(encoder, sampler, config, generator, dtype, backward=False) for _ in range(4)]
    views = sampler.draw(N_VALIDATION_PAIRS, 256, 1.0, generator)
    left = torch.from_numpy(encoder.embed([view for view, _ in views]))
    right = torch.from_numpy(encoder.embed([view for _, view in views]))
    cosine = torch.nn.functional.normalize(left) @ torch.nn.functional.normalize(right).T
    found = (cosine.argmax(dim=1) == torch.arange(len(left))).float().mean()
    return {
        "validation_contrastive": float(np.mean([row["contrastive"] for row in rows])),
        "validation_masked": float(np.mean([row["masked"] for row in rows])),
        "validation_recall": float(found),
    }


def _save_checkpoint(
    path: Path,
    encoder: ConvEncoder,
    optimizer: torch.optim.Optimizer,
    config: PretrainConfig,
    corpus: Corpus,
    state: _State,
) -> None:
    tensors = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    metadata = {"config": json.dumps(asdict(config)), "state": json.dumps(asdict(state)),
                "encoder": json.dumps(asdict(encoder.config)), "corpus": _checksum(corpus)}  # fmt: skip
    write_checkpoint(path, tensors, optimizer, metadata)


def _load_checkpoint(
    path: Path,
    encoder: ConvEncoder,
    optimizer: torch.optim.Optimizer,
    config: PretrainConfig,
    corpus: Corpus,
) -> _State:
    checkpoint = Checkpoint.read(path)
    metadata = checkpoint.metadata
    # A run may be made longer or shorter; all else must stay.
    length = {"max_steps", "minutes"}
    then, now = json.loads(metadata["config"]), json.loads(json.dumps(asdict(config)))
    changed = [name for name in now if name not in length and now[name] != then.get(name)]
    if changed or json.loads(metadata["encoder"]) != json.loads(json.dumps(asdict(encoder.config))):
        raise ArtifactError(
            str(path),
            f"was made with another configuration ({', '.join(changed) or 'encoder'})",
            remedy="Resume with the options the training began with.",
        )
    # Checkpoints of the first days do not name their corpus.
    if metadata.get("corpus", _checksum(corpus)) != _checksum(corpus):
        raise ArtifactError(
            str(path), "was made with other proteins", remedy="Resume with the input the training began with."
        )
    encoder.load_state_dict(checkpoint.part("encoder"))
    checkpoint.restore(optimizer)
    return _State(**json.loads(metadata["state"]))


def _cut_log(path: Path, step: int) -> None:
    """Drop the rows that were written after the checkpoint."""
    if not path.exists():
        return
    rows: Sequence[str] = path.read_text().splitlines()
    kept = [row for row in rows if row.endswith("}") and json.loads(row)["step"] <= step]
    with write_atomically(path) as temporary:
        temporary.write_text("".join(row + "\n" for row in kept))
