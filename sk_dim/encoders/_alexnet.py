"""AlexNetEncoder: the paper's larger net of five convolutions."""

from torch import Tensor, nn

from sk_dim.encoders._contract import Encoder, Features, check_shape
from sk_dim.encoders._tops import build_top, read_top

# Channels of the five convolutions as multiples of those of the first, and which of
# them are followed by a maximum over 3x3 windows, of which each second one is kept.
WIDTHS = (1, 2, 4, 4, 2)
POOLED = (0, 1, 4)


class AlexNetEncoder(Encoder):
    """Five 3x3 convolutions and two large fully connected layers, as in the paper.

    The net of the paper's experiments on images of 64x64 pixels: STL-10 and Tiny
    ImageNet. The local features are the map of the third convolution, 15x15 there, the
    layer "hidden" is the second fully connected one.

    Parameters
    ----------
    input_shape : tuple of int
        ``(channels, height, width)``, each side at least 15.
    n_components : int
        Size of the global features.
    n_channels : int, default=96
        Channels of the first convolution; the others have 2, 4, 4 and 2 times as many.
    n_hidden : int, default=4096
        Units of each fully connected layer.

    Notes
    -----
    For 64x64 pixels the fully connected layers hold 55 of the 58 million parameters.
    Both settings make it smaller, for a CPU.

    References
    ----------
    A. Krizhevsky, I. Sutskever, G. Hinton (2012). ImageNet Classification with Deep
    Convolutional Neural Networks.

    R. D. Hjelm et al. (2018). Learning deep representations by mutual information
    estimation and maximization. arXiv:1808.06670.

    Examples
    --------
    >>> import torch
    >>> encoder = AlexNetEncoder((3, 64, 64), 64, n_channels=16, n_hidden=128)
    >>> encoder(torch.zeros(2, 3, 64, 64)).local.shape
    torch.Size([2, 64, 15, 15])
    """

    kinds = ("image",)
    min_side = 15
    is_static = True

    def __init__(
        self,
        input_shape: tuple[int, ...],
        n_components: int,
        *,
        n_channels: int = 96,
        n_hidden: int = 4096,
    ) -> None:
        super().__init__()
        check_shape(self, input_shape)
        n_in = input_shape[0]
        self.stages = nn.ModuleList()
        for number, factor in enumerate(WIDTHS):
            width = factor * n_channels
            conv = nn.Conv2d(n_in, width, 3, padding=1, bias=False)
            layers = [conv, nn.BatchNorm2d(width), nn.ReLU()]
            if number in POOLED:
                layers.append(nn.MaxPool2d(3, 2))
            self.stages.append(nn.Sequential(*layers))
            n_in = width
        sides = input_shape[1:]
        for _ in POOLED:
            sides = tuple((side - 3) // 2 + 1 for side in sides)
        self.hidden, self.global_ = build_top(
            n_in, sides, n_components, n_hidden=(n_hidden, n_hidden), is_map=False
        )

    def forward(self, batch: Tensor) -> Features:
        """Encode a scaled batch."""
        maps = []
        for stage in self.stages:
            batch = stage(batch)
            maps.append(batch)
        top = read_top(self.hidden, self.global_, batch)
        return Features(**top, conv=batch, local=maps[2])
