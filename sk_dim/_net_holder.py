"""An estimator that holds a net: builds it, trains it, forgets it, pickles it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sk_dim._batches import SliceLoader, count_held_out
from sk_dim._callbacks import (
    EpochReport,
    EpochTasks,
    copy_callbacks,
)
from sk_dim._design import Design, check_augment
from sk_dim._features import Features
from sk_dim._inputs import Rows, Scaling, check_rows, read_rows
from sk_dim._net import InfomaxNet
from sk_dim._saving import pack_net, unpack_net
from sk_dim._validation import (
    available_device,
    check_integer,
    check_layer,
    check_real,
    choose_device,
    choose_precision,
    warn,
)

INFERENCE_BATCH_SIZE = 512


class NetHolder(CallbackSupportMixin, BaseEstimator):
    """What is private in an estimator with DeepInfomaxTransformer's parameters."""

    _design: Design
    _can_resume: bool

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
            for batch in SliceLoader(rows, INFERENCE_BATCH_SIZE):
                part = slice(start, start + len(batch))
                start += len(batch)
                for name, values in compute(self.net_.evaluation_step(batch)).items():
                    if name not in joined:
                        joined[name] = torch.empty(len(rows), *values.shape[1:])
                    joined[name][part] = values
        return {name: values.numpy() for name, values in joined.items()}

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
                for batch in SliceLoader(rows, self.batch_size)
            ]
        return [np.concatenate(views) for views in zip(*batches, strict=True)]

    def _prepare(self, X: ArrayLike, *, is_new: bool) -> Rows:
        """Check all that is given and build the net if it is new, before training."""
        check_integer("batch_size", self.batch_size, 2, " leaves no negatives")
        check_real("learning_rate", self.learning_rate, exclusive=True)
        check_real("validation_fraction", self.validation_fraction, maximum=1.0)
        copy_callbacks(self.callbacks)
        if not is_new:
            rows = self._check_rows(X, n_min=2)
            self._design.check_unchanged(Design.from_params(vars(self), rows.fmt))
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
        """Delete what a fit learnt: nothing half-trained is kept."""
        for name in list(vars(self)):
            if name.endswith("_") and not name.startswith("__"):
                delattr(self, name)

    def _train(
        self, rows: Rows, X: ArrayLike, n_epochs: int | None, start: float | None
    ) -> None:
        """Train the net; without `start`, at a constant learning rate."""
        net = self.net_
        net.set_training(
            rows,
            n_epochs,
            batch_size=self.batch_size,
            validation_fraction=self.validation_fraction,
            learning_rate=self.learning_rate,
            seconds=None if start is None else self.max_time,
            start=start,
        )
        callbacks = copy_callbacks(self.callbacks)
        if self.verbose:
            callbacks.append(EpochReport(n_epochs, net.schedule.seconds))
        context = None
        n_before = len(net.history)
        try:
            if start is not None:
                context = self._init_callback_context(max_subtasks=n_epochs)
                context.call_on_fit_task_begin(estimator=self, X=X)
                callbacks.append(EpochTasks(self, context, X))
            is_interrupted = net.train(rows.to(self.device_), n_epochs, callbacks)
        except BaseException:
            self._forget()
            raise
        new = net.records(n_before, first_epoch=len(self.history_) + 1)
        self._install(net, self.history_ + new)
        if is_interrupted:
            of = f" of {n_epochs}" if n_epochs else ""
            warn(
                f"Ctrl-C ended the training after epoch {self.n_iter_}{of}; the model "
                "is kept and can be used. Press Ctrl-C twice within two seconds to "
                "end everything.",
            )
        if context is not None:
            context.call_on_fit_task_end(estimator=self, X=X)

    # A net is not pickled as it is, but as the arrays it consists of.

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("encoder_", None)
        if "net_" in state:
            can_resume = self.warm_start or self._can_resume
            state["net_"] = pack_net(state["net_"], can_resume)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        packed = state.pop("net_", None)
        super().__setstate__(state)
        if packed is not None:
            device = self.device_
            if device.type != "cpu":
                device = available_device(device)
            net = unpack_net(packed, self._design, device, self.precision_)
            self._install(net, self.history_)
