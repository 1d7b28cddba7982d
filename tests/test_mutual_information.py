"""Estimates of mutual information, against closed forms."""

import copy
import dataclasses
import inspect
import io
import math
import pickle
import threading
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from sk_dim import MutualInformationEstimator, mutual_information
from sk_dim._information._columns import Reader
from sk_dim._information._held_out import TrainedCritic, one_thread
from sk_dim._information._judging import PairRows
from sk_dim._information._pair_critic import PAIR_CRITICS, PairCritic
from sk_dim._information._read_outs import READ_OUTS
from sk_dim._information._row_groups import group_copies
from sk_dim._information._variables import Preprocessor, counted_information
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


CPU = torch.device("cpu")
X40 = np.random.default_rng(5).normal(size=(60, 2))
Y40 = np.random.default_rng(6).normal(size=60)
X80 = np.random.default_rng(7).normal(size=(80, 2))


# State


def test_a_fit_that_fails_leaves_the_estimator_as_it_was():
    Y = X40.sum(axis=1) + 0.1 * Y40
    found = quick(max_iter=5).fit(X40, Y)
    before = dict(vars(found))
    with pytest.raises(ValueError, match="cannot be read as images"):
        found.fit(np.zeros((60, 8, 8, 13)) + Y[:, None, None, None], Y)
    assert vars(found) == before
    new = quick(max_iter=2)
    with pytest.raises(ValueError, match="missing"):
        new.fit(X40, np.where(np.arange(60) > 50, np.nan, Y))
    assert not [name for name in vars(new) if name.endswith("_")]


# The other bounds run with the slow tests.
FIRST_BOUND = [
    pytest.param(bound, marks=() if bound == "infonce" else pytest.mark.slow)
    for bound in READ_OUTS
]

# Truth


@pytest.mark.slow
@pytest.mark.parametrize(
    "n_dims", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 5))]
)
@pytest.mark.parametrize("information", [0.3, 3.0])
def test_normal_variables(n_dims, information):
    X, Y, _ = make_normal_pairs(
        1500, n_dims=n_dims, mutual_information=information, random_state=0
    )
    found = quick().fit(X, Y)
    tolerance = 0.1 * information + 2 * found.standard_error_
    assert abs(found.mutual_information_ - information) < tolerance
    assert found.bound_kind_ == "lower"


@pytest.mark.slow
@pytest.mark.parametrize("bound", FIRST_BOUND)
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


@pytest.mark.slow
def test_dependence_without_correlation():
    X, Y, information = make_student_pairs(1500, random_state=0)
    found = mutual_information(X, Y, max_iter=15, random_state=0)
    assert abs(found - information) < 0.08


@pytest.mark.slow
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


@pytest.mark.filterwarnings("ignore:no dependence was found")
def test_independent_variables():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(2, 3000, 3))
    found = quick().fit(X, Y)
    assert 0 <= found.mutual_information_ < 0.03
    assert found.standard_error_ < 0.03


@pytest.mark.slow
def test_images_and_what_they_show():
    rng = np.random.default_rng(0)
    side = rng.integers(2, size=1000)
    images = rng.normal(scale=0.1, size=(1000, 8, 8))
    images[np.arange(1000), 4, 2 + 3 * side] += 1
    found = quick(max_iter=12).fit(images, side)
    assert abs(found.mutual_information_ - math.log(2)) < 0.1


@pytest.mark.filterwarnings("ignore:no dependence was found")
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.filterwarnings("ignore:no dependence was found")
def test_clones_pickles_and_names_of_attributes():
    X, Y, _ = make_normal_pairs(300, random_state=0)
    found = clone(quick(max_iter=2)).fit(X, Y)
    again = pickle.loads(pickle.dumps(found))
    assert again.score(X, Y) == found.score(X, Y)
    keys = {"fold", "critic", "epoch", "train", "stop", "seconds"}
    assert found.history_[0].keys() == keys
    assert {row["fold"] for row in found.history_} == {0, 1, 2, 3, 4}
    assert found.n_features_in_ == 1


