"""Displays of a training, of label efficiency and of features."""

import numbers
from typing import Any, Self

import numpy as np
from sklearn.decomposition import PCA
from sklearn.utils import check_consistent_length

from sk_dim.evaluation._targets import as_target, find_labelled, find_missing
from sk_dim.plotting._pictures import find_transformer, pyplot, scaled_features

TERMS = {
    "epoch": ("local", "global", "prior"),
    "step": ("supervised", "unlabelled", "infomax"),
}
MAX_CLASSES = 20  # that colours can tell apart
UNLABELLED_COLOR = "0.8"


def _one_ax(ax: Any, **size: Any) -> Any:
    if ax is None:
        _, ax = pyplot().subplots(layout="constrained", **size)
    return ax


def _counted(history: list[dict[str, float]]) -> str | None:
    """Say what a history counts, of which it has terms: epochs or steps."""
    has = history[0].keys()
    return next(
        (each for each in TERMS if each in has and set(TERMS[each]) & has), None
    )


class TrainingDisplay:
    """The terms of the objective over the epochs, or of a fine-tuning over its steps.

    Parameters
    ----------
    history : list of dict
        The ``history_`` of an estimator.

    Attributes
    ----------
    ax_ : matplotlib Axes
        With a solid line for each term, and a dashed one for the same term of held-out
        rows.
    figure_ : matplotlib Figure
        The figure of the axes.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_dim import DeepInfomaxTransformer
    >>> X = np.random.default_rng(0).normal(size=(64, 8, 8))
    >>> dim = DeepInfomaxTransformer(8, max_iter=2, random_state=0).fit(X)
    >>> display = TrainingDisplay.from_estimator(dim)
    >>> display.ax_.get_xlabel()
    'epoch'
    """

    def __init__(self, history: list[dict[str, float]]) -> None:
        self.history = history

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> Self:
        """Draw the history of a fitted estimator.

        Parameters
        ----------
        estimator : fitted DeepInfomaxTransformer or DeepInfomaxClassifier
            With ``history_``. Of a classifier, the fine-tuning is drawn; pass its
            ``encoder_`` for the training of the features.
        ax : matplotlib Axes, default=None
            To draw into; None makes one.

        Returns
        -------
        TrainingDisplay
            What was drawn.
        """
        history = getattr(estimator, "history_", None)
        if history is not None and not len(history):
            raise ValueError(
                f"this {type(estimator).__name__} has an empty history_, as its "
                "training ended before the first epoch was over; fit it again."
            )
        if history is None or _counted(history) is None:
            raise ValueError(
                f"this {type(estimator).__name__} has no terms of an objective in "
                "history_; fit a DeepInfomaxTransformer or a DeepInfomaxClassifier."
            )
        return cls(estimator.history_).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw a line for each term.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            To draw into; None makes one.

        Returns
        -------
        TrainingDisplay
            Itself.
        """
        self.ax_ = _one_ax(ax, figsize=(6.4, 4.0))
        self.figure_ = self.ax_.figure
        counted = _counted(self.history) or "epoch"
        numbers = [row[counted] for row in self.history]
        tasks = [
            name
            for name in self.history[0]
            if f"valid_{name}" in self.history[0]
            and name not in ("loss", *TERMS[counted])
        ]
        for i, term in enumerate([*TERMS[counted], *tasks]):
            for prefix, style in (("", "-"), ("valid_", "--")):
                name = prefix + term
                values = [row.get(name, np.nan) for row in self.history]
                if np.isnan(values).all():
                    continue
                self.ax_.plot(
                    numbers,
                    values,
                    style,
                    color=f"C{i}",
                    marker="o" if len(numbers) < 10 else None,
                    label=term + (", held out" if prefix else ""),
                )
        self.ax_.set(xlabel=counted, ylabel="nats")
        self.ax_.grid(alpha=0.3)
        self.ax_.legend()
        return self


class LabelEfficiencyDisplay:
    """Accuracy over the number of labels, and what a model is worth in labels.

    Parameters
    ----------
    results : LabelEfficiency
        As returned by :func:`sk_dim.evaluation.label_efficiency`.
    scratch : str, default=None
        The model that others are compared with, in a second panel of their utility.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        One, or two with `scratch`.
    figure_ : matplotlib Figure
        The figure of the axes.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_dim.evaluation import LabelEfficiency
    >>> scores = np.array([[[0.5, 0.7], [0.8, 0.8]], [[0.7, 0.9], [0.9, 0.9]]])
    >>> results = LabelEfficiency(("scratch", "ours"), np.array([10, 20]), scores)
    >>> display = LabelEfficiencyDisplay.from_results(results, scratch="scratch")
    >>> len(display.axes_)
    2
    """

    def __init__(self, results: Any, scratch: str | None = None) -> None:
        self.results = results
        self.scratch = scratch

    @classmethod
    def from_results(
        cls, results: Any, *, scratch: str | None = None, ax: Any = None
    ) -> Self:
        """Draw what `label_efficiency` returned.

        Parameters
        ----------
        results : LabelEfficiency
            Scores by model, budget and draw.
        scratch : str, default=None
            The model that others are compared with; None draws no utility.
        ax : matplotlib Axes, or two of them with `scratch`, default=None
            To draw into; None makes them.

        Returns
        -------
        LabelEfficiencyDisplay
            What was drawn.
        """
        return cls(results, scratch).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw means, and bands of a standard deviation over the draws.

        Parameters
        ----------
        ax : matplotlib Axes, or two of them with `scratch`, default=None
            To draw into; None makes them.

        Returns
        -------
        LabelEfficiencyDisplay
            Itself.
        """
        n_panels = 1 if self.scratch is None else 2
        if ax is None:
            size = (6.4 if n_panels == 1 else 10.5, 4.2)
            _, ax = pyplot().subplots(
                1, n_panels, figsize=size, layout="constrained", squeeze=False
            )
        self.axes_ = list(np.ravel(ax))
        if len(self.axes_) != n_panels:
            raise ValueError(
                f"ax holds {len(self.axes_)} axes; {n_panels} are needed, one for "
                "accuracy and with scratch one for utility."
            )
        self.figure_ = self.axes_[0].figure
        results = self.results
        for i, (name, scores) in enumerate(
            zip(results.models, results.scores, strict=True)
        ):
            self._draw_band(self.axes_[0], scores, i, name)
            if self.scratch not in (None, name):
                self._draw_utility(name, i)
        self.axes_[0].set_ylabel("accuracy")
        for each in self.axes_:
            each.set_xscale("log")
            each.set_xticks(results.budgets, [f"{n:,}" for n in results.budgets])
            each.minorticks_off()
            each.set_xlabel("labels")
            each.grid(alpha=0.3)
        self.axes_[0].legend()
        return self

    def _draw_band(self, ax: Any, values: np.ndarray, i: int, label: str) -> None:
        mean, spread = values.mean(axis=1), values.std(axis=1)
        x = self.results.budgets
        ax.plot(x, mean, "o-", color=f"C{i}", label=label)
        ax.fill_between(x, mean - spread, mean + spread, color=f"C{i}", alpha=0.2, lw=0)

    def _draw_utility(self, name: str, i: int) -> None:
        found = self.results.utility(name, scratch=self.scratch)
        ax = self.axes_[1]
        self._draw_band(ax, found.values, i, name)
        # An arrow where the mean is a bound: the truth is beyond.
        for marker, censored in (("^", found.is_at_least), ("v", found.is_at_most)):
            at = censored.any(axis=1)
            mean = found.values.mean(axis=1)
            ax.plot(found.budgets[at], mean[at], marker, color=f"C{i}", ms=11)
        ax.axhline(0, color="0.6", lw=1)
        ax.set_ylabel(f"utility: labels saved against {self.scratch} (arrows: bounds)")


