"""Series of unequal length in one tensor: what lies behind the last value is NaN.

An exported program cannot look for it, so it takes series of one length.

This module imports nothing of its own package.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import cast

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad

SIMILAR = 0.8  # of the longest series that another is computed with


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
    return _join([(rows, function(series)) for rows, series in split_lengths(batch)])


def map_similar(
    function: Callable[[Tensor, Tensor | None], Sequence[Tensor]],
    batch: Tensor,
    longest: int,
) -> list[Tensor]:
    """Call a function with the series of similar length, and join what it returns.

    To call it for each length by itself takes twice the time where there are many.

    Parameters
    ----------
    function : callable
        Maps series (m, c, length) with zeros behind the last value of each, and their
        lengths (m,), or None if that is the length of all, to tensors of m rows.
    batch : Tensor of shape (n, c, l)
        Series; NaN behind the last value of each.
    longest : int
        Longer ones are together only if they are of one length.

    Returns
    -------
    list of Tensor
        Of n rows, in the order of the batch.
    """
    if _is_traced(batch):
        return list(function(batch, None))
    lengths = count_values(batch)
    found = []
    for start, end in _similar(lengths.unique().tolist(), longest):
        rows = ((lengths >= start) & (lengths <= end)).nonzero().flatten()
        series = batch[rows, :, :end]
        own = None if start == end else lengths[rows]
        if own is not None:
            series = series.masked_fill(series.isnan(), 0.0)
        found.append((rows, function(series, own)))
    return _join(found)


def _similar(lengths: list[int], longest: int) -> Iterator[tuple[int, int]]:
    """Yield the shortest and longest of each group of similar ones."""
    left = sorted(lengths)
    while left:
        end = start = left.pop()
        while left and left[-1] >= SIMILAR * end and end <= longest:
            start = left.pop()
        yield start, end


def _join(found: Sequence[tuple[Tensor | slice, Sequence[Tensor]]]) -> list[Tensor]:
    """Bring what was found for some rows each to the order of all rows."""
    if len(found) == 1:
        return list(found[0][1])
    back = torch.cat([cast(Tensor, rows) for rows, _ in found]).argsort()
    parts = zip(*(each for _, each in found), strict=True)
    return [torch.cat(part)[back] for part in parts]


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
