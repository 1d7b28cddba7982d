"""From arrays, frames and lists to columns of values, each of a type.

Types are decided column by column, by the dtype of a frame's column or by the Python
types of the values of an object array, before numpy merges columns into one dtype.
"""

import numbers
from collections.abc import Hashable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_array

from sk_dim._inputs._arrays import refuse_other_than_arrays
from sk_dim._labels import is_missing


def read_columns(label: str, V: Any) -> tuple[list[np.ndarray] | np.ndarray, list[str]]:
    """Return columns and where they are, for messages, or an array of images.

    Columns have a dtype of kind b, i, u, f (finite or not), M, m, or U.

    Raises
    ------
    ValueError or TypeError
        For what is empty, missing or sparse.
    """
    refuse_other_than_arrays(V, label)
    if isinstance(V, torch.Tensor):
        V = V.detach().cpu()
        V = (V.float() if V.dtype == torch.bfloat16 else V).numpy()
    named = _columns_of_frame(V)
    if named is None:
        array = _as_array(label, V)
        if array.ndim > 2:
            # Finite numbers: images have no other missing value than NaN.
            return check_array(array, allow_nd=True, input_name=label), []
        table = array[:, None] if array.ndim == 1 else array
        named = [("", column) for column in table.T]
        if len(named) > 1:
            named = [(f" (column {i})", column) for i, (_, column) in enumerate(named)]
    elif not named:
        check_array(np.empty(V.shape), ensure_min_samples=0, input_name=label)
    columns = [_typed(f"{label}{title}", column) for title, column in named]
    return columns, [title for title, _ in named]


def names_of_columns(V: Any, n_columns: int) -> list[Any]:
    """Return the names of the columns of a table; numbers where it has none."""
    dtype = getattr(V, "dtype", None)
    for names in (getattr(dtype, "names", None), getattr(V, "column_names", None)):
        if names is not None:
            return list(names)
    if hasattr(V, "columns"):
        return list(V.columns)
    name = getattr(V, "name", None)  # of a single column
    return list(range(n_columns)) if name is None else [name]


def to_records(columns: list[tuple[str, np.ndarray]]) -> np.ndarray:
    """Return columns and their names, which may repeat, as one array of records."""
    names = [name for name, _ in columns]
    types = [
        (name if names.count(name) == 1 else f"{name}, column {i}", column.dtype)
        for i, (name, column) in enumerate(columns)
    ]
    records = np.empty(len(columns[0][1]), dtype=types)
    for (unique, _), (_, column) in zip(types, columns, strict=True):
        records[unique] = column
    return records


def _columns_of_frame(V: Any) -> list[tuple[str, Any]] | None:
    """Columns of a frame or of an array of records, or a single column; else None."""
    if hasattr(V, "iloc") and hasattr(V, "columns"):
        columns = [V.iloc[:, i] for i in range(V.shape[1])]
        titles = list(V.columns)
    elif hasattr(V, "get_columns"):
        columns, titles = V.get_columns(), V.columns
    elif hasattr(V, "itercolumns"):
        columns, titles = list(V.itercolumns()), V.column_names
    elif getattr(getattr(V, "dtype", None), "names", None):
        titles = list(V.dtype.names)
        columns = [V[title] for title in titles]
    elif _is_category(V):
        return [("", V)]
    else:
        return None
    where = [f" (column {title!r})" for title in titles]
    return list(zip(where, columns, strict=True))


def _is_category(V: Any) -> bool:
    return str(getattr(V, "dtype", "")) == "category"


def _as_array(label: str, V: Any) -> np.ndarray:
    if np.ma.is_masked(V):
        raise _missing(label)
    if hasattr(V, "toarray") or hasattr(V, "tocsr"):
        check_array(V, input_name=label)  # says what to do with sparse ones
    try:
        array = np.asarray(V)
        if array.dtype.kind in "US" and not hasattr(V, "dtype"):
            array = np.array(V, dtype=object)  # lists: numpy made numbers text
    except ValueError as error:
        raise ValueError(
            f"{label} is no array: its rows have different lengths; pass rows of one "
            "length."
        ) from error
    if array.ndim == 0:
        raise ValueError(f"{label} is a single value; pass an array of one row each.")
    if array.dtype.kind in "biufc" or 0 in array.shape:
        check_array(
            array,
            dtype=None,
            ensure_2d=False,
            allow_nd=True,
            ensure_all_finite=False,
            input_name=label,
            ensure_min_samples=0,
        )
    return array


