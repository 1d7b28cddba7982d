"""What every encoder returns. This module imports nothing of its own package."""

from typing import NamedTuple

from torch import Tensor

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
        What critics and prior are given in place of the global features: a coarser
        pooling of the same map, or a linear map of them. None gives them themselves.

    Examples
    --------
    >>> import torch
    >>> from sk_dim.encoders import ConvEncoder
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
