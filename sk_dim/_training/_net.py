"""The skorch net that trains encoder and objective.

Only hooks that skorch documents for the purpose are overridden.
"""

import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import cached_property
from typing import Any, Self, cast

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import Tensor

from sk_dim._devices import exact_float32, reduced_precision, seeded
from sk_dim._inputs._batches import HoldOut, SliceLoader, Source, n_batches
from sk_dim._training import _interrupts
from sk_dim._training._callbacks import OwnCallback, StopAtTimeLimit, of_rank
from sk_dim._training._norms import synchronised
from sk_dim._training._optimizers import (
    build_optimizers,
    main_parameters,
)
from sk_dim._training._progress import (
    EpochPart,
    Position,
    check_finite,
    check_last,
    record_means,
)
from sk_dim._training._ranks import Alone, Ranks, check_shares
from sk_dim._training._schedule import Schedule
from sk_dim._training._views import ViewedRows, draw_views, encode_views
from sk_dim.encoders._contract import Encoder, Features, trait
from sk_dim.objective import Objective

# What a process wishes: the strongest wish of all processes is done.
GO_ON, STOP, INTERRUPT = range(3)


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
    has_own_parts, has_own_views : bool
        Whether a part is the user's own, which may draw from global generators, or the
        augmentation, which may draw once for a whole batch.
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
        has_own_views: bool,
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
        self.has_own_views = has_own_views
        self.layer_shapes = layer_shapes
        self.is_stopped_by_callback = False
        self.has_fixed_views = False
        self.part: EpochPart | None = None
        self.shuffler = torch.Generator().manual_seed(seed)
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.ranks: Alone | Ranks = Alone()
        self.wish = GO_ON

    callbacks_: list[tuple[str, Callback]]

    # The parts

    def get_default_callbacks(self) -> list:
        """No callbacks but those given: losses are recorded by the epoch here."""
        return []

    def initialize_optimizer(self, *args: Any, **kwargs: Any) -> Self:
        """Leave it to the first use: to build one, torch imports for seconds."""
        self.__dict__.pop("optimizers", None)
        return self

    @cached_property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """The optimiser of encoder and critics, and the adversary's own, if any."""
        return build_optimizers(
            self.module_,
            self.criterion_,
            self.lr,
            is_fused=self.device.type != "mps",
        )

    @property
    def optimizer_(self) -> torch.optim.Optimizer:
        """Where skorch has it."""
        return self.optimizers[0]

    def get_dataset(self, X: Source, y: Any = None) -> Source:
        """Rows are a data set as they are."""
        return X

    def get_iterator(self, dataset: Source, training: bool = False) -> SliceLoader:
        """Slice whole batches, shuffled for training."""
        shuffler = self.shuffler if training else None
        return self.ranks.loader(dataset, self.batch_size, shuffler)

    # The step

    def make_views(self, batch: Tensor, generator: torch.Generator) -> list[Features]:
        """Features of the two views of a scaled batch, or of the batch itself.

        Views that were encoded already, (n, views, values), are those of the batch.
        """
        if self.has_fixed_views:
            finish = cast(Encoder, self.module_).finish
            return encode_views(finish, list(batch.unbind(1)))
        return self.encode_views(self.draw_views(batch, generator))

    def draw_views(
        self, batch: Tensor, generator: torch.Generator, *, is_shrunk: bool = True
    ) -> list[Tensor]:
        """Two augmented versions of a scaled batch, or the batch itself.

        Those of images are shrunk if the encoder says.
        """
        scale = trait(self.module_, "view_scale") if is_shrunk else None
        is_own = self.has_own_views
        return draw_views(self.augment, batch, generator, is_own=is_own, scale=scale)

    def encode_views(self, views: list[Tensor]) -> list[Features]:
        """Features of scaled views of the same samples."""
        return encode_views(self.module_, views)

    def _evaluate_terms(
        self,
        batch: Tensor,
        generator: torch.Generator,
        view_generator: torch.Generator,
        groups: Tensor | None,
    ) -> dict[str, Any]:
        ranks = None if self.ranks.size == 1 else self.ranks
        if groups is not None:
            groups = groups.to(self.device)
        with reduced_precision(self.device, self.precision):
            self._reseed(self.ranks.rank)
            views = self.make_views(batch, view_generator)
            self._reseed(self.ranks.size)  # a gathered batch has the same terms on all
            terms = self.criterion_(views, generator, groups, ranks)
        loss = self.criterion_.loss(terms)
        return {"loss": loss, "y_pred": views, "terms": terms}

    def _reseed(self, number: int) -> None:
        """Let parts of the user draw by step and number, where there are ranks."""
        if self.has_own_parts:
            self.ranks.reseed(self.device, self.seed, self.n_steps, number)

    def train_step_single(
        self, batch: Tensor, groups: Tensor | None = None, **_: Any
    ) -> dict[str, Any]:
        """Forward and backward."""
        if not (self.module_.training and self.criterion_.training):
            self._set_training(True)  # once an epoch: it walks through all modules
        own = self.ranks.own_generator(self.generator, self.seed, self.n_steps)
        step = self._evaluate_terms(batch, self.generator, own, groups)
        step["loss"].backward()
        parts = self.optimizer_.param_groups
        self.ranks.average(each for part in parts for each in part["params"])
        return step

    def train_step(
        self, batch: Tensor, groups: Tensor | None = None, **_: Any
    ) -> dict[str, Any]:
        """Step the encoder and the critics, then the adversary on detached codes."""
        self._agree()
        for group in self.optimizer_.param_groups:
            group["lr"] = group["factor"] * self.schedule.rate(self.n_steps)
        self.optimizer_.zero_grad(set_to_none=True)
        step = self.train_step_single(batch, groups)
        self.notify(
            "on_grad_computed",
            named_parameters=main_parameters(
                self.get_all_learnable_params(), self.criterion_
            ),
            batch=batch,
            training=True,
        )
        self.optimizer_.step()
        if self.criterion_.has_adversary:
            adversary_optimizer = self.optimizers[1]
            adversary_optimizer.zero_grad(set_to_none=True)
            own = [view.code.detach() for view in step["y_pred"]]
            codes = torch.cat(self.ranks.gather(own))
            prior = self.criterion_.prior
            prior.discriminator_loss(codes, self.generator).backward()
            self.ranks.average(prior.parameters())
            adversary_optimizer.step()
        self.n_steps += 1
        return step

    def validation_step(
        self, batch: Tensor, groups: Tensor | None = None, **_: Any
    ) -> dict[str, Any]:
        """Forward on held-out rows, with the same views in every epoch."""
        self._set_training(False)
        generator = torch.Generator(self.device).manual_seed(self.seed)
        own = self.ranks.own_generator(generator, self.seed)
        with torch.no_grad():
            return self._evaluate_terms(batch, generator, own, groups)

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
            if self.ranks.size == 1:
                raise
            self.wish = STOP if self.is_stopped_by_callback else INTERRUPT
        if method_name == "on_epoch_end":
            self._agree()

    def _agree(self) -> None:
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
            self.history.record("learning_rate", self.optimizer_.param_groups[0]["lr"])

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
        self.callbacks = [*of_rank(callbacks, self.ranks.rank), StopAtTimeLimit()]
        self.initialize_callbacks()
        first_step = self.n_steps
        is_interrupted = False
        is_joint = self.ranks.size > 1
        modules = [self.module_]
        if self.criterion_.is_divisible(rows.groups is not None):
            modules.append(self.criterion_)  # whose heads see the rank's own rows
        with (
            _interrupts.recorded(is_joint=is_joint),
            synchronised(modules, self.ranks),
        ):
            _interrupts.take_press()  # one from before is not of this training
            try:
                self.ranks.agree(GO_ON)
                # What prepared it does not count.
                self.schedule.start = self.ranks.clock() - position.seconds
                self.notify("on_train_begin", X=rows, y=None)
                self._run_epochs(rows, n_epochs)
            except KeyboardInterrupt:
                is_interrupted = not self.is_stopped_by_callback
                if is_interrupted:
                    _interrupts.take_press()
                    is_second = not is_joint and _interrupts.is_second_interrupt()
                    if is_second or self.n_steps == first_step:
                        raise
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
