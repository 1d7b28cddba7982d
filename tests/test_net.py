"""The training: its schedule, its end, what it reports."""

import copy
import functools
import gc
import pickle
import signal
import time
import weakref
from typing import ClassVar

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback, Checkpoint, EarlyStopping

from sk_dim import DeepInfomaxTransformer
from sk_dim._devices import seeded
from sk_dim._training import _interrupts
from sk_dim._training._preparing import prepare
from sk_dim._training._schedule import Schedule
from sk_dim.augmentations import crop, noise
from sk_dim.critics import ConcatCritic
from sk_dim.encoders import ConvEncoder, Features
from sk_dim.evaluation import ProbingCallback


@pytest.fixture(autouse=True)
def _no_earlier_interrupt(monkeypatch):
    monkeypatch.setattr(_interrupts, "_last", -np.inf)
    # Ignored where the suite runs as a background job of a shell.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def quick(**params):
    defaults = {"max_iter": 2, "n_components": 64, "random_state": 0}
    return DeepInfomaxTransformer(**(defaults | params))


# Schedule


def test_the_rate_rises_for_a_tenth_and_falls_to_zero():
    schedule = Schedule(peak=2.0, n_steps=100)
    rates = [schedule.rate(step) for step in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert min(rates) > 0
    assert max(rates) == pytest.approx(2.0, rel=0.06)
    assert rates[-1] < 0.02 * 2.0


def test_a_later_training_has_a_schedule_of_its_own():
    schedule = Schedule(peak=2.0, n_steps=100, first_step=50)
    assert schedule.rate(50) < schedule.rate(58)
    assert schedule.progress(150) == 1


def test_of_steps_and_seconds_the_nearer_end_counts(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    schedule = Schedule(peak=2.0, n_steps=100, seconds=10.0, start=100.0)
    assert schedule.progress(30) == pytest.approx(0.3)
    now[0] = 108.0
    assert schedule.progress(30) == pytest.approx(0.8)
    now[0] = 120.0
    assert schedule.progress(30) == 1
    assert Schedule(peak=2.0).rate(10**6) == 2.0


def test_seeding_gives_the_global_generator_back():
    before = torch.get_rng_state()
    with seeded(3, torch.device("cpu")):
        first = torch.rand(3)
    with seeded(3, torch.device("cpu")):
        assert torch.equal(torch.rand(3), first)
    assert torch.equal(torch.get_rng_state(), before)


# Callbacks of skorch


class Count(Callback):
    """Counts what it sees."""

    def __init__(self):
        self.epochs = 0
        self.batches = 0

    def on_epoch_end(self, net, **_):
        self.epochs += 1

    def on_batch_end(self, net, batch, training, **_):
        self.batches += 1


def test_callbacks_are_copied_for_each_fit(digits):
    count = Count()
    estimator = quick(callbacks=[count, ("second", Count())])
    for _ in range(2):
        estimator.fit(digits[0])
    assert (count.epochs, count.batches) == (0, 0)
    copies = [callback for _, callback in estimator.net_.callbacks_][:2]
    assert [(c.epochs, c.batches) for c in copies] == [(2, 4), (2, 4)]


def test_early_stopping_of_skorch_is_no_interrupt(digits):
    stop = EarlyStopping(
        "valid_loss", patience=1, threshold=100, threshold_mode="abs", sink=len
    )
    estimator = quick(max_iter=9, validation_fraction=0.3, callbacks=[stop])
    assert estimator.fit(digits[0]).n_iter_ < 9


def test_held_out_terms_are_those_of_the_same_views_in_every_epoch(digits):
    class Freeze(Callback):
        """Keeps the learning rate at zero."""

        def on_grad_computed(self, net, named_parameters, **_):
            for group in net.optimizer_.param_groups:
                group["lr"] = 0.0

    history = (
        quick(max_iter=3, validation_fraction=0.3, callbacks=[Freeze()])
        .fit(digits[0])
        .history_
    )
    # Only the batch statistics move, so the held-out bound hardly does.
    assert np.ptp([row["valid_local"] for row in history[1:]]) < 0.1


def test_verbose_prints_a_line_an_epoch(digits, capsys):
    quick(verbose=0).fit(digits[0])
    assert capsys.readouterr().out == ""
    quick(verbose=1, validation_fraction=0.2).fit(digits[0])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1/2  loss ")
    for word in ("local", "held-out loss", "samples/s", "s left"):
        assert word in lines[1]
    stop = EarlyStopping(
        "train_loss", patience=1, threshold=100, threshold_mode="abs", sink=len
    )
    quick(verbose=1, max_iter="auto", max_time=1e3, callbacks=[stop]).fit(digits[0])
    assert capsys.readouterr().out.startswith("epoch 1  loss ")


# Ctrl-C


class Press(Callback):
    """Presses Ctrl-C at the end of an epoch of the fit, or in one of its batches."""

    def __init__(self, epoch=0, batch=0):
        self.epoch = epoch
        self.batch = batch

    def on_epoch_end(self, net, **_):
        if len(net.history) == self.epoch:
            signal.raise_signal(signal.SIGINT)

    def on_batch_end(self, net, **_):
        if net.n_steps == self.batch:
            signal.raise_signal(signal.SIGINT)


class PressInItsEpoch:
    """A callback of scikit-learn that presses Ctrl-C."""

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "epoch":
            signal.raise_signal(signal.SIGINT)

    def teardown(self, estimator, context):
        pass


def test_ctrl_c_keeps_the_model_of_the_last_step(digits):
    X = digits[0][:100]  # one batch an epoch
    estimator = quick(max_iter=50, callbacks=[Press(epoch=2)])
    with pytest.warns(
        UserWarning, match=r"Ctrl-C ended the training after 2 of 50 epochs and 2 steps"
    ):
        estimator.fit(X)
    assert estimator.n_iter_ == len(estimator.history_) == 2
    assert np.isfinite(estimator.transform(X)).all()


def test_ctrl_c_within_a_callback_is_no_stop_of_the_callback(digits):
    X = digits[0][:100]
    estimator = quick(max_iter=50).set_callbacks(PressInItsEpoch())
    with pytest.warns(UserWarning, match="Ctrl-C ended the training after 1 of 50"):
        estimator.fit(X)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X)


def test_ctrl_c_before_the_first_step_is_raised(digits):
    estimator = quick(callbacks=[Press(batch=0)])
    estimator.callbacks[0].on_train_begin = lambda net, **_: signal.raise_signal(2)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(digits[0])
    with pytest.raises(NotFittedError):
        estimator.transform(digits[0])


def test_ctrl_c_in_a_partial_fit_counts_its_own_steps(digits):
    X = digits[0]
    estimator = DeepInfomaxTransformer(8, random_state=0).partial_fit(X).partial_fit(X)
    estimator.set_params(callbacks=[Press(batch=5)])
    with pytest.warns(UserWarning, match="after 0 of 1 epochs and 1 steps"):
        estimator.partial_fit(X)


def test_a_second_ctrl_c_within_two_seconds_is_raised(digits, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(_interrupts.time, "monotonic", lambda: now[0])
    X = digits[0][:100]
    first, second = (quick(max_iter=9, callbacks=[Press(batch=2)]) for _ in range(2))
    with pytest.warns(UserWarning, match="Ctrl-C"):
        first.fit(X)
    now[0] += 1.9
    with pytest.raises(KeyboardInterrupt):
        second.fit(X)
    with pytest.raises(NotFittedError):
        second.transform(X)
    now[0] += 2.1
    with pytest.warns(UserWarning, match="Ctrl-C"):
        second.fit(X)


def test_the_handler_of_ctrl_c_is_given_back(digits):
    quick().fit(digits[0][:20])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(ValueError, match="diverged"):
        quick(learning_rate=1e12).fit(digits[0])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# What is left of a fit, and of one that fails


small = functools.partial(ConvEncoder, n_hidden=16)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", [small, "auto"], ids=["own", "ours"])
def test_a_callback_may_load_copy_and_fit_while_a_net_is_trained(encoder, digits):
    X, y = digits

    class Meddle(Callback):
        def on_epoch_end(self, net, **_):
            quick(encoder=encoder).fit(X[:20])

    probing = ProbingCallback(X, y, every=1)
    estimator = quick(encoder=encoder, callbacks=[Meddle()]).set_callbacks(probing)
    estimator.fit(X)
    assert [row["epoch"] for row in probing.history_] == [1, 2]


def test_a_deep_copy_builds_nothing_and_goes_its_own_way(digits, monkeypatch):
    X = digits[0]
    estimator = DeepInfomaxTransformer(8, random_state=0).partial_fit(X)
    monkeypatch.setattr("sk_dim._training._design.Design.build", None)
    copied = copy.deepcopy(estimator)
    before = estimator.transform(X)
    estimator.partial_fit(X)
    np.testing.assert_array_equal(copied.transform(X), before)
    assert (copied.n_iter_, estimator.n_iter_) == (1, 2)
    # Moments and generators go with it.
    copied.partial_fit(X)
    np.testing.assert_array_equal(copied.transform(X), estimator.transform(X))


class Weighed(np.ndarray):
    """An array that a weak reference can be made to."""


@pytest.mark.slow
def test_a_fit_keeps_neither_the_data_nor_itself_alive(digits):
    # torch imports a part of itself with the first optimiser of a process, and an error
    # that it catches there holds the frames of that fit until they are collected.
    quick(verbose=0).fit(digits[0][:32])
    X = digits[0].copy().view(Weighed)
    estimator = quick(verbose=0, callbacks=[Count()]).set_callbacks(
        ProbingCallback(digits[0], digits[1], every=9)
    )
    gc.collect()
    gc.disable()
    try:
        estimator.fit(X)
        data, itself = weakref.ref(X), weakref.ref(estimator)
        del X
        assert data() is None
        del estimator
        assert itself() is None
    finally:
        gc.enable()


@pytest.mark.slow
def test_gradients_and_moments_are_freed_after_a_fit_that_does_not_go_on(digits):
    net = quick(prior_weight=0.1).fit(digits[0]).net_
    assert not net.optimizer_.state
    assert not any(each.state for each in net.optimizers)
    assert all(p.grad is None for p in net.module_.parameters())
    assert quick(warm_start=True).fit(digits[0]).net_.optimizer_.state


class BreaksOff(Callback):
    """Raises an error at the end of the first epoch."""

    def on_epoch_end(self, net, **_):
        raise OSError("disk full")


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"callbacks": [BreaksOff()]}, "disk full"),
        ({"learning_rate": 1e12}, "diverged"),
        ({"batch_size": 0}, "batch_size"),
        pytest.param({"output_layer": "nose"}, "output_layer", marks=pytest.mark.slow),
        pytest.param({"bound": "best"}, "bound", marks=pytest.mark.slow),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_fit_that_fails_leaves_the_estimator_as_it_was(params, error, digits):
    X = digits[0]
    fresh = quick(**params)
    with pytest.raises((ValueError, OSError), match=error):
        fresh.fit(X)
    with pytest.raises(NotFittedError):
        fresh.transform(X)
    assert not [name for name in vars(fresh) if name.endswith("_")]
    rows = X.reshape(len(X), -1)[:, :60]
    for warm_start in (False, True):
        estimator = quick(warm_start=warm_start).fit(X)
        Z = estimator.transform(X)
        with pytest.raises((ValueError, OSError), match=error):
            estimator.set_params(**params).fit(X if warm_start else rows)
        estimator.set_params(**quick().get_params())
        np.testing.assert_array_equal(estimator.transform(X), Z)
        assert estimator.n_features_in_ == 64


