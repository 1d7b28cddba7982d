"""Scores of pairs of single columns: a table over their bins, many at once."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sk_dim._information._bins import Bins

SMOOTHNESS = np.geomspace(100, 1e-5, 8)  # times 100 rows, from a plane to each cell
SHRINKAGE = 0.05  # of functions without roughness, beside roughness
N_STEPS = 20  # for each smoothness
DAMPING = 0.5  # of the largest density ratio, as the curvature
MAX_CORRELATION = 0.9999
MAX_RANGE = 80.0  # nats between scores, whose exponentials float32 can hold


@dataclass
class Pairs:
    """Pairs of columns, their bins filled up to the same numbers.

    Parameters
    ----------
    basis_x, basis_y : Tensor of shape (n_pairs, bins, functions)
        Functions of either.
    place_x, place_y : Tensor of shape (n_pairs, bins)
        See `Bins`.
    penalty : Tensor of shape (n_pairs, functions of x, functions of y)
        Of the square of the weight of each product of functions.
    """

    basis_x: Tensor
    basis_y: Tensor
    place_x: Tensor
    place_y: Tensor
    penalty: Tensor

    @classmethod
    def of(cls, pairs: Sequence[tuple[Bins, Bins]], device: torch.device) -> "Pairs":
        """Stack pairs of columns."""
        x, y = zip(*pairs, strict=True)
        basis_x, basis_y = (_stack([b.basis for b in side], device) for side in (x, y))
        place_x, place_y = (_stack([b.place for b in side], device) for side in (x, y))
        rough_x, rough_y = (
            _stack([b.roughness for b in side], device) for side in (x, y)
        )
        penalty = (1 + rough_x.unsqueeze(2)) * (1 + rough_y.unsqueeze(1)) - 1
        return cls(basis_x, basis_y, place_x, place_y, penalty + SHRINKAGE)

    def count(
        self,
        pairs: Sequence[tuple[Bins, Bins]],
        parts: Sequence[np.ndarray],
        weights: np.ndarray,
    ) -> Tensor:
        """Count rows of each part in each cell: (n_parts, n_pairs, bins, bins).

        `weights` (n,) are what each row counts for.
        """
        n_x, n_y = self.place_x.shape[1], self.place_y.shape[1]
        counts = np.zeros((len(parts), len(pairs), n_x * n_y), dtype=np.float32)
        for i, (a, b) in enumerate(pairs):
            cells = a.codes * n_y + b.codes
            for k, rows in enumerate(parts):
                counts[k, i] = np.bincount(
                    cells[rows], weights[rows], minlength=n_x * n_y
                )
        shape = len(parts), len(pairs), n_x, n_y
        return torch.from_numpy(counts.reshape(shape)).to(self.basis_x.device)


def _stack(arrays: Sequence[np.ndarray], device: torch.device) -> Tensor:
    """Stack arrays of different sizes, with zeros where one ends."""
    shape = np.max([array.shape for array in arrays], axis=0)
    stacked = np.zeros((len(arrays), *shape), dtype=np.float32)
    for out, array in zip(stacked, arrays, strict=True):
        out[tuple(slice(n) for n in array.shape)] = array
    return torch.from_numpy(stacked).to(device)


class Fit:
    r"""Scores that tell pairs of bins that belong together from others.

    Scores are a normal log density ratio plus a sum of products of functions of either
    column, with weights that maximise InfoNCE both ways, with all rows as candidates,
    less a penalty on rough products. Counts of the cells are all that it takes, so a
    step costs as little with many rows as with few.

    Parameters
    ----------
    pairs : Pairs
        The columns.
    counts : Tensor of shape (n_pairs, bins, bins)
        Training rows in each cell.
    """

    def __init__(self, pairs: Pairs, counts: Tensor) -> None:
        self.pairs = pairs
        self.n_rows = float(counts[0].sum())
        self.joint = counts / self.n_rows
        self.x, self.y = (
            self.joint.sum(2, keepdim=True),
            self.joint.sum(1, keepdim=True),
        )
        self.base = self._normal_ratio()
        self.target = pairs.basis_x.mT @ self.joint @ pairs.basis_y
        self.weights = torch.zeros_like(self.target)

    def _normal_ratio(self) -> Tensor:
        """Log density ratio of normal variables of the same correlation."""
        a, b = self.pairs.place_x.unsqueeze(2), self.pairs.place_y.unsqueeze(1)
        mean_a, mean_b = (
            (p * z).sum((1, 2), True) for p, z in ((self.x, a), (self.y, b))
        )
        var_a, var_b = (
            (p * (z - mean).square()).sum((1, 2), keepdim=True)
            for p, z, mean in ((self.x, a, mean_a), (self.y, b, mean_b))
        )
        both = (self.joint * (a - mean_a) * (b - mean_b)).sum((1, 2), keepdim=True)
        # Names have no variance, and so no correlation.
        r = both / (var_a * var_b).sqrt().clamp_min(1e-12)
        r = r.clamp(-MAX_CORRELATION, MAX_CORRELATION)
        squares = r.square() * (a.square() + b.square())
        rest = 1 - r.square()
        return (2 * r * a * b - squares) / (2 * rest) - rest.log() / 2

    def scores(self) -> Tensor:
        """Scores of all cells, (n_pairs, bins, bins)."""
        return self.base + self.pairs.basis_x @ self.weights @ self.pairs.basis_y.mT

    def path(self) -> Iterator[Tensor]:
        """Fit with ever less smoothness; yields the weights of each."""
        for smoothness in SMOOTHNESS:
            self.maximise(smoothness)
            yield self.weights

    def maximise(self, smoothness: float | Tensor) -> None:
        """Take steps of accelerated gradient ascent from the weights there are.

        Products of functions are orthonormal where columns are independent, so the
        curvature of the objective is at most the largest density ratio.
        """
        penalty = self.pairs.penalty * smoothness * 100 / self.n_rows
        basis_x, basis_y = self.pairs.basis_x, self.pairs.basis_y
        weights = ahead = self.weights
        time = torch.ones_like(self.x[:, :1])
        by_chance = self.x * self.y
        is_cell = (by_chance > 0).float()
        for _ in range(N_STEPS):
            scores = self.base + basis_x @ ahead @ basis_y.mT
            scores -= scores.amax((1, 2), keepdim=True)
            # One exponential for both ways. What is cut off is no probability.
            ratio = scores.clamp_min_(-MAX_RANGE).exp_()
            of_y = (ratio @ self.y.mT).reciprocal()  # normalises those of each x
            of_x = (self.x.mT @ ratio).reciprocal()
            ratio *= (of_y + of_x).mul_(is_cell)  # to chance, twice
            curvature = ratio.amax((1, 2), keepdim=True).clamp_min_(2.0)
            curvature *= DAMPING / 2
            expected = ratio.mul_(by_chance).div_(2)
            gradient = self.target - basis_x.mT @ expected @ basis_y - penalty * ahead
            new = ahead + gradient / (curvature + penalty)
            step = new - weights
            # Momentum that leads downhill is given up, for each pair by itself.
            is_back = (gradient * step).sum((1, 2), keepdim=True) < 0
            new_time = (1 + (1 + 4 * time.square()).sqrt()) / 2
            momentum = ((time - 1) / new_time).masked_fill(is_back, 0.0)
            time = new_time.masked_fill(is_back, 1.0)
            weights, ahead = new, new + momentum * step
        self.weights = weights


@dataclass
class Judgement:
    """What rows of all pairs say of scores, on the CPU.

    Parameters
    ----------
    mean : Tensor of shape (n_pairs,)
        InfoNCE both ways, each row with all others as candidates, in nats.
    square : Tensor of shape (n_pairs,)
        Mean square of what each row adds.
    shares : Tensor of shape (n_pairs, bins, bins)
        What a row in each cell adds.
    """

    mean: Tensor
    square: Tensor
    shares: Tensor

    def error(self, n_rows: float) -> Tensor:
        """Return standard errors of the means."""
        return ((self.square - self.mean.square()).clamp_min(0.0) / n_rows).sqrt()


def judge(scores: Tensor, counts: Tensor) -> Judgement:
    """Judge scores by rows that they may not have been fitted to.

    Parameters
    ----------
    scores : Tensor of shape (n_pairs, bins, bins)
        Of each cell.
    counts : Tensor of shape (n_pairs, bins, bins)
        Rows in each cell.
    """
    # Float64 is needed for sums, and some devices lack it.
    scores, counts = scores.cpu().double(), counts.cpu().double()
    n_rows = counts[0].sum()
    total = torch.zeros_like(scores)
    for dim, others in ((2, 1), (1, 2)):
        own = counts.sum(dim, keepdim=True)  # of the side that looks for the other
        candidates = counts.sum(others, keepdim=True)
        log_partition = (scores + candidates.log()).logsumexp(dim, keepdim=True)
        each = scores - log_partition
        as_candidate = (each.exp() * own).sum(others, keepdim=True)
        total += (each + math.log(n_rows) - (as_candidate - 1)) / 2
    # Cells without rows may have scores that are not finite.
    share = counts / n_rows
    total = total.masked_fill(counts == 0, 0.0)
    mean, square = ((share * each).sum((1, 2)) for each in (total, total.square()))
    return Judgement(mean, square, total)
