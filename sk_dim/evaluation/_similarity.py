"""How like two images look: structural similarity at several scales."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

# Of Wang, Simoncelli & Bovik: weights of the scales, the finest first, side and
# standard deviation of the window in pixels, and constants as shares of the range.
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW, SIGMA = 11, 1.5
OF_MEANS, OF_CONTRASTS = 0.01, 0.03
N_AT_ONCE = 256


def ms_ssim(images: Any, others: Any, *, data_range: float = 1.0) -> np.ndarray:
    r"""Compare images pair by pair: structural similarity at several scales.

    Parameters
    ----------
    images, others : array-like of shape (n, h, w) or (n, h, w, c)
        Images, of equal shapes.
    data_range : float, default=1.0
        Largest possible difference of two values.

    Returns
    -------
    ndarray of shape (n,)
        Float64, from 0 to 1, which only equal images have; mean over the channels.

    Raises
    ------
    ValueError
        If the shapes are not those of images, or differ.

    Notes
    -----
    .. math:: l_M^{w_M} \prod_{j=1}^{M} c_j^{w_j}

    with the similarity of means l and of contrast and structure c within windows
    (Gaussian, 11 pixels wide), averaged over the image, at scale j, whose sides are
    halved j - 1 times. Negative c count as 0. Five scales need sides of 176 pixels;
    smaller images are compared at as many as have room for a window, with weights that
    sum to 1: two for 32 pixels. Below 11 pixels the window is as wide as the image.

    References
    ----------
    Z. Wang, E. P. Simoncelli, A. C. Bovik (2003). Multiscale structural similarity for
    image quality assessment. Asilomar Conference on Signals, Systems & Computers.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.random.default_rng(0).uniform(size=(2, 32, 32))
    >>> ms_ssim(images, images).tolist()
    [1.0, 1.0]
    >>> bool(ms_ssim(images, 1 - images).max() < 0.1)
    True
    """
    images, others = np.asarray(images), np.asarray(others)
    if images.shape != others.shape or images.ndim not in (3, 4):
        raise ValueError(
            f"images of shape {images.shape} and {others.shape} cannot be compared; "
            "both must be (n, h, w) or (n, h, w, c), and equal."
        )
    found = []
    for start in range(0, len(images), N_AT_ONCE):
        part = slice(start, start + N_AT_ONCE)
        found.append(_compare(_planes(images[part]), _planes(others[part]), data_range))
    return np.concatenate(found) if found else np.zeros(0)


def _planes(images: np.ndarray) -> Tensor:
    """View images as float64 tensors (n, c, h, w)."""
    planes = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float64))
    return planes.unsqueeze(1) if planes.ndim == 3 else planes.movedim(-1, 1)


def _compare(x: Tensor, y: Tensor, data_range: float) -> np.ndarray:
    n, n_channels, *sides = x.shape
    x, y = x.flatten(0, 1).unsqueeze(1), y.flatten(0, 1).unsqueeze(1)
    n_scales = 1
    while n_scales < len(WEIGHTS) and min(sides) >> n_scales >= WINDOW:
        n_scales += 1
    weights = np.array(WEIGHTS[:n_scales]) / sum(WEIGHTS[:n_scales])
    similarity = torch.ones(len(x), dtype=x.dtype)
    for scale, weight in enumerate(weights):
        if scale:
            x, y = avg_pool2d(x, 2), avg_pool2d(y, 2)
        contrasts, whole = _similarities(x, y, data_range)
        last = scale == n_scales - 1
        found = (whole if last else contrasts).mean((1, 2, 3)).clamp_min(0)
        similarity *= found**weight
    return similarity.view(n, n_channels).mean(1).numpy()


def _similarities(x: Tensor, y: Tensor, data_range: float) -> tuple[Tensor, Tensor]:
    """Contrast and structure in each window, and their product with that of means."""
    kernel = _window(x.shape[2:]).to(x.dtype)

    def blur(values: Tensor) -> Tensor:
        return conv2d(values, kernel)

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    of_means = (OF_MEANS * data_range) ** 2
    of_contrasts = (OF_CONTRASTS * data_range) ** 2
    contrasts = (2 * covariance + of_contrasts) / (var_x + var_y + of_contrasts)
    means = (2 * mean_x * mean_y + of_means) / (mean_x**2 + mean_y**2 + of_means)
    return contrasts, means * contrasts


def _window(sides: Any) -> Tensor:
    """Return a Gaussian window (1, 1, a, b) with sum 1, which fits in the sides."""
    kernel = torch.ones(1, 1, dtype=torch.float64)
    for side in sides:
        width = min(WINDOW, side)
        offsets = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
        weights = (-offsets.square() / (2 * SIGMA**2)).exp()
        kernel = kernel.unsqueeze(-1) * (weights / weights.sum())
    return kernel.view(1, 1, *(min(WINDOW, side) for side in sides))
