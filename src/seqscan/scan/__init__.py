"""SCAN: clusters in which neighbors agree (Van Gansbeke et al., ECCV 2020, arXiv 2005.12320).

`discover` works on vectors in memory, `StoreScan` on a store of any size, shard by shard. Both begin from
pieces, more than there are families, join them, and train a head on pairs of neighbors; none reads a label.
Joint learning of the encoder is in `seqscan.finetune`.
"""

from seqscan.scan.heads import HeadFit, ScanConfig, over_provision
from seqscan.scan.in_memory import discover
from seqscan.scan.store_scan import StoreScan, n_prototypes, on_first_rank
from seqscan.scan.streaming import StreamConfig, stream_head, stream_labels, stream_means, stream_whitening

__all__ = [
    "HeadFit",
    "ScanConfig",
    "StoreScan",
    "StreamConfig",
    "discover",
    "n_prototypes",
    "on_first_rank",
    "over_provision",
    "stream_head",
    "stream_labels",
    "stream_means",
    "stream_whitening",
]
