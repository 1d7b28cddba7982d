"""Estimates of mutual information, against closed forms."""

import math
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

from sk_dim import MutualInformationEstimator, mutual_information
from sk_dim._pair_critic import PAIR_CRITICS, PairCritic
from sk_dim._read_outs import READ_OUTS
from sk_dim._variables import Variable, group_equal_rows, is_discrete
from sk_dim.datasets import (
    make_discrete_pairs,
    make_mixed_pairs,
    make_normal_pairs,
    make_student_pairs,
    make_uniform_pairs,
)

LOWER = [name for name, read_out in READ_OUTS.items() if read_out.kind == "lower"]


def quick(**params):
    return MutualInformationEstimator(**({"max_iter": 4, "random_state": 0} | params))


# Truth


@pytest.mark.parametrize("n_dims", [1, 3, 5])
@pytest.mark.parametrize("information", [0.3, 3.0])
def test_normal_variables(n_dims, information):
    X, Y, _ = make_normal_pairs(
        1500, n_dims=n_dims, mutual_information=information, random_state=0
    )
    found = quick().fit(X, Y)
    tolerance = 0.1 * information + 2 * found.standard_error_
    assert abs(found.mutual_information_ - information) < tolerance
    assert found.bound_kind_ == "lower"


@pytest.mark.parametrize("bound", READ_OUTS)
def test_every_bound_comes_near(bound):
    X, Y, information = make_normal_pairs(
        2000, n_dims=2, mutual_information=0.7, random_state=1
    )
    found = quick(bound=bound).fit(X, Y)
    assert abs(found.mutual_information_ - information) < 0.1
    assert abs(found.score(X[:1000], Y[:1000]) - information) < 0.15


@pytest.mark.slow
def test_uniform_noise():
    X, Y, information = make_uniform_pairs(1000, random_state=0)
    found = mutual_information(X, Y, max_iter=25, random_state=0)
    assert 0.75 * information < found < information + 0.05


def test_dependence_without_correlation():
    X, Y, information = make_student_pairs(1500, random_state=0)
    found = mutual_information(X, Y, max_iter=15, random_state=0)
    assert abs(found - information) < 0.08


@pytest.mark.parametrize("as_type", [int, str])
def test_discrete_variables_whatever_their_names(as_type):
    table = [[0.3, 0.05, 0.05], [0.05, 0.2, 0.05], [0.05, 0.05, 0.2]]
    X, Y, information = make_discrete_pairs(1000, probabilities=table, random_state=0)
    found = quick(max_iter=10).fit(X.astype(as_type), Y.astype(as_type))
    assert abs(found.mutual_information_ - information) < 0.06


@pytest.mark.slow
def test_a_discrete_and_a_continuous_variable():
    X, Y, information = make_mixed_pairs(1000, random_state=0)
    found = mutual_information(X, Y, max_iter=25, random_state=0)
    assert 0.8 * information < found < information + 0.05


def test_independent_variables():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(2, 3000, 3))
    found = quick().fit(X, Y)
    assert abs(found.mutual_information_) < 0.03
    assert found.standard_error_ < 0.03


@pytest.mark.slow
def test_images_and_what_they_show():
    rng = np.random.default_rng(0)
    side = rng.integers(2, size=1000)
    images = rng.normal(scale=0.1, size=(1000, 8, 8))
    images[np.arange(1000), 4, 2 + 3 * side] += 1
    found = quick(max_iter=12).fit(images, side)
    assert abs(found.mutual_information_ - math.log(2)) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("bound", LOWER)
def test_the_mean_of_a_lower_bound_does_not_exceed_the_truth(bound):
    values = []
    for seed in range(20):
        X, Y, information = make_normal_pairs(
            400, mutual_information=1.0, random_state=seed
        )
        found = quick(bound=bound, critic="separable", max_iter=3, random_state=seed)
        values.append(found.fit(X, Y).mutual_information_)
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    assert np.mean(values) < information + 2 * error


def test_infonce_never_exceeds_the_logarithm_of_its_candidates():
    X = np.random.default_rng(0).normal(size=300)
    Y = X + 1e-6 * np.random.default_rng(1).normal(size=300)
    with pytest.warns(UserWarning, match="sits at the cap of 4.09"):
        found = quick(max_iter=30).fit(X, Y)
    assert found.mutual_information_ <= found.cap_ == pytest.approx(math.log(60))


# Invariances


