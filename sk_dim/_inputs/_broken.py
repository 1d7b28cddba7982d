"""Rows that cannot be read: left out of training, NaN among the features.

A lazy array tells of them by `find_broken`, see LazyArray; others have none.

This module imports nothing of its own folder.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sk_dim._validation import warn
from sk_dim.arrays import describe_broken, find_broken


def leave_out_broken(X: Any, *others: np.ndarray | None) -> tuple[Any, ...]:
    """Return X and what belongs to its rows without those that cannot be read.

    Parameters
    ----------
    X : object
        A lazy array, or anything else, which comes back as it is.
    *others : ndarray of shape (n, ...) or None
        Such as labels and groups.

    Raises
    ------
    ValueError
        If no row can be read.
    """
    broken = find_broken(X)
    if not broken:
        return X, *others
    n_rows = X.shape[0]
    is_whole = np.ones(n_rows, dtype=bool)
    is_whole[list(broken)] = False
    if not is_whole.any():
        raise ValueError(f"{describe_broken(broken, n_rows)}; none is left.")
    warn(f"{describe_broken(broken, n_rows)}; they are left out.")
    rows = np.flatnonzero(is_whole)
    return X[rows], *(None if each is None else each[rows] for each in others)


def warn_of_nan(broken: Mapping[int, str], n_rows: int) -> None:
    """Warn that what is computed of broken rows, if there are any, is NaN."""
    if broken:
        warn(f"{describe_broken(broken, n_rows)}; what is computed of them is NaN.")


def refuse_nan(scores: np.ndarray) -> None:
    """Raise a ValueError where scores of rows are NaN, for these have no class."""
    rows = np.flatnonzero(np.isnan(scores.reshape(len(scores), -1)).any(axis=1))
    if len(rows):
        raise ValueError(
            f"{len(rows)} of {len(scores)} rows of X cannot be read, the first of them "
            f"row {rows[0]}, so they have no class; leave them out, or call "
            "predict_proba, which is NaN for them."
        )
