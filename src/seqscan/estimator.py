"""Two ways in from Python: `SeqSCAN` for protein records, `SCANClusterer` for any vectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from numbers import Integral
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from seqscan.artifact import scratch_folder
from seqscan.corpus import write_corpus
from seqscan.discovery import DiscoveryConfig, discover_categories
from seqscan.errors import DuplicateId, InvalidParameter
from seqscan.fasta import Record, check_record
from seqscan.head import ClusterHead, Whitening, whiten
from seqscan.job import model_folder
from seqscan.model import Model
from seqscan.neighbors import sensible_n_neighbors, vector_neighbors
from seqscan.results import Assignments
from seqscan.scan import ScanConfig, discover
from seqscan.scan.heads import spread_points
from seqscan.stages import StageLog
from seqscan.threads import threads_kept

__all__ = ["SCANClusterer", "SeqSCAN"]


class SCANClusterer(ClusterMixin, BaseEstimator):
    """Cluster vectors so that neighbors agree and every cluster is used (SCAN).

    Parameters
    ----------
    n_clusters : int or None
        None finds the number.
    n_neighbors : int
        By cosine; no more than the root of the number of vectors are used, and 2 at least.
    entropy_weight : float
        1 is neutral; larger pushes towards equal sizes.
    n_heads : int
        Trained from different beginnings; held-out neighbor pairs choose.
    n_steps : int
    random_state : int, RandomState or None
        None draws a new seed at each fit.

    Attributes
    ----------
    labels_ : (N,), int32
        0 is the largest cluster.
    head_ : ClusterHead
    n_features_in_ : int

    Notes
    -----
    Van Gansbeke et al., ECCV 2020 (arXiv 2005.12320).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(m, 0.1, (30, 4)) for m in ([1, 0, 0, 0], [0, 1, 0, 0])])
    >>> labels = SCANClusterer(2, n_heads=2, n_steps=50).fit_predict(X)
    >>> len(set(labels[:30])), len(set(labels))
    (1, 2)
    """

    def __init__(
        self,
        n_clusters: int | None = 8,
        *,
        n_neighbors: int = 20,
        entropy_weight: float = 1.0,
        n_heads: int = 10,
        n_steps: int = 400,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.n_neighbors = n_neighbors
        self.entropy_weight = entropy_weight
        self.n_heads = n_heads
        self.n_steps = n_steps
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: None = None) -> SCANClusterer:
        """Find the clusters of X, (N, P); `y` is not used.

        Raises
        ------
        InvalidParameter
            If there are fewer vectors than clusters, or an option is no whole number of 1 or more.
        """
        vectors = validate_data(self, X, dtype=np.float32, ensure_min_samples=2)
        n = len(vectors)
        k = n if self.n_clusters is None else _count("n_clusters", self.n_clusters)
        if k > n:
            raise InvalidParameter("n_clusters", k, f"must be 1 to {n}, the number of vectors")
        for name in ("n_neighbors", "n_heads", "n_steps"):
            _count(name, getattr(self, name))
        seed = _seed(self.random_state)
        # Not whitened: vectors of unknown origin may hold directions of noise, which whitening would enlarge.
        center, projection = vectors.mean(axis=0), np.eye(vectors.shape[1], dtype=np.float32)
        if k == 1 or n < 4:  # no pairs to train on and others to choose by
            k = 1 if self.n_clusters is None else k
            points = spread_points(whiten(vectors, center, projection), k, np.random.default_rng(seed))
            head = ClusterHead(points, center, projection, ScanConfig().temperature)
            self._keep(head.ordered_by_size(head.labels(vectors)), vectors)
            return self
        config = ScanConfig(n_heads=self.n_heads, n_steps=self.n_steps, entropy_weight=self.entropy_weight)
        graph = vector_neighbors(vectors, sensible_n_neighbors(self.n_neighbors, n))
        whitening = Whitening(center, projection)
        fit = discover(vectors, graph, self.n_clusters, config, seed=seed, whitening=whitening).fit
        self._keep(fit.head, vectors)
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.int32]:
        """Return the cluster of each vector, (N, P) -> (N,); needs no training data."""
        vectors = self._checked(X)
        return self.head_.labels(vectors).astype(np.int32)  # in blocks: never all probabilities at once

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return the probability of each cluster, (N, P) -> (N, C)."""
        vectors = self._checked(X)
        return self.head_.probabilities(vectors)

    def _checked(self, X: ArrayLike) -> NDArray[np.float32]:
        check_is_fitted(self, "head_")
        return validate_data(self, X, dtype=np.float32, reset=False)

    def _keep(self, head: ClusterHead, vectors: NDArray[np.float32]) -> None:
        self.head_ = head
        self.labels_ = self.predict(vectors)


def _count(name: str, value: object, *, least: int = 1) -> int:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        remedy = "None finds the number." if name == "n_clusters" else ""
        raise InvalidParameter(name, value, f"must be a whole number, {least} or more", remedy=remedy)
    return int(value)


def _seed(random_state: int | np.random.RandomState | None) -> int:
    if isinstance(random_state, Integral):
        if random_state < 0:
            raise InvalidParameter("random_state", random_state, "must be 0 or more")
        return int(random_state)
    try:
        return int(check_random_state(random_state).randint(2**31 - 1))
    except ValueError:
        raise InvalidParameter(
            "random_state", random_state, "must be a whole number, a RandomState or None"
        ) from None


