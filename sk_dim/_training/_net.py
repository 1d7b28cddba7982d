"""The skorch net that trains encoder and objective.

Only hooks that skorch documents for the purpose are overridden.
"""

import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from skorch.callbacks import Callback

from sk_dim._devices import seeded
from sk_dim._inputs._batches import HoldOut, SliceLoader, Source, n_batches
from sk_dim._threads import ThreadWatch
from sk_dim._training import _interrupts
from sk_dim._training._callbacks import (
    LooksAtThreads,
    OwnCallback,
    StopAtTimeLimit,
    of_rank,
)
from sk_dim._training._captured import graphs_of
from sk_dim._training._norms import synchronised
from sk_dim._training._progress import (
    EpochPart,
    Position,
    check_finite,
    check_last,
    record_means,
)
from sk_dim._training._ranks import check_shares
from sk_dim._training._schedule import Schedule
from sk_dim._training._step import InfomaxSteps
from sk_dim._training._views import ViewedRows

# What a process wishes: the strongest wish of all processes is done.
GO_ON, STOP, INTERRUPT = range(3)


class InfomaxNet(InfomaxSteps):
    """Trains an encoder and its objective by epochs, to an end or to an interrupt."""

    callbacks_: list[tuple[str, Callback]]
    is_stopped_by_callback = False
    part: EpochPart | None = None
    wish = GO_ON

    def on_batch_begin(self, *_: Any, **__: Any) -> None:
        """Keep no record of single batches, which would grow without end."""

    def notify(self, method_name: str, **kwargs: Any) -> None:
        """Call the callbacks, and remember if one of them ended the training."""
        try:
            super().notify(method_name, **kwargs)
        except KeyboardInterrupt:
            # A callback takes most of the time of some fits: Ctrl-C may come in it.
            self.is_stopped_by_callback = not _interrupts.take_press()
            if self.ranks.size == 1:
                raise
            self.wish = STOP if self.is_stopped_by_callback else INTERRUPT
        if method_name == "on_epoch_end":
            self.agree()

    def agree(self) -> None:
        """End the training on every rank, after the same step, if it is to end on one.

        Alone there is nothing to agree on: whatever ends a training has been raised.
        """
        wish = INTERRUPT if _interrupts.is_pressed() else self.wish
        agreed = self.ranks.agree(wish)
        if agreed != GO_ON:
            self.is_stopped_by_callback = agreed == STOP
            raise KeyboardInterrupt

    def run_single_epoch(
        self,
        iterator: SliceLoader | None,
        training: bool,
        prefix: str,
        step_fn: Callable[..., dict[str, Any]],
        **fit_params: Any,
    ) -> None:
        """Run an epoch, with one look at the losses on the device at its end."""
        if iterator is None:
            return
        part = EpochPart(self.shuffler.get_state(), len(iterator))
        if training:
            self.history.new_batch()  # one an epoch, for callbacks that look for it
            # Of an epoch that goes on after a kill, some steps are done.
            part = self.part = self.part or part
            self.shuffler.set_state(part.shuffler)
        start = time.monotonic() - part.seconds
        values = part.values
        for batch, groups in iterator.with_groups(first=len(values)):
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, groups=groups, **fit_params)
            part.n_rows += self.ranks.count(batch)
            terms = step["terms"]
            values.append(torch.stack([step["loss"], *terms.values()]).detach())
            if self.device.type == "cpu" and not bool(step["loss"].isfinite()):
                break  # elsewhere a look would wait for the device in every step
            part.seconds = time.monotonic() - start
            self.notify("on_batch_end", batch=batch, training=training, **step)
            if training and self.schedule.progress(self.n_steps) >= 1:
                break
        names = ["loss", *terms]
        # A part of the user may have made a term in the precision of the training.
        table = torch.stack(values).float().cpu().numpy().astype(float)
        check_finite(names, table, len(self.history), self.schedule.peak)
        record_means(self.history, prefix, names, table)
        if training:
            self.part = None
            seconds = max(time.monotonic() - start, 1e-9)  # of a coarse clock
            self.history.record("seconds", seconds)
            self.history.record("samples_per_second", part.n_rows / seconds)
            rate = float(self.optimizer_.param_groups[0]["lr"])
            self.history.record("learning_rate", rate)

    def configure(
        self,
        source: Source,
        n_epochs: int | None,
        *,
        batch_size: int,
        validation_fraction: float,
        learning_rate: float,
        seconds: float | None,
        is_annealed: bool,
        first_step: int,
    ) -> None:
        """Set what may change from one training of the net to the next."""
        self.batch_size = batch_size
        self.train_split = None
        n_rows = len(source)
        if validation_fraction > 0:
            self.train_split = HoldOut(validation_fraction, self.seed)
            n_rows = len(self.train_split(source)[0])
        check_shares(n_rows, batch_size, self.ranks.size)
        self.schedule = Schedule(learning_rate)
        if is_annealed:
            n_steps = n_epochs and n_epochs * n_batches(n_rows, batch_size)
            self.schedule = Schedule(
                learning_rate,
                n_steps,
                seconds,
                first_step=first_step,
                clock=self.ranks.clock,
            )

    def train(
        self,
        rows: Source,
        n_epochs: int | None,
        callbacks: list,
        position: Position,
    ) -> bool:
        """Train to `n_epochs` or until a callback ends it; whether Ctrl-C did.

        Epochs that are done at the position count.

        Raises
        ------
        KeyboardInterrupt
            At a Ctrl-C before the first step, and at a second one within two seconds,
            also of another net.
        ValueError
            If the training diverges.
        """
        self.is_stopped_by_callback = False
        self.has_fixed_views = isinstance(rows, ViewedRows)
        self.wish = GO_ON
        self.position, self.part = position, position.part
        threads = ThreadWatch(self.device)
        own = [StopAtTimeLimit(), LooksAtThreads(threads)]
        self.callbacks = [*of_rank(callbacks, self.ranks.rank), *own]
        self.initialize_callbacks()
        first_step = self.n_steps
        is_interrupted = False
        is_joint = self.ranks.size > 1
        modules = [self.module_]
        if self.criterion_.is_divisible(rows.groups is not None):
            modules.append(self.criterion_)  # whose heads see the rank's own rows
        with (
            threads,
            _interrupts.recorded(is_joint=is_joint),
            synchronised(modules, self.ranks),
        ):
            _interrupts.take_press()  # one from before is not of this training
            try:
                self.ranks.agree(GO_ON)
                # What prepared it does not count.
                self.schedule.start = self.ranks.clock() - position.seconds
                self.notify("on_train_begin", X=rows, y=None)
                self.graphs = graphs_of(self, rows.groups)
                self._run_epochs(rows, n_epochs)
            except KeyboardInterrupt:
                is_interrupted = not self.is_stopped_by_callback
                if is_interrupted:
                    _interrupts.take_press()
                    is_second = not is_joint and _interrupts.is_second_interrupt()
                    if is_second or self.n_steps == first_step:
                        raise
            finally:
                self.graphs = None
        self.notify("on_train_end", X=rows, y=None)
        # Those of the estimator hold the training data, and the estimator itself.
        self.callbacks_ = [
            pair for pair in self.callbacks_ if not isinstance(pair[1], OwnCallback)
        ]
        self.callbacks = []
        parameters = (*self.module_.parameters(), *self.criterion_.parameters())
        check_last(self.history, self.schedule.peak, weights=parameters)
        return is_interrupted

    def _run_epochs(self, rows: Source, n_epochs: int | None) -> None:
        # Parts of the user may draw from torch's global generator (dropout, say).
        draws = self.has_own_parts
        n_left = sys.maxsize if n_epochs is None else n_epochs - self.n_epochs_done
        # By another seed each time that the training goes on.
        with seeded(self.seed + self.n_steps, self.device) if draws else nullcontext():
            self.fit_loop(rows, epochs=n_left)

    @property
    def n_epochs_done(self) -> int:
        """Epochs of this training in the history, with one that runs."""
        return len(self.history) - self.position.n_records
