"""Samples that are read when they are needed: from files, in chunks, from data sets.

`X` may be anything that has a shape and a dtype and is read by rows, see
:class:`LazyArray`: arrays of h5py, zarr and dask, and memory maps. A torch data set
becomes one by :class:`DatasetArray`. Nothing is read as a whole.

This module imports nothing of its own package.
"""

from collections.abc import Callable, Iterable, Mapping, Sized
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

__all__ = ["DatasetArray", "LazyArray", "is_lazy"]

N_NAMED = 5  # broken rows that a message tells of

Shards = Callable[[], Iterable[Any]]
"""Function without parameters that returns an iterable of arrays of samples."""


@runtime_checkable
class LazyArray(Protocol):
    """An array of samples, the first axis, that is read by rows.

    Whatever has these three can be the `X` of `fit` and `transform`. Rows are asked for
    by slices, and by one-dimensional integer arrays without repeats, in rising order,
    as h5py needs them. What comes back may be an array of any kind that numpy can read.

    Attributes
    ----------
    shape : tuple of int
        Samples first.
    dtype : numpy.dtype
        Of the values: numbers or bool. Its name will do.
    chunks : tuple, optional
        As h5py, zarr and dask tell it. If it is there and the first axis is cut,
        training reads whole chunks in random order, and shuffles within a buffer.
    find_broken : callable, optional
        Of an array with rows that cannot be read, such as damaged files. Returns a dict
        of the numbers of these rows to strings that say why, for which it may have to
        read all that was not read yet. Broken rows are read as zeros. `fit` and `score`
        call it first and take ``X[rows]`` of the other rows, which must be lazy itself;
        `transform` calls it last, when all rows were read, and makes their features
        NaN. Both warn.
    read_rows : callable, optional
        Reads rows as `__getitem__` does, in any order and with repeats, where that
        returns a part which is lazy itself.
    read_ahead : callable, optional
        Is told the rows that will be asked for next, and may start to read them in a
        thread.

    Notes
    -----
    :class:`sk_dim.ImageArray` has all of these but chunks.

    Examples
    --------
    >>> import numpy as np
    >>> class Squares:
    ...     shape, dtype = (1000, 1), np.dtype("float32")
    ...
    ...     def __getitem__(self, rows):
    ...         return np.arange(1000, dtype="float32")[rows, None] ** 2
    >>> is_lazy(Squares())
    True
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples first."""

    @property
    def dtype(self) -> Any:
        """Of the values."""

    def __getitem__(self, rows: Any, /) -> Any: ...


def is_lazy(X: Any) -> bool:
    """Say whether X is read by rows, and not an array or a frame in memory.

    Parameters
    ----------
    X : object
        Anything.

    Returns
    -------
    bool
        True for a :class:`LazyArray` that is no NumPy array, tensor, frame or sparse
        matrix, and for memory maps of numbers.

    Examples
    --------
    >>> import numpy as np
    >>> is_lazy(np.zeros((3, 2)))
    False
    """
    if isinstance(X, np.ndarray):
        return isinstance(X, np.memmap) and X.dtype.kind in "biuf"
    if isinstance(X, Tensor | np.generic) or not isinstance(X, LazyArray):
        return False
    # Frames and columns are read by names, sparse matrices are not read by us.
    others = ("iloc", "columns", "to_frame", "tocsr", "isna", "__dataframe__")
    return isinstance(X.shape, tuple) and not any(hasattr(X, name) for name in others)


def read(X: LazyArray, rows: slice | np.ndarray) -> np.ndarray:
    """Read rows into a new array.

    Parameters
    ----------
    X : LazyArray
        To read from.
    rows : slice or ndarray of int, of shape (m,)
        In any order; a row may come twice.

    Returns
    -------
    ndarray of shape (m, ...)
        In memory, of its own.

    Raises
    ------
    ValueError
        If there are not the rows that the shape promised.
    """
    shape = tuple(X.shape)
    own = getattr(X, "read_rows", None)
    if isinstance(rows, slice):
        n_rows = len(range(*rows.indices(shape[0])))
        found = np.array(_take(X, rows)) if own is None else own(rows)
    elif own is not None:
        n_rows = len(rows)
        found = own(rows)
    else:
        # From front to back, as files are read fast, and h5py alone.
        unique, back = np.unique(rows, return_inverse=True)
        n_rows = len(rows)
        found = np.asarray(_take(X, unique))
        if found.shape[:1] == unique.shape:
            found = found[back]
    if found.shape != (n_rows, *shape[1:]):
        raise ValueError(
            f"X of shape {shape} gave an array of shape {found.shape} for {n_rows} "
            "rows; it must stay as it is while it is read."
        )
    return found


