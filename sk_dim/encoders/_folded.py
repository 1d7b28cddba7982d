"""FoldedEncoder: overlapping crops, each encoded without a look at the others."""

import numbers
from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from sk_dim.encoders._contract import Encoder, Features, check_shape
from sk_dim.encoders._conv import ConvEncoder
from sk_dim.encoders._tops import build_top, read_top


class FoldedEncoder(Encoder):
    """Cut samples into overlapping crops, encode each, and fold them to a map.

    No local feature sees more than its own crop, as in Contrastive Predictive Coding,
    with which the paper compares on such crops. The map of their codes is the layer of
    local features; one convolution and a fully connected layer on it make the global
    ones.

    Parameters
    ----------
    input_shape : tuple of int
        ``(channels, height, width)`` of an image or ``(channels, length)`` of a series.
    n_components : int
        Size of the global features.
    crop : int or None, default=None
        Sides of a crop, in pixels or time steps. None takes a quarter of each side, at
        least 4: 16 of 64 pixels and 8 of 32, as in the paper.
    stride : int or None, default=None
        From one crop to the next. None takes half a crop: crops of a quarter lie on a
        grid of 7x7 then.
    encoder : callable, default=None
        ``encoder(crop_shape, n_local) -> nn.Module``, of whose Features the global ones
        are the local features here. None takes :class:`ConvEncoder` with 512 hidden
        units.
    n_local : int, default=256
        Channels of the local features.
    n_hidden : int, default=1024
        Units of the fully connected layer.
    global_map : bool, default=False
        Whether the global features are a map, of which each vector is paired with all
        local features: the paper's multiple globals. `transform` returns their mean.

    Raises
    ------
    ValueError
        If a crop is larger than the sample, or a stride than the crop.

    References
    ----------
    R. D. Hjelm et al. (2018). Learning deep representations by mutual information
    estimation and maximization. arXiv:1808.06670.

    A. van den Oord, Y. Li, O. Vinyals (2018). Representation Learning with Contrastive
    Predictive Coding. arXiv:1807.03748.

    Examples
    --------
    >>> import torch
    >>> encoder = FoldedEncoder((3, 32, 32), n_components=64, global_map=True)
    >>> features = encoder(torch.zeros(2, 3, 32, 32))
    >>> features.local.shape, features.global_.shape, features.summary.shape
    (torch.Size([2, 256, 7, 7]), torch.Size([2, 64]), torch.Size([2, 64, 25]))
    """

    kinds = ("image", "series")
    min_side = 4
    is_static = True

    def __init__(
        self,
        input_shape: tuple[int, ...],
        n_components: int,
        *,
        crop: int | None = None,
        stride: int | None = None,
        encoder: Callable[[tuple[int, ...], int], nn.Module] | None = None,
        n_local: int = 256,
        n_hidden: int = 1024,
        global_map: bool = False,
    ) -> None:
        super().__init__()
        check_shape(self, input_shape)
        n_in, *sides = input_shape
        self.crops = [crop or max(side // 4, min(side, 4)) for side in sides]
        if crop is not None and not _is_between(crop, 1, min(sides)):
            raise ValueError(
                f"crop={crop!r} does not fit in samples of shape {tuple(input_shape)}; "
                f"it must be an integer from 1 to {min(sides)}."
            )
        if stride is not None and not _is_between(stride, 1, min(self.crops)):
            raise ValueError(
                f"stride={stride!r} leaves out a part between crops of "
                f"{' x '.join(map(str, self.crops))}; it must be an integer from 1 to "
                f"{min(self.crops)}."
            )
        self.strides = [stride or max(each // 2, 1) for each in self.crops]
        build = encoder or partial(ConvEncoder, n_hidden=512)
        self.of_crop = build((n_in, *self.crops), n_local)
        self.norm = nn.BatchNorm1d(n_local)
        self.grid = tuple(
            (side - size) // step + 1
            for side, size, step in zip(sides, self.crops, self.strides, strict=True)
        )
        self.hidden, self.global_ = build_top(
            n_local, self.grid, n_components, n_hidden=(n_hidden,), is_map=global_map
        )

    def forward(self, batch: Tensor) -> Features:
        """Encode a scaled batch."""
        for axis, (size, step) in enumerate(
            zip(self.crops, self.strides, strict=True), start=2
        ):
            batch = batch.unfold(axis, size, step)  # (n, c, ..., size)
        n_axes = len(self.crops)
        # (n, c, grid, crop) to (n, grid, c, crop), and as many crops as there are.
        crops = batch.movedim(1, 1 + n_axes).flatten(0, n_axes)
        codes = Features(*self.of_crop(crops)).global_
        # Not by the number of samples, which an exported program does not know.
        codes = self.norm(codes).relu().unflatten(0, (-1, *self.grid))
        local = codes.movedim(-1, 1)
        return Features(
            **read_top(self.hidden, self.global_, local), conv=local, local=local
        )


def _is_between(value: object, low: int, high: int) -> bool:
    return isinstance(value, numbers.Integral) and low <= int(value) <= high
