"""Fine-tuning: its batches, head, pseudo-labels, and what ends it."""

import copy
import dataclasses
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sk_dim import DeepInfomaxClassifier, DeepInfomaxTransformer
from sk_dim._inputs._batches import endless_batches
from sk_dim._training import _interrupts
from sk_dim._training._fine_tuning import FineTuner
from sk_dim._training._head import Head
from sk_dim._training._preparing import rows_like
from sk_dim._training._pseudo_labels import (
    RETENTION,
    RETENTION_OF_MEAN,
    Targets,
    erase_box,
)
from sk_dim._training._recipe import Recipe

RECIPE = Recipe(
    n_steps=2,
    max_time=None,
    batch_size=8,
    learning_rate=1e-3,
    rate_decay=0.5,
    infomax_weight=1.0,
    unlabelled_weight=1.0,
    temperature=0.5,
    patience=5,
)


@pytest.fixture(scope="module")
def learnt(digits):
    """Return a transformer with few features, fitted for one epoch."""
    return DeepInfomaxTransformer(16, max_iter=1, random_state=0).fit(digits[0])


def source_of(encoder, images):
    """Return images as a fine-tuner takes them."""
    return encoder.model_.source(rows_like(encoder, images, encoder.model_.fmt))


def tuner(encoder, images, class_ids, recipe=RECIPE, **params):
    """Build a fine-tuner on a copy of the encoder's net."""
    params = {"class_weights": None, "held_out": None, "seed": 0} | params
    own = copy.deepcopy(encoder)
    return FineTuner(own.net_, source_of(own, images), class_ids, recipe, **params)


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
        predicted = rng.dirichlet(np.ones(3), size=3)
        averages = []
        for row, probabilities in zip(rows, predicted, strict=True):
            sums[row] = RETENTION * sums[row] + (1 - RETENTION) * probabilities
            averages.append(sums[row] / sums[row].sum())
        mean = RETENTION_OF_MEAN * mean + (1 - RETENTION_OF_MEAN) * np.mean(averages, 0)
        expected = (np.array(averages) * frequencies / mean) ** 2
        expected /= expected.sum(axis=1, keepdims=True)
        found = targets.update(torch.from_numpy(rows), torch.from_numpy(predicted))
        assert np.allclose(found, expected)


@pytest.mark.parametrize("temperature", [1e-6, 0.5, 1.0, 100.0])
def test_targets_are_probabilities_whatever_is_predicted(temperature):
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
    predicted = (noise + torch.arange(3)).softmax(dim=1)
    for _ in range(200):
        found = targets.update(torch.arange(2000), predicted)
    assert torch.allclose(found.mean(dim=0), frequencies, atol=0.01)


def test_frequencies_are_those_of_the_labels_and_their_weights(learnt, digits):
    images, _ = digits
    class_ids = np.repeat([0, 1, -1], [10, 70, 220])
    frequencies = tuner(learnt, images, class_ids).targets.frequencies
    assert torch.allclose(frequencies, torch.tensor([15.0, 75.0]) / 90)
    weights = np.array([5.0, 1.0])
    tune = tuner(learnt, images, class_ids, class_weights=weights)
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
    loss, confidence = tune._self_training(rows, scores)
    assert float(loss) == pytest.approx(float(sum(losses)) / 30, rel=1e-5)
    assert float(confidence) == pytest.approx(float(targets.max(dim=1)[0].mean()))


def test_no_gradient_flows_into_the_targets(learnt, digits):
    images, y = digits
    tune = tuner(learnt, images, np.where(np.arange(300) < 40, y, -1))
    scores = torch.randn(2, 1, 10, requires_grad=True)
    rows = torch.tensor([100])
    targets = copy.deepcopy(tune.targets).update(rows, scores[0].softmax(dim=1))
    tune._self_training(rows, scores)[0].backward()
    assert not scores.grad[0].any()
    # Of cross-entropy to constants.
    expected = scores[1].softmax(dim=1) - targets
    assert torch.allclose(scores.grad[1], expected.detach(), atol=1e-6)


