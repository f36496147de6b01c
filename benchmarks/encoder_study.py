"""Which network and which objective learns most in the same processor time? Prints a table.

    python benchmarks/encoder_study.py TRAINING [--minutes 4] [--threads 2]

TRAINING is the folder of a training, with its corpus, homologs and communities, as `seqscan pretrain FASTA...
-o X --steps 1` leaves it in `X.training/`. Every network is trained with the package's objective, and the
package's network with every objective (`--cross`: all with all), for the same minutes of processor time (all
threads together) and with each seed, on nine proteins in ten.

Judged without labels, on the tenth that no run trained on: how often the nearest of 4,096 segments is of the
same community, how often the nearest of 1,024 views is that of a homolog that MMseqs2 found, and how often
the nearest of 1,024 pieces of 100 residues is the next of the same protein. The columns in parentheses read
labels; they are there to report and must not choose: purity of the 20 nearest neighbors on the bundled
families, and recall@1 at superfamily on CATH S35, both on random parts.

Finished runs are kept in --output and not done again.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.preprocessing import normalize

from encoder_figures import markdown, nearest, purity, read_set, recall_at_1, with_mate
from encoder_networks import NETWORKS, TABLES
from seqscan.allocator import freed_memory_kept
from seqscan.alphabet import AMINO
from seqscan.artifact import write_atomically
from seqscan.corpus import Corpus
from seqscan.encoder import AbstractEncoder, WordEncoder
from seqscan.pretrain import (
    Communities,
    HomologPairs,
    PairSampler,
    PretrainConfig,
    Trainer,
    community_recall,
    recall,
)
from seqscan.tokens import random_crop


class MutatedViews(PairSampler):
    """Pairs with a tenth of the residues replaced, on average; from none to twice as many, view by view."""

    def draw(self, numbers: Any, length: int, homolog_fraction: float, key: tuple[int, ...]) -> list[Any]:
        usual = np.bincount(self.corpus.codes[:1_000_000], minlength=len(AMINO))
        usual = usual[1 : AMINO.n_residues + 1] / usual[1 : AMINO.n_residues + 1].sum()
        generator = np.random.default_rng((*key, 103))

        def mutated(view: Any) -> Any:
            replaced = generator.random(len(view)) < 0.2 * generator.random()
            others = 1 + generator.choice(len(usual), len(view), p=usual)
            return np.where(replaced, others, view).astype(view.dtype)

        pairs = super().draw(numbers, length, homolog_fraction, key)
        return [pair._replace(left=mutated(pair.left), right=mutated(pair.right)) for pair in pairs]


class AlikePairs(PairSampler):
    """Of eight times as many pairs those whose composition is nearest to the first's: hard negatives."""

    def draw(self, numbers: Any, length: int, homolog_fraction: float, key: tuple[int, ...]) -> list[Any]:
        pairs = super().draw(np.arange(8 * len(numbers)), length, homolog_fraction, key)
        shares = [np.bincount(p.left, minlength=len(AMINO)) / max(1, len(p.left)) for p in pairs]
        distance = np.square(np.sqrt(shares) - np.sqrt(shares[0])).sum(axis=1)
        return [pairs[i] for i in np.argsort(distance, kind="stable")[: len(numbers)]]


