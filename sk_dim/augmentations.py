"""Augmentations: from a batch to a random view of it.

An augmentation is a function ``augment(batch, generator) -> batch``. The batch is
scaled, float32, channels first, ``(n, c, h, w)`` or ``(n, c, l)``, or ``(n, d)`` rows
of a table; the view has its shape, dtype and device. Each sample gets its own random
draw, all of them in whole-batch tensor operations.

The encoder learns to forget what differs between two views of a sample. A crop changes
place, size and tilt. A flip exchanges left and right (in a series, the direction of
time). A warp bends the time of a series. Colour changes hue and brightness. Noise hides
the finest detail. Corruption hides what only a single value tells.

This module imports nothing of its own package.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate, pad

__all__ = [
    "AUGMENTATIONS",
    "Compose",
    "color",
    "corrupt",
    "crop",
    "flip",
    "natural",
    "noise",
    "warp",
]


def _draw(
    batch: Tensor,
    generator: torch.Generator | None,
    low: float,
    high: float,
    n_columns: int = 1,
) -> Tensor:
    """Draw uniform numbers, one row for each sample of the batch."""
    unit = torch.rand(
        len(batch), n_columns, generator=generator, device=batch.device
    ).to(batch.dtype)
    return low + (high - low) * unit


def _per_sample(values: Tensor, batch: Tensor) -> Tensor:
    """View (n, c) as (n, c, 1, ...), to be broadcast over the batch."""
    return values.view(*values.shape, *[1] * (batch.ndim - 2))


def crop(
    batch: Tensor,
    generator: torch.Generator | None = None,
    *,
    min_area: float = 0.7,
    max_angle: float = 10.0,
) -> Tensor:
    """Cut out a random part, slightly tilted, and resize it to the whole.

    Parameters
    ----------
    batch : Tensor of shape (n, c, h, w) or (n, c, l)
        Samples, scaled.
    generator : torch.Generator, default=None
        On the device of the batch.
    min_area : float, default=0.7
        Smallest part of the area (of the length, for series) that is left.
    max_angle : float, default=10.0
        Largest tilt of images to either side, in degrees. What lies outside the image
        repeats its border.

    Returns
    -------
    Tensor of the shape, dtype and device of `batch`
        Aspect ratio and colour are kept, and what is left and right.

    Examples
    --------
    >>> import torch
    >>> crop(torch.rand(4, 3, 32, 32)).shape
    torch.Size([4, 3, 32, 32])
    """
    if batch.ndim == 3:
        # A series is an image of one row, of which only columns are cut away.
        size = _draw(batch, generator, min_area, 1.0)
        image = batch.unsqueeze(2)
        x_row = torch.cat([size, 0 * size, _place(size, batch, generator)], dim=1)
        y_row = x_row.new_tensor([0.0, 1.0, 0.0]).expand_as(x_row)
        return _resample(image, torch.stack([x_row, y_row], dim=1)).squeeze(2)
    size = _draw(batch, generator, min_area, 1.0).sqrt()
    angle = _draw(batch, generator, -1.0, 1.0) * math.radians(max_angle)
    cos, sin = size * angle.cos(), size * angle.sin()
    # Both sides count from -1 to 1 whatever their lengths, which a rotation must not.
    height, width = batch.shape[2:]
    x, y = (_place(size, batch, generator) for _ in range(2))
    x_row = torch.cat([cos, -sin * (height / width), x], dim=1)
    y_row = torch.cat([sin * (width / height), cos, y], dim=1)
    return _resample(batch, torch.stack([x_row, y_row], dim=1))


def _place(size: Tensor, batch: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw centres of windows of `size` that stay inside the whole."""
    return (1 - size) * _draw(batch, generator, -1.0, 1.0)


def _resample(batch: Tensor, affine: Tensor) -> Tensor:
    """Look up each image (n, c, h, w) at its own affine map (n, 2, 3) of the grid."""
    grid = affine_grid(affine, list(batch.shape), align_corners=False)
    return grid_sample(
        batch, grid, mode="bilinear", padding_mode="border", align_corners=False
    )


