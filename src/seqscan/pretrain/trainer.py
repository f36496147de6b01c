"""One step after another: losses of the whole batch, however many processes and parts it is cut into."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from seqscan.distributed import n_ranks, rank, sum_over_ranks
from seqscan.encoder import AbstractEncoder, fast_autocast
from seqscan.losses import contrastive_loss, masked_residue_loss, prototype_loss
from seqscan.pretrain.communities import Communities
from seqscan.pretrain.config import PretrainConfig, TrainerState, learning_rate, progress
from seqscan.pretrain.pairs import PairSampler, ViewBatch, join_views

__all__ = ["Prototypes", "Trainer", "community_recall", "mean_losses", "recall"]

N_LOSS_BATCHES = 4
"""On which the losses of held-out proteins are measured."""
RECALL_RESIDUES = 256
"""Length of a view, about, whose partner is looked for."""


class Prototypes(nn.Module):
    """A vector for each community of segments, which views of its members are drawn to.

    Parameters
    ----------
    communities : Communities
    n_dimensions : int
        Length P of a vector.

    Attributes
    ----------
    weight : (C, P)
    """

    def __init__(self, communities: Communities, n_dimensions: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(communities.n_communities, n_dimensions))
        nn.init.normal_(self.weight)
        self._relations = communities.relations()

    @torch.no_grad()
    def begin(self, encoder: AbstractEncoder, sampler: PairSampler) -> None:
        """Take the mean of two members of each community, as the encoder sees them now."""
        segments = sampler.communities.segments
        order = np.argsort(segments[:, 3], kind="stable")
        place = np.arange(len(order)) - np.searchsorted(segments[order, 3], segments[order, 3])
        rows = order[place < 2]
        with parametrize.cached():
            vectors = encoder.embed([sampler.corpus[row][start:end] for row, start, end, _ in segments[rows]])
        known = torch.from_numpy(segments[rows, 3].astype(np.int64)).to(self.weight.device)
        self.weight.index_fill_(0, known, 0.0)
        unit = nn.functional.normalize(torch.from_numpy(vectors), dim=1).to(self.weight.device)
        self.weight.index_add_(0, known, unit)

    def loss(
        self,
        vectors: Tensor,
        labels: NDArray[np.int64],
        others: NDArray[np.int64],
        *,
        temperature: float,
        margin: float = 0.0,
    ) -> Tensor:
        """Return `prototype_loss` of vectors (B, P), nats.

        Parameters
        ----------
        vectors : (B, P)
        labels : (B,)
            The community of each; -1 where it has none.
        others : (M,)
            Communities to tell them from, beside those of the other vectors.
        temperature, margin
            As in `prototype_loss`.
        """
        classes = np.unique(np.concatenate([labels[labels >= 0], others]))
        places = np.where(labels >= 0, np.searchsorted(classes, labels), -1)
        return prototype_loss(
            vectors,
            self.weight[torch.from_numpy(classes).to(vectors.device)],
            torch.from_numpy(places).to(vectors.device),
            temperature=temperature,
            margin=margin,
            # What stands for a row without a community does not count.
            ignored=torch.from_numpy(self._relations[labels][:, classes].toarray()).to(vectors.device),
        )


class Trainer:
    """An encoder, its optimizer and how far they have come; call `begin`, then `step` as often as it takes.

    Parameters
    ----------
    encoder : AbstractEncoder
        With a layer `predict_residue` from D to the residue codes; trained in place.
    sampler : PairSampler
        Of the proteins to train on.
    config : PretrainConfig
    clock : callable
        Returns seconds; what `config.minutes` counts.

    Attributes
    ----------
    prototypes : Prototypes or None
        None if the sampler draws from no communities, or they do not count.
    state : TrainerState
    optimizer : torch.optim.AdamW
    """

    def __init__(
        self,
        encoder: AbstractEncoder,
        sampler: PairSampler,
        config: PretrainConfig,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.encoder, self.sampler, self.config = encoder, sampler, config
        self.prototypes: Prototypes | None = None
        if sampler.community_fraction and config.prototype_weight:
            self.prototypes = Prototypes(sampler.communities, encoder.n_dimensions)
            self.prototypes.to(encoder.device)
        self.optimizer = _optimizer(encoder, self.prototypes, config)
        self._clock = clock

    @property
    def progress(self) -> float:
        """Share of the present cycle that is done; 1 or more when the training is."""
        return progress(self.state, self.config)

    def begin(self, state: TrainerState | None = None) -> None:
        """Begin, or go on from the state of a checkpoint that was loaded; the clock starts now."""
        if state is None and self.prototypes is not None:
            self.prototypes.begin(self.encoder, self.sampler)
        self.state, self._last = state or TrainerState(), self._clock()

    def step(self) -> dict[str, float]:
        """Draw a batch, learn from it, and return a row of the log."""
        config, state = self.config, self.state
        rate = learning_rate(state, config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        parts, n_pairs = self._draw()
        self.encoder.train()
        others = np.empty(0, dtype=np.int64)
        if self.prototypes is not None:
            n = len(self.prototypes.weight)
            chance = np.random.default_rng((config.seed, 7, state.step))
            others = chance.integers(n, size=config.n_negatives) if n > config.n_negatives else np.arange(n)
        row = _backward(self.encoder, self.prototypes, others, parts, n_pairs, config)
        nn.utils.clip_grad_norm_(self.encoder.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        state.step += 1
        state.residues += int(row["residues"])
        now = self._clock()
        seconds, self._last = now - self._last, now
        if n_ranks() > 1:
            # The first process's clock counts, so that all follow one schedule.
            seconds = float(sum_over_ranks(torch.tensor([seconds if rank() == 0 else 0.0]))[0])
        state.seconds += seconds
        return row | {
            "step": state.step,
            "seconds": state.seconds,
            "learning_rate": rate,
            "residues_per_second": row["residues"] / max(seconds, 1e-9),
        }

    def _draw(self) -> tuple[list[ViewBatch], int]:
        """Draw this process's parts of the next batch; also return how many pairs all have together."""
        config = self.config
        generator = np.random.default_rng((config.seed, 1, self.state.step))
        length = int(generator.choice(config.crop_lengths))
        n_pairs = max(2, config.batch_residues // (2 * length))
        key = (config.seed, 4, self.state.step)
        own = np.arange(rank(), n_pairs, n_ranks())
        parts = []
        for numbers in np.array_split(own, min(config.accumulate, max(1, len(own)))):
            pairs = self.sampler.draw(numbers, length, config.homolog_fraction, key)
            parts.append(join_views(pairs, numbers, n_pairs, config.mask_fraction))
        return parts, n_pairs


def _optimizer(
    encoder: AbstractEncoder, prototypes: Prototypes | None, config: PretrainConfig
) -> torch.optim.AdamW:
    tables = encoder.tables
    decayed = [p for p in encoder.parameters() if p.ndim > 1 and not any(p is table for table in tables)]
    others = [p for p in encoder.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay, "scale": 1.0},
        {"params": others, "weight_decay": 0.0, "scale": 1.0},
        {"params": tables, "weight_decay": 0.0, "scale": encoder.table_scale},
        {
            "params": list(prototypes.parameters()) if prototypes else [],
            "weight_decay": 0.0,
            "scale": encoder.table_scale,
        },
    ]
    # Fused: a table of ten million numbers takes a tenth of the time.
    return torch.optim.AdamW([group for group in groups if group["params"]], betas=(0.9, 0.98), fused=True)