@pytest.mark.slow
@pytest.mark.parametrize("bad", ["values", "callback"])
def test_a_chunk_that_fails_leaves_the_model_of_the_chunks_before(bad, digits):
    X = digits[0]
    estimator = DeepInfomaxTransformer(8, random_state=0).partial_fit(X)
    again = copy.deepcopy(estimator)
    chunk = X.copy()
    if bad == "values":
        chunk[0, 0, 0] = 1e200
    else:
        estimator.set_params(callbacks=[BreaksOff()])
    with pytest.raises((ValueError, OSError)):
        estimator.partial_fit(chunk)
    estimator.set_params(callbacks=None).partial_fit(X)
    np.testing.assert_array_equal(
        estimator.transform(X), again.partial_fit(X).transform(X)
    )


def test_the_last_chunk_of_a_stream_may_be_one_row(digits):
    estimator = DeepInfomaxTransformer(8, random_state=0).partial_fit(digits[0])
    Z = estimator.transform(digits[0])
    with pytest.warns(UserWarning, match="a chunk of one row was left out"):
        estimator.partial_fit(digits[0][:1])
    np.testing.assert_array_equal(estimator.transform(digits[0]), Z)
    with pytest.raises(ValueError, match="1 sample"):
        DeepInfomaxTransformer().partial_fit(digits[0][:1])


