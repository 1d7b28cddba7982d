"""How many labels a representation saves."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from sklearn.base import clone, is_classifier
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import accuracy_score
from sklearn.utils import (
    _safe_indexing,
    check_consistent_length,
    check_random_state,
)

from sk_dim._labels import UNLABELLED, is_labelled
from sk_dim._probes import fit_probe, kind_of_target, represent
from sk_dim._validation import check_integer


@dataclass(frozen=True)
class Utility:
    """How many labels more a model from scratch would need, in shares of those given.

    Parameters
    ----------
    budgets : ndarray of shape (n_budgets,)
        Labels that the model had.
    values : ndarray of shape (n_budgets, n_draws)
        Utility: 0 where nothing is gained, 1 where half of the labels are saved.
    is_at_least : ndarray of shape (n_budgets, n_draws)
        Where no budget from scratch was as good, so that the value is a lower bound.
    is_at_most : ndarray of shape (n_budgets, n_draws)
        Where the smallest budget from scratch was better, so that it is an upper bound.

    Examples
    --------
    >>> found = utility([10, 20, 40], [0.5, 0.6, 0.8], [10], [[0.7, 0.9]])
    >>> found.values, found.is_at_least
    (array([[2., 3.]]), array([[False,  True]]))
    >>> print(found)
      10 labels: utility at least 2.50, mean of 2 draws, 1 of them censored
    """

    budgets: np.ndarray
    values: np.ndarray
    is_at_least: np.ndarray
    is_at_most: np.ndarray

    def __str__(self) -> str:
        """Return a line for each budget, which says where its mean is a bound.

        With the standard deviation over the draws where none is censored.
        """
        lines = []
        for i, n in enumerate(self.budgets):
            above, below = self.is_at_least[i].sum(), self.is_at_most[i].sum()
            bound = "at least " * bool(above and not below)
            bound += "at most " * bool(below and not above)
            bound += "about " * bool(below and above)
            line = f"{n:>4} labels: utility {bound}{self.values[i].mean():.2f}"
            n_draws, n_censored = self.values.shape[1], above + below
            if n_draws > 1 and not n_censored:
                line += f" ± {self.values[i].std():.2f}"
            if n_draws > 1:
                line += f", mean of {n_draws} draws"
            if n_censored:
                line += (
                    f", {n_censored} of them censored" if n_draws > 1 else ", censored"
                )
            lines.append(line)
        return "\n".join(lines)


def utility(
    scratch_budgets: ArrayLike,
    scratch_scores: ArrayLike,
    budgets: ArrayLike,
    scores: ArrayLike,
) -> Utility:
    r"""Compute how many labels a pretrained model is worth.

    Parameters
    ----------
    scratch_budgets : array-like of shape (m,)
        Labels that models trained from scratch had.
    scratch_scores : array-like of shape (m,) or (m, n_draws)
        Their accuracies, whose mean over the draws is compared with.
    budgets : array-like of shape (k,)
        Labels that the pretrained model had.
    scores : array-like of shape (k,) or (k, n_draws)
        Its accuracies.

    Returns
    -------
    Utility
        One value for each budget and draw.

    Raises
    ------
    ValueError
        If lengths do not fit, or budgets are not positive or repeat.

    See Also
    --------
    LabelEfficiency.utility : Of models that were compared by `label_efficiency`.

    Notes
    -----
    Where the curve from scratch reaches the accuracy at :math:`\hat n` labels, that of
    n labels is worth :math:`\hat n / n - 1`. Between its budgets the curve is linear in
    n. It is made monotone first, by isotonic regression. Where it never gets there, all
    that is known is that the utility is at least that of its largest budget; where it
    starts above, at most that of its smallest.

    References
    ----------
    A. Newell, J. Deng (2020). How Useful is Self-Supervised Pretraining for Visual
    Tasks? arXiv:2003.14323.

    Examples
    --------
    >>> utility([10, 20, 40], [0.5, 0.6, 0.8], [10, 20], [0.7, 0.7]).values.ravel()
    array([2. , 0.5])
    """
    scratch_n, scratch = _curve("scratch", scratch_budgets, scratch_scores)
    n, curves = _curve("", budgets, scores)
    order = np.argsort(scratch_n)
    scratch_n, mean = scratch_n[order], scratch.mean(axis=1)[order]
    mean = IsotonicRegression().fit_transform(scratch_n, mean)
    # Where the curve is flat, the fewest labels that reach it count.
    heights, first = np.unique(mean, return_index=True)
    reached = np.interp(curves, heights, scratch_n[first])
    is_at_least = curves > mean[-1]
    reached = np.where(is_at_least, scratch_n[-1], reached)
    return Utility(n, reached / n[:, None] - 1, is_at_least, curves < mean[0])


def _curve(
    name: str, budgets: ArrayLike, scores: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Check budgets (k,) and their scores, returned as (k, n_draws)."""
    n = np.asarray(budgets)
    values = np.asarray(scores, dtype=float)
    values = values[:, None] if values.ndim == 1 else values
    prefix = f"{name}_" * bool(name)
    if n.ndim != 1 or values.ndim != 2 or len(n) != len(values) or not len(n):
        raise ValueError(
            f"{prefix}budgets of shape {n.shape} and {prefix}scores of shape "
            f"{values.shape}; they must be (k,) and (k,) or (k, n_draws), k at least 1."
        )
    if not (n > 0).all() or len(np.unique(n)) < len(n):
        raise ValueError(
            f"{prefix}budgets={n.tolist()}; they must be positive and differ."
        )
    return n, values


