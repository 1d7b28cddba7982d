"""Labels of which some are missing: what marks them, which rows have one, class ids.

This module imports nothing of its own package.
"""

import numbers
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

UNLABELLED = -1
# Strings that numpy and pandas make of a mark, in arrays that can hold strings only.
MARKS_AS_STRINGS = ("-1", "-1.0", "nan", "None", "NaT", "<NA>")


def select_labelled(y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return which of the rows have a label, (n,) of bool, and their labels.

    No label is: the number -1, None, NaN, NaT, pandas' NA, null, a masked value. Labels
    keep the type that they have without the missing ones: integers of which
    some are missing stay integers. Numbers of an array of floats stay floats.

    Raises
    ------
    ValueError
        If no row has a label, labels are of several types or infinite, a mark has
        become a string, or a string is empty.
    """
    array = _read(y)
    has_label = _is_labelled(array)
    if len(array) and not has_label.any():
        raise ValueError(
            f"y marks all {len(array)} rows as unlabelled (by -1, None or NaN); give "
            "labels to some."
        )
    labels = without_objects(array[has_label])
    if labels.dtype.kind == "f" and np.isinf(labels).any():
        raise ValueError(
            "y contains infinity, which is no class; mark rows without a label by -1, "
            "None or NaN."
        )
    return has_label, labels


def encode_labels(y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes (k,) of labels (n,), and class ids (n,), -1 for no label.

    Raises
    ------
    ValueError
        If there are no labels, or they are not classes, all missing, or of one class.
    """
    if y is None:
        # In the words that scikit-learn's checks look for.
        raise ValueError(
            "DeepInfomaxClassifier requires y to be passed, but the target y is None; "
            "-1 marks rows without a label."
        )
    has_label, labels = select_labelled(y)
    check_classification_targets(labels)
    classes, found = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"y has only one class, {classes.tolist()}, beside the marks of rows "
            "without a label (-1, None, NaN); at least two classes are needed. Where "
            "-1 is a class of yours, rename it."
        )
    class_ids = np.full(len(has_label), UNLABELLED)
    class_ids[has_label] = found
    return classes, class_ids


def check_classes_left(classes: np.ndarray, class_ids: np.ndarray) -> None:
    """Raise a ValueError if no row that can be read has one of the labels."""
    lacking = np.setdiff1d(np.arange(len(classes)), class_ids)
    if len(lacking):
        raise ValueError(
            f"class {classes[lacking[0]]!r} has a label in y, but none of its rows in "
            "X can be read; give others, or leave its labels out."
        )


def weigh_classes(
    class_weight: Mapping | str | None, classes: np.ndarray, class_ids: np.ndarray
) -> np.ndarray | None:
    """Return the weights (k,) of the classes, or None where they are equal.

    Raises
    ------
    ValueError
        If a class gets no weight, or none that is a number.
    """
    if class_weight is None:
        return None
    labels = classes[class_ids[class_ids != UNLABELLED]]
    weights = compute_class_weight(class_weight, classes=classes, y=labels)
    if (weights <= 0).any():
        raise ValueError(
            f"class_weight={class_weight!r} gives a class no weight; leave its rows "
            "out, or mark them by -1."
        )
    # Their ratios must be numbers of float32; a NaN fails too.
    if not weights.min() / weights.max() >= np.finfo(np.float32).tiny:
        raise ValueError(
            f"class_weight={class_weight!r} is out of range; all weights must be "
            "finite, the largest at most 1e37 times the smallest."
        )
    return None if np.ptp(weights) == 0 else weights


