"""Self-supervised training of the encoder: guess hidden residues, and know a protein's relatives.

Each step draws pairs of views. A pair is two crops of one protein, or crops of the aligned parts of two
homologs that MMseqs2 found; both have residues hidden. One pass of the network serves both losses. No label
is read. Each pair is drawn by a generator made of the seed, the step and the pair's number, so that a run
that was killed goes on from its last checkpoint as if nothing had happened, and any number of processes
draws the same pairs as one.
"""

from seqscan.pretrain.config import PretrainConfig
from seqscan.pretrain.pairs import HomologPairs, PairSampler, mine_homologs
from seqscan.pretrain.plot import plot_training
from seqscan.pretrain.run import pretrain
from seqscan.pretrain.trainer import Trainer, recall

__all__ = [
    "HomologPairs",
    "PairSampler",
    "PretrainConfig",
    "Trainer",
    "mine_homologs",
    "plot_training",
    "pretrain",
    "recall",
]
