"""What components tell of one another, and what they tell of their samples."""

from typing import Any

import numpy as np
from sklearn.utils import check_array, check_random_state

from sk_dim._mutual_information import MutualInformationEstimator
from sk_dim._validation import check_real
from sk_dim._variables import check_variable


def neural_dependency_measure(
    Z: Any, *, random_state: Any = None, **params: Any
) -> float:
    r"""Estimate how much the components of a representation depend on one another.

    The neural dependency measure of Deep InfoMax is the Kullback-Leibler divergence
    from the product of the marginals of all components to their joint distribution,
    which is 0 where they are independent.

    Parameters
    ----------
    Z : array-like of shape (n_samples, n_components)
        Representation, such as `transform` returns it.
    random_state : int, RandomState instance or None, default=None
        Seeds the estimates.
    **params
        Of :class:`sk_dim.MutualInformationEstimator`.

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
    encoded_information : What a representation tells of the samples.

    Notes
    -----
    The divergence is the sum of :math:`I(Z_A; Z_B)` over all splits of a tree that
    halves the components until they stand alone, by the chain rule. Each is estimated
    by itself, so what cannot be sure of more than log n is each, not the sum: the
    paper's single discriminator is held to log n for all of them. It takes as many
    estimates as there are components, less one. Constant components, which depend on
    nothing, are left out.

    References
    ----------
    R. D. Hjelm et al. (2018). Learning Deep Representations by Mutual Information
    Estimation and Maximization, section 4.2. arXiv:1808.06670.

    Examples
    --------
    >>> import numpy as np
    >>> Z = np.random.default_rng(0).normal(size=(1000, 3))
    >>> abs(neural_dependency_measure(Z, max_iter=3, random_state=0)) < 0.05
    True
    """
    Z = check_array(Z, dtype=np.float64, input_name="Z")
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
        total += estimator.fit(*halves).mutual_information_
        parts += halves
    return total


def encoded_information(
    transformer: Any,
    X: Any,
    *,
    noise: float = 0.0,
    random_state: Any = None,
    **params: Any,
) -> float:
    r"""Estimate the mutual information of samples and what a transformer makes of them.

    Parameters
    ----------
    transformer : fitted transformer
        Any with a method `transform`.
    X : array-like of shape (n_samples, ...)
        Samples that it takes: a table, or images, which may be flattened for it.
    noise : float, default=0.0
        Standard deviation of normal noise that is added to each column of the
        representation, in those of the column.
    random_state : int, RandomState instance or None, default=None
        Seeds noise and estimate.
    **params
        Of :class:`sk_dim.MutualInformationEstimator`.

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
    neural_dependency_measure : What components tell of one another.

    Notes
    -----
    A transformer is a function of its input. Where that is continuous, the mutual
    information :math:`I(X; E(X))` is infinite for every transformer but a constant one
    (and for discrete samples, the entropy of what it returns), whatever it kept and
    whatever it lost. What is estimated is then how easily a critic finds the sample
    that belongs to a representation among others, which depends on the critic, on the
    number of samples, and on how they are scaled. The paper's table of it has to be
    read so. With `noise`, the question has an answer: how much of the samples can be
    told from the representation, looked at with that precision.

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
    Z = check_variable("transform(X)", transformer.transform(X))
    if noise:
        Z = Z + noise * Z.std(axis=0) * rng.normal(size=Z.shape)
    estimator = MutualInformationEstimator(random_state=rng.randint(2**31), **params)
    return estimator.fit(X, Z).mutual_information_