def _forward(encoder: AbstractEncoder, part: ViewBatch, config: PretrainConfig) -> tuple[Tensor, Tensor]:
    """Return the vectors of the views (B, P), and the guesses of the hidden residues (M, R) if they count."""
    views = (part.masked, part.mask, part.hidden)
    codes, mask, hidden = (torch.from_numpy(array).to(encoder.device) for array in views)
    with fast_autocast(encoder.device):
        if config.masked_weight == 0.0:
            return encoder.vectors(codes, mask), codes.new_zeros((0, 1), dtype=torch.float32)
        output = encoder(codes, mask)
        return output.pooled, encoder.predict_residue(output.residues[hidden])


def _backward(
    encoder: AbstractEncoder,
    prototypes: Prototypes | None,
    others: NDArray[np.int64],
    parts: Sequence[ViewBatch],
    n_pairs: int,
    config: PretrainConfig,
) -> dict[str, float]:
    """Leave the gradients of the whole batch's loss in the encoder, and return its terms.

    Every pair of the batch is a negative of every other, wherever it is computed. So the vectors are gathered
    first, the loss's gradient with respect to each is taken, and each part pulls on its own vectors: exactly
    the gradients of one process with the whole batch in one part (Gao et al., arXiv 2101.06983).
    """
    device = encoder.device
    with torch.set_grad_enabled(len(parts) == 1):
        outputs = [_forward(encoder, part, config) for part in parts]
    vectors = torch.zeros(2 * n_pairs, encoder.n_dimensions, device=device)
    for part, (own, _) in zip(parts, outputs, strict=True):
        vectors[torch.from_numpy(part.rows).to(device)] = own.detach().float()
    # Group and community of each row; each is in one part of one process, so that the sum is its own.
    marks = torch.zeros(2 * n_pairs, 2, dtype=torch.int64, device=device)
    for part in parts:
        mark = np.stack([part.groups, part.communities + 1], axis=1)
        marks[torch.from_numpy(part.rows).to(device)] = torch.from_numpy(mark).to(device)
    vectors, marks = sum_over_ranks(vectors).requires_grad_(), sum_over_ranks(marks)
    contrast = contrastive_loss(*vectors.chunk(2), temperature=config.temperature, groups=marks[:n_pairs, 0])
    loss = config.contrastive_weight * contrast
    prototype = None
    if prototypes is None:
        (pulls,) = torch.autograd.grad(loss, vectors)
    else:
        labels = marks[:, 1].cpu().numpy() - 1
        prototype = prototypes.loss(
            vectors,
            labels,
            others,
            temperature=config.prototype_temperature,
            margin=config.prototype_margin,
        )
        pulls, prototypes.weight.grad = torch.autograd.grad(
            loss + config.prototype_weight * prototype, (vectors, prototypes.weight)
        )

    sizes = [(part.hidden.sum(), part.mask.sum()) for part in parts]
    counts = sum_over_ranks(torch.tensor(np.sum(sizes, axis=0, dtype=np.float64), device=device))
    n_hidden, n_residues = (float(count) for count in counts)
    guessed = torch.zeros((), device=device)
    for number, part in enumerate(parts):
        own, guesses = outputs[number] if len(parts) == 1 else _forward(encoder, part, config)
        pull = pulls[torch.from_numpy(part.rows).to(device)].to(own.dtype)
        if config.masked_weight == 0.0:
            own.backward(pull)
            continue
        truth = torch.from_numpy(part.codes[part.hidden]).to(device)
        guess = masked_residue_loss(guesses, truth) * (len(truth) / max(1.0, n_hidden))
        torch.autograd.backward((own, config.masked_weight * guess), (pull, None))
        guessed += guess.detach()
    if n_ranks() > 1:
        _sum_gradients(encoder)
    row = {
        # Relative to chance, so that batches of different sizes compare.
        "contrastive": float(contrast.detach()) - math.log(2 * n_pairs - 1),
        "residues": n_residues,
    }
    if config.masked_weight:
        row["masked"] = float(sum_over_ranks(guessed))
    if prototype is not None:
        row["prototype"] = float(prototype.detach())
    return row


