"""Print how stable the communities of alignments are, by resolution: the choice of a default without labels.

    python benchmarks/stability.py OUT/work/alignment [...]

Give the alignment neighbors of finished runs (`seqscan run ... -o OUT`). The links of each are divided at
random into halves, and each half into communities by itself. What is there is found in both halves; what a
resolution cuts at random is not. Printed are the adjusted Rand index and mutual information of the two, means
over the seeds, and the number of communities of three and more in the whole graph.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

from seqscan import neighbors
from seqscan.neighbors import NeighborGraph, communities, connected_parts

RESOLUTIONS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


def main() -> None:
    """Print one table for each graph."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("graphs", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    for path in options.graphs:
        graph = NeighborGraph.read(path)
        n_parts = (np.bincount(connected_parts(graph)) >= 3).sum()
        print(f"\n{path}: {len(graph)} proteins, {n_parts} connected parts of three and more\n")
        print("| resolution | communities | ARI of halves | AMI of halves |\n|---|---|---|---|")
        for resolution in RESOLUTIONS:
            with mock.patch.object(neighbors, "RESOLUTION", resolution):
                n = communities(graph, 3).max() + 1
                pairs = [[communities(half) for half in halves(graph, s)] for s in range(options.seeds)]
            ari = np.mean([adjusted_rand_score(a, b) for a, b in pairs])
            ami = np.mean([adjusted_mutual_info_score(a, b) for a, b in pairs])
            print(f"| {resolution:g} | {n} | {ari:.4f} | {ami:.4f} |", flush=True)


def halves(graph: NeighborGraph, seed: int) -> tuple[NeighborGraph, NeighborGraph]:
    """Divide the links at random, each pair with both its directions."""
    rest, held_out = graph.hold_out(0.5, seed=seed)
    return rest, linked(len(graph), held_out)


def linked(n: int, pairs: NDArray[np.int64]) -> NeighborGraph:
    """Return the graph of pairs (M, 2), each kept with the smaller row."""
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    place = np.arange(len(pairs)) - np.searchsorted(pairs[:, 0], pairs[:, 0])
    indices = np.full((n, int(place.max(initial=0)) + 1), -1, dtype=np.int32)
    indices[pairs[:, 0], place] = pairs[:, 1]
    return NeighborGraph(indices, np.where(indices < 0, np.inf, 0).astype(np.float32), "pairs")


if __name__ == "__main__":
    main()
