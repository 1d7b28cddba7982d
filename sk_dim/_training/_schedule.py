"""The learning rate from the progress of a training, its epochs and its batches."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sk_dim.encoders._contract import trait

WARM_UP = 0.1  # share of the training in which the learning rate rises
AUTO_EPOCHS_AT_1000 = 35  # epochs of max_iter="auto" for a thousand rows
AUTO_BATCH = 128  # rows of a batch of batch_size="auto"; on a GPU at least
LARGEST_AUTO_BATCH = 512
STEPS_AN_EPOCH = 40  # that larger batches leave


def batch_size_of(estimator: Any, model: Any, n_rows: int) -> int:
    """Return the batch size of an estimator for so many rows.

    A GPU takes no longer for 512 rows than for 128. More rows a step teach more, as
    long as an epoch keeps enough steps.
    """
    if not isinstance(estimator.batch_size, str):
        return int(estimator.batch_size)
    if model.device.type == "cpu":
        return AUTO_BATCH
    return max(AUTO_BATCH, min(n_rows // STEPS_AN_EPOCH, LARGEST_AUTO_BATCH))


def n_epochs_of(estimator: Any, model: Any, n_rows: int) -> int | None:
    """Return the epochs of an estimator for so many rows; None where time decides."""
    if not isinstance(estimator.max_iter, str):
        return int(estimator.max_iter)
    if estimator.max_time is not None:
        return None
    factor = trait(model.encoder, "epochs")
    if isinstance(estimator.batch_size, str):  # as many steps as on a CPU
        factor *= batch_size_of(estimator, model, n_rows) / AUTO_BATCH
    return auto_epochs(n_rows, factor)


def auto_epochs(n_rows: int, factor: float = 1.0) -> int:
    """Epochs for so many rows: ten times the rows get a third of the epochs."""
    n_epochs = min(60.0, AUTO_EPOCHS_AT_1000 * (1000 / n_rows) ** 0.5)
    return max(1, round(factor * n_epochs))


def now() -> float:
    """Read the clock, in seconds."""
    return time.monotonic()


@dataclass
class Schedule:
    """Learning rate from the progress of a fit: linear warm-up, then linear to zero.

    Parameters
    ----------
    peak : float
        Highest rate, and the constant one where nothing limits the training.
    n_steps : int, default=None
        Steps in all.
    seconds : float, default=None
        Time in all, from `start`; whichever of the two is nearer to its end counts.
    start : float
        Of the clock.
    first_step : int
        Number of the first step; not 0 where an earlier training goes on.
    clock : callable
        Returns seconds.
    """

    peak: float
    n_steps: int | None = None
    seconds: float | None = None
    start: float = 0.0
    first_step: int = 0
    clock: Callable[[], float] = now

    @property
    def is_out_of_time(self) -> bool:
        """Whether it is the time that is over."""
        spent = self.clock() - self.start
        return self.seconds is not None and spent >= self.seconds

    def progress(self, step: float) -> float:
        """How much of the training is done, 0 to 1."""
        done = 0.0
        if self.n_steps is not None:
            done = (step - self.first_step) / self.n_steps
        if self.seconds is not None:
            done = max(done, (self.clock() - self.start) / self.seconds)
        return min(done, 1.0)

    def rate(self, step: int) -> float:
        """Learning rate of the step with this number."""
        if self.n_steps is None and self.seconds is None:
            return self.peak
        done = self.progress(step + 0.5)  # the middle of the step: no rate is zero
        return self.peak * min(done / WARM_UP, (1 - done) / (1 - WARM_UP))
