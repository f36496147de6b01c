"""Average linkage of things of which only some pairs are compared."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

__all__ = ["average_linkage"]


def average_linkage(
    pairs: NDArray[np.int64], similarity: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Join the two groups whose compared pairs are most similar in the mean, until nothing compared is left.

    Pairs that are not compared say nothing, neither for nor against. One pair alone cannot join two groups
    that the other pairs between them hold apart, as it could in connected components.

    Parameters
    ----------
    pairs : (T, 2), int64
        What is compared, each pair once.
    similarity : (T,)
        Infinite for pairs that are one in any case.

    Returns
    -------
    joined : (J, 2), int64
        A member of each of two groups that join.
    similarity : (J,)
        At which they do. What joins at a similarity or above it are the groups of that level.

    Notes
    -----
    `sklearn.cluster.linkage_tree`, for each connected component by itself: it wants all pairs of one.

    Examples
    --------
    One pair of 0.8 between two groups of three, and others of 0.1 and 0.2:

    >>> pairs = np.array([[0, 1], [1, 2], [3, 4], [4, 5], [2, 3], [0, 4], [1, 5]])
    >>> joined, similarity = average_linkage(pairs, np.array([0.9, 0.9, 0.9, 0.9, 0.8, 0.1, 0.2]))
    >>> joined[similarity >= 0.5].tolist(), similarity.round(2).tolist()
    ([[4, 5], [0, 1], [3, 4], [2, 0]], [0.9, 0.9, 0.9, 0.9, 0.37])
    """
    from sklearn.cluster import linkage_tree

    certain = np.isinf(similarity)
    joined, at = [pairs[certain]], [similarity[certain].astype(np.float64)]
    pairs, similarity = pairs[~certain], similarity[~certain]
    if len(pairs):
        n = int(pairs.max()) + 1
        one = csr_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
        component = connected_components(one, directed=False)[1][pairs[:, 0]]
        order = np.argsort(component, kind="stable")
        for own in np.split(order, np.flatnonzero(np.diff(component[order])) + 1):
            members, place = np.unique(pairs[own], return_inverse=True)
            a, b = place.reshape(-1, 2).T
            distance = np.ones((len(members), len(members)))
            distance[a, b] = distance[b, a] = 1.0 - similarity[own]
            compared = csr_matrix((np.ones(2 * len(a)), (np.r_[a, b], np.r_[b, a])), shape=distance.shape)
            children, _, _, _, height = linkage_tree(
                distance,
                connectivity=compared,
                linkage="average",
                affinity="precomputed",
                return_distance=True,
            )
            # A group is known by its first member; the one that row i makes has the number len(members) + i.
            member = [*range(len(members))]
            for left, _ in children:
                member.append(member[left])
            joined.append(members[np.array(member)[children]])
            at.append(1.0 - height)
    return np.concatenate(joined), np.concatenate(at)
