"""Rows of pairs, and what those that a critic did not learn from add to the value."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sk_dim._information._read_outs import ReadOut


class PairRows(NamedTuple):
    """Rows of both variables as a critic is shown them.

    Parameters
    ----------
    x, y : Tensor of shape (n, ...)
        Row i of both belongs together.
    groups : Tensor of shape (n,), int64, or None, default=None
        Rows of one group are no candidates for one another; None where all are apart.
    """

    x: Tensor
    y: Tensor
    groups: Tensor | None = None

    def take(self, rows: Tensor) -> "PairRows":
        """Return some rows."""
        groups = None if self.groups is None else self.groups[rows]
        return PairRows(self.x[rows], self.y[rows], groups)

    def to(self, device: torch.device) -> "PairRows":
        """Return them on a device."""
        groups = None if self.groups is None else self.groups.to(device)
        return PairRows(self.x.to(device), self.y.to(device), groups)

    def score(self, critic: nn.Module) -> Tensor:
        """Score all pairs (n, n); those of different rows of one group have -inf."""
        return self._leave_out(critic(self.x, self.y))

    def score_in_blocks(self, critic: nn.Module) -> Tensor:
        """Score all pairs, a block of rows after the other: float64, on the CPU."""
        blocks = [critic(block, self.y) for block in self.x.split(128)]
        return self._leave_out(torch.cat(blocks)).cpu().double()

    def _leave_out(self, scores: Tensor) -> Tensor:
        if self.groups is None:
            return scores
        is_same = self.groups.unsqueeze(1) == self.groups
        is_same.fill_diagonal_(fill_value=False)
        return scores.masked_fill(is_same, -math.inf)

    def mean_log_candidates(self) -> float:
        """Mean over the rows of the logarithm of how many candidates each has."""
        n = len(self.x)
        if self.groups is None:
            return math.log(n)
        _, of_row, counts = torch.unique(
            self.groups.cpu(), return_inverse=True, return_counts=True
        )
        return float((n + 1 - counts[of_row]).double().log().mean())


@torch.inference_mode()
def judge(
    critic: nn.Module | None,
    rows: PairRows,
    read_out: ReadOut,
    n_candidates: int,
    seed: int,
) -> tuple[Tensor, float]:
    """Judge rows among at most so many candidates, drawn at random.

    Neighbours in sorted rows are alike, and would be harder to tell apart.

    Returns
    -------
    shares : Tensor of shape (n,), float64
        What each row adds to the value, in nats: nothing where there is no critic.
    cap : float
        What the value of InfoNCE could be at most, in nats.
    """
    n = len(rows.x)
    n_parts = -(-n // n_candidates)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    shares = torch.zeros(n, dtype=torch.float64)
    cap = 0.0
    if critic is not None:
        critic.eval()
    for chosen in order.tensor_split(n_parts):
        part = rows.take(chosen.to(rows.x.device))
        cap += part.mean_log_candidates() * len(chosen) / n
        if critic is not None:
            shares[chosen] = read_out.shares(part.score_in_blocks(critic))
    return shares, cap


def standard_error(shares: Tensor) -> float:
    """Return that of the mean of what rows add to a value."""
    return float(shares.std(correction=0) / math.sqrt(len(shares)))


def error_by_group(shares: np.ndarray, groups: np.ndarray) -> float:
    """Return the standard error of a mean over rows, of which groups are independent.

    Parameters
    ----------
    shares : ndarray of shape (n,)
        What rows add to a value.
    groups : ndarray of shape (n,), int
        Numbers of their groups.

    Notes
    -----
    Rows of a group that add alike tell as much as one: what they add beyond the mean
    is summed before it is squared (Liang and Zeger 1986). Where each row is a group it
    is the usual standard error.
    """
    numbers = np.unique(groups, return_inverse=True)[1]
    sums = np.bincount(numbers, shares - shares.mean())
    n_groups = len(sums)
    if n_groups < 2:
        return math.inf
    return math.sqrt((sums**2).sum() * n_groups / (n_groups - 1)) / len(shares)
