"""Checks of arrays that are read by rows, before anything of them is read."""

from typing import Any

import numpy as np
from sklearn.utils.validation import _check_feature_names, _check_n_features

from sk_dim.arrays import LazyArray, read

N_LOOKED_AT = 500  # rows


def check_lazy_dtype(X: LazyArray) -> None:
    """Raise a ValueError where a lazy array is not one of real numbers."""
    try:
        kind = np.dtype(X.dtype).kind
    except TypeError:
        kind = "O"
    if kind == "c":
        raise ValueError(
            f"Complex data not supported: X is {X.dtype}; pass real and imaginary "
            "parts, or absolute values and angles, as columns or channels."
        )
    if kind not in "biuf":
        raise ValueError(
            f"X is {type(X).__name__} of dtype {X.dtype}, but only numbers of a dtype "
            "of NumPy are read by rows; convert it first, or pass numpy.asarray(X) if "
            "it fits into memory."
        )


def check_lazy(
    estimator: Any,
    X: LazyArray,
    n_min: int,
    *,
    is_first: bool,
    has_columns: bool,
    has_names: bool = True,
) -> None:
    """Check the shape of a lazy array as scikit-learn does that of an array.

    Parameters
    ----------
    estimator : estimator
        Gets or has `n_features_in_`.
    X : LazyArray
        What was given. Its values are checked when they are read.
    n_min, is_first, has_columns, has_names
        As of `check_numbers`.

    Raises
    ------
    ValueError
        For too few rows, values or axes, and for what cannot be read.
    """
    shape = tuple(X.shape)
    if len(shape) < 2:
        raise ValueError(
            f"Expected 2D array, got {len(shape)}D array instead: X is "
            f"{type(X).__name__} of shape {shape}; pass samples first, such as "
            "(n, features)."
        )
    if n_min > 0 and not isinstance(shape[0], int | np.integer):
        raise ValueError(
            f"X of shape {shape} does not know how many rows it has; of a dask array, "
            "X.compute_chunk_sizes() counts them."
        )
    if shape[0] < n_min:
        raise ValueError(
            f"Found array with {shape[0]} sample(s) (shape={shape}) while a minimum of "
            f"{n_min} is required."
        )
    if 0 in shape:
        raise ValueError(
            f"Found array with 0 feature(s) (shape={shape}) while a minimum of 1 is "
            "required."
        )
    if has_columns and has_names:
        _check_feature_names(estimator, X, reset=is_first)
    if has_columns:
        _check_n_features(estimator, X, reset=is_first)
    if is_first:  # also that it can be read by row numbers, and up to its end
        read(X, np.array([0, shape[0] - 1]))


def first_rows(X: Any) -> np.ndarray:
    """Return some 500 rows to look at, of lazy arrays the first."""
    if isinstance(X, np.ndarray):
        return np.asarray(X[:: max(1, len(X) // N_LOOKED_AT)][:N_LOOKED_AT])
    return read(X, slice(0, N_LOOKED_AT))
