"""Pairs of images, series and wide tables with known mutual information."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_consistent_length, check_random_state

from sk_dim.datasets._pairs import Pairs, information_of_table, make_normal_pairs


def make_class_pairs(
    X: ArrayLike,
    y: ArrayLike,
    n_samples: int = 1000,
    *,
    same: float = 1.0,
    channel: ArrayLike | None = None,
    n_parts: int = 1,
    n_shared: int | None = None,
    hidden: float = 0.0,
    random_state: Any = None,
) -> Pairs:
    r"""Pair samples by their classes: images, series or rows that share only a class.

    Samples of each class are halved: one half is drawn from for X, the other for Y,
    with replacement. So a pair has its classes in common and nothing else, however many
    values a sample has.

    Parameters
    ----------
    X : array-like of shape (n, ...)
        Labelled samples to draw from, two of each class at least.
    y : array-like of shape (n,)
        Their classes, each as probable as it is frequent.
    n_samples : int, default=1000
        Number of pairs.
    same : float, default=1.0
        Share of the pairs whose classes are equal; the classes of the others are
        independent, and equal by chance. Ignored where there is a `channel`.
    channel : array-like of shape (n_classes, n_classes) or None, default=None
        Entry (i, j) is the probability of class j in Y where X has class i, classes in
        sorted order; each row sums to 1.
    n_parts : int, default=1
        Samples that are put side by side, along the last axis, in each row of X and of
        Y, each with a class of its own.
    n_shared : int or None, default=None
        How many of the parts depend on one another, in the same place of both; the
        others are independent. None takes all.
    hidden : float, default=0.0
        Probability of each part of Y to be blank, filled with the mean of all values.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Returns
    -------
    Pairs
        X and Y of shape (n_samples, ...), and their mutual information.

    Raises
    ------
    ValueError
        If `same` or `hidden` is not from 0 to 1, `n_shared` is not from 0 to `n_parts`,
        `channel` is no table of probabilities for the classes, a class has one
        sample, or there are none.

    Notes
    -----
    With the classes c and d of the two samples, and k shared parts of which a share
    h is hidden,

    .. math:: I(X; Y) = k (1 - h)\, I(c; d),

    if samples tell their class for certain and none looks blank. Where they do not,
    this is an upper bound.

    References
    ----------
    G. Gowri et al. (2024). Approximating Mutual Information of High-Dimensional
    Variables Using Learned Representations. arXiv:2409.02732, whose resampled images
    are two classes with a share `same`.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> X, Y, information = make_class_pairs(
    ...     digits.images, digits.target, same=0.5, random_state=0
    ... )
    >>> X.shape, Y.shape, f"{information:.2f}"
    ((1000, 8, 8), (1000, 8, 8), '0.63')
    """
    n_shared = n_parts if n_shared is None else n_shared
    _check_shares(same, hidden, n_parts, n_shared)
    X, y = np.asarray(X), np.asarray(y)
    check_consistent_length(X, y)
    if len(X) == 0:
        raise ValueError("X has no rows; each class needs two, one for X, one for Y.")
    classes, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    if counts.min() < 2:
        raise ValueError(
            f"class {classes[counts.argmin()]} has one sample; each class needs two, "
            "one for X and one for Y."
        )
    shares = counts / counts.sum()
    n_classes = len(classes)
    steps = same * np.eye(n_classes) + (1 - same) * shares
    if channel is not None:
        steps = _check_channel(channel, n_classes)
    rng = check_random_state(random_state)
    pools = _halve(codes, n_classes, rng)
    parts: tuple[list[np.ndarray], list[np.ndarray]] = [], []
    for i in range(n_parts):
        of_x = rng.choice(n_classes, n_samples, p=shares)
        of_y = rng.choice(n_classes, n_samples, p=shares)
        if i < n_shared:
            of_y = (steps.cumsum(1)[of_x] < rng.uniform(size=(n_samples, 1))).sum(1)
            of_y = np.minimum(of_y, n_classes - 1)  # of sums a little below 1
        for side, own, out in zip(pools, (of_x, of_y), parts, strict=True):
            out.append(X[_draw(side, own, rng)])
        is_hidden = rng.uniform(size=n_samples) < hidden
        parts[1][-1][is_hidden] = X.mean()
    of_a_part = information_of_table(shares[:, None] * steps)
    wide_x, wide_y = (np.concatenate(each, axis=-1) for each in parts)
    return Pairs(wide_x, wide_y, n_shared * (1 - hidden) * of_a_part)


def _check_shares(same: float, hidden: float, n_parts: int, n_shared: int) -> None:
    for name, value in (("same", same), ("hidden", hidden)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name}={value}; it is a share, from 0 to 1.")
    if not (n_parts >= 1 and 0 <= n_shared <= n_parts):
        raise ValueError(
            f"n_shared={n_shared} of n_parts={n_parts}; it must be from 0 to n_parts, "
            "which is at least 1."
        )


def _check_channel(channel: ArrayLike, n_classes: int) -> np.ndarray:
    steps = np.asarray(channel, dtype=float)
    is_square = steps.shape == (n_classes, n_classes)
    if not (is_square and (steps >= 0).all() and np.allclose(steps.sum(1), 1)):
        raise ValueError(
            f"channel of shape {steps.shape}; it must be a table of {n_classes} by "
            f"{n_classes} probabilities, for the classes of X and of Y, whose rows sum "
            "to 1."
        )
    return steps


def _halve(
    codes: np.ndarray, n_classes: int, rng: np.random.RandomState
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Rows of each class for X, and others for Y."""
    drawn = [rng.permutation(np.flatnonzero(codes == k)) for k in range(n_classes)]
    return [rows[::2] for rows in drawn], [rows[1::2] for rows in drawn]