def find_broken(X: Any) -> dict[int, str]:
    """Return the rows of X that cannot be read, if there are any, and why."""
    own = getattr(X, "find_broken", None)
    return {} if own is None or not is_lazy(X) else dict(own())


def describe_broken(broken: Mapping[int, str], n_rows: int) -> str:
    """Say how many of so many rows cannot be read, and which come first and why."""
    first = [f"row {row}: {broken[row]}" for row in sorted(broken)[:N_NAMED]]
    more = f"; and {len(broken) - N_NAMED} more" if len(broken) > N_NAMED else ""
    return (
        f"{len(broken)} of {n_rows} rows of X cannot be read ({'; '.join(first)}{more})"
    )


def _take(X: LazyArray, rows: slice | np.ndarray) -> Any:
    """Return rows as X gives them, or say what it must be able to give."""
    try:
        return X[rows]
    except (TypeError, IndexError, NotImplementedError) as error:
        if isinstance(X, DatasetArray):  # whose items raise errors of their own
            raise
        by = "a slice" if isinstance(rows, slice) else "an index array"
        raise ValueError(
            f"X is {type(X).__name__} of shape {tuple(X.shape)}, but cannot be read by "
            f"{by} ({error}); its __getitem__ must take slices and rising index arrays "
            "of all the rows that its shape promises."
        ) from error


def chunk_rows(X: Any) -> int | None:
    """Return how many rows X stores together; None if rows are read one by one."""
    chunks = getattr(X, "chunks", None)
    first = chunks[0] if isinstance(chunks, tuple) and chunks else None
    if isinstance(first, tuple):  # dask tells the size of every chunk
        first = max(first, default=None)
    return int(first) if isinstance(first, int | np.integer) and first > 1 else None


class DatasetArray:
    """A torch data set of samples as an array that is read by rows.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        Map-style, with a length. Items are samples, or tuples of which the first is.
        All that numpy can read is a sample, images of PIL too.

    Raises
    ------
    TypeError
        If the data set has no length, or no items by number, or these are no samples.
    ValueError
        If it is empty, or when items of another shape or dtype are read.

    Examples
    --------
    >>> import torch
    >>> from torch.utils.data import TensorDataset
    >>> X = DatasetArray(TensorDataset(torch.rand(50, 3, 8, 8), torch.zeros(50)))
    >>> X.shape, X[10:12].shape
    ((50, 3, 8, 8), (2, 3, 8, 8))
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        name = type(dataset).__name__
        if isinstance(dataset, IterableDataset):
            raise TypeError(
                f"X is {name}, a data set without a length or items by number; pass "
                "a function that returns its batches, such as "
                "lambda: (batch for batch, label in DataLoader(dataset, 256))."
            )
        if not hasattr(dataset, "__len__"):
            raise TypeError(
                f"X is {name}, a data set without a length; define its __len__, which "
                "returns the number of items."
            )
        n_items = len(cast(Sized, dataset))
        if n_items == 0:
            raise ValueError("X is a data set without items; pass at least 2.")
        first = self._sample(0)
        self.dtype = first.dtype
        self.shape = (n_items, *first.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        numbers = np.asarray(rows).tolist()
        read_many = getattr(self.dataset, "__getitems__", None)
        items = None if read_many is None else read_many(numbers)
        found = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        for place, number in enumerate(numbers):
            item = None if items is None else items[place]
            sample = self._sample(number, item)
            if sample.shape != self.shape[1:] or sample.dtype != self.dtype:
                raise ValueError(
                    f"item {number} of the data set is of shape {sample.shape} and "
                    f"{sample.dtype}, but item 0 of {self.shape[1:]} and {self.dtype}; "
                    "bring all to one shape, by a transform of the data set; series "
                    "of unequal length can be a list of arrays."
                )
            found[place] = sample
        return found

    def _sample(self, number: int, item: Any = None) -> np.ndarray:
        item = self.dataset[number] if item is None else item
        is_pair = isinstance(item, tuple | list) and len(item) > 0
        sample = item[0] if is_pair else item
        if isinstance(sample, Tensor):
            sample = sample.detach().cpu()
            sample = sample.float() if sample.dtype == torch.bfloat16 else sample
        array = np.asarray(sample)
        if array.dtype.kind in "biufc" and array.ndim > 0:
            return array
        what = f"{type(item).__name__}, {item!r:.60}"
        if isinstance(item, Mapping):
            what = f"a dict with the keys {', '.join(map(repr, item))}"
        raise TypeError(
            f"item {number} of the data set is {what}; items must be samples, arrays "
            "of numbers, or tuples that begin with one, so let __getitem__ return that."
        )
