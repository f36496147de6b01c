"""Encode a corpus into an embedding store: part by part, equal sequences once.

In one process, in several under `torchrun`, each with a range of the parts, or by the workers of a Ray
cluster, which may come and go.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from seqscan.corpus import Corpus
from seqscan.device import best_device
from seqscan.distributed import n_ranks, rank, wait_for_all
from seqscan.encoder import AbstractEncoder
from seqscan.errors import InvalidParameter, MissingDependency
from seqscan.store import EmbeddingStore, StoreParts
from seqscan.threads import use_threads

__all__ = ["embed_corpus", "embed_on_ray", "embed_shard", "number_distinct", "ray_at"]

_BLOCK_RECORDS = 2048
_ANSWER_SECONDS = 5.0
"""Within which the machine at a Ray cluster's address must answer; Ray itself asks for minutes."""

Progress = Callable[[int, int], None]
"""Called with the sequences done, and in all, that differ from one another."""


def embed_shard(
    shard: int,
    encoder: AbstractEncoder,
    corpus: Corpus,
    firsts: NDArray[np.int64],
    parts: StoreParts,
    on_progress: Progress | None = None,
) -> None:
    """Encode one part of a store, unless it is there: all that one process has to do at a time.

    Parameters
    ----------
    shard : int
        Number of the part.
    encoder : AbstractEncoder
    corpus : Corpus
    firsts : (M,), int64
        Where each distinct sequence stands, from `number_distinct`.
    parts : StoreParts
    on_progress : callable, optional
    """

    def embed_rows(wanted: slice) -> NDArray[np.float32]:
        blocks = []
        for start in range(wanted.start, wanted.stop, _BLOCK_RECORDS):
            stop = min(start + _BLOCK_RECORDS, wanted.stop)
            blocks.append(encoder.embed([corpus[int(row)] for row in firsts[start:stop]]))
            if on_progress is not None:
                on_progress(stop, len(firsts))
        return np.concatenate(blocks)

    parts.make(shard, embed_rows)


def embed_corpus(
    encoder: AbstractEncoder,
    corpus: Corpus,
    path: str | Path,
    content: dict[str, Any],
    *,
    on_progress: Progress | None = None,
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
    """
    numbers, firsts = number_distinct(corpus)
    parts = StoreParts(path, len(firsts))
    if rank() == 0:
        parts.begin(content)
    wait_for_all()
    for shard in np.array_split(np.arange(len(parts)), n_ranks())[rank()].tolist():
        embed_shard(shard, encoder, corpus, firsts, parts, on_progress)
    wait_for_all()
    if rank() == 0:
        parts.join(corpus.ids, corpus.lengths, content, numbers)
    wait_for_all()
    return EmbeddingStore.open(path)


def ray_at(address: str) -> Any:
    """Return the package, if something answers at the address.

    Parameters
    ----------
    address : str
        `HOST:PORT` or `ray://HOST:PORT`; any other, such as `auto` and `local`, is left to Ray.

    Raises
    ------
    MissingDependency
        If there is no Ray.
    InvalidParameter
        If nothing answers within a few seconds.
    """
    ray = _import_ray()
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        if parts.hostname and parts.port:
            socket.create_connection((parts.hostname, parts.port), timeout=_ANSWER_SECONDS).close()
    except (OSError, ValueError) as error:  # the second: the port is no number
        raise InvalidParameter(
            "ray", address, f"nothing answers there ({error})",
            remedy="Give the address that 'ray start --head' named, and see that no firewall is between.",
        ) from None  # fmt: skip
    return ray


def _import_ray() -> Any:
    """Return the package; raises `MissingDependency` if there is none."""
    try:
        import ray.data
    except ImportError as error:
        raise MissingDependency(
            "A Ray cluster needs the package ray.", remedy="pip install 'seqscan[ray]', or use torchrun."
        ) from error
    return ray


def embed_on_ray(
    encoder: AbstractEncoder,
    corpus: Corpus,
    path: str | Path,
    content: dict[str, Any],
    *,
    address: str = "local",
    threads: int = 1,
    on_progress: Progress | None = None,
) -> EmbeddingStore:
    """Do what `embed_corpus` does by the workers of a Ray cluster; the store is the same.

    Workers may join and leave while it runs: what one had not finished another makes. All must see the
    folders of corpus and store under the same paths.

    Parameters
    ----------
    encoder, corpus, path, content, on_progress
        As in `embed_corpus`; progress is told after each part.
    address : str
        Of the cluster, for `ray.init`; `local` starts one on this machine.
    threads : int
        Of each worker.

    Raises
    ------
    MissingDependency
        If there is no Ray.
    InvalidParameter
        If there is no cluster at `address`.
    """
    ray = ray_at(address)
    numbers, firsts = number_distinct(corpus)
    parts = StoreParts(path, len(firsts))
    parts.begin(content)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else what runs here is told to Ray's makers
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error")
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # errors are raised here
        # Put there once; workers that come later find it too.
        work = {"encoder": ray.put(encoder.cpu()), "firsts": ray.put(firsts)}
        shards = ray.data.range(len(parts), override_num_blocks=len(parts)).map_batches(
            _Worker, batch_size=1, fn_constructor_args=(work, corpus, parts, threads), num_cpus=threads,
            num_gpus=1 if "GPU" in ray.cluster_resources() else None,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=len(parts)),
        )  # fmt: skip
        for n_done, _ in enumerate(shards.iter_rows(), 1):
            if on_progress is not None:
                on_progress(min(n_done * parts.size, len(firsts)), len(firsts))
    except ConnectionError as error:
        raise InvalidParameter("ray", address, str(error)) from None
    finally:
        ray.shutdown()
    parts.join(corpus.ids, corpus.lengths, content, numbers)
    return EmbeddingStore.open(path)


class _Worker:
    """One worker of a Ray cluster: reads what it needs once, then makes part after part."""

    def __init__(self, work: dict[str, Any], corpus: Corpus, parts: StoreParts, threads: int) -> None:
        ray = _import_ray()
        use_threads(threads)
        self.encoder: AbstractEncoder = ray.get(work["encoder"]).to(best_device())
        self.firsts: NDArray[np.int64] = ray.get(work["firsts"])
        self.corpus, self.parts = corpus, parts

    def __call__(self, batch: dict[str, NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
        for shard in batch["id"].tolist():
            embed_shard(shard, self.encoder, self.corpus, self.firsts, self.parts)
        return batch


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
