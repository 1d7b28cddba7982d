"""Rows: samples taken out of X a batch at a time.

X stays as it is, whatever its dtype and layout: there is no copy of the whole.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from sk_dim._inputs._arrays import BLOCK_VALUES, as_array, check_numbers
from sk_dim._inputs._formats import (
    InputFormat,
    read_format,
    warn_if_pixels,
    warn_if_series,
)
from sk_dim._inputs._series import fill_gaps, find_gaps, pad_series, unnest

SAMPLE_VALUES = 2**23  # values that a first layer is learnt from
MAX_SAMPLE_VALUES = 2**26  # of the 64 samples that are drawn even if they are large


def read_array(estimator: BaseEstimator, X: Any) -> Any:
    """Return X as an array or a frame, series of unequal length padded by NaN."""
    if estimator.input_type != "series":
        return as_array(X)
    return as_array(unnest(X), partial(pad_series, data_format=estimator.data_format))


def check_rows(
    estimator: BaseEstimator, X: Any, fmt: InputFormat | None, n_min: int
) -> np.ndarray:
    """Check X as scikit-learn does, against `fmt` unless this is the first fit.

    Raises
    ------
    ValueError or TypeError
        For what is no array, empty, not finite, not real, masked, sparse, of too few
        rows, or of another shape than `fmt`.
    """
    array = read_array(estimator, X)
    # scikit-learn would compare the lengths of series as numbers of columns.
    is_other_length = bool(fmt and fmt.any_length and array.shape[1:] != fmt.layout)
    array = check_numbers(
        estimator,
        array,
        n_min,
        is_first=fmt is None,
        has_columns=len(array.shape) <= 2 and not is_other_length,
        allow_nan=estimator.input_type == "series",
    )
    if fmt is not None and (array.ndim > 2 or is_other_length):
        fmt.check(array.shape)
    return array


def read_rows(estimator: BaseEstimator, X: Any) -> "Rows":
    """Check X in a first fit, and decide what its samples are."""
    array = check_rows(estimator, X, None, n_min=2)
    input_type = estimator.input_type
    fmt = read_format(
        array.shape, input_type, estimator.input_shape, estimator.data_format
    )
    if fmt.kind == "table" and input_type == "auto":
        warn_if_pixels(array)
    if array.ndim == 3 and input_type == "auto" and estimator.input_shape is None:
        warn_if_series(array)
    estimator.n_features_in_ = fmt.n_features
    return Rows(array, fmt)


class Rows:
    """The rows of an array as samples, taken a batch at a time.

    Parameters
    ----------
    X : ndarray of shape (n, *layout) or (n, n_features)
        Any real dtype; a memory map is read batch by batch.
    fmt : InputFormat
        What the rows are.

    Raises
    ------
    ValueError
        For a series without a value, or with fewer than 2.
    """

    def __init__(self, X: np.ndarray, fmt: InputFormat) -> None:
        self.X = X
        self.fmt = fmt
        self.has_gaps, self.is_padded = False, False
        if fmt.kind == "series" and X.dtype.kind == "f":
            blocks = (self._read(part) for part in self.parts())
            self.has_gaps, self.is_padded = find_gaps(blocks)

    @property
    def n_values(self) -> int:
        """Values of a sample, with padding."""
        return self.X[:1].size

    def check_lengths(self) -> None:
        """Raise a ValueError for unequal lengths where the encoder needs equal ones."""
        if self.is_padded and not self.fmt.any_length:
            raise ValueError(
                "X has series of unequal length, or that end in NaN, which only the "
                "encoder 'series' takes, from 9 values on; use it, or cut or resample "
                "all to one length."
            )

    def __len__(self) -> int:
        return len(self.X)

    def take(self, rows: Tensor | slice) -> Tensor:
        """Return the samples of `rows`, channels first, as uint8, float32 or float64.

        Dtypes that float32 holds exactly become float32, all wider ones float64;
        uint8 stays, so that a batch travels to the device at a byte a value. Gaps
        within series are filled.
        """
        batch = self._read(rows)
        return fill_gaps(batch) if self.has_gaps else batch

    def parts(self) -> Iterator[slice]:
        """Yield slices of all rows in their order, of a few million values each."""
        n_rows = max(1, BLOCK_VALUES // self.n_values)
        for start in range(0, len(self), n_rows):
            yield slice(start, min(start + n_rows, len(self)))

    def _read(self, rows: Tensor | slice) -> Tensor:
        if isinstance(rows, slice):
            # Not a view of X, which torch must not be able to change.
            batch = np.array(self.X[rows])
        else:
            # Read from front to back, as a memory map is read fast.
            order = rows.argsort()
            batch = np.empty((len(rows), *self.X.shape[1:]), self.X.dtype)
            batch[order.numpy()] = self.X[rows[order].numpy()]
        if batch.dtype.kind == "b":
            batch = batch.view(np.uint8)
        elif batch.dtype not in (np.uint8, np.float32):
            is_narrow = np.can_cast(batch.dtype, np.float32)
            batch = batch.astype(np.float32 if is_narrow else np.float64)
        return self.fmt.to_channels_first(torch.from_numpy(batch))

    def draw(self, seed: int) -> Tensor:
        """Draw up to 2,000 samples, fewer where they are large."""
        n_most = max(64, min(2000, SAMPLE_VALUES // self.n_values))
        n_most = max(2, min(n_most, MAX_SAMPLE_VALUES // self.n_values))
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randperm(len(self), generator=generator)[:n_most]
        return self.take(drawn.sort().values)
