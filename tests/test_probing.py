"""Probing while the features are learnt."""

import numpy as np
import pytest

from sk_dim import DeepInfomaxTransformer
from sk_dim.evaluation import ProbingCallback, linear_probe


def fit(probing, X, max_iter=4):
    dim = DeepInfomaxTransformer(max_iter=max_iter, n_components=64, random_state=0)
    return dim.set_callbacks(probing).fit(X)


def test_the_last_probe_is_that_of_the_fitted_transformer(digits):
    X, y = digits
    probing = ProbingCallback(X, y, every=2)
    dim = fit(probing, X)
    assert [row["epoch"] for row in probing.history_] == [2, 4]
    after = linear_probe(dim, X, y, kind="knn")
    last = probing.history_[-1]
    assert last == {"epoch": 4} | {k: pytest.approx(v.mean()) for k, v in after.items()}


def test_probing_changes_nothing_in_the_training(digits):
    X, y = digits
    probed = fit(ProbingCallback(X, y, every=1), X, max_iter=2)
    plain = DeepInfomaxTransformer(max_iter=2, n_components=64, random_state=0).fit(X)
    np.testing.assert_array_equal(probed.transform(X), plain.transform(X))


def test_another_fit_begins_a_new_history(digits):
    X, y = digits
    probing = ProbingCallback(X, y, every=1)
    fit(probing, X, max_iter=1)
    fit(probing, X, max_iter=1)
    assert [row["epoch"] for row in probing.history_] == [1]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"every": 0}, "every=0"),
        ({"kind": "forest"}, "kind='forest' is not known"),
        ({"y": np.zeros(300, dtype=int)}, "one class only"),
        ({"y": [0, 1]}, "inconsistent numbers of samples"),
    ],
)
def test_what_cannot_be_probed_is_refused_before_the_first_epoch(
    digits, params, message
):
    X, y = digits
    probing = ProbingCallback(X, **({"y": y} | params))
    with pytest.raises(ValueError, match=message):
        fit(probing, X)
