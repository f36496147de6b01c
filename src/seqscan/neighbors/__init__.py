"""The neighbors of each protein, by its vector or by alignments, and what they hold together.

Alignment finds neighbors that are almost always right but leaves a family in pieces, which `find_pieces` puts
together as far as it can; vectors join the pieces but err. `combine` puts both into one graph.
`mine_neighbors` makes the graph of a store that does not fit into memory.
"""

from seqscan.neighbors.backends import (
    AlignmentNeighbors,
    ExactNeighbors,
    FaissNeighbors,
    KnnBackend,
    nearest_rows,
    nearest_vectors,
    vector_neighbors,
)
from seqscan.neighbors.graph import (
    NeighborGraph,
    combine,
    fill,
    held_out_proteins,
    sensible_n_neighbors,
)
from seqscan.neighbors.merging import group_means, label_pieces
from seqscan.neighbors.mining import index_recall, mine_neighbors
from seqscan.neighbors.pieces import (
    Pieces,
    find_pieces,
    pieces_suffice,
    potts_communities,
)

__all__ = [
    "AlignmentNeighbors",
    "ExactNeighbors",
    "FaissNeighbors",
    "KnnBackend",
    "NeighborGraph",
    "Pieces",
    "combine",
    "fill",
    "find_pieces",
    "group_means",
    "held_out_proteins",
    "index_recall",
    "label_pieces",
    "mine_neighbors",
    "nearest_rows",
    "nearest_vectors",
    "pieces_suffice",
    "potts_communities",
    "sensible_n_neighbors",
    "vector_neighbors",
]
