"""DeepInfomaxClassifier: labels of any kind, few of them, and what it leaves alone."""

import copy
import dataclasses
import pickle

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
from sk_dim._fine_tuning import (
    RETENTION,
    RETENTION_OF_MEAN,
    FineTuner,
    Head,
    Recipe,
    Targets,
    _endless,
    _erase,
)
from sk_dim._labels import hold_out
from sk_dim._model import rows_like
from sk_dim.encoders import ConvEncoder

RECIPE = Recipe(
    n_steps=2,
    max_time=None,
    batch_size=8,
    learning_rate=1e-3,
    rate_decay=0.5,
    infomax_weight=1.0,
    unlabelled_weight=1.0,
    temperature=0.5,
    n_looks_no_change=5,
)


@pytest.fixture(scope="module")
def learnt(digits):
    """Return a transformer fitted on all digits."""
    return DeepInfomaxTransformer(max_iter=6, random_state=0).fit(digits[0])


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


def test_few_labels_go_further_than_with_pixels(learnt, digits):
    images, y = digits
    given = np.where(np.arange(len(y)) < 20, y, -1)
    model = classifier(learnt, n_steps=60).fit(images, given)
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
    assert not hasattr(recipe, "net_")
    assert recipe.random_state is None
    assert model.coef_.shape == (10, 16)
    again = DeepInfomaxClassifier(recipe, n_steps=2, random_state=0)
    assert np.array_equal(again.fit(images, given).coef_, model.coef_)


def test_a_fitted_encoder_need_not_be_frozen(learnt, few):
    images, given, _ = few
    model = classifier(learnt, n_steps=2).set_params(encoder=learnt).fit(images, given)
    frozen = classifier(learnt, n_steps=2).fit(images, given)
    assert np.array_equal(model.coef_, frozen.coef_)


@pytest.mark.parametrize(
    ("make", "classes"),
    [
        (lambda y: y, np.arange(10)),
        (lambda y: y.astype(float), np.arange(10.0)),
        (lambda y: y.astype(np.int8).astype(object), np.arange(10)),
        (lambda y: y[:, None].ravel().tolist(), np.arange(10)),
        (
            lambda y: np.array([-1 if c == -1 else f"class {c}" for c in y], object),
            np.array([f"class {c}" for c in range(10)], object),
        ),
        (
            lambda y: [-1 if c == -1 else f"class {c}" for c in y],
            np.array([f"class {c}" for c in range(10)], object),
        ),
    ],
    ids=["integers", "floats", "objects", "list", "strings", "list of strings"],
)
def test_minus_one_marks_rows_without_a_label(learnt, few, make, classes):
    images, given, _ = few
    model = classifier(learnt).fit(images, make(given))
    assert np.array_equal(model.classes_, classes)
    assert set(model.predict(images)) <= set(classes)
    assert model.score(images, make(given)) == model.score(
        images[:40], make(given[:40])
    )
    same = classifier(learnt).fit(images, given)
    assert np.array_equal(model.coef_, same.coef_)


@pytest.mark.parametrize("dtype", [str, bool])
def test_strings_and_booleans_are_all_labels(learnt, digits, dtype):
    images, y = digits
    labels = (y < 5).astype(dtype) if dtype is bool else (y % 2 * 2 - 1).astype(str)
    model = classifier(learnt).fit(images, labels)
    assert np.array_equal(model.classes_, np.unique(labels))  # "-1" among them
    assert model.predict(images).dtype == labels.dtype


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
    assert model.coef_.shape == (1, 1024)
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


