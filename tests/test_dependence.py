"""Judging representations, against closed forms."""

import math

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import FunctionTransformer

from sk_dim.evaluation import encoded_information, neural_dependency_measure

QUICK = {"critic": "separable", "max_iter": 3, "random_state": 0}


def normal_columns(correlations, n=1500):
    rng = np.random.default_rng(0)
    return rng.multivariate_normal(np.zeros(len(correlations)), correlations, size=n)


@pytest.mark.slow
def test_the_dependency_of_normal_columns_has_a_closed_form():
    correlations = 0.6 * np.ones((4, 4)) + 0.4 * np.eye(4)
    truth = -0.5 * np.linalg.slogdet(correlations).logabsdet
    Z = normal_columns(correlations)
    found = neural_dependency_measure(Z, **QUICK)
    assert abs(found - truth) < 0.1
    # Increasing maps of single components leave it as it is.
    mapped = neural_dependency_measure(np.exp(Z), **QUICK)
    assert abs(mapped - found) < 0.03


@pytest.mark.slow
def test_what_one_discriminator_could_not_find_is_found_in_parts():
    # Eight groups of two columns each, together far above the logarithm of the rows.
    n = 500
    information = 2.0
    r = math.sqrt(-math.expm1(-2 * information))
    correlations = np.kron(np.eye(8), [[1, r], [r, 1]])
    found = neural_dependency_measure(normal_columns(correlations, n), **QUICK)
    assert found > 13 > 2 * math.log(n)


@pytest.mark.slow
def test_independent_and_constant_components():
    Z = normal_columns(np.eye(3))
    found = neural_dependency_measure(Z, **QUICK)
    assert abs(found) < 0.05
    with_constant = np.insert(Z, 1, 7.0, axis=1)
    assert neural_dependency_measure(with_constant, **QUICK) == found
    assert neural_dependency_measure(Z[:, :1]) == 0
    assert neural_dependency_measure(np.ones((10, 2))) == 0


def test_a_copied_component_tells_everything():
    Z = normal_columns(np.eye(2), 100)
    with pytest.warns(UserWarning, match="a continuous column is in both"):
        assert neural_dependency_measure(np.hstack([Z, Z]), **QUICK) == math.inf


@pytest.mark.slow
def test_what_noise_leaves_of_a_column():
    X = normal_columns(np.eye(3))
    first = FunctionTransformer(lambda X: X[:, :1] ** 3)
    with pytest.warns(UserWarning, match="sits at the cap"):
        encoded_information(first, X, **QUICK)
    pca = PCA(n_components=2, random_state=0).fit(X)
    noisy = encoded_information(pca, X, noise=0.5, **QUICK)
    assert abs(noisy - math.log(1 + 1 / 0.25)) < 0.15


@pytest.mark.slow
def test_images_and_their_representation():
    rng = np.random.default_rng(0)
    side = rng.integers(2, size=800)
    images = rng.normal(scale=0.1, size=(800, 8, 8))
    images[np.arange(800), 4, 2 + 3 * side] += 1
    where = FunctionTransformer(lambda X: (X[:, 4, 5] > 0.5).astype(int))
    found = encoded_information(where, images, max_iter=12, random_state=0)
    assert abs(found - math.log(2)) < 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: neural_dependency_measure(np.zeros(3)), "Expected 2D array"),
        (
            lambda: neural_dependency_measure([[0.0, np.nan]] * 5),
            "Input Z contains NaN",
        ),
        (
            lambda: encoded_information(PCA(), np.eye(5), noise=-1.0),
            "noise=-1.0 is out of range",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
