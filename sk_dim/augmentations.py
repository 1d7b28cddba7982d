"""Augmentations: from a batch to a random view of it.

An augmentation is a function ``augment(batch, generator) -> batch``. The batch is
scaled, float32, channels first, ``(n, c, h, w)`` or ``(n, c, l)``, or ``(n, d)`` rows
of a table; the view has its shape, dtype and device. Each sample gets its own random
draw, all of them in whole-batch tensor operations.

The encoder learns to forget what differs between two views of a sample. A crop changes
place, size and tilt. A flip exchanges left and right (in a series, the direction of
time). A warp bends the time of a series. Colour changes hue and brightness. Noise hides
the finest detail. Corruption hides what only a single value tells. Occlusion hides a
part from the global features alone.

This module imports nothing of its own package.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate, pad

__all__ = [
    "AUGMENTATIONS",
    "Compose",
    "color",
    "corrupt",
    "crop",
    "flip",
    "natural",
    "noise",
    "occlude",
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
    empty = batch.new_empty(len(batch), n_columns)
    return empty.uniform_(low, high, generator=generator)


def _per_sample(values: Tensor, batch: Tensor) -> Tensor:
    """View (n, c) as (n, c, 1, ...), to be broadcast over the batch."""
    return values.view(*values.shape, *[1] * (batch.ndim - 2))


def crop(
    batch: Tensor,
    generator: torch.Generator | None = None,
    *,
    min_area: float = 0.7,
    max_angle: float = 10.0,
    scale: float = 1.0,
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
    scale : float, default=1.0
        Sides of the view, as a share of those of the sample. In the `augment` of an
        estimator it is 1: there the encoder has views shrunk, by its `view_scale`.

    Returns
    -------
    Tensor of the dtype and device of `batch`, and of its shape with sides times `scale`
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
        whole, none = torch.ones_like(size), torch.zeros_like(size)
        x, y = (size, none, _place(size, batch, generator)), (none, whole, none)
        length = round(scale * batch.shape[2])
        return _resample(batch.unsqueeze(2), x, y, (1, length)).squeeze(2)
    return _crop_images(batch, generator, min_area, max_angle, scale)


def _crop_images(
    batch: Tensor,
    generator: torch.Generator | None,
    min_area: float,
    max_angle: float,
    scale: float,
    *,
    flips: bool = False,
) -> Tensor:
    """Crop images and, if asked for, flip one half of them on the way."""
    size = _draw(batch, generator, min_area, 1.0).sqrt()
    cos, sin = size, torch.zeros_like(size)
    if max_angle:
        angle = _draw(batch, generator, -max_angle, max_angle).deg2rad()
        cos, sin = size * angle.cos(), size * angle.sin()
    left, top = (_place(size, batch, generator) for _ in range(2))
    # Both sides count from -1 to 1 whatever their lengths, which a rotation must not.
    height, width = batch.shape[2:]
    right, down = cos, sin * (width / height)
    if flips:
        sign = torch.ones_like(size).copysign(_draw(batch, generator, -1.0, 1.0))
        right, down = right * sign, down * sign
    x, y = (right, -sin * (height / width), left), (down, cos, top)
    return _resample(batch, x, y, (round(scale * height), round(scale * width)))


def _place(size: Tensor, batch: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw centres of windows of `size` that stay inside the whole."""
    return (1 - size) * _draw(batch, generator, -1.0, 1.0)


def _resample(
    batch: Tensor,
    x: tuple[Tensor, ...],
    y: tuple[Tensor, ...],
    sides: tuple[int, int],
) -> Tensor:
    """Look up images (n, c, h, w) at affine maps of a grid of these sides.

    `x` and `y` are what a column, a row and the centre count in either coordinate of an
    image, each (n, 1). Torch's own affine_grid takes longer than the look-up.
    """
    rows, columns = (
        (torch.arange(side, dtype=batch.dtype, device=batch.device) + 0.5) * (2 / side)
        - 1
        for side in sides
    )
    maps = zip(x, y, strict=True)
    of_column, of_row, centre = (torch.stack(each, dim=2) for each in maps)
    along = torch.addcmul(centre, columns[:, None], of_column)  # (n, w, 2)
    across = rows[:, None] * of_row  # (n, h, 2)
    grid = across.unsqueeze(2) + along.unsqueeze(1)
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
    contrast = _draw(batch, generator, 1 - strength, 1 + strength)
    brightness = _per_sample(_draw(batch, generator, -strength, strength), batch)
    if batch.shape[1] != 3:
        return torch.addcmul(brightness, batch, _per_sample(contrast, batch))
    mixing = _turn_colors(batch, generator, strength) * contrast.unsqueeze(2)
    mixed = torch.baddbmm(brightness.flatten(2), mixing, batch.flatten(2))
    return mixed.view_as(batch)


def _turn_colors(
    batch: Tensor, generator: torch.Generator | None, strength: float
) -> Tensor:
    """Matrices (n, 3, 3) that keep the grey axis, turn hue and scale saturation."""
    saturation = _draw(batch, generator, 1 - strength, 1 + strength)
    is_grey = _draw(batch, generator, 0.0, 1.0) < 0.2
    saturation = saturation.masked_fill(is_grey, 0.0).unsqueeze(2)  # (n, 1, 1)
    most = 2 * math.pi * strength / 4
    angle = _draw(batch, generator, -most, most).unsqueeze(2)
    grey, chroma, turn = _color_axes(batch.dtype, batch.device)
    # Rodrigues' formula for a rotation about the grey axis.
    return grey + saturation * (angle.cos() * chroma + angle.sin() * turn)


