"""Mutual information of pairs of columns: bins, tables, and what is made of them."""

import math
import pickle
from functools import partial
from itertools import chain

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri
from scipy.stats import kstest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.feature_selection import SelectFdr, SelectKBest
from sklearn.metrics import mutual_info_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_dim import (
    MutualInformationEstimator,
    PairwiseMutualInformation,
    column_information,
)
from sk_dim._information._bins import MAX_BINS, MAX_NAMES, columns_as_bins
from sk_dim._information._columns import Variable
from sk_dim._information._component_critics import NormalCritic
from sk_dim._information._pairwise import MAX_CELLS, _alike
from sk_dim._information._read_outs import READ_OUTS
from sk_dim._information._tables import Fit, Pairs, judge
from sk_dim.datasets import make_normal_pairs

CPU = torch.device("cpu")
LETTERS = np.array(list("rgbw"))


def bins_of(*columns, names=False):
    values = np.column_stack(columns).astype(float)
    is_name = np.full(values.shape[1], names)
    return columns_as_bins(Variable(values, is_name, ~is_name))


def fit(*columns, **params):
    return PairwiseMutualInformation(random_state=0, **params).fit(*columns)


def mixed_pairs(n=400, seed=0):
    """Three pairs of columns of different kinds and numbers of bins."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    a, b = bins_of(x, x + rng.normal(size=n))
    name = (x + rng.normal(size=n) > 0) + 2.0 * (x > 1)
    (c,), (few,) = bins_of(name, names=True), bins_of(np.round(x))
    return [(a, b), (a, c), (few, c)]


def counts_of(pairs):
    stacked = Pairs.of(pairs, CPU)
    n_rows = len(pairs[0][0].codes)
    return stacked, stacked.count(pairs, [np.arange(n_rows)], np.ones(n_rows))[0]


# Bins


@given(
    st.lists(st.integers(0, 200), min_size=1, max_size=300),
    st.booleans(),
)
def test_functions_of_bins_are_orthonormal_over_the_rows(values, names):
    (bins,) = bins_of(values, names=names)
    rows = bins.basis[bins.codes]
    np.testing.assert_allclose(
        rows.T @ rows / len(rows), np.eye(rows.shape[1]), atol=1e-6
    )
    np.testing.assert_allclose(bins.basis[:, 0], 1.0)
    assert len(bins) <= (MAX_NAMES if names else MAX_BINS)
    assert np.all(np.bincount(bins.codes, minlength=len(bins)) > 0)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=300))
def test_bins_of_numbers_are_in_order_and_hold_equal_values_together(values):
    (bins,) = bins_of(values)
    order = np.argsort(values, kind="stable")
    assert np.all(np.diff(bins.codes[order]) >= 0)
    for value in set(values):
        assert len(set(bins.codes[np.array(values) == value])) == 1


def test_bins_depend_on_ranks_alone():
    x = np.random.default_rng(0).normal(size=500)
    before, after = bins_of(x, np.exp(3 * x))
    assert np.array_equal(before.codes, after.codes)
    np.testing.assert_allclose(before.basis, after.basis)


def test_rare_names_share_a_bin():
    n = MAX_NAMES - 1
    values = np.r_[np.repeat(np.arange(n), 5), np.arange(1000, 1040)]
    (bins,) = bins_of(values, names=True)
    assert len(bins) == MAX_NAMES
    assert len(set(bins.codes[-40:])) == 1
    assert len(set(bins.codes[:-40])) == n
    assert bins.n_merged == 40
    assert bins.share_merged == pytest.approx(40 / len(values))


def test_roughness_is_that_of_hermite_polynomials():
    # The second derivative of the normalised one of degree k is sqrt(k (k - 1)) times
    # that of degree k - 2.
    (bins,) = bins_of(ndtri((np.arange(64) + 0.5) / 64))
    np.testing.assert_allclose(bins.roughness[:2], 0.0, atol=1e-9)
    np.testing.assert_allclose(bins.roughness[2], 2.0, rtol=0.3)
    line = bins.basis[:, 1] / bins.place
    np.testing.assert_allclose(line, line.mean(), rtol=1e-6)


# Tables


def test_judgement_by_counts_is_that_of_rows():
    pairs = mixed_pairs()
    _, counts = counts_of(pairs)
    scores = torch.tensor(np.random.default_rng(1).normal(size=counts.shape))
    judged = judge(scores, counts)
    for i, (a, b) in enumerate(pairs):
        of_rows = scores[i][a.codes][:, b.codes]
        shares = READ_OUTS["infonce"].shares(of_rows)
        assert float(judged.mean[i]) == pytest.approx(float(shares.mean()), abs=1e-6)
        error = float(shares.std(correction=0)) / math.sqrt(len(shares))
        assert float(judged.error(len(shares))[i]) == pytest.approx(error, rel=1e-4)


def test_the_base_is_the_normal_critic():
    X, Y, _ = make_normal_pairs(5000, mutual_information=0.8, random_state=0)
    (a, b) = bins_of(X, Y)
    stacked, counts = counts_of([(a, b)])
    base = Fit(stacked, counts).base[0]
    x, y = (torch.tensor(bins.place[:, None]).float() for bins in (a, b))
    critic = NormalCritic((1,), (1,), n_leading=1)
    # Of the standardised places, as the critic's inputs are.
    rows = [places[bins.codes] for places, bins in ((x, a), (y, b))]
    critic.learn_normal(*rows, torch.ones(1), torch.ones(1))
    expected = critic(x, y)
    assert (base - expected).abs().max() < 0.15 * expected.abs().max()
    assert np.corrcoef(base.flatten(), expected.flatten())[0, 1] > 0.999


@pytest.mark.slow
def test_learnt_weights_maximise_the_penalised_bound():
    pairs = mixed_pairs()
    stacked, counts = counts_of(pairs)
    found = Fit(stacked, counts)
    smoothness = 0.05
    for _ in range(20):
        found.maximise(smoothness)

    def objective(weights, i):
        table = found.base[i] + stacked.basis_x[i] @ weights @ stacked.basis_y[i].T
        cells = counts[i] > 0
        log_x, log_y = found.x[i].log(), found.y[i].log()
        log_ratio = (
            table
            - (torch.logsumexp(table + log_y, 1, keepdim=True)) / 2
            - (torch.logsumexp(table + log_x, 0, keepdim=True)) / 2
        )
        penalty = stacked.penalty[i] * smoothness * 100 / found.n_rows
        value = (found.joint[i] * log_ratio)[cells].sum()
        return value - (penalty * weights.square()).sum() / 2

    for i in range(len(pairs)):
        best = torch.zeros_like(found.weights[i]).requires_grad_()
        optimiser = torch.optim.LBFGS(
            [best], max_iter=500, line_search_fn="strong_wolfe"
        )

        def loss(weights=best, i=i):
            value = -objective(weights, i)
            (weights.grad,) = torch.autograd.grad(value, weights)
            return value

        optimiser.step(loss)
        with torch.no_grad():
            assert objective(found.weights[i], i) > objective(best, i) - 0.003


def test_tables_of_names_tell_what_counts_tell():
    rng = np.random.default_rng(0)
    joint = rng.dirichlet(np.full(12, 2.0)).reshape(3, 4)
    cells = rng.choice(12, size=50_000, p=joint.ravel())
    (a, b) = bins_of(cells // 4, cells % 4, names=True)
    stacked, counts = counts_of([(a, b)])
    found = Fit(stacked, counts)
    for _ in range(20):
        found.maximise(1e-5)
    value = float(judge(found.scores(), counts).mean[0])
    expected = mutual_info_score(a.codes, b.codes)
    assert expected > 0.03
    assert value == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("n", [1, 40, 300])
def test_chunks_hold_each_pair_once_and_few_cells(n):
    rng = np.random.default_rng(n)
    sizes = rng.integers(2, 400, size=(n, 2))
    pairs = [tuple(bins_of(np.arange(size) % 64)[0] for size in pair) for pair in sizes]
    chunks = list(_alike(pairs))
    assert sorted(chain(*chunks)) == list(range(n))
    for chunk in chunks:
        n_x, n_y = (max(len(pairs[i][side]) for i in chunk) for side in (0, 1))
        assert n_x * n_y * len(chunk) <= MAX_CELLS


# What is estimated


def test_known_answers():
    rng = np.random.default_rng(0)
    n = 3000
    x = rng.normal(size=n)
    sign = rng.choice([-1, 1], size=n)
    same = rng.random(n) < 0.7
    colour = rng.integers(4, size=n)
    noise = rng.normal(size=n)
    Y = pd.DataFrame(
        {
            "line": 0.8 * x + 0.6 * noise,
            "cross": sign * (0.9 * x + math.sqrt(0.19) * noise),
            "independent": noise,
            "colour": LETTERS[np.where(same, colour, rng.integers(4, size=n))],
        }
    )
    X = pd.DataFrame({"x": x, "colour": LETTERS[colour]})
    found = fit(X, Y)
    hit, miss = 0.7 + 0.3 / 4, 0.3 / 4
    truth = np.array(
        [
            [-math.log(1 - 0.64) / 2, 0.408, 0, 0],
            [0, 0, 0, math.log(4) + hit * math.log(hit) + 3 * miss * math.log(miss)],
        ]
    )
    np.testing.assert_allclose(found.mutual_information_, truth, atol=0.06)
    is_inside = (found.interval_[..., 0] <= truth) & (truth <= found.interval_[..., 1])
    assert is_inside.sum() >= 7
    assert np.all(found.p_value_[truth > 0] < 0.01)
    assert np.all(found.interval_[..., 0] <= found.mutual_information_)
    first = found.ranking()[0]
    assert (first["x"], first["y"]) == ("colour", "colour")
    assert pd.DataFrame(found.ranking()).shape == (8, 6)


def test_without_y_each_pair_is_estimated_once():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3))
    X[:, 2] = X[:, 0] + rng.normal(size=300)
    frame = pd.DataFrame(X, columns=list("abc"))
    frame["class"] = np.where(X[:, 0] > 0, "up", "down")
    found = fit(frame)
    for name in ("mutual_information_", "standard_error_", "p_value_"):
        values = getattr(found, name)
        np.testing.assert_array_equal(values, values.T)
    diagonal = found.mutual_information_.diagonal()
    assert np.all(np.isinf(diagonal[:3]))
    assert diagonal[3] == pytest.approx(math.log(2), abs=0.01)
    assert len(found.ranking()) == 6
    assert found.feature_names_in_.tolist() == ["a", "b", "c", "class"]
    assert {"x": "a", "y": "class"}.items() <= found.ranking()[0].items()


@pytest.mark.slow
def test_a_pair_does_not_depend_on_the_others():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=(300, 4)), rng.integers(3, size=(300, 2))])
    y = X[:, 0] + X[:, 5] + rng.normal(size=300)
    together = fit(X, y).mutual_information_[:, 0]
    alone = [fit(X[:, [i]], y).mutual_information_[0, 0] for i in range(6)]
    np.testing.assert_allclose(together, alone, atol=1e-4)


@pytest.mark.slow
def test_sides_and_what_ranks_and_names_are_called_make_no_difference():
    rng = np.random.default_rng(0)
    x = rng.normal(size=500)
    y = np.digitize(x + rng.normal(size=500), [-1, 0, 1])
    called = np.array(["north", "east", "south", "west"])[y]
    values = [
        fit(*pair).mutual_information_[0, 0]
        for pair in ((x, y), (y, x), (np.exp(x), called), (-x, 7 - y))
    ]
    np.testing.assert_allclose(values, values[0], atol=2e-3)


@pytest.mark.parametrize(
    "n", [10, 37, *(pytest.param(n, marks=pytest.mark.slow) for n in (11, 14))]
)
@pytest.mark.parametrize("kind", ["numbers", "names", "equal"])
def test_few_rows_are_enough_not_to_fail(n, kind):
    rng = np.random.default_rng(n)
    columns = {
        "numbers": rng.normal(size=n),
        "names": np.array(["a", "b"])[np.arange(n) % 2],
        "equal": np.ones(n),
    }
    found = fit(
        columns["numbers"], columns[kind] if kind != "numbers" else rng.random(n)
    )
    assert np.isfinite(found.mutual_information_).all()
    assert np.all((found.p_value_ > 0) & (found.p_value_ <= 1))


def test_constants_copies_and_what_is_sorted():
    x = np.sort(np.random.default_rng(0).normal(size=300))
    X = np.column_stack([np.zeros(300), x, -x, x > 0])
    found = fit(X, x)
    assert found.mutual_information_[0, 0] == 0
    assert found.p_value_[0, 0] == 1
    assert np.isinf(found.mutual_information_[1, 0])
    assert found.mutual_information_[2, 0] > 2.5
    assert found.mutual_information_[3, 0] == pytest.approx(math.log(2), abs=0.05)


@pytest.mark.filterwarnings("error")
def test_outliers_beside_a_copy_are_no_disaster():
    rng = np.random.default_rng(0)
    x = rng.normal(size=1000)
    y = np.where(rng.random(1000) < 0.02, rng.normal(size=1000), x)
    assert fit(x, y).mutual_information_[0, 0] > 1.5


@pytest.mark.filterwarnings("ignore:.*are copies of others")
@pytest.mark.parametrize("is_alone", [True, False])
def test_copies_of_a_pair_are_held_out_together_whatever_is_beside_it(is_alone):
    rng = np.random.default_rng(1)
    patient = np.repeat(np.arange(150), 3)
    a, b = rng.normal(size=(2, 150))[:, patient]
    X = a[:, None] if is_alone else np.column_stack([a, rng.normal(size=450)])
    found = fit(X, b)
    assert found.mutual_information_.max() < 0.05
    assert found.p_value_.min() > 0.01


@pytest.mark.filterwarnings("error")
def test_rounded_numbers_are_no_copies():
    X, y = load_iris(return_X_y=True)
    values = fit(X, y).mutual_information_[:, 0]
    assert np.all(values > [0.3, 0.1, 0.8, 0.8])


def test_many_copies_are_said():
    x = np.repeat(np.random.default_rng(0).normal(size=100), 3)
    with pytest.warns(UserWarning, match=r"200 of 300 rows are copies .*'a' and"):
        fit(pd.DataFrame({"n": np.arange(300.0) ** 2, "a": x}), x**3)


@pytest.mark.filterwarnings("ignore:.*are copies of others")
def test_nothing_is_known_of_a_few_distinct_rows():
    rows = np.repeat(np.arange(4), [3, 3, 4, 4])
    X = np.random.default_rng(0).normal(size=(4, 2))[rows]
    found = fit(X, X[:, 0] ** 3)
    assert np.all(found.mutual_information_ == 0)
    assert np.all(found.interval_ == [0, np.inf])
    assert np.all(found.p_value_ == 1)


@pytest.mark.slow
@pytest.mark.parametrize("n_names", [100, 400])
def test_upper_ends_allow_for_names_that_share_a_bin(n_names):
    name = np.random.default_rng(5).integers(n_names, size=4000)
    low, high = fit(name.astype(str), name % 5).interval_[0, 0]
    assert low < math.log(5) < high


@pytest.mark.parametrize("n", [300, 1000, 5000])
def test_upper_ends_are_infinite_where_bins_end(n):
    x = np.random.default_rng(5).normal(size=n)
    assert fit(x, -x).interval_[0, 0, 1] == math.inf


@pytest.mark.slow
def test_p_values_are_uniform_and_estimates_next_to_nothing():
    rng = np.random.default_rng(0)
    n = 300
    X = np.column_stack(
        [
            rng.normal(size=(n, 60)),
            rng.integers(4, size=(n, 20)),
            rng.random((n, 20)) ** 9,
        ]
    )
    found = fit(X, rng.normal(size=n))
    assert kstest(found.p_value_[:, 0], "uniform").pvalue > 0.01
    assert found.mutual_information_.mean() < 0.01
    assert np.mean(found.interval_[:, 0, 0] > 0) < 0.1


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_names_of_columns_of_any_frame(make):
    rng = np.random.default_rng(0)
    frame = make({"a": rng.normal(size=30), "b": rng.normal(size=30)})
    names = {(row["x"], row["y"]) for row in fit(frame).ranking()}
    assert names == {("a", "b")}


def test_names_that_are_numbers_and_of_single_columns():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(30, 2)), columns=[10, 20])
    y = pd.Series(rng.normal(size=30), name="target")
    names = {(row["x"], row["y"]) for row in fit(X, y).ranking()}
    assert names == {(10, "target"), (20, "target")}


# In scikit-learn


def test_selectors_take_scores_and_p_values():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 20))
    y = np.where(X[:, 3] ** 2 + 0.5 * rng.normal(size=400) > 1, "far", "near")
    score = partial(column_information, random_state=0)
    best = make_pipeline(StandardScaler(), SelectKBest(score, k=1)).fit(X, y)
    assert best[-1].get_support(indices=True).tolist() == [3]
    assert 3 in SelectFdr(score, alpha=0.1).fit(X, y).get_support(indices=True)


def test_a_fit_can_be_repeated_cloned_and_pickled():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(2, 100, 2))
    found = fit(X, Y)
    again = clone(found).fit(X, Y)
    loaded = pickle.loads(pickle.dumps(found))
    for other in (again, loaded):
        np.testing.assert_array_equal(
            other.mutual_information_, found.mutual_information_
        )
        np.testing.assert_array_equal(other.p_value_, found.p_value_)
    assert loaded.ranking() == found.ranking()


@pytest.mark.parametrize(
    ("X", "Y", "message"),
    [
        (np.zeros((20, 8, 8)), np.arange(20), "X has rows of shape"),
        (np.zeros((20, 2)), np.zeros((20, 8, 8)), "Y has rows of shape"),
        (np.arange(9.0), np.arange(9.0), "9 samples cannot be cut"),
        (np.arange(20.0), np.arange(19.0), "inconsistent numbers of samples"),
        (np.r_[np.nan, np.arange(19.0)], np.arange(20.0), r"X.*missing"),
    ],
)
def test_bad_input(X, Y, message):
    with pytest.raises(ValueError, match=message):
        fit(X, Y)


def test_bad_targets_of_column_information():
    X = np.random.default_rng(0).normal(size=(20, 2))
    with pytest.raises(ValueError, match="y has 2 columns; pass one"):
        column_information(X, X + 1)
    with pytest.raises(ValueError, match="requires y to be passed"):
        column_information(X, None)


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(st.integers(10, 60), st.integers(1, 4), st.integers(0, 10**6))
def test_any_table_gives_ordered_finite_answers(n, d, seed):
    rng = np.random.default_rng(seed)
    X = rng.integers(rng.integers(2, 30), size=(n, d)) * 1.5
    found = fit(X, rng.normal(size=n))
    low, high = found.interval_[..., 0], found.interval_[..., 1]
    assert np.all((found.mutual_information_ >= 0) & (low >= 0) & (low <= high))
    assert np.isfinite(found.mutual_information_).all()


def test_a_fit_that_fails_leaves_the_one_before(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 3))
    found = fit(X)
    before = dict(vars(found))
    monkeypatch.setattr(
        "sk_dim._pairwise_information.estimate_pairs",
        lambda *args: (_ for _ in ()).throw(MemoryError),
    )
    with pytest.raises(MemoryError):
        found.fit(pd.DataFrame(rng.normal(size=(40, 2)), columns=["a", "b"]))
    assert vars(found).keys() == before.keys()
    assert all(vars(found)[name] is value for name, value in before.items())


@pytest.mark.parametrize("n_permutations", [0, -1, 2.5, "many", True])
@pytest.mark.parametrize(
    "kind", [PairwiseMutualInformation, MutualInformationEstimator]
)
def test_permutations_are_counted(kind, n_permutations):
    x = np.arange(50.0)
    with pytest.raises((ValueError, TypeError), match=r"n_permutations=.*at least 1"):
        kind(n_permutations=n_permutations).fit(x, x**2)


@pytest.mark.slow
def test_more_permutations_find_smaller_p_values():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 4))
    y = X[:, 0] + 0.2 * X[:, 1] + rng.normal(size=1000)
    _, few = column_information(X, y, random_state=0)
    _, many = column_information(X, y, n_permutations=20_000, random_state=0)
    assert few[0] <= 1e-4
    assert many[0] <= 5e-5
    assert many[2:] == pytest.approx(few[2:], abs=0.06)
