"""ConvEncoder: strided convolutions, as in the paper."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from sk_dim.encoders._contract import Encoder, Features, check_shape
from sk_dim.encoders._layers import plan_convs
from sk_dim.encoders._tops import build_top, read_top

MAX_FLAT = 6400  # values of the last map that the hidden layer takes as they are


class ConvEncoder(Encoder):
    """Convolutional encoder for images and series of any size.

    Strided convolutions halve each side until it is 4 to 7 long: two for small inputs,
    more for large ones. For 28x28, 32x32 and 64x64 pixels these are the stages of the
    paper's nets. The local features are the first map with at most 64 locations. The
    global features are a linear map of a fully connected layer on the last map.

    Parameters
    ----------
    input_shape : tuple of int
        ``(channels, height, width)`` of an image or ``(channels, length)`` of a series.
    n_components : int
        Size of the global features.
    n_hidden : int or None, default=None
        Units of the hidden layer. None takes half as many as the last map has values,
        at least 512 and at most the paper's 1024.
    n_channels : int, default=64
        Channels after the first halving, doubled by each further one up to 256.
    global_map : bool, default=False
        Whether the global features are a map, by two more convolutions in place of the
        fully connected layer. Each of its vectors is paired with all local features:
        the paper's multiple globals. `transform` returns their mean.
    compile_mode : str or None, default=None
        Mode of ``torch.compile``, such as "default" or "reduce-overhead", which replays
        CUDA graphs. Compiling takes a minute and gains little on a CPU. None does not
        compile.

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

    kinds = ("image", "series")
    is_static = True

    def __init__(
        self,
        input_shape: tuple[int, ...],
        n_components: int,
        *,
        n_hidden: int | None = None,
        n_channels: int = 64,
        global_map: bool = False,
        compile_mode: str | None = None,
    ) -> None:
        super().__init__()
        check_shape(self, input_shape)
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
        top: tuple[int, ...] = tuple(maps[-1].shape[2:])
        pool: nn.Module = nn.Identity()
        if maps[-1].numel() > MAX_FLAT and not global_map:
            top = tuple(min(side, 4) for side in top)
            size: Any = top  # of as many sides as the class has axes
            pool = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)[len(top) - 1](size)
        if n_hidden is None:
            n_hidden = min(max(n_in * math.prod(top) // 2, 512), 1024)
        hidden, self.global_ = build_top(
            n_in,
            top,
            n_components,
            n_hidden=(n_hidden,),
            is_map=global_map,
        )
        self.hidden = nn.Sequential(pool, *hidden.children())
        self.compile_mode = compile_mode
        if compile_mode is not None:
            self.compile(mode=compile_mode)

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
        top = read_top(self.hidden, self.global_, maps[-1])
        return Features(**top, conv=maps[-1], local=maps[self.local_stage])
