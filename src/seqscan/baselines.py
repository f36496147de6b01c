"""Simple clusterings to beat: k-means, graph communities, MMseqs2, and shuffled sequences.

None of this sees a label. `run_baselines` yields partitions; `aggregate` applies a score that the caller
brings (`seqscan.evaluate.label_scores` with the families bound, say) and averages it over seeds.
"""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize, scale

from seqscan.alignment import find_mmseqs, mmseqs_clusters
from seqscan.alphabet import AMINO
from seqscan.errors import InvalidParameter, MissingDependency, SeqscanWarning, ShapeMismatch

__all__ = [
    "BaselineRow",
    "BaselineSummary",
    "Communities",
    "aggregate",
    "composition",
    "kmeans_on_pca",
    "kmers",
    "label_propagation",
    "leiden",
    "log_length",
    "run_baselines",
    "shuffled",
]

MMSEQS_SENSITIVE = ("-s", "7.5", "--min-seq-id", "0", "-c", "0.3", "--cluster-mode", "1")

# Above so many distances a pass, k-means works on samples.
_MAX_DISTANCES = 100_000_000
_BLOCK_SEQUENCES = 8192

Sequences = Sequence[NDArray[np.uint8]]
Labels = NDArray[np.int64]


def composition(sequences: Sequences) -> NDArray[np.float32]:
    """Return the share of each standard residue, (N, 20); uncertain residues are left out.

    Examples
    --------
    >>> composition([AMINO.encode("AACX")])[0, :3].round(3).tolist()
    [0.6669999957084656, 0.3330000042915344, 0.0]
    """
    return normalize(_kmer_counts(sequences, 1), norm="l1").toarray()


def log_length(sequences: Sequences) -> NDArray[np.float32]:
    """Return the logarithm of each length, (N, 1): families of domains differ by it, order or not."""
    return np.log([[max(len(sequence), 1)] for sequence in sequences]).astype(np.float32)


