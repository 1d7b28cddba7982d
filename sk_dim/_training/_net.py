"""The skorch net that trains encoder and objective.

Only hooks that skorch documents for the purpose are overridden.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, Self, cast

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import Tensor

from sk_dim._devices import exact_float32, reduced_precision, seeded
from sk_dim._inputs._batches import HoldOut, SliceLoader, Source, n_batches
from sk_dim._training import _interrupts
from sk_dim._training._callbacks import OwnCallback, StopAtTimeLimit
from sk_dim._training._progress import EpochPart, Position
from sk_dim._training._schedule import Schedule
from sk_dim._training._views import draw_views, encode_views
from sk_dim.encoders._contract import Encoder, Features, trait
from sk_dim.objective import Objective

ADVERSARY_LEARNING_RATE = 1e-3


class InfomaxNet(NeuralNet):
    """Trains an encoder (the module) and its objective (the criterion).

    Parameters
    ----------
    module : nn.Module
        Encoder: scaled batch to Features.
    criterion : Objective
        Views to terms.
    augment : callable or None
        Makes each of the two views; None trains on one.
    precision : {"float32", "bfloat16"}
        Of the forward pass in training.
    seed : int
        Of all that is drawn in training.
    has_own_parts : bool
        Whether a part is the user's own, which may draw from global generators.
    layer_shapes : dict of tuple of int
        Shape of a sample's features by the names of the layers.
    **kwargs
        Of skorch's NeuralNet.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        criterion: Objective,
        *,
        augment: Callable[[Tensor, torch.Generator], Tensor] | None,
        precision: str,
        seed: int,
        has_own_parts: bool,
        layer_shapes: dict[str, tuple[int, ...]],
        **kwargs: Any,
    ) -> None:
        super().__init__(module, criterion, **kwargs)
        self.augment = augment
        self.precision = precision
        self.seed = seed
        self.schedule = Schedule(self.lr)
        self.n_steps = 0
        self.has_own_parts = has_own_parts
        self.layer_shapes = layer_shapes
        self.is_stopped_by_callback = False
        self.has_fixed_views = False
        self.part: EpochPart | None = None
        self.shuffler = torch.Generator().manual_seed(seed)
        self.generator = torch.Generator(self.device).manual_seed(seed)

    callbacks_: list[tuple[str, Callback]]

    # The parts

    def get_default_callbacks(self) -> list:
        """No callbacks but those given: losses are recorded by the epoch here."""
        return []

    def initialize_optimizer(self, *args: Any, **kwargs: Any) -> Self:
        """Build the optimiser of encoder and critics, and the adversary's own."""
        adversary = self._adversary_parameters()
        theirs = {id(parameter) for parameter in adversary}
        named = [*self.module_.parameters(), *self.criterion_.parameters()]
        self.optimizer_ = torch.optim.AdamW(
            [parameter for parameter in named if id(parameter) not in theirs],
            lr=self.lr,
            weight_decay=1e-2,
            fused=self.device.type != "mps",
        )
        if adversary:
            self.adversary_optimizer_ = torch.optim.Adam(
                adversary, lr=ADVERSARY_LEARNING_RATE, betas=(0.5, 0.999)
            )
        return self

    def _own_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield what the main optimiser trains, for callbacks that clip gradients."""
        theirs = {id(parameter) for parameter in self._adversary_parameters()}
        for name, parameter in self.get_all_learnable_params():
            if id(parameter) not in theirs:
                yield name, parameter

    def _adversary_parameters(self) -> list[Tensor]:
        if not self.criterion_.has_adversary:
            return []
        return list(self.criterion_.prior.parameters())

    def get_dataset(self, X: Source, y: Any = None) -> Source:
        """Rows are a data set as they are."""
        return X

    def get_iterator(self, dataset: Source, training: bool = False) -> SliceLoader:
        """Slice whole batches, shuffled for training."""
        shuffler = self.shuffler if training else None
        return SliceLoader(dataset, self.batch_size, shuffler)

    # The step

    def make_views(self, batch: Tensor, generator: torch.Generator) -> list[Features]:
        """Features of the two views of a scaled batch, or of the batch itself.

        Views that were encoded already, (n, views, values), are those of the batch.
        """
        if self.has_fixed_views:
            finish = cast(Encoder, self.module_).finish
            return encode_views(finish, list(batch.unbind(1)))
        return self.encode_views(self.draw_views(batch, generator))

    def draw_views(self, batch: Tensor, generator: torch.Generator) -> list[Tensor]:
        """Two augmented versions of a scaled batch, or the batch itself."""
        return draw_views(self.augment, batch, generator)

    def encode_views(
        self, views: list[Tensor], *, is_shrunk: bool = True
    ) -> list[Features]:
        """Features of scaled views of the same samples, shrunk if the encoder says."""
        scale = trait(self.module_, "view_scale") if is_shrunk else None
        return encode_views(self.module_, views, scale)

    def _evaluate_terms(
        self, batch: Tensor, generator: torch.Generator, groups: Tensor | None
    ) -> dict[str, Any]:
        if groups is not None:
            groups = groups.to(self.device)
        with reduced_precision(self.device, self.precision):
            views = self.make_views(batch, generator)
            terms = self.criterion_(views, generator, groups)
        loss = self.criterion_.loss(terms)
        return {"loss": loss, "y_pred": views, "terms": terms}

    def train_step_single(
        self, batch: Tensor, groups: Tensor | None = None, **_: Any
    ) -> dict[str, Any]:
        """Forward and backward."""
        self._set_training(True)
        step = self._evaluate_terms(batch, self.generator, groups)
        step["loss"].backward()
        return step

    def train_step(
        self, batch: Tensor, groups: Tensor | None = None, **_: Any
    ) -> dict[str, Any]:
        """Step the encoder and the critics, then the adversary on detached codes."""
        for group in self.optimizer_.param_groups:
            group["lr"] = self.schedule.rate(self.n_steps)
        self.optimizer_.zero_grad(set_to_none=True)
        step = self.train_step_single(batch, groups)
        self.notify(
            "on_grad_computed",
            named_parameters=self._own_parameters(),
            batch=batch,
            training=True,
        )
        self.optimizer_.step()
        if self.criterion_.has_adversary:
            self.adversary_optimizer_.zero_grad(set_to_none=True)
            codes = torch.cat([view.code for view in step["y_pred"]])
            prior = self.criterion_.prior
            prior.discriminator_loss(codes, self.generator).backward()
            self.adversary_optimizer_.step()
        self.n_steps += 1
        return step

    def validation_step(
        self, batch: Tensor, groups: Tensor | None = None, **_: Any
    ) -> dict[str, Any]:
        """Forward on held-out rows, with the same views in every epoch."""
        self._set_training(False)
        generator = torch.Generator(self.device).manual_seed(self.seed)
        with torch.no_grad():
            return self._evaluate_terms(batch, generator, groups)

    def evaluation_step(self, batch: Tensor, training: bool = False) -> Features:
        """Features of a scaled batch, in float32 and evaluation mode."""
        self._set_training(training)
        with torch.inference_mode(), exact_float32(self.device):
            return Features(*self.module_(batch))

    # The epoch and the training

    def on_batch_begin(self, *_: Any, **__: Any) -> None:
        """Keep no record of single batches, which would grow without end."""

    def notify(self, method_name: str, **kwargs: Any) -> None:
        """Call the callbacks, and remember if one of them ended the training."""
        try:
            super().notify(method_name, **kwargs)
        except KeyboardInterrupt:
            # A callback takes most of the time of some fits: Ctrl-C may come in it.
            self.is_stopped_by_callback = not _interrupts.take_press()
            raise

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
            part.n_rows += len(batch)
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
        self._check_finite(names, table)
        for name, value in zip(names, table.mean(axis=0), strict=True):
            self.history.record(f"{prefix}_{name}", float(value))
        key = f"{prefix}_loss"
        seen = [row[key] for row in self.history if key in row]
        self.history.record(f"{key}_best", seen[-1] <= min(seen))
        if training:
            self.part = None
            seconds = max(time.monotonic() - start, 1e-9)  # of a coarse clock
            self.history.record("seconds", seconds)
            self.history.record("samples_per_second", part.n_rows / seconds)
            self.history.record("learning_rate", self.optimizer_.param_groups[0]["lr"])

    def _check_finite(self, names: Sequence[str], table: np.ndarray) -> None:
        """Raise a ValueError that names the first term that was not finite."""
        bad_steps = np.flatnonzero(~np.isfinite(table).all(axis=1))
        if len(bad_steps) == 0:
            return
        row = table[bad_steps[0], 1:]
        bad = [n for n, v in zip(names[1:], row, strict=True) if not np.isfinite(v)]
        raise ValueError(
            f"training diverged in epoch {len(self.history)}: the "
            f"{' and '.join(bad) or 'loss'} term became non-finite; lower "
            f"learning_rate (now {self.schedule.peak:g}), or "
            f"{' or '.join(f'{name}_weight' for name in bad) or 'the weights'}, or "
            "try bound='infonce'."
        )

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
        self.schedule = Schedule(learning_rate)
        if is_annealed:
            n_steps = n_epochs and n_epochs * n_batches(n_rows, batch_size)
            self.schedule = Schedule(
                learning_rate, n_steps, seconds, first_step=first_step
            )

    def train(
        self,
        rows: Source,
        n_epochs: int | None,
        callbacks: list,
        position: Position,
        *,
        has_fixed_views: bool = False,
    ) -> bool:
        """Train to `n_epochs` or until a callback ends it; whether Ctrl-C did.

        Epochs that are done at the position count.
        With fixed views the rows are views that were encoded already.

        Raises
        ------
        KeyboardInterrupt
            At a Ctrl-C before the first step, and at a second one within two seconds,
            also of another net.
        ValueError
            If the training diverges.
        """
        self.is_stopped_by_callback = False
        self.has_fixed_views = has_fixed_views
        self.position, self.part = position, position.part
        self.callbacks = [*callbacks, StopAtTimeLimit()]
        self.initialize_callbacks()
        first_step = self.n_steps
        is_interrupted = False
        # What prepared it does not count.
        self.schedule.start = time.monotonic() - position.seconds
        with _interrupts.recorded():
            _interrupts.take_press()  # one from before is not of this training
            try:
                self.notify("on_train_begin", X=rows, y=None)
                self._run_epochs(rows, n_epochs)
            except KeyboardInterrupt:
                is_interrupted = not self.is_stopped_by_callback
                if is_interrupted:
                    _interrupts.take_press()
                    if _interrupts.is_second_interrupt() or self.n_steps == first_step:
                        raise
        self.notify("on_train_end", X=rows, y=None)
        # Those of the estimator hold the training data, and the estimator itself.
        self.callbacks_ = [
            pair for pair in self.callbacks_ if not isinstance(pair[1], OwnCallback)
        ]
        self.callbacks = []
        self._check_weights()
        return is_interrupted

    def _run_epochs(self, rows: Source, n_epochs: int | None) -> None:
        # Parts of the user may draw from torch's global generator (dropout, say), other
        # numbers each time that the training goes on.
        seed = self.seed + self.n_steps
        n_left = sys.maxsize if n_epochs is None else n_epochs - self.n_epochs_done
        with seeded(seed, self.device) if self.has_own_parts else nullcontext():
            self.fit_loop(rows, epochs=n_left)

    @property
    def n_epochs_done(self) -> int:
        """Epochs of this training in the history, with one that runs."""
        return len(self.history) - self.position.n_records

    def _check_weights(self) -> None:
        """Raise a ValueError if the last step made weights that are not finite."""
        parameters = (*self.module_.parameters(), *self.criterion_.parameters())
        if not all(bool(each.isfinite().all()) for each in parameters):
            raise self.diverged("weights")

    def diverged(self, what: str) -> ValueError:
        """Make the error of a training whose last step made this not finite."""
        return ValueError(
            f"training diverged in epoch {len(self.history)}: {what} became "
            f"non-finite; lower learning_rate (now {self.schedule.peak:g})."
        )

    def forget_moments(self) -> None:
        """Free what only a training that goes on needs: three times the weights."""
        optimizers: list[torch.optim.Optimizer] = [self.optimizer_]
        if self.criterion_.has_adversary:
            optimizers.append(self.adversary_optimizer_)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
            optimizer.state.clear()