@dataclass(frozen=True)
class LabelEfficiency:
    """Scores of models by how many labels they had.

    Parameters
    ----------
    models : tuple of str
        Names.
    budgets : ndarray of shape (n_budgets,)
        Labels in all, not a class.
    scores : ndarray of shape (n_models, n_budgets, n_draws)
        Of the test rows; the same draws of labels for all models.

    Examples
    --------
    >>> import numpy as np
    >>> scores = np.array([[[0.5, 0.7], [0.8, 0.8]], [[0.7, 0.9], [0.9, 0.9]]])
    >>> found = LabelEfficiency(("scratch", "ours"), np.array([10, 20]), scores)
    >>> print(found)
    labels                  10            20
    scratch      0.600 ± 0.100 0.800 ± 0.000
    ours         0.800 ± 0.100 0.900 ± 0.000
    >>> found.utility("ours", scratch="scratch").values[0]
    array([0.5, 1. ])
    """

    models: tuple[str, ...]
    budgets: np.ndarray
    scores: np.ndarray

    def utility(self, model: str, *, scratch: str) -> Utility:
        """Compute how many labels `model` is worth against one from scratch.

        Parameters
        ----------
        model, scratch : str
            Names of two of the models.

        Returns
        -------
        Utility
            By budget and draw.
        """
        for name in (model, scratch):
            if name not in self.models:
                raise ValueError(
                    f"{name!r} is none of the models {', '.join(self.models)}."
                )
        ours, theirs = (self.scores[self.models.index(m)] for m in (model, scratch))
        return utility(self.budgets, theirs, self.budgets, ours)

    def __str__(self) -> str:
        """Return a table of means and standard deviations over the draws."""
        width = max(12, *(len(name) for name in self.models))
        lines = [f"{'labels':{width}}" + "".join(f"{n:>14}" for n in self.budgets)]
        for name, scores in zip(self.models, self.scores, strict=True):
            cells = [f"{s.mean():.3f} ± {s.std():.3f}" for s in scores]
            lines.append(f"{name:{width}}" + "".join(f"{c:>14}" for c in cells))
        return "\n".join(lines)


def label_efficiency(
    models: Mapping[str, Any],
    X: Any,
    y: Any,
    budgets: Sequence[int],
    *,
    X_test: Any,
    y_test: Any,
    n_draws: int = 5,
    groups: Any = None,
    semi_supervised: Collection[str] = (),
    n_jobs: int | None = None,
    verbose: int = 0,
    random_state: Any = None,
) -> LabelEfficiency:
    """Compare models by how they do with few labels.

    Parameters
    ----------
    models : dict of str to estimator
        Classifiers are cloned and fitted on the labelled rows. A fitted transformer
        stays as it is: logistic regression is fitted on what it makes of the labelled
        rows, its regularisation chosen by cross-validation. None stands for the rows
        themselves, flattened.
    X : array-like of shape (n_samples, ...)
        Rows to draw labelled ones from.
    y : array-like of shape (n_samples,)
        Their classes.
    budgets : sequence of int
        How many labels there are, in all.
    X_test, y_test : array-like
        Rows to score on.
    n_draws : int, default=5
        How often labelled rows are drawn. A larger budget holds the rows of a smaller.
    groups : array-like of shape (n_samples,), default=None
        What belongs together, such as the images of one patient. Labelled rows are then
        drawn from as few groups as their number allows.
    semi_supervised : collection of str, default=()
        Names of the classifiers that learn from unlabelled rows too: they are fitted on
        all rows, -1 in place of the labels that are not given.
    n_jobs : int or None, default=None
        Processes, as in joblib.
    verbose : int, default=0
        Of joblib; 1 and more shows the progress.
    random_state : int, RandomState instance or None, default=None
        Of the draws.

    Returns
    -------
    LabelEfficiency
        Accuracies by model, budget and draw.

    Raises
    ------
    ValueError or TypeError
        If a budget exceeds the rows or leaves out a class, lengths differ, `y` holds no
        classes, a model is neither classifier nor transformer, or `semi_supervised`
        names none of the classifiers, or -1 is a class for them.

    See Also
    --------
    utility : What the difference between two models is worth.

    Notes
    -----
    Draws are stratified: each budget holds classes in the proportions of `y`, and every
    class at least once.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> X, y = load_digits(return_X_y=True)
    >>> pca = PCA(30).fit(X[:1000])
    >>> found = label_efficiency(
    ...     {"pixels": None, "PCA": pca}, X[:1000], y[:1000], [20, 50],
    ...     X_test=X[1000:], y_test=y[1000:], n_draws=2, random_state=0,
    ... )
    >>> found.scores.shape
    (2, 2, 2)
    """
    y, y_test = np.asarray(y), np.asarray(y_test)
    n_draws = check_integer("n_draws", n_draws, 1)
    check_consistent_length(X, y, groups)
    check_consistent_length(X_test, y_test)
    counts = _check_budgets(budgets, y)
    rng = check_random_state(random_state)
    orders = [_draw_order(y, groups, counts, rng) for _ in range(n_draws)]
    data = {}
    for name, model in models.items():
        if model is None or not is_classifier(model):
            made = (next(iter(represent(model, each).values())) for each in (X, X_test))
            data[name] = (None, *made)
        else:
            data[name] = (model, X, X_test)
    partly_labelled = _check_semi_supervised(semi_supervised, data, y)
    jobs = [
        (*data[name], rows[:n], name in partly_labelled)
        for name in models
        for n in counts
        for rows in orders
    ]
    scores = Parallel(n_jobs=n_jobs, verbose=verbose)(
        delayed(_score)(model, Z, y, Z_test, y_test, rows, has_all)
        for model, Z, Z_test, rows, has_all in jobs
    )
    shape = len(models), len(counts), n_draws
    return LabelEfficiency(tuple(models), counts, np.reshape(scores, shape))


