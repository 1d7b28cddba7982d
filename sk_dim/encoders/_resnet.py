"""ResNetEncoder: a residual net of 3x3 convolutions, for images and a GPU."""

import math

import torch
from torch import Tensor, nn

from sk_dim.encoders._contract import Augment, Encoder, Features, check_shape
from sk_dim.encoders._view_shrinkage import ViewShrinkage, learn_from_views

LONGEST = 63  # side of the map that the first stage takes
STRIDES = (1, 2, 2, 2)  # of the stages


class ResNetEncoder(Encoder):
    """Residual net with four stages of two blocks each, for images and a GPU.

    The net is ResNet-18 with a stem of 3x3 convolutions: one for small images; of
    larger ones each halves the sides, until they are less than 64 long. It takes ten
    times the operations of :class:`PatchEncoder`, for trainings of many images and many
    minutes. In a minute, or on a CPU, that encoder learns more.

    Parameters
    ----------
    input_shape : tuple of int
        ``(channels, height, width)``, each side at least 8.
    n_components : int
        Size of the global features.
    n_channels : int, default=64
        Channels of the first stage, doubled by each further one.
    n_blocks : int, default=2
        Residual blocks of each stage.
    compile_mode : str or None, default=None
        Mode of ``torch.compile``, such as "default" or "reduce-overhead", which replays
        CUDA graphs. Compiling takes a minute. None does not compile.

    Notes
    -----
    `full_width` components, 960 by default, are the means of the maps of all stages.
    If `n_components` is below, a fixed random orthonormal projection follows; if above,
    the last stage gets more channels. Directions in which views of a sample differ are
    shrunk in them when training ends, as in :class:`PatchEncoder`. Critics see the
    means of the last map alone. The local features are the first map of at most 64
    locations. Where views are flipped, features are averaged over an image and its
    mirror image in evaluation.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun (2015). Deep Residual Learning for Image
    Recognition. arXiv:1512.03385.

    P. Goyal et al. (2017). Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour.
    arXiv:1706.02677.

    Examples
    --------
    >>> import torch
    >>> n_components = ResNetEncoder.full_width((3, 32, 32))
    >>> encoder = ResNetEncoder((3, 32, 32), n_components)
    >>> features = encoder.eval()(torch.zeros(2, 3, 32, 32))
    >>> features.global_.shape, features.local.shape
    (torch.Size([2, 960]), torch.Size([2, 256, 8, 8]))
    """

    kinds = ("image",)
    min_side = 8
    needs_head = True
    is_static = True
    projection: Tensor | None

    def __init__(
        self,
        input_shape: tuple[int, ...],
        n_components: int,
        *,
        n_channels: int = 64,
        n_blocks: int = 2,
        compile_mode: str | None = None,
    ) -> None:
        super().__init__()
        check_shape(self, input_shape)
        n_in, *sides = input_shape
        layers: list[nn.Module] = []
        while not layers or max(sides) > LONGEST:
            stride = 2 if max(sides) > LONGEST else 1
            layers += _conv(n_in, n_channels, stride), nn.ReLU()
            n_in, sides = n_channels, _strided(sides, stride)
        self.stem = nn.Sequential(*layers)
        widths = _widths(n_channels)
        widths[-1] = max(widths[-1], n_components - sum(widths[:-1]))
        self.stages = nn.ModuleList()
        self.local_stage = len(STRIDES) - 1
        for stage, (width, stride) in enumerate(zip(widths, STRIDES, strict=True)):
            blocks = [_Block(n_in, width, stride)]
            blocks += [_Block(width, width, 1) for _ in range(n_blocks - 1)]
            self.stages.append(nn.Sequential(*blocks))
            n_in, sides = width, _strided(sides, stride)
            if math.prod(sides) <= 64:
                self.local_stage = min(self.local_stage, stage)
        self.shrinkage = ViewShrinkage(sum(widths))
        projection = None
        if n_components < sum(widths):
            projection = torch.empty(n_components, sum(widths))
            nn.init.orthogonal_(projection)
        self.register_buffer("projection", projection)
        self.compile_mode = compile_mode
        if compile_mode is not None:
            self.compile(mode=compile_mode)

    @staticmethod
    def full_width(input_shape: tuple[int, ...], n_channels: int = 64) -> int:
        """Count the channels of all stages.

        Parameters
        ----------
        input_shape : tuple of int
            ``(channels, height, width)``.
        n_channels : int, default=64
            Of the encoder.

        Returns
        -------
        int
        """
        return sum(_widths(n_channels))

    def learn_last(
        self, batch: Tensor, seed: int, augment: Augment | None = None
    ) -> None:
        """Learn from views of scaled samples which directions to shrink.

        Parameters
        ----------
        batch : Tensor of shape (n, c, h, w)
            Some of the training samples.
        seed : int
            Seeds the choice of samples and the views.
        augment : callable or None, default=None
            Makes views; with None the features are standardised only.
        """
        # Batch normalisation counts the steps of training.
        n_steps = int(self.get_buffer("stem.0.1.num_batches_tracked"))
        learn_from_views(self.shrinkage, self._values, batch, seed, augment, n_steps)

    def forward(self, batch: Tensor) -> Features:
        """Encode a scaled batch."""
        maps = self._maps(batch)
        summary = _means(maps[-1:])
        local, conv = maps[self.local_stage], maps[-1]
        if self.training and not self.is_tuned:
            return Features(summary, None, conv, local, summary)
        hidden = _means(maps)
        if self.is_mirrored and not self.training:
            mirrored = self._maps(batch.flip(-1))
            hidden = (hidden + _means(mirrored)) / 2
            summary = (summary + _means(mirrored[-1:])) / 2
        global_ = self.shrinkage(hidden)
        if self.projection is not None:
            global_ = global_ @ self.projection.T
        return Features(global_, hidden, conv, local, summary)

    def _values(self, batch: Tensor) -> Tensor:
        return _means(self._maps(batch))

    def _maps(self, batch: Tensor) -> list[Tensor]:
        """Return the maps of the stages."""
        batch = self.stem(batch)
        maps = []
        for stage in self.stages:
            batch = stage(batch)
            maps.append(batch)
        return maps


