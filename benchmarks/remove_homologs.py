"""Make the corpus of the variant that has seen no relative of a benchmark: remove every protein with a hit.

    python benchmarks/remove_homologs.py CORPUS.fasta... -o FOLDER [--data FOLDER] [--threads 2]
    seqscan pretrain FOLDER/kept.fasta.gz -o FOLDER/encoder --minutes M

A protein of the corpus is removed if MMseqs2 finds it at an E-value of 1e-3 or less against any domain of
pfam10 and its four further draws, of CATH S35, or of a random third of the families of pfam_all_dev (drawn by
the seed; FOLDER/families.txt names them). The corpus is the query and the benchmark domains are the target:
one hit is enough, so no list of hits can be too short, and the E-value counts chance hits among the benchmark
domains alone, which removes more than counting them in the whole corpus would.

FOLDER gets `kept.fasta.gz`, `removed.tsv` (protein, domain, E-value), `families.txt` and `summary.json`.
`--corpus-sample N` and `--domain-sample N` take random parts, to try it out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
from xopen import xopen

from encoder_figures import SETS, set_files
from seqscan.alignment import mmseqs_version, run_mmseqs
from seqscan.artifact import write_atomically
from seqscan.fasta import Record, RejectionLedger, read_fasta
from seqscan.results import read_truth

Item = TypeVar("Item")
Hits = dict[int, tuple[str, float]]


def main() -> None:
    """Search, remove, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", nargs="+", type=Path)
    parser.add_argument("--output", "-o", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--max-evalue", type=float, default=1e-3)
    parser.add_argument("--sensitivity", type=float, default=5.7, help="MMseqs2's -s")
    parser.add_argument("--third", type=float, default=1 / 3, help="share of pfam_all_dev's families")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--corpus-sample", type=float, default=1.0, help="share of the corpus's records")
    parser.add_argument("--domain-sample", type=float, default=1.0, help="share of the benchmark's domains")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    families = chosen_families(options.data, options.third, options.seed)
    with write_atomically(options.output / "families.txt") as temporary:
        temporary.write_text("".join(f"{family}\n" for family in families))
    names: list[str] = []
    with tempfile.TemporaryDirectory(prefix="seqscan-") as name:
        folder = Path(name)
        with (folder / "domains.fasta").open("w") as handle:
            domains = _sampled(benchmark_domains(options.data, set(families)), options.domain_sample)
            for number, (set_name, record) in enumerate(domains):
                names.append(f"{set_name}:{record.id}")
                handle.write(f">{number}\n{record.sequence}\n")
        with (folder / "corpus.fasta").open("w") as handle:
            for number, record in enumerate(_corpus(options.corpus, options.corpus_sample)):
                handle.write(f">{number}\n{record.sequence}\n")
        hits = search(folder, names, options.max_evalue, options.sensitivity, options.threads)
    n_kept = n_residues = 0
    with (
        write_atomically(options.output / "kept.fasta.gz") as temporary,
        xopen(temporary, "wt", format="gz", threads=0) as kept,
        write_atomically(options.output / "removed.tsv") as table,
        table.open("w") as removed,
    ):
        removed.write("id\tdomain\tevalue\n")
        for number, record in enumerate(_corpus(options.corpus, options.corpus_sample)):
            if number in hits:
                removed.write(f"{record.id}\t{hits[number][0]}\t{hits[number][1]:.1e}\n")
            else:
                kept.write(f">{record.id} {record.description}".rstrip() + f"\n{record.sequence}\n")
                n_kept += 1
                n_residues += len(record)
    summary = {
        "n_domains": len(names),
        "n_families_of_pfam_all_dev": len(families),
        "n_removed": len(hits),
        "n_kept": n_kept,
        "n_residues_kept": n_residues,
        "max_evalue": options.max_evalue,
        "sensitivity": options.sensitivity,
        "seed": options.seed,
        "mmseqs2": mmseqs_version(),
    }
    with write_atomically(options.output / "summary.json") as temporary:
        temporary.write_text(json.dumps(summary, indent=1) + "\n")
    print("| what | |\n|---|---|")
    for key, value in summary.items():
        print(f"| {key} | {value} |")


def chosen_families(data: Path, share: float, seed: int) -> list[str]:
    """Return a random share of the families of pfam_all_dev, in order."""
    _, labels = set_files("pfam_all_dev", data)
    assert labels is not None
    families = sorted(set(read_truth(labels).values()))
    chosen = np.random.default_rng((seed, 67)).permutation(len(families))[: round(share * len(families))]
    return [families[i] for i in sorted(chosen)]


def benchmark_domains(data: Path, families: set[str]) -> Iterator[tuple[str, Record]]:
    """Yield every domain whose relatives must go, with the name of its set; a missing file is an error."""
    for name in SETS:
        sequences, labels = set_files(name, data)
        truth = read_truth(labels) if name == "pfam_all_dev" and labels is not None else None
        for record in read_fasta(str(sequences), rejected=RejectionLedger()):
            if truth is None or truth.get(record.id) in families:
                yield name, record


def search(folder: Path, names: list[str], max_evalue: float, sensitivity: float, threads: int) -> Hits:
    """Return, for the number of each protein of `corpus.fasta` that has a hit, the best one."""
    run_mmseqs(
        "easy-search", folder / "corpus.fasta", folder / "domains.fasta", folder / "hits.tsv", folder / "tmp",
        "-s", sensitivity, "-e", max_evalue, "--max-seqs", 100, "--format-output", "query,target,evalue",
        "--threads", threads,
    )  # fmt: skip
    best: Hits = {}
    with (folder / "hits.tsv").open() as handle:
        for line in handle:
            query, target, evalue = line.split("\t")
            if int(query) not in best or float(evalue) < best[int(query)][1]:
                best[int(query)] = names[int(target)], float(evalue)
    return best


def _corpus(paths: list[Path], share: float) -> Iterator[Record]:
    for path in paths:
        yield from _sampled(read_fasta(str(path), rejected=RejectionLedger()), share)


def _sampled(items: Iterator[Item], share: float) -> Iterator[Item]:
    generator = np.random.default_rng(61)
    for item in items:
        if share >= 1.0 or generator.random() < share:
            yield item


if __name__ == "__main__":
    main()
