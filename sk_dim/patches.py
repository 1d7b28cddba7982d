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
from torch.nn.functional import adaptive_max_pool2d, avg_pool2d, conv2d, pad, unfold

from sk_dim._features import Encoder, Features, check_shape
from sk_dim._layers import ColumnConv, Residual, grid_means, plan_halvings

__all__ = ["PatchEncoder", "PatchFilters"]

N_PATCHES = 20_000  # that the filters are learnt from
N_VECTORS = 10_000  # locations that directions of many channels are learnt from
MANY_CHANNELS = 16  # above which channels are mixed to fewer
MAX_PATCH_VALUES = 576  # of a patch of mixtures, as 16 channels of 6x6 pixels have
MIN_MIXTURES = 8
FLOOR = 0.1  # variance of a patch below which its contrast is not blown up
WHITENING_FLOOR = 0.1  # of eigenvalues, so that noise is not blown up
THRESHOLD = 0.5  # of activation, in standard deviations of the responses


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
        self.stride = tuple(_stride(side) for side in sides)
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
        responses = conv2d(batch, self.filters, stride=stride, padding=padding)
        moments = torch.stack([batch.mean(dim=1), batch.square().mean(dim=1)], dim=1)
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


def _stride(side: int) -> int:
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


class PatchEncoder(Encoder):
    """Convolutional encoder whose first layer is learnt from patches of the samples.

    Training the first layers takes most of the time of a convolutional net on a CPU, to
    find what clustering finds in a second. So here the first layer is
    :class:`sk_dim.patches.PatchFilters`. Convolutions above it halve each side of the
    map until it is 4 to 7 long. The global features are the maxima of the last map in
    overlapping windows, its channels standardised. For series, means of the first map
    are added, because training may lose what they hold. On 32x32 colour images it
    trains on some four times as many samples a second as :class:`ConvEncoder`.

    Parameters
    ----------
    input_shape : tuple of int
        ``(channels, height, width)`` of images or ``(channels, length)`` of series, all
        sides at least 16.
    n_components : int
        Size of the global features.
    n_filters : int, default=64
        Number of patch filters.
    view_scale : float, default=0.75
        Training views of images are shrunk by this factor, which halves the cost. Crops
        enlarge objects; shrinking brings them back to their size in whole images.
    compile_mode : str or None, default=None
        Mode of ``torch.compile``, such as "default" or "reduce-overhead", which replays
        CUDA graphs. Compiling takes a minute and gains little on a CPU. None: do not.

    Notes
    -----
    `full_width` components are 256 channels in 3x3 windows; for series in 3 windows,
    and before them the means of the first map in each quarter. If `n_components` is
    below `full_width`, a fixed random orthonormal projection follows; if above, the
    last map gets more channels. Critics see means over quadrants (of series: quarters),
    because exact position differs between views.

    In evaluation, the features of an image are averaged over two versions of it,
    shifted by half the step between patches to either end of a diagonal. Where views
    are flipped, both versions of the mirror image are included, so that mirror images
    get equal features.

    References
    ----------
    A. Coates, H. Lee, A. Y. Ng (2011). An Analysis of Single-Layer Networks in
    Unsupervised Feature Learning. AISTATS.

    H. Touvron, A. Vedaldi, M. Douze, H. Jegou (2019). Fixing the train-test resolution
    discrepancy. arXiv:1906.06423.

    Examples
    --------
    >>> import torch
    >>> n_components = PatchEncoder.full_width((3, 32, 32))
    >>> encoder = PatchEncoder((3, 32, 32), n_components)
    >>> encoder.learn_first(torch.randn(20, 3, 32, 32), seed=0)
    >>> features = encoder.eval()(torch.randn(2, 3, 32, 32))
    >>> features.global_.shape, features.conv.shape
    (torch.Size([2, 2304]), torch.Size([2, 256, 4, 4]))
    """

    kinds = ("image", "series")
    min_side = 16
    needs_head = True
    projection: Tensor | None

    def __init__(
        self,
        input_shape: tuple[int, ...],
        n_components: int,
        *,
        n_filters: int = 64,
        view_scale: float = 0.75,
        compile_mode: str | None = None,
    ) -> None:
        super().__init__()
        check_shape(self, input_shape)
        self.is_series = len(input_shape) == 2
        self.view_scale = None if self.is_series else view_scale
        self.patches = PatchFilters(_as_image(input_shape), n_filters)
        sides, strides = plan_halvings(*_map_sides(input_shape))
        self.grid = _grid(sides[-1])
        self.parts = (1, min(4, sides[-1][1])) if self.is_series else (2, 2)
        n_first = math.prod(self.parts) * 2 * n_filters if self.is_series else 0
        n_last = max(0, n_components - n_first)
        n_channels = max(256, math.ceil(n_last / math.prod(self.grid)))
        self.stages = nn.ModuleList()
        n_in = 2 * n_filters
        widths = [256] * (len(strides) - 1) + [n_channels]
        kernel, padding = ((1, 3), (0, 1)) if self.is_series else ((3, 3), (1, 1))
        for n_out, stride in zip(widths, strides, strict=True):
            self.stages.append(
                nn.Sequential(
                    ColumnConv(n_in, n_out, kernel, stride, padding, bias=False),
                    nn.BatchNorm2d(n_out),
                    nn.ReLU(),
                    Residual(n_out),
                )
            )
            n_in = n_out
        # The local features are the first map of at most 64 locations.
        self.local_stage = sum(math.prod(each) > 64 for each in sides)
        self.norm = nn.BatchNorm2d(n_channels, affine=False)
        if self.is_series:
            self.first_norm = nn.BatchNorm2d(2 * n_filters, affine=False)
        n_values = n_first + n_channels * math.prod(self.grid)
        projection = None
        if n_components < n_values:
            projection = torch.empty(n_components, n_values)
            nn.init.orthogonal_(projection)
        self.register_buffer("projection", projection)
        if compile_mode is not None:
            self.compile(mode=compile_mode)

    @staticmethod
    def full_width(input_shape: tuple[int, ...]) -> int:
        """Count the values of 256 channels in up to 3x3 windows of the last map.

        For series, those of 128 channels in quarters of the first map are added.

        Parameters
        ----------
        input_shape : tuple of int
            ``(channels, height, width)`` or ``(channels, length)``.

        Returns
        -------
        int
        """
        sides, _ = plan_halvings(*_map_sides(input_shape))
        n_values = 256 * math.prod(_grid(sides[-1]))
        if len(input_shape) == 2:
            n_values += 128 * min(4, sides[-1][1])
        return n_values

    def learn_first(self, batch: Tensor, seed: int) -> None:
        """Learn the patch filters from scaled samples.

        Parameters
        ----------
        batch : Tensor of shape (n, c, h, w) or (n, c, l)
            Some of the training samples.
        seed : int
            Seeds the choice of patches and their clustering.
        """
        self.patches.learn(batch.unsqueeze(2) if self.is_series else batch, seed)

    def forward(self, batch: Tensor) -> Features:
        """Encode a scaled batch."""
        if self.is_series:
            batch = batch.unsqueeze(2)
        # Of series, shifted ones were not measured to help.
        if self.training or (self.is_series and not self.is_mirrored):
            maps = self._maps(batch)
            pooled = self._pooled(maps)
        else:
            maps, pooled = self._mean_of_versions(batch)
        first, last, summary = pooled
        hidden = torch.cat([first, last], dim=1)
        global_ = hidden if self.is_series else last
        if self.projection is not None:
            global_ = global_ @ self.projection.T
        conv, local = maps[-1], maps[1 + self.local_stage]
        if self.is_series:
            conv, local = conv.squeeze(2), local.squeeze(2)
        return Features(global_, hidden, conv, local, summary)

    def _mean_of_versions(self, batch: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Average maps and features over shifted images and mirror images.

        Shifted images show what falls between the patches. Mirror images have the same
        versions, hence equal features; their maps are mirrored.
        """
        down, right = (stride // 2 for stride in self.patches.stride)
        height, width = batch.shape[2:]
        padded = pad(batch, (right, right, down, down), mode="replicate")
        versions = [(0, 0, False), (2 * down, 2 * right, False)]
        if self.is_mirrored:
            versions += [(0, 2 * right, True), (2 * down, 0, True)]
        all_maps, all_pooled = [], []
        for top, left, is_flipped in versions:
            version = padded[:, :, top : top + height, left : left + width]
            maps = self._maps(version.flip(-1) if is_flipped else version)
            all_pooled.append(self._pooled(maps))
            all_maps.append([m.flip(-1) for m in maps] if is_flipped else maps)
        return _means(all_maps), _means(all_pooled)

    def _pooled(self, maps: list[Tensor]) -> list[Tensor]:
        """Return means of the first map, largest values of the last, and its means."""
        first = self.first_norm(maps[0]) if self.is_series else maps[0]
        last = self.norm(maps[-1])
        return [
            grid_means(first, self.parts),
            self._largest(last).flatten(1).float(),
            grid_means(last, self.parts),
        ]

    def _largest(self, last: Tensor) -> Tensor:
        """Return the largest values of a map in each window."""
        if last.shape[2:] == self.grid:  # as small views have it
            return last
        return adaptive_max_pool2d(last, self.grid)

    def _maps(self, batch: Tensor) -> list[Tensor]:
        """Return the map of patches and those of the stages."""
        maps = [self.patches(batch)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps


def _as_image(input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """View a series (c, l) as an image of one row, (c, 1, l)."""
    n_channels, *sides = input_shape
    return (n_channels, 1, *sides) if len(sides) == 1 else input_shape


def _map_sides(input_shape: tuple[int, ...]) -> tuple[int, int]:
    """Compute the sides of the map that the patch filters make of a sample."""
    _, height, width = _as_image(input_shape)
    return _n_pooled(height), _n_pooled(width)


def _n_pooled(side: int) -> int:
    return 1 if side == 1 else side // _stride(side) // 2


def _grid(sides: tuple[int, int]) -> tuple[int, int]:
    """Windows of a map whose largest values are features: at most 3x3."""
    return min(sides[0], 3), min(sides[1], 3)


def _means(versions: list[list[Tensor]]) -> list[Tensor]:
    return [torch.stack(each).mean(dim=0) for each in zip(*versions, strict=True)]