DEFAULT_NETWORK = "words"
DEFAULT_OBJECTIVE = "communities+crops+homologs"
PAIRS = {"community_fraction": 0.0, "contrastive_weight": 1.0}
MASKED = {"masked_weight": 0.25, "mask_fraction": 0.1}
OBJECTIVES: dict[str, dict[str, Any]] = {
    DEFAULT_OBJECTIVE: {},
    "communities": {"community_fraction": 1.0, "contrastive_weight": 0.0},
    "communities+crops+homologs, no margin": {"prototype_margin": 0.0},
    "communities+crops+homologs, a tenth mutated": {},
    "communities+masked+crops+homologs": MASKED,
    "pairs of one community": {
        "community_fraction": 1.0,
        "prototype_weight": 0.0,
        "contrastive_weight": 1.0,
    },
    "masked": PAIRS | MASKED | {"contrastive_weight": 0.0, "masked_weight": 1.0, "homolog_fraction": 0.0},
    "crops": PAIRS | {"homolog_fraction": 0.0},
    "homologs": PAIRS | {"homolog_fraction": 1.0},
    "masked+crops+homologs": PAIRS | MASKED,
    "crops+homologs, hard negatives": PAIRS,
}
SAMPLERS = {
    "communities+crops+homologs, a tenth mutated": MutatedViews,
    "crops+homologs, hard negatives": AlikePairs,
}
SMALL_BATCHES = {"batch_residues": 16_384, "crop_lengths": (64, 96, 128, 192)}
"""For networks that take a hundred times as long for a residue; larger ones would leave them few steps."""
HELD_OUT = 0.1
N_VIEWS = 1024
N_SEGMENTS = 4096
FIGURES = {
    "community_recall": "community recall",
    "homolog_recall": "homolog recall",
    "crop_recall": "next-piece recall",
    "masked": "masked, nats",
    "purity_pfam10": "(20-NN purity)",
    "recall_cath": "(CATH recall@1)",
    "steps": "steps",
    "million_residues": "M residues",
    "parameters": "M parameters",
    "encode_speed": "residues/s, encoding",
}


