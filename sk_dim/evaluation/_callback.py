"""A callback that probes the features while they are learnt."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.utils.validation import _num_samples

from sk_dim._validation import check_integer
from sk_dim.evaluation._probes import linear_probe


class ProbingCallback:
    """Probe the features after epochs of a fit, by labels that training does not see.

    A callback of scikit-learn, given to an estimator by its `set_callbacks`. It shows
    when more epochs no longer help, which the bound does not.

    Parameters
    ----------
    X : array-like of shape (n_samples, ...)
        Samples that the estimator takes.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Classes, a 0-1 indicator of several labels a row, or numbers. Unlabelled rows
        are left out, as in :func:`linear_probe`.
    every : int, default=5
        Epochs from probe to probe. The first probe is after this many epochs.
    kind : {"linear", "svm", "knn", "mlp"}, default="knn"
        Which probe, see :func:`linear_probe`; nearest neighbours take the least time.
    cv : int or splitter, default=5
        Folds of the cross-validation of `X`, as in scikit-learn.
    groups : array-like of shape (n_samples,), default=None
        What rows of `X` belong to; folds keep groups whole, as in `linear_probe`.

    Attributes
    ----------
    history_ : list of dict
        One a probe of the last fit, with "epoch" and the mean score of each layer.

    Raises
    ------
    ValueError or TypeError
        When a fit begins, for labels, `kind`, `cv` or `groups` that `linear_probe`
        cannot take;
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

    _is_due = False  # whether the epoch that runs will be probed

    def __init__(
        self,
        X: Any,
        y: Any,
        *,
        every: int = 5,
        kind: str = "knn",
        cv: Any = 5,
        groups: Any = None,
    ) -> None:
        self.X = X
        self.y = y
        self.every = every
        self.kind = kind
        self.cv = cv
        self.groups = groups

    def setup(self, estimator: Any, context: Any) -> None:
        """Begin a fit, refusing what cannot be probed before its first epoch."""
        check_integer("every", self.every, 1)
        # A probe of numbers that say nothing has the same checks as one of features.
        blank = np.zeros((_num_samples(self.X), 1))
        self._score(None, blank)
        self.history_: list[dict[str, float]] = []
        self._is_due = False

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Find out whether the task is an epoch that will be probed."""
        epoch = context.task_id + 1
        self._is_due = context.task_name == "epoch" and epoch % self.every == 0

    @property
    def on_fit_task_end(self) -> Callable[..., None]:
        """Hook at the end of a task, which probes the epochs whose turn it is.

        scikit-learn copies the estimator for every hook that has `fitted_estimator`
        among its parameters, so only the epochs that are probed get such a hook.
        """
        return self._probe if self._is_due else self._pass

    def _pass(self, estimator: Any, context: Any) -> None:
        """Do nothing."""

    def _probe(
        self, estimator: Any, context: Any, *, fitted_estimator: Any = None
    ) -> None:
        if fitted_estimator is None:
            return  # of an epoch before a kill, whose probe is in the history
        scores = self._score(fitted_estimator, self.X)
        means = {name: float(values.mean()) for name, values in scores.items()}
        self.history_.append({"epoch": context.task_id + 1} | means)
        self._is_due = False

    def _score(self, model: Any, X: Any) -> dict[str, np.ndarray]:
        return linear_probe(
            model, X, self.y, kind=self.kind, cv=self.cv, groups=self.groups
        )

    def teardown(self, estimator: Any, context: Any) -> None:
        """Do nothing."""