@pytest.mark.slow
def test_a_frame_of_mixed_columns():
    rng = np.random.default_rng(0)
    kind = rng.choice(["a", "b"], size=400)
    frame = pd.DataFrame({"kind": kind, "noise": rng.normal(size=400)})
    found = quick(max_iter=10).fit(frame, kind == "a")
    assert abs(found.mutual_information_ - math.log(2)) < 0.1


@pytest.mark.slow
def test_a_critic_of_the_user():
    class Product(torch.nn.Module):
        def __init__(self, x_shape, y_shape):
            super().__init__()
            self.matrix = torch.nn.Parameter(torch.zeros(*x_shape, *y_shape))

        def forward(self, x, y):
            return x @ self.matrix @ y.T

    X, Y, _ = make_normal_pairs(500, mutual_information=0.4, random_state=0)
    found = mutual_information(X, Y, critic=Product, max_iter=50, random_state=0)
    assert 0 < found < 0.5


def test_the_normal_part_is_the_log_density_ratio():
    X, Y, _ = make_normal_pairs(
        100_000, n_dims=2, mutual_information=1.0, random_state=0
    )
    x, y = torch.from_numpy(X).float(), torch.from_numpy(Y).float()
    critic = PAIR_CRITICS["separable"]((2,), (2,))
    critic.learn_normal(x, y, torch.ones(2), torch.ones(2))
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
    rows = torch.randn(50, 3), torch.randn(50, 2)
    critic.learn_normal(*rows, torch.ones(3), torch.ones(2))
    scores = critic(x, y)
    for i in range(5):
        for j in range(4):
            alone = critic(x[i : i + 1], y[j : j + 1])
            torch.testing.assert_close(alone[0, 0], scores[i, j], atol=1e-5, rtol=1e-4)


def read(V, discrete="auto"):
    return Reader("X", discrete).fit(V)


def test_ranks_become_normal_and_unseen_names_are_no_error():
    values = read(np.random.default_rng(0).exponential(size=(3000, 1)))
    inputs = Preprocessor(values)(values)
    assert abs(float(inputs.mean())) < 0.02
    assert abs(float(inputs.std()) - 1) < 0.02
    reader = Reader("X", "auto")
    names = Preprocessor(reader.fit(np.array([["a"], ["b"]])))
    assert names(reader.read(np.array([["a"], ["c"]]))).tolist() == [[1, 0], [0, 0]]


# Rows that repeat


def test_copies_of_continuous_rows_share_a_group():
    x = read([0.1, 0.2, 0.1, 0.3, 0.4])
    y = read([1.5, 2.0, 1.5, 4.0, 5.0])
    groups, n_copies = group_copies(x, y)
    assert groups[0] == groups[2]
    assert len(set(groups)) == 4
    assert n_copies == 1
    names = read(["a", "a", "b", "b", "b"])
    assert len(set(group_copies(names, names)[0])) == 5


@pytest.mark.parametrize("n_times", [2, 5, 9])
def test_copied_tables_keep_their_copies_together(n_times):
    X = np.random.default_rng(0).normal(size=(300, 2))
    rows = np.random.default_rng(1).permutation(np.tile(np.arange(300), n_times))
    groups, n_copies = group_copies(read(X[rows]), read(X[rows, 0] > 0))
    assert n_copies == 300 * (n_times - 1)
    assert len(np.unique(groups)) == len(np.unique(groups * 1000 + rows)) == 300


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(np.arange(1000) % 60, id="60 whole numbers"),
        pytest.param(np.arange(1000) % 60 * 0.1, id="60 fractions"),
        pytest.param(np.arange(1000) % 300, id="300 whole numbers"),
        pytest.param(np.repeat(np.arange(50) + 0.5, 20), id="50 fractions"),
    ],
)
def test_values_that_repeat_by_nature_are_not_kept_together(column):
    groups, n_copies = group_copies(read(column), read(column % 3 > 1))
    assert len(set(groups)) == 1000
    assert n_copies == 0


