"""Sparse tables of pairs, such as of protein and term: made, looked up, and taken apart."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["at", "expand", "incidence", "merged"]


def incidence(rows: NDArray[np.integer], columns: NDArray[np.integer], shape: tuple[int, int]) -> Any:
    """Return a CSR matrix of int32 with 1 at each pair of a row and a column, however often it is given.

    Examples
    --------
    >>> incidence(np.array([0, 1, 1]), np.array([1, 0, 0]), (2, 2)).toarray().tolist()
    [[0, 1], [1, 0]]
    """
    table = sparse.csr_array((np.ones(len(rows), np.int32), (rows, columns)), shape=shape)
    table.sum_duplicates()
    table.data[:] = 1
    return table


def merged(table: Any, wholes: NDArray[np.integer], n_wholes: int) -> Any:
    """Return what each of W wholes has, (W, T), of what its parts have, (N, T) sparse: 1 if any of them does.

    Examples
    --------
    >>> merged(sparse.csr_array([[1, 0], [0, 1], [0, 1]]), np.array([0, 0, 2]), 3).toarray().tolist()
    [[1, 1], [0, 0], [0, 1]]
    """
    part, column = table.nonzero()
    return incidence(wholes[part], column, (n_wholes, table.shape[1]))


def at(matrix: Any, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return single elements of a sparse matrix; much faster than its own indexing."""
    matrix = matrix.tocsr()
    matrix.sort_indices()
    width = matrix.shape[1]
    keys = (
        np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr)) * width + matrix.indices
    )
    wanted = rows.astype(np.int64) * width + columns
    if not len(keys):
        return np.zeros(len(wanted), np.float32)
    found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[found] == wanted, matrix.data[found], 0).astype(np.float32)


def expand(matrix: Any, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return all entries of some rows of a CSR matrix, as (places in `rows`, columns).

    Examples
    --------
    >>> pairs = expand(sparse.csr_array([[1, 0, 1], [0, 0, 0], [0, 1, 0]]), np.array([2, 0, 2]))
    >>> [part.tolist() for part in pairs]
    [[0, 1, 1, 2], [1, 0, 2, 1]]
    """
    counts = np.diff(matrix.indptr)[rows]
    place = np.repeat(np.arange(len(rows)), counts)
    within = np.arange(len(place)) - np.repeat(np.cumsum(counts) - counts, counts)
    return place, matrix.indices[np.repeat(matrix.indptr[rows], counts) + within].astype(np.int64)
