"""NetInput: scaled samples, as a pretrained net saw images when it was trained."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from sk_dim.encoders._backbone_nets import IMAGENET_MEAN, IMAGENET_STD, Pretraining

LEAST_SIDE = 96  # pixels that smaller images are enlarged to
RANGES = (1.0, 255.0, 65535.0)  # largest values of images, whose smallest is 0
NEGATIVE = 0.05  # share of the largest value, above which negative ones count
BLANK = 0.01  # share of the largest value that no value of a blank image is above


class NetInput(nn.Module):
    """Resizes scaled samples, and scales them as a pretrained net wants.

    Parameters
    ----------
    input_shape : tuple of int
        Of samples, ``(channels, height, width)``.
    n_taken : int
        Channels that the net takes. Grey images are repeated.
    told : Pretraining
        How images were when the net was trained.
    size : int or None
        Shorter side in pixels. None keeps that of the images between 96 and what the
        net was trained on.
    mean, std : sequence of float or None
        By which images of values from 0 to 1 were standardised, if not as told.
    """

    gain: Tensor
    offset: Tensor
    own_mean: Tensor
    own_std: Tensor
    wanted: Tensor

    def __init__(
        self,
        input_shape: tuple[int, ...],
        n_taken: int,
        told: Pretraining,
        size: int | None,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
    ) -> None:
        super().__init__()
        n_channels, *self.own_sides = input_shape
        means = _per_channel("mean", mean, told.mean, n_taken)
        stds = _per_channel("std", std, told.std, n_taken)
        self.register_buffer("wanted", torch.tensor([means, stds]))
        if not (self.wanted.abs() <= 1).all() or min(stds) <= 0:
            raise ValueError(
                f"mean={means} and std={stds} cannot be those of images of values from "
                "0 to 1; divide them by 255 if the net was trained on values up to 255."
            )
        shortest = min(self.own_sides)
        self.shortest = size or min(told.side, max(LEAST_SIDE, shortest))
        self.sides = [round(s * self.shortest / shortest) for s in self.own_sides]
        for name, n in (("own_mean", n_channels), ("offset", n_taken)):
            self.register_buffer(name, torch.zeros(n, 1, 1))
        for name, n in (("own_std", n_channels), ("gain", n_taken)):
            self.register_buffer(name, torch.ones(n, 1, 1))

    def learn(self, batch: Tensor) -> None:
        """Learn from some samples what values they had before they were scaled."""
        images = (batch * self.own_std + self.own_mean).flatten(1)
        # Of most that are not blank: resizing leaves some values outside of the range.
        peaks = images.amax(1)
        peaks = peaks[peaks > BLANK * peaks.max()]
        low, high = (float(m.median()) for m in (images.amin(1), peaks))
        if low >= -NEGATIVE * high:
            # Scaling and its inverse leave rounding errors.
            fitting = [r for r in RANGES if r / 2 <= high <= 1.001 * r]
            whole = fitting[0] if fitting else high or 1.0
            mean, std = self.own_mean / whole, self.own_std / whole
        else:
            told = torch.tensor([IMAGENET_MEAN, IMAGENET_STD], device=batch.device)
            mean, std = told[:, :, None, None].mean(dim=1, keepdim=True)
        wanted_mean, wanted_std = self.wanted[:, :, None, None]
        self.gain.copy_(std / wanted_std)
        self.offset.copy_((mean - wanted_mean) / wanted_std)

    def forward(self, batch: Tensor) -> Tensor:
        """Prepare a batch. Views that are smaller than samples stay smaller."""
        pairs = zip(self.sides, self.own_sides, batch.shape[2:], strict=True)
        batch = resize(batch, [round(side * n / whole) for side, whole, n in pairs])
        return batch * self.gain + self.offset


def resize(batch: Tensor, sides: list[int]) -> Tensor:
    """Resize images (n, c, h, w), if these are not their sides."""
    if list(batch.shape[2:]) == sides:
        return batch
    return interpolate(batch, sides, mode="bilinear", antialias=True)


def _per_channel(
    name: str, given: Any, told: Sequence[float], n_channels: int
) -> list[float]:
    """Return a value for each channel: those given, or told of as many, or their mean.

    A net for other channels than colours is told about colours.
    """
    if given is None:
        values = [float(value) for value in told]
        return (
            values
            if len(values) == n_channels
            else [float(np.mean(values))] * n_channels
        )
    try:
        values = [float(value) for value in given]
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name}={given!r:.60} must be a sequence of {n_channels} numbers, one for "
            "each channel that the backbone takes."
        ) from error
    if len(values) != n_channels:
        raise ValueError(
            f"{name} has {len(values)} values, but the backbone takes {n_channels} "
            "channels; give one for each."
        )
    return values
