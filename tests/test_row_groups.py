"""Rows that belong together, in estimates of mutual information."""

import copy
import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import FunctionTransformer

from sk_dim import (
    MutualInformationEstimator,
    PairwiseMutualInformation,
    column_information,
    conditional_mutual_information,
    mutual_information,
)
from sk_dim._information._columns import Reader
from sk_dim._information._judging import PairRows, error_by_group
from sk_dim._information._read_outs import READ_OUTS
from sk_dim._information._row_groups import RowGroups, join_groups
from sk_dim.evaluation import encoded_information, neural_dependency_measure

N_PATIENTS, N_VISITS = 120, 5


def draw_visits(seed=0):
    """Patients whose X and Y are independent, seen again with a little noise."""
    rng = np.random.default_rng(seed)
    patients = np.repeat(np.arange(N_PATIENTS), N_VISITS)
    x, y = rng.normal(size=(2, N_PATIENTS, 3))
    X, Y = (V[patients] + 0.02 * rng.normal(size=(len(patients), 3)) for V in (x, y))
    return X, Y, patients


rows = st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 4)), min_size=2, max_size=30)


@given(rows)
def test_error_by_group_is_that_of_a_slow_loop(drawn):
    shares, groups = map(np.array, zip(*drawn, strict=True))
    mean, total = sum(shares) / len(shares), 0.0
    for one in set(groups):
        of_group = [s - mean for s, g in zip(shares, groups, strict=True) if g == one]
        total += sum(of_group) ** 2
    n = len(set(groups))
    error = math.sqrt(total * n / (n - 1)) / len(shares) if n > 1 else math.inf
    assert error_by_group(shares, groups) == pytest.approx(error, abs=1e-12)


def test_error_of_rows_apart_is_the_usual_one_and_copies_add_nothing():
    shares = np.random.default_rng(0).normal(size=50)
    usual = shares.std(ddof=1) / math.sqrt(50)
    assert error_by_group(shares, np.arange(50)) == pytest.approx(usual)
    copied = np.tile(shares, 4), np.tile(np.arange(50), 4)
    assert error_by_group(*copied) == pytest.approx(usual)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1))
def test_joined_groups_are_those_that_a_slow_loop_joins(pairs):
    first, second = (np.unique(v, return_inverse=True)[1] for v in np.transpose(pairs))
    slow = np.arange(len(first))
    for _ in range(len(slow)):
        for i, j in np.ndindex(len(slow), len(slow)):
            if first[i] == first[j] or second[i] == second[j]:
                slow[i] = slow[j] = min(slow[i], slow[j])
    joined = join_groups(first, second)
    assert sorted(set(joined)) == list(range(joined.max() + 1))
    assert np.array_equal(joined[:, None] == joined, slow[:, None] == slow)


def test_a_critic_that_knows_the_patient_knows_nothing_of_others():
    X, Y, patients = draw_visits()
    fit = MutualInformationEstimator(max_iter=20, random_state=0).fit
    leaking = fit(X, Y)
    assert leaking.mutual_information_ > 0.5
    with pytest.warns(UserWarning, match="no dependence was found"):
        found = fit(X, Y, groups=patients)
    assert found.mutual_information_ == 0
    assert found.p_value_ > 0.01


def test_columns_of_patients_tell_nothing_of_others():
    X, Y, patients = draw_visits()
    fit = PairwiseMutualInformation(random_state=0).fit
    assert fit(X, Y).mutual_information_.mean() > 0.1
    found = fit(X, Y, groups=patients)
    assert found.mutual_information_.max() < 0.05
    assert found.p_value_.min() > 0.01
    scores, p_values = column_information(
        X, Y[:, 0], groups=patients.astype(str), random_state=0
    )
    assert scores.max() < 0.05
    assert p_values.min() > 0.01


class NormalRatio(torch.nn.Module):
    """Knows the density ratio of two normal variables, and learns nothing."""

    def __init__(self, x_shape, y_shape):
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x, y):
        return (2 * 0.8 * x @ y.T - 0.8**2 * (x**2 + y.T**2)) / 0.72 + 0 * self.nothing