@pytest.mark.slow
def test_swapping_maps_and_independent_columns_change_little():
    X, Y, _ = make_normal_pairs(1000, n_dims=2, mutual_information=0.8, random_state=0)
    base = quick().fit(X, Y)
    noise = np.random.default_rng(0).normal(size=(1000, 1))
    for other in (
        (Y, X),
        (np.exp(X), Y),
        (X**3, -5 * Y + 2),
        (np.hstack([X, noise]), Y),
    ):
        found = quick().fit(*other)
        tolerance = 0.02 + base.standard_error_
        assert abs(found.mutual_information_ - base.mutual_information_) < tolerance


def test_increasing_maps_change_next_to_nothing():
    X, Y, _ = make_normal_pairs(500, mutual_information=0.5, random_state=0)
    a, b = (quick().fit(each, Y).mutual_information_ for each in (X, np.exp(X)))
    assert a == pytest.approx(b, abs=0.02)


# Manners


def test_the_same_seed_gives_the_same_bits_and_leaves_the_global_one_alone():
    X, Y, _ = make_normal_pairs(300, random_state=0)
    before = torch.get_rng_state()
    a, b, c = (
        quick(max_iter=2, random_state=seed).fit(X, Y).mutual_information_
        for seed in (0, 0, 1)
    )
    assert a == b != c
    assert torch.equal(before, torch.get_rng_state())


def test_clones_pickles_and_names_of_attributes():
    X, Y, _ = make_normal_pairs(300, random_state=0)
    found = clone(quick(max_iter=2)).fit(X, Y)
    again = pickle.loads(pickle.dumps(found))
    assert again.score(X, Y) == found.score(X, Y)
    assert found.history_[0].keys() == {"fold", "epoch", "train", "stop", "seconds"}
    assert {row["fold"] for row in found.history_} == {0, 1, 2, 3, 4}
    assert found.n_features_in_ == 1


def test_a_frame_of_mixed_columns():
    rng = np.random.default_rng(0)
    kind = rng.choice(["a", "b"], size=400)
    frame = pd.DataFrame({"kind": kind, "noise": rng.normal(size=400)})
    found = quick(max_iter=10).fit(frame, kind == "a")
    assert abs(found.mutual_information_ - math.log(2)) < 0.1


def test_a_critic_of_the_user():
    class Product(torch.nn.Module):
        def __init__(self, x_shape, y_shape):
            super().__init__()
            self.matrix = torch.nn.Parameter(torch.zeros(*x_shape, *y_shape))

        def forward(self, x, y):
            return x @ self.matrix @ y.T

    X, Y, _ = make_normal_pairs(500, mutual_information=0.4, random_state=0)
    assert 0 < mutual_information(X, Y, critic=Product, max_iter=50) < 0.5


def test_the_normal_part_is_the_log_density_ratio():
    X, Y, _ = make_normal_pairs(
        100_000, n_dims=2, mutual_information=1.0, random_state=0
    )
    x, y = torch.from_numpy(X).float(), torch.from_numpy(Y).float()
    critic = PAIR_CRITICS["separable"]((2,), (2,))
    critic.learn_normal(x, y)
    critic.scale.data.zero_()
    scores = critic(x[:50], y[:50])
    r = math.sqrt(1 - math.exp(-1))
    expected = sum(
        (
            2 * r * x[:50, None, i] * y[None, :50, i]
            - r**2 * (x[:50, None, i] ** 2 + y[None, :50, i] ** 2)
        )
        / (2 * (1 - r**2))
        - math.log(1 - r**2) / 2
        for i in range(2)
    )
    torch.testing.assert_close(scores, expected, atol=0.15, rtol=0.05)


def test_the_critic_scores_pairs_one_by_one():
    critic = PAIR_CRITICS["hybrid"]((3,), (2,)).eval()
    assert isinstance(critic, PairCritic)
    torch.nn.init.normal_(critic.head[-1].weight)
    x, y = torch.randn(5, 3), torch.randn(4, 2)
    critic.learn_normal(torch.randn(50, 3), torch.randn(50, 2))
    scores = critic(x, y)
    for i in range(5):
        for j in range(4):
            alone = critic(x[i : i + 1], y[j : j + 1])
            torch.testing.assert_close(alone[0, 0], scores[i, j], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (np.array([0.5, 1.5]), False),
        (np.array([1, 2, 2]), True),
        (np.arange(60), False),
        (np.array(["a", "b"]), True),
        (np.array([True, False]), True),
        (np.array([1.5, 2.5], dtype=object), False),
        (np.array(["a", 2.5], dtype=object), True),
    ],
)
def test_which_columns_are_names(column, expected):
    assert is_discrete(column) is expected


