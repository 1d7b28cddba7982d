"""How many labels a representation saves."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone, is_classifier
from sklearn.metrics import accuracy_score
from sklearn.utils import (
    _safe_indexing,
    check_consistent_length,
    check_random_state,
)
from sklearn.utils.validation import _num_samples

from sk_dim._inputs._broken import leave_out_broken
from sk_dim._inputs._groups import read_groups
from sk_dim._labels import UNLABELLED
from sk_dim._validation import check_integer
from sk_dim.evaluation._probes import fit_probe, represent, take_rows
from sk_dim.evaluation._targets import kind_of_target, read_target
from sk_dim.evaluation._utility import Utility, utility


@dataclass(frozen=True)
class LabelEfficiency:
    """Scores of models by how many labels they had.

    Parameters
    ----------
    models : tuple of str
        Names.
    budgets : ndarray of shape (n_budgets,)
        Labels in all, not of each class.
    scores : ndarray of shape (n_models, n_budgets, n_draws)
        Accuracies on the test rows. All models have the same draws of labels.

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
        stays as it is: logistic regression is fitted on its features of the labelled
        rows, with the regularisation chosen by cross-validation. None stands for the
        rows themselves, flattened.
    X : array-like of shape (n_samples, ...)
        Rows to draw labelled ones from; none that cannot be read, see
        :class:`sk_dim.ImageLoader`, which are left out of `X_test` too.
    y : array-like of shape (n_samples,)
        Their classes. Rows of NaN, None or class -1 are unlabelled: they are never
        drawn, and left out of `y_test`; if there is only one other class, -1 is a class
        like the other.
    budgets : sequence of int
        How many labels there are, in all.
    X_test, y_test : array-like
        Rows to score on.
    n_draws : int, default=5
        How often labelled rows are drawn. A larger budget holds the rows of a smaller.
    groups : array-like of shape (n_samples,), default=None
        What belongs together, such as the images of one patient. Labelled rows are then
        drawn from as few groups as their number allows, and the folds that choose the
        regularisation keep groups whole where these suffice. Classifiers do not get
        them. See yourself that the rows of `X_test` are of other groups.
    semi_supervised : collection of str, default=()
        Names of the classifiers that learn from unlabelled rows too. They are fitted on
        all rows, with the classes as integers from 0 on, and -1 for rows whose label
        they are not given.
    n_jobs : int or None, default=None
        Processes, as in joblib.
    verbose : int, default=0
        Verbosity of joblib; 1 and more shows the progress.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Returns
    -------
    LabelEfficiency
        Accuracies by model, budget and draw.

    Raises
    ------
    ValueError or TypeError
        If a budget exceeds the labelled rows or leaves out a class, lengths differ, `y`
        holds no classes, a model is neither classifier nor transformer, or
        `semi_supervised` names none of the classifiers.

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
    n_draws = check_integer("n_draws", n_draws, 1)
    check_consistent_length(X, y, groups)
    check_consistent_length(X_test, y_test)
    labelled, labels = read_target(y)
    test_rows, test_labels = read_target(y_test, "y_test", like=labels)
    X_test = take_rows(X_test, test_rows)
    X_test, test_labels = leave_out_broken(X_test, test_labels)
    if hasattr(X, "find_broken"):
        given = take_rows(X, labelled), labelled, labels
        _, labelled, labels = leave_out_broken(*given)
    counts = _check_budgets(budgets, labels)
    partly_labelled = _check_semi_supervised(semi_supervised, models)
    rng = check_random_state(random_state)
    codes = read_groups(groups, _num_samples(y), n_least=1)
    if codes is not None:
        codes = codes[labelled]
    orders = [_draw_order(labels, codes, counts, rng) for _ in range(n_draws)]
    jobs = []
    for name, model in models.items():
        classes = np.unique(labels) if name in partly_labelled else None
        if _is_classifier(model):
            data = [model, X, X_test, labelled]
        else:
            made = (
                next(iter(represent(model, each).values()))
                for each in (take_rows(X, labelled), X_test)
            )
            data = [None, *made, np.arange(len(labelled))]
        jobs += [(*data, order[:n], classes) for n in counts for order in orders]
    scores = Parallel(n_jobs=n_jobs, verbose=verbose)(
        delayed(_score)(*job, labels, test_labels, codes) for job in jobs
    )
    shape = len(models), len(counts), n_draws
    return LabelEfficiency(tuple(models), counts, np.reshape(scores, shape))


def _is_classifier(model: Any) -> bool:
    return model is not None and is_classifier(model)


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
    names: Collection[str], models: Mapping[str, Any]
) -> set[str]:
    if isinstance(names, str):
        raise TypeError(
            f"semi_supervised={names!r} is one string; pass a list of names."
        )
    classifiers = [name for name, model in models.items() if _is_classifier(model)]
    for name in names:
        if name not in classifiers:
            raise ValueError(
                f"semi_supervised names {name!r}, which is none of the classifiers "
                f"{', '.join(classifiers)}."
            )
    return set(names)


def _draw_order(
    y: np.ndarray,
    groups: np.ndarray | None,
    budgets: np.ndarray,
    rng: np.random.RandomState,
) -> np.ndarray:
    """Order labelled rows so that those of each budget come first."""
    if groups is not None:
        _, number = np.unique(groups, return_inverse=True)
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
    Z_test: Any,
    places: np.ndarray,
    drawn: np.ndarray,
    classes: np.ndarray | None,
    labels: np.ndarray,
    test_labels: np.ndarray,
    groups: np.ndarray | None,
) -> float:
    """Fit a model to the labels that were drawn, and score it on the test rows.

    `places` are the rows of Z that `labels` belong to. With `classes`, the model gets
    the other rows too.
    """
    rows, given = places[drawn], labels[drawn]
    if model is None:
        codes = None if groups is None else groups[drawn]
        probe = fit_probe(Z[rows], given, groups=codes)
        return float(probe.score(Z_test, test_labels))
    model = clone(model)
    if classes is None:
        model.fit(_safe_indexing(Z, rows), given)
        return float(model.score(Z_test, test_labels))
    # As integers, which -1 can be among, whatever the labels are.
    codes = np.full(_num_samples(Z), UNLABELLED)
    codes[rows] = np.searchsorted(classes, given)
    found = classes[model.fit(Z, codes).predict(Z_test)]
    return float(accuracy_score(test_labels, found))
