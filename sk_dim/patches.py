"""Patch filters: a first layer that knows the data before any training.

Single-layer features of whitened, clustered patches come near to those of trained nets
(Coates, Lee & Ng 2011). As the first layer of an encoder they cost one pass forward and
none backward, and leave the training to what lies above.

This module imports nothing of its own package.
"""

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, unfold

__all__ = ["PatchFilters", "map_sides"]

N_PATCHES = 20_000  # that the filters are learnt from
FLOOR = 0.1  # variance of a patch below which its contrast is not blown up
WHITENING_FLOOR = 0.1  # of eigenvalues, so that noise is not blown up
THRESHOLD = 0.5  # of activation, in standard deviations of the responses


class PatchFilters(nn.Module):
    r"""Respond to what whitened patches of the data look like.

    Each filter is a centroid of whitened patches. Its response to a patch, whose
    contrast is normalised, is split into what exceeds a threshold and what falls below
    its negative, and averaged over 2x2 neighbours. The filters are buffers: they are
    learnt by `learn`, not trained.

    Parameters
    ----------
    input_shape : tuple of int
        ``(channels, height, width)``, both sides at least 12.
    n_filters : int, default=64
        Filters; the map has twice as many channels.

    Notes
    -----
    Patches are taken every second pixel and are 6 pixels wide; along sides of more than
    90 pixels every fourth (8 wide), of more than 180 every eighth (12 wide). With patch
    p of variance v, filter w and standard deviation s of all responses, a response is
    :math:`w^\top (p - \bar p) / (s \sqrt{v + 0.1})`.

    References
    ----------
    A. Coates, H. Lee, A. Y. Ng (2011). An Analysis of Single-Layer Networks in
    Unsupervised Feature Learning. AISTATS.

    Examples
    --------
    >>> import torch
    >>> images = torch.randn(20, 3, 32, 32)
    >>> patches = PatchFilters((3, 32, 32), n_filters=16)
    >>> patches.learn(images, seed=0)
    >>> patches(images).shape
    torch.Size([20, 32, 8, 8])
    """

    filters: Tensor

    def __init__(self, input_shape: tuple[int, ...], n_filters: int = 64) -> None:
        super().__init__()
        n_channels, *sides = input_shape
        self.stride = tuple(_stride(side) for side in sides)
        self.size = tuple(4 + stride for stride in self.stride)
        filters = torch.randn(n_filters, n_channels, *self.size)
        self.register_buffer("filters", _normalise(filters.flatten(1)).view_as(filters))

    def forward(self, batch: Tensor) -> Tensor:
        """Map scaled images (n, c, h, w) to (n, 2 n_filters, h', w')."""
        padding = (2, 2)
        responses = conv2d(batch, self.filters, stride=self.stride, padding=padding)
        moments = torch.stack([batch.mean(dim=1), batch.square().mean(dim=1)], dim=1)
        mean, square = avg_pool2d(moments, self.size, self.stride, padding).split(1, 1)
        variance = (square - mean.square()).clamp_min(0.0)
        responses = responses * (variance + FLOOR).rsqrt()
        # The threshold is taken off after the mean, from four times fewer values.
        above = avg_pool2d(responses.clamp_min(THRESHOLD), 2) - THRESHOLD
        below = avg_pool2d(responses.clamp_max(-THRESHOLD), 2) + THRESHOLD
        return torch.cat([above, -below], dim=1)

    @torch.no_grad()
    def learn(self, batch: Tensor, seed: int) -> None:
        """Learn the filters from scaled images.

        Parameters
        ----------
        batch : Tensor of shape (n, c, h, w)
            A sample of the training images.
        seed : int
            Of the choice of patches and of their clustering.
        """
        patches = self._draw_patches(batch.detach().cpu().float(), seed)
        patches = patches - patches.mean(dim=1, keepdim=True)
        patches /= (patches.var(dim=1, correction=0, keepdim=True) + FLOOR).sqrt()
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        # Rounding leaves eigenvalues of constant directions a little below zero.
        whitening = vectors / (values.clamp_min(0.0) + WHITENING_FLOOR).sqrt()
        whitening = whitening @ vectors.T
        centroids = self._cluster((patches @ whitening).numpy(), seed)
        filters = _normalise(torch.from_numpy(centroids)) @ whitening
        filters -= filters.mean(dim=1, keepdim=True)
        spread = (patches @ filters.T).std(correction=0)
        if spread > 0:  # else all patches are flat, and any filters will do
            self.filters.copy_((filters / spread).view_as(self.filters))

    def _draw_patches(self, batch: Tensor, seed: int) -> Tensor:
        """Draw patches (m, d) from random images, each cut into disjoint ones."""
        generator = torch.Generator().manual_seed(seed)
        n_each = len(unfold(batch[:1], self.size, stride=self.size)[0].T)
        n_images = 2 * N_PATCHES // n_each + 1
        images = batch[torch.randperm(len(batch), generator=generator)[:n_images]]
        patches = unfold(images, self.size, stride=self.size).transpose(1, 2)
        patches = patches.flatten(0, 1)
        return patches[torch.randperm(len(patches), generator=generator)[:N_PATCHES]]

    def _cluster(self, patches: np.ndarray, seed: int) -> np.ndarray:
        """Return as many centroids as there are filters."""
        n_filters = len(self.filters)
        n_missing = max(0, n_filters - len(patches))
        k_means = MiniBatchKMeans(
            n_filters - n_missing, n_init=1, batch_size=2048, random_state=seed
        )
        centroids = k_means.fit(patches).cluster_centers_
        # From fewer patches than filters, the others stay random.
        return np.concatenate(
            [centroids, self.filters[:n_missing].cpu().flatten(1).numpy()]
        )


def map_sides(input_shape: tuple[int, ...]) -> tuple[int, int]:
    """Compute the sides of the map that `PatchFilters` make of images ``(c, h, w)``.

    Examples
    --------
    >>> map_sides((3, 32, 32))
    (8, 8)
    """
    height, width = input_shape[1:]
    return height // _stride(height) // 2, width // _stride(width) // 2


def _stride(side: int) -> int:
    """Pixels from patch to patch: 2, and more in images of more than 90 pixels."""
    stride = 2
    while side > 45 * stride:
        stride *= 2
    return min(stride, 8)


def _normalise(rows: Tensor) -> Tensor:
    """Scale each row to length 1, rows of zeros excepted."""
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