def _checked(records: Iterable[Record]) -> Iterable[Record]:
    """Return what holds records; raises `InvalidParameter` if it is a path, or nothing that can."""
    if isinstance(records, str | Path) or not isinstance(records, Iterable):
        raise InvalidParameter("records", records, "are no records", remedy="Give list(read_fasta(path)).")
    return records


def _distinct(records: Iterable[Record]) -> Iterator[Record]:
    """Yield records; raises `DuplicateId` at one that has the id of another."""
    first_seen: dict[str, int] = {}
    for number, record in enumerate(_checked(records), start=1):
        check_record(record, number)
        first = first_seen.setdefault(record.id, number)
        if first != number:
            raise DuplicateId(
                number,
                record.id,
                f"duplicate id, first used by record {first}",
                remedy="Correct the record or remove it.",
            )
        yield record


class SeqSCAN(ClusterMixin, BaseEstimator):
    """Find the functional categories of proteins, with no labels.

    What it takes are records, not a matrix; otherwise it is an estimator as scikit-learn's are.

    Parameters
    ----------
    n_clusters : int or None
        2 or more; None finds the number.
    neighbors : str
        Where the neighbors that clusters are made of come from: "embedding", the encoder's vectors;
        "mmseqs2", alignments; "auto", both if MMseqs2 is installed.
    finetune : bool
        Train the encoder together with the clusters.
    encoder : str
        "default", the path of an encoder artifact, or "lm:" and the folder or hub name of a language model.
    random_state : int, RandomState or None
        None draws a new seed at each fit.
    threads : int
        In which `fit` computes.

    Attributes
    ----------
    model_ : Model
        After `fit` or `load`.
    labels_ : (N,), int32
        Clusters of the records it was fitted on; 0 is the largest. Not after `load`.

    Examples
    --------
    >>> from seqscan import read_fasta
    >>> from seqscan.datasets import pfam10_sequences
    >>> records = list(read_fasta(pfam10_sequences()))
    >>> model = SeqSCAN(n_clusters=10).fit(records)  # doctest: +SKIP
    >>> found = model.assign(records)  # doctest: +SKIP
    >>> found.write("assignments.tsv")  # doctest: +SKIP
    """

    def __init__(
        self,
        n_clusters: int | None = None,
        *,
        neighbors: str = "auto",
        finetune: bool = True,
        encoder: str = "default",
        random_state: int | np.random.RandomState | None = 0,
        threads: int = 2,
    ) -> None:
        self.n_clusters = n_clusters
        self.neighbors = neighbors
        self.finetune = finetune
        self.encoder = encoder
        self.random_state = random_state
        self.threads = threads

    @property
    def config(self) -> DiscoveryConfig:
        """What the parameters stand for; raises `InvalidParameter` if one cannot work."""
        return DiscoveryConfig(
            n_clusters=None if self.n_clusters is None else _count("n_clusters", self.n_clusters, least=2),
            neighbors=self.neighbors,
            finetune=self.finetune,
            encoder=self.encoder,
            seed=_seed(self.random_state),
            threads=self.threads,
        )

    def fit(self, records: Iterable[Record], y: object = None) -> SeqSCAN:
        """Find the clusters of records; `y` is ignored.

        Parameters
        ----------
        records : iterable of Record
            Four or more, no id twice.

        Raises
        ------
        InvalidParameter
            If a parameter cannot work, or there are too few records.
        InvalidSequence, DuplicateId
            If a record is no protein sequence, or has the id of another.
        """
        config = self.config
        with scratch_folder() as folder, threads_kept():
            corpus = write_corpus(folder / "corpus", _distinct(records))
            found = discover_categories(corpus, "", folder, config, StageLog(folder / "stages"))
            self.model_ = found.model
            self.labels_ = found.model.head.assign(corpus.ids, found.vectors).labels
        return self

    def assign(self, records: Iterable[Record]) -> Assignments:
        """Return the cluster of each record, new or known, in constant time for each.

        Parameters
        ----------
        records : iterable of Record
            One or more.

        Returns
        -------
        found : Assignments
            In the order of the records: `ids`, `labels` (0 is the largest cluster), `probabilities`,
            `second_labels` and `second_probabilities`. `write(path)` makes a table of it, and
            `to_arrow().to_pandas()`, where pandas is installed, a data frame.

        Raises
        ------
        InvalidParameter
            If there is no record, or nothing was fitted.
        """
        blocks = list(self._fitted().assign(_checked(records)))
        if not blocks:
            raise InvalidParameter("records", [], "there is none")
        return Assignments.joined(blocks)

    def save(self, path: str | Path) -> None:
        """Write the model as a folder, which the command line's `--model` reads too."""
        self._fitted().save(path)

    @classmethod
    def load(cls, path: str | Path) -> SeqSCAN:
        """Read a model that `save` or `seqscan run` wrote; raises `ArtifactError` if `path` is none.

        The folder of a run stands for the model in it, as on the command line.
        """
        model = Model.load(model_folder(path))
        config = model.content.get("config", {})
        names = ("n_clusters", "neighbors", "finetune", "encoder", "threads")
        loaded = cls(
            random_state=config.get("seed", 0), **{name: config[name] for name in names if name in config}
        )
        loaded.model_ = model
        return loaded

    def _fitted(self) -> Model:
        if not hasattr(self, "model_"):
            raise InvalidParameter("model", None, "is not fitted", remedy="Call fit or load first.")
        return self.model_
