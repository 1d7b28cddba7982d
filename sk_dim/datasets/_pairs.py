"""Pairs of variables with known mutual information.

This module imports nothing of its own package.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln, ndtr, psi
from sklearn.utils import check_random_state

WARPS = ("cdf", "cube", "spiral")


class Pairs(NamedTuple):
    """Samples of two variables, and their mutual information.

    Parameters
    ----------
    X, Y : ndarray of shape (n_samples, ...)
        Row i of X and row i of Y are one draw from the joint distribution.
    information : float
        Mutual information I(X; Y) of the distribution, in nats.

    Examples
    --------
    >>> X, Y, information = make_normal_pairs(100, mutual_information=0.5)
    >>> X.shape, Y.shape, information
    ((100, 1), (100, 1), 0.5)
    """

    X: np.ndarray
    Y: np.ndarray
    information: float


def make_normal_pairs(
    n_samples: int = 1000,
    *,
    n_dims: int = 1,
    mutual_information: float = 1.0,
    n_informative: int | None = None,
    warp: str | None = None,
    random_state: Any = None,
) -> Pairs:
    r"""Draw correlated normal variables, and warp them on request.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of pairs.
    n_dims : int, default=1
        Dimensions of X and of Y.
    mutual_information : float, default=1.0
        I(X; Y) in nats, at least 0.
    n_informative : int or None, default=None
        Number of correlated pairs (X_i, Y_i); all have the same correlation. None
        takes all.
    warp : {"cdf", "cube", "spiral"} or None, default=None
        One-to-one map of X, which leaves mutual information as it is. "cdf" maps each
        coordinate to a uniform one between 0 and 1. "cube" takes third powers. "spiral"
        rotates each pair of dimensions about the origin, by an angle equal to its
        squared length; it needs two dimensions.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Returns
    -------
    Pairs
        X and Y of shape (n_samples, n_dims), and `mutual_information`.

    Raises
    ------
    ValueError
        If `mutual_information` is negative, `n_informative` is not from 1 to `n_dims`,
        or `warp` is unknown or needs more dimensions.

    Notes
    -----
    With k informative dimensions each pair has the correlation
    :math:`\rho = \sqrt{1 - e^{-2 I / k}}`, since
    :math:`I = -\frac{k}{2} \log (1 - \rho^2)`.

    References
    ----------
    P. Czyz et al. (2023). Beyond Normal: On the Evaluation of Mutual Information
    Estimators. arXiv:2306.11078.

    Examples
    --------
    >>> X, Y, _ = make_normal_pairs(5000, mutual_information=1.0, random_state=0)
    >>> print(f"{np.corrcoef(X[:, 0], Y[:, 0])[0, 1]:.2f}")
    0.93
    """
    k = n_dims if n_informative is None else n_informative
    if not 1 <= k <= n_dims:
        raise ValueError(
            f"n_informative={n_informative} with n_dims={n_dims}; it must be from 1 to "
            "n_dims, or None for all."
        )
    if not mutual_information >= 0:
        raise ValueError(
            f"mutual_information={mutual_information}; it must be 0 or more."
        )
    rng = check_random_state(random_state)
    correlation = math.sqrt(-math.expm1(-2 * mutual_information / k))
    X, noise = rng.normal(size=(2, n_samples, n_dims))
    share = np.zeros(n_dims)
    share[:k] = correlation
    Y = share * X + np.sqrt(1 - share**2) * noise
    return Pairs(_warp(X, warp), Y, float(mutual_information))


def _warp(X: np.ndarray, warp: str | None) -> np.ndarray:
    if warp is None:
        return X
    if warp == "cdf":
        return ndtr(X)
    if warp == "cube":
        return X**3
    if warp != "spiral":
        raise ValueError(
            f"warp={warp!r} is not known; expected None or one of {WARPS}."
        )
    if X.shape[1] < 2:
        raise ValueError("warp='spiral' turns planes; it needs n_dims of 2 or more.")
    turned = X.copy()
    for i in range(0, X.shape[1] - 1, 2):
        a, b = X[:, i], X[:, i + 1]
        angle = a**2 + b**2
        turned[:, i] = np.cos(angle) * a - np.sin(angle) * b
        turned[:, i + 1] = np.sin(angle) * a + np.cos(angle) * b
    return turned


def make_uniform_pairs(
    n_samples: int = 1000, *, noise: float = 0.1, random_state: Any = None
) -> Pairs:
    r"""Draw a uniform variable and its sum with uniform noise.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of pairs.
    noise : float, default=0.1
        X is uniform between 0 and 1, and Y is X plus noise that is uniform between
        ``-noise`` and ``noise``.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Returns
    -------
    Pairs
        X and Y of shape (n_samples, 1).

    Raises
    ------
    ValueError
        If `noise` is not positive.

    Notes
    -----
    With noise :math:`\epsilon` the mutual information is
    :math:`\epsilon - \log 2\epsilon` up to one half, and
    :math:`1 / 4\epsilon` above it.

    Examples
    --------
    >>> print(f"{make_uniform_pairs(noise=0.1).information:.3f}")
    1.709
    """
    if not noise > 0:
        raise ValueError(f"noise={noise}; it must be positive.")
    rng = check_random_state(random_state)
    X = rng.uniform(size=(n_samples, 1))
    Y = X + rng.uniform(-noise, noise, size=(n_samples, 1))
    information = noise - math.log(2 * noise) if noise <= 0.5 else 1 / (4 * noise)
    return Pairs(X, Y, information)


def make_student_pairs(
    n_samples: int = 1000,
    *,
    n_dims: int = 1,
    degrees_of_freedom: float = 1.0,
    random_state: Any = None,
) -> Pairs:
    r"""Draw uncorrelated variables of one Student t distribution, with heavy tails.

    X and Y are independent normal variables with a common random scale: they depend
    on one another, but their correlation is 0.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of pairs.
    n_dims : int, default=1
        Dimensions of X and of Y.
    degrees_of_freedom : float, default=1.0
        Fewer degrees of freedom give heavier tails and more mutual information.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Returns
    -------
    Pairs
        X and Y of shape (n_samples, n_dims).

    Raises
    ------
    ValueError
        If `degrees_of_freedom` is not positive.

    Notes
    -----
    The differential entropy of d dimensions with :math:`\nu` degrees of freedom is

    .. math:: h_d = \log \frac{(\nu \pi)^{d/2}\, \Gamma(\nu / 2)}
              {\Gamma((\nu + d) / 2)} + \frac{\nu + d}{2}
              \Big(\psi\big(\tfrac{\nu + d}{2}\big)
              - \psi\big(\tfrac{\nu}{2}\big)\Big)

    and the mutual information is twice that of `n_dims` less that of both together.

    Examples
    --------
    >>> print(f"{make_student_pairs(n_dims=5, degrees_of_freedom=2).information:.3f}")
    0.448
    """
    df = degrees_of_freedom
    if not df > 0:
        raise ValueError(f"degrees_of_freedom={df}; it must be positive.")
    rng = check_random_state(random_state)
    scale = np.sqrt(df / rng.chisquare(df, size=(n_samples, 1)))
    X, Y = scale * rng.normal(size=(2, n_samples, n_dims))

    def entropy(d: int) -> float:
        log_norm = d / 2 * math.log(df * math.pi) + gammaln(df / 2)
        slope = (df + d) / 2 * (psi((df + d) / 2) - psi(df / 2))
        return float(log_norm - gammaln((df + d) / 2) + slope)

    return Pairs(X, Y, 2 * entropy(n_dims) - entropy(2 * n_dims))


def make_discrete_pairs(
    n_samples: int = 1000, *, probabilities: ArrayLike, random_state: Any = None
) -> Pairs:
    """Draw from a table of joint probabilities.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of pairs.
    probabilities : array-like of shape (n_x, n_y)
        Joint probability of each value of X with each value of Y; they sum to 1.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Returns
    -------
    Pairs
        X and Y of shape (n_samples, 1), the row and the column of the table as
        integers.

    Raises
    ------
    ValueError
        If `probabilities` is no table, has negative entries, or does not sum to 1.

    Examples
    --------
    >>> same = make_discrete_pairs(50, probabilities=[[0.5, 0], [0, 0.5]])
    >>> bool((same.X == same.Y).all()), f"{same.information:.3f}"
    (True, '0.693')
    """
    joint = np.asarray(probabilities, dtype=float)
    if joint.ndim != 2 or not (joint >= 0).all() or not np.isclose(joint.sum(), 1):
        raise ValueError(
            f"probabilities of shape {joint.shape} that sum to {joint.sum():g}; they "
            "must be a table of numbers that are not negative and sum to 1."
        )
    rng = check_random_state(random_state)
    flat = rng.choice(joint.size, size=n_samples, p=joint.ravel() / joint.sum())
    X, Y = np.divmod(flat, joint.shape[1])
    return Pairs(X[:, None], Y[:, None], information_of_table(joint))


def information_of_table(joint: np.ndarray) -> float:
    """Mutual information of two discrete variables, from their joint probabilities."""
    independent = joint.sum(1, keepdims=True) * joint.sum(0)
    seen = joint > 0
    ratios = np.log(joint[seen] / independent[seen])
    return max(0.0, float(np.sum(joint[seen] * ratios)))


def make_mixed_pairs(
    n_samples: int = 1000, *, n_values: int = 5, random_state: Any = None
) -> Pairs:
    r"""Draw a discrete variable and a continuous one that depends on it.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of pairs.
    n_values : int, default=5
        X is uniform on the integers from 0 to `n_values` - 1; Y is uniform from X to
        X + 2.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Returns
    -------
    Pairs
        X, integers, and Y of shape (n_samples, 1).

    Raises
    ------
    ValueError
        If `n_values` is less than 1.

    Notes
    -----
    With m values the mutual information is
    :math:`\log m - \frac{m - 1}{m} \log 2`.

    References
    ----------
    W. Gao et al. (2017). Estimating Mutual Information for Discrete-Continuous
    Mixtures. arXiv:1709.06212.

    Examples
    --------
    >>> print(f"{make_mixed_pairs(n_values=5).information:.3f}")
    1.055
    """
    if n_values < 1:
        raise ValueError(f"n_values={n_values}; it must be at least 1.")
    rng = check_random_state(random_state)
    X = rng.randint(n_values, size=(n_samples, 1))
    Y = X + rng.uniform(0, 2, size=(n_samples, 1))
    information = math.log(n_values) - (n_values - 1) / n_values * math.log(2)
    return Pairs(X, Y, information)
