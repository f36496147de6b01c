"""Make protein families of any size: vectors for an embedding store, or sequences as FASTA.

    python benchmarks/generate.py vectors -o STORE [--n 1000000] [--k 15000]
    python benchmarks/generate.py sequences -o OUT.fasta.gz [--n 100000] [--k 1500]
    python benchmarks/generate.py check [--data FOLDER] [--families 60] [--fit]

Family sizes follow Zipf's law. Families belong to superfamilies, have sub-families, differ in how diverse
they are, and a share of their members resembles another family of the superfamily (homolog noise). `check`
measures the same statistics on `pfam_all_dev`, embedded by the shipped encoder, and on families made here
with the same sizes, and prints both; `--fit` first finds the parameters that bring the two together and
prints them. Everything is drawn a block at a time from `(seed, block)`, so any number of records needs the
same memory, and a block is the same whatever the number of records.
"""

from __future__ import annotations

import argparse
import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqscan.store import SHARD_ROWS, EmbeddingStore, unit, write_store

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

RESIDUES = "ARNDCQEGHILKMFPSTWYV"
# Share of each residue in Swiss-Prot, in the order above, percent.
BACKGROUND = np.array(
    [8.3, 5.5, 4.1, 5.5, 1.4, 3.9, 6.7, 7.1, 2.3, 5.9, 9.7, 5.8, 2.4, 3.9, 4.7, 6.6, 5.4, 1.1, 2.9, 6.9]
)
# Residues that replace each other more readily than others.
GROUPS = ("AGST", "ILMV", "FWY", "DENQ", "HKR", "C", "P")


@dataclass(frozen=True)
class Parameters:
    """What was fitted to `pfam_all_dev` by `check --fit`.

    Attributes
    ----------
    zipf : dimensionless
        Exponent: the family of rank r has a size in proportion to (r + zipf_shift K) ** -zipf.
    zipf_shift : share of the number of families
    cosines : deciles of the families' mean cosine between members, lowest first
    between : cosine
        Of the centers of two families of a superfamily.
    superfamily : mean number of families in a superfamily
    sub_share : share of a family's own variance that lies between its sub-families
    sub_families : mean number of sub-families
    noise, sequence_noise : share of members that resemble another family, as vectors and as sequences
    decay : dimensionless
        Axis i of the vectors has a spread in proportion to i ** -decay.
    log_length, log_length_spread : of the families' lengths, natural logarithm of residues
    length_spread : share of a member's length
    identities : deciles of the families' mean identity of members, lowest first
    """

    zipf: float = 3.131
    zipf_shift: float = 0.3
    cosines: tuple[float, ...] = (0.11, 0.137, 0.155, 0.177, 0.205, 0.289, 0.413, 0.557, 0.711)
    between: float = 0.733
    superfamily: float = 3.0
    sub_share: float = 0.722
    sub_families: float = 6.0
    noise: float = 0.022
    sequence_noise: float = 0.001
    decay: float = 0.456
    log_length: float = 4.84
    log_length_spread: float = 0.8
    length_spread: float = 0.12
    identities: tuple[float, ...] = (0.20, 0.22, 0.25, 0.28, 0.31, 0.34, 0.38, 0.44, 0.56)


