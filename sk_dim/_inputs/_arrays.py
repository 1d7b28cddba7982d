"""From what a user passes as X to one array of finite numbers."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from os import PathLike
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_array
from sklearn.utils.validation import _check_n_features, validate_data
from torch import Tensor
from torch.utils.data import Dataset

from sk_dim._inputs._lazy import check_lazy_dtype
from sk_dim._inputs._refusals import (
    columns_of,
    how_to_read,
    is_number,
    refuse_flaws,
    refuse_other_than_arrays,
    strings,
    why_no_numbers,
)
from sk_dim.arrays import DatasetArray, is_lazy

BLOCK_VALUES = 2**21  # values that are looked at at a time
Pad = Callable[[list[np.ndarray]], np.ndarray]


def as_array(X: Any, pad: Pad | None = None) -> Any:
    """Return X as an array or as the frame it is, samples that are arrays stacked.

    Parameters
    ----------
    X : object
        What was given.
    pad : callable, default=None
        Stacks samples of different shapes; None refuses them.

    Raises
    ------
    TypeError
        For what is no array: None, a path, a dict, a generator, a loader.
    ValueError
        For complex numbers, strings, masked values, samples of different shapes.
    """
    if isinstance(X, Dataset):
        X = DatasetArray(X)
    refuse_other_than_arrays(X)
    if type(X).__module__.partition(".")[0] == "pyarrow":
        X = _from_arrow(X)
    _check_mask(X)
    refuse_flaws(X)
    if is_lazy(X):
        check_lazy_dtype(X)
    elif isinstance(X, Tensor):
        X = _from_tensor(X)
    elif callable(X) and not hasattr(X, "shape"):
        raise TypeError(how_to_read(X))
    elif not hasattr(X, "shape"):
        X = _from_items(X, pad)
    elif _is_column(X):
        values = np.asarray(X)
        if values.ndim > 2:  # polars has columns of arrays
            X = values
        elif values.dtype.kind in "OUS":
            X = _stack(values.ravel().tolist(), X, pad)
    kind = getattr(getattr(X, "dtype", None), "kind", "")
    if kind == "c":
        raise ValueError(
            f"Complex data not supported: X is {X.dtype}; pass real and imaginary "
            "parts, or absolute values and angles, as columns or channels."
        )
    if kind == "V":
        raise ValueError(
            "X is a structured array; make one array of its fields first, with "
            "numpy.lib.recfunctions.structured_to_unstructured(X)."
        )
    if kind and kind in "US":
        texts = (text for text in X.ravel() if not is_number(text))
        raise ValueError(strings(next(texts, X.ravel()[0] if X.size else "")))
    if kind == "O" and np.ndim(X) == 0:
        raise TypeError(how_to_read(X.item()))
    return X


def check_numbers(
    estimator: Any,
    X: Any,
    n_min: int,
    *,
    is_first: bool,
    has_columns: bool,
    has_names: bool = True,
    allow_nan: bool = False,
) -> np.ndarray:
    """Check an array or a frame as scikit-learn does, and that all values are finite.

    Parameters
    ----------
    estimator : estimator
        Gets or has `n_features_in_`, and `feature_names_in_` where X has names.
    X : array or frame
        What was given.
    n_min : int
        Rows that it needs.
    is_first : bool
        Whether the estimator is to learn the number of columns.
    has_columns : bool
        Whether there must be as many columns in each call.
    has_names : bool, default=True
        Whether these must have the same names in each call.
    allow_nan : bool, default=False
        Whether NaN may be among the values.

    Raises
    ------
    ValueError or TypeError
        For what is empty, sparse, of too few rows, not numbers or not finite.
    """
    given = X
    try:
        if _has_polars_dates(X):
            raise TypeError("polars makes numbers of dates, of whatever unit")
        if has_columns and has_names:
            X = validate_data(
                estimator,
                X,
                dtype="numeric",
                reset=is_first,
                ensure_min_samples=n_min,
                ensure_all_finite=False,
            )
        else:
            X = check_array(
                X,
                dtype="numeric",
                allow_nd=not has_columns,
                ensure_min_samples=n_min,
                ensure_all_finite=False,
                estimator=estimator,
            )
            if has_columns:
                _check_n_features(estimator, X, reset=is_first)
        if X.dtype.kind in "OUS":  # of categories
            X = X.astype(np.float64)
    except (TypeError, ValueError) as error:
        reason = why_no_numbers(columns_of(given))
        if not reason:
            raise
        raise ValueError(reason) from error
    if X.dtype.kind in "mM":
        X = _seconds(X)
    check_finite(X, allow_nan=allow_nan)
    return X


def check_finite(
    X: np.ndarray,
    *,
    allow_nan: bool = False,
    rows: slice | np.ndarray | None = None,
) -> None:
    """Raise a ValueError that says how many rows hold NaN or infinity, if any do.

    `rows` are the numbers of the rows, where these are only some of all.
    """
    if X.dtype.kind != "f" or X.size == 0:
        return
    counts = {"NaN": 0, "infinity": 0}
    first: int | None = None
    block = max(1, BLOCK_VALUES * len(X) // max(1, X.size))
    for start in range(0, len(X), block):
        part = np.asarray(X[start : start + block]).reshape(-1, X.size // len(X))
        with np.errstate(all="ignore"):
            is_fine = np.isfinite(part.sum(dtype=np.float64))
        if is_fine:  # else they are looked at one by one: the sum may overflow
            continue
        has_nan, has_infinity = np.isnan(part).any(axis=1), np.isinf(part).any(axis=1)
        if allow_nan:
            has_nan[:] = False
        counts["NaN"] += int(has_nan.sum())
        counts["infinity"] += int(has_infinity.sum())
        bad = np.flatnonzero(has_nan | has_infinity)
        if first is None and len(bad):
            first = start + int(bad[0])
    if first is None:
        return
    of = f"{len(X)} rows" + ("" if rows is None else " read together")
    found = " and ".join(
        f"{name} in {count} of {of}" for name, count in counts.items() if count
    )
    if isinstance(rows, slice):
        first += rows.start
    elif rows is not None:
        first = int(rows[first])
    raise ValueError(
        f"X contains {found}, the first of them row {first}; leave such rows out, or "
        "fill these values in (tables: sklearn.impute.SimpleImputer; gaps and ends of "
        "series: input_type='series' takes NaN)."
    )


def _has_polars_dates(X: Any) -> bool:
    """Whether X is a frame of polars that has dates beside other columns."""
    if not hasattr(X, "get_columns"):
        return False
    are_dates = [dtype.is_temporal() for dtype in X.dtypes]
    return any(are_dates) and not all(are_dates)


def _from_arrow(X: Any) -> Any:
    """Return a batch as a table, which keeps its names, and tensors as an array."""
    import pyarrow as pa

    if isinstance(X, pa.RecordBatch):
        X = pa.Table.from_batches([X])
    is_table = isinstance(X, pa.Table)
    column = X.column(0) if is_table and X.num_columns == 1 else X
    if isinstance(getattr(column, "type", None), pa.FixedShapeTensorType):
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        return column.to_numpy_ndarray()
    return X


def _from_tensor(X: Tensor) -> np.ndarray:
    X = X.detach()
    if X.layout != torch.strided:
        raise TypeError(
            "Sparse data was passed for X, but dense data is required; use "
            "X.to_dense() to make a dense tensor of it."
        )
    X = X.cpu()
    # Numpy has neither bfloat16 nor 8-bit floats.
    is_narrow = X.is_floating_point() and X.element_size() <= 2
    return (X.float() if is_narrow and X.dtype != torch.half else X).numpy()


def _is_column(X: Any) -> bool:
    """Whether X has one cell a row, which may hold a whole sample."""
    return len(X.shape) == 1 or (len(X.shape) == 2 and X.shape[1] == 1)


def _from_items(X: Any, pad: Pad | None) -> Any:
    """Return a list, or what numpy makes an array of, as an array."""
    is_list = isinstance(X, Sequence) and not hasattr(X, "__array__") and len(X) > 0
    if is_list and (hasattr(X[0], "shape") or hasattr(X[0], "__array_interface__")):
        return np.asarray(_stack(list(X), X, pad))
    try:
        array = np.asarray(X)
    except ValueError:
        if not is_list:
            raise
        return _stack(list(X), X, pad)
    if array.ndim == 1 and array.dtype.kind in "OUS":
        return _stack(array.tolist(), array, pad)
    return array


def _stack(items: list, whole: Any, pad: Pad | None = None) -> Any:
    """Stack samples, which `whole` is made of; it is returned if they are no arrays."""
    for row, item in enumerate(items):
        if isinstance(item, str | bytes | PathLike):
            if is_number(item):
                continue
            raise ValueError(strings(item))
        if isinstance(item, Mapping | Dataset | AbstractSet):
            raise TypeError(how_to_read(item, f"row {row} of X"))
    arrays = [_as_sample(item) for item in items]
    shapes = [array.shape for array in arrays]
    if not any(shapes):
        return whole
    if () in shapes:
        row = shapes.index(())
        raise ValueError(
            f"row {row} of X is {items[row]!r:.40}, where other rows hold arrays; "
            "leave such rows out."
        )
    sizes = list(dict.fromkeys(shapes))
    if len(sizes) > 1 and pad is not None:
        return pad(arrays)
    if len(sizes) > 1:
        shown = ", ".join(map(str, sizes[:3]))
        more = f" and {len(sizes) - 3} more" if len(sizes) > 3 else ""
        raise ValueError(
            f"the samples in X have different shapes: {shown}{more}; bring all to one "
            "shape first: images by sk_dim.ImageLoader; series may differ in length, "
            "with input_type='series'."
        )
    return np.stack(arrays)


def _as_sample(item: Any) -> np.ndarray:
    """Return one item of a list as an array."""
    if isinstance(item, Tensor):
        return _from_tensor(item)
    _check_mask(item)
    try:
        array = np.asarray(item)
    except ValueError:  # a list of lists of different lengths
        array = np.empty(len(item), dtype=object)
        array[:] = list(item)
    if array.dtype == object and array.ndim == 1 and len(array):
        return np.asarray(_stack(array.tolist(), array))
    return array


def _check_mask(X: Any) -> None:
    if np.ma.isMaskedArray(X) and np.ma.is_masked(X):
        n_masked = int(np.ma.getmaskarray(X).sum())
        raise ValueError(
            f"X is a masked array with {n_masked} of {X.size} values masked, which are "
            "no data; fill them in first, as in X.filled(X.mean()), or leave out the "
            "rows or columns that have any."
        )


def _seconds(X: np.ndarray) -> np.ndarray:
    """Return dates as seconds since 1970 and durations as seconds, whatever unit."""
    is_missing = np.isnat(X)
    if is_missing.any():
        rows = np.flatnonzero(is_missing.reshape(len(X), -1).any(axis=1))
        raise ValueError(
            f"X contains NaT (a missing date) in {len(rows)} of {len(X)} rows, the "
            f"first of them row {rows[0]}; leave such rows out, or fill the dates in."
        )
    unit, _ = np.datetime_data(X.dtype)
    if unit == "generic":
        return X.astype(np.float64)
    if unit in ("Y", "M"):
        if X.dtype.kind == "m":
            return X.astype(np.float64)
        X = X.astype("M8[D]")
    if X.dtype.kind == "M":
        X = X - np.zeros((), dtype=X.dtype)
    return X / np.timedelta64(1, "s")
