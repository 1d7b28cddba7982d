"""DeepInfomaxClassifier: labels of any kind, few of them, and what it leaves alone."""

import gc
import pickle
import weakref

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import config_context
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.utils.estimator_checks import check_estimator

from sk_dim import DeepInfomaxClassifier, DeepInfomaxTransformer
from sk_dim._inputs._sources import StreamedRows
from sk_dim._labels import hold_out
from sk_dim._training._fine_tuning import FineTuner
from sk_dim.encoders import ConvEncoder
from sk_dim.objective import Objective


@pytest.fixture(scope="module")
def learnt(digits):
    """Return a transformer fitted on all digits."""
    return DeepInfomaxTransformer(64, max_iter=5, random_state=0).fit(digits[0])


@pytest.fixture
def few(digits):
    """Return images, labels of which 40 are given, and all labels."""
    images, y = digits
    given = np.where(np.arange(len(y)) < 40, y, -1)
    return images, given, y


def classifier(encoder, **params):
    params = {"n_steps": 8, "batch_size": 16, "random_state": 0} | params
    return DeepInfomaxClassifier(FrozenEstimator(encoder), **params)


@pytest.mark.slow
def test_all_checks_of_scikit_learn_pass_but_the_one_that_takes_minus_one_for_a_class():
    name = "check_classifiers_classes"
    results = check_estimator(
        DeepInfomaxClassifier(
            DeepInfomaxTransformer(32, max_iter=1), n_steps=20, batch_size=16
        ),
        expected_failed_checks={name: "it feeds -1 as a class, which marks no label"},
        on_fail=None,
    )
    status = {result["check_name"]: result["status"] for result in results}
    assert status.pop(name) == "xfail"
    assert set(status.values()) == {"passed"}, status
    assert len(status) > 45


@pytest.mark.slow
def test_few_labels_go_further_than_with_pixels(learnt, digits):
    images, y = digits
    given = np.where(np.arange(len(y)) < 20, y, -1)
    model = classifier(learnt, n_steps=30).fit(images, given)
    pixels = LogisticRegression(max_iter=500)
    pixels.fit(images[:20].reshape(20, -1), y[:20])
    baseline = pixels.score(images[20:].reshape(280, -1), y[20:])
    assert model.score(images[20:], y[20:]) > baseline + 0.05


def test_the_encoder_given_stays_as_it_was(learnt, few):
    images, given, _ = few
    before = learnt.transform(images)
    model = classifier(learnt).fit(images, given)
    assert np.array_equal(learnt.transform(images), before)
    assert not np.allclose(model.encoder_.transform(images), before)
    head = classifier(learnt, fine_tune="head").fit(images, given)
    assert np.array_equal(head.encoder_.transform(images), before)
    assert head.history_ == []


def test_an_unfitted_encoder_is_a_recipe(few):
    images, given, _ = few
    recipe = DeepInfomaxTransformer(n_components=16, max_iter=1)
    model = DeepInfomaxClassifier(recipe, n_steps=2, random_state=0)
    model.fit(images, given)
    assert not hasattr(recipe, "model_")
    assert recipe.random_state is None
    assert model.coef_.shape == (10, 16)
    again = DeepInfomaxClassifier(recipe, n_steps=2, random_state=0)
    assert np.array_equal(again.fit(images, given).coef_, model.coef_)


def test_a_fitted_encoder_need_not_be_frozen(learnt, few):
    images, given, _ = few
    model = classifier(learnt, n_steps=2).set_params(encoder=learnt).fit(images, given)
    frozen = classifier(learnt, n_steps=2).fit(images, given)
    assert np.array_equal(model.coef_, frozen.coef_)


def test_scores_and_probabilities_follow_from_the_head(learnt, few):
    images, given, _ = few
    model = classifier(learnt).fit(images, given)
    scores = model.decision_function(images)
    linear = model.encoder_.transform(images) @ model.coef_.T + model.intercept_
    assert np.allclose(scores, linear)
    expected = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    assert np.allclose(model.predict_proba(images), expected, atol=1e-6)
    assert np.array_equal(model.predict(images), scores.argmax(axis=1))


