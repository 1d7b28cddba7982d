"""Pairs of images, series and wide tables against counting and correlations."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mutual_info_score

from sk_dim.datasets import make_class_pairs, make_series, make_wide_pairs

CHANNEL = [[0.8, 0.2, 0.0], [0.1, 0.6, 0.3], [0.0, 0.5, 0.5]]


def labelled(n=300):
    """Return samples of two columns: a number of their own, and their class, 1 to 3."""
    y = np.arange(n) % 6
    y = np.where(y < 3, 0, np.where(y < 5, 1, 2))  # with unequal frequencies
    return np.stack([np.arange(n), y + 1.0], axis=1), y


def count(a, b):
    """Mutual information of two columns by counting equal values."""
    return mutual_info_score(*(np.unique(c, return_inverse=True)[1] for c in (a, b)))


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"same": 0.5},
        {"same": 0.0},
        {"channel": CHANNEL},
        {"hidden": 0.4},
        {"hidden": 1.0},
        {"channel": CHANNEL, "hidden": 0.25},
    ],
)
def test_information_of_class_pairs_against_counting(params):
    X, Y, information = make_class_pairs(*labelled(), 20_000, **params, random_state=0)
    counted = count(X[:, 1], Y[:, 1])
    assert information == pytest.approx(counted, abs=0.01)


def test_parts_are_side_by_side_and_the_first_are_shared():
    params = {"n_parts": 3, "n_shared": 2, "same": 0.7}
    X, Y, information = make_class_pairs(*labelled(), 20_000, **params, random_state=0)
    assert X.shape == Y.shape == (20_000, 6)
    counted = [count(X[:, i], Y[:, j]) for i in (1, 3, 5) for j in (1, 3, 5)]
    assert np.allclose(counted, np.diag(2 * [information / 2] + [0]).ravel(), atol=0.02)


@given(st.integers(1, 4), st.integers(0, 4), st.floats(0, 1), st.floats(0, 1))
def test_information_is_that_of_a_part_for_each_that_is_seen(
    n_parts, n_shared, same, hidden
):
    data = labelled(18)
    n_shared = min(n_shared, n_parts)
    one = make_class_pairs(*data, 5, same=same, random_state=0).information
    params = {"n_parts": n_parts, "n_shared": n_shared, "hidden": hidden}
    all_ = make_class_pairs(*data, 5, same=same, **params, random_state=0).information
    assert all_ == pytest.approx(n_shared * (1 - hidden) * one)
    assert 0 <= one <= math.log(3)


def test_no_sample_is_in_both():
    X, Y, _ = make_class_pairs(*labelled(), 5000, random_state=0)
    assert not set(X[:, 0]) & set(Y[:, 0])
    assert len(set(X[:, 0])) == len(set(Y[:, 0])) == 150  # all are drawn from


def test_series_and_images_keep_their_axes():
    X, y = make_series("phase", 40, random_state=0)
    pairs = make_class_pairs(X, y, 12, n_parts=2, random_state=0)
    assert pairs.X.shape == (12, *X.shape[1:-1], 2 * X.shape[-1])
    images = np.zeros((20, 3, 8, 8), dtype=np.uint8)
    pairs = make_class_pairs(images, np.arange(20) % 2, 12, hidden=0.5, random_state=0)
    assert pairs.Y.shape == (12, 3, 8, 8)
    assert pairs.Y.dtype == np.uint8


@pytest.mark.parametrize("rotate", [False, True])
def test_information_of_wide_pairs_against_canonical_correlations(rotate):
    X, Y, information = make_wide_pairs(
        20_000,
        n_columns=40,
        rank=3,
        mutual_information=1.2,
        n_noise=5,
        rotate=rotate,
        random_state=0,
    )
    # An orthonormal basis of what each spans, whose cross products are correlations.
    bases = [np.linalg.svd(Z - Z.mean(0), full_matrices=False) for Z in (X, Y)]
    a, b = (u[:, s > 1e-6 * s[0]] for u, s, _ in bases)
    r = np.linalg.svd(a.T @ b, compute_uv=False)
    assert a.shape[1] == b.shape[1] == 8
    assert -np.log1p(-(r[:3] ** 2)).sum() / 2 == pytest.approx(information, abs=0.03)
    assert r[3] < 0.03


def test_a_rotation_keeps_distances_and_mixes_all_columns():
    X, *_ = make_wide_pairs(50, n_columns=20, random_state=0)
    turned, *_ = make_wide_pairs(50, n_columns=20, rotate=True, random_state=0)
    assert np.allclose(X @ X.T, turned @ turned.T)
    assert len(np.unique(X.round(9), axis=1).T) < 20
    assert len(np.unique(turned.round(9), axis=1).T) == 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"same": 1.5}, "same=1.5; it is a share"),
        ({"hidden": -0.1}, "hidden=-0.1; it is a share"),
        ({"n_shared": 2}, "n_shared=2 of n_parts=1"),
        ({"n_parts": 0}, "n_shared=0 of n_parts=0"),
        ({"channel": [[1.0]]}, r"channel of shape \(1, 1\); it must be a table of 3"),
        ({"channel": np.ones((3, 3))}, "whose rows sum to 1"),
        ({"y": np.r_[np.zeros(299, int), 7]}, "class 7 has one sample"),
        ({"X": np.zeros((0, 4)), "y": []}, "X has no rows; each class needs two"),
        ({"y": np.zeros(3)}, "inconsistent numbers of samples"),
    ],
)
def test_class_pairs_that_cannot_be_drawn_are_refused(change, message):
    X, y = labelled()
    with pytest.raises(ValueError, match=message):
        make_class_pairs(**({"X": X, "y": y} | change))


@pytest.mark.parametrize(
    "change",
    [{"rank": 0}, {"rank": 21}, {"rank": 10, "n_noise": 11}, {"n_noise": -1}],
)
def test_wide_pairs_that_cannot_be_drawn_are_refused(change):
    with pytest.raises(ValueError, match="of n_columns=20; there must be at least one"):
        make_wide_pairs(n_columns=20, **change)
