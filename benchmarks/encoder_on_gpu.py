"""Train words, or words and convolutions over them, on a GPU, and print what came of it.

    python benchmarks/encoder_on_gpu.py TRAINING -o FOLDER [--network words] [--seconds 150] [--mutate 0.08]

TRAINING is the folder of a training, with its corpus, homologs and communities, as `seqscan pretrain FASTA...
-o X --steps 1` leaves it in `X.training/`. The objective is the package's (communities of segments, with a
margin), but for crops and homologs, which change nothing (docs/experiments.md, section 19). All residues
lie on the device and views are drawn there at once: a GPU learns from millions of residues a second, which no
loop over proteins could bring.

With convolutions words are trained alone for --warm seconds first: from nothing the convolutions, which are
larger than young words and say nothing yet, keep the words from being learned.

Judged without labels: how often the nearest of 4,096 segments is of the same community, over all segments and
averaged over communities; of proteins held out, of proteins trained on, and, with --new, of communities that
nothing was trained on. At last, where --data has them, purity of 20 neighbors on a tenth of pfam_all_dev and
recall@1 on CATH S35: these read labels, are there to report, and choose nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from encoder_figures import nearest, purity, read_set, recall_at_1, with_mate
from encoder_networks import WordsAndConvolutions, learning_together
from seqscan.alphabet import AMINO
from seqscan.artifact import write_atomically
from seqscan.corpus import Corpus
from seqscan.encoder import WordEncoder
from seqscan.encoder.exchange import exchange_shares
from seqscan.pretrain import Communities, HomologPairs, PretrainConfig
from seqscan.pretrain.pairs import MIN_FILL, SIZE_POWER

LENGTHS = (96, 144, 192, 256, 384)
"""Of views, residues; the last is drawn half as often."""
MARGIN, TEMPERATURE = PretrainConfig.prototype_margin, PretrainConfig.prototype_temperature
WARMUP_STEPS = 200
N_JUDGED = 4096


@dataclass(frozen=True)
class Material:
    """What is trained on, on a device.

    Attributes
    ----------
    codes : (sum of L_i,), uint8
    offsets : (N + 1,), int64
    segments : (M, 4), int64, on the host
        Protein, start, end, community.
    related : (R, 2), int64
        Communities that are not told apart.
    n_communities : int
    sets : dict of (S, 4)
        Segments that judge, by name.
    """

    codes: Tensor
    offsets: Tensor
    segments: NDArray[np.int64]
    related: NDArray[np.int64]
    n_communities: int
    sets: dict[str, NDArray[np.int64]]


def main() -> None:
    """Train, judge, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("training", type=Path)
    parser.add_argument("--output", "-o", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--network", choices=("words", "convolutions"), default="convolutions")
    parser.add_argument("--seconds", type=float, default=150.0, help="of training, after --warm")
    parser.add_argument("--warm", type=float, default=12.0, help="seconds of words alone before convolutions")
    parser.add_argument("--mutate", type=float, default=0.08, help="mean share of residues exchanged")
    parser.add_argument("--learning-rate", type=float, default=1.5e-3, help="of the convolutions")
    parser.add_argument("--table-rate", type=float, default=0.02, help="of words and prototypes after --warm")
    parser.add_argument("--batch-residues", type=int, default=196_608)
    parser.add_argument("--new", type=float, default=0.0, help="share of the communities left out")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_float32_matmul_precision("high")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    material = read_material(options.training, device, options.new)
    torch.manual_seed(options.seed)
    words = learning_together(WordEncoder()).to(device)
    prototypes = begin_prototypes(words, material)
    deep = options.network == "convolutions"
    first = (options.warm, 0.0) if deep else (options.seconds, options.mutate)
    log = train(words, prototypes, material, options, *first, table_rate=0.05)
    network: WordEncoder = words
    if deep:
        network = learning_together(WordsAndConvolutions()).to(device)
        network.load_state_dict(words.state_dict(), strict=False)
        second = (options.seconds, options.mutate)
        log += train(network, prototypes, material, options, *second, table_rate=options.table_rate)
    network.settle()
    network.cpu().eval()
    log.append(labelled_figures(network, options.data))
    print(log[-1], flush=True)
    options.output.mkdir(parents=True, exist_ok=True)
    with write_atomically(options.output / "log.json") as temporary:
        temporary.write_text(json.dumps({"options": vars(options), "log": log}, default=str, indent=1))
    with write_atomically(options.output / "network.pt") as temporary:
        torch.save({name: tensor.half() for name, tensor in network.state_dict().items()}, temporary)


def read_material(training: Path, device: torch.device, share_new: float) -> Material:
    """Read a training's folder; hold out one protein in fifty and, with their relations, some communities."""
    corpus = Corpus.open(training / "corpus")
    homologs = HomologPairs.read(training / "homologs", corpus)
    communities = Communities.read(training / "communities")
    segments, related = communities.segments.astype(np.int64), communities.related.astype(np.int64)
    representative = homologs.representative
    held_out = (np.random.default_rng((0, 0)).random(len(corpus)) < 0.02)[representative][segments[:, 0]]
    new = np.random.default_rng(17).random(communities.n_communities) < share_new
    left_out = new.copy()
    left_out[related[new[related[:, 0]], 1]] = True
    own = representative[segments[:, 0]] == segments[:, 0]  # those of near-identical proteins are easy
    trained = ~held_out & ~left_out[segments[:, 3]]
    pools = {
        "held_out": own & held_out & ~left_out[segments[:, 3]],
        "trained": own & trained,
        "new": own & new[segments[:, 3]],
    }
    chance = np.random.default_rng((0, 6))
    sets = {
        name: segments[chance.permutation(np.flatnonzero(pool))[:N_JUDGED]] for name, pool in pools.items()
    }
    return Material(
        torch.from_numpy(np.array(corpus.codes)).to(device),
        torch.from_numpy(corpus.offsets).to(device),
        segments[trained],
        related,
        communities.n_communities,
        {name: chosen for name, chosen in sets.items() if len(chosen)},
    )


class Views:
    """Draws pairs of members of one community, as `seqscan.pretrain.PairSampler` does, all at once."""

    def __init__(self, material: Material) -> None:
        self.codes, self.offsets = material.codes, material.offsets
        device = material.codes.device
        self._tables = {}
        for length in LENGTHS:
            long = material.segments[:, 2] - material.segments[:, 1] >= MIN_FILL * length
            own = material.segments[long]
            own = own[np.argsort(own[:, 3], kind="stable")]
            _, first, counts = np.unique(own[:, 3], return_index=True, return_counts=True)
            chances = np.cumsum(counts.astype(np.float64) ** SIZE_POWER)
            arrays = (own, first, counts, chances / chances[-1])
            self._tables[length] = tuple(torch.from_numpy(array).to(device) for array in arrays)

    def draw(self, n_pairs: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return codes (2 B, L), which of them are residues (2 B, L), and the communities (2 B,)."""
        own, first, counts, chances = self._tables[length]
        device = own.device

        def chance(size: int) -> Tensor:
            return torch.rand(size, generator=generator, device=device, dtype=torch.float64)

        which = torch.searchsorted(chances, chance(n_pairs), right=True).clamp(max=len(first) - 1)
        low, size = first[which], counts[which]
        one = (chance(n_pairs) * size).long()
        other = (one + 1 + (chance(n_pairs) * (size - 1).clamp(min=1)).long()) % size
        row, start, end, community = own[torch.cat([low + one, low + other])].unbind(1)
        # Both views at the same place of their segments, with ragged ends.
        start = start + (chance(n_pairs).repeat(2) * (end - start - length).clamp(min=0)).long()
        end = torch.minimum(end, start + length)
        spare = ((length - (end - start)) // 2 + length // 8).clamp(max=20)
        start = (start + 9 - (chance(2 * n_pairs) * (spare + 10)).long()).clamp(min=0)
        begin, stop = self.offsets[row], self.offsets[row + 1]
        end = torch.minimum(end - 9 + (chance(2 * n_pairs) * (spare + 10)).long(), stop - begin)
        return *_gathered(self.codes, begin + start, end - start, length + 40), community


def _gathered(codes: Tensor, start: Tensor, size: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Return codes (B, width) from `start` on, and which of the places are below `size`."""
    at = torch.arange(width, device=codes.device)
    mask = at < size[:, None]
    return codes[(start[:, None] + at).clamp(max=len(codes) - 1)].long() * mask, mask


def begin_prototypes(network: WordEncoder, material: Material) -> nn.Parameter:
    """Return the mean of two members of each community, (C, P)."""
    order = np.argsort(material.segments[:, 3], kind="stable")
    community = material.segments[order, 3]
    two = material.segments[order[np.arange(len(order)) - np.searchsorted(community, community) < 2]]
    prototypes = torch.zeros(material.n_communities, network.n_dimensions, device=material.codes.device)
    known = torch.from_numpy(two[:, 3]).to(prototypes.device)
    return nn.Parameter(prototypes.index_add_(0, known, embed(network, material, two)))


def train(
    network: WordEncoder,
    prototypes: nn.Parameter,
    material: Material,
    options: argparse.Namespace,
    seconds: float,
    mutate: float,
    *,
    table_rate: float,
) -> list[dict[str, Any]]:
    """Train network and prototypes in place for some seconds, and return what was seen on the way.

    `mutate` is the share of the residues that are exchanged; `table_rate` the peak learning rate of words and
    prototypes.
    """
    device = material.codes.device
    generator = torch.Generator(device=device).manual_seed(options.seed)
    views, lengths = Views(material), np.random.default_rng(options.seed)
    related = _Relations(material)
    absent = torch.bincount(torch.from_numpy(material.segments[:, 3]), minlength=len(prototypes)) == 0
    absent = absent.to(device)
    exchanged = torch.from_numpy(exchange_shares(AMINO.unknown + 1)).float().to(device)
    dense = [p for p in network.parameters() if not any(p is table for table in network.tables)]
    groups = [
        {"params": [p for p in dense if p.ndim > 1], "peak": options.learning_rate, "weight_decay": 0.01},
        {"params": [p for p in dense if p.ndim <= 1], "peak": options.learning_rate},
        {"params": [*network.tables, prototypes], "peak": table_rate},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    if isinstance(network, WordsAndConvolutions) and device.type == "cuda":
        network.body.compile(dynamic=True)
        for length in LENGTHS[:2]:  # compiled before the clock starts
            codes, mask, _ = views.draw(options.batch_residues // (2 * length), length, generator)
            _mean_vectors(network, codes, mask).square().mean().backward()
        optimizer.zero_grad(set_to_none=True)
    step, residues, reported = 0, 0, 0.2
    log: list[dict[str, Any]] = []
    begun = time.monotonic()
    while (done := (time.monotonic() - begun) / seconds) < 1.0:
        rate = min(1.0, (step + 1) / WARMUP_STEPS) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        length = int(lengths.choice(LENGTHS, p=np.array([2, 2, 2, 2, 1]) / 9))
        codes, mask, community = views.draw(options.batch_residues // (2 * length), length, generator)
        if mutate:
            share = 2.0 * mutate * torch.rand(len(codes), 1, generator=generator, device=device)
            places = torch.rand(codes.shape, generator=generator, device=device) < share
            places &= mask & (codes <= AMINO.n_residues)
            drawn = torch.multinomial(exchanged[codes[places]], 1, generator=generator)[:, 0]
            codes = codes.masked_scatter(places, drawn)
        unit = F.normalize(_mean_vectors(network, codes, mask), dim=1)
        logits = unit @ F.normalize(prototypes, dim=1).T
        logits = (
            logits.scatter_add(1, community[:, None], torch.full_like(logits[:, :1], -MARGIN)) / TEMPERATURE
        )
        logits = related.ignored(logits.masked_fill(absent, -torch.inf), community)
        loss = F.cross_entropy(logits, community)
        loss.backward()
        nn.utils.clip_grad_norm_(dense, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step, residues = step + 1, residues + int(mask.shape[0]) * length
        if done > reported:
            log.append({"step": step, "M residues": residues / 1e6, "loss": float(loss.detach())})
            print(log[-1], flush=True)
            reported += 0.2
    spent = time.monotonic() - begun
    log.append(
        {"step": step, "M residues": residues / 1e6, "M residues a second": residues / spent / 1e6}
        | {name: community_recall(network, material, chosen) for name, chosen in material.sets.items()}
    )
    print(log[-1], flush=True)
    return log


class _Relations:
    """Which communities are not told apart from which."""

    def __init__(self, material: Material) -> None:
        related = material.related[np.argsort(material.related[:, 0], kind="stable")]
        counts = np.bincount(related[:, 0], minlength=material.n_communities)
        arrays = (related[:, 1], np.cumsum(counts) - counts, counts)
        self._to, self._first, self._counts = (
            torch.from_numpy(array).to(material.codes.device) for array in arrays
        )

    def ignored(self, logits: Tensor, community: Tensor) -> Tensor:
        """Return logits (B, C) that say nothing of the relations of communities (B,)."""
        counts = self._counts[community]
        row = torch.repeat_interleave(torch.arange(len(community), device=logits.device), counts)
        place = torch.arange(len(row), device=logits.device) - (counts.cumsum(0) - counts)[row]
        column = self._to[self._first[community][row] + place]
        return logits.index_put((row, column), logits.new_tensor(-torch.inf))


def _mean_vectors(network: WordEncoder, codes: Tensor, mask: Tensor) -> Tensor:
    with torch.autocast(codes.device.type, dtype=torch.bfloat16, enabled=codes.is_cuda):
        residues, _ = network.residue_vectors(codes, mask)
    return network.project(residues.sum(dim=1, dtype=torch.float32) / mask.sum(dim=1, keepdim=True))


@torch.no_grad()
def embed(
    network: WordEncoder, material: Material, segments: NDArray[np.int64], size: int = 262_144
) -> Tensor:
    """Return the unit vectors (M, P) of segments, shortest first in batches of `size` residues at most."""
    device = material.codes.device
    lengths = segments[:, 2] - segments[:, 1]
    order = np.argsort(lengths, kind="stable")
    vectors = torch.empty(len(segments), network.n_dimensions, device=device)
    on_device = torch.from_numpy(segments).to(device)
    with parametrize.cached():
        first = 0
        while first < len(order):
            # As many as fit at the length of the last of them.
            counts = np.arange(1, len(order) - first + 1)
            fits = int((counts * lengths[order[first:]] <= size).sum())
            rows = torch.from_numpy(order[first : first + max(1, fits)]).to(device)
            row, start, end, _ = on_device[rows].unbind(1)
            longest = int((end - start).max())
            codes, mask = _gathered(material.codes, material.offsets[row] + start, end - start, longest)
            vectors[rows] = F.normalize(_mean_vectors(network, codes, mask), dim=1)
            first += len(rows)
    return vectors


def community_recall(
    network: WordEncoder, material: Material, segments: NDArray[np.int64]
) -> tuple[float, float]:
    """Return how often the nearest segment is of the same community; also averaged over communities."""
    vectors = embed(network, material, segments)
    community = torch.from_numpy(segments[:, 3]).to(vectors.device)
    cosine = vectors @ vectors.T
    cosine.fill_diagonal_(-torch.inf)
    asked = torch.bincount(community)[community] > 1
    right = (community[cosine.argmax(dim=1)] == community)[asked].double()
    _, of, counts = torch.unique(community[asked], return_inverse=True, return_counts=True)
    each = torch.zeros(len(counts), dtype=right.dtype, device=right.device).index_add_(0, of, right) / counts
    return round(float(right.mean()), 4), round(float(each.mean()), 4)


def labelled_figures(network: WordEncoder, data: Path) -> dict[str, float]:
    """Return purity on a tenth of all families and recall@1 on CATH, where they are at hand."""
    found = {}
    if item := read_set("pfam_all_dev", data):
        item = item.sample(len(item.ids) // 10)
        rows = np.arange(len(item.ids))
        shares = purity(nearest(network.embed(item.codes), 20, rows), item.labels, rows)
        found["(purity of a tenth of all families)"] = round(float(np.nanmean(shares)), 4)
    if item := read_set("cath", data):
        rows = with_mate(item.labels)
        first = nearest(network.embed(item.codes), 1, rows)[:, 0]
        found["(CATH recall@1)"] = round(recall_at_1(first, item.labels, rows), 4)
    return found


if __name__ == "__main__":
    main()
