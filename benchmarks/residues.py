"""Print the tables of residues and domains: maps against domains and catalytic sites, whole proteins cut.

    python benchmarks/residues.py [--data FOLDER] [--families 10] [--proteins 25] [--seed 0] [--finetune]
        [--context FASTA]

Families are drawn at random from `pfam_domains_dev.tsv.gz`, half of them from those with a protein in M-CSA,
and proteins at random from each. One model is trained on the domains of other proteins of these families,
cut out as the table has them, and one on whole proteins as they are; no label is read in training. Truth is
read here alone: families with ten domains and more in the draw are scored, each with one cluster of its own,
and what lies outside the table's domains counts nowhere. Parts that were done are read from --output.
Joint learning is left out unless --finetune is given.
The shipped encoder saw these proteins, without labels, in its training text.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import itertools
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata, spearmanr

from seqscan.alignment import align_all, align_to, mmseqs_clusters
from seqscan.alphabet import AMINO
from seqscan.artifact import write_atomically
from seqscan.corpus import write_corpus
from seqscan.discovery import DiscoveryConfig, discover_categories
from seqscan.fasta import Record, read_fasta
from seqscan.model import Model
from seqscan.pipeline import SEGMENT_COVERAGE
from seqscan.residues.consensus import column_pairs
from seqscan.residues.domains import find_domains, membership
from seqscan.residues.explain import explain
from seqscan.residues.maps import SPREAD
from seqscan.segments import SegmentConfig, cut_records
from seqscan.stages import StageLog
from seqscan.store import unit
from seqscan.threads import use_threads

CORPUS = "corpus/swissprot_nr90.fasta.gz"
N_TRAINED = 60  # domains of a family that the first model is trained on
WINDOW = 51  # residues of a sliding window
SPREADS = (0, 5, 10, 20, 25, 30, 35, 40, 50)  # residues, standard deviation
N_SPLICED = 100  # proteins of three members each
N_RANDOM = 5  # random heads and encoders
PARTS = {
    "maps": "Contributions against domains",
    "catalytic": "Catalytic residues",
    "sanity": "Sanity",
    "speed": "Speed",
    "spread": "Members between members of other clusters, without labels",
    "spliced": "Spliced members, without labels",
    "domains": "Domains of whole proteins",
}
Segments = dict[str, list[tuple[int, int, int]]]  # protein: (start, end, cluster)


@dataclass(frozen=True)
class Data:
    """What was drawn: proteins, truth on them, domains to train on, catalytic sites."""

    proteins: dict[str, Record]
    family: dict[str, str]  # for which a protein was drawn
    truth: dict[str, list[tuple[int, int, str]]]
    training: list[tuple[Record, str]]  # domains of other proteins
    sites: dict[str, tuple[Record, set[int], str]]


def draw(folder: Path, n_families: int, n_proteins: int, seed: int) -> Data:
    """Draw families and proteins; the same for the same seed."""
    with gzip.open(folder / "pfam_domains_dev.tsv.gz", "rt") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    with gzip.open(folder / "residues" / "mcsa_catalytic_sites.tsv.gz", "rt") as handle:
        catalytic = {row["uniprot"]: row for row in csv.DictReader(handle, delimiter="\t")}
    members = defaultdict(set)
    parts = defaultdict(list)
    for row in rows:
        members[row["pfam"]].add(row["protein"])
        parts[row["protein"]].append((int(row["start"]) - 1, int(row["end"]), row["pfam"]))
    generator = np.random.default_rng(seed)
    large = sorted(name for name in members if len(members[name]) >= 60)
    enzymes = [name for name in large if members[name] & set(catalytic)]
    half = n_families // 2
    chosen = [enzymes[i] for i in generator.choice(len(enzymes), half, replace=False)]
    others = [name for name in large if name not in enzymes]
    chosen += [others[i] for i in generator.choice(len(others), n_families - half, replace=False)]
    tested, trained = {}, []
    for name in chosen:
        own = sorted(members[name] - set(catalytic))
        order = [own[i] for i in generator.permutation(len(own))]
        tested |= dict.fromkeys((id for id in order[:n_proteins] if id not in tested), name)
        trained += [(id, name) for id in order[n_proteins : n_proteins + N_TRAINED] if id not in tested]
    trained = [(id, name) for id, name in trained if id not in tested]
    wanted = set(tested) | {id for id, _ in trained}
    records = {record.id: record for record in read_fasta(folder / CORPUS) if record.id in wanted}
    training = [
        (Record(f"{id}/{start + 1}-{end}", "", records[id].sequence[start:end]), name)
        for id, name in trained
        for start, end, family in parts[id]
        if family == name
    ]
    sites = {}
    for name in chosen[:half]:
        for id in sorted(members[name] & set(catalytic)):
            row = catalytic[id]
            places = {int(site.split(":")[0]) - 1 for site in row[site_column(row)].split(";")}
            sites[id] = (Record(id, "", row["sequence"]), places, name)
    return Data({id: records[id] for id in tested}, tested, {id: parts[id] for id in tested}, training, sites)


def site_column(row: dict[str, str]) -> str:
    return next(name for name in row if name.startswith("sites"))


# The two models


def train(records: Iterable[Record], folder: Path, options: argparse.Namespace, min_coverage: float) -> Model:
    """Train as `seqscan run` does; a stage that was done is not done again."""
    corpus = write_corpus(folder / "corpus", records)
    log = StageLog(folder / "stages", on_end=lambda stage: print(f"  {stage.stage} {stage.seconds:.0f} s"))
    config = DiscoveryConfig(finetune=options.finetune, threads=options.threads, min_coverage=min_coverage)
    key = f"{options.families} {options.proteins} {options.seed} {len(corpus)} {int(corpus.lengths.sum())}"
    return discover_categories(corpus, key, folder, config, log).model


def matched(counts: NDArray[np.integer]) -> list[int]:
    """Give each row (a family) a column (a cluster) of its own, for most counts; -1 if none is left."""
    rows, columns = linear_sum_assignment(-counts)
    of = dict(zip(rows.tolist(), columns.tolist(), strict=True))
    return [of.get(row, -1) for row in range(len(counts))]


# Part 1: contributions against domains


def auroc(values: NDArray[np.floating], truth: NDArray[np.bool_]) -> float:
    ranks = rankdata(values)
    n = int(truth.sum())
    return float((ranks[truth].sum() - n * (n + 1) / 2) / (n * (len(truth) - n)))


def average_precision(values: NDArray[np.floating], truth: NDArray[np.bool_]) -> float:
    hits = truth[np.argsort(-values, kind="stable")]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


def window_cosine(
    model: Model, records: Sequence[Record], clusters: Sequence[int]
) -> list[NDArray[np.float64]]:
    """Cosine of the window around each residue to the cluster's prototype; windows every fourth residue."""
    found = []
    prototypes = unit(model.head.prototypes)
    for record, cluster in zip(records, clusters, strict=True):
        codes = AMINO.encode(record.sequence)
        centers = np.arange(0, len(codes), 4)
        windows = [codes[max(0, c - WINDOW // 2) : c + WINDOW // 2 + 1] for c in centers]
        cosine = model.head.points(model.encoder.embed(windows)) @ prototypes[cluster]
        found.append(np.interp(np.arange(len(codes)), centers, cosine))
    return found


def conservation(
    records: Sequence[Record], others: Sequence[Record], threads: int
) -> list[NDArray[np.float64]]:
    """Information of the residues of `others` at each residue, times the share that is aligned, bits."""
    codes = [AMINO.encode(record.sequence) for record in (*records, *others)]
    counts = [np.zeros((len(record), len(AMINO))) for record in records]
    n = np.ones(len(records))
    for query, target, query_start, target_start, cigar in align_to(
        codes, range(len(records)), threads=threads
    ):
        own, place = column_pairs(query_start, target_start, cigar)
        np.add.at(counts[target], (place, codes[query][own]), 1)
        n[target] += 1
    found = []
    for count, size in zip(counts, n, strict=True):
        depth = count.sum(axis=1)
        share = count / np.maximum(depth, 1)[:, None]
        entropy = -(share * np.log2(np.where(share > 0, share, 1))).sum(axis=1)
        found.append((np.log2(20) - entropy) * depth / size)
    return found


def memberships(
    model: Model, records: Sequence[Record], clusters: Sequence[int]
) -> list[NDArray[np.float64]]:
    """Probability of each residue to lie in a domain of its protein's cluster."""
    found: dict[str, NDArray[np.float64]] = {}
    for cluster in sorted(set(clusters)):
        own = [record for record, c in zip(records, clusters, strict=True) if c == cluster]
        found |= zip((record.id for record in own), membership(model, own, cluster=cluster), strict=True)
    return [found[record.id] for record in records]


def explain_toward(model: Model, records: Sequence[Record], clusters: Sequence[int]) -> list[Any]:
    """Maps of records, each toward a cluster of its own."""
    found: dict[str, Any] = {}
    for cluster in sorted(set(clusters)):
        own = [record for record, c in zip(records, clusters, strict=True) if c == cluster]
        found |= {item.id: item for item in explain(model, own, cluster=cluster)}
    return [found[record.id] for record in records]


def part_maps(data: Data, model: Model, cluster_of: dict[str, int], options: argparse.Namespace) -> list[Any]:
    """Score residues of whole proteins with at least 30 % outside the family's domains."""
    records, clusters, truths = [], [], []
    for id, record in data.proteins.items():
        inside = np.zeros(len(record), dtype=bool)
        for start, end, family in data.truth[id]:
            if family == data.family[id]:
                inside[start:end] = True
        if inside.mean() <= 0.7 and inside.any() and cluster_of[data.family[id]] >= 0:
            records.append(record)
            clusters.append(cluster_of[data.family[id]])
            truths.append(inside)
    maps = explain_toward(model, records, clusters)
    generator = np.random.default_rng(0)
    methods: dict[str, list[NDArray[Any]]] = {
        "contribution": [item.spread(SPREAD).contributions for item in maps],
        "contribution, sharp (`--spread 0`)": [item.contributions for item in maps],
        "probability to lie in a domain of the cluster": memberships(model, records, clusters),
        f"cosine of a sliding window of {WINDOW} residues to the prototype": window_cosine(
            model, records, clusters
        ),
        "conservation among the whole proteins": conservation(records, records, options.threads),
        "random": [generator.random(len(record)) for record in records],
    }
    return [
        {
            "method": name,
            "AUROC": np.mean([auroc(v, t) for v, t in zip(values, truths, strict=True)]),
            "average precision": np.mean(
                [average_precision(v, t) for v, t in zip(values, truths, strict=True)]
            ),
            "proteins": len(records),
        }
        for name, values in methods.items()
    ]


# Part 2: catalytic residues


def part_sites(
    data: Data, model: Model, cluster_of: dict[str, int], options: argparse.Namespace
) -> list[Any]:
    """Score contributions and conservation against M-CSA's catalytic residues."""
    kept = [item for item in data.sites.values() if cluster_of[item[2]] >= 0]
    if not kept:
        return []
    records = [record for record, _, _ in kept]
    maps = explain_toward(model, records, [cluster_of[family] for _, _, family in kept])
    conserved = conservation(records, [record for record, _ in data.training], options.threads)
    generator = np.random.default_rng(0)
    methods = {
        "contribution": [item.spread(SPREAD).contributions for item in maps],
        "contribution, sharp (`--spread 0`)": [item.contributions for item in maps],
        "conservation in the cluster's alignment": conserved,
        "sharp contribution and conservation, sum of ranks": [
            rankdata(item.contributions) + rankdata(value)
            for item, value in zip(maps, conserved, strict=True)
        ],
        "random": [generator.random(len(record)) for record in records],
    }
    rows = []
    for name, values in methods.items():
        areas, shares = [], []
        for value, (record, places, _) in zip(values, kept, strict=True):
            truth = np.isin(np.arange(len(record)), list(places))
            if not truth.any():
                continue
            areas.append(auroc(np.asarray(value), truth))
            top = np.argsort(-np.asarray(value), kind="stable")[: max(1, len(record) // 10)]
            shares.append(truth[top].sum() / truth.sum() * len(record) / len(top))
        rows.append(
            {
                "method": name,
                "AUROC": np.mean(areas),
                "enrichment in the top 10 %": np.mean(shares),
                "proteins": len(areas),
            }
        )
    return rows


# Part 3: domains of whole proteins


def part_domains(data: Data, options: argparse.Namespace) -> list[Any]:
    """Compare what is found in whole, unlabelled proteins with the table's domains."""
    folder = options.output / "whole"
    records = list(data.proteins.values())
    sequences = [AMINO.encode(record.sequence) for record in records]
    proteins = write_corpus(folder / "proteins", records)
    begun = time.monotonic()
    segments = list(cut_records(proteins, SegmentConfig(), context=options.context, threads=options.threads))
    model = train(segments, folder, options, SEGMENT_COVERAGE)
    labels = np.concatenate([block.labels for block in model.assign(segments)])
    print(f"  trained on whole proteins in {time.monotonic() - begun:.0f} s", flush=True)

    def of(parts: Iterable[tuple[str, int, int]], numbers: Iterable[int]) -> Segments:
        found: Segments = defaultdict(list)
        for (id, start, end), number in zip(parts, numbers, strict=True):
            if number >= 0:
                found[id].append((start, end, int(number)))
        return found

    def span(record: Record) -> tuple[str, int, int]:
        id, _, place = record.id.rpartition("/")
        start, end = map(int, place.split("-"))
        return id, start - 1, end

    begun = time.monotonic()
    blocks = list(find_domains(model, records))
    seconds = time.monotonic() - begun
    called = [
        (id, int(start), int(end))
        for b in blocks
        for id, start, end in zip(b.proteins, b.starts, b.ends, strict=True)
    ]
    rows = [
        {"method": "seqscan domains (model alone)"}
        | recovery(data, of(called, (int(n) for b in blocks for n in b.labels))),
        {"method": "seqscan run --segment, the training's own cuts"}
        | recovery(data, of(map(span, segments), labels)),
    ]

    def by_program(name: str, parts: list[tuple[str, int, int]]) -> None:
        codes = [AMINO.encode(data.proteins[id].sequence[start:end]) for id, start, end in parts]
        numbers = mmseqs_clusters(
            codes,
            options=["-s", "5.7", "--min-seq-id", "0", "-c", "0.5", "--cluster-mode", "1"],
            threads=options.threads,
        )
        rows.append({"method": name} | recovery(data, of(parts, numbers)))

    hits = align_all(sequences, sensitivity=SegmentConfig().sensitivity, threads=options.threads)
    taken: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for query, start, end in zip(
        hits.query.tolist(), hits.query_start.tolist(), hits.query_end.tolist(), strict=True
    ):
        if all(min(end, b) - max(start, a) < 0.3 * (end - start) for a, b in taken[query]):
            taken[query].append((start, end))
    by_program(
        "best local hits of MMseqs2, clustered by MMseqs2",
        [(records[q].id, a, b) for q, parts in taken.items() for a, b in parts],
    )
    windows = [
        (record.id, start, min(start + 150, len(record)))
        for record in records
        for start in range(0, len(record), 150)
        if len(record) - start >= 25
    ]
    by_program("windows of 150 residues, clustered by MMseqs2", windows)
    by_program("whole proteins, clustered by MMseqs2", [(record.id, 0, len(record)) for record in records])
    print(f"  {len(records)} whole proteins divided in {seconds:.1f} s", flush=True)
    return rows


def recovery(data: Data, found: Segments) -> dict[str, Any]:
    """Score segments against the table's domains of families with ten and more."""
    sizes = Counter(family for parts in data.truth.values() for _, _, family in parts)
    families = {family: row for row, family in enumerate(sorted(f for f in sizes if sizes[f] >= 10))}
    n_clusters = 1 + max((number for parts in found.values() for _, _, number in parts), default=0)
    near = {level: np.zeros((len(families), n_clusters), np.int64) for level in (0.5, 0.8)}
    best: dict[tuple[str, int], list[tuple[float, int]]] = defaultdict(list)
    n = placed = 0
    for id, parts in data.truth.items():
        for start, end, family in parts:
            if family not in families:
                continue
            n += 1
            by_cluster: dict[int, tuple[float, int]] = {}
            for a, b, number in found.get(id, ()):
                shared = overlap((start, end), (a, b))
                if shared > by_cluster.get(number, (0.0, 0))[0]:
                    by_cluster[number] = (shared, (abs(a - start) + abs(b - end)) // 2)
            for number, (shared, error) in by_cluster.items():
                for level, table in near.items():
                    table[families[family], number] += shared >= level
                best[family, number].append((shared, error))
            placed += any(shared >= 0.5 for shared, _ in by_cluster.values())
    own = matched(near[0.5])
    errors = [
        error for family, row in families.items() for shared, error in best[family, own[row]] if shared >= 0.5
    ]
    rows = np.arange(len(families))
    kept = np.array(own) >= 0
    return {
        "recall at 0.5": near[0.5][rows[kept], np.array(own)[kept]].sum() / n,
        "recall at 0.8": near[0.8][rows[kept], np.array(own)[kept]].sum() / n,
        "boundary error, residues": float(np.median(errors)) if errors else float("nan"),
        "placed at 0.5, any cluster": placed / n,
        "segments": sum(map(len, found.values())),
        "domains": n,
        "families": len(families),
    }


# Part 4: sanity


def part_sanity(data: Data, model: Model) -> list[Any]:
    """Maps must depend on what was learned, and the residues they name must matter."""
    records = [record for record, _ in data.training][:: max(1, len(data.training) // 100)]
    maps = list(explain(model, records))
    labels = [item.label for item in maps]
    generator = np.random.default_rng(0)

    def correlation(others: Sequence[Any]) -> float:
        pairs = zip(maps, others, strict=True)
        return float(np.mean([spearmanr(a.contributions, b.contributions)[0] for a, b in pairs]))

    rows = []
    for what in ("head", "encoder"):
        found = []
        for seed in range(N_RANDOM):
            torch.manual_seed(seed)
            shape = model.head.prototypes.shape
            head = replace(model.head, prototypes=generator.normal(size=shape).astype(np.float32))
            other = type(model.encoder)(model.encoder.config).eval()
            changed = Model(model.encoder, head) if what == "head" else Model(other, model.head)
            found.append(correlation(explain_toward(changed, records, labels)))
        check = f"rank correlation with maps of a random {what}: mean, and largest of {N_RANDOM} in size"
        rows.append({"check": check, "value": f"{np.mean(found):.3f}, {np.abs(found).max():.3f}"})
    differences: list[float] = []
    for record, item in zip(records, maps, strict=True):
        n = len(record)
        if n < 60:
            continue
        crop = slice(n // 6, n - n // 6)
        (part,) = explain(model, [Record("c", "", record.sequence[crop])], cluster=item.label)
        differences.append(float(spearmanr(part.contributions, item.contributions[crop])[0]))
    rows.append(
        {"check": "rank correlation with maps of the middle two thirds", "value": np.mean(differences)}
    )
    for name, fill in (("deletion", True), ("insertion", False)):
        for label, order in (
            ("by contribution", lambda item: np.argsort(-item.contributions, kind="stable")),
            ("in random order", lambda item: generator.permutation(len(item.residues))),
        ):
            rows.append(
                {
                    "check": f"{name} {label}: area under the cluster's logit",
                    "value": f"{_curve(model, maps, order, fill):.2f}",
                }
            )
    return rows


def _curve(model: Model, maps: Sequence[Any], order: Callable[[Any], NDArray[Any]], delete: bool) -> float:
    """Mean logit while a growing share of the residues, in an order, is hidden (or all but them)."""
    shares = np.linspace(0, 1, 11)[1:-1]
    values = []
    for item in maps:
        codes, first = AMINO.encode(item.residues), order(item)
        views = []
        for share in shares:
            hidden = np.isin(np.arange(len(codes)), first[: round(share * len(codes))])
            views.append(np.where(hidden == delete, AMINO.mask, codes).astype(np.uint8))
        values.append(model.head.logits(model.encoder.embed(views))[:, item.label].mean())
    return float(np.mean(values))


# Part 5: speed


def part_speed(model: Model, options: argparse.Namespace) -> list[Any]:
    """Time what is done with the first 1,000 proteins of Swiss-Prot, the median of five after a warm-up."""
    records = list(itertools.islice(read_fasta(options.data / CORPUS), 1000))
    jobs: dict[str, Callable[[], Any]] = {
        "assign": lambda: list(model.assign(records)),
        "map": lambda: [item.spread(SPREAD) for item in explain(model, records)],
        "find domains": lambda: list(find_domains(model, records)),
        "membership": lambda: list(membership(model, records)),
    }
    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in range(6):
        for name, job in jobs.items():
            begun = time.process_time()
            job()
            seconds[name].append(time.process_time() - begun)
    medians = {name: float(np.median(times[1:])) for name, times in seconds.items()}
    return [
        {"CPU seconds for 1,000 proteins": name, "seconds": took, "times assigning": took / medians["assign"]}
        for name, took in medians.items()
    ]


# Part 6: spliced members


def part_spliced(data: Data, model: Model) -> list[Any]:
    """Find members again that were put between shuffled residues: reads no label, so it may choose."""
    records = [record for record, _ in data.training]
    labels = np.concatenate([block.labels for block in model.assign(records)])
    generator = np.random.default_rng(0)

    def shuffled() -> str:
        text = records[int(generator.integers(len(records)))].sequence
        return "".join(generator.permutation(list(text)))[: int(generator.integers(80))]

    spliced, placed = [], []
    for number in range(N_SPLICED):
        text = shuffled()
        for row in generator.integers(0, len(records), 3).tolist():
            start = len(text)
            text += records[row].sequence
            placed.append((number, start, len(text), int(labels[row])))
            text += shuffled()
        spliced.append(Record(str(number), "", text))
    found: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    n_found = 0
    for block in find_domains(model, spliced):
        columns = (block.labels.tolist(), block.starts.tolist(), block.ends.tolist())
        for id, label, start, end in zip(block.proteins, *columns, strict=True):
            found[int(id), label].append((start, end))
            n_found += label >= 0
    overlaps = np.array(
        [
            max((overlap((a, b), part) for part in found[number, label]), default=0.0)
            for number, a, b, label in placed
        ]
    )
    return [
        {
            "found at 0.5": (overlaps >= 0.5).mean(),
            "at 0.8": (overlaps >= 0.8).mean(),
            "calls for each member": n_found / len(placed),
            "members": len(placed),
        }
    ]


# Part 7: how far to spread


def part_spread(data: Data, model: Model) -> list[Any]:
    """Tell a member's residues from those of members of other clusters beside it: reads no label."""
    records = [record for record, _ in data.training]
    labels = np.concatenate([block.labels for block in model.assign(records)])
    generator = np.random.default_rng(0)
    joined, truths, own = [], [], []
    for number in range(2 * N_SPLICED):
        row = int(generator.integers(len(records)))
        others = generator.choice(np.flatnonzero(labels != labels[row]), 2)
        before, after = (records[other].sequence for other in others.tolist())
        text = records[row].sequence
        joined.append(Record(str(number), "", before + text + after))
        truths.append(np.repeat([False, True, False], [len(before), len(text), len(after)]))
        own.append(int(labels[row]))
    maps = explain_toward(model, joined, own)
    rows = []
    for width in SPREADS:
        values = [item.spread(width).contributions for item in maps]
        rows.append(
            {
                "spread, standard deviation in residues": width,
                "AUROC": np.mean([auroc(v, t) for v, t in zip(values, truths, strict=True)]),
                "average precision": np.mean(
                    [average_precision(v, t) for v, t in zip(values, truths, strict=True)]
                ),
                "members": len(joined),
            }
        )
    return rows


def overlap(one: tuple[int, int], other: tuple[int, int]) -> float:
    """Intersection of two stretches over their union."""
    shared = min(one[1], other[1]) - max(one[0], other[0])
    return max(0, shared) / (max(one[1], other[1]) - min(one[0], other[0]))


def main() -> None:
    """Do what is not done yet and print all tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--output", type=Path, default=Path("out/residues"))
    parser.add_argument("--families", type=int, default=10)
    parser.add_argument("--proteins", type=int, default=25, help="of each family")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--context", type=Path, help="proteins to align with when whole ones are cut")
    parser.add_argument("--finetune", action="store_true", help="with joint learning")
    options = parser.parse_args()
    for name in (
        "pfam_domains_dev.tsv.gz",
        CORPUS,
        "residues/mcsa_catalytic_sites.tsv.gz",
    ):
        if not (options.data / name).exists():
            parser.error(f"{options.data / name} is missing; give its folder with --data")
    use_threads(options.threads)
    options.output.mkdir(parents=True, exist_ok=True)
    data = draw(options.data, options.families, options.proteins, options.seed)
    print(
        f"{len(data.proteins)} whole proteins, {len(data.training)} domains of others to train on", flush=True
    )

    def domain_model() -> tuple[Model, dict[str, int]]:
        model = train((record for record, _ in data.training), options.output / "domains", options, 0.3)
        labels = np.concatenate(
            [block.labels for block in model.assign([record for record, _ in data.training])]
        )
        names = sorted({name for _, name in data.training})
        counts = np.zeros((len(names), model.head.n_clusters), np.int64)
        np.add.at(counts, ([names.index(name) for _, name in data.training], labels), 1)
        own = dict(zip(names, matched(counts), strict=True))
        return model, defaultdict(lambda: -1, own)

    trained: list[Any] = []

    def both() -> tuple[Model, dict[str, int]]:
        if not trained:
            trained.append(domain_model())
        return trained[0]

    parts: dict[str, Callable[[], list[Any]]] = {
        "maps": lambda: part_maps(data, *both(), options),
        "catalytic": lambda: part_sites(data, *both(), options),
        "sanity": lambda: part_sanity(data, both()[0]),
        "speed": lambda: part_speed(both()[0], options),
        "spread": lambda: part_spread(data, both()[0]),
        "spliced": lambda: part_spliced(data, both()[0]),
        "domains": lambda: part_domains(data, options),
    }
    for name in options.only:
        done = options.output / f"{name}.json"
        if not done.exists():
            rows = parts[name]()
            with write_atomically(done) as temporary:
                temporary.write_text(json.dumps(rows, default=float))
        print_table(PARTS[name], json.loads(done.read_text()))


def print_table(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print rows, Markdown."""
    print(f"\n{title}\n", flush=True)
    if not rows:
        print("nothing to score")
        return
    print("| " + " | ".join(rows[0]) + " |")
    print("|---" * len(rows[0]) + "|")
    for row in rows:
        cells = (f"{v:.3f}" if isinstance(v, float) and v != round(v) else str(v) for v in row.values())
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
