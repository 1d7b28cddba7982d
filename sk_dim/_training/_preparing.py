"""From an estimator and what it is given to a model and rows for it."""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from sk_dim._devices import (
    PRECISIONS,
    check_fork,
    choose_device,
    choose_precision,
)
from sk_dim._inputs._batches import count_held_out
from sk_dim._inputs._formats import InputFormat
from sk_dim._inputs._rows import Rows, check_rows, read_rows
from sk_dim._inputs._shards import ShardedRows, is_shards
from sk_dim._training._callbacks import copy_callbacks
from sk_dim._training._design import Design
from sk_dim._training._group import count_devices
from sk_dim._training._model import Model
from sk_dim._validation import (
    check_integer_or_auto,
    check_layer,
    check_name,
    check_real,
)


def prepare(
    estimator: BaseEstimator, X: Any, groups: np.ndarray | None = None
) -> tuple[Rows, Model]:
    """Check X and the parameters of an estimator, and build an untrained model.

    Parameters
    ----------
    estimator : estimator
        With the parameters of DeepInfomaxTransformer. It gets `n_features_in_`, and
        `feature_names_in_` where X has names.
    X : array-like of shape (n, ...), or shards
        Samples that it is to learn from.
    groups : ndarray of int, of shape (n,), or None, default=None
        Codes of groups of samples.

    Returns
    -------
    rows : Rows
        The samples.
    model : Model
        Of the parameters, with the scaling of these rows.

    Raises
    ------
    ValueError or TypeError
        For what cannot be used.
    """
    check_training(estimator)
    device = choose_device(estimator.device)
    precision = choose_precision(estimator.precision, device)
    rows = ShardedRows(estimator, X) if is_shards(X) else read_rows(estimator, X)
    _check_count(rows, groups)
    count_held_out(len(rows), estimator.validation_fraction, groups)
    design = Design.from_params(vars(estimator), rows.fmt)
    rows.fmt = design.fmt
    rows.check_lengths()
    seed = int(check_random_state(estimator.random_state).randint(2**31 - 1))
    model = Model.build(design, rows, device, precision, seed)
    check_layer(estimator.output_layer, model.net.layer_shapes)
    return rows, model


def resume(estimator: BaseEstimator, X: Any, groups: np.ndarray | None = None) -> Rows:
    """Check that a fitted estimator can be trained on, by X and its parameters."""
    model = estimator.model_
    check_training(estimator)
    _check_device(estimator.device, model.device)
    precision = choose_precision(estimator.precision, model.device)
    if is_shards(X):
        rows: Rows = ShardedRows(estimator, X, model.fmt)
        rows.check_lengths()
    else:
        rows = rows_like(estimator, X, model.fmt, n_min=2)
    _check_count(rows, groups)
    model.scaling.check(rows)
    model.design.check_unchanged(Design.from_params(vars(estimator), rows.fmt))
    check_layer(estimator.output_layer, model.net.layer_shapes)
    count_held_out(len(rows), estimator.validation_fraction, groups)
    model.net.precision = precision
    return rows


def _check_count(rows: Rows, groups: np.ndarray | None) -> None:
    """Raise a ValueError unless shards have as many rows as there are groups."""
    if groups is not None and len(groups) != len(rows):
        raise ValueError(
            f"groups has {len(groups)} values for {len(rows)} rows in all shards; give "
            "one for each row, in the order of the shards."
        )


def _check_device(given: Any, used: torch.device) -> None:
    """Raise a ValueError where a training is to go on elsewhere than the model is."""
    is_any = isinstance(given, str) and given == "auto"
    if not is_any and choose_device(given) != used:
        raise ValueError(
            f"device={str(given)!r}, but the model that is to be trained on is on "
            f"{str(used)!r}; use device='auto' to train on there, or fit anew with "
            "warm_start=False."
        )


def check_training(estimator: BaseEstimator) -> None:
    """Check the parameters that may change from one training to the next."""
    check_fork()
    check_integer_or_auto("max_iter", estimator.max_iter, 1)
    if estimator.max_time is not None:
        check_real("max_time", estimator.max_time, exclusive=True)
    check_name("precision", estimator.precision, PRECISIONS)
    copy_callbacks(estimator.callbacks)
    count_devices(estimator.n_devices, estimator.device)
    check_integer_or_auto("batch_size", estimator.batch_size, 2, " leaves no negatives")
    check_real("learning_rate", estimator.learning_rate, exclusive=True)
    check_real("validation_fraction", estimator.validation_fraction, maximum=1.0)


def rows_like(
    estimator: BaseEstimator,
    X: ArrayLike,
    fmt: InputFormat,
    n_min: int = 1,
    *,
    has_names: bool = True,
) -> Rows:
    """Check X against what fit saw; with `has_names` also the names of columns."""
    rows = Rows(check_rows(estimator, X, fmt, n_min, has_names=has_names), fmt)
    rows.check_lengths()
    return rows
