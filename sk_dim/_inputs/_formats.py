"""What the samples in an array are, and how they lie in it."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from sk_dim._inputs._lazy import first_rows
from sk_dim._validation import check_name, warn

N_CHANNELS = range(1, 5)  # sizes of an axis that can be taken for the channels unasked


@dataclass(frozen=True)
class InputFormat:
    """How a sample lies in X.

    Parameters
    ----------
    kind : {"table", "image", "series"}
        What a sample is.
    layout : tuple of int
        Shape of a sample as it lies in X, channels where they are.
    channel_axis : int or None
        The axis of `layout` that holds the channels; None where there is no such axis.
    any_length : bool
        Whether series of other lengths, and padded by NaN, are taken too.
    """

    kind: str
    layout: tuple[int, ...]
    channel_axis: int | None = None
    any_length: bool = False

    @property
    def n_features(self) -> int:
        """Values a sample."""
        return math.prod(self.layout)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a sample with channels first: (c, h, w), (c, l) or (d,)."""
        if self.kind == "table":
            return self.layout
        if self.channel_axis is None:
            return (1, *self.layout)
        sides = list(self.layout)
        return (sides.pop(self.channel_axis), *sides)

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise a ValueError unless an array of `shape` holds such samples."""
        layout = shape[1:]
        if layout == self.layout or layout == (self.n_features,):
            return
        if not self.any_length:
            raise ValueError(
                f"X has samples of shape {shape[1:]}, but fit saw {self.layout}; pass "
                f"samples of that shape, or flattened rows of {self.n_features} values."
            )
        sides = InputFormat(self.kind, layout, self.channel_axis)
        if len(layout) != len(self.layout) or sides.shape[0] != self.shape[0]:
            raise ValueError(
                f"X has series of shape {layout}, but fit saw {self.layout}; only the "
                "length may be another, so pass as many channels on the same axis."
            )
        if sides.shape[1] < 2:
            raise ValueError(
                f"X has series of shape {layout}, and a series needs at least 2 values."
            )

    def to_channels_first(self, batch: Tensor) -> Tensor:
        """View a batch of rows, (n, *layout) or flattened, as (n, *shape)."""
        if batch.ndim != 1 + len(self.layout):
            batch = batch.reshape(len(batch), *self.layout)
        if self.kind == "table":
            return batch
        if self.channel_axis is None:
            return batch.unsqueeze(1)
        return batch.movedim(self.channel_axis + 1, 1)


def read_format(
    shape: tuple[int, ...], input_type: str, input_shape: Any, data_format: str
) -> InputFormat:
    """Decide what the samples of an array of `shape` are.

    Parameters
    ----------
    shape : tuple of int
        Shape of X, rows first.
    input_type : {"auto", "table", "image", "series"}
        What the user says the samples are.
    input_shape : tuple of int or None
        Sample shape behind flattened rows.
    data_format : {"auto", "channels_first", "channels_last"}
        Where the channels are. "auto" reads images by the one axis of size 1 to 4, the
        first or the last. It reads series as (channels, length), unless that makes more
        channels than values in each: then as (length, channels) where the last axis
        has size 1 to 4 and the first has not.

    Raises
    ------
    ValueError
        Where the shapes do not fit each other, or can be read in two ways.
    """
    check_name("input_type", input_type, ("auto", "table", "image", "series"))
    check_name("data_format", data_format, ("auto", "channels_first", "channels_last"))
    if input_shape is not None:
        layout = _check_input_shape(input_shape, shape)
    else:
        layout = shape[1:]
    kind = input_type
    if kind == "auto":
        kind = _guess_kind(shape, layout, is_given=input_shape is not None)
    if kind == "table":
        if len(layout) != 1:
            raise ValueError(
                f"input_type='table' takes X of two axes, but the samples have shape "
                f"{layout}; flatten them, or use input_type='image' or 'series'."
            )
        return InputFormat("table", layout)
    n_sides = {"image": 2, "series": 1}[kind]
    if len(layout) == n_sides:
        return _check_sides(InputFormat(kind, layout))
    if len(layout) != n_sides + 1:
        expected = {
            "image": "(H, W), (C, H, W) or (H, W, C)",
            "series": "(L,), (C, L) or (L, C)",
        }[kind]
        raise ValueError(
            f"X of shape {shape} with input_shape={input_shape!r} does not hold "
            f"{kind} samples; pass input_shape as {expected}, or X of such samples."
        )
    if kind == "series" and input_shape is not None and data_format == "auto":
        data_format = "channels_first"  # (C, L), as documented
    find = _series_channels if kind == "series" else _image_channels
    return _check_sides(InputFormat(kind, layout, find(layout, data_format)))


def _check_input_shape(input_shape: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    try:
        layout = tuple(int(side) for side in input_shape)
        is_valid = 2 <= len(layout) <= 3 and min(layout) >= 1
    except (TypeError, ValueError):
        is_valid = False
    if not is_valid:
        raise ValueError(
            f"input_shape={input_shape!r} is not a sample shape; expected (H, W), "
            "(C, H, W) or (H, W, C) for images, or (C, L) for series."
        )
    if len(shape) == 2 and math.prod(layout) != shape[1]:
        raise ValueError(
            f"X has {shape[1]} features, but input_shape={layout} needs "
            f"{math.prod(layout)}."
        )
    if len(shape) > 2 and shape[1:] != layout:
        raise ValueError(
            f"X has samples of shape {shape[1:]}, but input_shape={layout}; leave "
            "input_shape out for X of more than two axes, or make them agree."
        )
    return layout


def _guess_kind(
    shape: tuple[int, ...], layout: tuple[int, ...], *, is_given: bool
) -> str:
    if len(layout) == 1:
        return "table"
    if is_given or len(layout) == 3:
        return "image"
    if len(layout) == 2:
        height, width = layout
        if min(layout) >= 8 and max(layout) <= 4 * min(layout):
            return "image"
        raise ValueError(
            f"X of shape {shape} could be grey images of {height}x{width} pixels or "
            f"series with {height} channels of length {width}; say which with "
            "input_type='image' or input_type='series'."
        )
    raise ValueError(
        f"X of shape {shape} has {len(shape)} axes; expected (n, features) for tables, "
        "(n, H, W), (n, C, H, W) or (n, H, W, C) for images, (n, C, L) for series."
    )


def _series_channels(layout: tuple[int, ...], data_format: str) -> int:
    """Which axis of a series, (channels, length) or (length, channels), is channels."""
    if data_format != "auto":
        return {"channels_first": 0, "channels_last": 1}[data_format]
    first, last = layout
    if first <= last:
        return 0
    if last in N_CHANNELS and first not in N_CHANNELS:
        return 1
    raise ValueError(
        f"series of shape {layout} may be {first} channels of length {last} or {last} "
        f"channels of length {first}; say which with data_format='channels_first' or "
        "'channels_last'."
    )


def _image_channels(layout: tuple[int, ...], data_format: str) -> int:
    """Which axis of an image holds the channels: the first or the last."""
    last = len(layout) - 1
    if data_format != "auto":
        return {"channels_first": 0, "channels_last": last}[data_format]
    candidates = [axis for axis in (0, last) if layout[axis] in N_CHANNELS]
    if len(candidates) != 1:
        raise ValueError(
            f"samples of shape {layout} do not tell which axis holds the channels "
            f"({'both' if candidates else 'neither'} of the first and the last can be "
            "taken for 1 to 4 channels); say so with data_format='channels_first' or "
            "'channels_last'."
        )
    return candidates[0]


def _check_sides(fmt: InputFormat) -> InputFormat:
    if min(fmt.shape[1:]) < 4:
        raise ValueError(
            f"{fmt.kind} samples of shape {fmt.layout} are too small: each side must "
            "be at least 4; use input_type='table' with flattened rows, or another "
            "data_format."
        )
    return fmt


@np.errstate(all="ignore")  # values too large to be squared are refused later
def warn_if_pixels(X: Any) -> None:
    """Warn where the columns of a table look like the pixels of a square image."""
    sample = first_rows(X).astype(np.float64)
    varies = sample.std(axis=0) > 0
    for n_channels in (1, 3):
        side = math.isqrt(X.shape[1] // n_channels)
        is_square = side >= 8 and n_channels * side * side == X.shape[1]
        if not is_square or len(sample) < 10 or varies.mean() < 0.5:
            continue
        likeness = {
            layout: _neighbour_likeness(sample.reshape(-1, *layout), axis)
            for layout, axis in _square_layouts(side, n_channels)
        }
        layout = max(likeness, key=likeness.__getitem__)
        if likeness[layout] > 0.3:
            warn(
                f"the {X.shape[1]} columns of X look like the pixels of "
                f"{side}x{side} images; pass input_shape={layout} to learn from "
                "images, or input_type='table' to silence this.",
            )


@np.errstate(all="ignore")
def warn_if_series(X: Any) -> None:
    """Warn where grey images (n, h, w) look like series: smooth along one axis only.

    Neighbours in an image are alike in both directions. Neighbouring values of a series
    are, but its channels in their order are not.
    """
    sample = first_rows(X)
    if sample.dtype.kind != "f" or len(sample) < 10:
        return
    sample = sample.astype(np.float64)
    down, right = (_neighbour_correlation(sample, axis) for axis in (1, 2))
    likeness = max(down, right)
    if not (likeness > 0.5 and min(down, right) < 0.25 * likeness):
        return
    _, height, width = X.shape
    is_last = down > right
    n_channels, length = (width, height) if is_last else (height, width)
    also = ", data_format='channels_last'" if is_last else ""
    warn(
        f"X of shape {X.shape} is read as grey images of {height}x{width} pixels, but "
        f"looks like series of {n_channels} channels and length {length}; pass "
        f"input_type='series'{also} if it is, or input_type='image' to silence this."
    )


def _neighbour_correlation(images: np.ndarray, axis: int) -> float:
    """Mean correlation, over samples, of neighbours along an axis of (n, h, w)."""
    centred = images - images.mean(axis=0)
    centred /= np.sqrt((centred * centred).mean(axis=0))  # nan where nothing varies
    n = images.shape[axis]
    a = np.take(centred, range(n - 1), axis=axis)
    b = np.take(centred, range(1, n), axis=axis)
    products = (a * b).mean(axis=0)
    products = products[np.isfinite(products)]
    return float(products.mean()) if products.size else 0.0


def _square_layouts(side: int, n_channels: int) -> list[tuple[tuple[int, ...], int]]:
    """Sample shapes of square images, each with its vertical axis counted from X's."""
    if n_channels == 1:
        return [((side, side), 1)]
    return [((n_channels, side, side), 2), ((side, side, n_channels), 1)]


def _neighbour_likeness(images: np.ndarray, axis: int) -> float:
    """Correlation of vertical neighbours less that of pixels half an image apart."""

    def correlation(distance: int) -> float:
        side = images.shape[axis]
        a = np.take(images, range(side - distance), axis=axis)
        b = np.take(images, range(distance, side), axis=axis)
        a, b = a - a.mean(axis=0), b - b.mean(axis=0)
        norm = np.sqrt((a * a).mean(axis=0) * (b * b).mean(axis=0))
        return float(np.mean((a * b).mean(axis=0)[norm > 0] / norm[norm > 0]))

    return correlation(1) - abs(correlation(images.shape[axis] // 2))
