"""Probing while the features are learnt."""

import pickle

import numpy as np
import pytest
from sklearn.callback import FitCallback

from sk_dim import DeepInfomaxTransformer
from sk_dim.evaluation import ProbingCallback, linear_probe


def fit(probing, X, max_iter=4):
    dim = DeepInfomaxTransformer(max_iter=max_iter, n_components=64, random_state=0)
    return dim.set_callbacks(probing).fit(X)


@pytest.mark.slow
def test_the_last_probe_is_that_of_the_fitted_transformer(digits):
    X, y = digits
    probing = ProbingCallback(X, y, every=2)
    dim = fit(probing, X)
    assert [row["epoch"] for row in probing.history_] == [2, 4]
    after = linear_probe(dim, X, y, kind="knn")
    last = probing.history_[-1]
    assert last == {"epoch": 4} | {k: pytest.approx(v.mean()) for k, v in after.items()}


@pytest.mark.slow
def test_probing_changes_nothing_in_the_training(digits):
    X, y = digits
    probed = fit(ProbingCallback(X, y, every=1), X, max_iter=2)
    plain = DeepInfomaxTransformer(max_iter=2, n_components=64, random_state=0).fit(X)
    np.testing.assert_array_equal(probed.transform(X), plain.transform(X))


@pytest.mark.slow
def test_another_fit_begins_a_new_history(digits):
    X, y = digits
    probing = ProbingCallback(X, y, every=1)
    fit(probing, X, max_iter=1)
    fit(probing, X, max_iter=1)
    assert [row["epoch"] for row in probing.history_] == [1]


@pytest.mark.slow
def test_unlabelled_rows_are_left_out(digits):
    X, y = digits
    probing = ProbingCallback(X, np.where(np.arange(300) < 200, y, -1), every=1)
    labelled = ProbingCallback(X[:200], y[:200], every=1)
    dim = DeepInfomaxTransformer(max_iter=1, n_components=64, random_state=0)
    dim.set_callbacks(probing, labelled).fit(X)
    assert probing.history_ == labelled.history_


def test_folds_of_a_probe_keep_groups_whole(digits):
    X, y = digits[0][:150], digits[1][:150]
    groups = np.arange(150) // 15
    probing = ProbingCallback(X, y, every=1, cv=3, groups=groups)
    dim = fit(probing, X, max_iter=1)
    whole = linear_probe(dim, X, y, kind="knn", cv=3, groups=groups)
    (row,) = probing.history_
    assert row["global"] == pytest.approx(whole["global"].mean())
    with pytest.raises(ValueError, match="cv=5 folds need as many groups"):
        fit(ProbingCallback(X, y, groups=groups // 3), X)


class Counting(DeepInfomaxTransformer):
    """Counts its copies, of which scikit-learn makes one for a callback that asks."""

    n_copies = 0

    def __copy__(self):
        Counting.n_copies += 1
        made = object.__new__(type(self))
        made.__setstate__(self.__getstate__())
        return made


REST = ((6, 1), (2, 3), (1, 6), (7, 0))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("every", "n_probes"),
    [(4, 1), *(pytest.param(*each, marks=pytest.mark.slow) for each in REST)],
)
def test_only_epochs_that_are_probed_cost_a_copy(digits, every, n_probes):
    X, y = digits
    probing = ProbingCallback(X, y, every=every)
    Counting.n_copies = 0
    dim = Counting(max_iter=6, n_components=8, random_state=0)
    dim.set_callbacks(probing).fit(X)
    assert Counting.n_copies == n_probes
    assert len(probing.history_) == n_probes


def test_the_hooks_are_those_of_a_callback_of_scikit_learn():
    probing = ProbingCallback([[0.0], [1.0]], [0, 1])
    assert isinstance(probing, FitCallback)
    assert pickle.loads(pickle.dumps(probing)).every == 5


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"every": 0}, "every=0"),
        ({"kind": "forest"}, "kind='forest' is not known"),
        ({"y": np.zeros(300, dtype=int)}, "one class only"),
        ({"y": [0, 1]}, "inconsistent numbers of samples"),
        ({"y": np.full(300, np.nan)}, "y marks all 300 rows as unlabelled"),
    ],
)
def test_what_cannot_be_probed_is_refused_before_the_first_epoch(
    digits, params, message
):
    X, y = digits
    probing = ProbingCallback(X, **({"y": y} | params))
    with pytest.raises(ValueError, match=message):
        fit(probing, X)
