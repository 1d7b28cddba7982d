"""scikit-learn's own checks: all of them, none skipped, none expected to fail."""

import warnings

import pytest
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from sk_dim import DeepInfomaxTransformer


# Small and soon trained, as scikit-learn checks its own; nothing else is changed.
@parametrize_with_checks([DeepInfomaxTransformer(32, max_iter=2)])
def test_scikit_learn_check(estimator, check):
    check(estimator)


def test_no_check_is_skipped():
    from sklearn import __version__

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a skip warns, and shows in its status
        results = check_estimator(DeepInfomaxTransformer(32, max_iter=1), on_fail=None)
    assert {result["status"] for result in results} == {"passed"}
    if __version__.startswith("1.9"):
        assert len(results) == 47


def test_the_constructor_stays_small():
    assert len(DeepInfomaxTransformer().get_params()) <= 28


@pytest.mark.parametrize("name", DeepInfomaxTransformer().get_params())
def test_every_parameter_is_stored_as_it_is(name):
    value = object()
    assert getattr(DeepInfomaxTransformer(**{name: value}), name) is value