class Families:
    """K families: who is how large, and where each stands."""

    def __init__(
        self,
        n_families: int,
        parameters: Parameters,
        *,
        n_dimensions: int = 192,
        seed: int = 0,
        sizes: Ints | None = None,
    ) -> None:
        generator = np.random.default_rng((seed, 0))
        self.parameters, self.seed, self.n_families = parameters, seed, n_families
        weights = sizes if sizes is not None else _zipf(n_families, parameters)
        self.cumulative = np.cumsum(weights) / np.sum(weights)
        self.axes = (np.arange(1, n_dimensions + 1) ** -parameters.decay).astype(np.float32)
        n_super = max(1, round(n_families / parameters.superfamily))
        self.superfamily = generator.integers(0, n_super, n_families)
        above = self._directions(n_super, generator)[self.superfamily]
        own = self._directions(n_families, generator)
        self.centers = unit(_mix(above, own, np.float32(parameters.between)))
        self.cosines = _drawn(parameters.cosines, n_families, generator)
        self.identities = _drawn(parameters.identities, n_families, generator)
        self.n_sub = 1 + generator.poisson(parameters.sub_families - 1, n_families)
        lengths = generator.normal(parameters.log_length, parameters.log_length_spread, n_families)
        self.lengths = np.clip(np.exp(lengths), 25, 2000).astype(int)
        # A relative of each family: the next of its superfamily.
        order = np.argsort(self.superfamily, kind="stable")
        self.relative = np.empty(n_families, dtype=np.int64)
        self.relative[order] = np.roll(order, 1)

    def _directions(self, n: int, generator: np.random.Generator) -> Floats:
        return unit(generator.standard_normal((n, len(self.axes)), dtype=np.float32) * self.axes)

    def labels(self, block: int, n: int) -> tuple[Ints, Ints]:
        """Return family and sub-family of the n records of a block."""
        generator = np.random.default_rng((self.seed, 1, block))
        family = np.minimum(np.searchsorted(self.cumulative, generator.random(n)), self.n_families - 1)
        # The second sub-family has half the members of the first, and so on.
        sub = np.minimum(generator.geometric(0.5, n) - 1, self.n_sub[family] - 1)
        return family, sub

    def vectors(self, block: int, family: Ints, sub: Ints) -> Floats:
        """Return unit vectors (n, P)."""
        parameters = self.parameters
        generator = np.random.default_rng((self.seed, 2, block))
        shown = np.where(generator.random(len(family)) < parameters.noise, self.relative[family], family)
        keys, index = np.unique(shown * 4096 + sub, return_inverse=True)
        subs = np.empty((len(keys), len(self.axes)), dtype=np.float32)
        for row, key in enumerate(keys):  # the same in every block
            subs[row] = np.random.default_rng((self.seed, 3, int(key))).standard_normal(len(self.axes))
        noise = self._directions(len(family), generator)
        rest = unit(_mix(unit(subs * self.axes)[index], noise, np.float32(parameters.sub_share)))
        return unit(_mix(self.centers[shown], rest, self.cosines[shown][:, None]))

    def sequences(self, block: int, family: Ints, sub: Ints) -> Iterator[str]:
        """Yield sequences whose identity within a family is what the parameters say."""
        generator = np.random.default_rng((self.seed, 4, block))
        for f, s in zip(family.tolist(), sub.tolist(), strict=True):
            if generator.random() < self.parameters.sequence_noise:
                f = int(self.relative[f])
            # Two members that differ from their ancestor at a share q of the places agree at (1 - q)^2.
            away = 1.0 - np.sqrt(self.identities[f])
            ancestor = _random(np.random.default_rng((self.seed, 5, f)), int(self.lengths[f]))
            split = away * self.parameters.sub_share
            middle = _mutated(ancestor, split, np.random.default_rng((self.seed, 6, f, s)))
            member = _mutated(middle, (away - split) / (1.0 - split), generator)
            yield "".join(RESIDUES[i] for i in _with_gaps(member, self.parameters.length_spread, generator))


def _zipf(n_families: int, parameters: Parameters) -> NDArray[np.float64]:
    ranks = np.arange(1, n_families + 1)
    return (ranks + parameters.zipf_shift * n_families) ** -parameters.zipf


def _mix(first: Floats, second: Floats, share: Floats | np.float32) -> Floats:
    return np.sqrt(share) * first + np.sqrt(1 - share) * second


def _drawn(deciles: tuple[float, ...], n: int, generator: np.random.Generator) -> Floats:
    """Draw from a distribution with these deciles (10 % to 90 %)."""
    places = np.linspace(0.1, 0.9, len(deciles))
    return np.interp(generator.random(n), places, deciles).astype(np.float32)


def _random(generator: np.random.Generator, n: int) -> Ints:
    return generator.choice(20, n, p=BACKGROUND / BACKGROUND.sum())


_KIN = np.zeros((20, 20))
for _group in GROUPS:
    for _a in _group:
        for _b in _group:
            _KIN[RESIDUES.index(_a), RESIDUES.index(_b)] = 1.0
