"""Probes, label efficiency and utility, against what can be worked out by hand."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits, make_classification
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import pairwise_distances_argmin
from sklearn.model_selection import KFold, LeavePGroupsOut, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.semi_supervised import LabelSpreading

from sk_dim import DeepInfomaxTransformer
from sk_dim.evaluation import (
    _probes,
    effective_rank,
    label_efficiency,
    linear_probe,
    utility,
)

X, y = make_classification(
    400, n_features=6, n_informative=3, n_classes=3, n_clusters_per_class=1,
    class_sep=2.0, random_state=0,
)  # fmt: skip


# Probes


@pytest.mark.parametrize(
    "kind",
    [
        "linear",
        "knn",
        *(pytest.param(k, marks=pytest.mark.slow) for k in ("svm", "mlp")),
    ],
)
def test_every_probe_takes_every_target(kind):
    classes = linear_probe(None, X, y, kind=kind, cv=2)["features"]
    assert classes.shape == (2,)
    assert classes.min() > 0.8
    names = linear_probe(None, X, np.array(["a", "b", "c"])[y], kind=kind, cv=2)
    np.testing.assert_allclose(names["features"], classes)
    labels = np.column_stack([y == 0, y == 1]).astype(int)
    assert linear_probe(None, X, labels, kind=kind, cv=2)["features"].min() > 0.8
    numbers = X[:, :2] @ [[1.0, 2.0], [0.5, -1.0]]
    assert linear_probe(None, X, numbers, kind=kind, cv=2)["features"].min() > 0.5
    one = linear_probe(None, X, numbers[:, 0], kind=kind, cv=2)["features"]
    assert one.min() > 0.5


def test_a_probe_of_given_test_rows_is_a_plain_fit():
    scores = linear_probe(
        PCA(6).fit(X), X[:300], y[:300], X_test=X[300:], y_test=y[300:]
    )
    assert scores["features"].shape == (1,)
    plain = LogisticRegression().fit(X[:300], y[:300]).score(X[300:], y[300:])
    assert abs(scores["features"][0] - plain) < 0.05


def test_all_layers_in_one_call():
    images, digits = load_digits(return_X_y=True)
    images = images[:200].reshape(-1, 8, 8)
    dim = DeepInfomaxTransformer(16, max_iter=1, random_state=0).fit(images)
    scores = linear_probe(dim, images, digits[:200], kind="knn", cv=2)
    assert list(scores) == ["global", "hidden", "conv", "local"]
    by_hand = linear_probe(None, dim.features(images), digits[:200], kind="knn", cv=2)
    for layer, values in scores.items():
        np.testing.assert_array_equal(values, by_hand[layer])


WINDOWS = np.arange(400) % 40  # groups of ten rows
TRAIN = WINDOWS < 30
OF_WINDOW = np.random.default_rng(0).permutation(np.arange(40) % 2)[WINDOWS]
# Rows say which group they are of, and nothing of its class.
NAMED = np.random.default_rng(1).normal(size=(40, 30))[WINDOWS]
NAMED += 0.01 * np.random.default_rng(2).normal(size=NAMED.shape)


def test_between_groups_what_is_known_of_each_group_is_no_help():
    by_rows = linear_probe(None, NAMED, OF_WINDOW, kind="knn")["features"]
    by_groups = linear_probe(None, NAMED, OF_WINDOW, kind="knn", groups=WINDOWS)
    assert by_rows.min() == 1
    assert by_groups["features"].shape == (5,)
    assert by_groups["features"].mean() < 0.65


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("linear", y),
        ("linear", X[:, :2]),
        ("svm", np.column_stack([y == 0, y == 1]).astype(int)),
        ("svm", X[:, 0]),
    ],
    ids=["classes", "two numbers", "labels", "numbers"],
)
def test_folds_of_every_target_keep_groups_whole(kind, target, monkeypatch):
    seen = []

    def spy(probe, Z, y, *, cv, scoring):
        ((train, test),) = cv
        seen.append(test)
        assert not set(WINDOWS[train]) & set(WINDOWS[test])
        own = WINDOWS[train]
        for part, rest in probe[-1].cv:
            assert sorted([*part, *rest]) == list(range(len(train)))
            assert not set(own[part]) & set(own[rest])
        return cross_val_score(probe, Z, y, cv=cv, scoring=scoring)

    monkeypatch.setattr(_probes, "cross_val_score", spy)
    scores = linear_probe(None, X, target, kind=kind, cv=2, groups=WINDOWS)["features"]
    assert scores.shape == (2,)
    assert scores.min() > 0.5
    assert sorted(np.concatenate(seen)) == list(range(400))


def test_groups_of_unlabelled_rows_are_left_out_with_them():
    given = y.copy()
    given[100:200] = -1
    kept = given >= 0
    names = np.array([f"patient {i:02}" for i in WINDOWS])
    whole = linear_probe(None, X, given, kind="knn", groups=names)["features"]
    part = linear_probe(None, X[kept], y[kept], kind="knn", groups=WINDOWS[kept])
    np.testing.assert_array_equal(whole, part["features"])


def test_beside_test_rows_groups_choose_the_regularisation():
    """Noise within groups is learnt by folds that divide them, not by whole ones."""
    found = {}
    for groups in (None, WINDOWS[TRAIN]):
        probe = _probes.fit_probe(NAMED[TRAIN], OF_WINDOW[TRAIN], groups=groups)
        found[groups is None] = probe[-1].best_params_["C"]
    assert found[False] < found[True]
    scores = linear_probe(
        None, NAMED[TRAIN], OF_WINDOW[TRAIN], groups=WINDOWS[TRAIN],
        X_test=NAMED[~TRAIN], y_test=OF_WINDOW[~TRAIN],
    )["features"]  # fmt: skip
    probe = _probes.fit_probe(NAMED[TRAIN], OF_WINDOW[TRAIN], groups=WINDOWS[TRAIN])
    assert scores == [probe.score(NAMED[~TRAIN], OF_WINDOW[~TRAIN])]


def test_splitters_may_keep_groups_whole_themselves():
    with pytest.raises(ValueError, match=r"cv=KFold\(.*divides groups"):
        linear_probe(None, X, y, cv=KFold(3), groups=WINDOWS)
    few = WINDOWS // 20  # two groups
    splitter = LeavePGroupsOut(1)
    scores = linear_probe(None, X, y, kind="knn", cv=splitter, groups=few)["features"]
    by_hand = linear_probe(None, X, y, kind="knn", cv=splitter.split(X, y, few))
    np.testing.assert_array_equal(scores, by_hand["features"])


@pytest.mark.parametrize(
    ("target", "groups", "message"),
    [
        (y, WINDOWS // 10, "cv=5 folds need as many groups, .* are of 4; lower cv"),
        (y, np.where(y == 1, 99, WINDOWS), "class 1 is in one group only"),
        (X[:, 0], WINDOWS // 10, "cv=5 folds need as many groups"),
        (y, WINDOWS[:399], "groups holds 399 labels, but X has 400 samples"),
        (y, [None] * 400, "groups has 400 missing values"),
    ],
)
def test_groups_that_cannot_be_kept_apart(target, groups, message):
    with pytest.raises(ValueError, match=message):
        linear_probe(None, X, target, groups=groups)


def test_noise_has_nothing_to_find():
    noise = np.random.default_rng(0).normal(size=(400, 5))
    assert linear_probe(None, noise, y)["features"].mean() < 0.5


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: linear_probe(None, X, y[:9]), ValueError, "inconsistent numbers"),
        (lambda: linear_probe(None, X, y, kind="tree"), ValueError, "kind='tree'"),
        (lambda: linear_probe(3, X, y), TypeError, "model=int has neither transform"),
        (lambda: linear_probe(None, X, 0 * y), ValueError, "y has one class only"),
        (lambda: linear_probe(None, X, y, X_test=X), ValueError, "belong together"),
        (
            lambda: linear_probe(None, X, np.column_stack([y, y])),
            ValueError,
            "y is multiclass-multioutput",
        ),
    ],
)
def test_probes_of_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


# Rows without a label

HAS_LABEL = np.arange(400) % 3 > 0
NAMES = np.array(["a", "b", "c"])[y]
GIVEN = {
    "integers": np.where(HAS_LABEL, y, -1),
    "small integers": np.where(HAS_LABEL, y, -1).astype(np.int8),
    "floats": np.where(HAS_LABEL, y, -1.0),
    "column": np.where(HAS_LABEL, y, -1)[:, None],
    "objects": np.where(HAS_LABEL, y, -1).astype(object),
    "strings": np.where(HAS_LABEL, NAMES.astype(object), -1),
    "list of strings": np.where(HAS_LABEL, NAMES.astype(object), -1).tolist(),
    "nullable": pd.Series(np.where(HAS_LABEL, y, -1)).astype("Int64"),
    "frame of objects": pd.Series(np.where(HAS_LABEL, NAMES.astype(object), -1)),
}


@pytest.mark.parametrize("form", GIVEN)
def test_probes_leave_unlabelled_rows_out(form):
    expected = linear_probe(None, X[HAS_LABEL], y[HAS_LABEL], kind="knn")
    found = linear_probe(None, X, GIVEN[form], kind="knn")
    np.testing.assert_array_equal(found["features"], expected["features"])
    frame = pd.DataFrame(X, columns=[*"abcdef"])
    plain = FunctionTransformer().fit(frame)
    found = linear_probe(plain, frame, GIVEN[form], kind="knn")
    np.testing.assert_array_equal(found["features"], expected["features"])
    found = linear_probe(None, {"one": X, "two": X}, GIVEN[form], kind="knn")
    np.testing.assert_array_equal(found["two"], expected["features"])


@pytest.mark.parametrize("first", [0, 200])
def test_probes_leave_unlabelled_test_rows_out(first):
    """Also if only the test rows have unlabelled ones among them."""
    given = np.where(np.arange(400) < first, y, GIVEN["integers"])
    expected = linear_probe(
        None, X[:200][given[:200] >= 0], given[:200][given[:200] >= 0],
        X_test=X[200:][HAS_LABEL[200:]], y_test=y[200:][HAS_LABEL[200:]],
    )  # fmt: skip
    found = linear_probe(None, X[:200], given[:200], X_test=X[200:], y_test=given[200:])
    assert found["features"] == expected["features"]


@pytest.mark.parametrize("dtype", [int, float, object, str])
def test_minus_one_beside_one_other_class_is_a_class(dtype):
    signs = np.where(y == 0, -1, 1).astype(dtype)
    halves = {"X_test": X[200:], "y_test": signs[200:]}
    found = linear_probe(None, X[:200], signs[:200], **halves)
    expected = LogisticRegression().fit(X[:200], y[:200] == 0)
    expected = expected.score(X[200:], y[200:] == 0)
    assert found["features"][0] == pytest.approx(expected, abs=0.05)
    found = label_efficiency(
        {"raw": None, "semi": LabelSpreading(kernel="knn")},
        X[:200], signs[:200], [100], semi_supervised=["semi"], n_draws=1, **halves,
    )  # fmt: skip
    assert found.scores.min() > 0.8


def test_minus_one_is_a_number_among_numbers():
    numbers = X[:, 0].round(1)
    assert (numbers == -1).any()
    found, moved = (
        linear_probe(None, X, each)["features"] for each in (numbers, numbers + 9)
    )
    np.testing.assert_allclose(found, moved)
    pairs = np.column_stack([numbers, numbers])
    assert linear_probe(None, X, pairs)["features"].min() > 0.9


@pytest.mark.parametrize(
    "missing",
    [
        np.where(HAS_LABEL, y, np.nan),
        np.where(HAS_LABEL, y.astype(object), None),
        np.where(HAS_LABEL, NAMES.astype(object), None).tolist(),
        pd.Series(y).astype("Int64").where(HAS_LABEL),
        pd.Series(y == 0).astype("boolean").where(HAS_LABEL),
        pd.Series(NAMES).where(HAS_LABEL),
        pd.Series(NAMES).astype("category").where(HAS_LABEL),
        np.where(HAS_LABEL, X[:, 0], np.nan),
        np.ma.array(y, mask=~HAS_LABEL),
    ],
    ids=[
        "nan", "none", "none among names", "nullable integers", "nullable bools",
        "strings", "categories", "numbers", "masked",
    ],
)  # fmt: skip
def test_rows_of_missing_targets_are_left_out(missing):
    given = np.asarray(missing, dtype=object)[HAS_LABEL]
    labels = np.array(given.tolist())
    expected = linear_probe(None, X[HAS_LABEL], labels, kind="knn", cv=2)
    found = linear_probe(None, X, missing, kind="knn", cv=2)
    np.testing.assert_array_equal(found["features"], expected["features"])


def test_rows_of_which_some_targets_are_missing_are_refused():
    some = np.where(HAS_LABEL[:, None], X[:, :2], np.nan)
    with pytest.raises(ValueError, match=r"^y has 134 rows of missing values"):
        linear_probe(None, X, some)
    with pytest.raises(ValueError, match=r"^y_test has 134 rows of missing values"):
        linear_probe(None, X, X[:, :2], X_test=X, y_test=some)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (np.where(HAS_LABEL, NAMES, "-1"), "y holds the string '-1'"),
        (np.where(HAS_LABEL, NAMES.astype(object), "-1"), "y holds the string '-1'"),
        (np.where(HAS_LABEL, NAMES.astype(object), 3), "of the types int, str"),
        (np.full(400, -1), "one class only"),
        (np.full(400, -1, dtype=object), "y marks all 400 rows as unlabelled"),
    ],
    ids=["strings", "objects", "mixed", "no label", "no label among objects"],
)
def test_targets_that_say_nothing_are_refused(target, message):
    with pytest.raises(ValueError, match=message):
        linear_probe(None, X, target)
    with pytest.raises(ValueError, match=message):
        label_efficiency({"raw": None}, X, target, [9], X_test=X, y_test=y)


# Effective rank


@given(rank=st.integers(1, 8), scale=st.floats(1e-3, 1e3))
def test_effective_rank_counts_equal_directions(rank, scale):
    q, _ = np.linalg.qr(np.random.default_rng(rank).normal(size=(50, 10)))
    Z = q[:, :rank] - q[:, :rank].mean(axis=0)
    Z = np.linalg.qr(Z)[0] @ np.eye(rank, 12)
    assert effective_rank(scale * Z + 3) == pytest.approx(rank)


def test_effective_rank_of_constants_is_none():
    assert effective_rank(np.ones((5, 3))) == 0


# Utility


def test_utility_by_hand():
    scratch = [0.5, 0.6, 0.8]
    found = utility([10, 20, 40], scratch, [10, 20, 40], [0.55, 0.7, 0.5])
    # 0.55 is reached at 15 labels, 0.7 at 30, 0.5 at 10.
    np.testing.assert_allclose(found.values.ravel(), [0.5, 0.5, -0.75])
    assert not found.is_at_least.any()
    assert not found.is_at_most.any()


def test_what_is_out_of_reach_is_censored_and_said_to_be():
    found = utility([10, 20, 40], [0.5, 0.6, 0.8], [10, 20], [[0.9, 0.7], [0.4, 0.6]])
    np.testing.assert_allclose(found.values, [[3, 2], [-0.5, 0]])
    assert found.is_at_least.tolist() == [[True, False], [False, False]]
    assert found.is_at_most.tolist() == [[False, False], [True, False]]
    first, second = str(found).splitlines()
    assert "at least 2.50" in first
    assert "at most -0.25, mean of 2 draws, 1 of them censored" in second


def test_the_spread_over_draws_is_said():
    found = utility([10, 20, 40], [0.5, 0.6, 0.8], [10], [[0.55, 0.7]])
    np.testing.assert_allclose(found.values, [[0.5, 2.0]])
    assert str(found) == "  10 labels: utility 1.25 ± 0.75, mean of 2 draws"
    found = utility([10, 20], [0.5, 0.6], [10], [0.55])
    assert str(found) == "  10 labels: utility 0.50"
    found = utility([10, 20], [0.5, 0.6], [10], [0.7])
    assert str(found) == "  10 labels: utility at least 1.00, censored"


def test_a_curve_that_falls_is_made_monotone_and_a_flat_one_counts_fewest_labels():
    # Isotonic regression makes 0.7, 0.5 into 0.6, 0.6.
    found = utility([10, 20, 40, 80], [0.4, 0.7, 0.5, 0.9], [20], [[0.6, 0.5]])
    np.testing.assert_allclose(found.values, [[0.0, 15 / 20 - 1]])


@given(
    st.lists(st.floats(0, 1), min_size=3, max_size=3),
    st.permutations([10, 20, 40]),
)
def test_a_model_is_worth_itself_and_order_does_not_matter(scores, order):
    scores = dict(zip([10, 20, 40], sorted(scores), strict=True))
    found = utility(order, [scores[n] for n in order], [10, 20, 40], [*scores.values()])
    # On a flat piece fewer labels would do.
    assert (found.values <= 1e-9).all()
    if len(set(scores.values())) == 3:
        np.testing.assert_allclose(found.values, 0, atol=1e-9)


def exact_labels_to_reach(budgets, scores, score):
    """Fewest labels at which the monotone curve has a score, by exact arithmetic."""
    pairs = sorted(zip(budgets, scores, strict=True))
    n = [Fraction(each) for each, _ in pairs]
    y = [Fraction(each) for _, each in pairs]
    m = len(n)
    # Isotonic regression, by its max-min formula.
    curve = [
        max(
            min(sum(y[j : k + 1]) / (k + 1 - j) for k in range(i, m))
            for j in range(i + 1)
        )
        for i in range(m)
    ]
    if score <= curve[0]:
        return n[0], score < curve[0], False
    for (n_left, left), (n_right, right) in pairwise(zip(n, curve, strict=True)):
        if right >= score:
            share = (score - left) / (right - left)
            return n_left + share * (n_right - n_left), False, False
    return n[-1], False, True


percents = st.integers(0, 12)  # few values, so that there are many plateaus


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.integers(1, 1000), percents), min_size=1, max_size=8,
             unique_by=lambda pair: pair[0]),
    st.lists(percents, min_size=1, max_size=5),
)  # fmt: skip
@settings(max_examples=300)
def test_utility_is_that_of_an_exact_search_along_the_curve(curve, scores):
    budgets, scratch = zip(*curve, strict=True)
    found = utility(budgets, np.divide(scratch, 100), [7], [np.divide(scores, 100)])
    for j, score in enumerate(scores):
        n, is_at_most, is_at_least = exact_labels_to_reach(budgets, scratch, score)
        assert found.values[0, j] == pytest.approx(float(n / 7 - 1), abs=1e-9)
        assert found.is_at_most[0, j] == is_at_most
        assert found.is_at_least[0, j] == is_at_least


@pytest.mark.parametrize(
    ("scratch", "score", "labels"),
    [
        ([0.5, 0.5, 0.8, 0.9], 0.65, 30),  # on from the end of a first plateau
        ([0.5, 0.5, 0.8, 0.9], 0.5, 10),  # its height is reached at its start
        ([0.5, 0.5, 0.8, 0.9], 0.4, 10),
        ([0.4, 0.6, 0.6, 0.8], 0.6, 20),
        ([0.4, 0.6, 0.6, 0.8], 0.7, 60),
        ([0.4, 0.7, 0.5, 0.8], 0.7, 60),  # a fall that is pooled to 0.6, 0.6
        ([0.4, 0.6, 0.8, 0.8], 0.8, 40),
        ([0.4, 0.6, 0.8, 0.8], 0.9, 80),
        ([0.5, 0.5, 0.7, 0.7], 0.6, 30),  # between two plateaus
        ([0.5, 0.5, 0.5, 0.5], 0.5, 10),
        ([0.1, 0.1, 0.1, 0.2], 0.1, 10),  # the mean of three times 0.1 is above 0.1
    ],
)
def test_utility_along_plateaus(scratch, score, labels):
    found = utility([10, 20, 40, 80], scratch, [10], [score])
    assert found.values[0, 0] == pytest.approx(labels / 10 - 1)
    assert found.is_at_most[0, 0] == (score < scratch[0])
    assert found.is_at_least[0, 0] == (score > max(scratch))


def test_equal_means_of_draws_are_a_plateau():
    draws = [[0.1, 0.1, 0.1], [0.1, 0.2, 0.0], [0.4, 0.4, 0.4]]
    for score in (0.1, np.mean([0.1] * 3), np.mean(draws[1])):
        assert utility([10, 20, 40], draws, [10], [score]).values == 0


def test_utility_of_bad_input():
    with pytest.raises(ValueError, match=r"scratch_budgets of shape \(2,\)"):
        utility([1, 2], [0.5], [1], [0.5])
    with pytest.raises(ValueError, match=r"budgets=\[3, 3\]; they must be positive"):
        utility([1, 2], [0.5, 0.6], [3, 3], [0.5, 0.6])
    with pytest.raises(ValueError, match=r"^scores holds NaN"):
        utility([1, 2], [0.5, 0.6], [3], [np.nan])
    with pytest.raises(ValueError, match=r"^scratch_scores holds NaN"):
        utility([1, 2], [0.5, np.inf], [3], [0.5])


# Label efficiency


def compare(models, budgets=(9, 60), **params):
    return label_efficiency(
        models, X[:300], y[:300], budgets, X_test=X[300:], y_test=y[300:],
        **({"n_draws": 3, "random_state": 0} | params),
    )  # fmt: skip


@pytest.mark.slow
def test_models_are_compared_on_the_same_draws():
    same = LogisticRegression()
    found = compare({"a": same, "b": same, "raw": None, "PCA": PCA(2).fit(X)})
    assert found.models == ("a", "b", "raw", "PCA")
    assert found.scores.shape == (4, 2, 3)
    np.testing.assert_array_equal(found.scores[0], found.scores[1])
    assert (found.scores[:3, 1] > 0.8).all()
    assert not hasattr(same, "coef_")
    by_hand = utility([9, 60], found.scores[0], [9, 60], found.scores[3])
    np.testing.assert_array_equal(
        found.utility("PCA", scratch="a").values, by_hand.values
    )
    with pytest.raises(ValueError, match="'c' is none of the models a, b, raw, PCA"):
        found.utility("c", scratch="a")
    again = compare({"a": same, "raw": None}, n_jobs=2)
    np.testing.assert_array_equal(again.scores[0], found.scores[0])
    assert str(found).splitlines()[1].startswith("a  ")


DRAWN = []


class Recorder(LogisticRegression):
    def fit(self, X, y):
        DRAWN.append((np.asarray(X), np.asarray(y)))
        return super().fit(X, y)


def test_draws_are_nested_and_stratified():
    DRAWN.clear()
    compare({"recorder": Recorder()}, budgets=(3, 30), n_draws=1)
    (few_X, few_y), (many_X, many_y) = DRAWN
    assert sorted(few_y) == [0, 1, 2]
    np.testing.assert_array_equal(many_X[:3], few_X)
    shares = np.bincount(many_y) / 30
    np.testing.assert_allclose(shares, np.bincount(y[:300]) / 300, atol=0.05)


def test_groups_come_whole():
    DRAWN.clear()
    groups = np.arange(300) // 30
    frame = pd.DataFrame(X, columns=[*"abcdef"]).assign(
        group=np.append(groups, [-1] * 100)
    )
    label_efficiency(
        {"recorder": Recorder()}, frame[:300], y[:300], [60],
        X_test=frame[300:], y_test=y[300:], n_draws=2, groups=groups,
    )  # fmt: skip
    for drawn, _ in DRAWN:
        assert len(np.unique(drawn[:, -1])) == 2


def test_with_groups_a_probe_is_that_of_the_drawn_groups():
    models = {"raw": None}
    given = {
        "X_test": NAMED[~TRAIN],
        "y_test": OF_WINDOW[~TRAIN],
        "random_state": 0,
        "n_draws": 1,
    }
    found, tuples = (
        label_efficiency(
            models, NAMED[TRAIN], OF_WINDOW[TRAIN], [150], groups=groups, **given
        ).scores
        for groups in (WINDOWS[TRAIN], [("ward", int(i)) for i in WINDOWS[TRAIN]])
    )
    np.testing.assert_array_equal(found, tuples)
    DRAWN.clear()
    rows = np.column_stack([NAMED[TRAIN], WINDOWS[TRAIN] / 100])
    test = np.column_stack([NAMED[~TRAIN], WINDOWS[~TRAIN] / 100])
    label_efficiency(
        {"recorder": Recorder()}, rows, OF_WINDOW[TRAIN], [150], groups=WINDOWS[TRAIN],
        X_test=test, y_test=OF_WINDOW[~TRAIN], n_draws=1, random_state=0,
    )  # fmt: skip
    for (drawn, labels), score in zip(DRAWN, found[0, 0], strict=True):
        of_group = (100 * drawn[:, -1]).round().astype(int)
        probe = _probes.fit_probe(drawn[:, :-1], labels, groups=of_group)
        assert probe.score(NAMED[~TRAIN], OF_WINDOW[~TRAIN]) == score


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"budgets": [301]}, "a budget of 301 labels; it must be .* at most 300"),
        ({"budgets": [2]}, "a budget of 2 labels; it must be at least 3, one for each"),
        ({"budgets": [0]}, "a budget=0; it must be at least 1"),
        ({"n_draws": 0}, "n_draws=0"),
        ({"groups": y[:300], "budgets": [10]}, "leave out the classes"),
        ({"groups": y[:30]}, "inconsistent numbers of samples"),
    ],
)
def test_label_efficiency_of_bad_input(params, message):
    with pytest.raises(ValueError, match=message):
        compare({"raw": None}, **params)


def test_label_efficiency_of_numbers_is_refused():
    with pytest.raises(ValueError, match="y holds no classes"):
        label_efficiency({"raw": None}, X, X[:, 0], [10], X_test=X, y_test=X[:, 0])


class Spy(ClassifierMixin, BaseEstimator):
    """Knows the classes of images, if it got as many labels and rows as it wants."""

    def __init__(self, n_rows, n_labels):
        self.n_rows, self.n_labels = n_rows, n_labels

    def fit(self, X, y):
        has_label = np.array([each != -1 for each in y])
        assert len(X) == self.n_rows
        assert has_label.sum() == self.n_labels
        self.pixels_ = X.reshape(len(X), -1)[has_label]
        self.y_ = y[has_label]
        return self

    def predict(self, X):
        near = pairwise_distances_argmin(X.reshape(len(X), -1), self.pixels_)
        return self.y_[near]


def _flat(images):
    return np.reshape(images, (-1, 64))


@pytest.mark.parametrize("dtype", [int, np.uint8, float, bool, str])
def test_semi_supervised_models_get_all_rows(digits, dtype):
    images, labels = digits
    labels = (labels < 5).astype(dtype) if dtype is bool else labels.astype(dtype)
    models = {
        "spy": Spy(300, 50),
        "the same from labelled rows": Spy(50, 50),
        "spreading": make_pipeline(
            FunctionTransformer(_flat),
            LabelSpreading(kernel="knn", n_neighbors=7),
        ),
    }
    found = label_efficiency(
        models,
        images,
        labels,
        [50],
        X_test=images,
        y_test=labels,
        n_draws=2,
        semi_supervised=["spy", "spreading"],
        random_state=0,
    )
    spy, same, spreading = found.scores[:, 0]
    assert spy.tolist() == same.tolist()
    assert min(*spy, *spreading) > 0.7


GROUPS = np.arange(400) // 40


@pytest.mark.slow
@pytest.mark.parametrize("form", GIVEN)
def test_labels_are_drawn_from_labelled_rows(form):
    """And the semi-supervised model gets all rows, those without a label too."""
    target = NAMES if form in ("strings", "list of strings", "frame of objects") else y
    kept = GROUPS[HAS_LABEL]
    plain, mixed = (
        label_efficiency(
            {"PCA": PCA(2).fit(X), "recorder": Recorder(), "spy": spy},
            rows[0], rows[1], [60],
            X_test=X, y_test=rows[2], n_draws=2, random_state=0,
            semi_supervised=["spy"], groups=rows[3],
        )
        for spy, rows in [
            (Spy(sum(HAS_LABEL), 60), [*(a[HAS_LABEL] for a in (X, y)), y, kept]),
            (Spy(400, 60), [X, GIVEN[form], target, GROUPS]),
        ]
    )  # fmt: skip
    np.testing.assert_array_equal(mixed.scores, plain.scores)


@pytest.mark.parametrize(
    ("names", "error", "match"),
    [
        (["pixels", "ours"], ValueError, "'ours', which is none of the classifiers"),
        (["raw"], ValueError, "'raw', which is none of the classifiers pixels"),
        ("pixels", TypeError, "is one string"),
    ],
)
def test_semi_supervised_names_that_are_refused(digits, names, error, match):
    images, labels = digits
    with pytest.raises(error, match=match):
        label_efficiency(
            {"pixels": Spy(300, 20), "raw": None},
            images,
            labels,
            [20],
            X_test=images,
            y_test=labels,
            semi_supervised=names,
        )
