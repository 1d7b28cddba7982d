"""Groups: which samples belong together, such as windows of one recording.

This module imports nothing of its own folder.
"""

from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from sk_dim._labels import is_missing


def read_groups(groups: Any, n_samples: int, n_least: int = 2) -> np.ndarray | None:
    """Return the codes (n,) of groups, integers from 0 on; None where there are none.

    Parameters
    ----------
    groups : array-like of shape (n,) or None
        Labels of groups, of any type that can be hashed.
    n_samples : int
        How many there must be.
    n_least : int, default=2
        How many groups there must be, 1 or 2.

    Raises
    ------
    ValueError or TypeError
        If lengths differ, labels are missing or cannot be hashed, or there is one group
        only.
    """
    if groups is None:
        return None
    labels = _as_labels(groups)
    if len(labels) != n_samples:
        raise ValueError(
            f"groups holds {len(labels)} labels, but X has {n_samples} samples; give "
            "one for each."
        )
    missing = _find_missing(labels)
    if missing.any():
        raise ValueError(
            f"groups has {missing.sum()} missing values (NaN, None or NA), the first "
            f"in row {missing.argmax()}; name the group of each sample, and give those "
            "that belong to no other a group of their own."
        )
    codes = _encode(labels)
    if n_least > 1 and n_samples and not codes.any():
        raise ValueError(
            f"groups puts all {n_samples} samples into one group, {labels[0]!r}; at "
            "least two are needed, for samples of one group are not told apart."
        )
    return codes


def _as_labels(groups: Any) -> np.ndarray:
    """Return labels as an array (n,), those of a list as the objects that they are."""
    is_array = hasattr(groups, "dtype") or hasattr(groups, "__array__")
    if isinstance(groups, np.ma.MaskedArray):
        groups = np.ma.filled(groups.astype(object), None)
    labels = np.asarray(groups) if is_array else None
    if labels is None:
        try:
            items = list(groups)
        except TypeError as error:
            raise TypeError(
                f"groups={groups!r} is no list or array; give one label for each "
                "sample."
            ) from error
        labels = np.fromiter(items, object, len(items))  # of tuples too
    if labels.ndim != 1:
        raise ValueError(
            f"groups has shape {labels.shape}; it must be (n,), one label for each "
            "sample."
        )
    return labels


def _find_missing(labels: np.ndarray) -> np.ndarray:
    if labels.dtype.kind in "fc":
        return np.isnan(labels)
    if labels.dtype.kind in "mM":
        return np.isnat(labels)
    if labels.dtype.kind == "O":
        return np.array([is_missing(each) for each in labels], dtype=bool)
    return np.zeros(len(labels), dtype=bool)


def _encode(labels: np.ndarray) -> np.ndarray:
    """Give each group a number, in their order or, without one, as they come."""
    try:
        return np.unique(labels, return_inverse=True)[1]
    except TypeError:  # objects of several types
        known: dict[Any, int] = {}
    try:
        return np.array([known.setdefault(each, len(known)) for each in labels], int)
    except TypeError as error:
        raise TypeError(
            "groups holds values that cannot be hashed, such as lists; name groups by "
            "strings, numbers or tuples."
        ) from error


def count_groups(class_ids: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Count, for each class from 0 on, the groups that have it."""
    pairs = np.unique(np.column_stack([class_ids, groups]), axis=0)
    return np.bincount(pairs[:, 0])


def hold_out_groups(
    class_ids: np.ndarray, fraction: float, seed: int, groups: np.ndarray
) -> np.ndarray:
    """Draw the labelled rows of a share of the groups, some of each class.

    Parameters
    ----------
    class_ids : ndarray of int, of shape (n,)
        Class of each row, -1 where it has no label.
    fraction : float
        Share of the labelled rows, as near as whole groups come to it.
    seed : int
        Of the draw.
    groups : ndarray of int, of shape (n,)
        Codes of groups.

    Raises
    ------
    ValueError
        If a class is in one group only, or no draw has all classes in both parts.
    """
    rows = np.flatnonzero(class_ids >= 0)
    labels, groups = class_ids[rows], groups[rows]
    n_splits = min(max(2, round(1 / fraction)), int(count_groups(labels, groups).min()))
    if n_splits > 1:
        splitter = StratifiedGroupKFold(n_splits, shuffle=True, random_state=seed)
        for train, held_out in splitter.split(rows, labels, groups):
            if set(labels[train]) == set(labels[held_out]) == set(labels):
                return rows[held_out]
    raise ValueError(
        f"early_stopping=True holds out whole groups of labelled rows, but of "
        f"{len(np.unique(groups))} groups none can be held out so that each class is "
        "in both parts; label rows of more groups, or train without early_stopping."
    )