def test_a_value_that_many_rows_share_is_not_kept_together():
    amounts = np.random.default_rng(0).normal(size=1000).clip(0)
    groups, _ = group_copies(read(amounts), read(amounts * 2))
    assert np.bincount(groups).max() == 1


def test_counting_gives_the_information_of_few_values():
    table = np.array([[0.3, 0.1], [0.1, 0.5]])
    X, Y, information = make_discrete_pairs(5000, probabilities=table, random_state=0)
    assert abs(counted_information(read(X), read(Y)) - information) < 0.02
    x, y = np.random.default_rng(0).integers(20, size=(2, 1000))
    assert abs(counted_information(read(x), read(y))) < 0.04
    X40_ = read(np.random.default_rng(0).normal(size=40))
    assert counted_information(X40_, X40_) == 0


LABELS = np.random.default_rng(0).integers(0, 10, 600)
CODES = np.random.default_rng(1).integers(0, 60, 600)


@pytest.mark.parametrize(
    ("X", "Y", "truth"),
    [
        pytest.param(
            pd.Series(LABELS).astype("Int64"),
            LABELS,
            math.log(10),
            id="Int64",
            marks=pytest.mark.slow,
        ),
        pytest.param(CODES, CODES % 3, math.log(3), id="codes", marks=pytest.mark.slow),
        pytest.param(
            0.1 * CODES, CODES % 3, math.log(3), id="fractions", marks=pytest.mark.slow
        ),
        pytest.param(CODES, CODES, math.log(60), id="itself", marks=pytest.mark.slow),
    ],
)
def test_repeated_rows_of_discrete_data(X, Y, truth):
    found = quick(max_iter=40, critic="separable").fit(X, Y)
    # Log of the candidates is below log 60 by little; rare codes are learnt last.
    assert 0.8 * truth < found.mutual_information_ < truth + 0.05


@pytest.mark.filterwarnings("ignore:no dependence was found")
def test_what_counting_sees_and_critics_do_not_is_said():
    codes = np.random.default_rng(0).permutation(np.arange(1200) % 280)
    with pytest.warns(UserWarning, match="counting equal pairs gives 1.1"):
        found = quick(max_iter=2, critic="separable").fit(codes, codes % 3)
    assert found.mutual_information_ < 0.5


# Rows in order


@pytest.mark.slow
@pytest.mark.parametrize("bound", FIRST_BOUND)
def test_sorted_rows_tell_as_much_as_shuffled_ones(bound, monkeypatch):
    # Groups of at most 100 candidates, as above 2,048 rows of a part.
    few = dataclasses.replace(READ_OUTS[bound], n_candidates=100)
    monkeypatch.setitem(READ_OUTS, bound, few)
    X, Y, _ = make_normal_pairs(2000, mutual_information=1.0, random_state=0)
    order = np.argsort(X[:, 0])
    found = quick(bound=bound, critic="separable")
    shuffled, in_order = (
        (found.fit(*rows).mutual_information_, found.score(*rows))
        for rows in ((X, Y), (X[order], Y[order]))
    )
    assert in_order == pytest.approx(shuffled, abs=0.12)
    assert in_order == pytest.approx((1.0, 1.0), abs=0.15)


def test_shares_of_rows_come_back_in_order():
    X, Y, _ = make_normal_pairs(300, mutual_information=1.0, random_state=0)
    x, y = read(X), read(Y)
    of_x, of_y = Preprocessor(x), Preprocessor(y)
    critic = TrainedCritic("hybrid", of_x, of_y, PAIR_CRITICS, CPU, seed=0)
    rows = PairRows(of_x(x), of_y(y))
    list(critic.train(rows, rows, READ_OUTS["nwj"], 2))
    few = dataclasses.replace(READ_OUTS["nwj"], n_candidates=60)
    all_at_once, _ = critic.judge(rows, READ_OUTS["nwj"])
    in_groups, cap = critic.judge(rows, few)
    assert cap == pytest.approx(math.log(60))
    assert np.corrcoef(all_at_once, in_groups)[0, 1] > 0.9


