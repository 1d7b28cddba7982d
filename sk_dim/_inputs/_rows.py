"""Rows: samples taken out of X a batch at a time.

X stays as it is, whatever its dtype and layout: there is no copy of the whole.
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from sk_dim._inputs._arrays import BLOCK_VALUES, as_array, check_finite, check_numbers
from sk_dim._inputs._batches import take_each
from sk_dim._inputs._formats import (
    InputFormat,
    read_format,
    warn_if_pixels,
    warn_if_series,
)
from sk_dim._inputs._lazy import check_lazy
from sk_dim._inputs._series import fill_gaps, find_gaps, pad_series, unnest
from sk_dim.arrays import LazyArray, chunk_rows, find_broken, is_lazy, read

SAMPLE_VALUES = 2**23  # values that a first layer is learnt from
MAX_SAMPLE_VALUES = 2**26  # of the 64 samples that are drawn even if they are large
MAX_CHUNK_VALUES = 2**25  # that are read at once, so that no chunk is read twice
N_CHUNKS = 32  # that some samples are drawn from
MOST_VALUES = 2**28  # of a lazy array that its scaling is learnt from
N_SLICES = 1024  # that these come in


def read_array(estimator: BaseEstimator, X: Any) -> Any:
    """Return X as an array or a frame, series of unequal length padded by NaN."""
    if estimator.input_type != "series":
        return as_array(X)
    return as_array(unnest(X), partial(pad_series, data_format=estimator.data_format))


def check_rows(
    estimator: BaseEstimator,
    X: Any,
    fmt: InputFormat | None,
    n_min: int,
    *,
    has_names: bool = True,
) -> np.ndarray | LazyArray:
    """Check X as scikit-learn does, against `fmt` unless this is the first fit.

    The values of what is read by rows are checked when they are read. `has_names` says
    whether columns must have the names that fit saw.

    Raises
    ------
    ValueError or TypeError
        For what is no array, empty, not finite, not real, masked, sparse, of too few
        rows, or of another shape than `fmt`.
    """
    array = read_array(estimator, X)
    # scikit-learn would compare the lengths of series as numbers of columns.
    is_other_length = bool(fmt and fmt.any_length and array.shape[1:] != fmt.layout)
    is_first = fmt is None
    has_columns = len(array.shape) <= 2 and not is_other_length
    if is_lazy(array):
        check_lazy(
            estimator,
            array,
            n_min,
            is_first=is_first,
            has_columns=has_columns,
            has_names=has_names,
        )
    else:
        array = check_numbers(
            estimator,
            array,
            n_min,
            is_first=is_first,
            has_columns=has_columns,
            has_names=has_names,
            allow_nan=estimator.input_type == "series",
        )
    if fmt is not None and (len(array.shape) > 2 or is_other_length):
        fmt.check(array.shape)
    return array


def read_rows(estimator: BaseEstimator, X: Any, n_min: int = 2) -> "Rows":
    """Check X in a first fit, and decide what its samples are."""
    array = check_rows(estimator, X, None, n_min)
    input_type = estimator.input_type
    fmt = read_format(
        array.shape, input_type, estimator.input_shape, estimator.data_format
    )
    if fmt.kind == "table" and input_type == "auto":
        warn_if_pixels(array)
    if len(array.shape) == 3 and input_type == "auto" and estimator.input_shape is None:
        warn_if_series(array)
    estimator.n_features_in_ = fmt.n_features
    return Rows(array, fmt)


class Rows:
    """The rows of an array as samples, taken a batch at a time.

    Parameters
    ----------
    X : ndarray or LazyArray of shape (n, *layout) or (n, n_features)
        Any real dtype. A lazy array is read batch by batch.
    fmt : InputFormat
        What the rows are.

    Raises
    ------
    ValueError
        For a series without a value, or with fewer than 2; from all that reads, for
        values of a lazy array that are not finite.
    """

    def __init__(self, X: np.ndarray | LazyArray, fmt: InputFormat) -> None:
        self.X = X
        self.fmt = fmt
        self.dtype = np.dtype(X.dtype)
        self.n_values = math.prod(X.shape[1:])  # of a sample, with padding
        self.is_lazy = is_lazy(X)
        self.chunk_rows = chunk_rows(X)
        self.has_gaps, self.is_padded = False, False
        if fmt.kind == "series" and self.dtype.kind == "f":
            blocks = (self._read(part) for part in self.parts())
            self.has_gaps, self.is_padded = find_gaps(blocks)

    def check_lengths(self) -> None:
        """Raise a ValueError for unequal lengths where the encoder needs equal ones."""
        if self.is_padded and not self.fmt.any_length:
            raise ValueError(
                "X has series of unequal length, or that end in NaN, which only the "
                "encoder 'series' takes, from 9 values on; use it, or cut or resample "
                "all to one length."
            )

    def __len__(self) -> int:
        return self.X.shape[0]

    def take(self, rows: Tensor | slice) -> Tensor:
        """Return the samples of `rows`, channels first, as uint8, float32 or float64.

        Dtypes that float32 holds exactly become float32, all wider ones float64;
        uint8 stays, so that a batch travels to the device at a byte a value. Gaps
        within series are filled.
        """
        batch = self._read(rows)
        return fill_gaps(batch) if self.has_gaps else batch

    def read_ahead(self, rows: Tensor | slice) -> None:
        """Tell a lazy array, if it wants to know, which rows will be taken next."""
        read_ahead = getattr(self.X, "read_ahead", None) if self.is_lazy else None
        if read_ahead is not None:
            read_ahead(rows if isinstance(rows, slice) else rows.numpy())

    def find_broken(self) -> dict[int, str]:
        """Return the rows that cannot be read, and why."""
        return find_broken(self.X)

    def parts(self) -> Iterator[slice]:
        """Yield slices of all rows in their order, of a few million values each."""
        n_rows = max(1, BLOCK_VALUES // self.n_values)
        if self.is_streamed:
            chunk = cast(int, self.chunk_rows)
            n_rows = max(1, n_rows // chunk) * chunk
        for start in range(0, len(self), n_rows):
            yield slice(start, min(start + n_rows, len(self)))

    def blocks(self) -> Iterator[Tensor]:
        """Yield all samples in their order, a few million values at a time."""
        return (samples for _, samples in take_each(self, self.parts()))

    def typical_blocks(self) -> Iterator[Tensor]:
        """Yield all samples, or of a large lazy array slices that are evenly spread."""
        n = len(self)
        share = MOST_VALUES / (n * self.n_values)
        if not self.is_lazy or share >= 1:
            yield from self.blocks()
            return
        step = max(-(-n // N_SLICES), self.chunk_rows or 1)
        n_rows = max(1, round(step * share))
        starts = range(0, n, step)
        parts = (slice(i, min(i + n_rows, n)) for i in starts)
        yield from (samples for _, samples in take_each(self, parts))

    @property
    def is_streamed(self) -> bool:
        """Whether samples are read in large blocks, not one by one."""
        chunk = self.chunk_rows
        return chunk is not None and chunk * self.n_values <= MAX_CHUNK_VALUES

    def shuffled_blocks(
        self, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all samples with the numbers of their rows, whole chunks at random."""
        every = list(self.parts())
        order = torch.randperm(len(every), generator=generator).tolist()
        for part, samples in take_each(self, [every[i] for i in order]):
            yield torch.arange(part.start, part.stop), samples

    def _read(self, rows: Tensor | slice) -> Tensor:
        if self.is_lazy:
            numbers = rows if isinstance(rows, slice) else rows.numpy()
            batch = read(self.X, numbers)
            check_finite(batch, allow_nan=self.fmt.kind == "series", rows=numbers)
        elif isinstance(rows, slice):
            # Not a view of X, which torch must not be able to change.
            batch = np.array(self.X[rows])
        else:
            batch = self.X[rows.numpy()]
        if batch.dtype.kind == "b":
            batch = batch.view(np.uint8)
        elif batch.dtype not in (np.uint8, np.float32):
            is_narrow = np.can_cast(batch.dtype, np.float32)
            batch = batch.astype(np.float32 if is_narrow else np.float64)
        return self.fmt.to_channels_first(torch.from_numpy(batch))

    def draw(self, seed: int, n_wanted: int | None = None) -> tuple[Tensor, Tensor]:
        """Draw samples, up to 2,000 and fewer where they are large, and their numbers.

        Of as many as are wanted there are fewer only if they are very large.
        """
        n_most = n_wanted or max(64, min(2000, SAMPLE_VALUES // self.n_values))
        numbers = self._choose(n_most, seed)
        return numbers, self.take(numbers)

    def typical(self) -> Tensor:
        """Return which samples, of a few million values, stand for all."""
        return self._choose(max(1, BLOCK_VALUES // self.n_values), seed=0)

    def look(self) -> Tensor:
        """Return samples of a few million values, always the same."""
        return self.take(self.typical())

    def _choose(self, n_most: int, seed: int) -> Tensor:
        """Draw up to so many rows; of a chunked array from a few chunks alone."""
        n_most = max(2, min(n_most, MAX_SAMPLE_VALUES // self.n_values))
        generator = torch.Generator().manual_seed(seed)
        rows, chunk = len(self), self.chunk_rows
        if chunk and rows > N_CHUNKS * chunk:
            chunks = torch.randperm(-(-rows // chunk), generator=generator)[:N_CHUNKS]
            among = (chunks[:, None] * chunk + torch.arange(chunk)).flatten()
            among = among[among < rows]
            drawn = among[torch.randperm(len(among), generator=generator)[:n_most]]
        else:
            drawn = torch.randperm(rows, generator=generator)[:n_most]
        return drawn.sort().values