@pytest.mark.parametrize("sides", [(8, 12), (40,), (6, 6, 6), ()])
def test_a_box_of_up_to_a_quarter_is_erased(sides):
    batch = torch.ones(203, 2, *sides)
    is_erased = erase_box(batch, 3, torch.Generator().manual_seed(0)) == 0
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
    class_ids = np.where(np.arange(300) < 200, y, -1)
    tune = tuner(learnt, images, class_ids, held_out=held_out)
    seen = torch.cat([next(tune.batches) for _ in range(60)])
    assert set(seen.tolist()) == set(range(200)) - set(held_out.tolist())
    seen = torch.cat([next(tune.others) for _ in range(60)])
    assert set(seen.tolist()) == set(range(300)) - set(held_out.tolist())


@pytest.mark.slow
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
    monkeypatch.setattr("sk_dim._training._fine_tuning.erase_box", pytest.fail)
    images, y = digits
    class_ids = np.where(np.arange(300) < n_labelled, y, -1)
    recipe = dataclasses.replace(RECIPE, unlabelled_weight=weight)
    tune = tuner(learnt, images, class_ids, recipe)
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
    batches = endless_batches(torch.arange(7) + 3, 3, torch.Generator().manual_seed(0))
    rows = torch.cat([next(batches) for _ in range(7)])
    for start in range(0, 21, 7):
        assert sorted(rows[start : start + 7].tolist()) == list(range(3, 10))


@pytest.mark.parametrize(("n_rows", "n_batch"), [(7, 3), (7, 5), (7, 7), (200, 128)])
def test_no_batch_holds_a_row_twice(n_rows, n_batch):
    batches = endless_batches(
        torch.arange(n_rows), n_batch, torch.Generator().manual_seed(0)
    )
    for _ in range(50):
        assert len(set(next(batches).tolist())) == n_batch


def test_more_rows_a_batch_than_there_are():
    batches = endless_batches(torch.arange(2), 5, torch.Generator().manual_seed(0))
    assert len(next(batches)) == 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_rows", "n_labelled", "n_negatives"),
    [(60, 9, 60), (200, 40, 128), (20, 20, 20), (40, 40, 32)],
)
def test_no_row_is_its_own_negative(
    learnt, digits, monkeypatch, n_rows, n_labelled, n_negatives
):
    images, y = digits
    class_ids = np.where(np.arange(n_rows) < n_labelled, y[:n_rows] % 3, -1)
    recipe = dataclasses.replace(RECIPE, batch_size=32, n_steps=9)
    tune = tuner(learnt, images[:n_rows], class_ids, recipe)
    steps, source = [], tune.rows
    tune.rows = SimpleNamespace(
        device=source.device,
        groups=None,
        take=lambda rows: steps.append(rows) or source.take(rows),
    )
    sizes = []
    criterion = type(tune.net.criterion_)
    forward = criterion.forward
    monkeypatch.setattr(
        criterion,
        "forward",
        lambda self, views, *rest: (
            sizes.append(len(views[0].global_)) or forward(self, views, *rest)
        ),
    )
    for _ in range(9):
        tune._step()
    assert sizes == [n_negatives] * 9
    for rows in steps:
        assert len(set(rows[-n_negatives:].tolist())) == n_negatives


def test_few_labels_fill_a_batch_where_they_are_no_negatives(learnt, digits):
    images, y = digits
    tune = tuner(learnt, images, np.where(np.arange(300) < 5, y % 2, -1))
    assert len(next(tune.batches)) == RECIPE.batch_size
    recipe = dataclasses.replace(RECIPE, infomax_weight=0.0)
    tune = tuner(learnt, images[:5], np.arange(5) % 2, recipe)
    assert len(next(tune.batches)) == RECIPE.batch_size