def _sum_gradients(encoder: AbstractEncoder) -> None:
    """Add up the gradients of all processes, in one message."""
    used = [p for p in encoder.parameters() if p.grad is not None]
    total = sum_over_ranks(torch.cat([p.grad.flatten() for p in used if p.grad is not None]))
    for parameter, gradient in zip(used, total.split([p.numel() for p in used]), strict=True):
        parameter.grad = gradient.view_as(parameter)


@torch.no_grad()
def mean_losses(encoder: AbstractEncoder, sampler: PairSampler, config: PretrainConfig) -> dict[str, float]:
    """Return the losses on batches that are always the same, computed by this process alone."""
    rows = []
    for number in range(N_LOSS_BATCHES):
        length = config.crop_lengths[number % len(config.crop_lengths)]
        numbers = np.arange(max(2, min(config.batch_residues, 16_384) // (2 * length)))
        pairs = sampler.draw(numbers, length, config.homolog_fraction, (config.seed, 2, number))
        part = join_views(pairs, numbers, len(pairs), config.mask_fraction)
        vectors, guesses = _forward(encoder, part, config)
        groups = torch.from_numpy(part.groups[: len(pairs)]).to(vectors.device)
        contrast = contrastive_loss(*vectors.chunk(2), temperature=config.temperature, groups=groups)
        row = {"contrastive": float(contrast) - math.log(2 * len(pairs) - 1)}
        if config.masked_weight:
            truth = torch.from_numpy(part.codes[part.hidden]).to(guesses.device)
            row["masked"] = float(masked_residue_loss(guesses, truth))
        rows.append(row)
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def recall(
    embed: Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.float32]],
    sampler: PairSampler,
    *,
    n_pairs: int,
    homologs: bool,
    key: tuple[int, ...],
) -> float:
    """Return how often, of `n_pairs` right views, the nearest to a left view is its own partner.

    Parameters
    ----------
    embed : callable
        From sequences of codes to vectors (N, P).
    sampler : PairSampler
        Of proteins that were held out.
    n_pairs : int
    homologs : bool
        Whether the two views of a pair are of two homologs or of one protein.
    key : tuple of int
        Seed of the draw.
    """
    pairs = sampler.draw(np.arange(n_pairs), RECALL_RESIDUES, float(homologs), key)
    left = torch.from_numpy(embed([pair.left for pair in pairs]))
    right = torch.from_numpy(embed([pair.right for pair in pairs]))
    cosine = nn.functional.normalize(left) @ nn.functional.normalize(right).T
    return float((cosine.argmax(dim=1) == torch.arange(len(left))).float().mean())


