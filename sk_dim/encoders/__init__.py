"""Encoders: from a batch of samples to local and global features.

The forward of an encoder takes a scaled float32 batch ``(n, *input_shape)`` and returns
:class:`Features`. Shapes are derived, never typed in: images of any height, width and
number of channels, series of any length, tables of any number of columns.

The base class :class:`Encoder` says what else an encoder may have, such as the kinds of
samples it takes and a first layer that is learnt before training. A plain
``torch.nn.Module`` has its defaults.
"""

from collections.abc import Callable

from torch import nn

from sk_dim.encoders._alexnet import AlexNetEncoder
from sk_dim.encoders._backbone import BackboneEncoder
from sk_dim.encoders._bottlenecks import BottleneckEncoder
from sk_dim.encoders._contract import Encoder, Features
from sk_dim.encoders._conv import ConvEncoder
from sk_dim.encoders._folded import FoldedEncoder
from sk_dim.encoders._mlp import MLPEncoder
from sk_dim.encoders._patch import PatchEncoder
from sk_dim.encoders._patch_filters import PatchFilters
from sk_dim.encoders._resnet import ResNetEncoder
from sk_dim.encoders._series import SeriesEncoder
from sk_dim.encoders._series_kernels import CompetingKernels, Proportions
from sk_dim.encoders._series_sizes import SeriesSizes

__all__ = [
    "ENCODERS",
    "AlexNetEncoder",
    "BackboneEncoder",
    "BottleneckEncoder",
    "CompetingKernels",
    "ConvEncoder",
    "Encoder",
    "Features",
    "FoldedEncoder",
    "MLPEncoder",
    "PatchEncoder",
    "PatchFilters",
    "Proportions",
    "ResNetEncoder",
    "SeriesEncoder",
    "SeriesSizes",
]

ENCODERS: dict[str, Callable[[tuple[int, ...], int], nn.Module]] = {
    "alexnet": AlexNetEncoder,
    "bottleneck": BottleneckEncoder,
    "conv": ConvEncoder,
    "folded": FoldedEncoder,
    "mlp": MLPEncoder,
    "patch": PatchEncoder,
    "resnet": ResNetEncoder,
    "series": SeriesEncoder,
}