# Worse than none


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:no dependence was found")
@pytest.mark.parametrize("n", [60, 200])
@pytest.mark.parametrize("bound", READ_OUTS)
def test_independent_variables_are_never_below_zero(bound, n):
    rng = np.random.default_rng(3)
    values = []
    for seed in range(3):
        X, Y = rng.normal(size=(2, n, 2))
        found = quick(bound=bound, random_state=seed).fit(X, Y)
        values += [found.mutual_information_, found.score(Y, X)]
    assert min(values) >= 0
    assert np.mean(values) < 0.1


def test_a_value_of_zero_is_said():
    X, Y = np.random.default_rng(0).normal(size=(2, 100, 2))

    def critic(x_shape, y_shape):
        return Misled()

    class Misled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def forward(self, x, y):
            return -100 * torch.eye(len(x), len(y)) + 0 * self.weight

    with pytest.warns(UserWarning, match="no dependence was found: on 100 held-out"):
        found = quick(critic=critic).fit(X, Y)
    assert found.mutual_information_ == 0
    with pytest.warns(UserWarning, match="no dependence was found: on 50 held-out"):
        assert found.score(X[:50], Y[:50]) == 0


# Threads


@pytest.fixture(name="two_threads")
def _two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class Noting(torch.nn.Module):
    """Notes the number of threads, and fails when told to."""

    seen: ClassVar[set] = set()
    fails = False

    def __init__(self, x_shape, y_shape):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x, y):
        self.seen.add(torch.get_num_threads())
        if self.fails:
            raise RuntimeError("told to")
        return self.weight * x.flatten(1)[:, :1] * y.flatten(1)[:, 0]


@pytest.mark.filterwarnings("ignore:no dependence was found")
@pytest.mark.usefixtures("two_threads")
def test_small_nets_learn_on_one_thread_and_give_the_others_back(monkeypatch):
    monkeypatch.setattr(Noting, "seen", set())
    found = quick(critic=Noting, max_iter=1, device="cpu").fit(X40, X40[:, 0] ** 2)
    found.score(X40, Y40 + X40[:, 0])
    assert Noting.seen == {1}
    assert torch.get_num_threads() == 2
    monkeypatch.setattr(Noting, "fails", True)
    with pytest.raises(RuntimeError, match="told to"):
        quick(critic=Noting).fit(X40, Y40)
    assert torch.get_num_threads() == 2


@pytest.mark.filterwarnings("ignore:no dependence was found")
@pytest.mark.usefixtures("two_threads")
def test_nets_of_images_keep_their_threads(monkeypatch):
    monkeypatch.setattr(Noting, "seen", set())
    images = np.random.default_rng(0).normal(size=(60, 8, 8))
    quick(critic=Noting, max_iter=1, device="cpu").fit(images, images[:, 0, 0])
    assert Noting.seen == {2}


@pytest.mark.usefixtures("two_threads")
def test_fits_that_overlap_give_back_the_threads_of_before():
    is_inside, may_leave = threading.Event(), threading.Event()

    def other():
        with one_thread():
            is_inside.set()
            may_leave.wait(10)

    thread = threading.Thread(target=other)
    with one_thread():
        thread.start()
        is_inside.wait(10)
    assert torch.get_num_threads() == 2
    may_leave.set()
    thread.join()
    assert torch.get_num_threads() == 2
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert found == [2]


# Files


class OnlyArrays(pickle.Unpickler):
    """Refuses what belongs to torch."""

    def find_class(self, module, name):
        assert not module.startswith("torch"), f"{module}.{name}"
        return super().find_class(module, name)


