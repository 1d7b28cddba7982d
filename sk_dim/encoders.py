"""Encoders: a batch of samples to its features, local and global.

An encoder is a module whose forward takes a scaled float32 batch ``(n, *input_shape)``
and returns :class:`Features`. Shapes are derived, never typed in: images of any height,
width and number of channels, series of any length, tables of any number of columns.

What else an encoder may have:

- a method ``learn_first(batch, seed)``: before its training it gets a scaled batch of
  the training samples, to choose weights that suit them;
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

from sk_dim._layers import ColumnConv, Residual, quadrant_means
from sk_dim.patches import PatchFilters

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

    def layers(self) -> dict[str, Tensor]:
        """Those layers that there are, by the names that users give them."""
        named = zip(LAYERS, self, strict=True)
        return {name: layer for name, layer in named if layer is not None}


def _conv_stages(shape: tuple[int, ...], n_channels: int, cap: int) -> list[dict]:
    """Plan the convolutions that bring every side of `shape` down to 4 to 7."""
    stages: list[dict] = []
    sides = shape
    width = n_channels
    while max(sides) >= 8 or len(stages) < 2:
        # Where an input is too small to be halved twice, full resolution comes first,
        # at half the width since it costs four times as much.
        is_full_size = not stages and max(sides) < 16
        strides = [1 if is_full_size or side < 8 else 2 for side in sides]
        stages.append(
            {
                "width": n_channels // 2 if is_full_size else width,
                # Kernel 4 and stride 2 halve a side, kernel 3 and stride 1 keep it.
                "kernel_size": tuple(2 + stride for stride in strides),
                "stride": tuple(strides),
            }
        )
        width = width if is_full_size else min(2 * width, cap)
        sides = tuple(s // stride for s, stride in zip(sides, strides, strict=True))
    return stages


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
        for stage in _conv_stages(tuple(sides), n_channels, cap=256):
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
    map until it is 4 to 7 long, and the global features are the mean of the last map in
    each quadrant, standardised. On 32x32 colour images it trains on some four times as
    many samples a second as :class:`ConvEncoder`.

    Parameters
    ----------
    input_shape : tuple of int
        ``(channels, height, width)``, both sides at least 16.
    n_components : int
        Size of the global features; the last map has a quarter as many channels, but at
        least 256.
    n_filters : int, default=64
        Patch filters.
    view_scale : float, default=0.75
        Views are made smaller by this factor, which takes half the time. Random crops
        make things larger, so that they look as large in training as in whole images,
        which are encoded as they are.

    Notes
    -----
    With fewer components than quadrants have channels, 1024, a fixed random projection
    to orthonormal axes follows: a trained one forgets more than it. Where views are
    flipped, features in evaluation are the mean of those of an image and of its mirror
    image, which are then equal.

    References
    ----------
    A. Coates, H. Lee, A. Y. Ng (2011). An Analysis of Single-Layer Networks in
    Unsupervised Feature Learning. AISTATS.

    H. Touvron, A. Vedaldi, M. Douze, H. Jegou (2019). Fixing the train-test resolution
    discrepancy. arXiv:1906.06423.

    Examples
    --------
    >>> import torch
    >>> encoder = PatchEncoder((3, 32, 32), n_components=1024)
    >>> encoder.learn_first(torch.randn(20, 3, 32, 32), seed=0)
    >>> encoder.eval()(torch.randn(2, 3, 32, 32)).conv.shape
    torch.Size([2, 256, 4, 4])
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
        n_channels = max(256, math.ceil(n_components / 4))
        with torch.no_grad():
            height, width = self.patches(torch.zeros(1, *input_shape)).shape[2:]
        self.stages = nn.ModuleList()
        self.local_stage = 0
        n_in = 2 * n_filters
        is_last = False
        while not is_last:
            stride = (2 if height >= 6 else 1, 2 if width >= 6 else 1)
            height, width = -(-height // stride[0]), -(-width // stride[1])
            is_last = max(height, width) < 8
            n_out = n_channels if is_last else 256
            self.stages.append(
                nn.Sequential(
                    ColumnConv(n_in, n_out, 3, stride, padding=1, bias=False),
                    nn.BatchNorm2d(n_out),
                    nn.ReLU(),
                    Residual(n_out),
                )
            )
            n_in = n_out
            if height * width > 64:  # the local features are the next map at least
                self.local_stage += 1
        self.norm = nn.BatchNorm1d(4 * n_channels, affine=False)
        projection = None
        if n_components < 4 * n_channels:
            projection = torch.empty(n_components, 4 * n_channels)
            nn.init.orthogonal_(projection)
        self.register_buffer("projection", projection)

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
        maps = self._maps(batch)
        pooled = self._pooled(maps)
        if self.is_mirrored and not self.training:
            mirrored = self._maps(batch.flip(-1))
            # Invariant features, maps that turn with the image.
            pooled = [
                _mean(*pair)
                for pair in zip(pooled, self._pooled(mirrored), strict=True)
            ]
            maps = [
                _mean(m, other.flip(-1))
                for m, other in zip(maps, mirrored, strict=True)
            ]
        global_ = self.norm(pooled[1])
        hidden = torch.cat([pooled[0], global_], dim=1)
        if self.projection is not None:
            global_ = global_ @ self.projection.T
        return Features(global_, hidden, maps[-1], maps[1 + self.local_stage])

    def _pooled(self, maps: list[Tensor]) -> list[Tensor]:
        """Return the means of the first and the last map in each quadrant."""
        return [quadrant_means(each) for each in (maps[0], maps[-1])]

    def _maps(self, batch: Tensor) -> list[Tensor]:
        """Return the map of patches and those of the stages."""
        maps = [self.patches(batch)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps


def _mean(a: Tensor, b: Tensor) -> Tensor:
    return (a + b) / 2


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