@cache
def _color_axes(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """Parts (3, 3) of a rotation about the grey axis; a GPU would wait for new ones."""
    with torch.inference_mode(mode=False):
        turn = torch.tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
        grey = torch.full((3, 3), 1 / 3)
        axes = grey, torch.eye(3) - grey, turn
        return tuple(each.to(device, dtype) for each in axes)


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


def natural(
    batch: Tensor, generator: torch.Generator | None = None, *, scale: float = 1.0
) -> Tensor:
    """Crop, flip and color: the views for photographs of things.

    The crop leaves at least three tenths of the area, and does not tilt.

    Parameters
    ----------
    batch : Tensor of shape (n, c, h, w) or (n, c, l)
        Samples, scaled.
    generator : torch.Generator, default=None
        On the device of the batch.
    scale : float, default=1.0
        Sides of the view, as a share of those of the sample. In the `augment` of an
        estimator it is 1: there the encoder has views shrunk, by its `view_scale`.

    Returns
    -------
    Tensor of the dtype and device of `batch`, and of its shape with sides times `scale`

    Examples
    --------
    >>> import torch
    >>> natural(torch.rand(4, 3, 32, 32)).shape
    torch.Size([4, 3, 32, 32])
    """
    if batch.ndim == 4:
        view = _crop_images(batch, generator, 0.3, 0.0, scale, flips=True)
    else:
        view = flip(crop(batch, generator, min_area=0.3, scale=scale), generator)
    return color(view, generator)


def occlude(
    batch: Tensor, generator: torch.Generator | None = None, *, area: float = 0.25
) -> Tensor:
    """Set a box of each sample to zero, which is the mean of the data.

    In the `augment` of an estimator it makes no views of its own: it hides a part of
    each view, or of each sample, from the global features alone, which are to tell what
    the local features of the whole view are. That takes a second pass of the encoder.
    Fine-tuning hides nothing.

    Parameters
    ----------
    batch : Tensor of shape (n, c, h, w) or (n, c, l)
        Samples, scaled.
    generator : torch.Generator, default=None
        On the device of the batch.
    area : float, default=0.25
        Area of the box (length, for series), as a share of the whole. Its centre is
        anywhere in the sample, so that the box can reach beyond the sides.

    Returns
    -------
    Tensor of the shape, dtype and device of `batch`

    Raises
    ------
    ValueError
        If `area` is no share of the whole.

    References
    ----------
    R. D. Hjelm et al. (2018). Learning deep representations by mutual information
    estimation and maximization. arXiv:1808.06670, section 4.3.

    T. DeVries, G. W. Taylor (2017). Improved Regularization of Convolutional Neural
    Networks with Cutout. arXiv:1708.04552.

    Examples
    --------
    >>> import torch
    >>> bool((occlude(torch.ones(4, 3, 32, 32)) == 0).any())
    True
    """
    if not 0 < area <= 1:
        raise ValueError(f"area={area!r} of occlude must be above 0 and at most 1.")
    sides = batch.shape[2:]
    is_inside = torch.ones(len(batch), *sides, dtype=torch.bool, device=batch.device)
    for axis, side in enumerate(sides):
        unit = torch.rand(len(batch), 1, generator=generator, device=batch.device)
        places = torch.arange(side, device=batch.device)
        reach = area ** (1 / len(sides)) * side / 2
        is_near = ((unit * side).floor() - places).abs() < reach
        shape = [len(batch), *(n if i == axis else 1 for i, n in enumerate(sides))]
        is_inside &= is_near.view(shape)
    return batch * ~is_inside.unsqueeze(1)  # what is NaN stays so: it pads a series


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


def scaled(augment: Callable[..., Tensor], scale: float) -> Callable | None:
    """Return an augmentation with the sides of its views times `scale`.

    That is one that crops first, and then changes each pixel by itself: the views are
    those that would be shrunk, but made without the pixels that shrinking takes away.
    None stands for all others.
    """
    first, *others = getattr(augment, "augmentations", (augment,))
    if unwrap(first) not in (crop, natural):
        return None
    if not all(unwrap(each) in (flip, color) for each in others):
        return None
    return Compose((partial(first, scale=scale), *others))


def unwrap(augment: Any) -> Any:
    """Return what a functools.partial calls."""
    while isinstance(augment, partial):
        augment = augment.func
    return augment


AUGMENTATIONS: dict[str, Callable[..., Tensor]] = {
    "crop": crop,
    "flip": flip,
    "color": color,
    "corrupt": corrupt,
    "natural": natural,
    "noise": noise,
    "occlude": occlude,
    "warp": warp,
}

# Kinds of samples that these make views of; all that are not listed suit every kind.
KINDS: dict[str, tuple[str, ...]] = {
    "crop": ("image", "series"),
    "flip": ("image", "series"),
    "color": ("image", "series"),
    "natural": ("image", "series"),
    "occlude": ("image", "series"),
    "warp": ("series",),
}
