"""Images and series with a label that is one known factor."""

import colorsys
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

IMAGE_FACTORS = ("hue", "orientation", "position", "size", "defect")
SERIES_FACTORS = ("amplitude", "direction", "phase")


def make_images(
    factor: str, n_samples: int = 1000, *, side: int = 32, random_state: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw colour images of a wedge whose label is one factor of it.

    Each image is a wedge on a background of blurred grey noise, with random hue,
    orientation, position and size; `factor` says which of these the label tells.

    Parameters
    ----------
    factor : {"hue", "orientation", "position", "size", "defect"}
        "hue": which third of the colour circle (3 classes). "orientation": the wedge
        points left or right (2). "position": which quarter of the image its centre is
        in (4). "size": small, middle or large (3). "defect": whether three pixels in a
        row of the wedge are dark (2).
    n_samples : int, default=1000
        Number of images, divided evenly among the classes.
    side : int, default=32
        Height and width in pixels, at least 16.
    random_state : int, RandomState instance or None, default=None
        Seed of all that is random.

    Returns
    -------
    X : ndarray of shape (n_samples, side, side, 3), uint8
        Images, channels last.
    y : ndarray of shape (n_samples,), int
        Class of each sample: the value of the factor.

    Raises
    ------
    ValueError
        If `factor` is unknown, or `side` less than 16.

    Examples
    --------
    >>> X, y = make_images("orientation", n_samples=4, random_state=0)
    >>> X.shape, X.dtype, sorted(y.tolist())
    ((4, 32, 32, 3), dtype('uint8'), [0, 0, 1, 1])
    """
    _check_factor(factor, IMAGE_FACTORS)
    if side < 16:
        raise ValueError(f"side={side}, but a wedge needs 16 pixels or more; raise it.")
    rng = check_random_state(random_state)
    n_classes = {"hue": 3, "orientation": 2, "position": 4, "size": 3, "defect": 2}
    y = rng.permutation(n_samples) % n_classes[factor]

    hue = rng.uniform(size=n_samples)
    is_right = rng.uniform(size=n_samples) < 0.5
    quarter = rng.randint(4, size=n_samples)
    size = rng.uniform(size=n_samples)
    has_defect = np.zeros(n_samples, dtype=bool)
    if factor == "hue":
        # Thirds with gaps between them, or their borders could not be told apart.
        hue = (y + 0.8 * hue) / 3
    elif factor == "orientation":
        is_right = y == 1
    elif factor == "position":
        quarter = y
    elif factor == "size":
        size = (y + 0.6 * size) / 2.6
    else:
        has_defect = y == 1

    background = _blurred_noise(rng, n_samples, side)
    # From the centre of the quarter, so that quarters keep apart.
    wander = rng.uniform(-0.08, 0.08, size=(2, n_samples))
    row = np.array([0.33, 0.33, 0.67, 0.67])[quarter] + wander[0]
    column = np.array([0.33, 0.67, 0.33, 0.67])[quarter] + wander[1]
    radius = 0.14 + 0.14 * size
    grid = (np.arange(side) + 0.5) / side
    down = (grid[None, :, None] - row[:, None, None]) / radius[:, None, None]
    right = (grid[None, None, :] - column[:, None, None]) / radius[:, None, None]
    right = np.where(is_right[:, None, None], right, -right)
    # A triangle with its tip on one side: as high as the tip is far away.
    is_wedge = (np.abs(right) <= 1) & (np.abs(down) <= (1 - right) / 2)
    colors = np.array([colorsys.hsv_to_rgb(h, 0.8, 1.0) for h in hue])
    images = np.where(
        is_wedge[..., None], 0.85 * colors[:, None, None], background[..., None]
    )
    for i in np.flatnonzero(has_defect):
        # In the middle of the wedge, a little towards its base.
        shift = -0.3 if is_right[i] else 0.3
        r = int(np.clip(row[i] * side, 0, side - 1))
        c = int(np.clip((column[i] + shift * radius[i]) * side, 1, side - 2))
        images[i, r, c - 1 : c + 2] = 0.0
    images += rng.normal(scale=0.02, size=images.shape)
    return (255 * np.clip(images, 0, 1)).astype(np.uint8), y


def make_series(
    factor: str, n_samples: int = 1000, *, length: int = 128, random_state: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw series of one channel whose label is one factor of them.

    Each series is a sawtooth wave of four periods, with random amplitude, direction and
    phase and a little noise; `factor` says which of these the label tells.

    Parameters
    ----------
    factor : {"amplitude", "direction", "phase"}
        "amplitude": small, middle or large (3 classes). "direction": teeth that rise
        slowly and fall fast, or the other way round, as if time were reversed (2).
        "phase": which quarter of a period after a crest the series starts in (4).
    n_samples : int, default=1000
        Number of series, divided evenly among the classes.
    length : int, default=128
        Time steps, at least 32.
    random_state : int, RandomState instance or None, default=None
        Seed of all that is random.

    Returns
    -------
    X : ndarray of shape (n_samples, 1, length), float32
        Series.
    y : ndarray of shape (n_samples,), int
        Class of each sample: the value of the factor.

    Raises
    ------
    ValueError
        If `factor` is unknown, or `length` less than 32.

    Examples
    --------
    >>> X, y = make_series("phase", n_samples=4, random_state=0)
    >>> X.shape, X.dtype, sorted(y.tolist())
    ((4, 1, 128), dtype('float32'), [0, 1, 2, 3])
    """
    _check_factor(factor, SERIES_FACTORS)
    if length < 32:
        raise ValueError(
            f"length={length}, but four periods need 32 steps or more; raise it."
        )
    rng = check_random_state(random_state)
    n_classes = {"amplitude": 3, "direction": 2, "phase": 4}
    y = rng.permutation(n_samples) % n_classes[factor]

    amplitude = rng.uniform(size=n_samples)
    is_reversed = rng.uniform(size=n_samples) < 0.5
    phase = rng.uniform(size=n_samples)
    if factor == "amplitude":
        amplitude = (y + 0.6 * amplitude) / 2.6
    elif factor == "direction":
        is_reversed = y == 1
    else:
        phase = (y + 0.6 * phase) / 4

    peak = np.where(is_reversed, 0.2, 0.8)[:, None]  # of a tooth, in its course
    # Phase counts from the crest of the fundamental wave, which lies elsewhere in
    # teeth of either direction: it must not tell the direction.
    crest = peak / 2 + 0.25
    within = (4 * np.arange(length) / length + phase[:, None] + crest) % 1
    teeth = np.where(within < peak, within / peak, (1 - within) / (1 - peak))
    series = (0.5 + 1.5 * amplitude[:, None]) * (2 * teeth - 1)
    series += rng.normal(scale=0.2, size=series.shape)
    return series[:, None].astype(np.float32), y


def _check_factor(factor: str, factors: tuple[str, ...]) -> None:
    if factor not in factors:
        raise ValueError(
            f"factor={factor!r} is unknown; choose one of {', '.join(factors)}."
        )


def _blurred_noise(rng: np.random.RandomState, n_samples: int, side: int) -> np.ndarray:
    """Grey noise (n, side, side) around 0.45, smooth over about 4 pixels."""
    coarse = rng.uniform(0.2, 0.7, size=(n_samples, side // 4 + 2, side // 4 + 2))
    # Bilinear, between the nodes of a coarse grid.
    at = np.arange(side) / 4
    low = at.astype(int)
    part = at - low
    rows = (
        coarse[:, low] * (1 - part)[None, :, None]
        + coarse[:, low + 1] * part[None, :, None]
    )
    return rows[:, :, low] * (1 - part) + rows[:, :, low + 1] * part
