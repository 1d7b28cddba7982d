"""What a fitted estimator refuses, and what happens when training goes wrong."""

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError

from sk_dim import DeepInfomaxTransformer

X = np.random.default_rng(0).normal(size=(20, 12))
IMAGES = np.random.default_rng(0).normal(size=(20, 3, 8, 8))


@pytest.fixture(scope="module", name="table")
def _table():
    return DeepInfomaxTransformer(max_iter=1, random_state=0).fit(X)


@pytest.fixture(scope="module", name="images")
def _images():
    return DeepInfomaxTransformer(max_iter=1, random_state=0).fit(IMAGES)


def test_another_number_of_columns(table):
    with pytest.raises(
        ValueError, match=r"X has 5 features, but Deep.* is expecting 12"
    ):
        table.transform(X[:, :5])


def test_another_image_size(images):
    with pytest.raises(
        ValueError, match=r"samples of shape \(3, 16, 16\), but fit saw"
    ):
        images.transform(np.zeros((2, 3, 16, 16)))
    with pytest.raises(
        ValueError, match=r"X has 100 features, but .* is expecting 192"
    ):
        images.transform(np.zeros((2, 100)))
    with pytest.raises(ValueError, match=r"samples of shape \(8, 8, 3\), but fit saw"):
        images.transform(IMAGES.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(table, images, value):
    for estimator, good in ((table, X), (images, IMAGES)):
        bad = good.copy()
        bad[3, 2] = value
        with pytest.raises(ValueError, match=r"contains NaN|contains infinity"):
            estimator.transform(bad)


def test_no_rows(table):
    with pytest.raises(ValueError, match=r"Found array with 0 sample\(s\)"):
        table.transform(X[:0])


def test_one_row_has_features_but_no_score(table):
    assert table.transform(X[:1]).shape[0] == 1
    with pytest.raises(ValueError, match="minimum of 2 is required"):
        table.score(X[:1])


def test_no_local_scores_without_a_local_critic():
    params = {"local_weight": 0.0, "global_weight": 1.0}
    estimator = DeepInfomaxTransformer(max_iter=1, **params).fit(X)
    for method in (estimator.local_scores, estimator.score):
        with pytest.raises(ValueError, match="local_weight=0 trained no local critic"):
            method(X)


def diverging(positive, negative):
    """Return a bound that is not finite from the third call on."""
    diverging.calls += 1
    value = positive.mean()
    return value * torch.inf if diverging.calls > 3 else value


def test_a_training_that_diverges_is_said_to():
    diverging.calls = 0
    estimator = DeepInfomaxTransformer(
        max_iter=5, learning_rate=0.01, global_weight=0.0, bound=diverging
    )
    with pytest.raises(
        ValueError,
        match=r"diverged in epoch \d+: the local term became non-finite; "
        r"lower learning_rate \(now 0.01\), or local_weight",
    ):
        estimator.fit(X)
    with pytest.raises(NotFittedError):
        estimator.transform(X)