def _check_budgets(budgets: Sequence[int], y: np.ndarray) -> np.ndarray:
    if kind_of_target(y) != "classes":
        raise ValueError("y holds no classes; labels of other kinds cannot be counted.")
    n_classes = len(np.unique(y))
    for n in budgets:
        check_integer("a budget", n, 1)
        if not n_classes <= n <= len(y):
            raise ValueError(
                f"a budget of {n} labels; it must be at least {n_classes}, one for "
                f"each class, and at most {len(y)}, the rows that have one."
            )
    return np.array(sorted(set(budgets)))


def _check_semi_supervised(
    names: Collection[str], data: Mapping[str, tuple], y: np.ndarray
) -> set[str]:
    if isinstance(names, str):
        raise TypeError(
            f"semi_supervised={names!r} is one string; pass a list of names."
        )
    classifiers = [name for name, (model, *_) in data.items() if model is not None]
    for name in names:
        if name not in classifiers:
            raise ValueError(
                f"semi_supervised names {name!r}, which is none of the classifiers "
                f"{', '.join(classifiers)}."
            )
    if names and not is_labelled(y).all():
        raise ValueError(
            "y holds -1, which marks rows without a label for semi-supervised models; "
            "leave these rows out, or rename the class."
        )
    return set(names)


def _draw_order(
    y: np.ndarray, groups: Any, budgets: np.ndarray, rng: np.random.RandomState
) -> np.ndarray:
    """Order rows so that those of each budget come first."""
    if groups is not None:
        _, number = np.unique(np.asarray(groups), return_inverse=True)
        # Whole groups, one after the other, in random order.
        order = np.lexsort(
            (rng.permutation(len(y)), rng.permutation(number.max() + 1)[number])
        )
        missing = set(np.unique(y)) - set(y[order[: budgets[0]]])
        if missing:
            raise ValueError(
                f"{budgets[0]} labels from one group after the other leave out the "
                f"classes {sorted(missing)}; use a larger budget."
            )
        return order
    position = np.empty(len(y))
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))
        # Evenly over the order, so that any part of it has the same proportions.
        position[rows] = (np.arange(len(rows)) + rng.uniform()) / len(rows)
        position[rows[0]] = -1
    return np.lexsort((rng.permutation(len(y)), position))


def _score(
    model: Any,
    Z: Any,
    y: np.ndarray,
    Z_test: Any,
    y_test: np.ndarray,
    rows: np.ndarray,
    has_all_rows: bool,
) -> float:
    if model is None:
        return float(fit_probe(Z[rows], y[rows]).score(Z_test, y_test))
    model = clone(model)
    if not has_all_rows:
        return float(model.fit(_safe_indexing(Z, rows), y[rows]).score(Z_test, y_test))
    # As integers, which -1 can be among, whatever the labels are.
    classes, codes = np.unique(y, return_inverse=True)
    given = np.full(len(y), UNLABELLED)
    given[rows] = codes[rows]
    found = classes[model.fit(Z, given).predict(Z_test)]
    return float(accuracy_score(y_test, found))