class _Block(nn.Module):
    """Add to a map, or to its projection, what two convolutions find."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        last = _conv(n_out, n_out, 1)
        nn.init.zeros_(last.get_parameter("1.weight"))  # at first, nothing is added
        self.found = nn.Sequential(_conv(n_in, n_out, stride), nn.ReLU(), last)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.shortcut = _Shortcut(n_in, n_out, stride)

    def forward(self, batch: Tensor) -> Tensor:
        """Map a batch (n, c, h, w)."""
        return (self.shortcut(batch) + self.found(batch)).relu()


class _Shortcut(nn.Module):
    """Project every second location, or every one.

    As a matrix product, because with few channels the gradient of torch's strided 1x1
    convolution writes where it must not, on a CPU without AVX-512 (torch 2.13).
    """

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.linear = nn.Linear(n_in, n_out, bias=False)
        self.norm = nn.BatchNorm2d(n_out)

    def forward(self, batch: Tensor) -> Tensor:
        """Map a batch (n, c, h, w)."""
        kept = batch[:, :, :: self.stride, :: self.stride].permute(0, 2, 3, 1)
        # Of others, torch picks the product by whether a gradient is wanted.
        found = self.linear(kept.contiguous())
        return self.norm(found.permute(0, 3, 1, 2))


def _widths(n_channels: int) -> list[int]:
    """Count the channels of each stage."""
    return [n_channels * 2**stage for stage in range(len(STRIDES))]


def _conv(n_in: int, n_out: int, stride: int) -> nn.Sequential:
    """Convolve with 3x3 windows, and normalise."""
    conv = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm2d(n_out))


def _strided(sides: list[int], stride: int) -> list[int]:
    return [-(-side // stride) for side in sides]


def _means(maps: list[Tensor]) -> Tensor:
    """Return the means of maps (n, c, h, w), side by side."""
    return torch.cat([each.float().mean((2, 3)) for each in maps], dim=1)
