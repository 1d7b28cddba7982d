"""Ranks: the processes that train one net together, and what they tell one another.

Each rank encodes its share of every batch. What critics of sk_dim embed is gathered,
and each rank scores its own rows against those of all. For any other critic, bound or
prior the features themselves are gathered, and every rank computes the same objective
of the whole batch. Either way it is that of one process.

This module imports nothing of its own folder.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any, Self

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from sk_dim._devices import reseed
from sk_dim._inputs._batches import SliceLoader, Source, n_batches

# A callback on rank 0, which the others wait for, may take long.
PATIENCE = timedelta(days=1)


class Alone:
    """The only process of a training: does at no cost what :class:`Ranks` does."""

    rank = 0
    size = 1

    def clock(self) -> float:
        """Read the clock, in seconds."""
        return time.monotonic()

    def agree(self, wish: int) -> int:
        """Return the largest wish of the ranks; alone, who wishes to stop has done."""
        return 0

    def loader(self, *args: Any) -> SliceLoader:
        """Load the rank's share of every batch."""
        return SliceLoader(*args)

    def count(self, batch: Tensor) -> int:
        """Count the rows of this batch on all ranks."""
        return len(batch)

    def of_first(self, do: Callable[[], Any]) -> Any:
        """Return what rank 0 finds, or raise what it raises."""
        return do()

    def own_generator(self, shared: torch.Generator, *seeds: int) -> torch.Generator:
        """Return a generator whose numbers differ from rank to rank."""
        return shared

    def reseed(self, device: torch.device, *seeds: int) -> None:
        """Seed torch's global generators; alone, they go on from step to step."""

    def gather(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Join the rows (m, ...) of all ranks, with gradients."""
        return list(tensors)

    def average(self, parameters: Iterable[Tensor]) -> None:
        """Average the gradients over the ranks."""


class Ranks:
    """The processes that train together, seen from one of them.

    Attributes
    ----------
    rank, size : int
        Number of this process from 0 on, and how many there are.
    n_rows : int
        Rows of the present batch on all ranks.
    """

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.world = dist.group.WORLD
        # What is decided on the CPU is told there, so that no GPU is waited for.
        self.control = dist.new_group(backend="gloo", timeout=PATIENCE)
        self.group = self.control
        self.n_rows = 0
        self.now = 0.0
        # Of the tensors that this rank has sent in all.
        self.n_bytes = {"features": 0, "statistics": 0, "gradients": 0}

    def __deepcopy__(self, memo: dict) -> Self:
        return self  # a copy of a net belongs to the same processes

    def use(self, device: torch.device) -> None:
        """Let tensors travel between devices of this kind."""
        self.group = self.control if device.type == "cpu" else self.world

    def is_same(self, facts: Sequence[float]) -> bool:
        """Say whether these numbers are the same on all ranks."""
        least = torch.tensor([*facts, *(-each for each in facts)], dtype=torch.float64)
        dist.all_reduce(least, dist.ReduceOp.MIN, group=self.control)
        smallest, largest = least.chunk(2)
        return bool((smallest == -largest).all())

    def clock(self) -> float:
        """Return the time on rank 0 when the ranks last agreed, in seconds."""
        return self.now

    def agree(self, wish: int) -> int:
        """Return the largest wish of all ranks, and take over the time of rank 0."""
        now = time.monotonic() if self.rank == 0 else -torch.inf
        said = torch.tensor([now, wish], dtype=torch.float64)
        dist.all_reduce(said, dist.ReduceOp.MAX, group=self.control)
        self.now = float(said[0])
        return int(said[1])

    def loader(
        self, source: Source, batch_size: int, generator: torch.Generator | None
    ) -> SliceLoader:
        """Load the rank's share of every batch."""
        return _SharedLoader(self, source, batch_size, generator)

    def count(self, batch: Tensor) -> int:
        """Count the rows of this batch on all ranks."""
        return self.n_rows

    def of_first(self, do: Callable[[], Any]) -> Any:
        """Return what rank 0 finds, or raise what it raises."""
        found: list[Any] = [None, None]
        if self.rank == 0:
            try:
                found[0] = do()
            except Exception as error:
                found[1] = error
        dist.broadcast_object_list(found, 0, group=self.control)
        if found[1] is not None:
            raise found[1]
        return found[0]

    def own_generator(self, shared: torch.Generator, *seeds: int) -> torch.Generator:
        """Return a generator whose numbers differ from rank to rank.

        They depend on the seeds and the rank alone, so no state need be kept.
        """
        own = torch.Generator(shared.device)
        return own.manual_seed(_mixed(self.rank, *seeds))

    def reseed(self, device: torch.device, *seeds: int) -> None:
        """Seed torch's global generators; alone, they go on from step to step."""
        reseed(_mixed(*seeds), device)

    def gather(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Join the rows (m, ...) of all ranks, with gradients, in one message."""
        flat = torch.cat([each.reshape(len(each), -1) for each in tensors], dim=1)
        widths = [each[0].numel() for each in tensors]
        joined = _Gather.apply(flat, self).split(widths, dim=1)
        pairs = zip(joined, tensors, strict=True)
        return [rows.reshape(-1, *each.shape[1:]) for rows, each in pairs]

    def average(self, parameters: Iterable[Tensor]) -> None:
        """Average the gradients over the ranks, in one message."""
        gradients = [each.grad for each in parameters if each.grad is not None]
        flat = torch.cat([each.flatten() for each in gradients])
        flat = self.add_up(flat, "gradients") / self.size
        parts = flat.split([each.numel() for each in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def edges(self, n_rows: int) -> list[int]:
        """Where the shares of the ranks in a batch of so many rows begin and end."""
        return [n_rows * k // self.size for k in range(self.size + 1)]

    def share(self, n_rows: int) -> slice:
        """Return the rows of this rank in a batch of so many."""
        return slice(*self.edges(n_rows)[self.rank : self.rank + 2])

    def own_rows(self) -> slice:
        """Return the rows of this rank in the present batch."""
        return self.share(self.n_rows)

    def collect(self, own: Tensor) -> Tensor:
        """Join the rows (m, k) of the shares of all ranks."""
        # Shares differ by a row at most, which collectives of equal sizes must fill.
        sent = own.new_zeros(-(-self.n_rows // self.size), *own.shape[1:])
        sent[: len(own)] = own
        parts = self.collect_equal(sent, "features")
        sizes = [last - first for first, last in pairwise(self.edges(self.n_rows))]
        return torch.cat([p[:size] for p, size in zip(parts, sizes, strict=True)])

    def collect_equal(self, own: Tensor, what: str) -> list[Tensor]:
        """Return what each rank has of a tensor of the same shape."""
        self.n_bytes[what] += own.nbytes
        parts = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(parts, own, group=self.group)
        return parts

    def add_up(self, own: Tensor, what: str) -> Tensor:
        """Return the sum over the ranks of a tensor, which is overwritten."""
        self.n_bytes[what] += own.nbytes
        dist.all_reduce(own, group=self.group)
        return own

    def copy_first(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors by those of rank 0."""
        for tensor in tensors:
            sent = tensor.detach().contiguous()
            is_here = sent.device.type == "cpu"
            dist.broadcast(sent, 0, group=self.control if is_here else self.group)
            tensor.detach().copy_(sent)

    def gather_work(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Join rows as `gather` does, for work on them that differs from rank to rank.

        Its gradients are added up over the ranks, by another message.
        """
        return [_GatherWork.apply(each, self) for each in tensors]

    def add_work(self, value: Tensor) -> Tensor:
        """Return the sum over the ranks of what each has worked out."""
        return _AddWork.apply(value, self)


def _mixed(*seeds: int) -> int:
    """Make one seed of several, of 32 bits, because on a CPU torch takes no more."""
    return int(np.random.SeedSequence(seeds).generate_state(1)[0])


class _SharedLoader(SliceLoader):
    """Loads a rank's share of every batch; the ranks together load all rows once."""

    def __init__(self, ranks: Ranks, *args: Any) -> None:
        super().__init__(*args)
        self.ranks = ranks

    def with_groups(self, first: int = 0) -> Iterator[tuple[Tensor, Tensor | None]]:
        # Not told by `_parts`, which is asked for the next part before this one's batch
        # is trained on.
        sizes = np.diff(self._edges())[first:].tolist()
        for n_rows, batch in zip(sizes, super().with_groups(first), strict=True):
            self.ranks.n_rows = n_rows
            yield batch

    def _parts(self) -> Iterable[Tensor | slice]:
        for part in super()._parts():
            if isinstance(part, slice):
                own = self.ranks.share(part.stop - part.start)
                yield slice(part.start + own.start, part.start + own.stop)
            else:
                yield part[self.ranks.share(len(part))]


class _GatherWork(torch.autograd.Function):
    """Join the rows of all ranks; the gradients come from the work of all."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, ranks: Ranks) -> Tensor:
        ctx.rows, ctx.ranks = ranks.own_rows(), ranks
        return ranks.collect(own)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        summed = ctx.ranks.add_up(gradients[0].contiguous().clone(), "features")
        return summed[ctx.rows], None


class _AddWork(torch.autograd.Function):
    """Add up what the ranks have worked out; of it each has its own gradient only."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, ranks: Ranks) -> Tensor:
        ctx.size = ranks.size
        return ranks.add_up(own.detach().clone(), "statistics")

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        # As for `_Gather`: the mean of the gradients of the weights takes it away.
        return gradients[0] * ctx.size, None


class _Gather(torch.autograd.Function):
    """Join the rows of all ranks.

    Every rank computes the same loss of the joined rows, and so has the gradient of all
    of them: the sum over the ranks is as many times its own share, and needs no
    message. The mean of the gradients of the weights takes the factor away.
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor, ranks: Ranks) -> Tensor:
        ctx.rows, ctx.size = ranks.own_rows(), ranks.size
        return ranks.collect(own)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0][ctx.rows] * ctx.size, None


def check_shares(n_rows: int, batch_size: int, n_ranks: int) -> None:
    """Raise a ValueError if batches of so many rows cannot be divided."""
    n_smallest = n_rows // n_batches(n_rows, batch_size)
    if n_smallest < n_ranks:
        raise ValueError(
            f"n_devices={n_ranks}, but {n_rows} rows make batches of {n_smallest}, "
            "which cannot be divided among so many devices; raise batch_size, give "
            "more rows, or use fewer devices."
        )
