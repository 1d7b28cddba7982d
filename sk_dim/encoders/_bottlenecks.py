"""BottleneckEncoder: the ResNet of 19 layers of the paper's authors."""

from torch import Tensor, nn

from sk_dim.encoders._contract import Encoder, Features, check_shape
from sk_dim.encoders._tops import build_top, read_top

EXPANSION = 4  # of the channels at the end of a block
# Of each stage, which is two blocks: channels as multiples of the first, and stride.
STAGES = ((1, 1), (2, 2), (4, 2))


class BottleneckEncoder(Encoder):
    """ResNet of 19 layers in bottleneck blocks, as in the authors' code.

    A strided convolution, three stages of two blocks, of which the second and the third
    halve the sides, and a fully connected layer. The local features are the map of the
    second stage, 8x8 for 32x32 pixels. :class:`ResNetEncoder` is a newer one.

    Parameters
    ----------
    input_shape : tuple of int
        ``(channels, height, width)``, each side at least 8.
    n_components : int
        Size of the global features.
    n_channels : int, default=64
        Channels of the first convolution, and within the blocks of the first stage; a
        block returns 4 times those within it.
    n_hidden : int, default=1024
        Units of the fully connected layer.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun (2015). Deep Residual Learning for Image
    Recognition. arXiv:1512.03385.

    R. D. Hjelm et al. (2018). Learning deep representations by mutual information
    estimation and maximization. arXiv:1808.06670.

    Examples
    --------
    >>> import torch
    >>> encoder = BottleneckEncoder((3, 32, 32), n_components=64, n_channels=8)
    >>> features = encoder(torch.zeros(2, 3, 32, 32))
    >>> features.local.shape, features.conv.shape
    (torch.Size([2, 64, 8, 8]), torch.Size([2, 128, 4, 4]))
    """

    kinds = ("image",)
    min_side = 8
    is_static = True

    def __init__(
        self,
        input_shape: tuple[int, ...],
        n_components: int,
        *,
        n_channels: int = 64,
        n_hidden: int = 1024,
    ) -> None:
        super().__init__()
        check_shape(self, input_shape)
        self.stem = _conv(input_shape[0], n_channels, 3, 2)
        sides = tuple(-(-side // 2) for side in input_shape[1:])
        n_in = n_channels
        self.stages = nn.ModuleList()
        for factor, stride in STAGES:
            width = factor * n_channels
            blocks = _Block(n_in, width, stride), _Block(EXPANSION * width, width, 1)
            self.stages.append(nn.Sequential(*blocks))
            n_in = EXPANSION * width
            sides = tuple(-(-side // stride) for side in sides)
        self.hidden, self.global_ = build_top(
            n_in, sides, n_components, n_hidden=(n_hidden,), is_map=False
        )

    def forward(self, batch: Tensor) -> Features:
        """Encode a scaled batch."""
        batch = self.stem(batch).relu()
        maps = []
        for stage in self.stages:
            batch = stage(batch)
            maps.append(batch)
        top = read_top(self.hidden, self.global_, batch)
        return Features(**top, conv=batch, local=maps[1])


class _Block(nn.Module):
    """Add to a map, or to its projection, what three convolutions find."""

    def __init__(self, n_in: int, width: int, stride: int) -> None:
        super().__init__()
        n_out = EXPANSION * width
        self.found = nn.Sequential(
            _conv(n_in, width, 1, 1),
            nn.ReLU(),
            _conv(width, width, 3, stride),
            nn.ReLU(),
            _conv(width, n_out, 1, 1),
        )
        self.stride = stride
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.shortcut = _conv(n_in, n_out, 1, 1)

    def forward(self, batch: Tensor) -> Tensor:
        """Map a batch (n, c, h, w)."""
        # Not by the stride of the projection, whose gradient torch gets wrong.
        kept = batch[:, :, :: self.stride, :: self.stride].contiguous()
        return (self.shortcut(kept) + self.found(batch)).relu()


def _conv(n_in: int, n_out: int, size: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(n_in, n_out, size, stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm2d(n_out))
