"""Batches of rows by whole slices, never row by row.

This module imports nothing of its own package.
"""

import itertools
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from sklearn.model_selection import GroupShuffleSplit
from torch import Tensor

Part = TypeVar("Part", Tensor, slice, Tensor | slice)  # numbers of rows


class Source(Protocol):
    """Where scaled samples come from, and the device that indices are to be on.

    `groups` are the codes (n,) of groups of samples, on that device, or None.
    """

    device: torch.device

    @property
    def groups(self) -> Tensor | None: ...

    def __len__(self) -> int: ...

    def take(self, rows: Tensor | slice) -> Tensor:
        """Return the scaled samples of these rows as a new tensor."""


def n_batches(n_rows: int, batch_size: int) -> int:
    """How many equal batches near to `batch_size`, none of a single row."""
    return max(1, min(round(n_rows / batch_size), n_rows // 2))


MAX_BATCH_VALUES = 2**22  # of samples in one batch that is encoded


def rows_that_fit(n_features: int, most: int) -> int:
    """How many samples of so many values are encoded at once, fewer where large."""
    return max(1, min(most, MAX_BATCH_VALUES // n_features))


class RowSubset:
    """Some of the rows of a source."""

    def __init__(self, source: Source, indices: Tensor) -> None:
        self.source = source
        self.device = source.device
        self.indices = indices.to(self.device)
        groups = source.groups
        self.groups = None if groups is None else groups[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def take(self, rows: Tensor | slice) -> Tensor:
        """Return the samples of these rows as a new tensor."""
        return self.source.take(self.indices[rows])

    def read_ahead(self, rows: Tensor | slice) -> None:
        """Begin to read rows that will be taken next."""
        begin_to_read(self.source, self.indices[rows])


def begin_to_read(source: Any, rows: Tensor | slice) -> None:
    """Tell a source which rows will be taken next, if it can read them meanwhile."""
    read_ahead = getattr(source, "read_ahead", None)
    if read_ahead is not None:
        read_ahead(rows)


def take_each(source: Any, parts: Iterable[Part]) -> Iterator[tuple[Part, Tensor]]:
    """Yield parts and their samples, while those of the next part are read.

    A part is asked for before the one before it is worked on, so asking must change
    nothing.
    """
    for part, following in pairwise(itertools.chain(parts, [None])):
        assert part is not None
        samples = source.take(part)
        if following is not None:
            begin_to_read(source, following)
        yield part, samples


def subset(source: Source, rows: Tensor) -> Source:
    """Return some of the rows of a source, as it or we do it."""
    own = getattr(source, "subset", None)
    return RowSubset(source, rows) if own is None else own(rows)


def count_held_out(
    n_rows: int, fraction: float, groups: np.ndarray | None = None
) -> int:
    """How many of so many rows are held out, if any then enough, and enough left.

    With codes of groups it is how many groups, of which each part needs two: one has no
    negatives.
    """
    if fraction > 0 and groups is not None:
        n_groups = int(groups.max()) + 1
        if n_groups < 4:
            raise ValueError(
                f"validation_fraction={fraction} holds out whole groups and needs at "
                f"least 2 in each part, but there are {n_groups} groups; give more "
                "groups, or set validation_fraction=0."
            )
        return min(max(2, round(n_groups * fraction)), n_groups - 2)
    n_held_out = round(n_rows * fraction)
    if fraction > 0 and min(n_held_out, n_rows - n_held_out) < 2:
        raise ValueError(
            f"validation_fraction={fraction} splits {n_rows} rows into "
            f"{n_rows - n_held_out} and {n_held_out}; each part needs at least 2, so "
            "give more rows, or change validation_fraction."
        )
    return n_held_out


class HoldOut:
    """Split a source in two at random; skorch's ``train_split``.

    Parameters
    ----------
    fraction : float
        Share of the rows to hold out, or of the groups, which stay whole.
    seed : int
        Of the draw: the same rows are held out whenever as many are split, so that a
        training that goes on is judged by rows that it has not trained on before.
    """

    def __init__(self, fraction: float, seed: int) -> None:
        self.fraction = fraction
        self.seed = seed

    def __call__(self, source: Source) -> tuple[Source, Source]:
        groups = None if source.groups is None else source.groups.cpu().numpy()
        train, held_out = self.split(len(source), groups)
        return subset(source, train), subset(source, held_out)

    def split(self, n: int, groups: np.ndarray | None) -> tuple[Tensor, Tensor]:
        """Return which of n rows to train on, and which to hold out."""
        n_held_out = count_held_out(n, self.fraction, groups)
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(n, generator=generator)
        # Not in the order of the source: whoever reads the held-out rows as they come
        # would have neighbours in one batch, which sorted data make alike.
        if groups is None:
            return order[n_held_out:], order[:n_held_out]
        splitter = GroupShuffleSplit(1, test_size=n_held_out, random_state=self.seed)
        _, rows = next(splitter.split(order, groups=groups))
        is_held_out = torch.isin(order, torch.from_numpy(rows))
        return order[~is_held_out], order[is_held_out]


class SliceLoader:
    """Iterate over rows in equal batches, all of them once.

    Equal batches of near to `batch_size` leave no small last one, which would have few
    negatives and noisy batch statistics.

    Parameters
    ----------
    source : Source
        Where the rows come from.
    batch_size : int
        Rows a batch, give or take a half of it.
    generator : torch.Generator, default=None
        Shuffles anew at each start; None keeps the order, or of what can only be
        shuffled within a buffer, takes always the same.
    """

    def __init__(
        self, source: Source, batch_size: int, generator: torch.Generator | None = None
    ) -> None:
        self.source = source
        self.batch_size = batch_size
        self.generator = generator

    def __len__(self) -> int:
        return n_batches(len(self.source), self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        for batch, _ in self.with_groups():
            yield batch

    def with_groups(self, first: int = 0) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield batches from a number on, each with the codes of its groups, if any."""
        stream = getattr(self.source, "batches", None)
        if stream is not None:
            # Where the order is to be kept, it is the same at each start.
            generator = self.generator or torch.Generator().manual_seed(0)
            batches = stream(np.diff(self._edges()).tolist(), generator)
            yield from itertools.islice(batches, first, None)
            return
        groups = self.source.groups
        parts = itertools.islice(self._parts(), first, None)
        for part, batch in take_each(self.source, parts):
            yield batch, None if groups is None else groups[part]

    def _edges(self) -> np.ndarray:
        return np.linspace(0, len(self.source), len(self) + 1).astype(int)

    def _parts(self) -> Iterable[Tensor | slice]:
        edges = self._edges()
        if self.generator is None:
            return [slice(*pair) for pair in pairwise(edges)]
        # In random order within each batch too, which critics count on that pair a
        # sample with those next to it.
        n = len(self.source)
        order = torch.randperm(n, generator=self.generator).to(self.source.device)
        return order.tensor_split(torch.from_numpy(edges[1:-1]))


def endless_batches(
    rows: Tensor, n_rows: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Yield batches of `n_rows`, all rows in random order before any comes again.

    No batch holds a row twice unless it is larger than all rows.
    """
    ahead = rows[:0]
    while True:
        while len(ahead) < n_rows:
            order = rows[torch.randperm(len(rows), generator=generator)]
            # Those that begin this batch come last, and so are not in it again.
            is_ahead = torch.isin(order, ahead)
            ahead = torch.cat([ahead, order[~is_ahead], order[is_ahead]])
        yield ahead[:n_rows]
        ahead = ahead[n_rows:]
