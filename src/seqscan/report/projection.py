"""Embeddings laid out in the plane, for the map of the report."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from seqscan.errors import InvalidParameter, ShapeMismatch

__all__ = ["project_to_plane"]


def project_to_plane(
    vectors: NDArray[np.floating], *, random_state: int = 0, n_landmarks: int = 6000
) -> NDArray[np.float32]:
    """Lay vectors out in the plane, so that neighbors stay neighbors.

    Parameters
    ----------
    vectors : (N, D), float
        Compared by direction.
    random_state : int
        Draws the landmarks; the result depends on nothing else.
    n_landmarks : int
        Most vectors that t-SNE lays out; each further one is put beside the landmarks nearest to it.

    Returns
    -------
    positions : (N, 2), float32
        Only nearness has a meaning: axes, empty space between groups and their areas have none.

    Raises
    ------
    ShapeMismatch
        If `vectors` is no matrix.
    InvalidParameter
        If `n_landmarks` is below 10.

    Notes
    -----
    t-SNE (van der Maaten, JMLR 2014) begins with the first two principal components, which keeps the layout
    of the whole. It runs in one thread: with more, the order of a sum depends on the number of threads, and a
    seed would not give the same picture on two machines.

    Examples
    --------
    >>> project_to_plane(np.eye(3)).shape
    (3, 2)
    """
    # Imported here so that reading a report's data does not wait a second for scikit-learn.
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if vectors.ndim != 2:
        raise ShapeMismatch(f"vectors has shape {vectors.shape}, a matrix (N, D) is needed.")
    if n_landmarks < 10:
        raise InvalidParameter("n_landmarks", n_landmarks, "must be at least 10")
    n = len(vectors)
    generator = np.random.default_rng(random_state)
    chosen = np.sort(generator.permutation(n)[:n_landmarks])
    unit = np.asarray(vectors, dtype=np.float32)
    unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    n_components = min(50, len(chosen), unit.shape[1])
    if n < 2 or n_components < 2 or not np.ptp(unit, axis=0).any():
        # Nothing to lay out: a point, or vectors that are all equal.
        return np.stack([np.arange(n), np.zeros(n)], axis=1).astype(np.float32)
    with threadpool_limits(1):
        pca = PCA(n_components, svd_solver="full", random_state=random_state).fit(unit[chosen])
        reduced = pca.transform(unit).astype(np.float32)
        if len(chosen) < 10:
            return np.ascontiguousarray(reduced[:, :2])
        tsne = TSNE(
            perplexity=min(30.0, (len(chosen) - 1) / 3.0),
            init="pca",
            angle=0.6,
            max_iter=500,
            random_state=random_state,
        )
        landmarks = tsne.fit_transform(reduced[chosen]).astype(np.float32)
        positions = np.empty((n, 2), dtype=np.float32)
        positions[chosen] = landmarks
        others = np.setdiff1d(np.arange(n), chosen)
        # Half the usual gap between two landmarks: a cloud, where equal places would hide how many there are.
        gap = 0.5 * math.sqrt(float(np.prod(np.ptp(landmarks, axis=0))) / len(chosen))
        norms = (reduced[chosen] ** 2).sum(axis=1)
        for start in range(0, len(others), 2048):
            rows = others[start : start + 2048]
            distances = norms - 2.0 * reduced[rows] @ reduced[chosen].T
            nearest = np.argpartition(distances, 3, axis=1)[:, :3]
            # The median of three stays with the majority; a mean would fall between two groups.
            positions[rows] = np.median(landmarks[nearest], axis=1)
        positions[others] += gap * generator.standard_normal((len(others), 2), dtype=np.float32)
    return positions
