"""Pictures of what was learnt, in the manner of scikit-learn's displays.

Each display is made by a class method from an estimator or from results, draws itself
when `plot` is called, and keeps the figure and axes under ``figure_`` and ``ax_`` (or
``axes_``) and what it drew in attributes, for a picture of your own. Displays call
public methods of what they are given and nothing else; matplotlib is needed
(``pip install "sk_dim[plot]"``).
"""

from typing import Any, Self

import numpy as np
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_consistent_length

from sk_dim._pictures import LocalScoreDisplay, NeighborsDisplay, pyplot

__all__ = [
    "FeaturesDisplay",
    "LabelEfficiencyDisplay",
    "LocalScoreDisplay",
    "NeighborsDisplay",
    "TrainingDisplay",
]

# Terms in a history, by what is counted: of the objective, and of a fine-tuning.
TERMS = {
    "epoch": ("local", "global", "prior"),
    "step": ("supervised", "unlabelled", "infomax"),
}
MAX_CLASSES = 20  # told apart by colours


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
        As in ``history_``.

    Attributes
    ----------
    ax_ : matplotlib Axes
        With a line for each term, and dashed ones of rows that were held out.
    figure_ : matplotlib Figure
        That holds it.

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
            With ``history_``. That of the features behind a classifier is in its
            ``encoder_``.
        ax : matplotlib Axes, default=None
            To draw into; None makes one.

        Returns
        -------
        TrainingDisplay
            What was drawn.
        """
        history = getattr(estimator, "history_", None)
        if not history or _counted(history) is None:
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
        for i, term in enumerate(TERMS[counted]):
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
        That holds them.

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
        Where the samples are.
    y : ndarray of shape (n_samples,), default=None
        Classes, at most 20, or numbers, which colour them.

    Attributes
    ----------
    ax_ : matplotlib Axes
        With the points.
    figure_ : matplotlib Figure
        That holds it.

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
        estimator : fitted transformer
            With the method `transform`.
        X : array-like of shape (n_samples, ...)
            Samples that it takes.
        y : array-like of shape (n_samples,), default=None
            Classes or numbers, for colours.
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
        Z = StandardScaler().fit_transform(estimator.transform(X))
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
        plt = pyplot()
        check_consistent_length(self.points, self.y)
        self.ax_ = _one_ax(ax, figsize=(6.0, 5.0))
        self.figure_ = self.ax_.figure
        a, b = self.points.T
        if self.y is None:
            self.ax_.scatter(a, b, s=12)
        else:
            y = np.asarray(self.y)
            classes = np.unique(y)
            if len(classes) <= MAX_CLASSES:
                colors = plt.get_cmap("tab10" if len(classes) <= 10 else "tab20")
                for i, label in enumerate(classes):
                    at = y == label
                    self.ax_.scatter(a[at], b[at], s=12, color=colors(i), label=label)
                self.ax_.legend(bbox_to_anchor=(1.02, 1), loc="upper left")
            elif y.dtype.kind in "iuf":
                points = self.ax_.scatter(a, b, s=12, c=y)
                self.figure_.colorbar(points, ax=self.ax_, label="y")
            else:
                raise ValueError(
                    f"y has {len(classes)} classes; at most {MAX_CLASSES} can be told "
                    "apart by colours."
                )
        self.ax_.set(xticks=[], yticks=[])
        return self