_KIN += 0.15 * BACKGROUND / BACKGROUND.mean()
np.fill_diagonal(_KIN, 0.0)
_KIN_CUMULATIVE = np.cumsum(_KIN / _KIN.sum(axis=1, keepdims=True), axis=1)


def _mutated(sequence: Ints, share: float, generator: np.random.Generator) -> Ints:
    places = np.flatnonzero(generator.random(len(sequence)) < share)
    draws = generator.random((len(places), 1))
    changed = sequence.copy()
    changed[places] = np.minimum((draws > _KIN_CUMULATIVE[sequence[places]]).sum(axis=1), 19)
    return changed


def _with_gaps(sequence: Ints, spread: float, generator: np.random.Generator) -> Ints:
    """Take one stretch out and put a random one in, so that lengths vary."""
    n = len(sequence)
    longest = max(1, int(spread * n))
    cut, more = generator.integers(0, longest + 1, 2)
    at, to = generator.integers(0, n - cut + 1), generator.integers(0, n - cut + 1)
    rest = np.concatenate([sequence[:at], sequence[at + cut :]])
    return np.concatenate([rest[:to], _random(generator, int(more)), rest[to:]])


def write_vectors(path: Path, n: int, families: Families) -> tuple[EmbeddingStore, Ints]:
    """Write a store of n vectors, a shard at a time; return it and the family of each."""
    blocks = [
        families.labels(i, min(SHARD_ROWS, n - start)) for i, start in enumerate(range(0, n, SHARD_ROWS))
    ]

    made: dict[int, Floats] = {}  # the block that the last part was of: parts are smaller than blocks

    def embed_rows(rows: slice) -> Floats:
        block, start = divmod(rows.start, SHARD_ROWS)
        if block not in made:
            made.clear()
            made[block] = families.vectors(block, *blocks[block])
        return made[block][start : start + rows.stop - rows.start]

    labels = np.concatenate([family for family, _ in blocks])
    content = {"generated": {"n": n, "n_families": families.n_families, "seed": families.seed}}
    ids = [f"g{row}" for row in range(n)]
    return write_store(path, ids, families.lengths[labels], embed_rows, content), labels


def statistics(vectors: Floats, labels: Ints) -> dict[str, float]:
    """Measure what the parameters are fitted to: vectors (N, P), centered and of length 1."""
    names, index = np.unique(labels, return_inverse=True)
    sizes = np.bincount(index)
    sums = np.zeros((len(names), vectors.shape[1]))
    np.add.at(sums, index, vectors)
    within = ((sums**2).sum(axis=1) - sizes) / np.maximum(sizes * (sizes - 1), 1)
    centers = unit(sums)
    between = centers @ centers.T
    np.fill_diagonal(between, -1)
    generator = np.random.default_rng(0)
    queries = np.sort(generator.permutation(len(vectors))[:2000])
    cosine = vectors[queries] @ vectors.T
    cosine[np.arange(len(queries)), queries] = -1
    own = index[queries][:, None] == index[None]
    near = np.argpartition(-cosine, 20, axis=1)[:, :20]
    values = np.linalg.eigvalsh(np.cov(vectors.T))
    found = {f"within-family cosine, {q} %": float(np.quantile(within, q / 100)) for q in (10, 50, 90)}
    return found | {
        "cosine to the nearest member of the own family, median": float(
            np.median(np.where(own, cosine, -1).max(axis=1))
        ),
        "cosine of a family to the nearest other, median": float(np.median(between.max(axis=1))),
        "nearest neighbor is of another family": float(
            (~own[np.arange(len(queries)), cosine.argmax(1)]).mean()
        ),
        "purity of 20 neighbors": float(np.take_along_axis(own, near, axis=1).mean()),
        "effective dimensions": float(values.sum() ** 2 / (values**2).sum()),
    }


