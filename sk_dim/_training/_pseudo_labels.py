"""Pseudo-labels: what a classifier learns from the classes that it predicts itself."""

import numpy as np
import torch
from torch import Tensor

from sk_dim.augmentations import occlude

# Of a row's own average, between its visits, and of that over all rows, between steps.
RETENTION, RETENTION_OF_MEAN = 0.7, 0.95


class Targets:
    """Pseudo-labels of unlabelled rows, made of the predictions for them.

    Predicted probabilities are averaged over the visits to a row, matched to the
    frequencies of the classes on average over the rows, so that no class takes over
    others, and sharpened.

    Parameters
    ----------
    n_rows : int
        Of the data set.
    frequencies : Tensor of shape (n_classes,)
        Of the classes, with sum 1.
    temperature : float
        Less than 1 sharpens.
    """

    def __init__(self, n_rows: int, frequencies: Tensor, temperature: float) -> None:
        self.sums = frequencies.new_zeros(n_rows, len(frequencies))
        self.frequencies = frequencies
        # Beyond, float32 would turn ratios of logarithms into 0 / 0 or inf / inf.
        self.temperature = float(np.clip(temperature, 1e-6, 1e6))
        self.mean = frequencies.clone()

    @torch.no_grad()
    def update(self, rows: Tensor, predicted: Tensor) -> Tensor:
        """Take in probabilities (n, n_classes) of rows (n,), and return their targets.

        No row may be in `rows` twice. Returns probabilities (n, n_classes).
        """
        sums = RETENTION * self.sums[rows] + (1 - RETENTION) * predicted
        self.sums[rows] = sums
        average = sums / sums.sum(dim=1, keepdim=True)
        # In place, because a step that is recorded finds it where it was.
        self.mean.lerp_(average.mean(dim=0), 1 - RETENTION_OF_MEAN)
        aligned = average * self.frequencies / self.mean.clamp_min(1e-12)
        return (aligned.log() / self.temperature).softmax(dim=1)


def erase_box(batch: Tensor, first: int, generator: torch.Generator) -> Tensor:
    """Set a box of each sample from `first` on to zero (DeVries & Taylor 2017).

    The box covers up to a quarter of an image or series. Of tables, whose columns have
    no neighbours, nothing is erased.
    """
    if batch.ndim == 2:
        return batch
    return torch.cat([batch[:first], occlude(batch[first:], generator)])
