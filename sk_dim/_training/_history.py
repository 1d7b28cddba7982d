"""Records of the epochs, and the error of a training that diverged.

This module imports nothing of its own package.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

# Keys of `history_`, each with the name that skorch's history has for it.
RECORDS = {
    "loss": "train_loss",
    "local": "train_local",
    "global": "train_global",
    "prior": "train_prior",
    "valid_loss": "valid_loss",
    "valid_local": "valid_local",
    "valid_global": "valid_global",
    "learning_rate": "learning_rate",
    "seconds": "seconds",
    "samples_per_second": "samples_per_second",
}


def check_finite(
    names: Sequence[str], table: np.ndarray, epoch: int, rate: float
) -> None:
    """Raise a ValueError that names the first term that was not finite.

    Parameters
    ----------
    names : sequence of str
        "loss" and the terms.
    table : ndarray of shape (n_steps, n_names)
        Their values in the steps of an epoch.
    epoch : int
        Its number.
    rate : float
        Learning rate that the user gave.
    """
    bad_steps = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(bad_steps) == 0:
        return
    row = table[bad_steps[0], 1:]
    bad = [n for n, v in zip(names[1:], row, strict=True) if not np.isfinite(v)]
    raise ValueError(
        f"training diverged in epoch {epoch}: the {' and '.join(bad) or 'loss'} term "
        f"became non-finite; lower learning_rate (now {rate:g}), or "
        f"{' or '.join(f'{name}_weight' for name in bad) or 'the weights'}, or "
        "try bound='infonce'."
    )


def records(history: Any, start: int, first_epoch: int) -> list[dict[str, float]]:
    """One dict for each complete epoch from row `start` of skorch's history on."""
    complete = [row for row in history[start:] if "seconds" in row]
    return [
        {"epoch": epoch}
        | {name: float(row.get(key, np.nan)) for name, key in RECORDS.items()}
        for epoch, row in enumerate(complete, start=first_epoch)
    ]
