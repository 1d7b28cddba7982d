"""How sure an estimate is: a test for independence, and an interval."""

import math

import numpy as np

N_TESTED = 1_000  # rows at most whose pairs are permuted
QUANTILE = 1.645  # of the normal distribution, 5 % on either side
EDGES = 2.5  # times the square root of nats a row, that critics may miss
UNSEEN = 5.0  # nats of all rows together that are not noticed


def draw_ways(n: int, n_permutations: int, rng: np.random.Generator) -> np.ndarray:
    """Draw ways to pair n rows at random: (n, n_permutations), int, one a column."""
    rows = np.arange(n, dtype=np.min_scalar_type(n))
    ways = rng.permuted(np.tile(rows, (n_permutations, 1)), axis=1)
    return np.ascontiguousarray(ways.T)


def p_value_of_independence(
    scores: np.ndarray, ways: np.ndarray, rng: np.random.Generator
) -> float:
    """Probability of scores as high as those of true pairs, if all pairs were chance.

    Without dependence each way to pair the rows is as probable as the true one, so
    the p-value is uniform, whatever the critic, if it did not learn from these rows.

    Parameters
    ----------
    scores : ndarray of shape (n, n)
        Of all pairs of rows; row i of both belongs together.
    ways : ndarray of shape (n, n_permutations), int
        Ways to pair them, drawn at random.
    rng : Generator
        Draws places among equals.
    """
    if np.isnan(scores).any():
        return 1.0  # they tell nothing
    # Pairs that a critic excludes are worse than all others, but still to be summed.
    least = scores.min(where=np.isfinite(scores), initial=0.0) - 1e3
    scores = np.maximum(scores, least)
    sums = np.zeros(ways.shape[1])
    for of_row, partners in zip(scores, ways, strict=True):
        sums += of_row.take(partners)  # which a processor's cache holds
    true = float(np.trace(scores))
    # By which equal ones are told from rounding.
    tolerance = 1e-9 * (float(np.abs(scores).sum(1).mean()) + 1)
    n_above = int((sums > true + tolerance).sum())
    n_equal = int((np.abs(sums - true) <= tolerance).sum())
    # Among equals the true one may be in any place.
    return (n_above + rng.uniform() * (n_equal + 1)) / (len(sums) + 1)


def interval_of(
    mean: float, error: float, on_training: float, cap: float, n_rows: int
) -> tuple[float, float]:
    """Return an interval that holds the true value in about nine cases of ten.

    Parameters
    ----------
    mean, error : float
        Of the held-out rows, in nats.
    on_training : float
        Mean of rows that critics learnt from, which is too high where they overfit.
    cap : float
        What the value could be at most.
    n_rows : int
        All rows.

    Notes
    -----
    The lower end is below a lower bound by its sampling error alone. What critics miss
    is not known. The upper end allows for it by what they claim of training rows, and
    by terms that fall with the rows, sized on known tasks: sharp edges and heavy tails
    take many rows, and a few nats in all the rows together can't be told from none.
    """
    low = max(0.0, mean - QUANTILE * error)
    missed = max(0.0, on_training - mean)
    missed += EDGES * math.sqrt(max(0.0, mean) / n_rows) + UNSEEN / n_rows
    high = max(0.0, mean) + missed + QUANTILE * error
    return low, high if high < cap else math.inf