@pytest.mark.parametrize("fine_tune", ["all", "head"])
def test_two_classes_have_one_score(learnt, digits, fine_tune):
    images, y = digits
    model = classifier(learnt, fine_tune=fine_tune).fit(images, np.where(y < 5, 3, 7))
    scores = model.decision_function(images)
    assert scores.shape == (300,)
    assert model.coef_.shape == (1, 64)
    assert np.allclose(model.predict_proba(images)[:, 1], 1 / (1 + np.exp(-scores)))
    assert np.array_equal(model.predict(images), np.where(scores > 0, 7, 3))


def test_saved_and_loaded_it_predicts_the_same(learnt, few):
    images, given, _ = few
    model = classifier(learnt).fit(images, given)
    loaded = pickle.loads(pickle.dumps(model))
    assert np.array_equal(loaded.predict_proba(images), model.predict_proba(images))


def test_from_scratch_nothing_is_learnt_from_unlabelled_rows(few):
    images, given, _ = few
    recipe = DeepInfomaxTransformer(random_state=0)
    scratch = DeepInfomaxClassifier(
        recipe, pretrain=False, n_steps=4, early_stopping=True, random_state=0
    )
    scratch.set_params(validation_fraction=0.4)
    first = scratch.fit(images, given).predict_proba(images)
    other = np.where((given == -1)[:, None, None], 7 * images[::-1], images)
    assert np.array_equal(scratch.fit(other, given).predict_proba(images), first)
    assert scratch.encoder_.history_ == []


def test_from_scratch_a_fitted_encoder_begins_anew(learnt, few):
    images, given, _ = few
    scratch = classifier(learnt, pretrain=False, fine_tune="head").fit(images, given)
    assert not np.allclose(
        scratch.encoder_.transform(images), learnt.transform(images), atol=0.1
    )


@pytest.mark.slow
@pytest.mark.parametrize("n_labels", [60, 300])
def test_early_stopping_keeps_the_best(digits, learnt, n_labels):
    images, y = digits
    given = np.where(np.arange(300) < n_labels, y, -1)
    model = classifier(
        learnt, n_steps=40, learning_rate=0.1, early_stopping=True, patience=2
    )
    model.fit(images, given)
    scores = [row["valid_score"] for row in model.history_]
    best = int(np.argmax(scores))
    assert len(scores) == min(20, best + 3)
    seed = np.random.RandomState(0).randint(2**31 - 1)
    held_out = hold_out(given, 0.2, seed)
    assert len(held_out) == n_labels // 5
    assert model.score(images[held_out], y[held_out]) == pytest.approx(max(scores))
    plain = classifier(learnt).fit(images, given)
    assert all(np.isnan(row["valid_score"]) for row in plain.history_)


