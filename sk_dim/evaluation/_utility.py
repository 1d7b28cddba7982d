"""How many labels a pretrained model is worth.

This module imports nothing of its own package.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.isotonic import isotonic_regression

ROUNDING = 1e-12  # relative difference below which two scores are the same


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
        True where no budget from scratch was as good, so that the value is a lower
        bound.
    is_at_most : ndarray of shape (n_budgets, n_draws)
        True where the smallest budget from scratch was better, so that the value is an
        upper bound.

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
        return "\n".join(self._line(i) for i in range(len(self.budgets)))

    def _line(self, i: int) -> str:
        above, below = self.is_at_least[i].sum(), self.is_at_most[i].sum()
        n_draws, n_censored = self.values.shape[1], above + below
        if above and below:
            bound = "about "
        elif above:
            bound = "at least "
        elif below:
            bound = "at most "
        else:
            bound = ""
        mean = self.values[i].mean()
        line = f"{self.budgets[i]:>4} labels: utility {bound}{mean:.2f}"
        if n_draws == 1:
            return f"{line}, censored" if n_censored else line
        if n_censored:
            return f"{line}, mean of {n_draws} draws, {n_censored} of them censored"
        return f"{line} ± {self.values[i].std():.2f}, mean of {n_draws} draws"


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
        Their accuracies. The mean over the draws is the curve to compare with.
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
        If lengths do not fit, scores are not finite, or budgets are not positive or
        repeat.

    See Also
    --------
    LabelEfficiency.utility : Of models that were compared by `label_efficiency`.

    Notes
    -----
    If the curve from scratch first reaches an accuracy at :math:`\hat n` labels, a
    model that has this accuracy from n labels has a utility of :math:`\hat n / n - 1`.

    The curve is made monotone by isotonic regression, and is linear in n between its
    budgets. Where it is flat, an accuracy of just that height is reached at the start
    of the flat piece, a higher one only after its end.

    An accuracy that the curve never reaches has at least the utility that the largest
    budget would give; one below the start of the curve has at most the utility that the
    smallest budget would give.

    References
    ----------
    A. Newell, J. Deng (2020). How Useful is Self-Supervised Pretraining for Visual
    Tasks? arXiv:2003.14323.

    Examples
    --------
    >>> utility([10, 20, 40], [0.5, 0.6, 0.8], [10, 20], [0.7, 0.7]).values.ravel()
    array([2. , 0.5])

    A curve that is flat from 10 to 20 labels reaches 0.65 at 30:

    >>> utility([10, 20, 40], [0.5, 0.5, 0.8], [10], [0.65]).values.ravel()
    array([2.])
    """
    scratch_n, scratch = _check_curve("scratch_", scratch_budgets, scratch_scores)
    n, values = _check_curve("", budgets, scores)
    order = np.argsort(scratch_n)
    curve = _rising_curve(scratch.mean(axis=1)[order])
    values = _snap(values, curve)
    reached = _labels_to_reach(values, scratch_n[order], curve)
    return Utility(n, reached / n[:, None] - 1, values > curve[-1], values < curve[0])


def _rising_curve(means: np.ndarray) -> np.ndarray:
    """Make means monotone, with those equal that differ by rounding alone."""
    curve = isotonic_regression(means)
    for i in range(1, len(curve)):
        if _is_same(curve[i], curve[i - 1]):
            curve[i] = curve[i - 1]
    return curve


def _snap(scores: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """Set scores that differ from a height of the curve by rounding to that height."""
    nearest = curve[np.abs(scores[..., None] - curve).argmin(axis=-1)]
    return np.where(_is_same(scores, nearest), nearest, scores)


def _is_same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compare up to rounding, which else decides which end of a flat piece counts."""
    return np.isclose(a, b, rtol=ROUNDING, atol=0)


def _labels_to_reach(
    scores: np.ndarray, n: np.ndarray, curve: np.ndarray
) -> np.ndarray:
    """Return the fewest labels at which a rising curve through (n, curve) has scores.

    The largest budget for scores above the curve, the smallest for those below it.
    """
    # The first budget that is as good, so the start of a flat piece; the one before it
    # is worse, so the end of one.
    right = np.searchsorted(curve, scores)
    left = np.maximum(right - 1, 0)
    right = np.minimum(right, len(curve) - 1)
    rise = curve[right] - curve[left]
    share = np.zeros(scores.shape)
    np.divide(scores - curve[left], rise, out=share, where=rise > 0)
    return n[left] + share * (n[right] - n[left])


def _check_curve(
    prefix: str, budgets: ArrayLike, scores: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Check budgets (k,) and their scores, returned as (k, n_draws)."""
    n = np.asarray(budgets)
    values = np.asarray(scores, dtype=float)
    values = values[:, None] if values.ndim == 1 else values
    if n.ndim != 1 or values.ndim != 2 or len(n) != len(values) or not values.size:
        raise ValueError(
            f"{prefix}budgets of shape {n.shape} and {prefix}scores of shape "
            f"{values.shape}; they must be (k,) and (k,) or (k, n_draws), k and "
            "n_draws at least 1."
        )
    if not (n > 0).all() or len(np.unique(n)) < len(n):
        raise ValueError(
            f"{prefix}budgets={n.tolist()}; they must be positive and differ."
        )
    if not np.isfinite(values).all():
        raise ValueError(
            f"{prefix}scores holds NaN or infinity; leave out budgets without scores."
        )
    return n, values
