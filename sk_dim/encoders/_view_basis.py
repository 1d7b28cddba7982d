"""Linear map of fixed features, learnt from views without labels or gradients.

Of the linear maps of normal features, the one that keeps most information between two
views of a sample shrinks directions in which views of one sample differ, and keeps
those in which samples do. Two eigenvalue problems find it.

This module imports nothing of its own package.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

FLOOR = 5e-4  # share of the variance, in a direction, below which views change nothing
TRUSTED, DISTRUSTED = 0.5, 0.68  # variance that views make, as a share of all
ALIKE, UNLIKE = 0.6, 0.4  # nearest neighbours by place that are so by pooled features
LEAST = 0.03  # weight of features of places, so that with many labels they are there
SIZES = 0.05  # weight of features of sizes
N_NEIGHBOURS = 5
NEGLIGIBLE = 1e-6  # of the largest variance
TINY = 1e-30
MOST_DIRECTIONS = 1024


@dataclass(frozen=True)
class Block:
    """Features that count with a weight, themselves or mapped by a matrix (f, k)."""

    columns: slice
    weight: float
    matrix: Tensor | None = None

    def of(self, features: Tensor) -> Tensor:
        """Return these features of the samples."""
        own = features[:, self.columns]
        return own if self.matrix is None else own @ self.matrix


class HasBasis(nn.Module):
    """A module with a buffer `basis`, whose width is known when it is learnt."""

    basis: Tensor

    def _load_from_state_dict(
        self, state: dict[str, Any], prefix: str, *args: Any
    ) -> None:
        saved = state.get(f"{prefix}basis")
        if saved is not None:
            self.basis = self.basis.new_empty(saved.shape)
        super()._load_from_state_dict(state, prefix, *args)


def shuffle(batch: Tensor, seed: int) -> tuple[Tensor, torch.Generator]:
    """Return an order of the samples, and a generator for what is drawn after it."""
    generator = torch.Generator(batch.device).manual_seed(seed)
    order = torch.randperm(len(batch), generator=generator, device=batch.device)
    return order, generator


def learn_basis(
    features: Tensor,
    n_pooled: int,
    n_placed: int,
    views: list[Tensor],
    n_most: int,
) -> tuple[Tensor, float]:
    """Learn principal directions of features, after shrinking what views change.

    Views of some data change more than what tells samples apart. So the more of the
    variance they make, the less they count; in their place come the features as they
    are, and those of places where these find the same neighbours. Features of places
    and of sizes always count a little.

    Parameters
    ----------
    features : Tensor of shape (n, f), float32
        Standardised; first those that are pooled over a sample, then those of places,
        then those of sizes.
    n_pooled, n_placed : int
        How many are pooled, and how many are of places.
    views : list of Tensor of shape (m, n_pooled)
        Pooled features of views of the first m samples, standardised alike.
    n_most : int
        Largest number of directions.

    Returns
    -------
    basis : Tensor of shape (f, r)
        Maps features to directions, the largest first; their variances add up to 1.
    trust : float
        From 0 to 1, how much of them is owed to what views have in common.
    """
    pooled, places = slice(0, n_pooled), slice(n_pooled, n_pooled + n_placed)
    sizes = slice(n_pooled + n_placed, features.shape[1])
    whole = features[:, pooled]
    trust, blocks = 0.0, []
    if variance(whole) < TINY:  # all samples are the same
        return features.new_zeros(features.shape[1], 1), trust
    if views:
        differences = torch.cat([difference(view, whole) for view in views])
        share = variance(differences) / variance(whole)
        trust = _ramp(share, DISTRUSTED, TRUSTED)
        if trust > 0:
            blocks.append(Block(pooled, trust, shrink(whole, differences)))
    if trust < 1:
        blocks.append(Block(pooled, 1 - trust))
    if variance(features[:, places]) > TINY:
        overlap = _overlap(whole, features[:, places])
        weight = max(LEAST, (1 - trust) * _ramp(overlap, UNLIKE, ALIKE))
        blocks.append(Block(places, weight))
    if variance(features[:, sizes]) > TINY:
        blocks.append(Block(sizes, SIZES))
    return principal_directions(features, blocks, n_most), trust


def _ramp(value: float, start: float, end: float) -> float:
    """Rise from 0 at `start` to 1 at `end`."""
    return min(1.0, max(0.0, (value - start) / (end - start)))


def difference(view: Tensor, whole: Tensor) -> Tensor:
    """Difference of views to their samples, less what it is on average."""
    changes = view - whole[: len(view)]
    return changes - changes.mean(dim=0)


def variance(rows: Tensor) -> float:
    """Mean squared length of centred rows."""
    return float(rows.square().sum() / len(rows))


def shrink(whole: Tensor, differences: Tensor, floor: float = FLOOR) -> Tensor:
    """Map features to directions, those that differ between views shrunk."""
    values, vectors = _eigen(whole @ whole.T)
    span = whole.T @ (vectors * values.rsqrt())  # orthonormal
    between = differences @ span
    covariance = between.T @ between / len(between) / variance(whole)
    covariance.diagonal().add_(floor)
    values, vectors = torch.linalg.eigh(covariance.double())
    return span @ (vectors * values.rsqrt()).float()


def _eigen(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues that are not negligible, largest first, and their vectors."""
    values, vectors = torch.linalg.eigh(gram.double())
    keep = values > NEGLIGIBLE * values[-1].clamp_min(TINY)
    return values[keep].flip(0).float(), vectors[:, keep].flip(1).float()


