"""What a target holds: its kind, and which rows have none."""

from typing import Any

import numpy as np
from sklearn.utils.multiclass import type_of_target

from sk_dim._labels import (
    MARKS_AS_STRINGS,
    UNLABELLED,
    is_mark,
    is_missing,
    without_objects,
)

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

    Rows of NaN, None or NA have none, nor have rows of class -1 if there are two other
    classes or more. With one other, -1 is a class; among numbers with fractions, it is
    a number.

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
        If no row has a target, a row has some of several, or targets are of several
        types.
    """
    y = as_target(y)
    missing = find_missing(y)
    if y.ndim > 1 and missing.any():
        raise ValueError(
            f"{name} has {missing.any(axis=1).sum()} rows of missing values (NaN, None "
            "or NA); leave these rows out."
        )
    rows = np.flatnonzero(~missing) if y.ndim == 1 else np.arange(len(y))
    rows = rows[find_labelled(y[rows], like)]
    if not len(rows):
        raise ValueError(
            f"{name} marks all {len(y)} rows as unlabelled (by -1, None or NaN)."
        )
    target = without_objects(y[rows], name)
    if target.dtype.kind in "OU":
        n_others = _count_other_classes(target if like is None else like)
        for mark in sorted(set(target).intersection(MARKS_AS_STRINGS)):
            if n_others > 1:
                raise ValueError(
                    f"{name} holds the string {str(mark)!r} beside other classes; mark "
                    "rows without a label by the number -1, None or NaN in an array of "
                    "objects, or rename the class."
                )
    return rows, target


def as_target(y: Any) -> np.ndarray:
    """Make an array of a target, a column as (n,); -1 stays a number among strings."""
    if isinstance(y, np.ma.MaskedArray):
        is_masked = np.ma.getmaskarray(y)
        y = np.array(y.data, dtype=object)
        y[is_masked] = None
    if isinstance(y, list | tuple) and any(isinstance(each, str) for each in y):
        return np.array(y, dtype=object)
    y = np.atleast_1d(np.asarray(y))
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y


def find_labelled(y: np.ndarray, like: np.ndarray | None = None) -> np.ndarray:
    """Return the rows that are not marked by -1, as `read_target` defines it."""
    everything = np.arange(len(y))
    if y.ndim != 1:
        return everything
    has_label = np.array([not is_mark(each) for each in y], dtype=bool)
    labels = without_objects(y[has_label])
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


def find_missing(y: np.ndarray) -> np.ndarray:
    """Say of each value whether it is NaN, None, NaT or NA."""
    if y.dtype.kind == "O":
        found = [is_missing(each) for each in y.ravel()]
        return np.array(found, dtype=bool).reshape(y.shape)
    if y.dtype.kind in "fcmM":
        return np.isnan(y) if y.dtype.kind in "fc" else np.isnat(y)
    return np.zeros(y.shape, dtype=bool)
