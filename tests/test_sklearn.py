"""The estimator among scikit-learn's: pipelines, searches, callbacks."""

import functools

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.callback import ProgressBar
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import sk_dim._inputs._shards
from sk_dim import DeepInfomaxClassifier, DeepInfomaxTransformer

QUICK = {"max_iter": 2, "n_components": 64, "random_state": 0}


@pytest.fixture(name="rows")
def _rows(digits):
    return digits[0].reshape(len(digits[0]), -1), digits[1]


def quick(**params):
    return DeepInfomaxTransformer(**(QUICK | params))


def test_pipeline(rows):
    X, y = rows
    model = make_pipeline(
        quick(input_shape=(8, 8)), StandardScaler(), LogisticRegression()
    ).fit(X, y)
    assert model.score(X, y) > 0.7


def test_a_frozen_encoder_is_learnt_once(rows, monkeypatch):
    X, y = rows
    fits = []
    original = DeepInfomaxTransformer.fit

    @functools.wraps(original)
    def counted(self, *args, **kwargs):
        fits.append(1)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(DeepInfomaxTransformer, "fit", counted)
    dim = quick(input_shape=(8, 8)).fit(X)
    expected = dim.transform(X)
    model = make_pipeline(FrozenEstimator(dim), LogisticRegression(max_iter=500))
    cross_val_score(model, X, y, cv=3)
    search = GridSearchCV(model, {"logisticregression__C": [0.1, 1.0]}, cv=3).fit(X, y)
    frozen = search.best_estimator_[0]
    assert len(fits) == 1
    np.testing.assert_array_equal(frozen.transform(X), expected)


@pytest.mark.slow
def test_columns_and_unions(rows):
    X, y = rows
    frame = pd.DataFrame(X).rename(columns="p{}".format)
    frame["kind"] = y
    columns = ColumnTransformer(
        [("dim", quick(input_shape=(8, 8)), list(frame.columns[:64]))],
        remainder="passthrough",
    )
    Z = columns.fit_transform(frame)
    assert Z.shape == (len(X), 65)
    assert len(columns.get_feature_names_out()) == 65
    union = FeatureUnion(
        [("dim", quick(input_shape=(8, 8))), ("raw", StandardScaler())]
    )
    assert union.fit_transform(X).shape == (len(X), 64 + 64)


@pytest.mark.slow
def test_grid_search_in_processes(rows):
    X, y = rows
    pipeline = Pipeline(
        [
            ("dim", quick(max_iter=1, input_shape=(8, 8))),
            ("clf", LogisticRegression(max_iter=500)),
        ]
    )
    grid = {"dim__n_components": [8, 32], "dim__bound": ["infonce", "jsd"]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2, error_score="raise").fit(X, y)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_estimator_["dim"].transform(X).shape[1] in (8, 32)
    assert search.score(X, y) > 0.5


def test_callbacks_of_scikit_learn_see_every_epoch(digits):
    seen = []

    class Spy:
        """Notes the begin and end of each task."""

        def setup(self, estimator, context):
            seen.append("setup")

        def on_fit_task_begin(self, estimator, context, *, X=None):
            seen.append(f"{context.task_name} {context.max_subtasks}")

        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            if context.task_name == "epoch":
                seen.append(fitted_estimator.transform(digits[0][:2]).shape[0])

        def teardown(self, estimator, context):
            seen.append("teardown")

    quick(max_iter=3).set_callbacks(Spy()).fit(digits[0])
    assert seen == ["setup", "fit 3", *["epoch 0", 2] * 3, "teardown"]


def test_a_callback_of_scikit_learn_can_end_the_fit(digits):
    class Stop:
        """Ends the fit after the second epoch."""

        def setup(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context):
            return context.task_name == "epoch" and context.task_id == 1

        def teardown(self, estimator, context):
            pass

    assert quick(max_iter=9).set_callbacks(Stop()).fit(digits[0]).n_iter_ == 2


def test_progress_bar_through_search_and_pipeline(rows, capsys):
    X, y = rows
    pipeline = Pipeline(
        [("dim", quick(input_shape=(8, 8))), ("clf", LogisticRegression(max_iter=500))]
    )
    search = GridSearchCV(pipeline, {"clf__C": [0.1]}, cv=2)
    search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X, y)
    assert "DeepInfomaxTransformer" in capsys.readouterr().out


# Groups


@pytest.fixture(name="fitted_with")
def _fitted_with(monkeypatch):
    """Groups that training got, one array for each fit."""
    seen = []
    original = sk_dim._inputs._shards.read_groups

    def spy(groups, n_samples):
        seen.append(np.asarray(groups))
        return original(groups, n_samples)

    monkeypatch.setattr(sk_dim._inputs._shards, "read_groups", spy)
    return seen


def grouped_pipeline(**params):
    dim = quick(max_iter=1, n_components=8, input_shape=(8, 8), **params)
    return make_pipeline(dim, LogisticRegression(max_iter=500))


def test_groups_in_a_pipeline(rows, fitted_with):
    X, y = rows
    groups = np.arange(len(X)) // 10
    grouped_pipeline().fit(X, y, deepinfomaxtransformer__groups=groups)
    with sklearn.config_context(enable_metadata_routing=True):
        model = grouped_pipeline()
        model[0].set_fit_request(groups=True)
        model.fit(X, y, groups=groups)
    assert len(fitted_with) == 2
    for each in fitted_with:
        np.testing.assert_array_equal(each, groups)


def test_groups_are_split_between_folds_and_training(rows, fitted_with):
    X, y = rows
    groups = np.arange(len(X)) // 10
    folds = [groups[train] for train, _ in GroupKFold(2).split(X, y, groups)]
    with sklearn.config_context(enable_metadata_routing=True):
        model = grouped_pipeline()
        model[0].set_fit_request(groups=True)
        found = cross_validate(model, X, y, cv=GroupKFold(2), params={"groups": groups})
        assert np.isfinite(found["test_score"]).all()
        grid = {"logisticregression__C": [0.1]}
        search = GridSearchCV(model, grid, cv=GroupKFold(2), error_score="raise")
        search.fit(X, y, groups=groups)
    for each, expected in zip(fitted_with, [*folds, *folds, groups], strict=True):
        np.testing.assert_array_equal(each, expected)


def test_groups_of_the_classifier_reach_its_pretraining(digits, fitted_with):
    X, y = digits[0][:100], digits[1][:100]
    groups = np.arange(100) // 10
    model = DeepInfomaxClassifier(quick(max_iter=1, n_components=8), fine_tune="head")
    with sklearn.config_context(enable_metadata_routing=True):
        model.set_fit_request(groups=True)
        make_pipeline(model).fit(X, y, groups=groups)
    assert len(fitted_with) == 1
    np.testing.assert_array_equal(fitted_with[0], groups)
