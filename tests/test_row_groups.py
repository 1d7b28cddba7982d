"""Rows that belong together, in estimates of mutual information."""

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
from sk_dim._information._judging import PairRows, judge
from sk_dim._information._read_outs import READ_OUTS
from sk_dim._information._row_groups import RowGroups
from sk_dim.evaluation import encoded_information, neural_dependency_measure

N_PATIENTS, N_VISITS = 120, 5


def draw_visits(seed=0):
    """Patients whose X and Y are independent, seen again with a little noise."""
    rng = np.random.default_rng(seed)
    patients = np.repeat(np.arange(N_PATIENTS), N_VISITS)
    x, y = rng.normal(size=(2, N_PATIENTS, 3))
    X, Y = (V[patients] + 0.02 * rng.normal(size=(len(patients), 3)) for V in (x, y))
    return X, Y, patients


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_labels_of_any_kind_are_the_same_groups():
    X, Y, patients = draw_visits()
    model = MutualInformationEstimator(max_iter=1, random_state=0)
    names = np.array([f"patient {p:03d}" for p in patients])
    values = [
        model.fit(X[:, 0], X[:, 0] + Y[:, 0], groups=groups).mutual_information_
        for groups in (patients, patients + 7, names, names.tolist())
    ]
    assert len(set(values)) == 1


@pytest.mark.slow
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


@pytest.mark.slow
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
            measure(groups=groups, max_iter=1, random_state=0)
            for groups in (None, patients)
        )
        assert torn != kept
        with pytest.raises(ValueError, match="groups holds 1 labels"):
            measure(groups=[0])


@pytest.mark.slow
def test_rounded_numbers_of_patients_do_not_join_them():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(100), 5)
    x = np.round(rng.normal(size=500), 2)
    y = x + rng.normal(size=500) > 0
    found = MutualInformationEstimator(max_iter=5, random_state=0)
    found.fit(x, y, groups=patients)
    assert 0.1 < found.mutual_information_ < 0.3
    pairs = PairwiseMutualInformation(random_state=0).fit(x, y, groups=patients)
    assert 0.1 < pairs.mutual_information_[0, 0] < 0.3


@pytest.mark.filterwarnings("ignore:.*groups are few")
@pytest.mark.filterwarnings("ignore:no dependence was found")
@pytest.mark.parametrize("bound", READ_OUTS)
def test_one_patient_with_most_visits_is_no_disaster(bound):
    rng = np.random.default_rng(0)
    patients = np.r_[np.zeros(400, dtype=int), np.repeat(np.arange(1, 41), 5)]
    x = rng.normal(size=600)
    y = x + rng.normal(size=600)
    found = MutualInformationEstimator(bound, max_iter=1, random_state=0)
    found.fit(x, y, groups=patients)
    assert np.isfinite(found.standard_error_)
    assert 0 <= found.mutual_information_ <= found.cap_ <= math.log(41)
    assert found.standard_error_ > 0.01


def test_new_visits_are_judged_by_patients_too():
    X, Y, patients = draw_visits()
    model = MutualInformationEstimator(max_iter=2, random_state=0)
    model.fit(X, X + Y, groups=patients)
    values = [model.score(X, X + Y, groups=groups) for groups in (None, patients)]
    assert values[0] != values[1]
    with pytest.raises(ValueError, match="groups holds 1 labels"):
        model.score(X, Y, groups=[0])


class SameLabel(torch.nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x, y):
        return self.factor * torch.where(x == y.T, math.log(2), -9.0)


class PairTimes(torch.nn.Module):
    def forward(self, x, y):
        return x @ y.T


def slow_value(name, scores, groups):
    """What loops over groups find, each of which counts as one."""
    rows = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    pairs = [(a, b) for a in rows for b in rows if a is not b]
    positive = np.mean([np.mean(np.diagonal(scores)[a]) for a in rows])
    if name == "infonce":
        value = 0.0
        for each in (scores, scores.T):
            for a in rows:
                for i in a:
                    others = [np.exp(each[i, b]).mean() for b in rows if b is not a]
                    mean = (np.exp(each[i, i]) + sum(others)) / len(rows)
                    value += (each[i, i] - np.log(mean)) / len(a) / len(rows) / 2
        return value
    clip = 5 if name == "smile" else np.inf
    ratios = np.exp(np.clip(scores, -clip, clip))
    mean = np.mean([ratios[np.ix_(a, b)].mean() for a, b in pairs])
    return positive + 1 - mean if name == "nwj" else positive - np.log(mean)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=12), st.integers(0, 99))
@pytest.mark.parametrize("name", READ_OUTS)
def test_shares_of_groups_are_those_of_slow_loops(name, groups, seed):
    groups = np.unique([0, 1, *groups], return_inverse=True)[1]
    scores = 3 * np.random.default_rng(seed).normal(size=2 * (len(groups),))
    given_scores = torch.from_numpy(scores)
    shares = READ_OUTS[name].shares(given_scores, torch.from_numpy(groups)).numpy()
    by_group = np.bincount(groups, shares) / np.bincount(groups)
    expected = slow_value(name, scores, groups)
    assert by_group.mean() == pytest.approx(expected, abs=1e-9)
    apart = READ_OUTS[name].shares(given_scores)
    same = READ_OUTS[name].shares(given_scores, torch.arange(len(groups)))
    torch.testing.assert_close(apart, same)