def _composition_graph(sequences: Sequences, k: int = 20) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Join each protein with the `k` whose standardized composition is nearest, all edges equal."""
    points = scale(composition(sequences).astype(np.float64))  # in single precision scikit-learn warns
    k = min(k, len(points) - 1)
    # Not by `seqscan.neighbors`, which goes by cosine: what is compared with stands on others' code.
    near = NearestNeighbors(n_neighbors=k).fit(points).kneighbors(return_distance=False).astype(np.int32)
    return near, np.ones(near.shape, dtype=np.float32)


def kmers(sequences: Sequences, k: int) -> sparse.csr_array:
    """Return the counts of all k-mers of standard residues, each row of length 1.

    Parameters
    ----------
    sequences : N arrays of codes, each (L_i,)
    k : int, 1 to 5, residues

    Returns
    -------
    features : (N, 20 ** k) sparse array, float32
        All 0 for a sequence without k standard residues in a row.

    Raises
    ------
    InvalidParameter
        If `k` is out of range.

    Examples
    --------
    >>> kmers([AMINO.encode("ACAC")], 2).data.round(2).tolist()
    [0.8899999856948853, 0.44999998807907104]
    """
    if not 1 <= k <= 5:
        raise InvalidParameter("k", k, "must be 1 to 5")
    return normalize(_kmer_counts(sequences, k), norm="l2")


def _kmer_counts(sequences: Sequences, k: int) -> sparse.csr_array:
    n = AMINO.n_residues
    blocks = []
    for start in range(0, len(sequences), _BLOCK_SEQUENCES):
        block = sequences[start : start + _BLOCK_SEQUENCES]
        # A 0 after each sequence, so that no k-mer spans two.
        codes = np.concatenate([part for sequence in block for part in (sequence, np.zeros(k, np.uint8))])
        rows = np.repeat(np.arange(len(block)), [len(sequence) + k for sequence in block])
        windows = np.lib.stride_tricks.sliding_window_view(codes, k).astype(np.int64)
        whole = ((windows >= 1) & (windows <= n)).all(axis=1)
        columns = (windows[whole] - 1) @ (n ** np.arange(k)[::-1])
        ones = np.ones(len(columns), dtype=np.float32)
        cells = (ones, (rows[: len(windows)][whole], columns))
        blocks.append(sparse.coo_array(cells, shape=(len(block), n**k)).tocsr())
    return sparse.vstack(blocks, format="csr")


def shuffled(sequences: Sequences, seed: int) -> list[NDArray[np.uint8]]:
    """Return each sequence with its residues in random order: what remains is composition and length.

    Examples
    --------
    >>> (mixed,) = shuffled([AMINO.encode("MKVLA")], 0)
    >>> sorted(AMINO.decode(mixed))
    ['A', 'K', 'L', 'M', 'V']
    """
    generator = np.random.default_rng(seed)
    return [generator.permutation(sequence) for sequence in sequences]


def kmeans_on_pca(features: Any, n_clusters: int, seed: int, n_components: int = 50) -> Labels:
    """Cluster the first principal components with k-means.

    Parameters
    ----------
    features : (N, D), array or SciPy sparse
        Sparse features are not centred (a truncated SVD), so they stay sparse.
    n_clusters : int, 1 to N
    seed : int
    n_components : int
        No more than N or D of them are used.

    Returns
    -------
    labels : (N,), int64
        The best of 10 starts; of 3 on mini-batches if N times `n_clusters` is above 100 million.

    Raises
    ------
    InvalidParameter
        If `n_clusters` is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> labels = kmeans_on_pca(np.array([[0.0, 0.0], [0.0, 0.1], [9.0, 9.0]]), 2, seed=0)
    >>> bool(labels[0] == labels[1] != labels[2])
    True
    """
    n = features.shape[0]
    if not 1 <= n_clusters <= n:
        raise InvalidParameter("n_clusters", n_clusters, f"must be 1 to the number of proteins, {n}")
    n_components = min(n_components, *features.shape)
    reduce = TruncatedSVD if sparse.issparse(features) else PCA
    points = reduce(n_components, random_state=seed).fit_transform(features)
    if n * n_clusters <= _MAX_DISTANCES:
        model = KMeans(n_clusters, n_init=10, random_state=seed)
    else:
        model = MiniBatchKMeans(n_clusters, n_init=3, batch_size=max(4096, 2 * n_clusters), random_state=seed)
    return model.fit_predict(points).astype(np.int64)


class Communities(NamedTuple):
    """Communities of a graph.

    Attributes
    ----------
    labels : (N,), int64
        0 to `n_clusters` - 1.
    n_clusters : int
        How many there are, which may differ from the number asked for.
    resolution : float
        The resolution at which they were found.
    """

    labels: Labels
    n_clusters: int
    resolution: float


@contextmanager
def _igraph(seed: int) -> Iterator[Any]:
    """Give the module igraph, its random numbers seeded."""
    try:
        import igraph
    except ImportError:
        raise MissingDependency(
            "igraph is not installed.", remedy="Install it ('pip install seqscan[graph]'; it is GPL-2)."
        ) from None
    igraph.set_random_number_generator(random.Random(seed))
    try:
        yield igraph
    finally:
        igraph.set_random_number_generator(random)


def _undirected(igraph: Any, indices: NDArray[np.int32], similarities: NDArray[np.float32]) -> Any:
    """Join each protein with its neighbors and with those whose neighbor it is."""
    if indices.shape != similarities.shape or indices.ndim != 2:
        raise ShapeMismatch(
            f"indices {indices.shape} and similarities {similarities.shape} must be of one shape, (N, k)."
        )
    n = len(indices)
    if indices.size and indices.max() >= n:
        raise InvalidParameter("indices", int(indices.max()), f"rows are 0 to {n - 1}, and -1 for none")
    rows = np.repeat(np.arange(n), indices.shape[1])
    columns, weights = indices.ravel(), similarities.ravel().astype(np.float64)
    keep = (columns >= 0) & (columns != rows) & (weights > 0)
    matrix = sparse.coo_array((weights[keep], (rows[keep], columns[keep])), shape=(n, n)).tocsr()
    edges = sparse.triu(matrix.maximum(matrix.T)).tocoo()
    graph = igraph.Graph(n=n, edges=np.column_stack((edges.row, edges.col)))
    graph.es["weight"] = edges.data
    return graph


def leiden(
    indices: NDArray[np.int32],
    similarities: NDArray[np.float32],
    *,
    n_clusters: int | None = None,
    resolution: float | None = None,
    objective: Literal["CPM", "modularity"] = "CPM",
    seed: int = 0,
    max_tries: int = 20,
) -> Communities:
    """Find communities of a neighbor graph with the Leiden algorithm.

    Parameters
    ----------
    indices : (N, k), int32
        Neighbors of each protein, -1 for none.
    similarities : (N, k), float32
        Edges of 0 and less are left out.
    n_clusters : int, optional
        The resolution is searched by bisection until there are so many communities, or `max_tries` are spent;
        then the nearest number is returned. A graph of more components than that cannot give fewer.
    resolution : float, optional
        Used as it is. Give this or `n_clusters`.
    objective : 'CPM' or 'modularity'
        Modularity cannot see small communities in a large graph (its resolution limit).
    seed : int
    max_tries : int

    Raises
    ------
    MissingDependency
        If igraph is not installed.
    InvalidParameter, ShapeMismatch
        If not exactly one of `n_clusters` and `resolution` is given, or the graph is malformed.

    Notes
    -----
    Traag, Waltman and van Eck, Scientific Reports 9, 2019, as igraph implements it.

    Examples
    --------
    >>> import numpy as np
    >>> found = leiden(np.array([[1], [0], [3], [2]]), np.ones((4, 1)), n_clusters=2)
    >>> found.labels.tolist(), found.n_clusters
    ([0, 0, 1, 1], 2)
    """
    if (n_clusters is None) == (resolution is None):
        raise InvalidParameter("n_clusters", n_clusters, "give either this or 'resolution'")
    with _igraph(seed) as igraph:
        graph = _undirected(igraph, indices, similarities)

        def find(resolution: float) -> Communities:
            found = graph.community_leiden(
                objective, weights="weight", resolution=resolution, n_iterations=10
            )
            return Communities(np.array(found.membership, dtype=np.int64), len(found), resolution)

        if n_clusters is None:
            assert resolution is not None
            return find(resolution)
        n = graph.vcount()
        heaviest = max(graph.es["weight"], default=1.0)
        # From "all that hangs together is one community" to "each protein is its own".
        low, high = (heaviest / n**2, 2 * heaviest) if objective == "CPM" else (1e-4, 10.0 * n)
        best = None
        for _ in range(max_tries):
            found = find(float(np.sqrt(low * high)))
            if best is None or abs(found.n_clusters - n_clusters) < abs(best.n_clusters - n_clusters):
                best = found
            if found.n_clusters == n_clusters:
                break
            low, high = (found.resolution, high) if found.n_clusters < n_clusters else (low, found.resolution)
        if best is None:
            raise InvalidParameter("max_tries", max_tries, "must be 1 or more")
        return best


def label_propagation(
    indices: NDArray[np.int32], similarities: NDArray[np.float32], *, seed: int = 0
) -> Communities:
    """Find communities by letting each protein take the label most of its neighbors have.

    Parameters
    ----------
    indices, similarities : (N, k)
        As for `leiden`.
    seed : int

    Returns
    -------
    Communities
        Their number comes from the graph; `resolution` is NaN.

    Raises
    ------
    MissingDependency
        If igraph is not installed.
    InvalidParameter, ShapeMismatch
        If the graph is malformed.

    Notes
    -----
    Raghavan, Albert and Kumara, Physical Review E 76, 2007, as igraph implements it.

    Examples
    --------
    >>> import numpy as np
    >>> label_propagation(np.array([[1], [0], [3], [2]]), np.ones((4, 1))).n_clusters
    2
    """
    with _igraph(seed) as igraph:
        found = _undirected(igraph, indices, similarities).community_label_propagation(weights="weight")
    labels = np.unique(np.array(found.membership), return_inverse=True)[1]
    return Communities(labels, int(labels.max(initial=-1)) + 1, float("nan"))


@dataclass(frozen=True)
class BaselineRow:
    """One partition by one method.

    Attributes
    ----------
    method : str
    seed : int or None
        None if the method draws no random numbers.
    labels : (N,), int64
    seconds : float
        Wall time, features included where the method makes its own.
    """

    method: str
    seed: int | None
    labels: Labels
    seconds: float

    @property
    def n_clusters(self) -> int:
        """Number of clusters found."""
        return len(np.unique(self.labels))


def run_baselines(
    sequences: Sequences,
    n_clusters: int,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    vectors: NDArray[np.floating[Any]] | None = None,
    graph: tuple[NDArray[np.int32], NDArray[np.float32]] | None = None,
    threads: int = 2,
) -> Iterator[BaselineRow]:
    """Yield the partition of each method and seed, as soon as it is there.

    Parameters
    ----------
    sequences : N arrays of codes, each (L_i,)
    n_clusters : int
        For the methods that need a number or can be led to one.
    seeds : sequence of int
    vectors : (N, D), optional
        Embedding, for `kmeans_vectors`.
    graph : (N, k) int32 and (N, k) float32, optional
        Neighbors and similarities, for `leiden_cpm`, `leiden_modularity` and `label_propagation`.
    threads : int
        For MMseqs2.

    Warns
    -----
    SeqscanWarning
        If MMseqs2 or igraph is not installed: its methods are left out.

    Examples
    --------
    >>> rows = run_baselines([AMINO.encode(s) for s in ("AAAA", "AAAC", "WWWW")], 2, seeds=[0])
    >>> next(rows).method
    'random'
    """
    n = len(sequences)
    methods: dict[str, Callable[[int], Labels]] = {
        "random": lambda seed: np.random.default_rng(seed).integers(0, n_clusters, n),
        "kmeans_length": lambda seed: kmeans_on_pca(log_length(sequences), n_clusters, seed),
        "kmeans_composition": lambda seed: kmeans_on_pca(composition(sequences), n_clusters, seed),
        "leiden_composition": lambda seed: (
            leiden(*_composition_graph(sequences), n_clusters=n_clusters, seed=seed).labels
        ),
        "kmeans_2mers": lambda seed: kmeans_on_pca(kmers(sequences, 2), n_clusters, seed),
        "kmeans_3mers": lambda seed: kmeans_on_pca(kmers(sequences, 3), n_clusters, seed),
    }
    if vectors is not None:
        methods["kmeans_vectors"] = lambda seed: kmeans_on_pca(vectors, n_clusters, seed)
    if graph is not None:
        methods |= {
            "leiden_cpm": lambda seed: leiden(*graph, n_clusters=n_clusters, seed=seed).labels,
            "leiden_modularity": lambda seed: (
                leiden(*graph, n_clusters=n_clusters, objective="modularity", seed=seed).labels
            ),
            "label_propagation": lambda seed: label_propagation(*graph, seed=seed).labels,
        }
    for method, cluster in methods.items():
        try:
            for seed in seeds:
                yield _timed(method, seed, cluster)
        except MissingDependency as error:
            warnings.warn(f"{method} is left out: {error}", SeqscanWarning, stacklevel=2)
    if find_mmseqs() is None:
        warnings.warn("mmseqs2 is left out: it is not installed.", SeqscanWarning, stacklevel=2)
        return
    for method, options in (("mmseqs2", ()), ("mmseqs2_sensitive", MMSEQS_SENSITIVE)):
        yield _timed(method, None, lambda _, options=options: mmseqs_clusters(  # type: ignore[misc]
            sequences, options=options, threads=threads
        ))  # fmt: skip


def _timed(method: str, seed: int | None, cluster: Callable[[Any], Labels]) -> BaselineRow:
    start = time.perf_counter()
    labels = cluster(seed)
    return BaselineRow(method, seed, labels, time.perf_counter() - start)


@dataclass(frozen=True)
class BaselineSummary:
    """What one method reaches, over its runs.

    Attributes
    ----------
    method : str
    n_runs : int
    mean : dict of figure to float
        The caller's figures, and `seconds`.
    sd : dict of figure to float
        Standard deviation of the runs (n - 1); empty if there is one run only.
    """

    method: str
    n_runs: int
    mean: dict[str, float]
    sd: dict[str, float]


def aggregate(
    rows: Iterable[BaselineRow], score: Callable[[Labels], Mapping[str, float]]
) -> list[BaselineSummary]:
    """Score each partition and average over the runs of each method, in order of first appearance.

    Parameters
    ----------
    rows : iterable of BaselineRow
    score : callable
        Maps labels (N,) to figures. It is the caller's: this module knows no truth.

    Examples
    --------
    >>> import numpy as np
    >>> rows = [BaselineRow("a", seed, np.arange(seed + 1), 1.0) for seed in (0, 2)]
    >>> (summary,) = aggregate(rows, lambda labels: {"size": float(len(labels))})
    >>> summary.mean["size"], round(summary.sd["size"], 3)
    (2.0, 1.414)
    """
    figures: dict[str, list[dict[str, float]]] = {}
    for row in rows:
        figures.setdefault(row.method, []).append({**score(row.labels), "seconds": row.seconds})
    return [_summary(method, runs) for method, runs in figures.items()]


def _summary(method: str, runs: list[dict[str, float]]) -> BaselineSummary:
    values = {name: np.array([run[name] for run in runs], dtype=np.float64) for name in runs[0]}
    mean = {name: float(value.mean()) for name, value in values.items()}
    sd = {name: float(value.std(ddof=1)) for name, value in values.items()} if len(runs) > 1 else {}
    return BaselineSummary(method, len(runs), mean, sd)
