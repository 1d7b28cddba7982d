"""A linear map of fixed features, in which directions that views change are small."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sk_dim.encoders._view_basis import (
    Block,
    HasBasis,
    difference,
    hadamard,
    principal_directions,
    shrink,
    turn,
)

FLOOR = 3e-3  # share of the variance, in a direction, below which views change nothing
EVENNESS = 0.5  # power of their norm that a sample's components are divided by
NEGLIGIBLE = 1e-3  # of the largest size of a feature, a spread that tells nothing


class ShrunkMap(HasBasis):
    """Map of features to components of equal variance, learnt in closed form.

    Parameters
    ----------
    sizes : sequence of int
        How many features each block has. Blocks count alike.
    n_components : int
        Number of columns that are returned.
    """

    mean: Tensor
    scale: Tensor
    basis: Tensor
    rotation: Tensor

    def __init__(self, sizes: Sequence[int], n_components: int) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        n_features = sum(sizes)
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features) / n_features**0.5)
        # Random until it is learnt.
        basis = torch.randn(n_features, min(n_components, 64)) / 8
        self.register_buffer("basis", basis)
        self.register_buffer("rotation", hadamard(n_components), persistent=False)

    @torch.no_grad()
    def learn(self, features: Tensor, views: Sequence[Tensor]) -> None:
        """Learn from features (n, f) of samples, and (m, f) of views of the first.

        Without views the map is that of principal components.
        """
        mean, spread = features.mean(dim=0), features.std(dim=0, correction=0)
        tells = spread > NEGLIGIBLE * features.abs().amax(dim=0)
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(tells, 1 / spread, 0.0))
        whole = self._standardise(features).cpu()
        seen = [self._standardise(view).cpu() for view in views]
        blocks, start = [], 0
        for size in self.sizes:
            columns = slice(start, start + size)
            start += size
            matrix = None
            if not bool(whole[:, columns].any()):
                continue
            if seen:
                own = whole[:, columns]
                changes = [difference(view[:, columns], own) for view in seen]
                matrix = shrink(own, torch.cat(changes), FLOOR)
            blocks.append(Block(columns, 1.0, matrix))
        if blocks:
            basis = principal_directions(whole, blocks, len(self.rotation))
        else:  # all samples are the same
            basis = whole.new_zeros(whole.shape[1], 1)
        self.basis = basis.to(features.device)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (n, f) to components (n, n_components)."""
        found = self._standardise(features) @ self.basis
        return turn(found, EVENNESS, self.rotation)

    def _standardise(self, features: Tensor) -> Tensor:
        return (features - self.mean) * self.scale
