"""Views of samples: how they are drawn and encoded, and those encoded once for all."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from sk_dim.encoders._contract import Augment, Features


def draw_views(
    augment: Augment | None, batch: Tensor, generator: torch.Generator
) -> list[Tensor]:
    """Return two augmented versions of a scaled batch, or the batch itself."""
    if batch.ndim == 4:
        batch = batch.contiguous(memory_format=torch.channels_last)
    if augment is None:
        return [batch]
    return [augment(batch, generator) for _ in range(2)]


def encode_views(
    encode: Callable[[Tensor], Features],
    views: list[Tensor],
    scale: float | None = None,
) -> list[Features]:
    """Return the features of scaled views of the same samples.

    Parameters
    ----------
    encode : callable
        Batch to Features; a part of the user may return a plain tuple.
    views : list of one or two Tensor of shape (n, ...)
        Of the same samples.
    scale : float or None, default=None
        Factor by which two views of images are shrunk; None leaves them.
    """
    if len(views) == 1:
        return [Features(*encode(views[0]))]
    # One pass over both views: half the calls, and they share batch statistics.
    batch = torch.cat(views)
    if scale is not None:
        sides = [round(scale * side) for side in batch.shape[2:]]
        batch = interpolate(batch, sides, mode="bilinear", antialias=True)
    features = Features(*encode(batch))
    halves = [
        (None, None) if part is None else part.split(len(views[0])) for part in features
    ]
    return [Features(*part) for part in zip(*halves, strict=True)]


class ViewedRows:
    """A source of views that were encoded once, (n, views, values).

    Parameters
    ----------
    values : Tensor of shape (n, views, values)
        Of n samples.
    groups : Tensor of int, of shape (n,), or None
        Codes of their groups.
    """

    def __init__(self, values: Tensor, groups: Tensor | None) -> None:
        self.values = values
        self.device = values.device
        self.groups = None
        if groups is not None:
            # Codes must have no gaps, as where groups were left out.
            codes = groups.unique(return_inverse=True)[1]
            self.groups = codes.to(self.device)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Tensor | slice) -> Tensor:
        """Return the views of these samples as a new tensor."""
        taken = self.values[rows]
        return taken.clone() if isinstance(rows, slice) else taken