def _draw(
    pools: list[np.ndarray], classes: np.ndarray, rng: np.random.RandomState
) -> np.ndarray:
    """Draw a row of each of these classes."""
    rows = np.empty(len(classes), dtype=int)
    for k, pool in enumerate(pools):
        is_own = classes == k
        rows[is_own] = rng.choice(pool, is_own.sum())
    return rows


def make_wide_pairs(
    n_samples: int = 1000,
    *,
    n_columns: int = 1024,
    rank: int = 4,
    mutual_information: float = 1.0,
    n_noise: int | None = None,
    rotate: bool = False,
    random_state: Any = None,
) -> Pairs:
    """Draw wide normal tables that depend on one another in few directions.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of pairs.
    n_columns : int, default=1024
        Columns of X and of Y.
    rank : int, default=4
        Number of correlated pairs of columns; all have the same correlation.
    mutual_information : float, default=1.0
        I(X; Y) in nats, at least 0.
    n_noise : int or None, default=None
        Columns of independent noise. None takes half of those that are left. The other
        columns are copies of correlated ones, drawn at random.
    rotate : bool, default=False
        Whether the columns of each side are turned by a random rotation, after which
        none is a copy of another, and each holds noise. Mutual information stays.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Returns
    -------
    Pairs
        X and Y of shape (n_samples, n_columns), and `mutual_information`.

    Raises
    ------
    ValueError
        If `rank` and `n_noise` do not fit into `n_columns`, or `mutual_information` is
        negative.

    References
    ----------
    G. Gowri et al. (2024). Approximating Mutual Information of High-Dimensional
    Variables Using Learned Representations. arXiv:2409.02732

    Examples
    --------
    >>> import numpy as np
    >>> X, Y, _ = make_wide_pairs(n_columns=50, rank=3, n_noise=7, random_state=0)
    >>> X.shape, int(np.linalg.matrix_rank(X))
    ((1000, 50), 10)
    """
    n_noise = max(0, n_columns - rank) // 2 if n_noise is None else n_noise
    if not (rank >= 1 and n_noise >= 0 and rank + n_noise <= n_columns):
        raise ValueError(
            f"rank={rank} and n_noise={n_noise} of n_columns={n_columns}; there must "
            "be at least one correlated column, and as many columns as both ask for."
        )
    rng = check_random_state(random_state)
    X, Y, information = make_normal_pairs(
        n_samples,
        n_dims=rank,
        mutual_information=mutual_information,
        random_state=rng,
    )

    def widen(Z: np.ndarray) -> np.ndarray:
        copied = rng.randint(rank, size=n_columns - rank - n_noise)
        wide = np.hstack([Z, Z[:, copied], rng.normal(size=(n_samples, n_noise))])
        if not rotate:
            return wide
        # Of a normal matrix, made unique by its signs: uniform among the rotations.
        q, r = np.linalg.qr(rng.normal(size=(n_columns, n_columns)))
        return wide @ (q * np.sign(np.diag(r)))

    return Pairs(widen(X), widen(Y), information)
