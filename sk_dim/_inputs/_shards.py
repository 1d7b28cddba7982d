"""Shards: arrays of samples that a function yields, each time that it is called."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import _num_samples
from torch import Tensor
from torch.utils.data import Dataset

from sk_dim._inputs._broken import leave_out_broken
from sk_dim._inputs._formats import InputFormat
from sk_dim._inputs._groups import read_groups
from sk_dim._inputs._rows import BLOCK_VALUES, Rows, check_rows, read_array, read_rows
from sk_dim._validation import check_call
from sk_dim.arrays import Shards

N_FIRST = 8  # samples that are kept to try parts with


def is_shards(X: Any) -> bool:
    """Say whether X is a function that yields arrays, and no array."""
    return callable(X) and not hasattr(X, "shape") and not isinstance(X, Dataset)


def read_with_groups(
    estimator: BaseEstimator, X: Any, groups: ArrayLike | None
) -> tuple[Any, np.ndarray | None]:
    """Return samples that can be read, and the codes of their groups, if any."""
    if groups is None:
        return leave_out_broken(X)[0], None
    if is_shards(X):  # counted when they are read
        return X, read_groups(groups, _num_samples(groups))
    X = read_array(estimator, X)
    X, codes = leave_out_broken(X, read_groups(groups, _num_samples(X)))
    return X, codes


class ShardedRows(Rows):
    """The samples of all shards, read one shard after the other.

    They are read once when this is made, to count and to check them; some are kept.

    Parameters
    ----------
    estimator : estimator
        With `input_type` and the others that say what a sample is. It gets
        `n_features_in_` in a first fit.
    shards : callable
        Returns an iterable of arrays, with the same rows at each call.
    fmt : InputFormat or None, default=None
        What fit saw; None in a first fit.
    n_min : int, default=2
        Rows that it needs.

    Raises
    ------
    TypeError
        If the function needs arguments, or does not return an iterable of arrays.
    ValueError
        If there are too few rows, or shards cannot be used.
    """

    def __init__(
        self,
        estimator: BaseEstimator,
        shards: Shards,
        fmt: InputFormat | None = None,
        n_min: int = 2,
    ) -> None:
        check_call("X", shards, "no arguments", n_arguments=0)
        self.estimator = estimator
        self.shards = shards
        self.is_lazy, self.chunk_rows = True, None
        self.has_gaps, self.is_padded = False, False
        self.n_rows: int | None = None
        generator = torch.Generator().manual_seed(0)
        # Samples, their numbers and their keys, of each shard.
        kept: list[tuple[Tensor, ...]] = []
        n_rows = 0
        for number, shard in self._call():
            rows = self._open(shard, number, fmt)
            if fmt is None:
                fmt = rows.fmt
            if not kept:
                self.fmt, self.n_values, self.dtype = fmt, rows.n_values, rows.dtype
                self.first = rows.take(slice(0, min(N_FIRST, len(rows))))
            self.dtype = np.promote_types(self.dtype, rows.dtype)
            self.is_padded |= rows.is_padded
            # Those with the smallest of random keys are a fair sample of all.
            keys = torch.rand(len(rows), generator=generator).sort().values
            few = rows.typical()
            kept.append((rows.take(few), n_rows + few, keys[: len(few)]))
            n_rows += len(rows)
            n_most = max(2, min(2000, BLOCK_VALUES // rows.n_values))
            if sum(len(each) for each, *_ in kept) > 2 * n_most:
                kept = [_smallest(kept, n_most)]
        if n_rows < n_min:
            raise ValueError(
                f"Found shards with {n_rows} sample(s) in all, while a minimum of "
                f"{n_min} is required."
            )
        self.n_rows = n_rows
        self.sample, self.numbers, _ = _smallest(kept, n_most)

    def __len__(self) -> int:
        return self.n_rows or 0

    def take(self, rows: Tensor | slice) -> Tensor:
        """Return some of the first rows."""
        return self.first[rows]

    def draw(self, seed: int, n_wanted: int | None = None) -> tuple[Tensor, Tensor]:
        """Return the samples that were kept, up to 2,000 of them, and their numbers."""
        return self.numbers, self.sample

    def look(self) -> Tensor:
        """Return the samples that were kept."""
        return self.sample

    @property
    def is_streamed(self) -> bool:
        """Whether samples are read in large blocks: always."""
        return True

    def blocks(self) -> Iterator[Tensor]:
        """Yield all samples, shard after shard."""
        n_read = 0
        for number, shard in self._call():
            for block in self._open(shard, number, self.fmt).blocks():
                n_read += len(block)
                self._check_count(n_read <= len(self), "more")
                yield block
        self._check_count(n_read == len(self), "fewer")

    def typical_blocks(self) -> Iterator[Tensor]:
        """Yield all samples."""
        return self.blocks()

    def shuffled_blocks(
        self, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all samples with their numbers, in the order of the shards."""
        start = 0
        for block in self.blocks():
            yield torch.arange(start, start + len(block)), block
            start += len(block)

    def _call(self) -> Iterator[tuple[int, Any]]:
        """Yield shards with their numbers, but for those without rows."""
        found = self.shards()
        what = type(found).__name__
        if _is_one(found):
            raise TypeError(
                f"X is a function that returned one {what}, whose rows would be taken "
                "for shards; let it yield arrays of samples, or pass what it returned "
                "itself."
            )
        if not isinstance(found, Iterable):
            raise TypeError(
                f"X is a function that returned {what}, which is no iterable of "
                "arrays; let it yield arrays of samples, one after the other."
            )
        for number, shard in enumerate(found):
            if not _is_empty(shard):
                yield number, shard

    def _open(self, shard: Any, number: int, fmt: InputFormat | None) -> Rows:
        """Check a shard, and that its samples are like those of the first."""
        try:
            if fmt is None:
                return read_rows(self.estimator, shard, n_min=1)
            return Rows(check_rows(self.estimator, shard, fmt, n_min=1), fmt)
        except ValueError as error:
            raise ValueError(f"shard {number}: {error}") from error
        except TypeError as error:
            raise TypeError(f"shard {number}: {error}") from error

    def _check_count(self, is_right: bool, how: str) -> None:
        if not is_right:
            raise ValueError(
                f"the shards gave {how} rows than the {len(self)} of the first time; "
                "the function must yield the same rows at each call."
            )


def _is_one(X: Any) -> bool:
    """Whether X is one array, frame, data set or dict, and not several of them."""
    names = ("shape", "__array__", "keys")
    return isinstance(X, str | bytes | Dataset) or any(hasattr(X, n) for n in names)


def _is_empty(shard: Any) -> bool:
    """Whether a shard has no rows, as parts of filtered files may have none."""
    shape = getattr(shard, "shape", None)
    if isinstance(shape, tuple) and shape:
        return shape[0] == 0
    return isinstance(shard, list | tuple) and not shard


def _smallest(kept: list[tuple[Tensor, ...]], n_most: int) -> tuple[Tensor, ...]:
    """Join samples, of which those with the smallest keys are left."""
    joined = [torch.cat(part) for part in zip(*kept, strict=True)]
    order = joined[-1].argsort()[:n_most]
    return tuple(part[order] for part in joined)