def test_history_of_the_fine_tuning(learnt, few, capsys):
    images, given, _ = few
    model = classifier(learnt, n_steps=40, batch_size=4, verbose=1).fit(images, given)
    assert [row["step"] for row in model.history_] == list(range(2, 41, 2))
    assert model.history_[-1]["supervised"] < model.history_[0]["supervised"]
    assert len(capsys.readouterr().out.splitlines()) == 20
    for row in model.history_:
        total = row["supervised"] + row["unlabelled"] + row["infomax"]
        assert row["loss"] == pytest.approx(total, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("fine_tune", ["all", "head"])
def test_class_weights_favour_their_class(learnt, digits, fine_tune):
    images, y = digits
    is_zero = (y == 0).astype(int)

    def share(weights):
        model = classifier(learnt, fine_tune=fine_tune, n_steps=12, batch_size=8)
        model.set_params(class_weight=weights)
        return model.fit(images, is_zero).predict_proba(images)[:, 1].mean()

    plain = share(None)
    favoured = [share("balanced"), share({0: 1, 1: 1e4})]
    # How far, the regularisation decides, which is chosen anew for a head alone.
    assert share({0: 1, 1: 0.01}) < plain < min(favoured)
    assert share({0: 2, 1: 2}) == pytest.approx(plain, abs=1e-3)
    assert share(None) == plain  # nothing is left of the weights


@pytest.mark.slow
@pytest.mark.parametrize("fine_tune", ["all", "head"])
def test_what_the_encoder_returns_and_how_is_its_own_affair(digits, few, fine_tune):
    images, given, _ = few
    encoder = DeepInfomaxTransformer(16, max_iter=1, random_state=0).fit(images)
    plain = classifier(encoder, fine_tune=fine_tune).fit(images, given)
    encoder.set_params(output_layer="hidden").set_output(transform="pandas")
    model = classifier(encoder, fine_tune=fine_tune).fit(images, given)
    assert np.array_equal(model.predict_proba(images), plain.predict_proba(images))
    assert encoder.output_layer == "hidden"
    with config_context(transform_output="pandas"):
        assert isinstance(model.decision_function(images), np.ndarray)


class Forgetful(ConvEncoder):
    """Draws from torch's global generator in training."""

    def forward(self, batch):
        return super().forward(torch.nn.functional.dropout(batch, 0.5, self.training))


def test_the_same_seed_gives_the_same_model_and_leaves_torchs_generator(few):
    images, given, _ = few
    encoder = DeepInfomaxTransformer(16, encoder=Forgetful, max_iter=1, random_state=0)
    before = torch.get_rng_state()
    first, second = (
        DeepInfomaxClassifier(encoder, n_steps=3, random_state=0).fit(images, given)
        for _ in range(2)
    )
    assert np.array_equal(first.coef_, second.coef_)
    assert torch.equal(torch.get_rng_state(), before)


def test_names_of_columns_are_those_of_the_last_fit(digits):
    X = digits[0].reshape(300, -1)
    y = digits[1]
    model = DeepInfomaxClassifier(
        DeepInfomaxTransformer(16, max_iter=1, input_shape=(8, 8)), n_steps=2
    )
    table = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(64)])
    assert list(model.fit(table, y).feature_names_in_) == list(table.columns)
    assert not hasattr(model.fit(X, y), "feature_names_in_")


def test_in_a_grid_search_the_encoder_is_learnt_once(learnt, few):
    images, given, _ = few
    search = GridSearchCV(
        classifier(learnt, n_steps=2), {"fine_tune": ["all", "head"]}, cv=2
    )
    search.fit(images.reshape(300, -1), given)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.encoder_.history_ == learnt.history_


def test_folds_of_the_labelled_rows_leave_the_others_in_training(learnt, few):
    """The recipe of docs/few_labels.md, with labels that are strings."""
    images, given, _ = few
    names = np.array([-1 if c == -1 else f"class {c}" for c in given], object)
    labelled = np.flatnonzero(given != -1)
    unlabelled = np.flatnonzero(given == -1)
    folds = [
        (np.concatenate([labelled[train], unlabelled]), labelled[test])
        for train, test in StratifiedKFold(2).split(labelled, given[labelled])
    ]
    search = GridSearchCV(
        classifier(learnt, n_steps=2),
        {"infomax_weight": [0.0, 1.0]},
        cv=folds,
        scoring="balanced_accuracy",
        error_score="raise",
    )
    search.fit(images, names)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_probabilities_can_be_calibrated_on_labelled_rows(learnt, digits):
    images, y = digits
    model = classifier(learnt).fit(images[:200], y[:200])
    calibrated = CalibratedClassifierCV(FrozenEstimator(model))
    calibrated.fit(images[200:], y[200:])
    assert calibrated.predict_proba(images).shape == (300, 10)


def test_score_leaves_unlabelled_rows_out(learnt, few):
    images, given, y = few
    model = classifier(learnt).fit(images, given)
    assert model.score(images, given) == model.score(images[:40], y[:40])
    weights = np.arange(300.0)
    assert model.score(images, given, weights) == model.score(
        images[:40], y[:40], weights[:40]
    )
    with pytest.raises(ValueError, match="all 300 rows as unlabelled"):
        model.score(images, np.full(300, -1))


# What is refused


