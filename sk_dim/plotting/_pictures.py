"""Displays that show samples themselves: neighbours, and scores of their parts."""

from typing import Any, Self

import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from sk_dim.evaluation import Reconstruction, reconstruct
from sk_dim.evaluation._samples import as_samples

MAX_PICTURES = 16  # side by side


def pyplot() -> Any:
    """Return matplotlib.pyplot, or say how to install it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            'plotting needs matplotlib: pip install "sk_dim[plot]".'
        ) from error
    return plt


def find_transformer(estimator: Any, *methods: str) -> Any:
    """Return the estimator, or the encoder of a classifier, that has some methods.

    Raises
    ------
    TypeError
        If neither has them.
    """
    for each in (estimator, getattr(estimator, "encoder_", None)):
        if all(hasattr(each, method) for method in methods):
            return each
    takes = "transformer, such as a DeepInfomaxTransformer,"
    if "transform" not in methods:
        takes = "DeepInfomaxTransformer"
    raise TypeError(
        f"this {type(estimator).__name__} has no method {' or '.join(methods)}; pass a "
        f"fitted {takes} or a fitted DeepInfomaxClassifier."
    )


def scaled_features(estimator: Any, X: Any) -> np.ndarray:
    """Return what a fitted transformer makes of samples, at mean 0 and variance 1."""
    Z = np.asarray(estimator.transform(X))
    return StandardScaler().set_output(transform="default").fit_transform(Z)


def _as_pictures(X: Any, estimator: Any) -> tuple[str, np.ndarray]:
    """View samples as `as_samples` does, but refuse rows of a table."""
    kind, samples = as_samples(X, estimator)
    if kind == "table":
        raise ValueError(
            "rows of a table have no picture; this display takes images and series."
        )
    return kind, samples


def draw_sample(ax: Any, kind: str, sample: np.ndarray) -> None:
    """Draw an image, the lines of a series, or the columns of a table as bars."""
    if kind == "image":
        ax.imshow(sample, cmap="gray", vmin=0, vmax=1)
    elif kind == "table":
        ax.bar(np.arange(sample.size), sample.ravel(), width=1)
    else:
        ax.plot(sample.T, lw=1)
    ax.set(xticks=[], yticks=[])


class NeighborsDisplay:
    """Nearest and farthest neighbours of some samples, as a grid of pictures.

    Parameters
    ----------
    samples : ndarray
        Images (n, h, w) or (n, h, w, 3) between 0 and 1, or series (n, c, l).
    kind : {"image", "series"}
        What the samples are.
    rows : ndarray of shape (n_rows,)
        Indices of the samples whose neighbours are shown.
    nearest, farthest : ndarray of shape (n_rows, n_neighbors)
        Indices of their neighbours; the nearest come nearest first, the farthest
        farthest first.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, of shape (n_rows, 1 + 2 n_neighbors)
        The grid: each sample, then its nearest, then its farthest neighbours.
    figure_ : matplotlib Figure
        The figure of the axes.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_dim import DeepInfomaxTransformer
    >>> X = np.random.default_rng(0).normal(size=(64, 8, 8))
    >>> dim = DeepInfomaxTransformer(8, max_iter=1, random_state=0).fit(X)
    >>> NeighborsDisplay.from_estimator(dim, X, n_neighbors=2).axes_.shape
    (5, 5)
    """

    def __init__(
        self,
        samples: np.ndarray,
        kind: str,
        rows: np.ndarray,
        nearest: np.ndarray,
        farthest: np.ndarray,
    ) -> None:
        self.samples = samples
        self.kind = kind
        self.rows = rows
        self.nearest = nearest
        self.farthest = farthest

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        rows: Any = None,
        n_neighbors: int = 4,
        metric: str = "euclidean",
        ax: Any = None,
    ) -> Self:
        """Find neighbours by the features of a fitted transformer, and draw them.

        Parameters
        ----------
        estimator : fitted transformer or DeepInfomaxClassifier
            With the method `transform`, or with a transformer as its ``encoder_``.
        X : array-like of shape (n_samples, ...)
            Images or series that it takes.
        rows : array-like of int, default=None
            Indices of the samples whose neighbours are shown. None takes five, evenly
            over `X`.
        n_neighbors : int, default=4
            Number of nearest neighbours, and of farthest ones.
        metric : str, default="euclidean"
            Distance between scaled features, by its name in scikit-learn.
        ax : ndarray of matplotlib Axes, default=None
            To draw into; None makes them.

        Returns
        -------
        NeighborsDisplay
            What was drawn.
        """
        estimator = find_transformer(estimator, "transform")
        kind, samples = _as_pictures(X, estimator)
        if not 1 <= n_neighbors < len(samples):
            raise ValueError(
                f"n_neighbors={n_neighbors} of {len(samples)} samples; it must be from "
                "1 to one less than the samples."
            )
        if rows is None:
            rows = np.unique(np.linspace(0, len(samples) - 1, 5).astype(int))
        rows = np.asarray(rows)
        Z = scaled_features(estimator, X)
        search = NearestNeighbors(n_neighbors=len(Z), metric=metric).fit(Z)
        order = search.kneighbors(Z[rows], return_distance=False)
        # A sample is no neighbour of its own; copies of it may come before it.
        others = np.array(
            [each[each != row] for each, row in zip(order, rows, strict=True)]
        )
        nearest, farthest = others[:, :n_neighbors], others[:, : -n_neighbors - 1 : -1]
        return cls(samples, kind, rows, nearest, farthest).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the grid.

        Parameters
        ----------
        ax : ndarray of matplotlib Axes, default=None
            To draw into, of the shape of `axes_`; None makes them.

        Returns
        -------
        NeighborsDisplay
            Itself.
        """
        n_rows, n_each = self.nearest.shape
        if ax is None:
            _, ax = pyplot().subplots(
                n_rows,
                1 + 2 * n_each,
                figsize=(1.1 * (1 + 2 * n_each), 1.15 * n_rows + 0.3),
                layout="constrained",
                squeeze=False,
            )
        self.axes_ = np.asarray(ax).reshape(n_rows, 1 + 2 * n_each)
        self.figure_ = self.axes_[0, 0].figure
        shown = np.column_stack([self.rows, self.nearest, self.farthest])
        for row_axes, row in zip(self.axes_, shown, strict=True):
            for each, sample in zip(row_axes, row, strict=True):
                draw_sample(each, self.kind, self.samples[sample])
            for spine in row_axes[0].spines.values():
                spine.set(color="C3", linewidth=2)
        for column, title in ((0, "sample"), (1, "nearest"), (1 + n_each, "farthest")):
            self.axes_[0, column].set_title(title, loc="left", fontsize=10)
        return self


