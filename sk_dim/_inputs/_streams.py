"""Streams: samples that are read in large blocks and shuffled within a buffer.

Rows of chunked arrays and of shards cannot be had one by one without reading many
others, so they are not drawn at random from all of them, but from a buffer.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from sk_dim._inputs._rows import Rows

BUFFER_BYTES = 2**27  # of samples that are shuffled together

Block = tuple[Tensor, Tensor]  # numbers of rows, and these samples


class ShuffledStream:
    """Scaled samples that come in blocks, shuffled within a buffer.

    Parameters
    ----------
    rows : Rows
        Of a chunked array, whose chunks come in random order, or of shards.
    scale : callable
        Batch of samples to scaled batch on the device.
    groups : ndarray of int, of shape (n,), or None, default=None
        Codes of the groups that the rows belong to.
    kept : Tensor of bool, of shape (n,), or None, default=None
        Which rows are among them; None takes all.
    """

    device = torch.device("cpu")  # of the indices

    def __init__(
        self,
        rows: Rows,
        scale: Callable[[Tensor], Tensor],
        groups: np.ndarray | None = None,
        kept: Tensor | None = None,
    ) -> None:
        self.rows = rows
        self.scale = scale
        self.kept = kept
        self.all_groups = None if groups is None else torch.from_numpy(groups)

    def __len__(self) -> int:
        return len(self.rows) if self.kept is None else int(self.kept.sum())

    @property
    def groups(self) -> Tensor | None:
        """Codes of the groups of these rows, in their order."""
        if self.all_groups is None or self.kept is None:
            return self.all_groups
        return self.all_groups[self.kept]

    def take(self, rows: Tensor | slice) -> Tensor:
        """Return the scaled samples of `rows`, however long it takes to read them."""
        if self.kept is not None:
            rows = self.kept.nonzero().flatten()[rows]
        return self.scale(self.rows.take(rows))

    def subset(self, rows: Tensor) -> "ShuffledStream":
        """Return a stream of only these rows."""
        numbers = torch.arange(len(self.rows))
        if self.kept is not None:
            numbers = numbers[self.kept]
        kept = torch.zeros(len(self.rows), dtype=torch.bool)
        kept[numbers[rows]] = True
        groups = None if self.all_groups is None else self.all_groups.numpy()
        return ShuffledStream(self.rows, self.scale, groups, kept)

    def batches(
        self, sizes: Iterable[int], generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield scaled batches of these sizes, with the codes of their groups, if any.

        Raises
        ------
        ValueError
            If shards give other rows than before.
        """
        blocks = self._kept(self.rows.shuffled_blocks(generator))
        sample_bytes = self.rows.n_values * max(1, min(8, self.rows.dtype.itemsize))
        n_buffer = max(2, BUFFER_BYTES // sample_bytes)
        for numbers, samples in cut(shuffle(blocks, n_buffer, generator), sizes):
            groups = None if self.all_groups is None else self.all_groups[numbers]
            yield self.scale(samples), groups

    def _kept(self, blocks: Iterable[Block]) -> Iterator[Block]:
        for numbers, samples in blocks:
            if self.kept is None:
                yield numbers, samples
                continue
            is_kept = self.kept[numbers]
            yield numbers[is_kept], samples[is_kept]


def shuffle(
    blocks: Iterable[Block], n_buffer: int, generator: torch.Generator
) -> Iterator[Block]:
    """Shuffle within a buffer of so many rows, of which a half leaves when it is full.

    A row can come as early as there is room for in the buffer, and as late as chance
    keeps it there.
    """
    held: list[Block] = []
    n_held = 0
    for block in blocks:
        held.append(block)
        n_held += len(block[0])
        if n_held >= n_buffer:
            numbers, samples = _mix(held, generator)
            half = n_held // 2
            yield numbers[half:], samples[half:]
            held, n_held = [(numbers[:half], samples[:half])], half
    if n_held:
        yield _mix(held, generator)


def _mix(held: list[Block], generator: torch.Generator) -> Block:
    numbers, samples = (torch.cat(parts) for parts in zip(*held, strict=True))
    order = torch.randperm(len(numbers), generator=generator)
    return numbers[order], samples[order]


def cut(blocks: Iterable[Block], sizes: Iterable[int]) -> Iterator[Block]:
    """Cut and join blocks to batches of these sizes, which must be all there is."""
    source = iter(blocks)
    held: list[Block] = []
    n_held = 0
    for size in sizes:
        while n_held < size:
            held.append(next(source))
            n_held += len(held[-1][0])
        numbers, samples = held[0]
        if len(held) > 1:  # else nothing is copied
            numbers, samples = (torch.cat(parts) for parts in zip(*held, strict=True))
        yield numbers[:size], samples[:size]
        held, n_held = [(numbers[size:], samples[size:])], n_held - size
