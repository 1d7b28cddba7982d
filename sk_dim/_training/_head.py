"""The linear head of a classifier, which stands on features.

This module imports nothing of its own package.
"""

import numpy as np
import torch
from torch import Tensor, nn

N_SMOOTHING = 5  # labels of each class beside those there are, to guess frequencies by


class Head(nn.Module):
    """A linear layer on standardised features, which begins with equal coefficients.

    Parameters
    ----------
    n_components : int
        Size of the global features.
    intercepts : Tensor of shape (n_classes,)
        To begin with.
    """

    def __init__(self, n_components: int, intercepts: Tensor) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(n_components, affine=False)
        # Not initialised, which would draw from torch's global generator.
        self.linear = nn.utils.skip_init(nn.Linear, n_components, len(intercepts))
        nn.init.zeros_(self.linear.weight)
        self.linear.bias = nn.Parameter(intercepts)

    def forward(self, features: Tensor) -> Tensor:
        """Score the classes."""
        return self.linear(self.norm(features.float()))

    @torch.no_grad()
    def standardise(self, features: Tensor) -> None:
        """Take mean and variance of these features in place of those of the views."""
        mean, variance = self._moments()
        mean.copy_(features.mean(dim=0))
        variance.copy_(features.var(dim=0, correction=0))

    @torch.no_grad()
    def linear_map(self) -> tuple[np.ndarray, np.ndarray]:
        """Return coefficients (n_classes, n_components) and intercepts (n_classes,)."""
        mean, variance = self._moments()
        coef = self.linear.weight / (variance + self.norm.eps).sqrt()
        intercept = self.linear.bias - coef @ mean
        return coef.cpu().numpy(), intercept.cpu().numpy()

    def _moments(self) -> tuple[Tensor, Tensor]:
        # To mypy they may be None, which they are not unless asked for.
        return self.norm.running_mean, self.norm.running_var  # type: ignore[return-value]


def guess_frequencies(counts: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Guess from labels a class (k,) how frequent classes are, and first intercepts.

    The weights (k,) of the classes count as if labels were more, or fewer.
    """
    frequencies = counts + N_SMOOTHING
    intercepts = torch.zeros_like(counts)
    if weights is not None:
        frequencies = weights * frequencies
        # Weights far apart would take a small learning rate long to follow.
        intercepts = weights.log() + counts.log()
        intercepts = intercepts - intercepts.mean()
    return frequencies / frequencies.sum(), intercepts
