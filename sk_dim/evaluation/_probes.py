"""Simple models on features: what is in a representation, layer by layer."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC, LinearSVR
from sklearn.utils import _safe_indexing, check_array, check_consistent_length
from sklearn.utils.validation import _num_samples

from sk_dim._inputs._broken import leave_out_broken
from sk_dim._inputs._groups import read_groups
from sk_dim._validation import check_name
from sk_dim.evaluation._splits import Fold, grouped_folds, inner_folds
from sk_dim.evaluation._targets import kind_of_target, read_target

STRENGTHS = (0.001, 0.01, 0.1, 1.0)  # of regularisation, its inverse C
SCORINGS = {"classes": "accuracy", "labels": "f1_micro", "numbers": "r2"}


def represent(model: Any, X: Any) -> dict[str, np.ndarray]:
    """Return the layers of a representation as arrays (n, d), by name.

    Raises
    ------
    TypeError
        If `model` is no transformer.
    """
    if model is None:
        layers = X if isinstance(X, dict) else {"features": X}
    elif hasattr(model, "features"):
        layers = model.features(X)
    elif hasattr(model, "transform"):
        layers = {"features": model.transform(X)}
    else:
        raise TypeError(
            f"model={type(model).__name__} has neither transform nor features; pass a "
            "fitted transformer, or None where X is the representation."
        )
    flat = {}
    for name, layer in layers.items():
        array = check_array(layer, allow_nd=True, input_name=name)
        flat[name] = array.reshape(len(array), -1)
    return flat


def take_rows(X: Any, rows: np.ndarray) -> Any:
    """Take rows out of samples of whatever type, which stay as they are if all are."""
    if isinstance(X, dict):
        return {name: take_rows(layer, rows) for name, layer in X.items()}
    return X if len(rows) == _num_samples(X) else _safe_indexing(X, rows)


Folds = int | list[Fold]  # to choose a setting by


def _searched(model: BaseEstimator, parameter: str) -> Callable[[Folds], BaseEstimator]:
    grid = {parameter: list(STRENGTHS)}
    return lambda folds: GridSearchCV(model, grid, cv=folds)


def _fixed(model: BaseEstimator) -> Callable[[Folds], BaseEstimator]:
    return lambda folds: model


def _ridge(folds: Folds) -> BaseEstimator:
    # By one row at a time, which takes no longer than a fit, where rows are apart.
    by_groups = folds if isinstance(folds, list) else None
    return RidgeCV(alphas=np.logspace(-2, 5, 8), cv=by_groups)


# Models by kind of probe and of target; each takes what folds choose its C.
PROBES: dict[str, dict[str, Callable[[Folds], BaseEstimator]]] = {
    "linear": {
        "classes": _searched(LogisticRegression(max_iter=500), "C"),
        "labels": _searched(
            OneVsRestClassifier(LogisticRegression(max_iter=500)), "estimator__C"
        ),
        "numbers": _ridge,
    },
    "svm": {
        "classes": _searched(LinearSVC(max_iter=5000), "C"),
        "labels": _searched(
            OneVsRestClassifier(LinearSVC(max_iter=5000)), "estimator__C"
        ),
        "numbers": _searched(
            MultiOutputRegressor(LinearSVR(max_iter=5000)), "estimator__C"
        ),
    },
    "knn": {
        "classes": _fixed(KNeighborsClassifier()),
        "labels": _fixed(KNeighborsClassifier()),
        "numbers": _fixed(KNeighborsRegressor()),
    },
    "mlp": {
        "classes": _fixed(MLPClassifier((200,), random_state=0)),
        "labels": _fixed(MLPClassifier((200,), random_state=0)),
        "numbers": _fixed(MLPRegressor(hidden_layer_sizes=(200,), random_state=0)),
    },
}


def build_probe(kind: str, y: np.ndarray, folds: list[Fold] | None = None) -> Pipeline:
    """Build an unfitted model for a target, which scales features first.

    `folds` of the rows that it will be fitted on choose its setting, if it has one.
    """
    target = kind_of_target(y)
    n_folds = 3
    if target == "classes":
        n_folds = min(n_folds, int(np.unique(y, return_counts=True)[1].min()))
    chosen_by = max(2, n_folds) if folds is None else folds
    model = PROBES[kind][target](chosen_by)
    if kind == "svm" and target == "numbers" and y.ndim == 1:
        model = _searched(LinearSVR(max_iter=5000), "C")(chosen_by)
    if n_folds < 2:  # a class of one row leaves none to choose by
        model = LogisticRegression(max_iter=500) if kind == "linear" else model
        model = LinearSVC(max_iter=5000) if kind == "svm" else model
    # A copy, for the models of the table are shared by all probes.
    return make_pipeline(StandardScaler(), clone(model))


def fit_probe(
    Z: np.ndarray,
    y: np.ndarray,
    class_weight: dict[int, float] | None = None,
    groups: np.ndarray | None = None,
) -> Pipeline:
    """Fit logistic regression to features (n, d) and classes, its C chosen on them.

    By folds of whole groups where these suffice.
    """
    folds = None if groups is None else inner_folds(y, groups, "classes")
    probe = build_probe("linear", y, folds)
    model = probe[-1]
    getattr(model, "estimator", model).set_params(class_weight=class_weight)
    with warnings.catch_warnings():
        # Near its optimum is near enough for a probe.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return probe.fit(Z, y)


def linear_probe(
    model: Any,
    X: Any,
    y: Any,
    *,
    X_test: Any = None,
    y_test: Any = None,
    kind: str = "linear",
    cv: Any = 5,
    scoring: Any = None,
    groups: Any = None,
    n_jobs: int | None = None,
) -> dict[str, np.ndarray]:
    """Score a simple model on every layer of a representation.

    Parameters
    ----------
    model : fitted transformer or None
        Its layers are probed: all that `features` returns if it has that method, else
        what `transform` returns. None probes `X` itself.
    X : array-like of shape (n_samples, ...) or dict of them
        Samples that `model` takes; without a model features, or a dict of layers. Rows
        that cannot be read, see :class:`sk_dim.ImageLoader`, are left out, here and in
        `X_test`.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Classes, a 0-1 indicator of several labels a row, or numbers. Rows of NaN, None
        or class -1 are unlabelled and left out, here and in `y_test`; if there is only
        one other class, -1 is a class like the other.
    X_test, y_test : array-like, default=None
        Samples to score on. Without them, `X` is cross-validated.
    kind : {"linear", "svm", "knn", "mlp"}, default="linear"
        Logistic or ridge regression, a linear support vector machine, five nearest
        neighbours, or one hidden layer of 200 units as in the paper; each on features
        scaled to unit variance. The strength of the regularisation of the linear ones
        is chosen by cross-validation on the rows that they are fitted on.
    cv : int or splitter, default=5
        Folds of the cross-validation of `X`, as in scikit-learn.
    scoring : str or callable, default=None
        As in scikit-learn. None takes the accuracy of classes, the micro-averaged F1 of
        several labels, the R2 of numbers.
    groups : array-like of shape (n_samples,), default=None
        What rows of `X` belong to, such as the patient whose recording they were cut
        from. Folds then keep groups whole, those that choose the regularisation too,
        unless groups are too few for that. If `X_test` is given, see yourself that its
        rows are of other groups.
    n_jobs : int or None, default=None
        Processes of the cross-validation.

    Returns
    -------
    dict of str to ndarray of shape (n_folds,) or (1,)
        Scores by layer.

    Raises
    ------
    ValueError or TypeError
        If `model` is no transformer, lengths differ, `y` is of no kind that a probe
        takes or has rows of which some outputs are missing, only one of `X_test` and
        `y_test` is given, there are fewer groups than folds, a class is in one group
        only, or `cv` divides groups.

    See Also
    --------
    label_efficiency : With few labels, beside other models.

    References
    ----------
    G. Alain, Y. Bengio (2016). Understanding intermediate layers using linear
    classifier probes. arXiv:1610.01644.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> X, y = load_iris(return_X_y=True)
    >>> scores = linear_probe(PCA(2).fit(X), X, y)
    >>> print(f"{scores['features'].mean():.2f}")
    0.96
    """
    check_name("kind", kind, PROBES)
    if (X_test is None) != (y_test is None):
        raise ValueError("X_test and y_test belong together; pass both or neither.")
    rows, target = _read_target(X, y, "y", None)
    codes = read_groups(groups, _num_samples(y), n_least=1)
    codes = None if codes is None else codes[rows]
    X, target, codes = leave_out_broken(take_rows(X, rows), target, codes)
    if codes is not None and X_test is None:
        cv = grouped_folds(cv, target, codes)
    layers = represent(model, X)
    probe = build_probe(kind, target)
    scoring = SCORINGS[kind_of_target(target)] if scoring is None else scoring
    fitted_on = target
    if X_test is not None:
        test_rows, test_target = _read_target(X_test, y_test, "y_test", target)
        X_test = take_rows(X_test, test_rows)
        X_test, test_target = leave_out_broken(X_test, test_target)
        test_layers = represent(model, X_test)
        # The one fold of these rows to fit on and those rows to score on.
        n, n_test = len(target), len(test_target)
        cv, n_jobs = [(np.arange(n), n + np.arange(n_test))], None
        target = np.concatenate([target, test_target])
        layers = {
            name: np.concatenate([Z, test_layers[name]]) for name, Z in layers.items()
        }
    probes = None if codes is None else _grouped_probes(kind, fitted_on, codes, cv)
    with warnings.catch_warnings():
        # Near its optimum is near enough for a probe.
        warnings.simplefilter("ignore", ConvergenceWarning)
        if probes is None:
            return {
                name: cross_val_score(
                    probe, Z, target, cv=cv, scoring=scoring, n_jobs=n_jobs
                )
                for name, Z in layers.items()
            }
        run = Parallel(n_jobs)
        each_fold = [
            delayed(partial(cross_val_score, each, cv=[fold], scoring=scoring))
            for each, fold in zip(probes, cv, strict=True)
        ]
        return {
            name: np.concatenate(run(score(Z, target) for score in each_fold))
            for name, Z in layers.items()
        }


def _grouped_probes(
    kind: str, y: np.ndarray, groups: np.ndarray, folds: list[Fold]
) -> list[Pipeline]:
    """Build a probe for each fold, since the folds within it are of its own rows."""
    target = kind_of_target(y)
    within = [inner_folds(y[train], groups[train], target) for train, _ in folds]
    return [build_probe(kind, y, each) for each in within]


def _read_target(
    X: Any, y: Any, name: str, like: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of samples or layers that have a target, and their targets."""
    for each in X.values() if isinstance(X, dict) else [X]:
        check_consistent_length(each, y)
    return read_target(y, name, like)


