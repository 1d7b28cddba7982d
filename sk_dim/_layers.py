"""Layers for small maps of images, as matrix products.

On a CPU, torch takes longer for the gradient of a convolution's weights, for a 1x1
convolution and for adaptive pooling than for the matrix products that equal them.

This module imports nothing of its own package.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, linear, pad


class ColumnConv(nn.Conv2d):
    """Convolution as one product with all windows, where the input is not trained.

    On a CPU only, and only without a gradient to the input, which windows that overlap
    would have to be added up for.
    """

    def forward(self, batch: Tensor) -> Tensor:
        """Convolve a batch (n, c, h, w)."""
        if batch.requires_grad or batch.device.type != "cpu":
            return super().forward(batch)
        height, width = self.kernel_size
        (dy, dx), (top, left) = self.stride, cast(tuple[int, int], self.padding)
        rows = pad(batch, (left, left, top, top)).permute(0, 2, 3, 1).contiguous()
        windows = rows.unfold(1, height, dy).unfold(2, width, dx)  # (n, h, w, c, y, x)
        columns = windows.permute(0, 1, 2, 4, 5, 3).flatten(3)
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)
        return linear(columns, weight).permute(0, 3, 1, 2)


class Residual(nn.Module):
    """Add to a map what a net on each location finds."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_channels, n_channels, bias=False)
        self.norm = nn.BatchNorm2d(n_channels)

    def forward(self, batch: Tensor) -> Tensor:
        """Map a batch to one of its shape."""
        found = self.linear(batch.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return (batch + self.norm(found)).relu()


def quadrant_means(maps: Tensor) -> Tensor:
    """Pool maps (n, c, h, w) to their mean in each quadrant, (n, 4 c)."""
    n_locations = maps[0, 0].numel()
    units = torch.eye(n_locations, device=maps.device, dtype=maps.dtype)
    shares = adaptive_avg_pool2d(units.view(n_locations, *maps.shape[2:]), 2)
    means = maps.permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2) @ shares.flatten(1)
    return means.flatten(1).float()
