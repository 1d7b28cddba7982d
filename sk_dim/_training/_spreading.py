"""Spreading: labels travel from few samples to their neighbours among all.

This module imports nothing of its own package.
"""

import numpy as np
from scipy.sparse import csr_array
from sklearn.neighbors import NearestNeighbors
from sklearn.semi_supervised import LabelSpreading

N_NEIGHBORS = 5
RETENTION = 0.9  # of what a sample gets from its neighbours, beside its own label
MOST = 5000  # samples without label in the graph, whose time is quadratic
MOST_ROUNDS = 1000


def spread_labels(
    features: np.ndarray, class_ids: np.ndarray, frequencies: np.ndarray
) -> np.ndarray:
    """Guess the classes of all samples from the labels of some.

    Each sample takes over what its nearest neighbours are, and these what theirs are.
    What a class gains in all is then set to its frequency, without which the class that
    happens to have labels in the densest place would take most.

    Parameters
    ----------
    features : ndarray of shape (n, d)
        Neighbours are those of the smallest angle between centred features.
    class_ids : ndarray of int, of shape (n,)
        From 0 to k - 1, each at least once; -1 where there is no label.
    frequencies : ndarray of shape (k,)
        Of the classes.

    Returns
    -------
    ndarray of shape (n, k)
        Probabilities; of labelled samples, those of their label.

    References
    ----------
    D. Zhou, O. Bousquet, T. N. Lal, J. Weston, B. Schölkopf (2003). Learning with local
    and global consistency.

    X. Zhu, Z. Ghahramani, J. Lafferty (2003). Semi-supervised learning using Gaussian
    fields and harmonic functions.
    """
    model = LabelSpreading(_join_neighbors, alpha=RETENTION, max_iter=MOST_ROUNDS)
    found = model.fit(features, class_ids).label_distributions_
    found = found * frequencies / found.sum(axis=0)
    # Where no label is connected to a sample, nothing is known of it.
    total = found.sum(axis=1, keepdims=True)
    found = np.where(total > 0, found / np.where(total > 0, total, 1), frequencies)
    has_label = class_ids >= 0
    found[has_label] = np.eye(len(frequencies))[class_ids[has_label]]
    return found


def choose_rows(class_ids: np.ndarray, seed: int) -> np.ndarray:
    """Return the rows that are to be in the graph: of those without label, not all."""
    rng = np.random.RandomState(seed)
    others = rng.permutation(np.flatnonzero(class_ids < 0))[:MOST]
    return np.sort(np.concatenate([np.flatnonzero(class_ids >= 0), others]))


def _join_neighbors(features: np.ndarray, _: object = None) -> csr_array:
    """Weights (n, n) between samples and their nearest neighbours, the same both ways.

    A pair counts by its cosine, and twice if each is a neighbour of the other.
    """
    centred = features - features.mean(axis=0)
    n_neighbors = min(N_NEIGHBORS, len(features) - 1)
    near = NearestNeighbors(n_neighbors=n_neighbors, metric="cosine").fit(centred)
    distances = near.kneighbors_graph(mode="distance")
    distances.data = (1 - distances.data).clip(1e-6)
    return csr_array(distances + distances.T)
