"""Views of samples: how they are drawn and encoded, and those encoded once for all."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from sk_dim.augmentations import scaled
from sk_dim.encoders._contract import Augment, Features


def draw_views(
    augment: Augment | None,
    batch: Tensor,
    generator: torch.Generator,
    *,
    is_own: bool,
    scale: float | None = None,
) -> list[Tensor]:
    """Return two augmented versions of a scaled batch, or the batch itself.

    Parameters
    ----------
    augment : callable or None
        Makes a view.
    batch : Tensor of shape (n, ...)
        Samples, scaled.
    generator : torch.Generator
        Of what the views draw.
    is_own : bool
        Whether it may be the user's own, which may draw once for a whole batch.
    scale : float or None, default=None
        Factor by which two views of images are shrunk; None leaves them.
    """
    if augment is None:
        return [batch]
    small = None if scale is None else scaled(augment, scale)
    make = augment if small is None else small
    if is_own:
        both = torch.cat([make(batch, generator), make(batch, generator)])
    else:  # in half the calls
        both = make(torch.cat([batch, batch]), generator)
    if scale is not None and small is None:
        sides = [round(scale * side) for side in batch.shape[2:]]
        both = interpolate(both, sides, mode="bilinear", antialias=True)
    return list(both.split(len(batch)))


def encode_views(
    encode: Callable[[Tensor], Features], views: list[Tensor]
) -> list[Features]:
    """Return the features of scaled views of the same samples.

    Parameters
    ----------
    encode : callable
        Batch to Features; a part of the user may return a plain tuple.
    views : list of one or two Tensor of shape (n, ...)
        Of the same samples.
    """
    # One pass over both views: half the calls, and they share batch statistics.
    features = Features(*encode(views[0] if len(views) == 1 else torch.cat(views)))
    parts = [
        [None] * len(views) if part is None else part.split(len(views[0]))
        for part in features
    ]
    return [Features(*part) for part in zip(*parts, strict=True)]


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