IMAGES = np.random.default_rng(0).normal(size=(80, 8, 8))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:no dependence was found")
@pytest.mark.parametrize(
    ("X", "Y"),
    [
        pytest.param(X80, X80[:, 0] + 0.1 * X80[:, 1], id="numbers"),
        pytest.param(
            pd.DataFrame({"a": X80[:, 0], "b": ["u", "v"] * 40}),
            ["u", "v"] * 40,
            id="frame",
        ),
        pytest.param(IMAGES, IMAGES[:, 4, 4] > 0, id="images"),
    ],
)
def test_files_hold_arrays_and_no_tensors(X, Y):
    found = quick(max_iter=2).fit(X, Y)
    again = OnlyArrays(io.BytesIO(pickle.dumps(found))).load()
    assert again.score(X, Y) == found.score(X, Y)
    assert copy.deepcopy(again).score(X, Y) == found.score(X, Y)


@pytest.mark.filterwarnings("ignore:no dependence was found")
def test_a_file_of_a_missing_device_is_read_on_the_cpu():
    found = quick(max_iter=1).fit(X80, X80[:, 0] + 0.1 * X80[:, 1])
    state = found.__getstate__() | {"_device": "cuda:99"}
    again = MutualInformationEstimator()
    with pytest.warns(UserWarning, match="fitted on cuda:99, which is not available"):
        again.__setstate__(state)
    assert again.score(X80, X80[:, 0]) == found.score(X80, X80[:, 0])


# Among scikit-learn's