@pytest.mark.parametrize("rate", [1e38, 1e10])
def test_what_the_last_step_makes_infinite_is_found(rate):
    X = np.random.default_rng(0).normal(size=(60, 8))
    with pytest.raises(ValueError, match=r"diverged in epoch 1: (weights|features)"):
        quick(max_iter=1, learning_rate=rate).fit(X)


class WithMask(torch.nn.Module):
    """An encoder with a mask of -inf, and a weight that it computes and keeps."""

    def __init__(self, shape, n_components):
        super().__init__()
        self.register_buffer("mask", torch.tensor([-torch.inf, 0.0]))
        self.local = torch.nn.utils.weight_norm(torch.nn.Linear(shape[0], 16))
        self.global_ = torch.nn.Linear(16, n_components)

    def forward(self, batch):
        local = self.local(batch).relu()
        return Features(self.global_(local), None, None, local.unsqueeze(2))


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_own_modules_may_hold_infinities_and_what_they_computed():
    X, y = np.random.default_rng(0).normal(size=(60, 8)), np.arange(60) % 3
    probing = ProbingCallback(X, y, every=1)
    estimator = quick(encoder=WithMask, n_components=8, warm_start=True)
    estimator.set_callbacks(probing).fit(X).fit(X)
    assert len(probing.history_) == 2
    copied = copy.deepcopy(estimator)
    np.testing.assert_array_equal(copied.transform(X), estimator.transform(X))
    assert copied.partial_fit(X).n_iter_ == 5


