"""Baselines beside Deep InfoMax, and the probe that judges both.

This module imports nothing of its own package.
"""

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import MiniBatchKMeans
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

MANY_VALUES = 2**22  # above which a second thread makes a linear model faster


class PatchKMeans(TransformerMixin, BaseEstimator):
    """Patch k-means: whitened patches, triangle activation, sums over quadrants.

    Parameters
    ----------
    n_clusters : int, default=400
        Centroids; the features are four times as many.
    patch_size : int or None, default=None
        Side of a patch, in pixels; None takes 6 as Coates et al. did, but 4 in images
        of less than 16 pixels a side, where that is better.
    n_patches : int, default=50_000
        Random patches that whitening and centroids are learnt from.
    random_state : int, default=0
        Seed of the patches and of k-means.

    References
    ----------
    A. Coates, H. Lee, A. Y. Ng (2011). An Analysis of Single-Layer Networks in
    Unsupervised Feature Learning. AISTATS.
    """

    def __init__(
        self,
        n_clusters: int = 400,
        *,
        patch_size: int | None = None,
        n_patches: int = 50_000,
        random_state: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.patch_size = patch_size
        self.n_patches = n_patches
        self.random_state = random_state

    def _patches(self, X: np.ndarray) -> np.ndarray:
        """Cut images (n, h, w, ...) into all patches, (n, rows, columns, values)."""
        X = X.reshape(*X.shape[:3], -1).astype(np.float32)
        size = self.patch_size or (6 if min(X.shape[1:3]) >= 16 else 4)
        windows = np.lib.stride_tricks.sliding_window_view(X, (size, size), axis=(1, 2))
        patches = windows.reshape(*windows.shape[:3], -1)
        patches = patches - patches.mean(axis=-1, keepdims=True)
        return patches / np.sqrt(patches.var(axis=-1, keepdims=True) + self.floor_)

    def fit(self, X: np.ndarray, y: Any = None) -> Self:
        """Learn whitening and centroids."""
        rng = np.random.default_rng(self.random_state)
        self.floor_ = 0.01 * X.var()  # keeps flat patches from being blown up to noise
        n_images = min(len(X), 2000)
        patches = self._patches(X[rng.permutation(len(X))[:n_images]])
        patches = patches.reshape(-1, patches.shape[-1])
        patches = patches[rng.permutation(len(patches))[: self.n_patches]]
        self.mean_ = patches.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov(patches, rowvar=False))
        self.whitening_ = (vectors / np.sqrt(values + 0.1)) @ vectors.T
        self.kmeans_ = MiniBatchKMeans(
            min(self.n_clusters, len(patches)),
            n_init=1,
            batch_size=2048,
            random_state=self.random_state,
        ).fit((patches - self.mean_) @ self.whitening_)
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Sum the activations of each quadrant."""
        blocks = [self._activate(X[i : i + 100]) for i in range(0, len(X), 100)]
        return np.concatenate(blocks).astype(np.float32)

    def _activate(self, X: np.ndarray) -> np.ndarray:
        patches = self._patches(X)
        white = (patches - self.mean_) @ self.whitening_
        distances = self.kmeans_.transform(white.reshape(-1, white.shape[-1]))
        # Triangle activation: how much nearer than the average centroid.
        active = np.maximum(distances.mean(axis=1, keepdims=True) - distances, 0)
        active = active.reshape(*patches.shape[:3], -1)
        quadrants = [
            quadrant
            for half in np.array_split(active, 2, axis=1)
            for quadrant in np.array_split(half, 2, axis=2)
        ]
        return np.hstack([quadrant.sum(axis=(1, 2)) for quadrant in quadrants])


def probe(
    Z: np.ndarray,
    y: np.ndarray,
    Z_test: np.ndarray,
    y_test: np.ndarray,
    n_labels: int | None,
    *,
    n_draws: int = 5,
    seed: int = 0,
) -> np.ndarray:
    """Judge features by a linear model on few labelled rows.

    Parameters
    ----------
    Z, Z_test : ndarray of shape (n, d)
        Features of the rows to draw labels from, and of the test rows.
    y, y_test : ndarray of shape (n,)
        Their labels.
    n_labels : int or None
        Labels a class in each draw; None takes all rows, once.
    n_draws : int, default=5
        Number of stratified draws.
    seed : int, default=0
        Seed of the draws.

    Returns
    -------
    ndarray of shape (n_draws,)
        Accuracy on the test rows for each draw. The strength of the regularisation is
        chosen by cross-validation on the first.
    """
    Z, Z_test = Z.astype(np.float32), Z_test.astype(np.float32)
    best_C = None
    accuracies = []
    for draw in range(1 if n_labels is None else n_draws):
        rows = draw_rows(y, n_labels, seed, draw)
        # Small problems are solved ten times faster by one thread than by two.
        with threadpool_limits(1 if Z[rows].size < MANY_VALUES else None):
            if best_C is None:
                best_C = _choose_C(Z[rows], y[rows], n_folds=min(3, n_labels or 3))
            model = _linear(best_C).fit(Z[rows], y[rows])
            accuracies.append(model.score(Z_test, y_test))
    return np.array(accuracies)


def draw_rows(y: np.ndarray, n_labels: int | None, seed: int, draw: int) -> np.ndarray:
    """Draw so many rows of each class, or all; the same for every method."""
    if n_labels is None:
        return np.arange(len(y))
    rng = np.random.default_rng([seed, draw])
    by_class = [rng.permutation(np.flatnonzero(y == label)) for label in np.unique(y)]
    return np.concatenate([rows[:n_labels] for rows in by_class])


def _choose_C(Z: np.ndarray, y: np.ndarray, n_folds: int) -> float:
    grid = {"clf__C": [0.001, 0.01, 0.1, 1.0]}
    return GridSearchCV(_linear(1.0), grid, cv=n_folds).fit(Z, y).best_params_["clf__C"]


def _linear(C: float) -> Pipeline:
    return Pipeline(
        [("scale", StandardScaler()), ("clf", LogisticRegression(C=C, max_iter=500))]
    )
