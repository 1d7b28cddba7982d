"""Several critics that learn from the same rows, of which the best is kept."""

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from sk_dim._information._held_out import TrainedCritic, one_thread
from sk_dim._information._judging import standard_error
from sk_dim._information._read_outs import ReadOut
from sk_dim._information._shown_rows import ShownRows

# Checks, of 25 in all, after which those that are behind are dropped: by so many
# standard errors, and whether those too that have learnt all that they can.
HEATS = (4, 3.0, False), (6, 1.0, True)


def race(
    critics: Sequence[TrainedCritic],
    shown: ShownRows,
    train: np.ndarray,
    stop: np.ndarray,
    read_out: ReadOut,
    n_epochs: Any,
) -> tuple[TrainedCritic, list[TrainedCritic], list[dict[str, Any]]]:
    """Train critics on the same rows, and drop those that are clearly behind.

    Parameters
    ----------
    critics : sequence of TrainedCritic
        Not trained.
    shown : ShownRows
        All rows.
    train, stop : ndarray of int
        Rows to learn from, and to stop by.
    read_out : ReadOut
        The bound.
    n_epochs : int or "auto"
        Of each critic.

    Returns
    -------
    best : TrainedCritic
        The best on the rows to stop by.
    left_in : list of TrainedCritic
        Those that were not dropped, the best among them.
    history : list of dict
        Of all trainings.
    """
    history: list[list[dict[str, Any]]] = [[] for _ in critics]
    trainings = []
    for critic in critics:
        rows_for = shown.rows_for(critic)
        rows = rows_for(train), rows_for(stop)
        trainings.append(critic.train(*rows, read_out, n_epochs))
    left_in = list(critics)
    # A critic alone has nobody to be behind.
    for n_checks, n_errors, is_for_all in HEATS if len(critics) > 1 else ():
        _train_to(n_checks, critics, trainings, history, left_in)
        rivals = [each for each in left_in if is_for_all or each.n_training_steps]
        if rivals:
            leader = max(rivals, key=lambda critic: critic.best)
            behind = [each for each in rivals if is_behind(each, leader, n_errors)]
            left_in = [each for each in left_in if each not in behind]
    _train_to(math.inf, critics, trainings, history, left_in)
    best = max(left_in, key=lambda critic: critic.best)
    return best, left_in, list(itertools.chain.from_iterable(history))


def _train_to(
    n_checks: float,
    critics: Sequence[TrainedCritic],
    trainings: Sequence[Iterator[dict[str, float]]],
    history: Sequence[list[dict[str, Any]]],
    left_in: Sequence[TrainedCritic],
) -> None:
    """Train those that are left in until each has been checked so many times."""
    for critic, training, rows in zip(critics, trainings, history, strict=True):
        if critic not in left_in:
            continue
        with threads_for(critic):
            for row in training:
                rows.append({"critic": critic.name} | row)
                if len(rows) >= n_checks:
                    break


def is_behind(
    critic: TrainedCritic, leader: TrainedCritic, n_errors: float = 1.0
) -> bool:
    """Whether it is worse on the rows to stop by, by more than standard errors."""
    lead = leader.stop_shares - critic.stop_shares
    return float(lead.mean()) > n_errors * standard_error(lead)


def threads_for(critic: TrainedCritic) -> AbstractContextManager[None]:
    """One thread for small nets on a CPU, as many as there are for others."""
    is_small = len(critic.of_x.shape) == len(critic.of_y.shape) == 1
    is_small = is_small and critic.device.type == "cpu"
    return one_thread() if is_small else nullcontext()