def test_visits_that_are_alike_tell_as_much_as_one():
    """Neither the value rises with copies, nor does the error fall."""
    rng = np.random.default_rng(1)
    x, noise = rng.normal(size=(2, 200))
    model = MutualInformationEstimator(critic=NormalRatio, max_iter=1, random_state=0)

    def estimate(n_visits, groups=None):
        visits = np.tile([x, 0.8 * x + 0.6 * noise], n_visits)
        visits += 1e-4 * rng.normal(size=visits.shape)
        model.fit(*visits, groups=groups)
        return model.mutual_information_, model.standard_error_

    once = estimate(1)
    # The candidates are others in each part of the rows.
    assert estimate(4, np.tile(np.arange(200), 4)) == pytest.approx(once, rel=0.2)
    torn_apart = estimate(4)
    assert torn_apart[1] < 0.6 * once[1]


def test_errors_of_pairs_do_not_fall_with_visits_that_are_alike():
    rng = np.random.default_rng(1)
    x, noise = rng.normal(size=(2, 200))
    visits = np.tile([x, 0.8 * x + 0.6 * noise], 4)
    visits += 0.01 * rng.normal(size=visits.shape)
    fit = PairwiseMutualInformation(random_state=0).fit
    once = fit(x, 0.8 * x + 0.6 * noise).standard_error_[0, 0]
    known = fit(*visits, groups=np.tile(np.arange(200), 4)).standard_error_[0, 0]
    assert known == pytest.approx(once, rel=0.3)
    assert fit(*visits).standard_error_[0, 0] < 0.7 * once


def test_dependence_between_patients_is_found_with_groups():
    rng = np.random.default_rng(2)
    patients = np.repeat(np.arange(300), 3)
    x = rng.normal(size=(300, 1))
    X = x[patients] + 0.1 * rng.normal(size=(900, 1))
    Y = x[patients] + rng.normal(size=(900, 1))
    value = partial(mutual_information, max_iter=10, random_state=0)
    truth = -math.log(1 - 1 / (2 * 1.01)) / 2
    assert value(X, Y, groups=patients) == pytest.approx(truth, abs=0.1)
    found = PairwiseMutualInformation(random_state=0).fit(X, Y, groups=patients)
    assert found.interval_[0, 0, 0] < truth < found.interval_[0, 0, 1]
    assert found.p_value_[0, 0] < 0.01


def test_labels_of_any_kind_are_the_same_groups():
    X, Y, patients = draw_visits()
    model = MutualInformationEstimator(max_iter=2, random_state=0)
    names = np.array([f"patient {p:03d}" for p in patients])
    values = [
        model.fit(X[:, 0], X[:, 0] + Y[:, 0], groups=groups).mutual_information_
        for groups in (patients, patients + 7, names, names.tolist())
    ]
    assert len(set(values)) == 1


@pytest.mark.filterwarnings("ignore:no dependence was found")
def test_conditions_take_groups_too():
    X, Y, patients = draw_visits()
    params = {"max_iter": 10, "random_state": 0}
    Z = np.random.default_rng(3).normal(size=len(X))
    known, unknown = (
        conditional_mutual_information(X, Y, Z, groups=groups, **params)
        for groups in (None, patients)
    )
    assert known > 0.1
    assert unknown < 0.05


@pytest.mark.filterwarnings("ignore:no dependence was found")
def test_measures_of_representations_take_groups_too():
    X, Y, patients = draw_visits()
    Z = np.column_stack([X[:, 0], Y[:, 0]])
    swap = FunctionTransformer(lambda X: X[:, ::-1])
    for measure in (
        partial(neural_dependency_measure, Z),
        partial(encoded_information, swap, Z, noise=1.0),
    ):
        torn, kept = (
            measure(groups=groups, max_iter=5, random_state=0)
            for groups in (None, patients)
        )
        assert torn != kept
        with pytest.raises(ValueError, match="groups holds 1 labels"):
            measure(groups=[0])