class FeaturesDisplay:
    """Features in two dimensions.

    Parameters
    ----------
    points : ndarray of shape (n_samples, 2)
        Coordinates of the samples.
    y : array-like of shape (n_samples,), default=None
        Classes, at most 20, or numbers, for colours. Samples whose class is missing
        (NaN, None or NA) or -1 beside two other classes or more are grey, below the
        others.

    Attributes
    ----------
    ax_ : matplotlib Axes
        With the points.
    figure_ : matplotlib Figure
        The figure of the axes.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> X = np.random.default_rng(0).normal(size=(50, 5))
    >>> pca = PCA(3).fit(X)
    >>> FeaturesDisplay.from_estimator(pca, X, X[:, 0] > 0).points.shape
    (50, 2)
    """

    def __init__(self, points: np.ndarray, y: Any = None) -> None:
        self.points = points
        self.y = y

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        embedding: Any = None,
        ax: Any = None,
    ) -> Self:
        """Draw what a fitted transformer makes of samples.

        Parameters
        ----------
        estimator : fitted transformer or DeepInfomaxClassifier
            With the method `transform`, or with a transformer as its ``encoder_``.
        X : array-like of shape (n_samples, ...)
            Samples that it takes.
        y : array-like of shape (n_samples,), default=None
            Classes or numbers, for colours; missing ones and classes of -1 are grey.
        embedding : transformer, default=None
            With ``fit_transform`` to two dimensions, such as ``TSNE()``; None takes the
            first two principal components of the scaled features.
        ax : matplotlib Axes, default=None
            To draw into; None makes one.

        Returns
        -------
        FeaturesDisplay
            What was drawn.
        """
        Z = scaled_features(find_transformer(estimator, "transform"), X)
        embedding = PCA(2, random_state=0) if embedding is None else embedding
        points = np.asarray(embedding.fit_transform(Z))
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(
                f"the embedding returned shape {points.shape}; it must make two "
                "columns."
            )
        return cls(points, y).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the points.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            To draw into; None makes one.

        Returns
        -------
        FeaturesDisplay
            Itself.
        """
        check_consistent_length(self.points, self.y)
        self.ax_ = _one_ax(ax, figsize=(6.0, 5.0))
        self.figure_ = self.ax_.figure
        if self.y is None:
            self._scatter(np.arange(len(self.points)))
        else:
            self._scatter_coloured(as_target(self.y))
        self.ax_.set(xticks=[], yticks=[])
        return self

    def _scatter(self, rows: np.ndarray, **style: Any) -> Any:
        return self.ax_.scatter(*self.points[rows].T, s=12, **style)

    def _scatter_coloured(self, y: np.ndarray) -> None:
        """Draw points in the colours of their classes or numbers."""
        rows = np.flatnonzero(~find_missing(y))
        labelled = rows[find_labelled(y[rows])]
        are_numbers = False
        if len(np.unique(y[labelled])) > MAX_CLASSES:
            # Among numbers -1 is one.
            labelled, are_numbers = rows, _are_numbers(y[rows])
        unlabelled = np.setdiff1d(np.arange(len(y)), labelled)
        if len(unlabelled):
            # First, and so below the others.
            self._scatter(unlabelled, color=UNLABELLED_COLOR, label="unlabelled")
        if are_numbers:
            drawn = self._scatter(labelled, c=y[labelled].astype(float))
            self.figure_.colorbar(drawn, ax=self.ax_, label="y")
            return
        classes = np.unique(y[labelled])
        if len(classes) > MAX_CLASSES:
            raise ValueError(
                f"y has {len(classes)} classes; at most {MAX_CLASSES} can be told "
                "apart by colours."
            )
        name = "tab10" if len(classes) <= 10 else "tab20"
        colors = pyplot().get_cmap(name)
        for i, label in enumerate(classes):
            at = labelled[y[labelled] == label]
            self._scatter(at, color=colors(i), label=label)
        self.ax_.legend(bbox_to_anchor=(1.02, 1), loc="upper left")


def _are_numbers(y: np.ndarray) -> bool:
    return all(isinstance(each, numbers.Number) for each in y.tolist())