@pytest.mark.parametrize("temperature", [1e-300, 1e-9, 1e9, 1e300])
def test_temperatures_beyond_float32_are_limits(temperature):
    targets = Targets(2, torch.tensor([0.5, 0.5]), temperature)
    predicted = torch.tensor([[0.4, 0.6], [1.0, 0.0]])
    for _ in range(3):
        found = targets.update(torch.arange(2), predicted)
    if temperature > 1:
        assert torch.allclose(found[0], torch.full((2,), 0.5))
    else:
        aligned = predicted[0] / predicted.mean(dim=0)
        assert torch.equal(found[0], (aligned == aligned.max()).float())
    assert torch.allclose(found.sum(dim=1), torch.ones(2))


def test_class_weights_count_by_their_ratios(learnt, digits):
    images, y = digits
    class_ids = np.where(np.arange(300) < 40, y % 2, -1)
    coefs = []
    for scale in (1.0, 1e30):
        weights = scale * np.array([3.0, 1.0])
        tune = tuner(learnt, images, class_ids, class_weights=weights)
        tune.run(0)
        coefs.append(tune.head.linear_map()[0])
    assert np.allclose(*coefs, atol=1e-6)


# What ends it


class Clock:
    """A clock that stands still unless it is set."""

    now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """Return the clock by which Ctrl-C is judged; nobody has pressed it before."""
    clock = Clock()
    monkeypatch.setattr(_interrupts, "time", clock)
    monkeypatch.setattr(_interrupts, "_last", -np.inf)
    return clock


KEYBOARD: dict[str, list[int]] = {"views": []}  # after how many views Ctrl-C is pressed


def press(batch, generator):
    """Return a noisy view, unless it is time for a Ctrl-C."""
    KEYBOARD["views"] = [n - 1 for n in KEYBOARD["views"]]
    if 0 in KEYBOARD["views"]:
        raise KeyboardInterrupt
    noise = torch.randn(batch.shape, generator=generator, device=batch.device)
    return batch + 0.1 * noise


@pytest.fixture
def keys(monkeypatch):
    """Return a list for the numbers of the views of the fine-tuning to interrupt."""
    train = FineTuner._train
    presses = []

    def train_then_press(self, verbose):
        KEYBOARD["views"] = list(presses)
        train(self, verbose)

    monkeypatch.setattr(FineTuner, "_train", train_then_press)
    yield presses
    KEYBOARD["views"] = []


@pytest.fixture(scope="module")
def typed(digits):
    """Return a transformer whose views are where Ctrl-C is pressed."""
    return DeepInfomaxTransformer(16, augment=press, max_iter=1, random_state=0).fit(
        digits[0]
    )


@pytest.fixture
def given(digits):
    images, y = digits
    return images, np.where(np.arange(300) < 60, y % 3, -1)


def classifier(encoder, **params):
    params = {"n_steps": 40, "batch_size": 8, "random_state": 0} | params
    return DeepInfomaxClassifier(encoder, **params)


WARNING = "Ctrl-C ended the fine-tuning after step {}; the model is kept"


def test_ctrl_c_keeps_the_model_of_the_last_step(typed, given, clock, keys):
    images, labels = given
    coefs = []
    for view in (11, 12):  # either view of the sixth step
        keys[:] = [view]
        clock.now += 10
        model = classifier(typed)
        with pytest.warns(match=WARNING.format("5 of 40")):
            model.fit(images, labels)
        assert [row["step"] for row in model.history_] == [2, 4, 5]
        coefs.append(model.coef_)
    assert np.array_equal(*coefs)
    expected = model.encoder_.transform(images) @ model.coef_.T + model.intercept_
    assert np.allclose(model.decision_function(images), expected)
    assert not np.allclose(model.encoder_.transform(images), typed.transform(images))


