"""Sentences for what is no array of numbers: what was given, and what to do."""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from os import PathLike
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from sk_dim._labels import is_missing

WHAT_TO_PASS = (
    "pass one array of numbers, samples first: (n, features) for tables, (n, H, W), "
    "(n, C, H, W) or (n, H, W, C) for images, (n, C, L) for series"
)
NOT_ARRAYS = (str, bytes, PathLike, Mapping, AbstractSet, Iterator, Dataset, DataLoader)


def refuse_other_than_arrays(X: Any, name: str = "X") -> None:
    """Raise a TypeError for None, a path, a dict, a generator, a data set.

    Parameters
    ----------
    X : object
        What was given.
    name : str, default="X"
        What the message calls it.
    """
    if X is None or isinstance(X, NOT_ARRAYS) or _is_group(X):
        raise TypeError(how_to_read(X, name))


def _is_group(X: Any) -> bool:
    """Whether X is a dict of arrays, or like one, as groups of zarr are."""
    is_like_one = hasattr(X, "keys") and not hasattr(X, "shape")
    return isinstance(X, Mapping) or is_like_one


def refuse_flaws(X: Any) -> None:
    """Raise a TypeError where X would be read by rows, did it not lack one thing.

    Parameters
    ----------
    X : object
        What is no array in memory, and no `LazyArray`.
    """
    in_memory = ("__array__", "__array_interface__", "tocsr", "iloc", "columns")
    if not hasattr(X, "shape") or any(hasattr(X, name) for name in in_memory):
        return
    lacks = [name for name in ("dtype", "__getitem__") if not hasattr(X, name)]
    flaw = f"it has no {lacks[0]}" if lacks else ""
    if not lacks and not isinstance(X.shape, tuple):
        flaw = f"its shape is a {type(X.shape).__name__}"
    if not flaw:
        return
    how = "or pass numpy.asarray of it"
    if hasattr(X, "column_names"):  # as data sets of Hugging Face
        how = "or pass the column that holds the samples, as an array"
    raise TypeError(
        f"X is {type(X).__name__}, which cannot be read by rows, for {flaw}; give it a "
        "tuple `shape`, a NumPy `dtype` and `__getitem__` for slices and index arrays "
        f"(see sk_dim.arrays.LazyArray), {how}."
    )


def as_table(columns: Mapping[str, Any]) -> np.ndarray:
    """Return columns of numbers as a table (n, columns).

    Raises
    ------
    ValueError
        For columns of different lengths, or of something else than numbers.
    """
    arrays = {name: np.asarray(column) for name, column in columns.items()}
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"the columns of the batch have different lengths: {lengths}.")
    try:
        return np.column_stack(list(arrays.values()))
    except TypeError as error:
        raise ValueError(why_no_numbers(list(arrays.items())) or str(error)) from error


def columns_of(X: Any) -> list[tuple[Any, np.ndarray]]:
    """Return the names, or numbers, and values of the columns of a table or frame."""
    if isinstance(X, np.ndarray):
        if X.ndim != 2:
            return [("", X)]
        return [(number, X[:, number]) for number in range(X.shape[1])]
    if hasattr(X, "iloc") and hasattr(X, "columns"):
        columns = [X.iloc[:, number] for number in range(X.shape[1])]
        return list(zip(X.columns, map(np.asarray, columns), strict=True))
    if hasattr(X, "get_columns"):
        return list(zip(X.columns, map(np.asarray, X.get_columns()), strict=True))
    if hasattr(X, "itercolumns"):
        return list(zip(X.column_names, map(np.asarray, X.itercolumns()), strict=True))
    return [("", np.asarray(X))] if hasattr(X, "__array__") else []


def why_no_numbers(columns: list[tuple[Any, np.ndarray]]) -> str:
    """Say what is no number in a table, and in which column; "" if nothing is."""
    are_dates = [column.dtype.kind in "mM" for _, column in columns]
    for (name, column), is_date in zip(columns, are_dates, strict=True):
        where = f" (column {name!r})" if len(columns) > 1 else ""
        if is_date and not all(are_dates):
            return (
                f"X has dates or durations beside other columns{where}; convert them "
                "to numbers first, such as days since the first date."
            )
        if column.dtype.kind not in "OUS":
            continue
        for cell in column.ravel().tolist():
            reason = _why_no_number(cell, where)
            if reason:
                return reason
    return ""


def _why_no_number(cell: Any, where: str) -> str:
    if is_number(cell) or isinstance(cell, Mapping):  # NumPy has a sentence for these
        return ""
    if isinstance(cell, str | bytes | PathLike):
        return strings(cell, where)
    if is_missing(cell):
        return (
            f"X has missing values, such as {cell!s}{where}; leave such rows out, or "
            "fill these values in, by sklearn.impute.SimpleImputer for example."
        )
    if hasattr(cell, "__len__"):
        several = "several columns, and " if where else ""
        return (
            f"X has {several}cells that hold arrays or lists{where}; pass one column "
            "that holds the samples, all of one shape, or a column for each number."
        )
    return (
        f"X holds {type(cell).__name__} objects, such as {cell!s:.60}{where}, where "
        "numbers are needed; convert them first."
    )


def is_number(text: Any) -> bool:
    try:
        float(text)
    except (TypeError, ValueError):
        return False
    return True


def strings(example: Any, where: str = "") -> str:
    return (
        f"X holds strings, such as {str(example)!r:.60}{where}, where numbers are "
        "needed; if these are paths, read the files first, those of images by "
        "sk_dim.ImageLoader, and if they are categories, encode them, by "
        "sklearn.preprocessing.OneHotEncoder for example."
    )


def how_to_read(X: Any, name: str = "X") -> str:
    """Say what X is, and what to pass instead."""
    kind = "None" if X is None else type(X).__name__
    how = WHAT_TO_PASS
    if isinstance(X, str | bytes | PathLike):
        kind = f"{str(X)!r:.60}, a string or path"
        how = f"read the file first, images by sk_dim.ImageLoader, and {how}"
    elif isinstance(X, Dataset | DataLoader):
        how += "; as in np.stack([np.asarray(sample) for sample, label in dataset])"
    elif _is_group(X):
        how += f"; as in {name}[{next(iter(X), 'data')!r:.40}]"
    elif callable(X):
        how = "only fit takes a function that yields shards; elsewhere, pass one shard"
    elif isinstance(X, Iterable):
        how += f"; as in np.stack(list({name}))"
    elif hasattr(X, "collect"):  # a frame that is computed when it is asked for
        how += f"; as in {name}.collect()"
    return f"{name} is {kind}, which is no array; {how}."
