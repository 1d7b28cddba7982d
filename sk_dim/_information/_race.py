"""Several critics that learn from the same rows, of which the best is kept."""

import itertools
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from sk_dim._information._held_out import TrainedCritic, one_thread, standard_error
from sk_dim._information._read_outs import ReadOut
from sk_dim._information._shown_rows import ShownRows

N_HEATS = 6  # checks, of 25 in all, after which those that are behind are left


def race(
    critics: Sequence[TrainedCritic],
    shown: ShownRows,
    train: np.ndarray,
    stop: np.ndarray,
    read_out: ReadOut,
    n_epochs: Any,
) -> tuple[TrainedCritic, list[dict[str, Any]]]:
    """Train critics on the same rows, and leave those that are clearly behind.

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
    history : list of dict
        Of all trainings.
    """
    history: list[list[dict[str, Any]]] = [[] for _ in critics]
    trainings = []
    for critic in critics:
        inputs = shown.inputs_of(critic)
        trainings.append(critic.train(inputs(train), inputs(stop), read_out, n_epochs))
    # A critic alone has nobody to be behind.
    for n_checks in (N_HEATS, math.inf) if len(critics) > 1 else (math.inf,):
        leader = max(critics, key=lambda critic: critic.best)
        are_left = [is_behind(critic, leader) for critic in critics]
        for critic, training, rows, is_left in zip(
            critics, trainings, history, are_left, strict=True
        ):
            if is_left:
                continue
            with threads_for(critic):
                for row in training:
                    rows.append({"critic": critic.name} | row)
                    if len(rows) >= n_checks:
                        break
    best = max(critics, key=lambda critic: critic.best)
    return best, list(itertools.chain.from_iterable(history))


def is_behind(critic: TrainedCritic, leader: TrainedCritic) -> bool:
    """Whether it is worse on the rows to stop by, by more than a standard error."""
    lead = leader.stop_shares - critic.stop_shares
    return float(lead.mean()) > standard_error(lead)


def threads_for(critic: TrainedCritic) -> AbstractContextManager[None]:
    """One thread for small nets on a CPU, as many as there are for others."""
    is_small = len(critic.of_x.shape) == len(critic.of_y.shape) == 1
    is_small = is_small and critic.device.type == "cpu"
    return one_thread() if is_small else nullcontext()
