"""What a target holds: its kind, and which rows have none."""

import numbers
from typing import Any

import numpy as np
from sklearn.utils.multiclass import type_of_target

from sk_dim._labels import UNLABELLED, is_labelled

KINDS = {
    "binary": "classes",
    "multiclass": "classes",
    "multilabel-indicator": "labels",
    "continuous": "numbers",
    "continuous-multioutput": "numbers",
}


def kind_of_target(y: np.ndarray) -> str:
    """Say whether a target is of "classes", "labels" (several a row) or "numbers".

    Raises
    ------
    ValueError
        If it is none of them, or has one class only.
    """
    target = type_of_target(y, input_name="y")
    if target not in KINDS:
        raise ValueError(
            f"y is {target}; a probe takes classes, a 0-1 indicator of several labels "
            "a row, or numbers with fractions."
        )
    if KINDS[target] == "classes" and len(np.unique(y)) < 2:
        raise ValueError("y has one class only; there is nothing to tell apart.")
    return KINDS[target]


def read_target(
    y: Any, name: str = "y", like: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that have a target, as increasing indices, and their targets.

    Rows of class -1 have none if there are two other classes or more. With one other,
    -1 is a class; among numbers with fractions, it is a number.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, n_outputs)
        The target.
    name : str, default="y"
        What errors call it.
    like : ndarray, default=None
        Another target that decides what -1 is: the one that models are fitted to,
        where `y` is of test rows. None takes `y` itself.

    Raises
    ------
    ValueError
        If values are missing otherwise than by -1, or of several types.
    """
    y = as_target(y)
    missing = is_missing(y).reshape(len(y), -1).any(axis=1)
    if missing.any():
        raise ValueError(
            f"{name} has {missing.sum()} rows of missing values (NaN, None or NA); "
            "leave them out, or mark rows without a class by the number -1."
        )
    rows = find_labelled(y, like)
    if not len(rows):
        raise ValueError(f"{name} marks all {len(y)} rows as unlabelled by -1.")
    target = _without_objects(y[rows], name)
    is_text = target.dtype.kind in "OU"
    n_others = _count_other_classes(target if like is None else like)
    if is_text and n_others > 1 and str(UNLABELLED) in target:
        raise ValueError(
            f"{name} holds the string '-1' beside other classes; mark rows without a "
            "label by the number -1, in an array of objects, or rename the class."
        )
    return rows, target


def as_target(y: Any) -> np.ndarray:
    """Make an array of a target, a column as (n,); -1 stays a number among strings."""
    if isinstance(y, list | tuple) and any(isinstance(each, str) for each in y):
        return np.array(y, dtype=object)
    y = np.atleast_1d(np.asarray(y))
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y


def find_labelled(y: np.ndarray, like: np.ndarray | None = None) -> np.ndarray:
    """Return the rows that are not marked by -1, as `read_target` defines it."""
    everything = np.arange(len(y))
    if y.ndim != 1:
        return everything
    has_label = is_labelled(y)
    labels = _without_objects(y[has_label], "y")
    is_text = labels.dtype.kind in "OU"
    if _count_other_classes(labels if like is None else like) < 2 and not is_text:
        return everything
    return np.flatnonzero(has_label)


def _count_other_classes(target: np.ndarray) -> int:
    """Count the classes beside -1; numbers with fractions are none."""
    is_number = target.dtype.kind == "f" and (target != np.floor(target)).any()
    if target.ndim != 1 or is_number:
        return 0
    return len(set(np.unique(target)) - {UNLABELLED, str(UNLABELLED)})


def is_missing(y: np.ndarray) -> np.ndarray:
    """Say of each value whether it is NaN, None, NaT or NA."""
    if y.dtype.kind == "O":
        found = [_is_missing_object(each) for each in y.ravel()]
        return np.array(found, dtype=bool).reshape(y.shape)
    if y.dtype.kind in "fcmM":
        return np.isnan(y) if y.dtype.kind in "fc" else np.isnat(y)
    return np.zeros(y.shape, dtype=bool)


def _is_missing_object(value: Any) -> bool:
    if value is None:
        return True
    try:
        return bool(value != value)
    except TypeError:
        return True  # of pandas' NA, which is neither equal nor different


def _without_objects(y: np.ndarray, name: str) -> np.ndarray:
    """Make numbers of objects that are numbers; refuse several types at once."""
    if y.dtype.kind != "O" or all(isinstance(each, str) for each in y.ravel()):
        return y
    if all(isinstance(each, numbers.Number) for each in y.ravel()):
        return np.array(y.tolist())
    types = ", ".join(sorted({type(each).__name__ for each in y.ravel()}))
    raise ValueError(
        f"{name} holds objects of the types {types}; they must be all strings or all "
        "numbers, and the number -1 where there is no label."
    )