def community_recall(
    embed: Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.float32]],
    sampler: PairSampler,
    *,
    n_segments: int,
    seed: int,
) -> float:
    """Return how often the nearest of some segments, whole, is of the same community.

    Parameters
    ----------
    embed : callable
        From sequences of codes to vectors (N, P).
    sampler : PairSampler
        Of proteins that were held out.
    n_segments : int
        Drawn at random. One whose community has no second among them is not asked for, but can be found.
    seed : int

    Returns
    -------
    share : nan if nothing can be asked for
    """
    segments = sampler.communities.segments
    # Not those that follow a near-identical protein: to find that one is easy.
    segments = segments[sampler.representative[segments[:, 0]] == segments[:, 0]]
    generator = np.random.default_rng((seed, 6))
    chosen = segments[generator.permutation(len(segments))[:n_segments]]
    community = chosen[:, 3]
    asked = np.flatnonzero(np.bincount(community)[community] > 1) if len(chosen) else np.empty(0, int)
    if not len(asked):
        return math.nan
    vectors = torch.from_numpy(embed([sampler.corpus[row][start:end] for row, start, end, _ in chosen]))
    vectors = nn.functional.normalize(vectors)
    cosine = vectors[asked] @ vectors.T
    cosine[torch.arange(len(asked)), torch.from_numpy(asked)] = -torch.inf
    nearest = cosine.argmax(dim=1).numpy()
    return float((community[nearest] == community[asked]).mean())