class Shift:
    """A view that is a callable object."""

    def __call__(self, batch, generator):
        return batch + 0.1 * torch.randn(batch.shape, generator=generator)


def test_a_deep_copy_goes_on_with_its_own_parts(digits):
    estimator = quick(augment=Shift(), n_components=8).fit(digits[0][:60])
    copied = copy.deepcopy(estimator).partial_fit(digits[0][:60])
    assert copied.net_.augment is copied.augment is not estimator.augment


@pytest.mark.slow
def test_a_compiled_encoder_is_compiled_in_a_deep_copy():
    X = np.random.default_rng(0).normal(size=(20, 8, 8))
    encoder = functools.partial(ConvEncoder, compile_mode="default")
    _, model = prepare(quick(encoder=encoder, n_components=8), X)
    assert copy.deepcopy(model).encoder._compiled_call_impl is not None
    assert model.copy().encoder._compiled_call_impl is None  # for a look, not worth it


def test_checkpoints_of_skorch_work(digits, tmp_path):
    checkpoint = Checkpoint(monitor=None, dirname=str(tmp_path), f_history=None)
    quick(callbacks=[checkpoint]).fit(digits[0])
    assert list(tmp_path.iterdir())


class WithMore(DeepInfomaxTransformer):
    """A subclass with a parameter that has no default."""

    def __init__(self, extra, n_components=8, max_iter=1):
        super().__init__(n_components, max_iter=max_iter)
        self.extra = extra


def test_a_subclass_with_a_parameter_of_its_own_comes_back(digits):
    loaded = pickle.loads(pickle.dumps(WithMore(3)))
    assert (loaded.extra, loaded.n_components) == (3, 8)


def test_a_loss_that_is_not_finite_ends_the_epoch_at_once(digits):
    steps = []

    class CountSteps(Callback):
        def on_batch_begin(self, net, **_):
            steps.append(net.n_steps)

    def bad(positive, negative):
        return positive.mean() * float("nan" if len(steps) == 2 else "1")

    with pytest.raises(ValueError, match="diverged in epoch 1: the local"):
        quick(bound=bad, batch_size=10, callbacks=[CountSteps()]).fit(digits[0])
    assert steps == [0, 1]


class WithDropout(torch.nn.Module):
    """An encoder that draws from torch's global generator, and notes what it drew."""

    drawn: ClassVar[list] = []

    def __init__(self, shape, n_components):
        super().__init__()
        self.encoder = ConvEncoder(shape, n_components)

    def forward(self, batch):
        if self.training:
            self.drawn.append(float(torch.rand(())))
        return self.encoder(batch)


def test_own_parts_draw_other_numbers_in_every_partial_fit(digits):
    WithDropout.drawn.clear()
    estimator = DeepInfomaxTransformer(8, encoder=WithDropout, random_state=0)
    for _ in range(3):
        estimator.partial_fit(digits[0])
    assert len(set(WithDropout.drawn)) == len(WithDropout.drawn)


def test_held_out_rows_are_the_same_whenever_the_training_goes_on(digits):
    held_out = []

    class Note(Callback):
        def on_batch_end(self, net, batch, training, **_):
            if not training:
                held_out.append({row.tobytes() for row in batch.numpy()})

    estimator = quick(warm_start=True, validation_fraction=0.3, callbacks=[Note()])
    estimator.fit(digits[0]).fit(digits[0])
    assert all(rows == held_out[0] for rows in held_out)


def test_clipping_gradients_leaves_those_of_the_adversary_alone(digits):
    names = []

    class NoteNames(Callback):
        def on_grad_computed(self, net, named_parameters, **_):
            names.extend(name for name, _ in named_parameters)

    quick(prior_weight=0.1, max_iter=1, callbacks=[NoteNames()]).fit(digits[0])
    assert names
    assert not [name for name in names if "discriminator" in name]


