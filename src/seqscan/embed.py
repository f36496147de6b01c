"""Encode a corpus into an embedding store: part by part, equal sequences once, in one process or several."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqscan.corpus import Corpus
from seqscan.distributed import n_ranks, rank, wait_for_all
from seqscan.encoder import AbstractEncoder
from seqscan.store import EmbeddingStore, write_store

__all__ = ["embed_corpus", "number_distinct"]

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

    Equal sequences are encoded once. Under `torchrun` every process calls this with the same arguments, and
    each encodes one range of the parts. Memory does not grow with the corpus, but for some 40 bytes a record.

    Parameters
    ----------
    encoder : AbstractEncoder
    corpus : Corpus
    path : path
        The store. Parts that an earlier, killed call finished with the same `content` are kept.
    content : dict
        Which encoder and which corpus, for the manifest.
    on_progress : callable, optional
        Called with the sequences done, and in all, that differ from one another.
    """
    numbers, firsts = number_distinct(corpus)

    def embed_rows(wanted: slice) -> NDArray[np.float32]:
        blocks = []
        for start in range(wanted.start, wanted.stop, _BLOCK_RECORDS):
            stop = min(start + _BLOCK_RECORDS, wanted.stop)
            blocks.append(encoder.embed([corpus[int(row)] for row in firsts[start:stop]]))
            if on_progress is not None:
                on_progress(stop, len(firsts))
        return np.concatenate(blocks)

    return write_store(
        path, corpus.ids if rank() == 0 else [""] * len(corpus), corpus.lengths, embed_rows, content,
        rows=numbers, process=(rank(), n_ranks()), wait=wait_for_all,
    )  # fmt: skip


def number_distinct(
    sequences: Sequence[NDArray[np.uint8]],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number the distinct sequences in order of their first occurrence.

    Returns
    -------
    numbers : (N,), int64
        Of each sequence.
    firsts : (M,), int64
        Where each distinct sequence first occurs.

    Examples
    --------
    >>> a, b = np.array([1, 2], np.uint8), np.array([1], np.uint8)
    >>> [array.tolist() for array in number_distinct([a, b, a])]
    [[0, 1, 0], [0, 1]]
    """
    digests = np.empty(len(sequences), dtype="S32")
    for row in range(len(sequences)):
        # Hexadecimal: numpy drops zero bytes at the end of a string.
        digests[row] = hashlib.blake2b(sequences[row].tobytes(), digest_size=16).hexdigest().encode()
    _, firsts, numbers = np.unique(digests, return_index=True, return_inverse=True)
    order = np.argsort(firsts)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return place[numbers], firsts[order]
