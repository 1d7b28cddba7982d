"""The training: its schedule, its end, what it reports."""

import signal
import time

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback, EarlyStopping

from sk_dim import DeepInfomaxTransformer, _net
from sk_dim._net import Schedule, seeded


@pytest.fixture(autouse=True)
def _no_earlier_interrupt(monkeypatch):
    monkeypatch.setattr(_net, "_last_interrupt", -np.inf)


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
    quick(verbose=1, max_iter="auto", max_time=0.5).fit(digits[0])
    assert capsys.readouterr().out.startswith("epoch 1  loss ")


# Ctrl-C


def interrupted(batch, generator):
    """Make no view, but press Ctrl-C in the seventh call."""
    interrupted.calls += 1
    if interrupted.calls == 7:
        signal.raise_signal(signal.SIGINT)
    return batch


def test_ctrl_c_keeps_the_model_of_the_epochs_done(digits):
    X = digits[0][:100]  # one batch an epoch, two views; one call to check the callable
    interrupted.calls = 0
    estimator = quick(max_iter=50, augment=interrupted)
    with pytest.warns(
        UserWarning, match=r"Ctrl-C ended the training after epoch 2 of 50"
    ):
        estimator.fit(X)
    assert estimator.n_iter_ == len(estimator.history_) == 2
    assert np.isfinite(estimator.transform(X)).all()


def test_a_second_ctrl_c_within_two_seconds_is_raised(digits, monkeypatch):
    X = digits[0][:100]
    first, second = (
        quick(max_iter=50, augment=interrupted),
        quick(max_iter=50, augment=interrupted),
    )
    interrupted.calls = 0
    with pytest.warns(UserWarning, match="Ctrl-C"):
        first.fit(X)
    interrupted.calls = 0
    with pytest.raises(KeyboardInterrupt):
        second.fit(X)
    with pytest.raises(NotFittedError):
        second.transform(X)
    interrupted.calls = 0
    monkeypatch.setattr(_net, "_last_interrupt", time.monotonic() - 2.1)
    with pytest.warns(UserWarning, match="Ctrl-C"):
        second.fit(X)


# Precision


def fit_in_bfloat16(X, **params):
    estimator = quick(precision="bfloat16", **params)
    if _has_no_bfloat16(estimator):
        with pytest.warns(UserWarning, match="'bfloat16' is emulated .* slower"):
            return estimator.fit(X)
    return estimator.fit(X)


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
        {"critic": "concat"},
        {"bound": lambda positive, negative: positive.mean().bfloat16()},
    ],
)
def test_every_term_can_be_trained_in_bfloat16(digits, params):
    estimator = fit_in_bfloat16(digits[0], **params)
    assert np.isfinite(estimator.history_[-1]["loss"])


def _has_no_bfloat16(estimator):
    from sk_dim._validation import choose_device, has_bfloat16

    return not has_bfloat16(choose_device(estimator.device))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_fit_on_cuda_learns_the_same(digits):
    X = digits[0]
    on_gpu = quick(max_iter=5, device="cuda", precision="float32").fit(X)
    on_cpu = quick(max_iter=5, device="cpu", precision="float32").fit(X)
    assert on_gpu.device_.type == "cuda"
    assert on_gpu.history_[-1]["local"] == pytest.approx(
        on_cpu.history_[-1]["local"], abs=0.1
    )