def effective_rank(Z: Any) -> float:
    r"""Count the directions that a representation uses.

    Parameters
    ----------
    Z : array-like of shape (n_samples, n_components)
        Features.

    Returns
    -------
    float
        From 1, if all features are multiples of one, to the number of components or of
        samples less one, whichever is smaller; 0 if all are constant.

    Raises
    ------
    ValueError
        If `Z` is no finite array of two axes.

    Notes
    -----
    With singular values :math:`\sigma` of the centred features and
    :math:`p_i = \sigma_i / \sum \sigma`, the rank is :math:`\exp(-\sum p_i \log p_i)`.

    References
    ----------
    O. Roy, M. Vetterli (2007). The effective rank: A measure of effective
    dimensionality. EUSIPCO.

    Examples
    --------
    >>> import numpy as np
    >>> Z = np.random.default_rng(0).normal(size=(1000, 5))
    >>> round(effective_rank(Z), 1), round(effective_rank(Z[:, [0, 0, 0]]), 1)
    (5.0, 1.0)
    """
    Z = check_array(Z, dtype=np.float64, input_name="Z")
    values = np.linalg.svd(Z - Z.mean(axis=0), compute_uv=False)
    if not values.any():
        return 0.0
    p = values / values.sum()
    p = p[p > 0]
    return float(np.exp(-np.sum(p * np.log(p))))
