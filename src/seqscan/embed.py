"""Encode a corpus into an embedding store, a shard at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqscan.corpus import Corpus
from seqscan.encoder import AbstractEncoder
from seqscan.store import EmbeddingStore, write_store

__all__ = ["embed_corpus"]

_BLOCK_RECORDS = 2048


def embed_corpus(
    encoder: AbstractEncoder,
    corpus: Corpus,
    path: str | Path,
    content: dict[str, Any],
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> EmbeddingStore:
    """Write the vectors of all sequences of a corpus to a store.

    Parameters
    ----------
    encoder : AbstractEncoder
    corpus : Corpus
    path : path
        The store. Shards that an earlier, killed call finished with the same `content` are kept.
    content : dict
        Which encoder and which corpus, for the manifest.
    on_progress : callable, optional
        Called with the sequences done and in all.
    """

    def embed_rows(rows: slice) -> NDArray[np.float32]:
        blocks = []
        for start in range(rows.start, rows.stop, _BLOCK_RECORDS):
            stop = min(start + _BLOCK_RECORDS, rows.stop)
            blocks.append(encoder.embed(corpus[start:stop]))
            if on_progress is not None:
                on_progress(stop, len(corpus))
        return np.concatenate(blocks)

    return write_store(path, corpus.ids, corpus.lengths, embed_rows, content)