class LocalScoreDisplay:
    """Which parts of a sample its global features tell most about.

    Parameters
    ----------
    samples : ndarray
        Images (n, h, w) or (n, h, w, 3) between 0 and 1, or series (n, c, l).
    kind : {"image", "series"}
        What the samples are.
    scores : ndarray of shape (n, h', w') or (n, l')
        Score of each location with the global features of its own sample.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, of shape (2, n) or (1, n)
        Images, and below them their scores; series over theirs.
    figure_ : matplotlib Figure
        The figure of the axes.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_dim import DeepInfomaxTransformer
    >>> X = np.random.default_rng(0).normal(size=(64, 8, 8))
    >>> dim = DeepInfomaxTransformer(8, max_iter=1, random_state=0).fit(X)
    >>> LocalScoreDisplay.from_estimator(dim, X[:3]).scores.shape
    (3, 4, 4)
    """

    def __init__(self, samples: np.ndarray, kind: str, scores: np.ndarray) -> None:
        self.samples = samples
        self.kind = kind
        self.scores = scores

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, *, ax: Any = None) -> Self:
        """Score the locations of some samples, and draw them.

        Parameters
        ----------
        estimator : fitted DeepInfomaxTransformer or DeepInfomaxClassifier
            With the methods `local_scores` and `features`, or with a transformer that
            has them as its ``encoder_``.
        X : array-like of shape (n_samples, ...)
            Images or series, at most 16.
        ax : ndarray of matplotlib Axes, default=None
            To draw into; None makes them.

        Returns
        -------
        LocalScoreDisplay
            What was drawn.
        """
        estimator = find_transformer(estimator, "local_scores", "features")
        kind, samples = _as_pictures(X, estimator)
        if len(samples) > MAX_PICTURES:
            raise ValueError(
                f"{len(samples)} samples; pass at most {MAX_PICTURES}, such as "
                f"X[:{MAX_PICTURES}]."
            )
        sides = estimator.features(X[:1])["local"].shape[2:]
        scores = estimator.local_scores(X).reshape(len(samples), *sides)
        return cls(samples, kind, scores).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw samples and scores.

        Parameters
        ----------
        ax : ndarray of matplotlib Axes, default=None
            To draw into, of the shape of `axes_`; None makes them.

        Returns
        -------
        LocalScoreDisplay
            Itself.
        """
        n, n_rows = len(self.samples), 2 if self.kind == "image" else 1
        if ax is None:
            _, ax = pyplot().subplots(
                n_rows,
                n,
                figsize=(max(1.4 * n + 0.8, 3), 1.5 * n_rows + 0.3),
                layout="constrained",
                squeeze=False,
            )
        self.axes_ = np.asarray(ax).reshape(n_rows, n)
        self.figure_ = self.axes_[0, 0].figure
        limits = {"vmin": self.scores.min(), "vmax": self.scores.max()}
        for i, (sample, scores) in enumerate(
            zip(self.samples, self.scores, strict=True)
        ):
            column = self.axes_[:, i]
            if self.kind == "image":
                draw_sample(column[0], "image", sample)
                drawn = column[1].imshow(scores, **limits)
                column[1].set(xticks=[], yticks=[])
            else:
                # The scores are the ground that the series is drawn on.
                draw_sample(column[0], "series", sample)
                length = int((~np.isnan(sample[0])).sum())
                extent = (-0.5, length - 0.5, *column[0].get_ylim())
                drawn = column[0].imshow(
                    scores[None], extent=extent, aspect="auto", alpha=0.5, **limits
                )
                column[0].set_xlim(-0.5, sample.shape[1] - 0.5)
        self.figure_.colorbar(drawn, ax=self.axes_[-1].tolist(), label="score")
        return self


class ReconstructionDisplay:
    """Images, and below each what a decoder made of its features.

    Parameters
    ----------
    reconstruction : Reconstruction
        What `sk_dim.evaluation.reconstruct` returned.

    Attributes
    ----------
    figure_ : matplotlib Figure
    axes_ : ndarray of matplotlib Axes, of shape (2, n)

    Examples
    --------
    >>> import numpy as np
    >>> from sk_dim.evaluation import Reconstruction
    >>> images = np.random.default_rng(0).uniform(size=(3, 8, 8))
    >>> found = Reconstruction(images, images, 1.0, 0.0)
    >>> ReconstructionDisplay.from_results(found).axes_.shape  # doctest: +SKIP
    (2, 3)
    """

    def __init__(self, reconstruction: Reconstruction) -> None:
        self.reconstruction = reconstruction

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, *, ax: Any = None, **params: Any
    ) -> Self:
        """Train a decoder on the features of a fitted transformer, and draw.

        Parameters
        ----------
        estimator : fitted transformer or DeepInfomaxClassifier
            Of images.
        X : array-like of shape (n, ...)
            Images.
        ax : ndarray of matplotlib Axes, default=None
            To draw into; None makes them.
        **params
            Of `sk_dim.evaluation.reconstruct`.

        Returns
        -------
        ReconstructionDisplay
            What was drawn.
        """
        estimator = find_transformer(estimator, "transform")
        return cls(reconstruct(estimator, X, **params)).plot(ax=ax)

    @classmethod
    def from_results(cls, reconstruction: Reconstruction, *, ax: Any = None) -> Self:
        """Draw what was reconstructed.

        Parameters
        ----------
        reconstruction : Reconstruction
            What `sk_dim.evaluation.reconstruct` returned.
        ax : ndarray of matplotlib Axes, default=None
            To draw into; None makes them.

        Returns
        -------
        ReconstructionDisplay
            What was drawn.
        """
        return cls(reconstruction).plot(ax=ax)

    def plot(self, ax: Any = None, n_images: int = 10) -> Self:
        """Draw the first images in a row, and their reconstructions below.

        Parameters
        ----------
        ax : ndarray of matplotlib Axes, default=None
            To draw into, of shape (2, n); None makes them.
        n_images : int, default=10
            How many to draw.

        Returns
        -------
        ReconstructionDisplay
            Itself.
        """
        found = self.reconstruction
        n = min(n_images, len(found.images))
        if ax is None:
            _, ax = pyplot().subplots(
                2,
                n,
                figsize=(1.1 * n, 2.7),
                layout="constrained",
                squeeze=False,
            )
        self.axes_ = np.asarray(ax).reshape(2, n)
        self.figure_ = self.axes_[0, 0].figure
        for row, pictures in zip(
            self.axes_, (found.images, found.reconstructed), strict=True
        ):
            for each, picture in zip(row, pictures[:n], strict=True):
                draw_sample(each, "image", picture)
        self.axes_[0, 0].set_title("image", loc="left", fontsize=10)
        title = f"from its features: MS-SSIM {found.ms_ssim:.2f}"
        self.axes_[1, 0].set_title(title, loc="left", fontsize=10)
        return self
