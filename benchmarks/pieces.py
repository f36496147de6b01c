"""Print how alignments divide draws of families, before any head, and what the strength of a tie says.

    python benchmarks/pieces.py [--data FOLDER] [--draws 10 60 60-zipf1 all] [--seeds 0 1 2] [--threads 2]

A draw is a number of families, or all of them, thinned by Zipf's law where it says so. First table, AMI /
ARI: what links of alignments connect, communities, communities joined by every tie, those joined by ties that
are strong enough (`Pieces.groups`, what seqscan begins from), and the last against clans; then the tree of
the groups, cut to as many parts as there are clans, against clans: joined by the default encoder's vectors
alone, and tied ones first. Second table, for each draw: how many ties hold a family together and how many do
not, and which share of all pairs of proteins lies in the communities that they connect. Third table, with
`--parts N [N ...]`: ARI of the communities of so many families drawn from those of a draw, and of its
families of clans with three and more, joined where one tie between two is strong enough and where the mean of
the ties is. Labels are read to draw and to score.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from families import Case, read_case
from seqscan.discovery import N_ALIGNED
from seqscan.encoder import load_encoder
from seqscan.evaluate import label_scores
from seqscan.hierarchy import join_clusters
from seqscan.neighbors import AlignmentNeighbors, NeighborGraph, Pieces, find_pieces
from seqscan.neighbors.merging import group_means
from seqscan.neighbors.pieces import (
    by_size,
    connected_parts,
    join_communities,
    needed_strength,
    smallest_part,
)
from seqscan.store import unit

N_PARTS = 12  # draws of each number of families
STRENGTHS = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0])


def pieces_of(case: Case, folder: Path, threads: int) -> tuple[NeighborGraph, Pieces]:
    """Align and divide, or read what was done before."""
    aligned, divided = folder / "aligned", folder / "pieces"
    if not divided.exists():
        search = AlignmentNeighbors(case.corpus, min_coverage=0.3, threads=threads)
        search.neighbors(N_ALIGNED).write(aligned, {})
        find_pieces(case.corpus, NeighborGraph.read(aligned), threads=threads).write(divided)
    return NeighborGraph.read(aligned), Pieces.read(divided)


def scores(labels: NDArray[np.int64], truth: list[str]) -> str:
    """Return AMI / ARI."""
    found = label_scores(truth, labels.tolist())
    return f"{found['ami']:.3f} / {found['ari']:.3f}"


def divisions_row(draw: str, aligned: NeighborGraph, pieces: Pieces, case: Case) -> str:
    """Return a row of the first table."""
    family = [case.family[id] for id in case.corpus.ids]
    clan = [case.clan[id] for id in case.corpus.ids]
    cells = [
        draw,
        f"{len(family):,}",
        f"{needed_strength(pieces.communities):.2f}",
        scores(connected_parts(aligned), family),
        scores(pieces.communities, family),
        scores(pieces.joined(0.0), family),
        scores(pieces.groups, family),
        scores(pieces.groups, clan),
        *tree_cells(pieces, case),
    ]
    return f"| {' | '.join(cells)} |"


def tree_cells(pieces: Pieces, case: Case) -> list[str]:
    """Return how well the tree of the groups tells clans, without ties and with them."""
    groups, clan = pieces.groups, np.array([case.clan[id] for id in case.corpus.ids])
    vectors = load_encoder("default").embed(case.corpus[: len(case.corpus)])
    means = group_means(unit(vectors - vectors.mean(axis=0)), groups)
    sizes = np.bincount(groups)
    sizes[sizes < smallest_part(len(groups), None)] = 0
    there, n_clans = sizes[groups] > 0, len(np.unique(clan))
    cells = []
    for tied in (None, pieces.tied_clusters(groups)):
        tree = join_clusters(means, sizes, tied)
        part = tree.cut(tree.distances[1 - n_clans])  # the last joins are undone
        labels = np.array([part[group] for group in groups[there].tolist()])
        cells.append(scores(labels, clan[there].tolist()))
    return cells


def strength_rows(pieces: Pieces, case: Case) -> list[str]:
    """Return the rows of the second table; a community is of the family that most of it is of."""
    family = np.unique([case.family[id] for id in case.corpus.ids], return_inverse=True)[1]
    sizes = np.bincount(pieces.communities)
    members = csr_matrix((np.ones(len(family)), (pieces.communities, family)))
    of = np.asarray(members.argmax(axis=1)).ravel()
    ties = pieces.ties[np.isfinite(pieces.strength)]
    place = np.digitize(pieces.strength[np.isfinite(pieces.strength)], STRENGTHS) - 1
    a, b = ties.T
    same = of[a] == of[b]
    pairs = 2.0 * sizes[a] * sizes[b] / len(family) ** 2
    rows = []
    for i, strength in enumerate(STRENGTHS):
        here = place == i
        yes, no = here & same, here & ~same
        rows.append(
            f"| {strength:.1f} | {yes.sum()} | {no.sum()} | {pairs[yes].sum():.1e} | {pairs[no].sum():.1e} |"
        )
    return rows


def parts_rows(pieces: Pieces, case: Case, sizes: list[int], n_draws: int) -> list[str]:
    """Return the rows of the third table: mean and least ARI of the draws of each kind."""
    family = np.array([case.family[id] for id in case.corpus.ids])
    names = np.unique(family)
    clan = {name: case.clan[id] for id, name in zip(case.corpus.ids, family.tolist(), strict=True)}
    n_families = Counter(clan.values())
    generator = np.random.default_rng(0)
    draws = {
        f"{size} families": [generator.choice(names, size, replace=False) for _ in range(n_draws)]
        for size in sizes
    }
    draws["families of clans of three and more"] = [[name for name in names if n_families[clan[name]] >= 3]]
    rows = []
    for what, drawn in draws.items():
        found = []
        for chosen in drawn:
            part, truth = of_families(pieces, family, np.isin(family, chosen))
            strong = part.ties[part.strength >= needed_strength(part.communities)]
            single = join_communities(part.communities, strong)
            found.append([label_scores(truth, groups.tolist())["ari"] for groups in (single, part.groups)])
        mean, least = np.mean(found, axis=0), np.min(found, axis=0)
        cells = (f"{m:.3f}, {low:.3f}" for m, low in zip(mean, least, strict=True))
        rows.append(f"| {what} | {len(drawn)} | {' | '.join(cells)} |")
    return rows


def of_families(
    pieces: Pieces, family: NDArray[np.str_], kept: NDArray[np.bool_]
) -> tuple[Pieces, list[str]]:
    """Return the pieces of the proteins that are kept (N,), and their families."""
    number = np.full(pieces.communities.max() + 1, -1)
    communities = by_size(np.unique(pieces.communities[kept], return_inverse=True)[1])
    number[pieces.communities[kept]] = communities
    ties = number[pieces.ties]
    there = (ties >= 0).all(axis=1)
    none = np.full((len(communities), 1), -1, np.int32)  # communities and ties say all that is asked here
    graph = NeighborGraph(none, np.full(none.shape, np.inf, np.float32), pieces.graph.metric)
    return Pieces(communities, ties[there], pieces.strength[there], graph), family[kept].tolist()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/pfam_all_dev"))
    parser.add_argument("--output", type=Path, default=Path("out/pieces"))
    parser.add_argument("--draws", nargs="*", default=["10", "60", "60-zipf1", "150-zipf1"])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--parts", type=int, nargs="*", help="families to draw from those of each draw")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    columns = (
        "draw",
        "domains",
        "needed",
        "connected parts",
        "communities",
        "all ties",
        "groups",
        "groups, clans",
        "tree, clans",
        "tree with ties, clans",
    )
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|", flush=True)
    strengths, parts = {}, {}
    for name in options.draws:
        n, _, zipf = name.partition("-zipf")
        for seed in options.seeds if n != "all" or zipf else options.seeds[:1]:
            draw = f"{name}, {seed}"
            folder = options.output / f"{name}-{seed}"
            n_families = None if n == "all" else int(n)
            case = read_case(options.data, folder, n_families, seed, zipf=float(zipf) if zipf else None)
            aligned, pieces = pieces_of(case, folder, options.threads)
            print(divisions_row(draw, aligned, pieces, case), flush=True)
            strengths[draw] = strength_rows(pieces, case)
            if options.parts is not None:
                parts[draw] = parts_rows(pieces, case, options.parts, N_PARTS)
    for draw, rows in strengths.items():
        print(f"\n{draw}\n\n| strength from | ties of one family | of two | pairs of one family | of two |")
        print("|---|---|---|---|---|", *rows, sep="\n")
    for draw, rows in parts.items():
        print(f"\n{draw}\n\n| of it | draws | by one tie: mean and least ARI | by the mean of the ties |")
        print("|---|---|---|---|", *rows, sep="\n")


if __name__ == "__main__":
    main()
