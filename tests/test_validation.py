"""Warnings name the line of the user."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline

from sk_dim import DeepInfomaxTransformer, mutual_information

PIXELS = load_digits().data[:60]


def fit(X):
    return DeepInfomaxTransformer(max_iter=1).fit(X)


def partial_fit(X):
    return DeepInfomaxTransformer().partial_fit(X)


def fit_in_a_pipeline(X):
    return make_pipeline(DeepInfomaxTransformer(max_iter=1)).fit_transform(X)


def estimate(X):
    return mutual_information(X, X)


@pytest.mark.parametrize("X", [np.zeros((60, 5)), PIXELS], ids=["constant", "pixels"])
@pytest.mark.parametrize("call", [fit, partial_fit, fit_in_a_pipeline, estimate])
def test_a_warning_blames_the_line_outside_the_package(call, X):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        call(X)
    assert {each.filename for each in seen} == {__file__}
    assert {each.lineno for each in seen} == {call.__code__.co_firstlineno + 1}
