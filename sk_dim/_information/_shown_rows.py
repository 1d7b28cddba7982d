"""All rows of two variables as critics are shown them, each way computed once."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sk_dim._information._columns import Variable
from sk_dim._information._held_out import Inputs, TrainedCritic


class ShownRows:
    """All rows, as each way to show them makes them.

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

    def inputs_of(self, critic: TrainedCritic) -> Callable[[np.ndarray], Inputs]:
        """Return what takes numbers of rows to their inputs of this critic."""
        x, y = self.by(critic.of_x, 0), self.by(critic.of_y, 1)
        return lambda rows: (x[rows].to(self.device), y[rows].to(self.device))