@pytest.mark.parametrize("n_labels", [60, 300])
def test_early_stopping_keeps_the_best(digits, learnt, n_labels):
    images, y = digits
    given = np.where(np.arange(300) < n_labels, y, -1)
    model = classifier(
        learnt, n_steps=40, learning_rate=0.1, early_stopping=True, n_looks_no_change=2
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
    model = classifier(learnt, n_steps=40, verbose=1).fit(images, given)
    assert [row["step"] for row in model.history_] == list(range(2, 41, 2))
    assert model.history_[-1]["supervised"] < model.history_[0]["supervised"]
    assert len(capsys.readouterr().out.splitlines()) == 20
    for row in model.history_:
        total = row["supervised"] + row["unlabelled"] + row["infomax"]
        assert row["loss"] == pytest.approx(total, rel=1e-4)


def test_seconds_end_the_fine_tuning(learnt, few):
    images, given, _ = few
    model = classifier(learnt, max_time=0.01).fit(images, given)
    assert len(model.history_) == 1


@pytest.mark.parametrize("fine_tune", ["all", "head"])
def test_class_weights_favour_their_class(learnt, digits, fine_tune):
    images, y = digits
    is_zero = (y == 0).astype(int)

    def share(weights):
        model = classifier(learnt, fine_tune=fine_tune, n_steps=20)
        model.set_params(class_weight=weights)
        return model.fit(images, is_zero).predict_proba(images)[:, 1].mean()

    plain = share(None)
    assert share({0: 1, 1: 0.01}) < plain < share("balanced") < share({0: 1, 1: 1e4})
    assert share({0: 2, 1: 2}) == pytest.approx(plain, abs=1e-3)
    assert share(None) == plain  # nothing is left of the weights


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


# The parts


def tuner(encoder, images, codes, recipe=RECIPE, **params):
    """Build a fine-tuner on a copy of the encoder's net."""
    params = {"class_weights": None, "held_out": None, "seed": 0} | params
    own = copy.deepcopy(encoder)
    rows = rows_like(own, images, own.model_.fmt)
    return FineTuner(own.net_, rows, codes, recipe, **params)


def test_the_head_is_a_linear_map():
    head = Head(5, torch.tensor([0.5, -0.5, 0.0]))
    torch.nn.init.normal_(
        head.linear.weight, generator=torch.Generator().manual_seed(0)
    )
    features = torch.randn(50, 5, generator=torch.Generator().manual_seed(1)) * 3 + 1
    head.standardise(features)
    coef, intercept = head.linear_map()
    expected = head.eval()(features).detach().numpy()
    assert np.allclose(features.numpy() @ coef.T + intercept, expected, atol=1e-5)
    standardised = head.norm(features)
    assert torch.allclose(standardised.mean(dim=0), torch.zeros(5), atol=1e-5)
    assert torch.allclose(
        standardised.std(dim=0, correction=0), torch.ones(5), atol=1e-4
    )


def test_targets_against_a_loop():
    rng = np.random.default_rng(0)
    frequencies = np.array([0.2, 0.5, 0.3])
    targets = Targets(4, torch.tensor(frequencies), temperature=0.5)
    sums, mean = np.zeros((4, 3)), frequencies
    for _ in range(5):
        rows = rng.choice(4, size=3, replace=False)
        said = rng.dirichlet(np.ones(3), size=3)
        averages = []
        for row, probabilities in zip(rows, said, strict=True):
            sums[row] = RETENTION * sums[row] + (1 - RETENTION) * probabilities
            averages.append(sums[row] / sums[row].sum())
        mean = RETENTION_OF_MEAN * mean + (1 - RETENTION_OF_MEAN) * np.mean(averages, 0)
        expected = (np.array(averages) * frequencies / mean) ** 2
        expected /= expected.sum(axis=1, keepdims=True)
        found = targets.update(torch.from_numpy(rows), torch.from_numpy(said))
        assert np.allclose(found, expected)


@pytest.mark.parametrize("temperature", [1e-6, 0.5, 1.0, 100.0])
def test_targets_are_probabilities_whatever_is_said(temperature):
    targets = Targets(6, torch.tensor([0.999, 0.001]), temperature)
    rows = torch.arange(6)
    for _ in range(2000):  # until the mean of the other class is zero in float32
        found = targets.update(rows, torch.tensor([[1.0, 0.0]]).repeat(6, 1))
    assert torch.equal(found, torch.tensor([[1.0, 0.0]]).repeat(6, 1))
    mixed = torch.tensor([[0.3, 0.7]]).repeat(6, 1)
    found = targets.update(rows, mixed)
    assert torch.isfinite(found).all()
    assert torch.allclose(found.sum(dim=1), torch.ones(6))


def test_on_average_targets_have_the_frequencies_of_the_classes():
    frequencies = torch.tensor([0.5, 0.3, 0.2])
    targets = Targets(2000, frequencies, temperature=1.0)
    generator = torch.Generator().manual_seed(0)
    # Near to one another, where dividing by the mean is exact to first order.
    noise = 0.1 * torch.randn(2000, 3, generator=generator)
    said = (noise + torch.arange(3)).softmax(dim=1)
    for _ in range(200):
        found = targets.update(torch.arange(2000), said)
    assert torch.allclose(found.mean(dim=0), frequencies, atol=0.01)


def test_frequencies_are_those_of_the_labels_and_their_weights(learnt, digits):
    images, _ = digits
    codes = np.repeat([0, 1, -1], [10, 70, 220])
    frequencies = tuner(learnt, images, codes).targets.frequencies
    assert torch.allclose(frequencies, torch.tensor([15.0, 75.0]) / 90)
    weights = np.array([5.0, 1.0])
    tune = tuner(learnt, images, codes, class_weights=weights)
    assert torch.allclose(tune.targets.frequencies, torch.tensor([0.5, 0.5]))


def test_learning_from_itself_against_a_loop(learnt, digits):
    images, y = digits
    tune = tuner(learnt, images, np.where(np.arange(300) < 40, y, -1))
    again = copy.deepcopy(tune.targets)
    scores = 2 * torch.randn(2, 30, 10, generator=torch.Generator().manual_seed(0))
    rows = torch.arange(100, 130)
    targets = again.update(rows, scores[0].softmax(dim=1))
    losses = [
        -(targets[row] * scores[1, row].log_softmax(dim=0)).sum() for row in range(30)
    ]
    loss, confidence = tune._learn_from_itself(rows, scores)
    assert float(loss) == pytest.approx(float(sum(losses)) / 30, rel=1e-5)
    assert float(confidence) == pytest.approx(float(targets.max(dim=1)[0].mean()))


def test_no_gradient_flows_into_the_targets(learnt, digits):
    images, y = digits
    tune = tuner(learnt, images, np.where(np.arange(300) < 40, y, -1))
    scores = torch.randn(2, 1, 10, requires_grad=True)
    rows = torch.tensor([100])
    targets = copy.deepcopy(tune.targets).update(rows, scores[0].softmax(dim=1))
    tune._learn_from_itself(rows, scores)[0].backward()
    assert not scores.grad[0].any()
    # Of cross-entropy to constants.
    expected = scores[1].softmax(dim=1) - targets
    assert torch.allclose(scores.grad[1], expected.detach(), atol=1e-6)


@pytest.mark.parametrize("sides", [(8, 12), (40,), (6, 6, 6), ()])
def test_a_box_of_up_to_a_quarter_is_erased(sides):
    batch = torch.ones(203, 2, *sides)
    is_erased = _erase(batch, 3, torch.Generator().manual_seed(0)) == 0
    assert (batch == 1).all()
    assert not is_erased[:3].any()
    is_erased = is_erased[3:]
    assert torch.equal(is_erased[:, 0], is_erased[:, 1])
    if not sides:
        assert not is_erased.any()
        return
    shares = is_erased[:, 0].flatten(1).float().mean(dim=1)
    assert 0 < shares.min() < shares.max() <= 0.3
    for axis in range(len(sides)):
        others = [1 + i for i in range(len(sides)) if i != axis]
        along = is_erased[:, 0].any(dim=tuple(others)) if others else is_erased[:, 0]
        # One piece, and the box is the product of its pieces.
        assert (along.int().diff(dim=1).abs().sum(dim=1) <= 2).all()
        assert along.any(dim=0).all()


def test_the_learning_rate_decays_from_layer_to_layer(learnt, digits):
    images, y = digits
    groups = tuner(learnt, images, y).optimizer.param_groups
    assert [g["factor"] for g in groups] == [0.5**i for i in range(len(groups))]
    in_groups = [id(p) for group in groups for p in group["params"]]
    assert len(in_groups) == len(set(in_groups))
    tune = tuner(learnt, images, y)
    modules = (tune.encoder, tune.head, tune.net.criterion_.critics)
    n_values = sum(p.numel() for module in modules for p in module.parameters())
    found = sum(p.numel() for g in tune.optimizer.param_groups for p in g["params"])
    assert found == n_values
    head = {id(p) for p in tune.head.parameters()}
    assert head <= {id(p) for p in tune.optimizer.param_groups[0]["params"]}


def test_held_out_rows_train_neither_head_nor_encoder(learnt, digits):
    images, y = digits
    held_out = np.arange(0, 200, 5)
    codes = np.where(np.arange(300) < 200, y, -1)
    tune = tuner(learnt, images, codes, held_out=held_out)
    seen = torch.cat([next(tune.batches) for _ in range(60)])
    assert set(seen.tolist()) == set(range(200)) - set(held_out.tolist())
    seen = torch.cat([next(tune.others) for _ in range(60)])
    assert set(seen.tolist()) == set(range(300)) - set(held_out.tolist())


def test_with_one_view_nothing_is_learnt_from_itself(digits):
    images, y = digits
    one = DeepInfomaxTransformer(16, augment=None, max_iter=1, random_state=0)
    given = np.where(np.arange(300) < 40, y, -1)
    model = classifier(one.fit(images)).fit(images, given)
    assert {row["unlabelled"] for row in model.history_} == {0.0}


@pytest.mark.parametrize(("n_labelled", "weight"), [(300, 1.0), (40, 0.0)])
def test_nothing_is_erased_where_nothing_learns_from_it(
    learnt, digits, monkeypatch, n_labelled, weight
):
    monkeypatch.setattr("sk_dim._fine_tuning._erase", pytest.fail)
    images, y = digits
    codes = np.where(np.arange(300) < n_labelled, y, -1)
    recipe = dataclasses.replace(RECIPE, unlabelled_weight=weight)
    tune = tuner(learnt, images, codes, recipe)
    assert tune.targets is None
    tune.run(0)
    assert {row["unlabelled"] for row in tune.history} == {0.0}


def test_an_adversary_is_left_out(digits):
    images, y = digits
    encoder = DeepInfomaxTransformer(16, prior_weight=1.0, max_iter=1, random_state=0)
    tune = tuner(encoder.fit(images), images, y)
    before = copy.deepcopy(tune.net.criterion_.prior.state_dict())
    tune.run(0)
    after = tune.net.criterion_.prior.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_endless_batches_hold_all_rows_before_any_comes_again():
    batches = _endless(torch.arange(7) + 3, 3, torch.Generator().manual_seed(0))
    rows = torch.cat([next(batches) for _ in range(7)])
    for start in range(0, 21, 7):
        assert sorted(rows[start : start + 7].tolist()) == list(range(3, 10))


def test_more_rows_a_batch_than_there_are():
    batches = _endless(torch.arange(2), 5, torch.Generator().manual_seed(0))
    assert len(next(batches)) == 5


# What is refused


@pytest.mark.parametrize(
    ("y", "match"),
    [
        (np.full(300, -1), "all 300 rows as unlabelled"),
        (np.full(300, -1, dtype=object), "all 300 rows as unlabelled"),
        (np.linspace(0, 1, 300), "continuous"),
        (np.where(np.arange(300) < 9, 1, -1), r"only one class, \[1\]"),
        (np.zeros((300, 2)), r"should be a 1d array"),
        (np.zeros(299) + np.arange(299) % 2, "inconsistent numbers of samples"),
        (np.array([None, 1, "a"] * 100, object), "the types NoneType, int, str"),
        (np.array([np.nan, 1.0, 2.0] * 100), "contains NaN"),
        (None, "requires y"),
    ],
    ids=[
        "none",
        "none object",
        "numbers",
        "one",
        "two axes",
        "length",
        "mixed",
        "nan",
        "y",
    ],
)
def test_labels_that_are_refused(learnt, digits, y, match):
    with pytest.raises(ValueError, match=match):
        classifier(learnt).fit(digits[0], y)


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        ({"encoder": LogisticRegression()}, TypeError, "no DeepInfomaxTransformer"),
        ({"encoder": "conv"}, TypeError, "encoder='conv' is no"),
        ({"fine_tune": "some"}, ValueError, "'all', 'head'"),
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
