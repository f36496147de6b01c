"""Hold whole families out and print how well each figure tells them from the known ones.

    python benchmarks/novelty.py [--data FOLDER] [--families 90] [--held-out 30] [--seeds 3] [--no-finetune]

Families are drawn from `pfam_all_dev`. A third is held out whole; of the others a tenth of the members is
held out too, and what is left is clustered without labels (`--clusters auto`). AUROC is that of the held-out
families' proteins against the held-out members; 0.5 is chance. The false alarms are counted on those members,
which took part in no training of the clusters. The shipped encoder saw all of them, without labels.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import tempfile
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from seqscan.alphabet import AMINO
from seqscan.corpus import write_corpus
from seqscan.discovery import DiscoveryConfig, Found, discover_categories
from seqscan.fasta import Record, read_fasta
from seqscan.stages import StageLog
from seqscan.store import unit

RATES = (0.01, 0.05, 0.1)


def main() -> None:
    """Measure each seed and print means and spreads."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--families", type=int, default=90)
    parser.add_argument("--held-out", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-finetune", dest="finetune", action="store_false", help="without joint learning")
    parser.add_argument("--neighbors", default="auto")
    options = parser.parse_args()
    folder = options.data / "pfam_all_dev"
    sequences, labels = folder / "pfam_all_dev.fasta.gz", folder / "pfam_all_dev.labels.tsv.gz"
    for path in (sequences, labels):
        if not path.exists():
            parser.exit(1, f"{path} is missing (give the folder of pfam_all_dev with --data)\n")
    torch.set_num_threads(options.threads)
    with gzip.open(labels, "rt") as handle:
        family = {row["id"]: row["pfam"] for row in csv.DictReader(handle, delimiter="\t")}
    areas: dict[str, list[float]] = {}
    alarms: dict[float, list[tuple[float, float]]] = {rate: [] for rate in RATES}
    for seed in range(options.seeds):
        generator = np.random.default_rng(seed)
        names = generator.permutation(sorted(set(family.values())))[: options.families].tolist()
        novel, drawn = set(names[: options.held_out]), set(names)
        records = [record for record in read_fasta(sequences) if family[record.id] in drawn]
        is_novel = np.array([family[record.id] in novel for record in records])
        is_test = is_novel | (generator.random(len(records)) < 0.1)
        config = DiscoveryConfig(
            neighbors=options.neighbors, finetune=options.finetune, seed=seed, threads=options.threads
        )
        found = _discover([r for r, test in zip(records, is_test, strict=True) if not test], config)
        tested = [r for r, test in zip(records, is_test, strict=True) if test]
        figures, known_shares = _figures(found, tested)
        truth = is_novel[is_test]
        for name, values in figures.items():
            areas.setdefault(name, []).append(float(roc_auc_score(truth, values)))
        for rate in RATES:
            beyond = known_shares <= rate
            alarms[rate].append((float(beyond[~truth].mean()), float(beyond[truth].mean())))
        print(
            f"seed {seed}: {len(found.vectors)} proteins trained on, {found.model.head.n_clusters} clusters, "
            f"{int((~truth).sum())} held-out members, {int(truth.sum())} of held-out families",
            flush=True,
        )
    print("\n| figure | cost grows with the training set | AUROC |\n|---|---|---|")
    for name, values in areas.items():
        grows = "yes" if name.startswith("nearest neighbor") else "no"
        print(f"| {name} | {grows} | {_spread(values)} |")
    print("\n| stated false alarm rate | measured | held-out families found |\n|---|---|---|")
    for rate, pairs in alarms.items():
        print(f"| {rate:.2f} | {_spread([p[0] for p in pairs])} | {_spread([p[1] for p in pairs])} |")


def _discover(records: list[Record], config: DiscoveryConfig) -> Found:
    with tempfile.TemporaryDirectory(prefix="seqscan-") as name:
        folder = Path(name)
        corpus = write_corpus(folder / "corpus", records)
        return discover_categories(corpus, "", folder, config, StageLog(folder / "stages"))


def _figures(found: Found, tested: list[Record]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return figures that grow with novelty, and the known share of each protein."""
    model = found.model
    vectors = model.encoder.embed([AMINO.encode(record.sequence) for record in tested])
    logits = model.head.logits(vectors)
    probabilities = model.head.sureness(vectors)
    center = model.head.center
    train = unit(found.vectors - center)
    nearest = [1.0 - (block @ train.T).max(axis=1) for block in np.array_split(unit(vectors - center), 20)]
    assert model.novelty is not None
    scores = model.novelty.scores(vectors, probabilities)
    figures = {
        "**novelty**": scores,
        "distance to the nearest landmark": model.novelty.distances(vectors),
        "1 - maximum probability": 1.0 - probabilities,
        "distance to the nearest prototype": -logits.max(axis=1),
        "nearest neighbor distance": np.concatenate(nearest),
    }
    return figures, model.novelty.known_shares(scores)


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.3f}" + (f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
