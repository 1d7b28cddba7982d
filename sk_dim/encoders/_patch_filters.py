"""Patch filters: a first layer learnt from the data before training; its encoder.

Features of one layer of whitened, clustered patches come near to those of trained nets
(Coates, Lee & Ng 2011). As first layer of an encoder they need no backward pass. A
series is treated as an image of one row.
"""

import math

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans
from sklearn.utils.extmath import randomized_svd
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, unfold

N_PATCHES = 20_000  # that the filters are learnt from
N_VECTORS = 10_000  # locations that directions of many channels are learnt from
MANY_CHANNELS = 16  # above which channels are mixed to fewer
MAX_PATCH_VALUES = 576  # of a patch of mixtures, as 16 channels of 6x6 pixels have
MIN_MIXTURES = 8
FLOOR = 0.1  # variance of a patch below which its contrast is not blown up
WHITENING_FLOOR = 0.1  # of eigenvalues, so that noise is not blown up
THRESHOLD = 0.5  # of activation, in standard deviations of the responses
MAX_STRIDE_LAST = 4  # up to which channels last are faster on a CPU


class PatchFilters(nn.Module):
    r"""Filter images by centroids of whitened patches.

    The response of a filter to a patch of normalised contrast is split into what
    exceeds a threshold and what falls below its negative, and averaged over 2x2
    neighbours. The filters are buffers: `learn` sets them, training does not.

    Parameters
    ----------
    input_shape : tuple of int
        ``(channels, height, width)``, both sides at least 12, or of height 1: a row.
    n_filters : int, default=64
        Number of filters; the map has twice as many channels.

    Notes
    -----
    Along a side of up to 90 pixels the stride is 2 and a patch 6 long, up to 180 pixels
    4 and 8, above 8 and 12. Patches of a series are 10 values longer.

    For patch p of variance v, filter w and standard deviation s of all responses, the
    response is :math:`w^\top (p - \bar p) / (s \sqrt{v + 0.1})`.

    More than 16 channels are first mixed to their leading principal components, so many
    that a patch has about 576 values; the filters are mapped back to all channels.

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
        self.is_row = sides[0] == 1
        shared = 14 if self.is_row else 4  # by a patch and the next one
        self.stride = tuple(stride_of(side) for side in sides)
        self.size = tuple(
            1 if side == 1 else shared + stride
            for side, stride in zip(sides, self.stride, strict=True)
        )
        self.padding = tuple(
            size // 2 - stride // 2
            for size, stride in zip(self.size, self.stride, strict=True)
        )
        self.pool = tuple(min(stride, 2) for stride in self.stride)
        filters = torch.randn(n_filters, n_channels, *self.size)
        self.register_buffer("filters", _normalise(filters.flatten(1)).view_as(filters))

    def forward(self, batch: Tensor) -> Tensor:
        """Map scaled images (n, c, h, w) to (n, 2 n_filters, h', w')."""
        stride, padding = self.stride, self.padding
        moments = torch.stack([batch.mean(dim=1), batch.square().mean(dim=1)], dim=1)
        if batch.device.type == "cpu" and max(stride) <= MAX_STRIDE_LAST:
            # A third faster, and laid out as the layers above read it.
            batch = batch.contiguous(memory_format=torch.channels_last)
        responses = conv2d(batch, self.filters, stride=stride, padding=padding)
        mean, square = avg_pool2d(moments, self.size, stride, padding).split(1, 1)
        variance = (square - mean.square()).clamp_min(0.0)
        # Torch multiplies a reduced and a full precision many times more slowly.
        responses = responses * (variance + FLOOR).rsqrt().to(responses.dtype)
        # The threshold is taken off after the mean, from four times fewer values.
        above = avg_pool2d(responses.clamp_min(THRESHOLD), self.pool) - THRESHOLD
        below = avg_pool2d(responses.clamp_max(-THRESHOLD), self.pool) + THRESHOLD
        return torch.cat([above, -below], dim=1)

    @torch.no_grad()
    def learn(self, batch: Tensor, seed: int) -> None:
        """Learn the filters from scaled images.

        Parameters
        ----------
        batch : Tensor of shape (n, c, h, w)
            Some of the training images.
        seed : int
            Seeds the choice of patches and their clustering.
        """
        batch = batch.detach().cpu().float()
        mixing = self._mix_channels(batch, seed)
        patches = self._draw_patches(batch, mixing, seed)
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        # Rounding leaves eigenvalues of constant directions a little below zero.
        whitening = vectors / (values.clamp_min(0.0) + WHITENING_FLOOR).sqrt()
        whitening = whitening @ vectors.T
        centroids = self._cluster((patches @ whitening).numpy(), mixing, seed)
        filters = _normalise(torch.from_numpy(centroids)) @ whitening
        if mixing is None:
            filters -= filters.mean(dim=1, keepdim=True)
        spread = (patches @ filters.T).std(correction=0)
        if mixing is not None:
            # A filter of mixtures is a filter of channels: the mixing is linear.
            filters = filters.view(len(filters), mixing.shape[1], -1)
            filters = torch.einsum("fka,ck->fca", filters, mixing).flatten(1)
            filters -= filters.mean(dim=1, keepdim=True)
        if spread > 0:  # else all patches are flat, and any filters will do
            self.filters.copy_((filters / spread).view_as(self.filters))

    def _mix_channels(self, batch: Tensor, seed: int) -> Tensor | None:
        """Return leading directions (c, k) of many channels, None for few channels.

        Learning time grows with the cube of the values in a patch.
        """
        n_channels = batch.shape[1]
        n_mixtures = max(MIN_MIXTURES, MAX_PATCH_VALUES // math.prod(self.size))
        if n_channels <= max(MANY_CHANNELS, n_mixtures):
            return None
        generator = torch.Generator().manual_seed(seed)
        n_each = max(1, N_VECTORS // len(batch))
        drawn = torch.randint(batch[0, 0].numel(), (n_each,), generator=generator)
        vectors = batch.flatten(2)[:, :, drawn].transpose(1, 2).flatten(0, 1)
        vectors = vectors - vectors.mean(dim=0)
        _, _, directions = randomized_svd(
            vectors.numpy(), min(n_mixtures, *vectors.shape), random_state=seed
        )
        return torch.from_numpy(directions.T.copy())

    def _draw_patches(self, batch: Tensor, mixing: Tensor | None, seed: int) -> Tensor:
        """Draw patches (m, d) of random images, of normalised contrast, channels mixed.

        Images are cut into disjoint patches, rows into patches that overlap by half.
        """
        generator = torch.Generator().manual_seed(seed)
        step = (1, self.size[1] // 2) if self.is_row else self.size
        n_each = len(unfold(batch[:1, :1], self.size, stride=step)[0].T)
        n_images = 2 * N_PATCHES // n_each + 1
        images = batch[torch.randperm(len(batch), generator=generator)[:n_images]]
        chosen = torch.randperm(len(images) * n_each, generator=generator)[:N_PATCHES]
        if mixing is None:
            patches = unfold(images, self.size, stride=step).transpose(1, 2)
            return _normalise_contrast(patches.flatten(0, 1)[chosen])
        drawn = []
        # A few images at a time: all patches with all channels may not fit in memory.
        for i, image in enumerate(images):
            inside = chosen[chosen // n_each == i] % n_each
            patches = unfold(image[None], self.size, stride=step)[0].T[inside]
            patches = _normalise_contrast(patches).view(len(inside), len(mixing), -1)
            drawn.append((mixing.T @ patches).flatten(1))  # (m, k * area)
        return torch.cat(drawn)

    def _cluster(
        self, patches: np.ndarray, mixing: Tensor | None, seed: int
    ) -> np.ndarray:
        """Return as many centroids as there are filters."""
        n_filters = len(self.filters)
        n_missing = max(0, n_filters - len(patches))
        k_means = MiniBatchKMeans(
            n_filters - n_missing, n_init=1, batch_size=2048, random_state=seed
        )
        centroids = k_means.fit(patches).cluster_centers_
        # From fewer patches than filters, the others stay random.
        random = self.filters[:n_missing].cpu().flatten(2)
        if mixing is not None:
            random = torch.einsum("fca,ck->fka", random, mixing)
        return np.concatenate([centroids, random.flatten(1).numpy()])


def _normalise_contrast(patches: Tensor) -> Tensor:
    """Centre each patch and bring its variance to 1, flat ones excepted."""
    patches = patches - patches.mean(dim=1, keepdim=True)
    patches /= (patches.var(dim=1, correction=0, keepdim=True) + FLOOR).sqrt()
    return patches


def stride_of(side: int) -> int:
    """Pixels from patch to patch: 2, and more in images of more than 90 pixels."""
    if side == 1:
        return 1
    stride = 2
    while side > 45 * stride:
        stride *= 2
    return min(stride, 8)


def _normalise(rows: Tensor) -> Tensor:
    """Scale each row to length 1, rows of zeros excepted."""
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