def main() -> None:
    """Train what is not done yet, one run after another, and print the table after each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("training", type=Path, help="folder with corpus, homologs and communities")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--output", type=Path, default=Path("out/encoder_study"))
    parser.add_argument(
        "--minutes", type=float, default=4.0, help="processor time of each run, threads added"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--networks", nargs="*", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--objectives", nargs="*", choices=OBJECTIVES, default=list(OBJECTIVES))
    parser.add_argument("--cross", action="store_true", help="every network with every objective")
    parser.add_argument("--learning-rate", type=float, default=PretrainConfig.learning_rate)
    parser.add_argument("--records", type=int, default=3000, help="labelled domains of each set, at most")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    corpus = Corpus.open(options.training / "corpus")
    homologs = HomologPairs.read(options.training / "homologs", corpus)
    communities = Communities.read(options.training / "communities")
    sets = [s.sample(options.records) for name in ("pfam10", "cath") if (s := read_set(name, options.data))]
    runs = [
        (network, objective, seed)
        for network in options.networks
        for objective in options.objectives
        for seed in options.seeds
        if options.cross or network == DEFAULT_NETWORK or objective == DEFAULT_OBJECTIVE
    ]
    rows = []
    for number, (network, objective, seed) in enumerate(runs):
        name = f"{network}__{objective}__{seed}__{options.minutes:g}min__{options.learning_rate:g}"
        path = options.output / (name.replace(" ", "_").replace(",", "") + ".json")
        if not path.exists():
            config = PretrainConfig(
                minutes=options.minutes,
                seed=seed,
                learning_rate=options.learning_rate,
                **({} if network in TABLES else SMALL_BATCHES),
                **OBJECTIVES[objective],
            )
            sampler = SAMPLERS.get(objective, PairSampler)
            training, held_out = split(corpus, homologs, communities, config.community_fraction, sampler)
            row = {"network": network, "objective": objective, "seed": seed} | measure(
                network, config, training, held_out, sets
            )
            with write_atomically(path) as temporary:
                temporary.write_text(json.dumps(row, indent=1) + "\n")
        rows.append(json.loads(path.read_text()))
        print(
            f"\n{number + 1} of {len(runs)} runs of {options.minutes:g} CPU minutes\n\n{table(rows)}",
            flush=True,
        )


def split(
    corpus: Corpus,
    homologs: HomologPairs,
    communities: Communities,
    community_fraction: float,
    sampler: type[PairSampler],
) -> tuple[PairSampler, PairSampler]:
    """Hold a tenth of the proteins out; return samplers of the others and of these."""
    held_out = (np.random.default_rng(53).random(len(corpus)) < HELD_OUT)[homologs.representative]
    training, other = (
        made(
            corpus,
            np.flatnonzero(kept),
            homologs.restricted_to(kept),
            communities=communities.restricted_to(kept),
            community_fraction=share,
        )
        for made, kept, share in ((sampler, ~held_out, community_fraction), (PairSampler, held_out, 0.0))
    )
    return training, other


@freed_memory_kept()
def measure(
    network: str, config: PretrainConfig, training: PairSampler, held_out: PairSampler, sets: list[Any]
) -> dict[str, Any]:
    """Train one network and return its figures."""
    torch.manual_seed(config.seed)
    encoder = NETWORKS[network]()
    # Processor time, so that other work on the machine takes nothing from the budget.
    trainer = Trainer(encoder, training, config, clock=time.process_time)
    trainer.begin()
    masked = []
    while trainer.progress < 1.0:
        row = trainer.step()
        masked.append(row.get("masked", np.nan))
        if not np.isfinite(row["contrastive"]):
            break
    encoder.eval()
    if isinstance(encoder, WordEncoder):
        encoder.settle()
    figures: dict[str, Any] = {
        "config": asdict(config),
        "steps": trainer.state.step,
        "cpu_minutes": trainer.state.seconds / 60,
        "million_residues": trainer.state.residues / 1e6,
        "parameters": sum(p.numel() for p in encoder.parameters()) / 1e6,
        # Without its term in the loss the layer that guesses has learned nothing.
        "masked": float(np.mean(masked[-20:])) if config.masked_weight else None,
        "community_recall": community_recall(encoder.embed, held_out, n_segments=N_SEGMENTS, seed=0),
        "homolog_recall": recall(encoder.embed, held_out, n_pairs=N_VIEWS, homologs=True, key=(0, 1)),
        "crop_recall": next_piece_recall(encoder, held_out),
    }
    for item in sets:
        begun = time.process_time()
        vectors = encoder.embed(item.codes)
        seconds = time.process_time() - begun
        figures["encode_speed"] = int(sum(map(len, item.codes)) / seconds)
        if item.name == "cath":
            queries = with_mate(item.labels)
            first = nearest(vectors, 1, queries)[:, 0]
            figures["recall_cath"] = recall_at_1(first, item.labels, queries)
        else:
            queries = np.arange(len(item.ids))
            found = purity(nearest(vectors, 20, queries), item.labels, queries)
            figures[f"purity_{item.name}"] = float(found.mean())
    return figures


def next_piece_recall(encoder: AbstractEncoder, held_out: PairSampler, length: int = 100) -> float:
    """Return how often the nearest of the right halves to a left half is that of the same protein."""
    corpus, generator = held_out.corpus, np.random.default_rng(59)
    long = held_out.rows[corpus.lengths[held_out.rows] >= 2 * length]
    rows = generator.choice(long, min(N_VIEWS, len(long)), replace=False)
    pieces = [random_crop(corpus[int(row)], 2 * length, generator) for row in rows]
    left = normalize(encoder.embed([piece[:length] for piece in pieces]))
    right = normalize(encoder.embed([piece[length:] for piece in pieces]))
    return float(((left @ right.T).argmax(axis=1) == np.arange(len(rows))).mean())


def table(rows: list[dict[str, Any]]) -> str:
    """Return means over seeds, with their range, best community recall first."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["network"], row["objective"]), []).append(row)
    ordered = sorted(groups.items(), key=lambda item: -np.mean([r["community_recall"] for r in item[1]]))
    lines = []
    for (network, objective), members in ordered:
        cells = []
        for key in FIGURES:
            values = [row[key] for row in members if row.get(key) is not None]
            cells.append(_cell(key, values) if values else "")
        lines.append([network, objective, len(members), *cells])
    return markdown(["network", "objective", "seeds", *FIGURES.values()], lines)


def _cell(key: str, values: list[float]) -> str:
    if key in ("steps", "encode_speed"):
        return f"{np.mean(values):.0f}"
    if key in ("million_residues", "parameters"):
        return f"{np.mean(values):.1f}"
    spread = f" ± {(max(values) - min(values)) / 2:.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


if __name__ == "__main__":
    main()
