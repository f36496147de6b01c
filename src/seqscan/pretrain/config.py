"""How to train, and the learning rate's course."""

from __future__ import annotations

import math
from dataclasses import dataclass

from seqscan.errors import InvalidParameter

__all__ = ["PretrainConfig", "TrainerState", "learning_rate", "progress"]


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
        Of a step, both views together, over all processes.
    accumulate : int
        Parts that each process cuts its share of a batch into, so that less memory is needed. The gradients
        stay those of the whole batch; for that, more than one part costs another forward pass.
    crop_lengths : tuple of int, residues
        One is drawn for each step.
    mask_fraction : share of the residues
        Hidden.
    community_fraction : share of the pairs
        That are two members of one community of segments, where there are any.
    homolog_fraction : share of the other pairs
        That are of two homologs; what is left are two crops of one protein.
    remote_fraction : share of the pairs of homologs
        That are of a homolog's homolog.
    n_homolog_proteins : int
        How many proteins, drawn at random, are searched against each other for homologs.
    prototype_weight, contrastive_weight, masked_weight : dimensionless
        Weights of the losses: to know a segment's community, a view's partner, and hidden residues.
    prototype_temperature, temperature : dimensionless
        Of the first and of the second.
    prototype_margin : cosine
        By how much a view must be nearer to its own community's prototype than to others.
    n_negatives : int
        Communities drawn at random in each step; views are told from these and from each other's.
    learning_rate : float
        Peak of each cycle; rises over `warmup_steps`, falls along a cosine to a twentieth.
    weight_decay : float
    validation_fraction : share of the proteins
        Never trained on.
    seed : int
    """

    max_steps: int | None = None
    minutes: float | None = None
    batch_residues: int = 196_608
    accumulate: int = 1
    crop_lengths: tuple[int, ...] = (96, 144, 192, 256)
    mask_fraction: float = 0.0
    community_fraction: float = 0.9
    homolog_fraction: float = 0.8
    remote_fraction: float = 0.5
    n_homolog_proteins: int = 100_000
    prototype_weight: float = 1.0
    contrastive_weight: float = 0.25
    masked_weight: float = 0.0
    prototype_temperature: float = 0.05
    temperature: float = 0.1
    prototype_margin: float = 0.3
    n_negatives: int = 2048
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    validation_fraction: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "crop_lengths", tuple(self.crop_lengths))
        if (self.max_steps is None) == (self.minutes is None):
            raise InvalidParameter("max_steps", self.max_steps, "give either max_steps or minutes")
        if self.accumulate < 1:
            raise InvalidParameter("accumulate", self.accumulate, "must be 1 at least")


@dataclass
class TrainerState:
    """How far a training has come.

    Attributes
    ----------
    step : int
        Steps done.
    residues : int
        Residues seen, over all processes.
    seconds : float
        Time spent, over every resumption.
    cycle_step, cycle_seconds
        Where the present cycle of the learning rate began.
    """

    step: int = 0
    residues: int = 0
    seconds: float = 0.0
    cycle_step: int = 0
    cycle_seconds: float = 0.0


def progress(state: TrainerState, config: PretrainConfig) -> float:
    """Return the share of the present cycle that is done; 1 or more when the training is."""
    if config.max_steps is not None:
        done, whole = float(state.step - state.cycle_step), float(config.max_steps - state.cycle_step)
    else:
        assert config.minutes is not None
        done = state.seconds - state.cycle_seconds
        whole = 60.0 * config.minutes - state.cycle_seconds
    return done / whole if whole > 0 else 1.0


def learning_rate(state: TrainerState, config: PretrainConfig) -> float:
    """Return the rate of the next step.

    Examples
    --------
    >>> config = PretrainConfig(max_steps=300, warmup_steps=10, learning_rate=1.0)
    >>> [round(learning_rate(TrainerState(step=step), config), 2) for step in (0, 9, 150, 300)]
    [0.1, 1.0, 0.53, 0.05]
    >>> round(learning_rate(TrainerState(step=300, cycle_step=200), config), 2)  # in a new cycle
    0.05
    """
    decay = 0.05 + 0.95 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress(state, config))))
    warm = min(1.0, (state.step - state.cycle_step + 1) / max(1, config.warmup_steps))
    return config.learning_rate * decay * warm
