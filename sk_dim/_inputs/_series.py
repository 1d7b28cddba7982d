"""Series of unequal length as one array, padded by NaN, and gaps within them.

This module imports nothing of its own package.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor

MIN_WIDTH = 6  # columns of a frame with a series in each row that may have any names


def pad_series(arrays: list[np.ndarray], data_format: str) -> np.ndarray:
    """Stack series of unequal length, NaN behind the last value of each.

    Parameters
    ----------
    arrays : list of ndarray of shape (L_i,), (C, L_i) or (L_i, C)
        Series of as many channels.
    data_format : {"auto", "channels_first", "channels_last"}
        Which axis holds the channels. "auto" takes the one that all series have as
        long, the first if both are.

    Returns
    -------
    ndarray of shape (n, L), (n, C, L) or (n, L, C)

    Raises
    ------
    ValueError
        For unequal numbers of axes or of channels, and for dates.
    """
    n_axes = arrays[0].ndim
    for row, array in enumerate(arrays):
        if array.ndim != n_axes or n_axes > 2:
            raise ValueError(
                f"row {row} of X has shape {array.shape} and row 0 {arrays[0].shape}; "
                "pass each series as an array of shape (length,) or (channels, length)."
            )
        if array.dtype.kind in "mMV":
            raise ValueError(
                f"row {row} of X holds {array.dtype}, where numbers are needed; "
                "convert dates and durations first, or leave such series out."
            )
    shapes = np.array([array.shape for array in arrays])
    longest = shapes.max(axis=0)
    if n_axes == 2:
        axis = _channel_axis(shapes, data_format)
        other = np.flatnonzero(shapes[:, axis] != shapes[0, axis])
        if len(other):
            row = int(other[0])
            raise ValueError(
                f"row {row} of X has shape {tuple(shapes[row].tolist())} and row 0 "
                f"{tuple(shapes[0].tolist())}, which are {shapes[row, axis]} and "
                f"{shapes[0, axis]} channels; all series need the same channels, and "
                "data_format says which axis holds them."
            )
    dtype = np.result_type(np.float32, *{array.dtype for array in arrays})
    padded = np.full((len(arrays), *longest), np.nan, dtype)
    for row, array in enumerate(arrays):
        padded[row][tuple(slice(side) for side in array.shape)] = array
    return padded


def _channel_axis(shapes: np.ndarray, data_format: str) -> int:
    """Which of the two axes of unequal series holds the channels."""
    if data_format != "auto":
        return {"channels_first": 0, "channels_last": 1}.get(data_format, 0)
    is_equal = (shapes == shapes[0]).all(axis=0)
    # Channels are fewer than values, as where all series are of one shape.
    is_last = is_equal[1] and not is_equal[0] and shapes[:, 0].max() > shapes[0, 1]
    return int(is_last)


def unnest(X: Any) -> Any:
    """Return the samples of a frame whose cells are series, one of each channel.

    Raises
    ------
    ValueError
        For a frame in long format, which has a row for each time.
    """
    if not hasattr(X, "columns") or not hasattr(X, "shape"):
        return X
    keys = [name for name in map(str, X.columns) if _is_key(name)]
    if keys and X.shape[1] < MIN_WIDTH:
        raise ValueError(
            f"X is a frame in long format, with a row for each time, to judge by its "
            f"column {keys[0]!r}; pass one series a row, as in "
            f"[part['value'].to_numpy() for _, part in X.groupby({keys[0]!r})]."
        )
    if not hasattr(X, "iloc"):
        return X
    if getattr(X.index, "nlevels", 1) > 1:
        raise ValueError(
            "X is a frame in long format, with a row for each time; pass one series a "
            "row, as in [part.to_numpy().T for _, part in X.groupby(level=0)]."
        )
    if X.shape[1] < 2 or not len(X) or not hasattr(X.iloc[0, 0], "__len__"):
        return X
    return [
        np.stack([np.asarray(cell) for cell in row])
        for row in X.itertuples(index=False)
    ]


def _is_key(name: str) -> bool:
    """Whether a column tells the series or the time that a row is of."""
    name = name.lower()
    return name in ("id", "time", "timestamp", "date") or name.endswith("_id")


def find_gaps(blocks: Iterable[Tensor]) -> tuple[bool, bool]:
    """Say whether series have NaN in them, and whether some end in NaN: are padded.

    Parameters
    ----------
    blocks : iterable of Tensor of shape (n, c, l)
        All series in their order.

    Returns
    -------
    has_gaps : bool
        Whether there is NaN before the last value of a series.
    is_padded : bool
        Whether the last value of a series is before the end.

    Raises
    ------
    ValueError
        For a series that has a channel without a value, or fewer than 2 values.
    """
    has_gaps, is_padded, n_before = False, False, 0
    for block in blocks:
        is_known = ~block.isnan()
        if not is_known.all():
            _check_known(is_known, n_before)
            is_within = _is_within(is_known)
            has_gaps |= bool((is_within & ~is_known).any())
            is_padded |= not bool(is_within.all())
        n_before += len(block)
    return has_gaps, is_padded


def _check_known(is_known: Tensor, n_before: int) -> None:
    """Raise a ValueError for series of which too little is known."""
    empty = (~is_known.any(dim=2)).nonzero()
    if len(empty):
        row, channel = empty[0].tolist()
        where = "" if is_known.shape[1] == 1 else f" in channel {channel}"
        raise ValueError(
            f"row {n_before + row} of X has no value{where}, where it is empty or NaN; "
            f"leave out such rows{', or the channel' if where else ''}."
        )
    lengths = _is_within(is_known).sum(dim=2).flatten()
    if int(lengths.min()) < 2:
        raise ValueError(
            f"row {n_before + int(lengths.argmin())} of X has one value and NaN behind "
            "it, but a series needs at least 2 values; leave out such rows."
        )


def fill_gaps(series: Tensor) -> Tensor:
    """Fill NaN before the last value of series (n, c, l), in place.

    Between two values by linear interpolation, before the first and behind the last
    value of a channel by that value. What is NaN in all channels up to the end of a
    series stays so: it is padding.
    """
    is_known = ~series.isnan()
    is_gap = _is_within(is_known) & ~is_known
    times = np.arange(series.shape[2])
    for row, channel in is_gap.any(dim=2).nonzero().tolist():
        known, gap = is_known[row, channel].numpy(), is_gap[row, channel].numpy()
        values = series[row, channel].numpy()
        values[gap] = np.interp(times[gap], times[known], values[known])
    return series


def _is_within(is_known: Tensor) -> Tensor:
    """Which times (n, 1, l) are not behind the last value of any channel."""
    is_any = is_known.any(dim=1, keepdim=True)
    return is_any.flip(2).cummax(dim=2).values.flip(2)
