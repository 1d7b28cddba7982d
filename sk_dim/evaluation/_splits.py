"""Folds that keep groups apart, such as the windows of one patient."""

import numbers
import warnings
from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, check_cv

from sk_dim._inputs._groups import count_groups
from sk_dim.evaluation._targets import kind_of_target

Fold = tuple[np.ndarray, np.ndarray]  # rows to train on, rows to test on


def grouped_folds(cv: Any, y: np.ndarray, groups: np.ndarray) -> list[Fold]:
    """Return the folds of a cross-validation whose parts have no group in common.

    Parameters
    ----------
    cv : int, splitter, iterable or None
        As in scikit-learn; None is 5.
    y : ndarray of shape (n,) or (n, n_outputs)
        Target, of which classes are spread evenly over the folds.
    groups : ndarray of int, of shape (n,)
        Codes of groups.

    Raises
    ------
    ValueError
        If there are fewer groups than folds, a class is in one group only or left out
        of a part to train on, or a splitter divides a group.
    """
    if cv is not None and not isinstance(cv, numbers.Integral):
        with warnings.catch_warnings():
            # Such a splitter is refused below where it divides groups.
            warnings.filterwarnings("ignore", "The groups parameter is ignored")
            folds = list(check_cv(cv).split(np.zeros(len(y)), y, groups))
        for train, test in folds:
            if np.isin(groups[test], groups[train]).any():
                raise ValueError(
                    f"cv={cv!r} divides groups, whose rows would be trained on and "
                    "tested; use a splitter that keeps groups whole, such as "
                    "GroupKFold, or an integer."
                )
        return folds
    n_folds = 5 if cv is None else int(cv)
    n_groups = len(np.unique(groups))
    if n_groups < n_folds:
        raise ValueError(
            f"cv={n_folds} folds need as many groups, but the rows with a target are "
            f"of {n_groups}; lower cv."
        )
    if kind_of_target(y) != "classes":
        return list(GroupKFold(n_folds).split(y, y, groups))
    classes, class_ids = np.unique(y, return_inverse=True)
    n_each = count_groups(class_ids, groups)
    if n_each.min() < 2:
        raise ValueError(
            f"class {classes[n_each.argmin()]} is in one group only, so it cannot be "
            "both trained on and tested; leave its rows out, or add groups that have "
            "it."
        )
    folds = list(StratifiedGroupKFold(n_folds).split(y, class_ids, groups))
    if not _all_classes_are_learnt(class_ids, folds):
        raise ValueError(
            f"cv={n_folds} folds of whole groups leave a class out of the rows to "
            "train on; change cv, or pass a splitter."
        )
    return folds


def inner_folds(y: np.ndarray, groups: np.ndarray, target: str) -> list[Fold] | None:
    """Return up to three folds to choose a setting by; None if groups are too few."""
    class_ids = np.zeros(len(y), dtype=int)
    if target == "classes":
        class_ids = np.unique(y, return_inverse=True)[1]
    n_folds = min(3, int(count_groups(class_ids, groups).min()))
    if n_folds < 2:
        return None
    splitter = StratifiedGroupKFold if target == "classes" else GroupKFold
    folds = list(splitter(n_folds).split(y, class_ids, groups))
    return folds if _all_classes_are_learnt(class_ids, folds) else None


def _all_classes_are_learnt(class_ids: np.ndarray, folds: list[Fold]) -> bool:
    return all(len(set(class_ids[train])) == class_ids.max() + 1 for train, _ in folds)