@pytest.mark.slow
def test_a_plain_tuple_is_as_good_as_features(digits):
    def plain(shape, n_components):
        class Plain(ConvEncoder):
            def forward(self, batch):
                return tuple(super().forward(batch))[:4]

        return Plain(shape, n_components)

    X = digits[0]
    for augment in (None, "auto"):
        ours = quick(encoder=ConvEncoder, augment=augment).fit(X)
        theirs = quick(encoder=plain, augment=augment).fit(X)
        np.testing.assert_array_equal(theirs.transform(X), ours.transform(X))
        assert theirs.score(X) == ours.score(X)


# Time


@pytest.mark.slow
def test_the_clock_of_max_time_starts_at_the_first_step(digits, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    learn = ConvEncoder.__init__

    def slow(self, *args, **kwargs):
        now[0] += 1000.0
        learn(self, *args, **kwargs)

    monkeypatch.setattr(ConvEncoder, "__init__", slow)

    class Tick(Callback):
        def on_batch_end(self, net, **_):
            now[0] += 1.0

    estimator = quick(max_iter="auto", max_time=40.0, callbacks=[Tick()])
    assert estimator.fit(digits[0]).net_.n_steps == 40
    with pytest.warns(UserWarning, match="max_time=2.0 s was over after 2 steps"):
        estimator.set_params(max_time=2.0).fit(digits[0])


# Precision


def fit_in_bfloat16(X, **params):
    estimator = quick(precision="bfloat16", **params)
    if _has_no_bfloat16(estimator):
        with pytest.warns(UserWarning, match="'bfloat16' is emulated .* slower"):
            return estimator.fit(X)
    return estimator.fit(X)


@pytest.mark.slow
def test_bfloat16_trains_and_transforms_in_float32(digits):
    estimator = fit_in_bfloat16(digits[0])
    assert estimator.precision_ == "bfloat16"
    assert all(p.dtype == torch.float32 for p in estimator.encoder_.parameters())
    full = quick(precision="float32").fit(digits[0])
    assert estimator.history_[-1]["local"] == pytest.approx(
        full.history_[-1]["local"], abs=0.2
    )


@pytest.mark.parametrize(
    "params",
    [
        {"local_weight": 0.0, "global_weight": 0.0, "prior_weight": 1.0},
        {"prior": "noise", "prior_weight": 0.1},
        {"critic": functools.partial(ConcatCritic, n_units=16)},
        {"bound": lambda positive, negative: positive.mean().bfloat16()},
    ],
    ids=["adversary", "noise", "concat", "own bound"],
)
def test_every_term_can_be_trained_in_bfloat16(digits, params):
    # Small, as a CPU without bfloat16 takes ten times as long for it.
    estimator = fit_in_bfloat16(digits[0][:64], max_iter=1, n_components=8, **params)
    assert np.isfinite(estimator.history_[-1]["loss"])


def _has_no_bfloat16(estimator):
    from sk_dim._devices import choose_device, has_bfloat16

    return not has_bfloat16(choose_device(estimator.device))


def test_views_of_our_own_are_made_in_one_call_and_those_of_the_user_in_two(digits):
    """A callable of the user may draw one angle, say, for a whole batch."""
    sizes = []

    def seen(batch, generator):
        sizes.append(len(batch))
        return crop(batch, generator)

    net = quick(augment=("crop", seen)).fit(digits[0]).net_
    sizes.clear()
    batch = torch.randn(6, 1, 8, 8)
    assert [len(view) for view in net.draw_views(batch, net.generator)] == [6, 6]
    assert sizes == [6, 6]
    net = quick(augment=["crop", functools.partial(noise, std=0.1)]).fit(digits[0]).net_
    a, b = net.draw_views(batch, torch.Generator().manual_seed(0))
    both = net.augment(torch.cat([batch, batch]), torch.Generator().manual_seed(0))
    assert torch.equal(torch.cat([a, b]), both)
    assert not torch.equal(a, b)


def test_modes_are_set_again_after_a_callback_that_encodes(digits):
    class Encode(Callback):
        modes: ClassVar[list] = []

        def on_batch_end(self, net, batch, training, **_):
            self.modes.append(net.module_.training)
            net.evaluation_step(batch)

    quick(callbacks=[Encode()], validation_fraction=0.3).fit(digits[0])
    assert Encode.modes == [True, True, False] * 2
