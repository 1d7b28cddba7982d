"""A look at the quality of the features while they are learnt."""

from typing import Any

import numpy as np

from sk_dim._probes import linear_probe
from sk_dim._validation import check_integer


class ProbingCallback:
    """Probe the features after epochs of a fit, by labels that training does not see.

    A callback of scikit-learn, given to an estimator by its `set_callbacks`. It shows
    when more epochs no longer help, which the bound does not.

    Parameters
    ----------
    X : array-like of shape (n_samples, ...)
        Samples that the estimator takes.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Classes, a 0-1 indicator of several labels a row, or numbers.
    every : int, default=5
        Epochs from probe to probe; the first one is after so many.
    kind : {"linear", "svm", "knn", "mlp"}, default="knn"
        Which probe, see :func:`linear_probe`; nearest neighbours take the least time.
    cv : int or splitter, default=5
        Of the cross-validation of `X`.

    Attributes
    ----------
    history_ : list of dict
        One a probe of the last fit, with "epoch" and the mean score of each layer.

    Raises
    ------
    ValueError or TypeError
        When a fit begins, for labels, `kind` or `cv` that `linear_probe` cannot take;
        at the first probe, for samples that the estimator cannot take.

    See Also
    --------
    linear_probe : The same after the fit.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sk_dim import DeepInfomaxTransformer
    >>> X, y = load_digits().images, load_digits().target
    >>> probing = ProbingCallback(X[:200], y[:200], every=1)
    >>> dim = DeepInfomaxTransformer(max_iter=2, random_state=0)
    >>> dim = dim.set_callbacks(probing).fit(X[:500])
    >>> [row["epoch"] for row in probing.history_]
    [1, 2]
    >>> sorted(probing.history_[0])
    ['conv', 'epoch', 'global', 'hidden', 'local']
    """

    def __init__(
        self,
        X: Any,
        y: Any,
        *,
        every: int = 5,
        kind: str = "knn",
        cv: Any = 5,
    ) -> None:
        self.X = X
        self.y = y
        self.every = every
        self.kind = kind
        self.cv = cv

    def setup(self, estimator: Any, context: Any) -> None:
        """Begin a fit, refusing what cannot be probed before its first epoch."""
        check_integer("every", self.every, 1)
        # A probe of numbers that say nothing has the same checks as one of features.
        blank = np.zeros((len(self.X), 1))
        linear_probe(None, blank, self.y, kind=self.kind, cv=self.cv)
        self.history_: list[dict[str, float]] = []

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Do nothing."""

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, fitted_estimator: Any = None
    ) -> None:
        """Probe, if the task is an epoch whose turn it is."""
        epoch = context.task_id + 1
        if context.task_name != "epoch" or epoch % self.every:
            return
        scores = linear_probe(
            fitted_estimator, self.X, self.y, kind=self.kind, cv=self.cv
        )
        means = {name: float(values.mean()) for name, values in scores.items()}
        self.history_.append({"epoch": epoch} | means)

    def teardown(self, estimator: Any, context: Any) -> None:
        """Do nothing."""