def hold_out(class_ids: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Draw a share of the labelled rows, some of each class.

    Raises
    ------
    ValueError
        If they are too few.
    """
    rows = np.flatnonzero(class_ids != UNLABELLED)
    try:
        _, held_out = train_test_split(
            rows, test_size=fraction, stratify=class_ids[rows], random_state=seed
        )
    except ValueError as error:
        raise ValueError(
            f"early_stopping=True holds out {fraction:g} of {len(rows)} labelled rows, "
            "which leaves a class out of one of the parts; change validation_fraction, "
            "or train without early_stopping."
        ) from error
    return held_out


def _read(y: Any) -> np.ndarray:
    """Return y as an array (n,), no label changed by those that are missing.

    As numpy reads them, integers beside NaN are floats, and strings beside -1 make a
    string of it. So whatever can hold labels of another type than its missing ones is
    read as Python objects.
    """
    if isinstance(y, np.ma.MaskedArray):
        is_masked = np.ma.getmaskarray(y)
        y = np.array(y.data, dtype=object)
        y[is_masked] = None
    elif isinstance(getattr(y, "dtype", None), np.dtype):
        y = np.asarray(y)
    elif hasattr(y, "astype"):  # of pandas: nullable, strings, categories, frames
        y = np.asarray(y.astype(object))
    else:
        y = _read_values(y)
    if y.dtype.kind == "c":
        # In the words that scikit-learn's checks look for.
        raise ValueError(
            "Complex data not supported: y holds complex numbers; give labels that are "
            "integers or strings."
        )
    if y.dtype.kind not in "biufUmMO":
        y = y.astype(object)
    return column_or_1d(y, warn=True)


def _read_values(y: Any) -> np.ndarray:
    """Read a list, or a column of polars or pyarrow, or what else numpy can read."""
    if hasattr(y, "to_series") and len(y.columns) == 1:  # a frame of polars
        y = y.to_series()
    for method in ("to_list", "to_pylist"):
        if hasattr(y, method):
            y = getattr(y, method)()
    array = np.asarray(y)
    if isinstance(y, list | tuple) and array.dtype.kind not in "biumM":
        array = np.array(y, dtype=object)
    return array


def _is_labelled(y: np.ndarray) -> np.ndarray:
    """Say of each row of an array that `_read` returned whether it has a label."""
    kind = y.dtype.kind
    if kind == "f":
        return ~np.isnan(y) & (y != UNLABELLED)
    if kind in "iu":
        return y != UNLABELLED
    if kind in "mM":
        return ~np.isnat(y)
    if kind == "b":
        return np.ones(len(y), dtype=bool)
    strings = {each for each in y if isinstance(each, str)}
    for mark in sorted(strings.intersection(MARKS_AS_STRINGS)):
        raise ValueError(
            f"y holds the string {str(mark)!r}, which is what a mark of a missing "
            "label becomes in an array of strings; use an array of objects with the "
            "number -1, None or NaN where there is no label, or rename the class if "
            "it is one of yours."
        )
    if any(not each.strip() for each in strings):
        raise ValueError(
            "y holds empty strings, which look like missing labels; put the number -1, "
            "None or NaN there if they are, or give the class a name if it is one."
        )
    return np.array([not (is_missing(each) or is_mark(each)) for each in y], dtype=bool)


def is_missing(value: Any) -> bool:
    """Say whether a value is None, NaN, NaT, NA or masked."""
    if value is None or value is np.ma.masked or type(value).__name__ == "NAType":
        return True
    if isinstance(value, str):
        return False
    # Neither NaN nor NaT equals itself. An array is refused elsewhere, for its type.
    differs = value != value
    return isinstance(differs, bool | np.bool_) and bool(differs)


def is_mark(value: Any) -> bool:
    """Say whether a value is the number -1, the mark of a row without a label."""
    return _is_number(value) and bool(value == UNLABELLED)


def without_objects(values: np.ndarray, name: str = "y") -> np.ndarray:
    """Return objects, none of them missing, as numbers if they are; else strings.

    Raises
    ------
    ValueError
        If they are of several types, or of another one.
    """
    if values.dtype.kind != "O":
        return values
    items = values.ravel().tolist()
    if all(isinstance(each, str) for each in items):
        return values
    if all(_is_number(each) for each in items):
        # As databases return whole numbers, too.
        items = [_plain(each) if isinstance(each, Decimal) else each for each in items]
        return np.array(items).reshape(values.shape)
    names = ", ".join(sorted({type(each).__name__ for each in items}))
    raise ValueError(
        f"{name} holds objects of the types {names}; they must be all strings or all "
        "numbers, and -1, None or NaN where there is no label."
    )


def _plain(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real | np.bool_ | Decimal)