# What is right for it, though the check wants it to be refused.
TAKEN = {"check_fit1d": "one column is one variable"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # of few rows, and of none found
@parametrize_with_checks(
    [MutualInformationEstimator(max_iter=1, critic="separable")],
    expected_failed_checks=lambda estimator: TAKEN,
)
def test_scikit_learn_check(estimator, check):
    check(estimator)


def test_None_for_y_is_refused():
    with pytest.raises(ValueError, match="requires y to be passed, but the target y"):
        quick().fit(X40, None)


@pytest.mark.filterwarnings("ignore:no dependence was found")
def test_names_of_columns_are_kept_and_compared():
    frame = pd.DataFrame(X80, columns=["a", "b"])
    found = quick(max_iter=1).fit(frame, X80[:, 0] + 0.1 * X80[:, 1])
    assert list(found.feature_names_in_) == ["a", "b"]
    with pytest.raises(ValueError, match="feature names should match"):
        found.score(frame[["b", "a"]], X80[:, 0])
    again = found.fit(X80, X80[:, 0] + 0.1 * X80[:, 1])
    assert not hasattr(again, "feature_names_in_")


@pytest.mark.filterwarnings("ignore:no dependence was found")
def test_attributes_are_those_of_the_docstring():
    found = quick(max_iter=1).fit(X80, X80[:, 0] + 0.1 * X80[:, 1])
    learnt = {n for n in vars(found) if n.endswith("_") and not n.startswith("_")}
    # Without the indent, which Python 3.13 has taken off already.
    described = inspect.getdoc(MutualInformationEstimator)
    for name in learnt:
        assert f"\n{name} : " in described


# Bad input


@pytest.mark.parametrize(
    ("X", "Y", "params", "error", "message"),
    [
        (X40, Y40[:50], {}, ValueError, "inconsistent numbers of samples"),
        (X40 * np.nan, Y40, {}, ValueError, "Input X contains NaN"),
        (X40, Y40 + np.inf, {}, ValueError, "Input Y contains infinity"),
        (X40[:3], Y40[:3], {}, ValueError, "3 samples cannot be cut"),
        (X40, Y40, {"bound": "mine"}, ValueError, "bound='mine' is not known; .*'jsd'"),
        (X40, Y40, {"critic": "concat"}, ValueError, "critic='concat' is not known"),
        (X40, Y40, {"max_iter": 0}, ValueError, "max_iter=0; it must be at least 1"),
        (X40, 3.0, {}, ValueError, "Y is a single value"),
    ],
)
def test_bad_input(X, Y, params, error, message):
    with pytest.raises(error, match=message):
        quick(**params).fit(X, Y)


class Returns(torch.nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer, self.scale = answer, torch.nn.Parameter(torch.ones(()))

    def forward(self, x, y):
        return self.answer(self.scale * x @ y[:, :1].repeat(1, 2).T)


@pytest.mark.parametrize(
    ("critic", "error", "message"),
    [
        (lambda x, y: 3, TypeError, "critic returned int; a callable for critic takes"),
        (
            lambda x, y: Returns(lambda s: s[:, :1]),
            ValueError,
            r"of shape \(5, 1\)",
        ),
        (lambda x, y: Returns(lambda s: s[:, 0]), ValueError, r"of shape \(5,\)"),
        (lambda x, y: Returns(lambda s: s[1:]), ValueError, "a score for each pair"),
        (lambda x, y: Returns(lambda s: (s, s)), ValueError, r"\(a Tensor of shape"),
        (lambda x, y: Returns(lambda s: None), ValueError, "it returned NoneType"),
        (lambda x: 3, TypeError, "critic is called with two arguments"),
    ],
)
def test_critics_that_are_none_are_refused(critic, error, message):
    with pytest.raises(error, match=message):
        quick(critic=critic).fit(X40, Y40)


@pytest.mark.filterwarnings("ignore:12 samples are few")
@pytest.mark.filterwarnings("ignore:no dependence was found")
def test_rows_that_hardly_differ_are_refused_or_tell_what_is_in_them():
    rows = np.repeat(np.arange(3), 4)
    with pytest.raises(ValueError, match="only 3 of 12 rows differ, and the others"):
        quick().fit(X40[rows], Y40[rows])
    rows = np.repeat(np.arange(4), 3)
    with pytest.warns(UserWarning, match="8 of 12 rows are copies"):
        assert quick().fit(X40[rows], Y40[rows]).mutual_information_ >= 0


@pytest.mark.filterwarnings("ignore:no dependence was found")
def test_score_reads_out_what_was_learnt():
    found = quick(max_iter=1).fit(X40, Y40)
    before = found.score(X40, Y40)
    assert found.set_params(bound="nwj").score(X40, Y40) == before


@pytest.mark.filterwarnings("ignore:no dependence was found")
def test_score_refuses_other_rows():
    found = quick(max_iter=1).fit(X40, Y40)
    with pytest.raises(ValueError, match=r"X has 3 features, but .* expecting 2 fea"):
        found.score(np.zeros((5, 3)), np.zeros(5))
    with pytest.raises(ValueError, match=r"Y has 2 features, but .* expecting 1 fea"):
        found.score(np.zeros((5, 2)), np.zeros((5, 2)))
    with pytest.raises(ValueError, match=r"X has rows of shape \(4, 4\), but had \(2,"):
        found.score(np.zeros((5, 4, 4)), np.zeros(5))
    with pytest.raises(ValueError, match="1 sample has no other"):
        found.score(X40[:1], Y40[:1])


@pytest.mark.filterwarnings("ignore:no dependence was found")
@pytest.mark.parametrize("n", [4, 5, 11])
def test_few_rows_draw_a_warning(n):
    with pytest.warns(UserWarning, match=f"^{n} samples are few"):
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


@pytest.mark.filterwarnings("ignore:no dependence was found")
def test_copied_rows_draw_a_warning():
    with pytest.warns(UserWarning, match="60 of 120 rows are copies of others"):
        quick(max_iter=2).fit(np.vstack([X40, X40]), np.hstack([Y40, Y40]))


@pytest.mark.filterwarnings("ignore:no dependence was found")
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
