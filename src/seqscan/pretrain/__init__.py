"""Self-supervised training of the encoder: guess hidden residues, and know a protein's relatives.

Each step draws pairs of views. A pair is two members of a community of recurring segments, crops of the
aligned parts of two homologs that MMseqs2 found, or two crops of one protein; all have residues hidden. One
pass of the network serves all losses: to know the community, the partner, and the hidden residues. No label
is read. Each pair is drawn by a generator made of the seed, the step and the pair's number, so that a run
that was killed goes on from its last checkpoint as if nothing had happened, and any number of processes
draws the same pairs as one.
"""

from seqscan.pretrain.communities import Communities, find_communities
from seqscan.pretrain.config import PretrainConfig
from seqscan.pretrain.pairs import HomologPairs, PairSampler, mine_homologs
from seqscan.pretrain.plot import plot_training
from seqscan.pretrain.run import check_output, pretrain
from seqscan.pretrain.trainer import Trainer, community_recall, recall

__all__ = [
    "Communities",
    "HomologPairs",
    "PairSampler",
    "PretrainConfig",
    "Trainer",
    "check_output",
    "community_recall",
    "find_communities",
    "mine_homologs",
    "plot_training",
    "pretrain",
    "recall",
]
