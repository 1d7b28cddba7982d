"""All rows of two variables as critics are shown them, each way computed once."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sk_dim._information._columns import Variable
from sk_dim._information._held_out import TrainedCritic
from sk_dim._information._judging import PairRows


class ShownRows:
    """All rows, as each way to show them makes them.

    Parameters
    ----------
    X, Y : Variable
        All rows.
    device : torch.device
        Where critics compute.
    groups : ndarray of shape (n,), int, or None, default=None
        Numbers of the groups of the rows; None where all are apart.
    """

    def __init__(
        self,
        X: Variable,
        Y: Variable,
        device: torch.device,
        groups: np.ndarray | None = None,
    ) -> None:
        self.variables = X, Y
        self.device = device
        is_grouped = groups is not None and groups.max() + 1 < len(groups)
        self.groups = torch.from_numpy(groups) if is_grouped else None
        self._known: list[dict[int, tuple[Any, Any]]] = [{}, {}]

    def by(self, way: Any, side: int) -> Any:
        """Apply a way to show X (0) or Y (1) to what its first step, if any, made."""
        known = self._known[side]
        if id(way) not in known:
            first = getattr(way, "first", None)
            shown = way(self.by(first, side) if first else self.variables[side])
            # With the way itself, so that its number is not given to another one.
            known[id(way)] = way, shown
        return known[id(way)][1]

    def rows_for(self, critic: TrainedCritic) -> Callable[[np.ndarray], PairRows]:
        """Return what takes numbers of rows to rows as this critic is shown them."""
        all_rows = PairRows(
            self.by(critic.of_x, 0), self.by(critic.of_y, 1), self.groups
        )
        return lambda rows: all_rows.take(torch.from_numpy(rows)).to(self.device)
