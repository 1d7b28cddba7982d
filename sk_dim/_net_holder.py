"""An estimator that holds a net: builds it, trains it, forgets it, pickles it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sk_dim._batches import SliceLoader, count_held_out, rows_that_fit
from sk_dim._callbacks import (
    EpochReport,
    EpochTasks,
    copy_callbacks,
)
from sk_dim._design import Design, check_augment
from sk_dim._devices import available_device, choose_device, choose_precision
from sk_dim._features import Features
from sk_dim._inputs import Rows, Scaling, check_rows, read_rows
from sk_dim._net import InfomaxNet
from sk_dim._saving import pack_net, unpack_net
from sk_dim._validation import check_integer, check_layer, check_real, warn

INFERENCE_BATCH_SIZE = 512
FEW_STEPS = 3  # of a training that time ends, below which it is warned


class NetHolder(CallbackSupportMixin, BaseEstimator):
    """What is private in an estimator with DeepInfomaxTransformer's parameters."""

    _design: Design
    _can_resume: bool

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "net_")

    def _check_rows(self, X: ArrayLike, n_min: int = 1) -> Rows:
        """Check X against what fit saw."""
        check_is_fitted(self)
        fmt = self._design.fmt
        return Rows(check_rows(self, X, fmt, n_min), fmt)

    def _collect(
        self, rows: Rows, compute: Callable[[Features], dict[str, Tensor]]
    ) -> dict[str, np.ndarray]:
        """Join what is computed of the features of every batch, by its names."""
        # Tensors, because torch copies with all threads and numpy with one.
        joined: dict[str, Tensor] = {}
        start = 0
        with torch.inference_mode():
            for batch in SliceLoader(rows, self._n_at_once(INFERENCE_BATCH_SIZE)):
                part = slice(start, start + len(batch))
                start += len(batch)
                for name, values in compute(self.net_.evaluation_step(batch)).items():
                    if name not in joined:
                        joined[name] = torch.empty(len(rows), *values.shape[1:])
                    joined[name][part] = values
        return {name: values.numpy() for name, values in joined.items()}

    def _n_at_once(self, most: int) -> int:
        """How many samples are encoded at once, without their gradients."""
        return rows_that_fit(self._design.fmt.n_features, most)

    def _transform_views(self, X: ArrayLike, seed: int) -> list[np.ndarray]:
        """Global features of two views of each sample, or of itself where there is one.

        Views are made as in training, and encoded in evaluation mode.
        """
        net = self.net_
        rows = self._check_rows(X)
        generator = torch.Generator(self.device_).manual_seed(seed)
        net.module_.eval()
        with torch.inference_mode():
            batches = [
                [
                    view.global_.cpu().numpy()
                    for view in net.make_views(batch, generator)
                ]
                for batch in SliceLoader(rows, self._n_at_once(self.batch_size))
            ]
        return [np.concatenate(views) for views in zip(*batches, strict=True)]

    @contextmanager
    def _unchanged_if_it_fails(self, *, is_new: bool) -> Iterator[None]:
        """Leave the estimator as it was where a fit is refused or breaks off."""
        before = dict(vars(self))
        if not is_new:
            # Training changes the net itself.
            before["net_"] = self.net_.copy()
            before["encoder_"] = before["net_"].module_
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _prepare(self, X: ArrayLike, *, is_new: bool) -> Rows:
        """Check all that is given and build the net if it is new, before training."""
        check_integer("batch_size", self.batch_size, 2, " leaves no negatives")
        check_real("learning_rate", self.learning_rate, exclusive=True)
        check_real("validation_fraction", self.validation_fraction, maximum=1.0)
        copy_callbacks(self.callbacks)
        if not is_new:
            rows = self._check_rows(X, n_min=2)
            self._design.check_unchanged(Design.from_params(vars(self), rows.fmt))
            check_layer(self.output_layer, self.net_.layer_shapes)
            count_held_out(len(rows), self.validation_fraction)
            return rows
        self._forget()
        device = choose_device(self.device)
        precision = choose_precision(self.precision, device)
        rows = read_rows(self, X)
        count_held_out(len(rows), self.validation_fraction)
        design = Design.from_params(vars(self), rows.fmt)
        scaling = Scaling.learn(rows, device)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        if design.augment is not None:
            check_augment(design.augment, scaling(rows.take(slice(0, 8))), seed)
        net = design.build(scaling, precision, seed)
        check_layer(self.output_layer, net.layer_shapes)
        if hasattr(net.module_, "learn_first"):
            net.module_.learn_first(scaling(rows.draw(seed)), seed)
        self._design = design
        self._can_resume = False
        self._install(net, [])
        return rows

    def _install(self, net: InfomaxNet, history: list[dict]) -> None:
        """Set the attributes that follow from the net."""
        self.net_ = net
        self.encoder_ = net.module_
        self.input_shape_ = self._design.fmt.shape
        self.device_ = net.scaling.device
        self.precision_ = net.precision
        self.history_ = history
        self.n_iter_ = len(history)

    def _forget(self) -> None:
        """Delete what an earlier fit learnt."""
        for name in list(vars(self)):
            if name.endswith("_") and not name.startswith("__"):
                delattr(self, name)

    def _train(
        self, rows: Rows, X: ArrayLike, n_epochs: int | None, *, is_partial: bool
    ) -> None:
        """Train the net; if partial, at a constant learning rate."""
        net = self.net_
        net.set_training(
            rows,
            n_epochs,
            batch_size=self.batch_size,
            validation_fraction=self.validation_fraction,
            learning_rate=self.learning_rate,
            seconds=None if is_partial else self.max_time,
            is_annealed=not is_partial,
        )
        callbacks = copy_callbacks(self.callbacks)
        if self.verbose:
            callbacks.append(EpochReport(n_epochs, net.schedule.seconds))
        context = None
        n_before, first_step = len(net.history), net.n_steps
        if not is_partial:
            context = self._init_callback_context(max_subtasks=n_epochs)
            context.call_on_fit_task_begin(estimator=self, X=X)
            callbacks.append(EpochTasks(self, context, X))
        is_interrupted = net.train(rows.to(self.device_), n_epochs, callbacks)
        new = net.records(n_before, first_epoch=len(self.history_) + 1)
        self._install(net, self.history_ + new)
        n_steps = net.n_steps - first_step
        if is_interrupted:
            of = f" of {n_epochs}" if n_epochs else ""
            warn(
                f"Ctrl-C ended the training after {len(new)}{of} epochs and {n_steps} "
                "steps; the model of the last step is kept and can be used. Press "
                "Ctrl-C twice within two seconds to end everything."
            )
        elif net.schedule.is_out_of_time and n_steps < FEW_STEPS:
            warn(
                f"max_time={self.max_time} s was over after {n_steps} steps of "
                "training, which teach next to nothing; allow more time, or choose a "
                "smaller encoder or batch_size."
            )
        if not self._keeps_moments:
            net.forget_moments()
        if context is not None:
            context.call_on_fit_task_end(estimator=self, X=X)

    @property
    def _keeps_moments(self) -> bool:
        """Whether the training may go on as if it had not stopped."""
        return self.warm_start or self._can_resume

    # A net is not pickled as it is, but as the arrays it consists of.

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("encoder_", None)
        if "net_" in state:
            state["net_"] = pack_net(state["net_"], self._keeps_moments)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        packed = state.pop("net_", None)
        defaults = type(self)().get_params(deep=False)
        lacking = [name for name in defaults if name not in state]
        if lacking:
            warn(
                f"this estimator was saved without {', '.join(lacking)}, by another "
                "version of sk_dim; the defaults of this version are taken."
            )
        super().__setstate__({name: defaults[name] for name in lacking} | state)
        if packed is not None:
            device = self.device_
            if device.type != "cpu":
                device = available_device(device)
            net = unpack_net(packed, self._design, device, self.precision_)
            self._install(net, self.history_)

    def __copy__(self) -> Self:
        # Not by the state, from which a net would be built anew: callbacks of
        # scikit-learn are given a copy at the end of every epoch.
        copied = type(self).__new__(type(self))
        copied.__dict__.update(self.__dict__)
        if hasattr(self, "net_"):
            copied._install(self.net_.copy(), list(self.history_))
        return copied