def test_ranks_become_normal_and_unseen_names_are_no_error():
    values = np.random.default_rng(0).exponential(size=(3000, 1))
    inputs = Variable(values)(values)
    assert abs(float(inputs.mean())) < 0.02
    assert abs(float(inputs.std()) - 1) < 0.02
    names = Variable(np.array([["a"], ["b"]]))
    assert names(np.array([["a"], ["c"]])).tolist() == [[1, 0], [0, 0]]


def test_equal_rows_share_a_group_where_values_are_continuous():
    x = np.array([[0.1], [0.2], [0.1], [0.3], [0.4]])
    y = np.array([[1.0], [2.0], [1.0], [4.0], [5.0]])
    groups = group_equal_rows(x, y)
    assert groups[0] == groups[2]
    assert len(set(groups)) == 4
    names = np.array([["a"], ["a"], ["b"], ["b"], ["b"]])
    assert len(set(group_equal_rows(names, names))) == 5


# Bad input

X40 = np.random.default_rng(5).normal(size=(60, 2))
Y40 = np.random.default_rng(6).normal(size=60)


@pytest.mark.parametrize(
    ("X", "Y", "params", "error", "message"),
    [
        (X40, Y40[:50], {}, ValueError, "inconsistent numbers of samples"),
        (X40 * np.nan, Y40, {}, ValueError, "Input X contains NaN"),
        (X40, Y40 + np.inf, {}, ValueError, "Input Y contains infinity"),
        (X40[:3], Y40[:3], {}, ValueError, "3 rows leave nothing to hold out"),
        (X40, Y40, {"bound": "mine"}, ValueError, "bound='mine' is not known; .*'jsd'"),
        (X40, Y40, {"critic": "concat"}, ValueError, "critic='concat' is not known"),
        (X40, Y40, {"max_iter": 0}, ValueError, "max_iter=0; it must be at least 1"),
        (X40, 3.0, {}, ValueError, "Y is a single value"),
    ],
)
def test_bad_input(X, Y, params, error, message):
    with pytest.raises(error, match=message):
        quick(**params).fit(X, Y)


def test_score_reads_out_what_was_learnt():
    found = quick(max_iter=1).fit(X40, Y40)
    before = found.score(X40, Y40)
    assert found.set_params(bound="nwj").score(X40, Y40) == before


def test_score_refuses_other_rows():
    found = quick(max_iter=1).fit(X40, Y40)
    with pytest.raises(ValueError, match=r"X has rows of shape \(3,\), but had \(2,\)"):
        found.score(np.zeros((5, 3)), np.zeros(5))
    with pytest.raises(ValueError, match="one row has no other"):
        found.score(X40[:1], Y40[:1])


@pytest.mark.parametrize("n", [4, 5, 11])
def test_few_rows_draw_a_warning(n):
    with pytest.warns(UserWarning, match=f"^{n} rows are few"):
        found = quick(max_iter=2).fit(X40[:n], Y40[:n])
    assert math.isfinite(found.mutual_information_)


def test_constants_tell_nothing():
    with pytest.warns(UserWarning, match="Y is constant"):
        found = quick().fit(X40, np.ones(60))
    assert found.mutual_information_ == 0
    assert found.score(X40, np.ones(60)) == 0


def test_copies_tell_everything():
    with pytest.warns(UserWarning, match="a continuous column is in both X and Y"):
        found = quick().fit(X40, X40[:, 1])
    assert found.mutual_information_ == math.inf


def test_copied_rows_draw_a_warning():
    with pytest.warns(UserWarning, match="60 of 120 rows are copies of others"):
        quick(max_iter=2).fit(np.vstack([X40, X40]), np.hstack([Y40, Y40]))


def test_training_that_diverges_draws_a_warning():
    class Wild(torch.nn.Module):
        def __init__(self, x_shape, y_shape):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def forward(self, x, y):
            scores = self.weight * (x[:, None, 0] - y[None, :, 0])
            return scores / (self.weight == 0).float()

    with pytest.warns(UserWarning, match="training diverged"):
        found = quick(critic=Wild, max_iter=3).fit(X40, Y40)
    assert math.isfinite(found.mutual_information_)
