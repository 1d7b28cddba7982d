"""Closed forms against other ways to the same number, and samples against the forms."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from sk_dim.datasets import (
    WARPS,
    make_discrete_pairs,
    make_mixed_pairs,
    make_normal_pairs,
    make_student_pairs,
    make_uniform_pairs,
)

MAKERS = {
    "normal": make_normal_pairs,
    "uniform": make_uniform_pairs,
    "student": make_student_pairs,
    "discrete": lambda n, **rest: make_discrete_pairs(
        n, probabilities=[[0.1, 0.4], [0.2, 0.3]], **rest
    ),
    "mixed": make_mixed_pairs,
}


@pytest.mark.parametrize("name", MAKERS)
def test_pairs_repeat_with_the_seed(name):
    a, b, c = (MAKERS[name](40, random_state=seed) for seed in (0, 0, 1))
    for one, other, third in zip(a[:2], b[:2], c[:2], strict=True):
        assert one.shape == (40, 1)
        np.testing.assert_array_equal(one, other)
        assert not np.array_equal(one, third)


@given(n_dims=st.integers(1, 6), information=st.floats(0, 5), share=st.floats(0.01, 1))
def test_normal_pairs_have_the_correlations_that_their_information_asks_for(
    n_dims, information, share
):
    k = max(1, round(share * n_dims))
    X, Y, same = make_normal_pairs(
        4000,
        n_dims=n_dims,
        mutual_information=information,
        n_informative=k,
        random_state=0,
    )
    assert same == information
    expected = np.zeros(n_dims)
    expected[:k] = math.sqrt(1 - math.exp(-2 * information / k))
    for i in range(n_dims):
        found = np.corrcoef(X[:, i], Y[:, i])[0, 1]
        assert found == pytest.approx(expected[i], abs=0.08)


@pytest.mark.parametrize("warp", WARPS)
def test_warps_are_one_to_one(warp):
    plain, warped = (
        make_normal_pairs(500, n_dims=2, warp=each, random_state=0)
        for each in (None, warp)
    )
    np.testing.assert_array_equal(plain.Y, warped.Y)
    assert not np.allclose(plain.X, warped.X)
    undone = {
        "cdf": stats.norm.ppf,
        "cube": np.cbrt,
        "spiral": unwind,
    }[warp](warped.X)
    np.testing.assert_allclose(undone, plain.X, atol=1e-6)


def unwind(X):
    turned = (X[:, 0] + 1j * X[:, 1]) * np.exp(-1j * (X**2).sum(axis=1))
    return np.column_stack([turned.real, turned.imag])


@pytest.mark.parametrize("noise", [0.05, 0.5, 0.8])
def test_uniform_pairs_against_the_integral_over_the_density_of_the_sum(noise):
    def surprise(y):
        low, high = max(0.0, y - noise), min(1.0, y + noise)
        density = (high - low) / (2 * noise)
        return -density * math.log(density) if density > 0 else 0.0

    corners = sorted([noise, 1 - noise])
    entropy, _ = integrate.quad(surprise, -noise, 1 + noise, points=corners)
    information = make_uniform_pairs(noise=noise).information
    assert information == pytest.approx(entropy - math.log(2 * noise), abs=1e-6)


@pytest.mark.parametrize(("n_dims", "df"), [(1, 1.0), (2, 3.0), (5, 2.0)])
def test_student_pairs_against_the_mean_of_their_log_density_ratio(n_dims, df):
    X, Y, information = make_student_pairs(
        200_000, n_dims=n_dims, degrees_of_freedom=df, random_state=0
    )
    one = stats.multivariate_t(shape=np.eye(n_dims), df=df)
    both = stats.multivariate_t(shape=np.eye(2 * n_dims), df=df)
    ratio = both.logpdf(np.hstack([X, Y])) - one.logpdf(X) - one.logpdf(Y)
    error = ratio.std() / math.sqrt(len(X))
    assert abs(ratio.mean() - information) < 4 * error


def test_more_degrees_of_freedom_tell_less():
    tells = [
        make_student_pairs(2, degrees_of_freedom=df).information for df in (1, 3, 30)
    ]
    assert tells == sorted(tells, reverse=True)
    assert tells[-1] < 0.01


def test_discrete_pairs_are_drawn_from_their_table():
    table = np.array([[0.5, 0.0, 0.1], [0.1, 0.2, 0.1]])
    X, Y, information = make_discrete_pairs(20_000, probabilities=table, random_state=0)
    counts = np.zeros((2, 3))
    np.add.at(counts, (X[:, 0], Y[:, 0]), 1)
    np.testing.assert_allclose(counts / len(X), table, atol=0.015)

    def entropy(p):
        return stats.entropy(p)

    by_entropies = (
        entropy(table.sum(0)) + entropy(table.sum(1)) - entropy(table.ravel())
    )
    assert information == pytest.approx(by_entropies)


def test_independent_tables_tell_nothing():
    table = np.outer([0.2, 0.8], [0.3, 0.3, 0.4])
    assert make_discrete_pairs(probabilities=table).information == pytest.approx(0)


def test_mixed_pairs_against_the_entropy_of_the_mixture():
    # The density of Y is 1 / 2m in the first and last unit interval, 1 / m between.
    m = 7
    entropy = 2 / (2 * m) * math.log(2 * m) + (m - 1) / m * math.log(m)
    information = make_mixed_pairs(n_values=m).information
    assert information == pytest.approx(entropy - math.log(2))
    assert make_mixed_pairs(n_values=1).information == pytest.approx(0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: make_normal_pairs(mutual_information=-1.0),
            "mutual_information=-1.0;",
        ),
        (
            lambda: make_normal_pairs(n_dims=2, n_informative=3),
            "n_informative=3 with n",
        ),
        (lambda: make_normal_pairs(warp="fold"), "warp='fold' is not known; expected"),
        (lambda: make_normal_pairs(warp="spiral"), "needs n_dims of 2 or more"),
        (lambda: make_uniform_pairs(noise=0.0), "noise=0.0; it must be positive"),
        (lambda: make_student_pairs(degrees_of_freedom=0), "it must be positive"),
        (lambda: make_discrete_pairs(probabilities=[[0.5]]), "sum to 0.5; they must"),
        (lambda: make_discrete_pairs(probabilities=[1.0]), r"shape \(1,\)"),
        (lambda: make_mixed_pairs(n_values=0), "n_values=0; it must be at least 1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
