"""Series of unequal length in one tensor: what lies behind the last value is NaN.

An exported program cannot look for it, so it takes series of one length.

This module imports nothing of its own package.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad


def count_values(batch: Tensor) -> Tensor:
    """Return how long each series of a batch (n, c, l) is, (n,)."""
    if _is_traced(batch):
        return torch.full_like(batch[:, 0, 0], batch.shape[2], dtype=torch.long)
    return (~batch[:, 0].isnan()).sum(dim=1)


def split_lengths(batch: Tensor) -> Iterator[tuple[Tensor | slice, Tensor]]:
    """Yield the rows of each length in a batch (n, c, l), and these series, cut."""
    lengths = count_values(batch)
    different = lengths.unique().tolist()
    for length in different:
        rows = (lengths == length).nonzero().flatten()
        if len(different) == 1:
            yield slice(None), batch[..., :length]
        else:
            yield rows, batch[rows, :, :length]


def map_lengths(
    function: Callable[[Tensor], Sequence[Tensor]], batch: Tensor
) -> list[Tensor]:
    """Call a function with the series of each length, and join what it returns.

    Parameters
    ----------
    function : callable
        Maps series (m, c, length) of one length to tensors of m rows.
    batch : Tensor of shape (n, c, l)
        Series; NaN behind the last value of each.

    Returns
    -------
    list of Tensor
        Of n rows, in the order of the batch.
    """
    if _is_traced(batch):
        return list(function(batch))
    rows, found = zip(
        *((rows, function(series)) for rows, series in split_lengths(batch)),
        strict=True,
    )
    if len(rows) == 1:
        return list(found[0])
    back = torch.cat(rows).argsort()
    return [torch.cat(parts)[back] for parts in zip(*found, strict=True)]


def view_lengths(
    augment: Callable[[Tensor, Generator], Tensor], batch: Tensor, generator: Generator
) -> Tensor:
    """Make a view of series of unequal length; each keeps its length.

    Parameters
    ----------
    augment : callable
        Makes a view of series of one length.
    batch : Tensor of shape (n, c, l)
        Series; NaN behind the last value of each.
    generator : Generator
        Of what the view draws.

    Returns
    -------
    Tensor of the shape of `batch`
    """

    def make(series: Tensor) -> tuple[Tensor]:
        view = augment(series, generator)
        return (pad(view, (0, batch.shape[2] - view.shape[2]), value=torch.nan),)

    return map_lengths(make, batch)[0]


def _is_traced(batch: Tensor) -> bool:
    """Whether torch exports what is done to this batch, not another thread's."""
    return torch.compiler.is_exporting() and type(batch) is not Tensor