def size_statistics(sizes: Ints) -> dict[str, float]:
    """Return quantiles of family sizes, relative to the mean."""
    share = sizes / sizes.sum()
    found = {
        f"family size / mean, {q} %": float(np.quantile(sizes, q / 100) / sizes.mean()) for q in (10, 50, 90)
    }
    return found | {
        "effective families / families": float(np.exp(-(share * np.log(share)).sum()) / len(sizes))
    }


def fit_sizes(sizes: Ints, parameters: Parameters) -> Parameters:
    """Find exponent and shift of Zipf's law, least squares of logarithms."""
    ordered = np.log(np.sort(sizes)[::-1])
    ranks = np.arange(1, len(sizes) + 1)
    best = (np.inf, 0.0, 0.0)
    for share in np.geomspace(0.003, 0.3, 30):  # beyond, it is no power law any more: the cap on sizes shows
        x = np.log(ranks + share * len(sizes))
        slope, _ = np.polyfit(x, ordered, 1)
        residual = float(np.square(ordered - np.polyval(np.polyfit(x, ordered, 1), x)).sum())
        best = min(best, (residual, -slope, share))
    return replace(parameters, zipf=round(float(best[1]), 3), zipf_shift=round(float(best[2]), 4))


def fit(measured: dict[str, float], sizes: Ints, parameters: Parameters, rounds: int = 8) -> Parameters:
    """Move each parameter towards what its statistic asks for, a few rounds."""
    low, middle, high = (f"within-family cosine, {q} %" for q in (10, 50, 90))
    for _ in range(rounds):
        made = statistics(*_made(parameters, sizes))
        gap = {name: measured[name] - made[name] for name in measured}
        # The three quantiles shift the nine deciles between them.
        shift = np.interp(np.linspace(0.1, 0.9, 9), [0.1, 0.5, 0.9], [gap[low], gap[middle], gap[high]])
        cosines = np.clip(np.array(parameters.cosines) + 0.7 * shift, 0.02, 0.98)
        near = gap["cosine to the nearest member of the own family, median"]
        ratio = measured["effective dimensions"] / made["effective dimensions"]
        parameters = replace(
            parameters,
            cosines=tuple(np.round(np.maximum.accumulate(cosines), 3).tolist()),
            sub_share=_moved(parameters.sub_share, 0.8 * near),
            between=_moved(parameters.between, 0.7 * gap["cosine of a family to the nearest other, median"]),
            noise=_moved(parameters.noise, 0.7 * gap["nearest neighbor is of another family"]),
            decay=round(float(np.clip(parameters.decay - 0.25 * np.log(ratio), 0.0, 1.5)), 3),
        )
    return parameters


def _moved(value: float, step: float) -> float:
    return round(float(np.clip(value + step, 0.0, 0.95)), 3)


def _made(parameters: Parameters, sizes: Ints) -> tuple[Floats, Ints]:
    families = Families(len(sizes), parameters, sizes=sizes)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    _, sub = families.labels(0, len(labels))
    vectors = families.vectors(0, labels, np.minimum(sub, families.n_sub[labels] - 1))
    return unit(vectors - vectors.mean(axis=0)), labels


