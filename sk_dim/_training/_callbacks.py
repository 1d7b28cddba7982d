"""Callbacks: scikit-learn's where it has them, and those of skorch that we add.

As in skorch, a callback ends the training by raising KeyboardInterrupt.

This module imports nothing of its own package.
"""

import copy
import time
from typing import Any

from skorch import NeuralNet
from skorch.callbacks import Callback


class OwnCallback(Callback):
    """One that is added here: no fit leaves it with the net."""

    is_of_all_ranks = False  # where several processes train


class EpochReport(OwnCallback):
    """Print a line an epoch: terms, throughput, time left.

    Parameters
    ----------
    n_epochs : int or None
        How many there will be; None where only time limits them.
    seconds : float or None
        Time limit.
    """

    def __init__(self, n_epochs: int | None, seconds: float | None) -> None:
        self.n_epochs = n_epochs
        self.seconds = seconds

    def on_epoch_end(self, net: NeuralNet, *_: Any, **__: Any) -> None:
        """Print the line of this epoch."""
        row = net.history[-1]
        done = net.n_epochs_done
        spent = time.monotonic() - net.schedule.start
        left = float("inf")
        if self.n_epochs is not None:
            left = spent / done * (self.n_epochs - done)
        if self.seconds is not None:
            left = min(left, max(0.0, self.seconds - spent))
        of = f"/{self.n_epochs}" if self.n_epochs is not None else ""
        terms = "  ".join(
            f"{name} {row[key]:.3f}"
            for key, name in [
                ("train_local", "local"),
                ("train_global", "global"),
                ("train_prior", "prior"),
                *((f"train_{task}", task) for task in net.criterion_.tasks),
                ("valid_loss", "held-out loss"),
            ]
            if key in row
        )
        print(
            f"epoch {done}{of}  loss {row['train_loss']:.3f}  {terms}  "
            f"{row['samples_per_second']:,.0f} samples/s  {left:.0f} s left",
            flush=True,
        )


class StopAtTimeLimit(OwnCallback):
    """End the training after the epoch in which the schedule has run out."""

    def on_epoch_end(self, net: NeuralNet, *_: Any, **__: Any) -> None:
        """Stop if the time is up."""
        if net.schedule.progress(net.n_steps) >= 1:
            raise KeyboardInterrupt


class LooksAtThreads(OwnCallback):
    """Have a watch look, after each step, whether threads are held up.

    Parameters
    ----------
    threads : ThreadWatch
        Of the training.
    """

    def __init__(self, threads: Any) -> None:
        self.threads = threads

    def on_batch_end(self, *_: Any, **__: Any) -> None:
        """Look."""
        self.threads.look()


class EpochTasks(OwnCallback):
    """Tell scikit-learn's callbacks of the epochs, as subtasks of the fit.

    Parameters
    ----------
    estimator : estimator
        Whose fit this is.
    context : sklearn.callback.CallbackContext
        Root context of the fit.
    X : array-like
        Training data, as the hooks get it.
    """

    def __init__(self, estimator: Any, context: Any, X: Any) -> None:
        self.estimator = estimator
        self.context = context
        self.X = X

    def on_train_begin(self, net: NeuralNet, *_: Any, **__: Any) -> None:
        """Count the epochs that were done before a kill, without a model of them."""
        for _epoch in range(net.n_epochs_done):
            self.on_epoch_begin(net)
            self.epoch_.call_on_fit_task_end(estimator=self.estimator, X=self.X)

    def on_epoch_begin(self, net: NeuralNet, *_: Any, **__: Any) -> None:
        """Open the subtask."""
        self.epoch_ = self.context.subcontext(task_name="epoch")
        self.epoch_.call_on_fit_task_begin(estimator=self.estimator, X=self.X)

    def on_epoch_end(self, net: NeuralNet, *_: Any, **__: Any) -> None:
        """Close the subtask, and stop if a callback asks for it."""
        is_over = self.epoch_.call_on_fit_task_end(
            estimator=self.estimator,
            X=self.X,
            reconstruction_attributes=self._snapshot,
        )
        if is_over:
            raise KeyboardInterrupt

    def _snapshot(self) -> dict[str, Any]:
        """Return what has been learnt so far, for a callback that asks for it."""
        return {"model_": self.estimator.model_.copy()}


def of_rank(callbacks: list, rank: int) -> list:
    """Return the callbacks of a rank: all on rank 0, on others those of gradients.

    What is printed is so but once, and gradients are changed alike on all.
    """
    if rank == 0:
        return callbacks
    kept = []
    for each in callbacks:
        callback = each[1] if isinstance(each, tuple) else each
        is_of_gradients = (
            type(callback).on_grad_computed is not Callback.on_grad_computed
        )
        if is_of_gradients or getattr(callback, "is_of_all_ranks", False):
            kept.append(each)
    return kept


def copy_callbacks(callbacks: Any) -> list:
    """Copy skorch callbacks, which may be given as (name, callback) too."""
    if callbacks is None:
        return []
    if not isinstance(callbacks, list | tuple):
        raise TypeError(
            f"callbacks={callbacks!r} is not a list; pass a list of skorch callbacks."
        )
    for each in callbacks:
        callback = each[1] if isinstance(each, tuple) and len(each) == 2 else each
        if not isinstance(callback, Callback):
            raise TypeError(
                f"callbacks holds {callback!r}, which is no skorch callback; pass "
                "instances of skorch.callbacks.Callback, and scikit-learn's own "
                "callbacks to set_callbacks."
            )
    return copy.deepcopy(list(callbacks))