@pytest.mark.parametrize(
    ("y", "match"),
    [
        (np.full(300, -1), "all 300 rows as unlabelled"),
        (np.linspace(0, 1, 300), "continuous"),
        (np.where(np.arange(300) < 9, 1, -1), r"only one class, \[1\]"),
        (np.zeros((300, 2)), r"should be a 1d array"),
        (np.zeros(299) + np.arange(299) % 2, "inconsistent numbers of samples"),
        (None, "requires y"),
    ],
    ids=["none", "numbers", "one", "two axes", "length", "y"],
)
def test_labels_that_are_refused(learnt, digits, y, match):
    with pytest.raises(ValueError, match=match):
        classifier(learnt).fit(digits[0], y)


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        ({"encoder": LogisticRegression()}, TypeError, "no DeepInfomaxTransformer"),
        ({"encoder": "conv"}, TypeError, "encoder='conv' is no"),
        ({"fine_tune": "some"}, ValueError, "'all', 'auto', 'head', 'spread'"),
        ({"n_steps": 0}, ValueError, "n_steps=0; it must be at least 1"),
        ({"max_time": 0}, ValueError, "max_time=0 is out of range"),
        ({"learning_rate": -1.0}, ValueError, "learning_rate=-1.0"),
        ({"rate_decay": 0.0}, ValueError, "rate_decay=0.0"),
        ({"infomax_weight": -1}, ValueError, "infomax_weight=-1"),
        ({"batch_size": 1.5}, TypeError, "batch_size=1.5 must be an integer"),
        (
            {"early_stopping": True, "validation_fraction": 1.0},
            ValueError,
            "validation_fraction=1.0",
        ),
        (
            {"early_stopping": True, "validation_fraction": 0.01},
            ValueError,
            "leaves a class out of one of the parts",
        ),
        ({"class_weight": {"a": 1}}, ValueError, "class"),
        ({"class_weight": {0: 0}}, ValueError, "gives a class no weight"),
        ({"batch_size": 1}, ValueError, "batch_size=1; it must be at least 2"),
        ({"temperature": 0.0}, ValueError, "temperature=0.0 is out of range"),
    ],
)
def test_parameters_that_are_refused(learnt, digits, params, error, match):
    images, y = digits
    with pytest.raises(error, match=match):
        classifier(learnt).set_params(**params).fit(images, y)


def test_an_encoder_of_other_samples_is_refused(learnt):
    model = classifier(learnt)
    with pytest.raises(ValueError, match="7"):
        model.fit(np.zeros((10, 7, 7)), np.arange(10) % 2)


def test_a_frozen_encoder_must_be_fitted(digits):
    with pytest.raises(NotFittedError):
        classifier(DeepInfomaxTransformer()).fit(*digits)


@pytest.mark.parametrize("n_steps", [1, 8])
def test_divergence_is_said(learnt, digits, n_steps):
    images, y = digits
    model = classifier(learnt, learning_rate=1e30, n_steps=n_steps)
    with pytest.raises(ValueError, match="fine-tuning diverged; lower learning_rate"):
        model.fit(images, y)
    assert not hasattr(model, "encoder_")


@pytest.mark.parametrize(
    "params",
    [
        {"patience": 0},
        {"class_weight": {3: np.inf}},
        {"encoder": 3},
        {"encoder": DeepInfomaxTransformer(bound="jds")},
        {"early_stopping": True, "validation_fraction": 0.01},
        {"learning_rate": 1e30},
    ],
    ids=["patience", "weight", "encoder", "bound", "held out", "divergence"],
)
def test_a_fit_that_fails_leaves_the_classifier_as_it_was(learnt, few, params):
    images, given, _ = few
    model = classifier(learnt, n_steps=2)
    again = model.fit(images, given).set_params(**params)
    before = again.predict_proba(images)
    new = DeepInfomaxClassifier(**model.get_params(deep=False))
    for each in (again, new):
        with pytest.raises((ValueError, TypeError)):
            each.fit(images, given)
    np.testing.assert_array_equal(again.predict_proba(images), before)
    assert [name for name in vars(new) if name.endswith("_")] == []
    with pytest.raises(NotFittedError):
        new.predict(images)


@pytest.mark.parametrize(
    ("refuse", "match"),
    [
        (lambda images, y: (images, y[:299]), "inconsistent numbers of samples"),
        (lambda images, y: (images, np.zeros(300)), "only one class"),
        (lambda images, y: (images, np.where(y == 0, "-1", "a")), "the string '-1'"),
        (lambda images, y: (images * np.nan, y), "NaN"),
    ],
    ids=["length", "one class", "strings", "nan"],
)
def test_data_that_are_refused_leave_it_unfitted(learnt, digits, refuse, match):
    model = classifier(learnt)
    with pytest.raises(ValueError, match=match):
        model.fit(*refuse(*digits))
    with pytest.raises(NotFittedError):
        model.score(*digits)


