"""Encoders: a batch of samples to its features, local and global.

An encoder is a module whose forward takes a scaled float32 batch ``(n, *input_shape)``
and returns :class:`Features`. Shapes are derived, never typed in: images of any height,
width and number of channels, series of any length, tables of any number of columns.

What else an encoder may have:

- a method ``learn_first(batch, seed)``: before its training it gets a scaled batch of
  the training samples, to choose weights that suit them;
- ``full_width(input_shape)``, a static method: how many components it has by default;
- ``needs_head``: whether the global term of two views is to compare the global features
  behind a head, as it should where they come straight from a map;
- ``view_scale``: the factor by which images are made smaller for training on two views;
- ``is_mirrored``, which is set to True where views are flipped: in evaluation a sample
  and its mirror image are then to get equal features.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_max_pool2d, pad

from sk_dim._layers import ColumnConv, Residual, grid_means, plan_convs, plan_halvings
from sk_dim.patches import PatchFilters, map_sides

__all__ = ["ENCODERS", "ConvEncoder", "Features", "MLPEncoder", "PatchEncoder"]


MAX_FLAT = 6400  # values of the last map that the hidden layer takes as they are
LAYERS = ("global", "hidden", "conv", "local")


class Features(NamedTuple):
    """What an encoder makes of a batch of n samples.

    Parameters
    ----------
    global_ : Tensor of shape (n, n_components)
        One vector a sample.
    hidden : Tensor of shape (n, n_hidden) or None
        The layer before the global features.
    conv : Tensor of shape (n, c, ...) or None
        The last map before the axes of location are flattened away.
    local : Tensor of shape (n, c, ...)
        One vector of c channels a location, the locations on one or more axes.
    summary : Tensor of shape (n, k) or None, default=None
        What critics and prior are given in place of the global features, where it is
        less and follows from them. None gives them the global features.

    Examples
    --------
    >>> import torch
    >>> features = ConvEncoder((1, 8, 8), n_components=16)(torch.zeros(2, 1, 8, 8))
    >>> features.global_.shape, features.local.shape
    (torch.Size([2, 16]), torch.Size([2, 64, 4, 4]))
    """

    global_: Tensor
    hidden: Tensor | None
    conv: Tensor | None
    local: Tensor
    summary: Tensor | None = None

    @property
    def code(self) -> Tensor:
        """What critics and prior are given: the summary, or the global features."""
        return self.global_ if self.summary is None else self.summary

    def layers(self) -> dict[str, Tensor]:
        """Those layers that there are, by the names that users give them."""
        named = zip(LAYERS, self[:-1], strict=True)
        return {name: layer for name, layer in named if layer is not None}


class ConvEncoder(nn.Module):
    """Convolutional encoder for images and series of any size.

    Strided convolutions halve each side until it is 4 to 7 long, so small inputs get
    two of them and large ones more; for 28x28, 32x32 and 64x64 these are the stages of
    the paper's nets. The local features are the first map with at most 64 locations,
    the global ones a linear map of a fully connected hidden layer on the last map.

    Parameters
    ----------
    input_shape : tuple of int
        ``(channels, height, width)`` of an image or ``(channels, length)`` of a series.
    n_components : int
        Size of the global features.
    n_hidden : int or None, default=None
        Units of the hidden layer; None takes the paper's 1024, or 512 where the last
        map has few values.
    n_channels : int, default=64
        Channels after the first halving; each next one has twice as many, up to 256.

    Notes
    -----
    Fewer than 10 million parameters for images of up to 256x256 pixels.

    References
    ----------
    R. D. Hjelm et al. (2018). Learning deep representations by mutual information
    estimation and maximization. arXiv:1808.06670.

    Examples
    --------
    >>> import torch
    >>> encoder = ConvEncoder((3, 32, 32), n_components=64)
    >>> encoder(torch.zeros(2, 3, 32, 32)).local.shape
    torch.Size([2, 128, 8, 8])
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        n_components: int,
        *,
        n_hidden: int | None = None,
        n_channels: int = 64,
    ) -> None:
        super().__init__()
        n_in, *sides = input_shape
        conv_class = (nn.Conv1d, nn.Conv2d)[len(sides) - 1]
        norm_class = (nn.BatchNorm1d, nn.BatchNorm2d)[len(sides) - 1]
        self.stages = nn.ModuleList()
        for stage in plan_convs(tuple(sides), n_channels, cap=256):
            width = stage.pop("width")
            conv = conv_class(n_in, width, padding=1, bias=False, **stage)
            self.stages.append(nn.Sequential(conv, norm_class(width), nn.ReLU()))
            n_in = width
        # A dry run, in evaluation mode to leave no trace in the batch statistics.
        with torch.no_grad():
            maps = self.eval()._maps(torch.zeros(1, *input_shape))
        self.train()
        # A location must see some of its neighbourhood: two convolutions at least.
        self.local_stage = next(
            (i for i, m in enumerate(maps) if i > 0 and m[0, 0].numel() <= 64),
            len(maps) - 1,
        )
        # Where the last map is large, its average over 4x4 parts, or the hidden layer
        # would hold most of the parameters.
        n_flat = maps[-1].numel()
        pool: nn.Module = nn.Identity()
        if n_flat > MAX_FLAT:
            pooled = tuple(min(side, 4) for side in maps[-1].shape[2:])
            n_flat = n_in * math.prod(pooled)
            pool = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)[len(sides) - 1](pooled)
        if n_hidden is None:
            n_hidden = min(max(n_flat // 2, 512), 1024)
        self.hidden = nn.Sequential(
            pool,
            nn.Flatten(),
            nn.Linear(n_flat, n_hidden, bias=False),
            nn.BatchNorm1d(n_hidden),
            nn.ReLU(),
        )
        self.global_ = nn.Linear(n_hidden, n_components)

    def _maps(self, batch: Tensor) -> list[Tensor]:
        """Return the output of every stage."""
        maps = []
        for stage in self.stages:
            batch = stage(batch)
            maps.append(batch)
        return maps

    def forward(self, batch: Tensor) -> Features:
        """Encode a scaled batch."""
        maps = self._maps(batch)
        hidden = self.hidden(maps[-1])
        return Features(self.global_(hidden), hidden, maps[-1], maps[self.local_stage])


class PatchEncoder(nn.Module):
    """Convolutional encoder of images whose first layer is learnt from their patches.

    On two CPU cores, most of the time of a convolutional net goes into training its
    first layers, to find what clustering finds in a second. Here the first layer is
    :class:`sk_dim.patches.PatchFilters`, convolutions above it halve each side of the
    map until it is 4 to 7 long, and the global features are the largest values of the
    last map in overlapping windows, its channels standardised. On 32x32 colour images
    it trains on some four times as many samples a second as :class:`ConvEncoder`.

    Parameters
    ----------
    input_shape : tuple of int
        ``(channels, height, width)``, both sides at least 16.
    n_components : int
        Size of the global features.
    n_filters : int, default=64
        Patch filters.
    view_scale : float, default=0.75
        Views are made smaller by this factor, which takes half the time. Random crops
        make things larger, so that they look as large in training as in whole images,
        which are encoded as they are.

    Notes
    -----
    `full_width` components are 256 channels in 3x3 windows. With fewer components a
    fixed random projection to orthonormal axes follows, for more there are more
    channels. What critics compare are the means in each quadrant: where in it a thing
    was, differs between views.

    Where views are flipped, features in evaluation are the mean of those of an image,
    shifted by half the step between patches to either end of a diagonal, and of its
    mirror image, which are then equal.

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

    projection: Tensor | None

    def __init__(
        self,
        input_shape: tuple[int, ...],
        n_components: int,
        *,
        n_filters: int = 64,
        view_scale: float = 0.75,
    ) -> None:
        super().__init__()
        self.view_scale = view_scale
        self.needs_head = True
        self.is_mirrored = False
        self.patches = PatchFilters(input_shape, n_filters)
        sides, strides = plan_halvings(*map_sides(input_shape))
        self.grid = _grid(sides[-1])
        n_channels = max(256, math.ceil(n_components / math.prod(self.grid)))
        self.stages = nn.ModuleList()
        n_in = 2 * n_filters
        widths = [256] * (len(strides) - 1) + [n_channels]
        for n_out, stride in zip(widths, strides, strict=True):
            self.stages.append(
                nn.Sequential(
                    ColumnConv(n_in, n_out, 3, stride, padding=1, bias=False),
                    nn.BatchNorm2d(n_out),
                    nn.ReLU(),
                    Residual(n_out),
                )
            )
            n_in = n_out
        # The local features are the first map of at most 64 locations.
        self.local_stage = sum(math.prod(each) > 64 for each in sides)
        self.norm = nn.BatchNorm2d(n_channels, affine=False)
        n_values = n_channels * math.prod(self.grid)
        projection = None
        if n_components < n_values:
            projection = torch.empty(n_components, n_values)
            nn.init.orthogonal_(projection)
        self.register_buffer("projection", projection)

    @staticmethod
    def full_width(input_shape: tuple[int, ...]) -> int:
        """Values of 256 channels in up to 3x3 windows of the last map."""
        return 256 * math.prod(_grid(plan_halvings(*map_sides(input_shape))[0][-1]))

    def learn_first(self, batch: Tensor, seed: int) -> None:
        """Learn the patch filters from scaled images.

        Parameters
        ----------
        batch : Tensor of shape (n, c, h, w)
            A sample of the training images.
        seed : int
            Of what is drawn.
        """
        self.patches.learn(batch, seed)

    def forward(self, batch: Tensor) -> Features:
        """Encode a scaled batch."""
        if self.is_mirrored and not self.training:
            maps, pooled = self._mean_of_versions(batch)
        else:
            maps = self._maps(batch)
            pooled = self._pooled(maps)
        first, last, summary = pooled
        hidden = torch.cat([first, last], dim=1)
        global_ = last if self.projection is None else last @ self.projection.T
        return Features(global_, hidden, maps[-1], maps[1 + self.local_stage], summary)

    def _mean_of_versions(self, batch: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Average maps and what is made of them over shifted images and mirror images.

        Mirror images have the same versions, and with it equal features; maps turn
        with the image. The shifts see what falls between the patches.
        """
        down, right = (stride // 2 for stride in self.patches.stride)
        height, width = batch.shape[2:]
        padded = pad(batch, (right, right, down, down), mode="replicate")
        all_maps, all_pooled = [], []
        for top, left, is_flipped in (
            (0, 0, False),
            (2 * down, 2 * right, False),
            (0, 2 * right, True),
            (2 * down, 0, True),
        ):
            version = padded[:, :, top : top + height, left : left + width]
            maps = self._maps(version.flip(-1) if is_flipped else version)
            all_pooled.append(self._pooled(maps))
            all_maps.append([m.flip(-1) for m in maps] if is_flipped else maps)
        return _means(all_maps), _means(all_pooled)

    def _pooled(self, maps: list[Tensor]) -> list[Tensor]:
        """Return means of the first map, largest values of the last, and its means."""
        last = self.norm(maps[-1])
        quadrants = (2, 2)
        return [
            grid_means(maps[0], quadrants),
            adaptive_max_pool2d(last, self.grid).flatten(1).float(),
            grid_means(last, quadrants),
        ]

    def _maps(self, batch: Tensor) -> list[Tensor]:
        """Return the map of patches and those of the stages."""
        maps = [self.patches(batch)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps


def _grid(sides: tuple[int, int]) -> tuple[int, int]:
    """Windows of a map whose largest values are features: at most 3x3."""
    return min(sides[0], 3), min(sides[1], 3)


def _means(versions: list[list[Tensor]]) -> list[Tensor]:
    return [torch.stack(each).mean(dim=0) for each in zip(*versions, strict=True)]


class MLPEncoder(nn.Module):
    """Encoder for tables, whose local features are overlapping subsets of the columns.

    A shared net sees the row once for each subset, the other columns at their mean; its
    outputs are the local features. A hidden layer on all of them makes the global ones.

    Parameters
    ----------
    input_shape : tuple of int
        ``(n_columns,)``.
    n_components : int
        Size of the global features.
    n_hidden : int, default=256
        Units of the hidden layers.
    n_subsets : int, default=8
        Windows over the columns, in their order; each column is in two of them. Tables
        of fewer columns have as many subsets as columns.

    Notes
    -----
    ``Features.conv`` is None; ``Features.local`` is (n, n_hidden // 2, n_subsets).

    References
    ----------
    T. Ucar, E. Hajiramezanali, L. Edwards (2021). SubTab: Subsetting Features of
    Tabular Data for Self-Supervised Representation Learning. arXiv:2110.04361.

    Examples
    --------
    >>> import torch
    >>> encoder = MLPEncoder((30,), n_components=16)
    >>> encoder(torch.zeros(2, 30)).local.shape
    torch.Size([2, 128, 8])
    """

    subsets: Tensor

    def __init__(
        self,
        input_shape: tuple[int, ...],
        n_components: int,
        *,
        n_hidden: int = 256,
        n_subsets: int = 8,
    ) -> None:
        super().__init__()
        (n_columns,) = input_shape
        n_subsets = min(n_subsets, n_columns)
        self.register_buffer("subsets", _windows(n_columns, n_subsets))
        n_local = n_hidden // 2
        self.shared = nn.Sequential(
            nn.Linear(n_columns, n_hidden, bias=False),
            nn.BatchNorm1d(n_hidden),
            nn.ReLU(),
            nn.Linear(n_hidden, n_local, bias=False),
            nn.BatchNorm1d(n_local),
            nn.ReLU(),
        )
        self.hidden = nn.Sequential(
            nn.Linear(n_local * n_subsets, n_hidden, bias=False),
            nn.BatchNorm1d(n_hidden),
            nn.ReLU(),
        )
        self.global_ = nn.Linear(n_hidden, n_components)

    def forward(self, batch: Tensor) -> Features:
        """Encode a scaled batch."""
        n, k = len(batch), len(self.subsets)
        masked = batch.unsqueeze(1) * self.subsets  # (n, k, d)
        local = self.shared(masked.flatten(0, 1)).view(n, k, -1).transpose(1, 2)
        hidden = self.hidden(local.flatten(1))
        return Features(self.global_(hidden), hidden, None, local)


def _windows(n_columns: int, n_subsets: int) -> Tensor:
    """Masks (k, d) of k overlapping windows that go round; each column is in two."""
    column = torch.arange(n_columns)
    own = column * n_subsets // n_columns  # which part of the columns each is in
    first = torch.arange(n_subsets).unsqueeze(1)
    return ((own == first) | (own == (first + 1) % n_subsets)).float()


ENCODERS: dict[str, Callable[[tuple[int, ...], int], nn.Module]] = {
    "conv": ConvEncoder,
    "mlp": MLPEncoder,
    "patch": PatchEncoder,
}
