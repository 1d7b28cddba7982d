"""Estimates from rows that critics did not see, each part by critics of the others."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sk_dim._information._certainty import (
    N_TESTED,
    draw_ways,
    p_value_of_independence,
)
from sk_dim._information._columns import Variable
from sk_dim._information._held_out import (
    TrainedCritic,
    draw_folds,
    draw_stop,
    n_judged,
)
from sk_dim._information._race import race, threads_for
from sk_dim._information._read_outs import ReadOut
from sk_dim._information._representations import Representation
from sk_dim._information._row_groups import RowGroups
from sk_dim._information._shown_rows import ShownRows

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
        What each held-out group of rows adds to the value, in nats, a tensor for each
        part.
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


def cross_fit(
    X: Variable,
    Y: Variable,
    row_groups: RowGroups,
    representation: Representation,
    builds: Mapping[str, Any],
    read_out: ReadOut,
    n_epochs: Any,
    n_permutations: int,
    device: torch.device,
    rng: np.random.RandomState,
) -> Judged:
    """Train critics without each part, and judge the part by the best of them.

    Parameters
    ----------
    X, Y : Variable
        All rows.
    row_groups : RowGroups
        Rows of one group are in one part.
    representation : Representation
        Ways to show both, learnt from rows that are not judged.
    builds : dict of callable
        Build critics from the shapes of their inputs.
    read_out : ReadOut
        The bound.
    n_epochs : int or "auto"
        Of each critic.
    n_permutations : int
        For the p-value.
    device : torch.device
        Where critics compute.
    rng : RandomState
        Draws parts and seeds.
    """
    out = Judged()
    groups, units = row_groups.numbers, row_groups.units
    folds = draw_folds(groups, rng)
    n_folds = n_judged(folds, units)
    unjudged = np.flatnonzero(folds >= n_folds)
    shown = ShownRows(X, Y, device, units)
    is_shared = representation.learns and len(unjudged) >= MIN_LEARNT
    ways = representation.fit(shown, unjudged, rng) if is_shared else []
    is_judged = folds < n_folds if is_shared else None
    for k in range(n_folds):
        train, stop = draw_stop(groups, np.flatnonzero(folds != k), rng, is_judged)
        held_out = np.flatnonzero(folds == k)
        if not is_shared:
            shown = ShownRows(X, Y, device, units)
            ways = representation.fit(shown, train, rng)
        seed = rng.randint(2**31)
        critics = [TrainedCritic(*way, builds, device, seed) for way in ways]
        best, left_in, history = race(critics, shown, train, stop, read_out, n_epochs)
        if is_shared:
            # The rows that chose them stop the other trainings too, and are not judged.
            ways = [w for w in ways if w[0] in {critic.name for critic in left_in}]
        out.history += [{"fold": k} | row for row in history]
        rows_for = shown.rows_for(best)
        with threads_for(best):
            shares, cap = best.judge(rows_for(held_out), read_out)
            # As many that it knows: rows of a group come in one piece.
            _, first = np.unique(units[train], return_index=True)
            end = [*np.sort(first), len(train)][min(len(shares), len(first))]
            known = best.judge(rows_for(train[:end]), read_out, even_if_none=True)
            if k == 0:
                _, first = np.unique(groups[held_out], return_index=True)
                tested = rows_for(held_out[np.sort(first)[:N_TESTED]])
                scores, own_rng = best.score_pairs(tested), np.random.default_rng(seed)
                paired = draw_ways(len(scores), n_permutations, own_rng)
                out.p_value = p_value_of_independence(scores, paired, own_rng)
        out.critics.append(best)
        out.shares.append(shares)
        out.on_training.append(float(known[0].mean()))
        out.caps.append(cap)
    return out


def judge_again(
    critics: list[TrainedCritic],
    X: Variable,
    Y: Variable,
    groups: np.ndarray | None,
    read_out: ReadOut,
) -> float:
    """Mean over critics of the value of new rows, in nats."""
    shown = ShownRows(X, Y, critics[0].device, groups)
    values = []
    for critic in critics:
        with threads_for(critic):
            rows = shown.rows_for(critic)(np.arange(len(X)))
            values.append(critic.judge(rows, read_out)[0].mean())
    return float(torch.stack(values).mean())
