"""How far a training has come, beside the state of its net.

This module imports nothing of its own package.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

TERMS = ("local", "global", "prior")
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


@dataclass
class EpochPart:
    """What is done of an epoch that runs.

    Parameters
    ----------
    shuffler : Tensor
        State of the generator that shuffled its rows, before it did.
    n_steps : int
        Of the whole epoch.
    values : list of Tensor
        Loss and terms of each step.
    n_rows : int
        Rows of these steps.
    seconds : float
        That they took.
    """

    shuffler: Tensor
    n_steps: int
    values: list[Tensor] = field(default_factory=list)
    n_rows: int = 0
    seconds: float = 0.0


@dataclass
class Position:
    """Where a training began, and how much of it is done.

    Parameters
    ----------
    n_steps, n_records : int
        Steps of the net and rows of skorch's history when it began.
    shuffler, generator : Tensor
        States of the net's generators then.
    history : list of dict
        Of the model then.
    seconds : float
        That it took before this process took it up.
    part : EpochPart or None
        Of the epoch that it stopped in; None between two.
    """

    n_steps: int
    n_records: int
    shuffler: Tensor
    generator: Tensor
    history: list[dict[str, float]]
    seconds: float = 0.0
    part: EpochPart | None = None

    @classmethod
    def begin(cls, net: Any, history: list[dict[str, float]]) -> "Position":
        """Return the position of a training that begins now."""
        states = net.shuffler.get_state(), net.generator.get_state()
        return cls(net.n_steps, len(net.history), *states, history)

    def move(self, device: torch.device) -> None:
        """Let the epoch that it stopped in go on on a device."""
        if self.part is not None:
            self.part.values = [values.to(device) for values in self.part.values]


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
    weights = [f"{n}_weight" if n in TERMS else f"tasks[{n!r}]" for n in bad]
    raise ValueError(
        f"training diverged in epoch {epoch}: the {' and '.join(bad) or 'loss'} term "
        f"became non-finite; lower learning_rate (now {rate:g}), or "
        f"{' or '.join(weights) or 'the weights'}, or try bound='infonce'."
    )


def check_last(history: Any, rate: float, **parts: Iterable[Tensor]) -> None:
    """Raise a ValueError if the last step made a part of the net that is not finite."""
    for name, tensors in parts.items():
        if not all(bool(each.isfinite().all()) for each in tensors):
            raise ValueError(
                f"training diverged in epoch {len(history)}: {name} became non-finite; "
                f"lower learning_rate (now {rate:g})."
            )


def record_means(
    history: Any, prefix: str, names: Sequence[str], table: np.ndarray
) -> None:
    """Record the means over the steps of an epoch, and whether the loss is the best."""
    for name, value in zip(names, table.mean(axis=0), strict=True):
        history.record(f"{prefix}_{name}", float(value))
    key = f"{prefix}_loss"
    seen = [row[key] for row in history if key in row]
    history.record(f"{key}_best", seen[-1] <= min(seen))


def records(
    rows: Sequence[dict], first_epoch: int, tasks: Iterable[str]
) -> list[dict[str, float]]:
    """One dict for each complete epoch among rows of skorch's history."""
    names = dict(RECORDS)
    for task in tasks:
        names |= {task: f"train_{task}", f"valid_{task}": f"valid_{task}"}
    complete = [row for row in rows if "seconds" in row]
    return [
        {"epoch": epoch}
        | {name: float(row.get(key, np.nan)) for name, key in names.items()}
        for epoch, row in enumerate(complete, start=first_epoch)
    ]
