"""Rows of pairs, and what those that a critic did not learn from add to the value."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sk_dim._information._read_outs import ReadOut
from sk_dim.critics import describe

MIN_RIVALS = 32  # groups at once, if there are as many: fewer rows of each are judged


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
        scores = critic(self.x, self.y)
        if self.groups is None:
            return scores
        is_same = self.groups.unsqueeze(1) == self.groups
        is_same.fill_diagonal_(fill_value=False)
        return scores.masked_fill(is_same, -math.inf)

    def score_in_blocks(self, critic: nn.Module) -> Tensor:
        """Score all pairs (n, n), some rows after others: float64, on the CPU."""
        scores = []
        for block in self.x.split(128):
            of_block = critic(block, self.y)
            expected = len(block), len(self.y)
            if not isinstance(of_block, Tensor) or of_block.shape != expected:
                raise ValueError(
                    "a critic must return a score for each pair of rows of both "
                    f"batches, {expected} here; it returned {describe(of_block)}."
                )
            scores.append(of_block)
        return torch.cat(scores).cpu().double()

    @property
    def is_one_group(self) -> bool:
        """Whether there is no other row to tell one from."""
        if self.groups is None:
            return len(self.x) == 1
        return bool(self.groups.min() == self.groups.max())


@torch.inference_mode()
def judge(
    critic: nn.Module | None,
    rows: PairRows,
    read_out: ReadOut,
    n_candidates: int,
    seed: int,
) -> tuple[Tensor, float]:
    """Judge groups of rows among at most about so many rows, drawn at random.

    Neighbours in sorted rows are alike, and would be harder to tell apart.

    Returns
    -------
    shares : Tensor of shape (n_groups,), float64
        What each group adds to the value, in nats, in the order of its numbers: the
        mean over its rows. Nothing where there is no critic.
    cap : float
        What the value of InfoNCE could be at most, in nats.
    """
    generator = torch.Generator().manual_seed(seed)
    if rows.groups is None:
        chosen = numbers = torch.arange(len(rows.x))
    else:
        n_of_each = max(1, n_candidates // MIN_RIVALS)
        chosen, numbers = _some_of_each(rows.groups.cpu(), n_of_each, generator)
    n_groups = int(numbers.max()) + 1
    n_parts = -(-len(chosen) // n_candidates)
    shares = torch.zeros(n_groups, dtype=torch.float64)
    cap = 0.0
    if critic is not None:
        critic.eval()
    order = torch.randperm(n_groups, generator=generator)
    for some in order.tensor_split(n_parts):
        cap += math.log(len(some)) * len(some) / n_groups
        if critic is None or len(some) == 1:
            continue  # there is nothing to tell it from
        if rows.groups is None:
            part = rows.take(some.to(rows.x.device))
            shares[some] = read_out.shares(part.score_in_blocks(critic))
            continue
        own = torch.isin(numbers, some)
        part = rows.take(chosen[own].to(rows.x.device))
        of_rows = read_out.shares(part.score_in_blocks(critic), numbers[own])
        sums = torch.zeros(n_groups, dtype=torch.float64)
        shares[some] = (
            sums.index_add(0, numbers[own], of_rows)
            / numbers[own].bincount(minlength=n_groups)
        )[some]
    return shares, cap


def _some_of_each(
    groups: Tensor, n_most: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw so many rows of each group, or all, and number the groups from 0."""
    numbers = groups.unique(return_inverse=True)[1]
    drawn = torch.randperm(len(groups), generator=generator)
    drawn = drawn[numbers[drawn].argsort(stable=True)]
    first = numbers.bincount().cumsum(0) - numbers.bincount()
    place = torch.arange(len(drawn)) - first[numbers[drawn]]
    drawn = drawn[place < n_most]
    return drawn, numbers[drawn]


def standard_error(shares: Tensor) -> float:
    """Return that of the mean of what rows, or groups, add to a value."""
    return float(shares.std(correction=0) / math.sqrt(len(shares)))
