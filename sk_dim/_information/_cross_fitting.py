"""Estimates from rows that critics did not see, each part by critics of the others."""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sk_dim._information._certainty import N_TESTED, p_value_of_independence
from sk_dim._information._columns import Variable
from sk_dim._information._held_out import (
    Inputs,
    TrainedCritic,
    draw_folds,
    draw_stop,
    n_judged,
    one_thread,
)
from sk_dim._information._read_outs import ReadOut
from sk_dim._information._representations import Representation

MIN_LEARNT = 500  # rows that no judged part holds, to learn from them for all parts


@dataclass
class Judged:
    """What the held-out rows say.

    Parameters
    ----------
    critics : list of TrainedCritic
        The best of each part.
    history : list of dict
        Of all trainings.
    shares : list of Tensor
        What each held-out row adds to the value, in nats, a tensor for each part.
    on_training : list of float
        Value of each critic on as many rows that it learnt from.
    caps : list of float
        Largest value of each part, in nats, by its number of candidates.
    p_value : float
        Of independence, by the first part.
    """

    critics: list[TrainedCritic] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    shares: list[Tensor] = field(default_factory=list)
    on_training: list[float] = field(default_factory=list)
    caps: list[float] = field(default_factory=list)
    p_value: float = 1.0


class InputsOf:
    """Inputs of critics for all rows, computed once for each way to show them.

    Parameters
    ----------
    X, Y : Variable
        All rows.
    device : torch.device
        Where critics compute.
    """

    def __init__(self, X: Variable, Y: Variable, device: torch.device) -> None:
        self.variables = X, Y
        self.device = device
        self.known: list[dict[int, tuple[Any, Any]]] = [{}, {}]

    def _shown(self, way: Any, side: int) -> Any:
        """Apply a way to show a variable to what is its first step, if there is one."""
        known = self.known[side]
        if id(way) not in known:
            first = getattr(way, "first", None)
            shown = way(self._shown(first, side) if first else self.variables[side])
            # With the way itself, so that its number is not given to another one.
            known[id(way)] = way, shown
        return known[id(way)][1]

    def __call__(self, critic: TrainedCritic) -> Callable[[np.ndarray], Inputs]:
        """Return what takes numbers of rows to their inputs of this critic."""
        x, y = self._shown(critic.of_x, 0), self._shown(critic.of_y, 1)
        return lambda rows: (x[rows].to(self.device), y[rows].to(self.device))


def cross_fit(
    X: Variable,
    Y: Variable,
    groups: np.ndarray,
    representation: Representation,
    builds: Mapping[str, Any],
    read_out: ReadOut,
    n_epochs: Any,
    device: torch.device,
    rng: np.random.RandomState,
) -> Judged:
    """Train critics without each part, and judge the part by the best of them.

    Parameters
    ----------
    X, Y : Variable
        All rows.
    groups : ndarray of shape (n,), int
        Rows of one group are in one part.
    representation : Representation
        Ways to show both, learnt from rows that are not judged.
    builds : dict of callable
        Build critics from the shapes of their inputs.
    read_out : ReadOut
        The bound.
    n_epochs : int or "auto"
        Of each critic.
    device : torch.device
        Where critics compute.
    rng : RandomState
        Draws parts and seeds.
    """
    out = Judged()
    folds = draw_folds(groups, rng)
    n_folds = n_judged(folds)
    unjudged = np.flatnonzero(folds >= n_folds)
    inputs_of = InputsOf(X, Y, device)
    is_shared = representation.learns and len(unjudged) >= MIN_LEARNT
    ways = representation.fit(X[unjudged], Y[unjudged], rng) if is_shared else []
    for k in range(n_folds):
        train, stop = draw_stop(groups, np.flatnonzero(folds != k), rng)
        held_out = np.flatnonzero(folds == k)
        if not is_shared:
            ways = representation.fit(X[train], Y[train], rng)
            inputs_of = InputsOf(X, Y, device)
        seed = rng.randint(2**31)
        critics = []
        for way in ways:
            critic = TrainedCritic(*way, builds, device, seed)
            inputs = inputs_of(critic)
            with _threads(critic, device):
                history = critic.train(inputs(train), inputs(stop), read_out, n_epochs)
            labels = {"fold": k, "critic": critic.name}
            out.history += [labels | row for row in history]
            critics.append(critic)
        best = max(critics, key=lambda critic: critic.best)
        inputs = inputs_of(best)
        with _threads(best, device):
            shares, n_candidates = best.judge(inputs(held_out), read_out)
            known = best.judge(
                inputs(train[: len(held_out)]), read_out, even_if_none=True
            )
            if k == 0:
                _, first = np.unique(groups[held_out], return_index=True)
                tested = inputs(held_out[np.sort(first)[:N_TESTED]])
                out.p_value = p_value_of_independence(
                    best.score_pairs(tested), np.random.default_rng(seed)
                )
        out.critics.append(best)
        out.shares.append(shares)
        out.on_training.append(float(known[0].mean()))
        out.caps.append(math.log(n_candidates))
    return out


def judge_again(
    critics: list[TrainedCritic], X: Variable, Y: Variable, read_out: ReadOut
) -> float:
    """Mean over critics of the value of new rows, in nats."""
    inputs_of = InputsOf(X, Y, critics[0].device)
    values = []
    for critic in critics:
        with _threads(critic, critic.device):
            rows = inputs_of(critic)(np.arange(len(X)))
            values.append(critic.judge(rows, read_out)[0].mean())
    return float(torch.stack(values).mean())


def _threads(
    critic: TrainedCritic, device: torch.device
) -> AbstractContextManager[None]:
    """One thread for small nets on a CPU, as many as there are for others."""
    is_small = len(critic.of_x.shape) == len(critic.of_y.shape) == 1
    return one_thread() if is_small and device.type == "cpu" else nullcontext()
