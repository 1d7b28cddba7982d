"""Sentences for what is no array of numbers: what was given, and what to do.

This module imports nothing of its own package.
"""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from os import PathLike
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

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
    if X is None or isinstance(X, NOT_ARRAYS):
        raise TypeError(how_to_read(X, name))


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
        raise ValueError(why_no_numbers(arrays.items()) or str(error)) from error


def why_no_numbers(columns: Iterable[tuple[Any, np.ndarray]]) -> str:
    """Say which column is to blame where a table is not one of numbers, "" if none."""
    for name, column in columns:
        where = f" (column {name!r})"
        if column.dtype.kind in "mM":
            return (
                f"X has dates or durations{where} beside other columns; convert them "
                "to numbers first, such as days since the first date."
            )
        if column.dtype.kind not in "OUS":
            continue
        for cell in column.ravel().tolist():
            if is_number(cell) or cell is None:
                continue
            if isinstance(cell, str | bytes | PathLike):
                return strings(cell, where)
            if hasattr(cell, "__len__"):
                return (
                    f"X has several columns, and cells of it{where} hold arrays or "
                    "lists; pass the one column that holds the samples, or a column "
                    "for each number."
                )
            return (
                f"X holds {type(cell).__name__} objects{where}, such as {cell!s:.60}, "
                "where numbers are needed; convert them first."
            )
    return ""


def is_number(text: Any) -> bool:
    try:
        float(text)
    except (TypeError, ValueError):
        return False
    return True


def strings(example: Any, where: str = "") -> str:
    return (
        f"X holds strings{where}, such as {str(example)!r:.60}, where numbers are "
        "needed; if these are paths, read the files first, as in np.stack([np.asarray("
        "PIL.Image.open(path)) for path in paths]), and if they are categories, encode "
        "them, by sklearn.preprocessing.OneHotEncoder for example."
    )


def how_to_read(X: Any, name: str = "X") -> str:
    """Say what X is, and what to pass instead."""
    kind = "None" if X is None else type(X).__name__
    how = WHAT_TO_PASS
    if isinstance(X, str | bytes | PathLike):
        kind = f"{str(X)!r:.60}, a string or path"
        how = f"read the file first, and {how}"
    elif isinstance(X, Dataset | DataLoader):
        how += "; as in np.stack([np.asarray(sample) for sample, label in dataset])"
    elif isinstance(X, Mapping):
        how += f"; as in {name}[{next(iter(X), 'data')!r:.40}]"
    elif callable(X):
        how = "only fit takes a function that yields shards; elsewhere, pass one shard"
    elif isinstance(X, Iterable):
        how += f"; as in np.stack(list({name}))"
    elif hasattr(X, "collect"):  # a frame that is computed when it is asked for
        how += f"; as in {name}.collect()"
    return f"{name} is {kind}, which is no array; {how}."