def draw_of_groups(n_groups, rng):
    """Normal pairs of groups of one to four rows, half of whose spread is shared."""
    groups = np.repeat(np.arange(n_groups), rng.integers(1, 5, size=n_groups))
    x, noise = (
        (rng.normal(size=n_groups)[groups] + rng.normal(size=len(groups))) / 2**0.5
        for _ in range(2)
    )
    return torch.from_numpy(x), torch.from_numpy(0.6 * x + 0.8 * noise), groups


@pytest.mark.parametrize("name", READ_OUTS)
def test_the_spread_of_groups_is_that_over_draws(name):
    rng = np.random.default_rng(0)
    values, errors = [], []
    for _ in range(150):
        x, y, groups = draw_of_groups(80, rng)
        scores = 0.6 * x[:, None] * y - 0.18 * (x[:, None] ** 2 + y**2)
        scores = scores / 0.64 - math.log(0.64) / 2
        shares = READ_OUTS[name].shares(scores, torch.from_numpy(groups)).numpy()
        means = np.bincount(groups, shares) / np.bincount(groups)
        values.append(means.mean())
        errors.append(means.std(ddof=1) / math.sqrt(80))
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.2)
    assert np.mean(values) == pytest.approx(-math.log(0.64) / 2, abs=0.04)


@pytest.mark.parametrize("sizes", [[50] * 4, [20] * 10, [1] * 40, [300, *[2] * 20]])
def test_patients_never_tell_more_than_their_label_holds(sizes):
    """The best critic, and one that is far too sure, for a label of each patient."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    for factor in (1.0, 10.0):
        values, caps = [], []
        for seed in range(60):
            labels = rng.integers(2, size=len(sizes))[groups, None]
            x = torch.from_numpy(labels)
            rows = PairRows(x, x, torch.from_numpy(groups))
            shares, cap = judge(
                SameLabel(factor),
                rows,
                READ_OUTS["infonce"],
                2048,
                seed,
            )
            values.append(float(shares.mean()))
            caps.append(cap)
        spread = np.std(values) / math.sqrt(len(values))
        assert np.mean(values) < math.log(2) + 2 * spread
        assert np.max(values) <= caps[0] + 1e-9
        assert caps[0] == pytest.approx(math.log(len(sizes)))


def test_large_groups_are_judged_by_some_of_their_rows():
    groups = torch.tensor([3] * 700 + [5] * 10 + [9])
    x = torch.arange(711.0)[:, None]
    seen = []

    class Seen(torch.nn.Module):
        def forward(self, x, y):
            seen.append(x[:, 0])
            return torch.zeros(len(x), len(y))

    shares, cap = judge(Seen(), PairRows(x, x, groups), READ_OUTS["infonce"], 2048, 0)
    counts = groups[torch.cat(seen).long()].bincount()
    assert counts[[3, 5, 9]].tolist() == [64, 10, 1]
    assert (len(shares), cap) == (3, math.log(3))
    assert len(torch.cat(seen).unique()) == 75


def test_groups_are_not_torn_apart_by_how_many_are_judged_at_once():
    groups = torch.arange(300) // 3
    x = torch.randn(300, 1, generator=torch.Generator().manual_seed(0))
    seen = []

    class Seen(torch.nn.Module):
        def forward(self, x, y):
            seen.append(len(y))
            return x @ y.T

    rows = PairRows(x, x, groups)
    judge(Seen(), rows, READ_OUTS["infonce"], 100, 0)
    assert set(seen) == {99, 102}  # 33 and 34 groups of three


@given(st.lists(st.integers(0, 9), min_size=1, max_size=80), st.integers(1, 70))
def test_every_group_is_judged_among_others(groups, n_candidates):
    """Whatever the sizes; only where all rows are of one group there is no other."""
    groups = torch.tensor(groups)
    x = torch.randn(len(groups), 1)
    rows = PairRows(x, x, groups)
    shares, cap = judge(PairTimes(), rows, READ_OUTS["infonce"], n_candidates, 0)
    assert len(shares) == len(groups.unique())
    assert shares.isfinite().all()
    assert 0 <= cap <= math.log(len(shares)) + 1e-12


@pytest.mark.parametrize("name", READ_OUTS)
def test_a_part_of_one_group_tells_nothing(name):
    x = torch.randn(9, 1)
    rows = PairRows(x, x, torch.zeros(9, dtype=int))
    shares, cap = judge(PairTimes(), rows, READ_OUTS[name], 2048, 0)
    assert shares.tolist() == [0.0]
    assert cap == 0.0
    assert rows.is_one_group


BAD = [
    ([0, 1], "groups holds 2 labels, but X has 60 samples"),
    ([None, *range(59)], "groups has 1 missing values"),
    ([0, 1, 2] * 20, "3 groups"),
    ([0] * 60, "1 group "),
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


def test_given_groups_are_taken_as_they_are():
    x = np.random.default_rng(0).normal(size=6)
    x[4] = x[0]
    V = Reader("X", False).fit(x)
    found = RowGroups.of(V, V, ["a", "a", "b", "b", "c", "d"])
    assert found.numbers.tolist() == [0, 0, 1, 1, 2, 3]
    assert (str(found), found.n_copies) == ("4 groups", 0)
    found = RowGroups.of(V, V)
    assert (str(found), found.n_copies) == ("6 samples", 1)
    assert found.units.tolist() == list(range(6))
