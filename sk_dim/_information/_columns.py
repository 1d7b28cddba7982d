"""From what a user passes as a variable to numbers, and what kind each column is.

Kinds are decided column by column, by the dtype of a frame's column or by the Python
types of the values of an object array, before numpy merges columns into one dtype.
"""

import numbers
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_array

from sk_dim._validation import warn

MAX_VALUES = 50  # distinct ones of whole numbers that are taken for names
MAX_TOLD_APART = 255  # distinct ones of other numbers, above which only order counts
MIN_REPEATS = 5  # rows of each of those, on average
MANY_NAMES = 0.5  # share of the rows from which on names that differ are warned of


@dataclass(frozen=True)
class Variable:
    """A variable as numbers: columns of a table, or images.

    Parameters
    ----------
    values : ndarray of shape (n, d), float64, or of images (n, ...)
        Names are numbered; -1 stands for one that `fit` did not see.
    is_name, is_number : ndarray of shape (d,), bool
        How columns are shown to a critic: by one input for each value, by their rank,
        or by both. Empty for images.
    """

    values: np.ndarray
    is_name: np.ndarray
    is_number: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: np.ndarray) -> "Variable":
        return Variable(self.values[rows], self.is_name, self.is_number)

    @property
    def is_image(self) -> bool:
        """Whether a row has more than one axis."""
        return self.values.ndim > 2

    @property
    def is_constant(self) -> bool:
        """Whether all rows are equal."""
        return bool((self.values == self.values[:1]).all())


class Reader:
    """Reads a variable, in `score` as in `fit`.

    Parameters
    ----------
    label : {"X", "Y"}
        For messages.
    discrete : "auto", bool or sequence of bool
        Which columns hold names.
    """

    def __init__(self, label: str, discrete: Any) -> None:
        self.label = label
        self.discrete = discrete

    def fit(self, V: Any) -> Variable:
        """Decide the kinds of the columns, and return V as numbers."""
        columns, titles = read_columns(self.label, V)
        self.names: list[np.ndarray] = []
        self.is_name = self.is_number = np.zeros(0, dtype=bool)
        self.shape = _shape(columns)
        if not isinstance(columns, np.ndarray):
            self._learn_kinds(columns, titles)
        elif not isinstance(self.discrete, str) and np.any(self.discrete):
            raise ValueError(
                f"discrete={self.discrete!r} for {self.label}, which holds images of "
                f"shape {self.shape}; only columns can be discrete."
            )
        return self._convert(columns, titles)

    def _learn_kinds(self, columns: list[np.ndarray], titles: list[str]) -> None:
        choices = _spread(self.label, self.discrete, len(columns))
        kinds = []
        for column, title, choice in zip(columns, titles, choices, strict=True):
            is_name, is_number = _kind(f"{self.label}{title}", column, choice)
            names = (
                np.zeros(0, dtype=str) if is_number else np.unique(_to_names(column))
            )
            if len(names) > max(2, MANY_NAMES * len(column)):
                warn(
                    f"{self.label}{title} has {len(names)} different names in "
                    f"{len(column)} rows: names that hardly repeat tell next to "
                    "nothing, and the value will be too low. Pass numbers and dates as "
                    "such (with discrete=False for digits in text), and leave out "
                    "identifiers.",
                )
            kinds.append((is_name, is_number))
            self.names.append(names)
        self.is_name, self.is_number = np.array(kinds).T

    def read(self, V: Any) -> Variable:
        """Return V as numbers; its rows must be as in `fit`."""
        columns, titles = read_columns(self.label, V)
        shape = _shape(columns)
        if len(shape) == len(self.shape) == 1 and shape != self.shape:
            raise ValueError(
                f"{self.label} has {shape[0]} features, but MutualInformationEstimator "
                f"is expecting {self.shape[0]} features as input, as many as in fit."
            )
        if shape != self.shape:
            raise ValueError(
                f"{self.label} has rows of shape {shape}, but had {self.shape} in fit."
            )
        return self._convert(columns, titles)

    def _convert(
        self, columns: list[np.ndarray] | np.ndarray, titles: list[str]
    ) -> Variable:
        if isinstance(columns, np.ndarray):
            return Variable(columns, self.is_name, self.is_number)
        values = [
            _to_numbers(f"{self.label}{title}", column)
            if is_number
            else _positions(_to_names(column), names)
            for column, title, is_number, names in zip(
                columns, titles, self.is_number, self.names, strict=True
            )
        ]
        return Variable(np.stack(values, axis=1), self.is_name, self.is_number)


