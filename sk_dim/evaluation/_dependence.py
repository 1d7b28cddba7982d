"""Dependence among components of a representation, and between it and its samples."""

import warnings
from typing import Any

import numpy as np
from sklearn.utils import check_array, check_random_state

from sk_dim._inputs._groups import read_groups
from sk_dim._mutual_information import NOTHING_FOUND, MutualInformationEstimator
from sk_dim._validation import check_real


def neural_dependency_measure(
    Z: Any, *, groups: Any = None, random_state: Any = None, **params: Any
) -> float:
    r"""Estimate how much the components of a representation depend on one another.

    The neural dependency measure of Deep InfoMax is the Kullback-Leibler divergence
    from the product of the marginals of all components to their joint distribution,
    which is 0 where they are independent.

    Parameters
    ----------
    Z : array-like of shape (n_samples, n_components)
        Representation, such as `transform` returns it.
    groups : array-like of shape (n_samples,), default=None
        What samples belong to, see :meth:`sk_dim.MutualInformationEstimator.fit`.
    random_state : int, RandomState instance or None, default=None
        Seed of the estimates.
    **params
        Parameters of :class:`sk_dim.MutualInformationEstimator`.

    Returns
    -------
    float
        In nats; a lower bound in expectation, unless `bound` asks for an estimate.
        Infinite, with a warning, where a continuous component is a copy of another.

    Raises
    ------
    ValueError or TypeError
        If `Z` is no finite array of two axes, or as
        :meth:`sk_dim.MutualInformationEstimator.fit` does.

    See Also
    --------
    encoded_information : What a representation tells of its samples.

    Notes
    -----
    The divergence is the sum of :math:`I(Z_A; Z_B)` over all splits of a tree that
    halves the components until they stand alone, by the chain rule. Each summand is
    estimated by itself, so the limit of log n holds for each summand, not for the sum;
    the paper's single discriminator is limited to log n for all of them. With d
    components, d - 1 estimates are made. Constant components depend on nothing and are
    left out. Summands are at least 0, so the sum for independent components is slightly
    above 0.

    References
    ----------
    R. D. Hjelm et al. (2018). Learning Deep Representations by Mutual Information
    Estimation and Maximization, section 4.2. arXiv:1808.06670.

    Examples
    --------
    >>> import numpy as np
    >>> Z = np.random.default_rng(0).normal(size=(300, 3))
    >>> abs(neural_dependency_measure(Z, max_iter=3, random_state=0)) < 0.05
    True
    """
    Z = check_array(Z, dtype=np.float64, input_name="Z")
    read_groups(groups, len(Z))
    Z = Z[:, np.ptp(Z, axis=0) > 0]
    rng = check_random_state(random_state)
    parts = [Z]
    total = 0.0
    while parts:
        part = parts.pop()
        if part.shape[1] < 2:
            continue
        halves = np.array_split(part, 2, axis=1)
        estimator = MutualInformationEstimator(
            random_state=rng.randint(2**31), **params
        )
        with warnings.catch_warnings():
            # Halves that are independent are what many a representation is made for.
            warnings.filterwarnings("ignore", NOTHING_FOUND)
            total += estimator.fit(*halves, groups=groups).mutual_information_
        parts += halves
    return total


def encoded_information(
    transformer: Any,
    X: Any,
    *,
    noise: float = 0.0,
    groups: Any = None,
    random_state: Any = None,
    **params: Any,
) -> float:
    r"""Estimate the mutual information of samples and their representation.

    Parameters
    ----------
    transformer : fitted transformer
        Any with a method `transform`.
    X : array-like of shape (n_samples, ...)
        Samples that it takes: a table, or images, which may be flattened for it.
    noise : float, default=0.0
        Normal noise is added to each column of the representation; this is its
        standard deviation as a multiple of the column's.
    groups : array-like of shape (n_samples,), default=None
        What samples belong to, see :meth:`sk_dim.MutualInformationEstimator.fit`.
    random_state : int, RandomState instance or None, default=None
        Seed of noise and estimate.
    **params
        Parameters of :class:`sk_dim.MutualInformationEstimator`.

    Returns
    -------
    float
        In nats; a lower bound in expectation, unless `bound` asks for an estimate.

    Raises
    ------
    ValueError or TypeError
        If `noise` is negative, or as :meth:`sk_dim.MutualInformationEstimator.fit`
        does.

    Warns
    -----
    UserWarning
        If the value sits at the cap that so many samples allow, as it does for most
        transformers without noise.

    See Also
    --------
    neural_dependency_measure : How much components depend on one another.

    Notes
    -----
    A transformer is a function of its input. Where that is continuous, the mutual
    information :math:`I(X; E(X))` is infinite for every transformer but a constant one
    (and for discrete samples, the entropy of what it returns), whatever it kept and
    whatever it lost. The estimate then shows how easily a critic finds the sample that
    belongs to a representation among other samples, which depends on the critic, on the
    number of samples, and on their scaling. Read the paper's table of it in this way.
    With `noise` the quantity is finite: what a representation that is known with this
    precision tells of the samples.

    References
    ----------
    R. D. Hjelm et al. (2018). Learning Deep Representations by Mutual Information
    Estimation and Maximization, section 4.2. arXiv:1808.06670.

    R. A. Amjad, B. C. Geiger (2019). Learning Representations for Neural Network-Based
    Classification Using the Information Bottleneck Principle. arXiv:1802.09766.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> X = np.random.default_rng(0).normal(size=(1000, 3))
    >>> pca = PCA(n_components=1).fit(X)
    >>> round(encoded_information(pca, X, noise=1.0, max_iter=5, random_state=0), 1)
    0.3
    """
    noise = check_real("noise", noise)
    rng = check_random_state(random_state)
    Z = transformer.transform(X)
    if noise:
        Z = check_array(
            Z,
            dtype=np.float64,
            ensure_2d=False,
            allow_nd=True,
            input_name="transform(X)",
        )
        Z = Z + noise * Z.std(axis=0) * rng.normal(size=Z.shape)
    estimator = MutualInformationEstimator(random_state=rng.randint(2**31), **params)
    return estimator.fit(X, Z, groups=groups).mutual_information_