def test_the_model_that_ctrl_c_leaves_is_that_of_so_many_steps(
    typed, given, clock, keys
):
    images, labels = given
    recipe = dataclasses.replace(RECIPE, n_steps=40)
    tune = tuner(typed, images, labels, recipe)
    keys.append(11)
    with pytest.warns(match=WARNING.format("5 of 40")):
        tune.run(0)
    KEYBOARD["views"] = []
    again = tuner(typed, images, labels, recipe)
    for step in range(5):
        done = (step + 0.5) / 40  # up to a tenth, the learning rate rises
        for group in again.optimizer.param_groups:
            rate = recipe.learning_rate * min(done / 0.1, (1 - done) / 0.9)
            group["lr"] = rate * group["factor"]
        again._step()
    features = again._encode(torch.arange(300))
    assert torch.allclose(features, tune._encode(torch.arange(300)), atol=1e-5)
    # Standardised by whole samples, of which all are few enough to be taken.
    assert torch.allclose(tune.head.norm.running_mean, features.mean(dim=0), atol=1e-5)
    again.head.standardise(features)
    assert np.allclose(again.head.linear_map()[0], tune.head.linear_map()[0], atol=1e-5)


def test_ctrl_c_before_the_first_step_keeps_the_encoder(typed, given, clock, keys):
    keys.append(1)
    model = classifier(typed)
    with pytest.warns(match="before its first step; the encoder is kept"):
        model.fit(*given)
    assert model.history_ == []
    assert not model.coef_.any()
    features = model.encoder_.transform(given[0])
    assert np.allclose(features, typed.transform(given[0]), atol=1e-5)


def test_ctrl_c_with_early_stopping_keeps_the_best(typed, given, clock, keys):
    images, labels = given
    keys.append(30)
    model = classifier(
        typed, early_stopping=True, validation_fraction=0.4, learning_rate=0.03
    )
    states = []
    check = FineTuner._check

    def spy(self, held_out):
        check(self, held_out)
        states.append({k: v.clone() for k, v in self.encoder.state_dict().items()})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FineTuner, "_check", spy)
        with pytest.warns(match=WARNING.format("14 of 40")):
            model.fit(images, labels)
    scores = [row["valid_score"] for row in model.history_]
    best = states[int(np.nanargmax(scores))]
    kept = model.encoder_.net_.module_.state_dict()
    assert all(torch.equal(best[name], kept[name]) for name in best)


@pytest.mark.parametrize(("pause", "is_raised"), [(1.9, True), (2.1, False)])
def test_a_second_ctrl_c_within_two_seconds_ends_everything(
    typed, given, clock, keys, monkeypatch, pause, is_raised
):
    """One in the pretraining, say, or in another fit; the other in the fine-tuning."""
    assert not _interrupts.is_second_interrupt()
    clock.now += pause
    keys.append(11)
    model = classifier(typed)
    if is_raised:
        with pytest.raises(KeyboardInterrupt):
            model.fit(*given)
        assert not [name for name in vars(model) if name.endswith("_")]
    else:
        with pytest.warns(match="is kept"):
            model.fit(*given)


@pytest.mark.parametrize("n_presses", [1, 2])
def test_ctrl_c_in_the_end_does_not_lose_the_model(
    typed, given, clock, monkeypatch, n_presses
):
    standardise = FineTuner._standardise
    left = [KeyboardInterrupt] * n_presses

    def interrupted(self):
        if left:
            raise left.pop()
        standardise(self)

    monkeypatch.setattr(FineTuner, "_standardise", interrupted)
    model = classifier(typed, n_steps=4)
    if n_presses == 2:
        with pytest.raises(KeyboardInterrupt):
            model.fit(*given)
        return
    with pytest.warns(match=WARNING.format("4 of 4")):
        found = model.fit(*given).predict_proba(given[0])
    whole = classifier(typed, n_steps=4).fit(*given)
    assert np.array_equal(found, whole.predict_proba(given[0]))


def test_ctrl_c_in_the_pretraining_ends_only_that(digits, given, clock, monkeypatch):
    recipe = DeepInfomaxTransformer(16, augment=press, max_iter=9, random_state=0)
    train = type(recipe)._train

    def train_then_press(self, *args, **kwargs):
        KEYBOARD["views"] = [5]
        train(self, *args, **kwargs)

    monkeypatch.setattr(DeepInfomaxTransformer, "_train", train_then_press)
    model = classifier(recipe, n_steps=4)
    with pytest.warns(match="Ctrl-C ended the training"):
        model.fit(*given)
    assert model.encoder_.n_iter_ < 9
    assert model.history_[-1]["step"] == 4