@pytest.mark.filterwarnings("ignore:no dependence was found")
def test_copies_in_a_group_are_no_news_but_copies_between_groups_are():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(2, 100)).repeat(2, axis=1)
    patients = np.repeat(np.arange(100), 2)
    model = MutualInformationEstimator(max_iter=1, random_state=0)
    model.fit(x, y, groups=patients)
    with pytest.warns(UserWarning, match="copies of others"):
        model.fit(x, y, groups=np.arange(200))


@pytest.mark.parametrize("name", READ_OUTS)
def test_pairs_of_one_group_are_no_candidates(name):
    """What a slow loop over the others finds, and critics of those alone."""
    groups = torch.tensor([0, 0, 0, 1, 1, 2, 3, 3, 3, 3])
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(10, 1)))
    rows = PairRows(x, x + 0.5, groups)
    read_out = READ_OUTS[name]
    objective = copy.copy(read_out.objective)  # some keep an average

    def critic(x, y):
        return 1 - (x - y.T) ** 2

    scores = rows.score_in_blocks(critic)
    same = groups[:, None] == groups
    assert torch.equal(scores == -math.inf, same & ~torch.eye(10, dtype=bool))
    positive = scores.diagonal()
    value = float(read_out.shares(scores).mean())
    if name == "infonce":
        slow = [
            float(s[i] - s[s > -math.inf].exp().mean().log())
            for each in (scores, scores.T)
            for i, s in enumerate(each)
        ]
        assert float(objective(scores)) == pytest.approx(np.mean(slow))
        expected = np.mean(slow)
    else:
        shift = float(name == "nwj")
        others = (scores + shift)[~same]
        if name == "smile":
            others = others.clamp(-5, 5)
        if name == "nwj":
            expected = float((positive + 1).mean() - (others - 1).exp().mean())
        else:
            expected = float(positive.mean() - others.exp().mean().log())
    assert value == pytest.approx(expected)
    assert objective(scores).isfinite()


def test_the_cap_counts_those_of_other_groups():
    X, _, patients = draw_visits()
    known = PairRows(
        torch.from_numpy(X), torch.from_numpy(X), torch.from_numpy(patients)
    )
    n = len(X)
    assert known.mean_log_candidates() == pytest.approx(math.log(n - N_VISITS + 1))
    apart = PairRows(*known[:2])
    assert apart.mean_log_candidates() == math.log(n)


BAD = [
    ([0, 1], "groups holds 2 labels, but X has 60 samples"),
    ([None, *range(59)], "groups has 1 missing values"),
    ([0, 1, 2] * 20, "3 groups"),
    ([0] * 60, "1 groups"),
]


@pytest.mark.parametrize(("groups", "message"), BAD)
@pytest.mark.parametrize(
    "kind", [MutualInformationEstimator, PairwiseMutualInformation]
)
def test_groups_that_cannot_be_used_are_refused(kind, groups, message):
    x = np.random.default_rng(0).normal(size=60)
    model = kind()
    with pytest.raises(ValueError, match=message):
        model.fit(x, x**2, groups=groups)
    assert vars(model) == kind().get_params()


def test_groups_are_counted_where_rows_are_few():
    x = np.random.default_rng(0).normal(size=100)
    with pytest.warns(UserWarning, match="^20 groups are few"):
        MutualInformationEstimator(max_iter=1).fit(
            x, x + x[::-1], groups=np.arange(100) % 20
        )


def test_copies_and_groups_are_joined():
    x = np.random.default_rng(0).normal(size=6)
    x[4] = x[0]
    V = Reader("X", False).fit(x)
    found = RowGroups.of(V, V, ["a", "a", "b", "b", "c", "d"])
    assert found.numbers.tolist() == [0, 0, 1, 1, 0, 2]
    assert (len(found), found.n_copies, found.unit) == (3, 1, "groups")