def check(data: Path, n_families: int, refit: bool, threads: int) -> None:
    """Print measured and generated statistics side by side."""
    import torch

    from seqscan.alignment import align_all, find_mmseqs
    from seqscan.alphabet import AMINO
    from seqscan.encoder import load_encoder
    from seqscan.fasta import read_fasta

    torch.set_num_threads(threads)
    folder = data / "pfam_all_dev"
    with gzip.open(folder / "pfam_all_dev.labels.tsv.gz", "rt") as handle:
        family = {row["id"]: row["pfam"] for row in csv.DictReader(handle, delimiter="\t")}
    names, all_sizes = np.unique(list(family.values()), return_counts=True)
    drawn = set(np.random.default_rng(0).permutation(names)[:n_families].tolist())
    records = [r for r in read_fasta(folder / "pfam_all_dev.fasta.gz") if family[r.id] in drawn]
    codes = [AMINO.encode(record.sequence) for record in records]
    vectors = load_encoder().embed(codes)
    truth = np.unique([family[record.id] for record in records], return_inverse=True)[1]
    measured = statistics(unit(vectors - vectors.mean(axis=0)), truth)
    sizes = np.bincount(truth)
    parameters = Parameters()
    if refit:
        parameters = fit(measured, sizes, fit_sizes(all_sizes, parameters))
    made = statistics(*_made(parameters, sizes))
    curve = _zipf(len(names), parameters)
    measured |= size_statistics(all_sizes)
    made |= size_statistics(curve / curve.sum() * all_sizes.sum())
    lengths = np.array([len(c) for c in codes])
    own = np.array([np.median(lengths[truth == f]) for f in range(len(sizes))])
    if refit:
        logs = np.quantile(np.log(own), (0.1, 0.5, 0.9))
        spread = (logs[2] - logs[0]) / 2.563  # of a normal distribution
        parameters = replace(
            parameters, log_length=round(float(logs[1]), 2), log_length_spread=round(float(spread), 2)
        )
    families = Families(len(sizes), parameters, sizes=sizes)
    few = np.sort(np.random.default_rng(1).permutation(len(truth))[:4000])
    _, sub = families.labels(0, len(few))
    texts = list(families.sequences(0, truth[few], np.minimum(sub, families.n_sub[truth[few]] - 1)))
    for q in (10, 50, 90):
        measured[f"length of a family, residues, {q} %"] = float(np.quantile(own, q / 100))
        made[f"length of a family, residues, {q} %"] = float(np.quantile(families.lengths, q / 100))
    if find_mmseqs() is not None:
        for result, sequences in (
            (measured, [codes[i] for i in few]),
            (made, [AMINO.encode(text) for text in texts]),
        ):
            hits = align_all(sequences, sensitivity=5.7, min_coverage=0.3, max_hits=100, threads=threads)
            same = truth[few][hits.query] == truth[few][hits.target]
            for q in (10, 50, 90):
                name = f"identity of aligned members, {q} %"
                result[name] = float(np.quantile(hits.identity[same], q / 100))
            pairs = np.square(np.bincount(truth[few]).astype(float)).sum()
            result["share of pairs of a family that align"] = float(same.sum() / pairs)
            result["share of alignments between families"] = float((~same).mean())
    print(f"{len(records)} domains of {n_families} families of pfam_all_dev, and as many generated ones\n")
    print("| statistic | pfam_all_dev | generated |\n|---|---|---|")
    for name, value in measured.items():
        print(f"| {name} | {value:.3f} | {made[name]:.3f} |")
    if refit:
        print(f"\n{parameters}")


def main() -> None:
    """Generate, or compare with real families."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, n, k in (("vectors", 1_000_000, 15_000), ("sequences", 100_000, 1_500)):
        command = commands.add_parser(name)
        command.add_argument("-o", "--output", type=Path, required=True)
        command.add_argument("--n", type=int, default=n, help="records")
        command.add_argument("--k", type=int, default=k, help="families")
        command.add_argument("--seed", type=int, default=0)
    command = commands.add_parser("check")
    command.add_argument("--data", type=Path, default=Path("../shared/data"))
    command.add_argument("--families", type=int, default=60)
    command.add_argument("--fit", action="store_true")
    command.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if options.command == "check":
        if not (options.data / "pfam_all_dev").exists():
            parser.exit(1, f"{options.data / 'pfam_all_dev'} is missing (give its folder with --data)\n")
        check(options.data, options.families, options.fit, options.threads)
        return
    families = Families(options.k, Parameters(), seed=options.seed)
    if options.command == "vectors":
        _, labels = write_vectors(options.output, options.n, families)
        np.save(options.output.with_name(options.output.name + ".families.npy"), labels.astype(np.int32))
        return
    opened = gzip.open if options.output.suffix == ".gz" else Path.open
    with opened(options.output, "wt") as handle:
        for block, start in enumerate(range(0, options.n, SHARD_ROWS)):
            family, sub = families.labels(block, min(SHARD_ROWS, options.n - start))
            for row, text in enumerate(families.sequences(block, family, sub)):
                handle.write(f">g{start + row} family={family[row]} sub={sub[row]}\n{text}\n")


if __name__ == "__main__":
    main()
