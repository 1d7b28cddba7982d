"""Mutual information of images, series and wide tables: features and their critics."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, multivariate_normal
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator

from sk_dim import MutualInformationEstimator
from sk_dim._information._certainty import (
    draw_ways,
    interval_of,
    p_value_of_independence,
)
from sk_dim._information._columns import Reader, Variable, kind_of_samples
from sk_dim._information._component_critics import MixtureCritic, NormalCritic
from sk_dim._information._features import Components, Encoder
from sk_dim._information._flattened import find_side
from sk_dim._information._held_out import draw_folds
from sk_dim._information._variables import Preprocessor
from sk_dim.datasets import make_class_pairs, make_normal_pairs, make_wide_pairs

DIGITS, LABELS = load_digits(return_X_y=True)
NOTHING = pytest.mark.filterwarnings("ignore:no dependence was found")


def table(values):
    d = values.shape[1]
    return Variable(values, np.zeros(d, dtype=bool), np.ones(d, dtype=bool))


def quick(**params):
    return MutualInformationEstimator(**({"max_iter": 4, "random_state": 0} | params))


# Critics of components


@pytest.mark.parametrize("n_leading", [2, 3, 8])
def test_the_normal_critic_is_the_log_density_ratio_of_leading_inputs(n_leading):
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(8, 8))
    rows = torch.tensor(rng.normal(size=(200_000, 8)) @ mixing, dtype=torch.float32)
    rows /= rows.std(0)
    x, y = rows[:, :5], rows[:, 5:]
    critic = NormalCritic((5,), (3,), n_leading=n_leading)
    critic.learn_normal(x, y, torch.ones(5), torch.ones(3))
    k, m = min(n_leading, 5), min(n_leading, 3)
    cov = np.cov(np.hstack([x[:, :k], y[:, :m]]).T)
    a, b = x[:4, :k].double().numpy(), y[:6, :m].double().numpy()
    found = critic(x[:4], y[:6]).numpy()
    for i in range(4):
        for j in range(6):
            expected = (
                multivariate_normal(np.zeros(k + m), cov).logpdf(np.r_[a[i], b[j]])
                - multivariate_normal(np.zeros(k), cov[:k, :k]).logpdf(a[i])
                - multivariate_normal(np.zeros(m), cov[k:, k:]).logpdf(b[j])
            )
            assert found[i, j] == pytest.approx(expected, abs=0.05, rel=0.02)


def test_the_mixture_critic_scores_pairs_one_by_one():
    torch.manual_seed(0)
    critic = MixtureCritic((5,), (3,)).eval()
    with torch.no_grad():
        for weight in critic.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    x, y = torch.randn(4, 5), torch.randn(6, 3)
    found = critic(x, y)
    n_mixtures, n_classes = critic.log_odds.shape
    for i in range(4):
        for j in range(6):
            f = critic.of_x(x[i : i + 1]).reshape(n_mixtures, n_classes)
            g = critic.of_y(y[j : j + 1]).reshape(n_mixtures, n_classes)
            score = 0.0
            for b in range(n_mixtures):
                p, q = f[b].softmax(0), g[b].softmax(0)
                ratio = sum(critic.log_odds[b].exp() * p * q)
                score += critic.weights[b] * (critic.no_class[b].exp() + ratio).log()
            assert found[i, j].item() == pytest.approx(score.item(), abs=1e-4)


def test_a_tied_mixture_critic_is_symmetric():
    torch.manual_seed(0)
    critic = MixtureCritic((5,), (5,), is_tied=True).eval()
    x, y = torch.randn(4, 5), torch.randn(6, 5)
    assert torch.allclose(critic(x, y), critic(y, x).T, atol=1e-5)


def test_a_mixture_critic_at_its_start_tells_next_to_nothing():
    torch.manual_seed(0)
    scores = MixtureCritic((5,), (3,)).eval()(torch.randn(50, 5), torch.randn(50, 3))
    assert scores.abs().max() < 0.5


# Components


@NOTHING
@pytest.mark.filterwarnings("ignore:4 samples are few")
@pytest.mark.parametrize("shape", [(64,), (8, 8), (1, 40)])
def test_four_rows_are_enough_not_to_fail(shape):
    X, Y = np.random.default_rng(0).normal(size=(2, 4, *shape))
    found = quick(max_iter=1).fit(X, Y)
    assert found.interval_ == (0.0, math.inf)


@pytest.mark.parametrize("n", [3, 20, 300])
def test_components_are_uncorrelated_and_their_variances_are_roots(n):
    rng = np.random.default_rng(0)
    V = table(rng.normal(size=(n, 40)) @ rng.normal(size=(40, 40)))
    components = Components(V)
    inputs = components(V).double().numpy()
    assert inputs.shape == (n, min(n, 40)) == (n, *components.shape)
    variances = components.pca.explained_variance_
    is_there = variances > 1e-3
    covariance = np.cov(inputs.T)[np.ix_(is_there, is_there)]
    expected = np.sqrt(variances[is_there])
    ratio = np.diag(covariance)[0] / expected[0]
    np.testing.assert_allclose(covariance, ratio * np.diag(expected), atol=1e-2)


def test_components_of_columns_are_those_of_their_ranks():
    X, _, _ = make_wide_pairs(300, n_columns=70, random_state=0)
    tables = table(X), table(np.sinh(3 * X))
    columns = [Preprocessor(V) for V in tables]
    ranks = [way(V) for way, V in zip(columns, tables, strict=True)]
    a, b = (Components(rows, columns[0])(rows) for rows in ranks)
    assert np.corrcoef(a[:, 0].numpy(), b[:, 0].numpy())[0, 1] ** 2 > 0.999


def test_constant_and_copied_features_are_no_error():
    V = table(np.hstack([np.ones((50, 70)), np.arange(50.0)[:, None].repeat(2, 1)]))
    assert torch.isfinite(Components(V)(V)).all()


# Images that are flattened


def test_square_images_are_found_in_their_pixels():
    assert find_side(DIGITS) == 8
    assert find_side(DIGITS[np.argsort(LABELS)]) == 8
    assert find_side(np.repeat(DIGITS[:200], 5, axis=0)) == 8


@pytest.mark.parametrize("seed", range(5))
def test_other_tables_are_not_taken_for_images(seed):
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(500, 64))
    walks = noise.cumsum(1)
    factors = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 64))
    for values in (noise, walks, factors, np.ones((500, 64)), DIGITS[:, :60]):
        assert find_side(values) == 0
    assert find_side(DIGITS[:, rng.permutation(64)]) == 0


def test_pixels_in_columns_are_read_as_images_unless_told_otherwise():
    read = Reader("X", "auto", finds_images=True)
    assert read.fit(DIGITS).values.shape == (1797, 8, 8)
    np.testing.assert_array_equal(
        read.read(DIGITS[:5]).values.reshape(5, 64), DIGITS[:5]
    )
    assert Reader("X", "auto").fit(DIGITS).values.shape == (1797, 64)
    told = Reader("X", False, finds_images=True)
    assert told.fit(DIGITS).values.shape == (1797, 64)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((9, 28, 28), "image"),
        ((9, 3, 8, 8), "image"),
        ((9, 8, 32), "image"),
        ((9, 8, 33), "series"),
        ((9, 1, 100), "series"),
        ((9, 4, 12), "series"),
        ((9, 100, 3), "series"),
        ((9, 7, 5), "image"),
    ],
)
def test_samples_are_images_or_series_by_their_sides(shape, kind):
    assert kind_of_samples(shape) == kind


# The test for independence


def p_value(scores, rng, n_permutations=999):
    ways = draw_ways(len(scores), n_permutations, rng)
    return p_value_of_independence(scores, ways, rng)


@pytest.mark.parametrize("is_constant", [False, True])
def test_p_values_of_independent_pairs_are_uniform(is_constant):
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        scores = np.zeros((12, 12)) if is_constant else rng.normal(size=(12, 12)) ** 3
        found.append(p_value(scores, rng))
    assert kstest(found, "uniform").pvalue > 0.01


@given(st.integers(2, 30), st.floats(-50, 50))
def test_p_values_do_not_see_what_is_added_to_rows(n, shift):
    scores = np.random.default_rng(n).normal(size=(n, n))
    a, b = (
        p_value(s, np.random.default_rng(0))
        for s in (scores, scores + shift * np.arange(n)[:, None])
    )
    assert a == pytest.approx(b, abs=2e-3)
    assert 0 <= a <= 1


def test_the_p_value_of_a_sure_dependence_is_small():
    scores = 5 * np.eye(30)
    assert p_value(scores, np.random.default_rng(0)) <= 1e-3
    assert p_value(scores, np.random.default_rng(0), 20_000) <= 5e-5


@given(st.integers(1, 300), st.integers(1, 40))
def test_ways_to_pair_rows_are_permutations(n, n_permutations):
    ways = draw_ways(n, n_permutations, np.random.default_rng(0))
    assert ways.shape == (n, n_permutations)
    in_order = np.broadcast_to(np.arange(n)[:, None], ways.shape)
    assert np.array_equal(np.sort(ways, axis=0), in_order)


def test_p_values_are_those_of_a_slow_loop():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(40, 40)) + 0.4 * np.eye(40)
    ways = draw_ways(40, 2_500, rng)
    true = sum(scores[i, i] for i in range(40))
    n_above = sum(sum(scores[i, way[i]] for i in range(40)) > true for way in ways.T)
    found = p_value_of_independence(scores, ways, rng)
    assert n_above / 2_501 <= found <= (n_above + 1) / 2_501


@NOTHING
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*samples are few")
def test_p_values_of_whole_fits_are_uniform():
    rng = np.random.default_rng(0)
    found = []
    for seed in range(40):
        X, Y = rng.normal(size=(2, 48, 2))
        found.append(quick(max_iter=1, random_state=seed).fit(X, Y).p_value_)
    assert kstest(found, "uniform").pvalue > 0.01


# The interval


@given(
    st.floats(-0.5, 5),
    st.floats(0, 1),
    st.floats(-1, 10),
    st.floats(0.1, 8),
    st.integers(4, 10**6),
)
def test_the_interval_is_in_order(mean, error, on_training, cap, n_rows):
    low, high = interval_of(mean, error, on_training, cap, n_rows)
    assert 0 <= low <= max(mean, 0) < high
    assert high < cap or math.isinf(high)


def test_the_interval_of_many_rows_without_error_is_the_value():
    assert interval_of(0.7, 0.0, 0.7, 5.0, 10**12) == pytest.approx(
        (0.7, 0.7), abs=1e-4
    )


@NOTHING
def test_attributes_of_certainty():
    X, Y, _ = make_normal_pairs(400, mutual_information=1.0, random_state=0)
    found = quick(max_iter=8).fit(X, Y)
    assert found.interval_[0] < found.mutual_information_ < found.interval_[1]
    assert found.p_value_ < 0.002
    with pytest.warns(UserWarning, match="constant"):
        found.fit(X * 0, Y)
    assert (found.interval_, found.p_value_) == ((0.0, 0.0), 1.0)


# Estimates


@pytest.mark.parametrize("rotate", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_wide_normal_tables(rotate):
    X, Y, truth = make_wide_pairs(800, n_columns=100, rotate=rotate, random_state=0)
    found = quick(max_iter=1).fit(X, Y)
    assert abs(found.mutual_information_ - truth) < 0.15


@pytest.mark.slow
@pytest.mark.parametrize("as_columns", [False, True])
@pytest.mark.parametrize("same", [1.0, 0.5])
def test_images_that_share_their_class(same, as_columns):
    images = DIGITS.reshape(-1, 8, 8)
    X, Y, truth = make_class_pairs(images, LABELS, 5000, same=same, random_state=1)
    if as_columns:
        X, Y = X.reshape(5000, -1), Y.reshape(5000, -1)
    found = quick(max_iter="auto").fit(X, Y)
    assert abs(found.mutual_information_ - truth) < 0.1
    assert abs(found.score(X, Y) - truth) < 0.2


@pytest.mark.slow
def test_images_and_their_labels():
    X, y = DIGITS.reshape(-1, 8, 8), LABELS.astype(str)
    found = quick(max_iter="auto").fit(X, y).mutual_information_
    assert math.log(10) - 0.15 < found < math.log(10) + 0.02


@pytest.mark.slow
def test_series_that_share_their_class():
    rng = np.random.default_rng(0)
    classes = rng.integers(4, size=2000)
    times = np.arange(64)
    phases = rng.uniform(0, 6, size=(2000, 1))
    waves = np.sin(times * (0.2 + 0.2 * classes[:, None]) + phases)
    waves = (waves + 0.3 * rng.normal(size=waves.shape))[:, None]
    X, Y, truth = make_class_pairs(waves, classes, 3000, random_state=0)
    found = quick(max_iter="auto").fit(X, Y)
    assert abs(found.mutual_information_ - truth) < 0.15


@NOTHING
@pytest.mark.parametrize(
    "shape",
    [(64,), *(pytest.param(s, marks=pytest.mark.slow) for s in [(8, 8), (1, 40)])],
)
def test_independent_samples(shape):
    X, Y = np.random.default_rng(0).normal(size=(2, 200, *shape))
    found = quick(max_iter=2).fit(X, Y)
    assert found.mutual_information_ < 0.05
    assert found.p_value_ > 0.01


# Representations


class Remembers(TransformerMixin, BaseEstimator):
    """Leading columns, and the first column of all rows that it was fitted to."""

    def fit(self, X, y=None):
        self.seen_ = np.asarray(X)[:, 0]
        return self

    def transform(self, X):
        return np.asarray(X)[:, :5]


@NOTHING
@pytest.mark.parametrize("n", [60, 1500])
def test_encoders_do_not_see_the_rows_that_they_are_judged_by(n):
    X = np.random.default_rng(0).normal(size=(n, 70))
    found = quick(max_iter=1, representation=(Remembers(), "auto")).fit(X, X[:, 0] ** 2)
    folds = draw_folds(np.arange(n), np.random.RandomState(0))
    for k, critic in enumerate(found._critics):
        seen = critic.of_x.first.transformer.seen_
        assert len(seen) > n / 3
        assert not np.isin(seen, X[folds == k, 0]).any()
    assert not hasattr(found.representation[0], "seen_")


class ReadsFiles(TransformerMixin, BaseEstimator):
    """Values behind names, as a reader of files would give."""

    def __init__(self, values=None):
        self.values = values

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.array([self.values[name] for name in X])

    def __sklearn_is_fitted__(self):
        return True


@pytest.mark.slow
@NOTHING
def test_codes_of_a_transformer_are_told_apart_by_value():
    rng = np.random.default_rng(0)
    names = rng.choice(list("abcdefghijkl"), 600)
    codes = ReadsFiles({name: [ord(name) * 7 % 12] for name in names})
    found = quick(max_iter=10, representation=(codes, "auto")).fit(names, names)
    assert found._critics[0].of_x.shape == (12,)
    assert found.mutual_information_ > 1.5


@NOTHING
@pytest.mark.parametrize("is_fitted", [False, True])
@pytest.mark.parametrize("n_components", [3, pytest.param(64, marks=pytest.mark.slow)])
def test_a_transformer_of_the_user(n_components, is_fitted):
    X, Y, _ = make_wide_pairs(300, n_columns=80, rank=2, random_state=0)
    transformer = PCA(n_components)
    if is_fitted:
        transformer = FrozenEstimator(transformer.fit(X))
    found = clone(quick(max_iter=4, representation=transformer)).fit(X, Y)
    assert found.mutual_information_ > 0.3
    again = pickle.loads(pickle.dumps(found))
    assert again.score(X, Y) == found.score(X, Y)
    assert copy.deepcopy(found).score(X, Y) == found.score(X, Y)


def test_samples_that_only_a_fitted_transformer_can_read():
    X, Y, truth = make_normal_pairs(400, n_dims=3, random_state=0)
    names = [f"{i}.png" for i in range(400)]
    values = dict(zip(names, X, strict=True))
    found = quick(max_iter=20, representation=(ReadsFiles(values), "auto"))
    assert abs(found.fit(names, Y).mutual_information_ - truth) < 0.3
    assert found.score(names[:100], Y[:100]) > 0


@NOTHING
def test_features_of_few_columns_are_their_components():
    X, Y, _ = make_normal_pairs(300, n_dims=4, random_state=0)
    found = quick(representation="features").fit(X, Y)
    assert {row["critic"] for row in found.history_} >= {"given", "mixture"}


@NOTHING
def test_columns_leave_images_as_they_are():
    images = DIGITS[:100].reshape(-1, 8, 8)
    found = quick(max_iter=1, representation="columns").fit(images, LABELS[:100])
    assert found._critics[0].of_x.shape == (1, 8, 8)


@NOTHING
def test_extra_rows_are_learnt_from():
    rng = np.random.default_rng(0)
    X, Y, _ = make_wide_pairs(300, n_columns=70, random_state=0)
    more = rng.normal(size=(40, 70))
    found = quick(max_iter=1, representation=(Remembers(), "auto"))
    found.fit(X, Y, X_extra=more, Y_extra=Y[:5])
    for critic in found._critics:
        assert np.isin(more[:, 0], critic.of_x.first.transformer.seen_).all()


@pytest.mark.slow
def test_an_encoder_of_both_is_fitted_once(monkeypatch):
    fitted = []
    original = Encoder.fit

    def fit(self, values, seed):
        fitted.append(len(values))
        return original(self, values, seed)

    monkeypatch.setattr(Encoder, "fit", fit)
    X, Y, _ = make_class_pairs(DIGITS.reshape(-1, 8, 8), LABELS, 80, random_state=0)
    found = quick(max_iter=1).fit(X, Y)
    assert len(fitted) == len(found._critics)
    assert min(fitted) > 80  # rows of both
    assert all(critic.of_x is critic.of_y for critic in found._critics)
    assert "tied mixture" in {row["critic"] for row in found.history_}


# Bad input

X70 = np.random.default_rng(5).normal(size=(60, 70))
SERIES = np.random.default_rng(5).normal(size=(60, 2, 50))


class Fails(Remembers):
    def transform(self, X):
        raise RuntimeError("told to")


class Flat(Remembers):
    def transform(self, X):
        return np.asarray(X)[:, 0]


@NOTHING
@pytest.mark.parametrize(
    ("X", "params", "extra", "message"),
    [
        (X70, {"representation": "pixels"}, {}, "representation='pixels'; it must be"),
        (X70, {"representation": PCA}, {}, "it must be 'auto', 'columns'"),
        (X70, {"representation": ["auto"] * 3}, {}, "or a pair of these"),
        (X70, {"representation": PCA(99)}, {}, "=PCA cannot be fitted on X: n_comp"),
        (X70, {"representation": PCA(99)}, {}, "If it is fitted before"),
        (X70, {"representation": Fails()}, {}, "=Fails cannot transform X: told to"),
        (X70, {"representation": Flat()}, {}, "=Flat cannot transform X: Expected 2D"),
        (
            X70,
            {"representation": PCA(2).fit(X70[:, :9])},
            {},
            "=PCA cannot transform X: X has 70 features",
        ),
        (SERIES, {"representation": "columns"}, {}, "look like series: no critic"),
        (X70, {}, {"X_extra": X70[:, :3]}, "X_extra has 3 features"),
        (SERIES, {}, {"X_extra": X70}, "X_extra has rows of shape"),
        (X70, {}, {"X_extra": X70 * np.nan}, "X_extra contains NaN"),
        (X70, {}, {"Y_extra": X70}, "Y_extra has 70 features"),
    ],
)
def test_bad_input(X, params, extra, message):
    estimator = quick(max_iter=1, **params)
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, np.arange(60.0) ** 2, **extra)
    assert not hasattr(estimator, "mutual_information_")
