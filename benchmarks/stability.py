"""Print how stable the communities of alignments are, by resolution: the choice of a default without labels.

    python benchmarks/stability.py OUT/work/alignment [...]

Give the alignment neighbors of finished runs (`seqscan run ... -o OUT`). The links of each are divided at
random into halves, and each half into communities by itself. What is there is found in both halves; what a
resolution cuts at random is not. Printed are the adjusted Rand index and mutual information of the two, means
over the seeds, and the number of communities of three and more in the whole graph.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

from seqscan.neighbors import NeighborGraph, connected_parts
from seqscan.pieces import communities, halves

RESOLUTIONS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # at 0, connected parts


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
            divide = partial(communities, resolution=resolution) if resolution else connected_parts
            n = divide(graph, 3).max() + 1
            pairs = [[divide(half) for half in halves(graph, seed=s)] for s in range(options.seeds)]
            ari = np.mean([adjusted_rand_score(a, b) for a, b in pairs])
            ami = np.mean([adjusted_mutual_info_score(a, b) for a, b in pairs])
            print(f"| {resolution:g} | {n} | {ari:.4f} | {ami:.4f} |", flush=True)


if __name__ == "__main__":
    main()