def flip(batch: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Mirror the last axis of each sample with probability one half.

    Parameters
    ----------
    batch : Tensor of shape (n, c, h, w) or (n, c, l)
        Samples, scaled.
    generator : torch.Generator, default=None
        On the device of the batch.

    Returns
    -------
    Tensor of the shape, dtype and device of `batch`
        Left and right of an image are exchanged, or the direction of time.

    Examples
    --------
    >>> import torch
    >>> series = torch.arange(3.0).expand(50, 1, 3)
    >>> sorted(set(map(tuple, flip(series)[:, 0].tolist())))
    [(0.0, 1.0, 2.0), (2.0, 1.0, 0.0)]
    """
    is_flipped = _per_sample(_draw(batch, generator, 0.0, 1.0) < 0.5, batch)
    return torch.where(is_flipped, batch.flip(-1), batch)


def color(
    batch: Tensor, generator: torch.Generator | None = None, *, strength: float = 0.4
) -> Tensor:
    """Change brightness and contrast and, with three channels, saturation and hue.

    Parameters
    ----------
    batch : Tensor of shape (n, c, h, w) or (n, c, l)
        Samples, scaled.
    generator : torch.Generator, default=None
        On the device of the batch.
    strength : float, default=0.4
        Half the range of the factors of contrast and saturation, and of the shift of
        brightness in standard deviations; hue turns by at most a quarter of it, in
        turns. One sample in five loses all its colour.

    Returns
    -------
    Tensor of the shape, dtype and device of `batch`
        Each sample with one linear map of its channels.

    Examples
    --------
    >>> import torch
    >>> color(torch.rand(4, 3, 32, 32)).shape
    torch.Size([4, 3, 32, 32])
    """
    n_channels = batch.shape[1]
    contrast = _per_sample(_draw(batch, generator, 1 - strength, 1 + strength), batch)
    brightness = _per_sample(_draw(batch, generator, -strength, strength), batch)
    if n_channels == 3:
        mixing = _turn_colors(batch, generator, strength)
        batch = torch.einsum("nij,nj...->ni...", mixing, batch)
    return batch * contrast + brightness


def _turn_colors(
    batch: Tensor, generator: torch.Generator | None, strength: float
) -> Tensor:
    """Matrices (n, 3, 3) that keep the grey axis, turn hue and scale saturation."""
    saturation = _draw(batch, generator, 1 - strength, 1 + strength)
    is_grey = _draw(batch, generator, 0.0, 1.0) < 0.2
    saturation = saturation.masked_fill(is_grey, 0.0).unsqueeze(2)  # (n, 1, 1)
    angle = 2 * math.pi * _draw(batch, generator, -strength / 4, strength / 4)
    angle = angle.unsqueeze(2)
    grey = batch.new_full((3, 3), 1 / 3)
    turn = batch.new_tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    chroma = torch.eye(3, dtype=batch.dtype, device=batch.device) - grey
    # Rodrigues' formula for a rotation about the grey axis.
    return grey + saturation * (angle.cos() * chroma + angle.sin() * turn)


def noise(
    batch: Tensor, generator: torch.Generator | None = None, *, std: float = 0.3
) -> Tensor:
    """Add independent normal noise to every value.

    Parameters
    ----------
    batch : Tensor of shape (n, ...)
        Samples, scaled.
    generator : torch.Generator, default=None
        On the device of the batch.
    std : float, default=0.3
        Standard deviation of the noise, in units of that of the scaled channels.

    Returns
    -------
    Tensor of the shape, dtype and device of `batch`
        Only details smaller than the noise are lost.

    Examples
    --------
    >>> import torch
    >>> noise(torch.rand(4, 3, 32, 32)).shape
    torch.Size([4, 3, 32, 32])
    """
    added = torch.randn(
        batch.shape, generator=generator, device=batch.device, dtype=batch.dtype
    )
    return batch + std * added


def warp(
    batch: Tensor, generator: torch.Generator | None = None, *, strength: float = 0.2
) -> Tensor:
    """Bend the time of a series smoothly, so that parts of it go faster or slower.

    Parameters
    ----------
    batch : Tensor of shape (n, c, l)
        Series, scaled.
    generator : torch.Generator, default=None
        On the device of the batch.
    strength : float, default=0.2
        Largest change of the speed, as a share of it, at five points in time between
        which it changes linearly.

    Returns
    -------
    Tensor of the shape, dtype and device of `batch`
        First and last values are kept, and the order of all.

    Examples
    --------
    >>> import torch
    >>> series = torch.arange(100.0).view(1, 1, 100)
    >>> bent = warp(series)
    >>> bent[0, 0, [0, -1]].round().tolist(), bool((bent.diff() >= 0).all())
    ([0.0, 99.0], True)
    """
    n, n_channels, length = batch.shape
    knots = _draw(batch, generator, 1 - strength, 1 + strength, n_columns=5)
    speed = interpolate(knots[:, None], length - 1, mode="linear", align_corners=True)
    passed = pad(speed[:, 0].cumsum(dim=1), (1, 0))
    times = passed * ((length - 1) / passed[:, -1:])
    before = times.floor().clamp(0, length - 2)
    share = (times - before)[:, None].to(batch.dtype)
    index = before.long()[:, None].expand(n, n_channels, length)
    return batch.gather(2, index) * (1 - share) + batch.gather(2, index + 1) * share


def corrupt(
    batch: Tensor, generator: torch.Generator | None = None, *, share: float = 0.4
) -> Tensor:
    """Replace values at random by those that other samples have in the same place.

    Parameters
    ----------
    batch : Tensor of shape (n, ...)
        Samples, scaled.
    generator : torch.Generator, default=None
        On the device of the batch.
    share : float, default=0.4
        Probability of each value to be replaced.

    Returns
    -------
    Tensor of the shape, dtype and device of `batch`
        Every column keeps its distribution. Two views of a row share what its columns
        tell of one another.

    References
    ----------
    D. Bahri, H. Jiang, Y. Tay, D. Metzler (2022). SCARF: Self-Supervised Contrastive
    Learning using Random Feature Corruption. arXiv:2106.15147.

    Examples
    --------
    >>> import torch
    >>> corrupt(torch.rand(4, 30)).shape
    torch.Size([4, 30])
    """
    others = torch.randint(
        len(batch), batch.shape, generator=generator, device=batch.device
    )
    is_replaced = (
        torch.rand(batch.shape, generator=generator, device=batch.device) < share
    )
    return torch.where(is_replaced, batch.gather(0, others), batch)


def natural(batch: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Crop, flip and color: the views for photographs of things.

    The crop leaves at least three tenths of the area, and does not tilt.

    Parameters
    ----------
    batch : Tensor of shape (n, c, h, w) or (n, c, l)
        Samples, scaled.
    generator : torch.Generator, default=None
        On the device of the batch.

    Returns
    -------
    Tensor of the shape, dtype and device of `batch`

    Examples
    --------
    >>> import torch
    >>> natural(torch.rand(4, 3, 32, 32)).shape
    torch.Size([4, 3, 32, 32])
    """
    cropped = crop(batch, generator, min_area=0.3, max_angle=0.0)
    return color(flip(cropped, generator), generator)


@dataclass(frozen=True)
class Compose:
    """Apply augmentations one after the other.

    Parameters
    ----------
    augmentations : tuple of callables
        Each ``augment(batch, generator) -> batch``.

    Examples
    --------
    >>> import torch
    >>> Compose((crop, flip))(torch.rand(4, 3, 32, 32), None).shape
    torch.Size([4, 3, 32, 32])
    """

    augmentations: tuple[Callable[[Tensor, torch.Generator | None], Tensor], ...]

    def __call__(self, batch: Tensor, generator: torch.Generator | None) -> Tensor:
        """Make the view."""
        for augment in self.augmentations:
            batch = augment(batch, generator)
        return batch


AUGMENTATIONS: dict[str, Callable[..., Tensor]] = {
    "crop": crop,
    "flip": flip,
    "color": color,
    "corrupt": corrupt,
    "natural": natural,
    "noise": noise,
    "warp": warp,
}

# Kinds of samples that these make views of; all that are not listed suit every kind.
KINDS: dict[str, tuple[str, ...]] = {
    "crop": ("image", "series"),
    "flip": ("image", "series"),
    "color": ("image", "series"),
    "natural": ("image", "series"),
    "warp": ("series",),
}