def principal_directions(features: Tensor, blocks: list[Block], n_most: int) -> Tensor:
    """Principal directions of all blocks side by side, each of variance its weight."""
    total = sum(block.weight for block in blocks)
    sides = [block.of(features) for block in blocks]
    sizes = [
        block.weight / total / max(variance(side), TINY)
        for block, side in zip(blocks, sides, strict=True)
    ]
    gram = torch.zeros(len(features), len(features))
    for side, size in zip(sides, sizes, strict=True):
        gram += size * side @ side.T
    values, vectors = _eigen(gram)
    dual = vectors[:, :n_most] * values[:n_most].rsqrt()
    basis = features.new_zeros(features.shape[1], dual.shape[1])
    for block, side, size in zip(blocks, sides, sizes, strict=True):
        own = size * (side.T @ dual)
        basis[block.columns] += own if block.matrix is None else block.matrix @ own
    return basis


def _overlap(whole: Tensor, places: Tensor) -> float:
    """Share of the nearest neighbours by place that are so by pooled features."""
    if len(whole) <= N_NEIGHBOURS:
        return 0.0
    near = []
    for features in (whole, places):
        distances = torch.cdist(features, features)
        distances.fill_diagonal_(torch.inf)
        near.append(distances.topk(N_NEIGHBOURS, largest=False).indices)
    is_same = near[0][:, :, None] == near[1][:, None, :]
    return float(is_same.any(dim=2).float().mean())


def turn(found: Tensor, evenness: float, rotation: Tensor) -> Tensor:
    """Divide components (n, k) by a power of their norm, and turn them."""
    norms = found.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return (found / norms**evenness) @ rotation[: found.shape[1]]


def hadamard(n: int) -> Tensor:
    """Return a matrix (k, n) of entries of one size, k the less of n and 1,024.

    Its rows are orthonormal if n is a power of 2. Each column weighs all rows alike, so
    that what it makes of uncorrelated features has the same variance in all columns.
    """
    n_rows = min(n, MOST_DIRECTIONS)
    matrix = torch.ones(1, 1)
    while len(matrix) < n_rows:
        matrix = torch.cat([matrix, matrix]).repeat(1, 2)
        half = len(matrix) // 2
        matrix[half:, half:] *= -1
    n_times = -(-n // len(matrix))
    return matrix.repeat(1, n_times)[:n_rows, :n] / n**0.5
