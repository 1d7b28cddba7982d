"""Labels of which some are missing. This module imports nothing of its own package."""

import numbers
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

UNLABELLED = -1


def is_labelled(y: np.ndarray) -> np.ndarray:
    """Say of each row whether it has a label: whether it is not -1.

    Among objects the number -1 marks a missing one; strings are always labels.
    """
    if y.dtype.kind in "iuf":
        return y != UNLABELLED
    if y.dtype.kind == "O":
        return np.array([not (_is_number(each) and each == UNLABELLED) for each in y])
    return np.ones(len(y), dtype=bool)


def select_labelled(y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return which of the rows have a label, (n,) of bool, and their labels.

    Raises
    ------
    ValueError
        If none has, or labels are of several types.
    """
    if isinstance(y, list | tuple) and any(isinstance(each, str) for each in y):
        y = np.array(y, dtype=object)  # or numpy would make strings of all
    y = column_or_1d(y, warn=True)
    has_label = is_labelled(y)
    if len(y) and not has_label.any():
        raise ValueError(
            f"y marks all {len(y)} rows as unlabelled by -1; give labels to some."
        )
    labels = y[has_label]
    if labels.dtype.kind == "O":
        if all(_is_number(each) for each in labels):
            labels = np.array(labels.tolist())
        elif not all(isinstance(each, str) for each in labels):
            names = ", ".join(sorted({type(each).__name__ for each in labels}))
            raise ValueError(
                f"y holds objects of the types {names}; labels must be all strings or "
                "all numbers, and the number -1 where there is none."
            )
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError("y contains NaN or infinity; mark rows without a label by -1.")
    return has_label, labels


def encode_labels(y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes (k,) of labels (n,), and codes (n,), -1 for those missing.

    Raises
    ------
    ValueError
        If labels are not classes, all missing, or of one class.
    """
    has_label, labels = select_labelled(y)
    check_classification_targets(labels)
    classes, found = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"y has only one class, {classes.tolist()}, beside -1, which marks rows "
            "without a label; at least two classes are needed. Where -1 is a class of "
            "yours, rename it."
        )
    codes = np.full(len(has_label), UNLABELLED)
    codes[has_label] = found
    return classes, codes


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Number)


def hold_out(codes: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Draw a share of the labelled rows, some of each class.

    Raises
    ------
    ValueError
        If they are too few.
    """
    rows = np.flatnonzero(codes != UNLABELLED)
    try:
        _, held_out = train_test_split(
            rows, test_size=fraction, stratify=codes[rows], random_state=seed
        )
    except ValueError as error:
        raise ValueError(
            f"early_stopping=True holds out {fraction:g} of {len(rows)} labelled rows, "
            "which leaves a class out of one of the parts; change validation_fraction, "
            "or train without early_stopping."
        ) from error
    return held_out