def test_views_keep_the_size_of_the_samples():
    images = np.random.default_rng(0).normal(size=(20, 16, 16))
    encoder = DeepInfomaxTransformer(16, max_iter=1, random_state=0).fit(images)
    net = encoder.net_
    sides = []
    forward = net.module_.forward
    net.module_.forward = lambda batch: sides.append(batch.shape[2:]) or forward(batch)
    batch = torch.randn(4, 1, 16, 16)
    for is_shrunk in (True, False):
        net.encode_views(net.draw_views(batch, net.generator, is_shrunk=is_shrunk))
    assert sides == [(12, 12), (16, 16)]
    ids = np.arange(20) % 2
    rows = source_of(encoder, images)
    FineTuner(net, rows, ids, RECIPE, None, None, seed=0)._step()
    assert sides[2] == (16, 16)


def time_of_steps(monkeypatch, seconds):
    """Let each step of a fine-tuning take so many seconds."""
    clock = Clock()
    step = FineTuner._step

    def slow(self):
        clock.now += seconds
        return step(self)

    monkeypatch.setattr(FineTuner, "_step", slow)
    monkeypatch.setattr(time, "monotonic", clock.monotonic)


def test_seconds_end_the_fine_tuning(learnt, given, monkeypatch):
    time_of_steps(monkeypatch, 1.0)
    model = classifier(learnt, max_time=30.0).fit(*given)
    assert model.history_[-1]["step"] == 30
    assert model.history_[-1]["seconds"] == 30.0
    assert len(model.history_) <= 20


def test_seconds_that_allow_few_steps_are_said(learnt, given, monkeypatch):
    time_of_steps(monkeypatch, 1.0)
    match = r"max_time=3 seconds were over after 3 of the steps"
    with pytest.warns(match=match):
        classifier(learnt, max_time=3.0).fit(*given)


@pytest.mark.parametrize("rate", [1.0, 100.0, 1e5, 1e10, 1e20, 1e30])
def test_the_last_step_leaves_finite_weights_or_is_said_to_diverge(learnt, given, rate):
    images, labels = given
    model = classifier(learnt, learning_rate=rate, n_steps=1)
    try:
        model.fit(images, labels)
    except ValueError as error:  # one of two right outcomes, which rounding decides
        assert "fine-tuning diverged; lower learning_rate" in str(error)  # noqa: PT017
        assert not hasattr(model, "encoder_")
        return
    assert np.isfinite(model.predict_proba(images)).all()
    net = model.encoder_.net_
    for module in (net.module_, net.criterion_):
        assert all(bool(t.isfinite().all()) for t in module.state_dict().values())


@pytest.mark.parametrize("part", ["weight", "buffer", "critic"])
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_last_step_that_spoils_any_part_is_said(learnt, given, part, value):
    tune = tuner(learnt, *given)
    tensors = {
        "weight": list(tune.encoder.parameters()),
        "buffer": [t for t in tune.encoder.buffers() if t.is_floating_point()],
        "critic": list(tune.net.criterion_.critics.parameters()),
    }[part]
    step = tune.optimizer.step

    def spoil():
        step()
        if tune.n_steps == RECIPE.n_steps - 1:
            tensors[-1].data.view(-1)[0] = value

    tune.optimizer.step = spoil
    with pytest.raises(ValueError, match="fine-tuning diverged"):
        tune.run(0)


def test_a_mask_of_infinities_is_no_divergence(learnt, given):
    own = copy.deepcopy(learnt)
    own.encoder_.register_buffer("mask", torch.full((3,), -np.inf))
    rows = source_of(own, given[0])
    tune = FineTuner(own.net_, rows, given[1], RECIPE, None, None, seed=0)
    tune.run(0)
    assert np.isfinite(tune.head.linear_map()[0]).all()