def _shape(columns: list[np.ndarray] | np.ndarray) -> tuple[int, ...]:
    """Shape of a row."""
    return columns.shape[1:] if isinstance(columns, np.ndarray) else (len(columns),)


def check_discrete(discrete: Any) -> tuple[Any, Any]:
    """Return what `discrete` says of X and of Y."""
    pair = discrete if isinstance(discrete, list | tuple) else (discrete, discrete)
    if len(pair) == 2 and all(_is_choice(each) for each in pair):
        return pair[0], pair[1]
    raise ValueError(
        f"discrete={discrete!r}; it must be 'auto', True, False, or a pair (for X, for "
        "Y) of these or of lists with one bool for each column."
    )


def _is_choice(value: Any) -> bool:
    if isinstance(value, str):
        return value == "auto"
    if isinstance(value, list | tuple | np.ndarray):
        return len(value) > 0 and all(isinstance(v, bool | np.bool_) for v in value)
    return isinstance(value, bool | np.bool_)


def _spread(label: str, discrete: Any, n_columns: int) -> list[Any]:
    """Say of each column whether it is discrete: "auto", True or False."""
    if isinstance(discrete, str | bool | np.bool_):
        return [discrete] * n_columns
    if len(discrete) != n_columns:
        raise ValueError(
            f"discrete has {len(discrete)} entries for {label}, which has {n_columns} "
            "columns; pass one bool for each column."
        )
    return list(discrete)


def _kind(where: str, column: np.ndarray, is_discrete: Any) -> tuple[bool, bool]:
    """Whether a column is seen as names, and whether as numbers."""
    if not isinstance(is_discrete, str):
        return bool(is_discrete), not is_discrete
    if column.dtype.kind in "Ub":
        return True, False
    values = _to_numbers(where, column)
    n_values, n_rows = len(np.unique(values)), len(values)
    if is_whole(values) and n_values <= min(MAX_VALUES, n_rows / 2):
        return True, False
    return n_values <= min(MAX_TOLD_APART, n_rows / MIN_REPEATS), True


def is_whole(values: np.ndarray) -> bool:
    """Whether all numbers are whole."""
    return bool((values == np.round(values)).all())


def _positions(values: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Numbers of values among sorted names, -1 for those that are not there."""
    found = np.minimum(np.searchsorted(names, values), len(names) - 1)
    return np.where(names[found] == values, found, -1).astype(np.float64)


def _to_names(column: np.ndarray) -> np.ndarray:
    """Values as text, the same for 1, 1.0, True and "1"."""
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


def _to_numbers(where: str, column: np.ndarray) -> np.ndarray:
    """Values as float64, dates in microseconds since 1970."""
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


# From arrays, frames and lists to columns


def read_columns(label: str, V: Any) -> tuple[list[np.ndarray] | np.ndarray, list[str]]:
    """Return columns and where they are, for messages, or an array of images.

    Columns have a dtype of kind b, i, u, f (finite or not), M, m, or U.

    Raises
    ------
    ValueError or TypeError
        For what is empty, missing or sparse.
    """
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
    return _to_names(array) if is_category else array


def _typed_objects(where: str, column: np.ndarray) -> np.ndarray:
    """Decide by the Python types of the values."""
    if any(_is_missing(value) for value in column):
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
    if are(date, np.datetime64) or are(timedelta, np.timedelta64):
        return np.array([_as_date(value) for value in column])
    return np.array([_name(value) for value in column])


def _is_missing(value: Any) -> bool:
    if value is None:
        return True
    try:
        return bool(value != value)
    except TypeError:  # pandas' NA has no truth value
        return True
    except ValueError:  # nor has an array, which is refused for its type
        return False


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
