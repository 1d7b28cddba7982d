"""PatchEncoder: convolutions on top of patch filters.

A series is an image of one row.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from sk_dim.encoders._contract import Augment, Encoder, Features, check_shape
from sk_dim.encoders._layers import (
    ColumnConv,
    Residual,
    grid_maxima,
    grid_means,
    plan_halvings,
)
from sk_dim.encoders._patch_filters import PatchFilters, stride_of
from sk_dim.encoders._view_shrinkage import ViewShrinkage, learn_from_views


class PatchEncoder(Encoder):
    """Convolutional encoder whose first layer is learnt from patches of the samples.

    Training the first layers takes most of the time of a convolutional net on a CPU, to
    find what clustering finds in a second. So here the first layer is
    :class:`sk_dim.encoders.PatchFilters`. Convolutions above it halve each side of the
    map until it is 4 to 7 long. The global features are the maxima of the last map in
    overlapping windows, after means of the first map, because training may lose what
    they hold. When training ends, directions in which views of a sample still differ
    are shrunk in these features, which then need fewer labels. On 32x32 colour images
    it trains on some four times as many samples a second as :class:`ConvEncoder`.

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
    `full_width` components are the means of the first map in each quadrant (of series:
    quarter), and 256 channels in 3x3 windows (of series: 3). If `n_components` is below
    `full_width`, a fixed random orthonormal projection follows; if above, the last map
    gets more channels. Critics see means of the last map over quadrants or quarters,
    because exact position differs between views; training makes no others.

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
    (torch.Size([2, 2816]), torch.Size([2, 256, 4, 4]))
    """

    kinds = ("image", "series")
    min_side = 16
    needs_head = True
    is_static = True
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
        n_first = math.prod(self.parts) * 2 * n_filters
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
        n_values = n_first + n_channels * math.prod(self.grid)
        self.shrinkage = ViewShrinkage(n_values)
        projection = None
        if n_components < n_values:
            projection = torch.empty(n_components, n_values)
            nn.init.orthogonal_(projection)
        self.register_buffer("projection", projection)
        self.compile_mode = compile_mode
        if compile_mode is not None:
            self.compile(mode=compile_mode)

    @staticmethod
    def full_width(input_shape: tuple[int, ...], n_filters: int = 64) -> int:
        """Count the values of all channels of the first map and 256 of the last.

        The first are means over 2x2 parts, or up to 4 of series, the others maxima in
        up to 3x3 windows.

        Parameters
        ----------
        input_shape : tuple of int
            ``(channels, height, width)`` or ``(channels, length)``.
        n_filters : int, default=64
            Of the encoder.

        Returns
        -------
        int
        """
        sides, _ = plan_halvings(*_map_sides(input_shape))
        n_parts = min(4, sides[-1][1]) if len(input_shape) == 2 else 4
        return 2 * n_filters * n_parts + 256 * math.prod(_grid(sides[-1]))

    def learn_first(
        self, batch: Tensor, seed: int, augment: Augment | None = None
    ) -> None:
        """Learn the patch filters from scaled samples.

        Parameters
        ----------
        batch : Tensor of shape (n, c, h, w) or (n, c, l)
            Some of the training samples.
        seed : int
            Seeds the choice of patches and their clustering.
        augment : callable or None, default=None
            Not used.
        """
        self.patches.learn(batch.unsqueeze(2) if self.is_series else batch, seed)

    def learn_last(
        self, batch: Tensor, seed: int, augment: Augment | None = None
    ) -> None:
        """Learn from views of scaled samples which directions to shrink.

        Parameters
        ----------
        batch : Tensor of shape (n, c, h, w) or (n, c, l)
            Some of the training samples.
        seed : int
            Seeds the choice of samples and the views.
        augment : callable or None, default=None
            Makes views; with None the features are standardised only.
        """
        # Batch normalisation counts the steps of training.
        n_steps = int(self.norm.get_buffer("num_batches_tracked"))
        learn_from_views(self.shrinkage, self._values, batch, seed, augment, n_steps)

    def _values(self, batch: Tensor) -> Tensor:
        """Return the pooled values of a scaled batch itself."""
        batch = batch.unsqueeze(2) if self.is_series else batch
        return torch.cat(self._pooled(self._maps(batch), is_whole=True)[1:], dim=1)

    def forward(self, batch: Tensor) -> Features:
        """Encode a scaled batch."""
        if self.is_series:
            batch = batch.unsqueeze(2)
        # Of series, shifted ones were not measured to help.
        if self.training or (self.is_series and not self.is_mirrored):
            maps = self._maps(batch)
            is_whole = self.is_tuned or not self.training
            pooled = self._pooled(maps, is_whole=is_whole)
        else:
            maps, pooled = self._mean_of_versions(batch)
        summary, *rest = pooled
        hidden, global_ = None, summary
        if rest:
            hidden = torch.cat(rest, dim=1)
            global_ = self.shrinkage(hidden)
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
            all_pooled.append(self._pooled(maps, is_whole=True))
            all_maps.append([m.flip(-1) for m in maps] if is_flipped else maps)
        return _means(all_maps), _means(all_pooled)

    def _pooled(self, maps: list[Tensor], *, is_whole: bool) -> list[Tensor]:
        """Return means of the last map, those of the first, and the last's maxima.

        Without `is_whole` only those that critics see.
        """
        last = self.norm(maps[-1])
        summary = grid_means(last, self.parts)
        if not is_whole:
            return [summary]
        first = grid_means(maps[0], self.parts)
        return [summary, first, self._largest(last).flatten(1).float()]

    def _largest(self, last: Tensor) -> Tensor:
        """Return the largest values of a map in each window."""
        if last.shape[2:] == self.grid:  # as small views have it
            return last
        return grid_maxima(last, self.grid)

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
    return 1 if side == 1 else side // stride_of(side) // 2


def _grid(sides: tuple[int, int]) -> tuple[int, int]:
    """Windows of a map whose largest values are features: at most 3x3."""
    return min(sides[0], 3), min(sides[1], 3)


def _means(versions: list[list[Tensor]]) -> list[Tensor]:
    return [torch.stack(each).mean(dim=0) for each in zip(*versions, strict=True)]