def _missing(where: str) -> ValueError:
    label, _, place = where.partition(" ")
    return ValueError(
        f"Input {label} contains NaN, None, NA or NaT{place and ' ' + place}, which "
        "mark missing values; leave those rows out of X and Y, or fill them."
    )


def _typed(where: str, column: Any) -> np.ndarray:
    """Return a column as an array of bool, of numbers, of dates or of text."""
    is_category = _is_category(column)
    array = np.asarray(column)
    if array.dtype.kind not in "biufmMU":
        array = _typed_objects(where, array.astype(object))
    if array.dtype.kind in "mM" and np.isnat(array).any():
        raise _missing(where)
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise _missing(where)
    return to_names(array) if is_category else array


def _typed_objects(where: str, column: np.ndarray) -> np.ndarray:
    """Decide by the Python types of the values."""
    if any(is_missing(value) for value in column):
        raise _missing(where)
    types = {type(value) for value in column}
    odd = [kind.__name__ for kind in types if not issubclass(kind, Hashable)]
    if odd:
        raise TypeError(
            f"{where} holds values of type {odd[0]}; each argument must be a string, a "
            "bool, a date or a number."
        )

    def are(*kinds: type) -> bool:
        return all(issubclass(kind, kinds) for kind in types)

    if are(bool, np.bool_):
        return column.astype(bool)
    if are(bool, np.bool_, numbers.Real, Decimal):
        is_integer = are(bool, np.bool_, numbers.Integral)
        try:
            return column.astype(np.int64 if is_integer else np.float64)
        except OverflowError:
            return column.astype(np.float64)
    if all(hasattr(kind, "to_timestamp") for kind in types):  # periods of pandas
        return np.array([_as_date(value.to_timestamp()) for value in column])
    if are(date, np.datetime64) or are(timedelta, np.timedelta64):
        return np.array([_as_date(value) for value in column])
    return np.array([_name(value) for value in column])


def _as_date(value: Any) -> np.datetime64 | np.timedelta64:
    if isinstance(value, np.datetime64 | np.timedelta64):
        return value
    if hasattr(value, "to_numpy"):  # pandas' own, in UTC
        return value.to_numpy()
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    if isinstance(value, date):
        return np.datetime64(value)
    return np.timedelta64(value)


# Values as text and as numbers


def to_names(column: np.ndarray) -> np.ndarray:
    """Return values as text, the same for 1, 1.0, True and "1"."""
    if column.dtype.kind == "U":
        return column
    if column.dtype.kind in "mM":
        column = _microseconds(column)
    values, inverse = np.unique(column, return_inverse=True)
    return np.array([_name(value) for value in values.tolist()])[inverse]


def _name(value: Any) -> str:
    if isinstance(value, float | np.floating | Decimal) and value % 1 == 0:
        return str(int(value))
    return str(int(value) if isinstance(value, bool | np.bool_) else value)


def to_numbers(where: str, column: np.ndarray) -> np.ndarray:
    """Return values as float64, dates in microseconds since 1970.

    Raises
    ------
    ValueError
        If they are text, or not finite.
    """
    if column.dtype.kind in "mM":
        return _microseconds(column)
    try:
        values = column.astype(np.float64)
    except ValueError as error:
        raise ValueError(
            f"{where} holds text that is no number; leave discrete='auto' to take it "
            "for names."
        ) from error
    if not np.isfinite(values).all():
        label, _, place = where.partition(" ")
        raise ValueError(
            f"Input {label} contains infinity{place and ' ' + place}, or a value too "
            "large for float64."
        )
    return values


def _microseconds(column: np.ndarray) -> np.ndarray:
    since = column - np.datetime64(0, "us") if column.dtype.kind == "M" else column
    return since / np.timedelta64(1, "us")
