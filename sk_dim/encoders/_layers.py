"""Layers for small maps, as matrix products, and how many of them to build.

On a CPU, torch takes longer for the gradient of a convolution's weights, for a 1x1
convolution and for adaptive pooling than for the matrix products that equal them.

This module imports nothing of its own package.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    adaptive_avg_pool2d,
    adaptive_max_pool2d,
    linear,
    pad,
)

MAX_LOCATIONS = 2**10  # of a map that is averaged by one matrix product


class ColumnConv(nn.Conv2d):
    """Convolution as one product with all windows, where the input is not trained.

    On a CPU only, and only without a gradient to the input, which windows that overlap
    would have to be added up for. An exported program holds the convolution itself.
    """

    def forward(self, batch: Tensor) -> Tensor:
        """Convolve a batch (n, c, h, w)."""
        is_plain = batch.device.type != "cpu" or torch.compiler.is_exporting()
        if batch.requires_grad or is_plain:
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


def grid_means(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Pool maps (n, c, h, w) to their means over a grid of parts, (n, c * parts)."""
    if maps.shape[2:] == size:
        return maps.flatten(1).float()
    n_locations = maps[0, 0].numel()
    if n_locations > MAX_LOCATIONS:  # whose square would have to be kept in memory
        return adaptive_avg_pool2d(maps, size).flatten(1).float()
    units = torch.eye(n_locations, device=maps.device, dtype=maps.dtype)
    shares = adaptive_avg_pool2d(units.view(n_locations, *maps.shape[2:]), size)
    # Channels last, and with them the gradient, whose layout the layers below share.
    means = shares.flatten(1).T @ maps.permute(0, 2, 3, 1).flatten(1, 2)
    return means.transpose(1, 2).flatten(1).float()


def grid_maxima(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Pool maps (n, c, h, w) to their maxima over a grid of parts, (n, c, *size)."""
    if not torch.compiler.is_exporting():
        return adaptive_max_pool2d(maps, size)
    # The same in operations that ONNX has: parts begin and end at rounded fractions.
    for axis, n_parts in zip((2, 3), size, strict=True):
        side = maps.shape[axis]
        edges = [
            (i * side // n_parts, -(-(i + 1) * side // n_parts)) for i in range(n_parts)
        ]
        parts = [maps.narrow(axis, start, end - start) for start, end in edges]
        maps = torch.cat([part.amax(axis, keepdim=True) for part in parts], axis)
    return maps


def plan_halvings(
    height: int, width: int
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Plan stages, one at least, until a map is less than 8 long: sides and strides.

    Sides of less than 6 are kept.
    """
    sides: list[tuple[int, int]] = []
    strides: list[tuple[int, int]] = []
    while not sides or max(height, width) >= 8:
        strides.append((2 if height >= 6 else 1, 2 if width >= 6 else 1))
        height, width = -(-height // strides[-1][0]), -(-width // strides[-1][1])
        sides.append((height, width))
    return sides, strides


def plan_convs(shape: tuple[int, ...], n_channels: int, cap: int) -> list[dict]:
    """Plan the convolutions that bring every side of `shape` down to 4 to 7."""
    stages: list[dict] = []
    sides = shape
    width = n_channels
    while max(sides) >= 8 or len(stages) < 2:
        # Where an input is too small to be halved twice, full resolution comes first,
        # at half the width since it costs four times as much.
        is_full_size = not stages and max(sides) < 16
        strides = [1 if is_full_size or side < 8 else 2 for side in sides]
        stages.append(
            {
                "width": n_channels // 2 if is_full_size else width,
                # Kernel 4 and stride 2 halve a side, kernel 3 and stride 1 keep it.
                "kernel_size": tuple(2 + stride for stride in strides),
                "stride": tuple(strides),
            }
        )
        width = width if is_full_size else min(2 * width, cap)
        sides = tuple(s // stride for s, stride in zip(sides, strides, strict=True))
    return stages