def test_what_can_be_refused_is_refused_before_the_pretraining(digits, monkeypatch):
    monkeypatch.setattr(DeepInfomaxTransformer, "fit", pytest.fail)
    images, y = digits
    for params in ({"patience": 0}, {"class_weight": {3: -1.0}}, {"temperature": 0}):
        with pytest.raises(ValueError, match=next(iter(params))):
            DeepInfomaxClassifier(**params).fit(images, y)
    model = DeepInfomaxClassifier(early_stopping=True, validation_fraction=0.001)
    for labels in (y, y.astype(str)):
        with pytest.raises(ValueError, match="early_stopping=True holds out"):
            model.fit(images, labels)


@pytest.mark.slow
@pytest.mark.parametrize(
    "params", [{}, {"early_stopping": True}, {"fine_tune": "head"}]
)
def test_of_the_training_only_the_model_stays_in_memory(
    learnt, digits, monkeypatch, params
):
    tuners = []
    run = FineTuner.run

    def spy(self, verbose):
        tuners.extend(map(weakref.ref, (self, self.optimizer, self.rows)))
        run(self, verbose)

    monkeypatch.setattr(FineTuner, "run", spy)
    X, y = digits[0].copy(), digits[1].copy()
    data = [weakref.ref(X), weakref.ref(y)]
    gc.collect()
    gc.disable()  # what is in a circle of references would wait for it
    try:
        model = classifier(learnt, n_steps=2, **params).fit(X, y)
        del X, y
        assert [ref() for ref in data] == [None, None]
        assert [ref() for ref in tuners] == [None] * len(tuners)
        net = model.encoder_.net_
        for module in (net.module_, net.criterion_):
            assert all(parameter.grad is None for parameter in module.parameters())
        whole = weakref.ref(model)
        del model
        assert whole() is None
    finally:
        gc.enable()


# Groups


def test_early_stopping_holds_out_whole_groups(digits, monkeypatch):
    X, y = digits[0][:200], digits[1][:200] % 2
    given = np.where(np.arange(200) % 2, y, -1)
    groups = np.arange(200) // 20
    seen = []
    init = FineTuner.__init__

    def spy(self, net, rows, class_ids, recipe, weights, held_out, seed):
        seen.append(held_out)
        assert torch.equal(rows.groups, torch.from_numpy(groups))
        init(self, net, rows, class_ids, recipe, weights, held_out, seed)

    monkeypatch.setattr(FineTuner, "__init__", spy)
    recipe = DeepInfomaxTransformer(8, max_iter=1, random_state=0)
    model = DeepInfomaxClassifier(
        recipe, n_steps=1, early_stopping=True, validation_fraction=0.3, random_state=0
    )
    model.fit(X, given, groups=groups)
    (held_out,) = seen
    rest = np.setdiff1d(np.flatnonzero(given >= 0), held_out)
    assert (given[held_out] >= 0).all()
    assert not set(groups[held_out]) & set(groups[rest])
    assert set(y[held_out]) == set(y[rest]) == {0, 1}
    assert 20 <= len(held_out) <= 40
    with pytest.raises(ValueError, match="of 2 groups none can be held out"):
        model.fit(X, given, groups=given)


def test_fine_tuning_tells_no_samples_of_one_group_apart(digits, monkeypatch):
    X, y = digits[0][:100], digits[1][:100] % 2
    given = np.where(np.arange(100) % 5, -1, y)
    groups = np.arange(100) // 10
    encoder = DeepInfomaxTransformer(8, max_iter=1, random_state=0).fit(X)
    seen = []
    take = StreamedRows.take

    def note(self, rows):
        seen.append(rows)
        return take(self, rows)

    call = Objective.forward

    def check(self, views, generator, codes=None):
        n_labelled = len(seen[-1]) - len(codes)
        np.testing.assert_array_equal(codes, groups[seen[-1][n_labelled:]])
        return call(self, views, generator, codes)

    monkeypatch.setattr(StreamedRows, "take", note)
    monkeypatch.setattr(Objective, "forward", check)
    model = DeepInfomaxClassifier(encoder, n_steps=2, random_state=0)
    assert len(model.fit(X, given, groups=groups).history_) == 2
