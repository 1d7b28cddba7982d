"""Features that go elsewhere than into one array in memory."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sk_dim.arrays import chunk_rows

WRITTEN_VALUES = 2**24  # at a time, at least


class Output:
    """Rows of features, written in order into what a user gave.

    Parameters
    ----------
    out : object
        With a shape, a dtype and `__setitem__`: an array, memory map, zarr, h5py.
    shape : tuple of int
        Of all features.

    Raises
    ------
    TypeError
        If it is no such thing.
    ValueError
        If it has another shape or dtype, or cannot be written to.
    """

    def __init__(self, out: Any, shape: tuple[int, ...]) -> None:
        if not all(hasattr(out, name) for name in ("shape", "dtype", "__setitem__")):
            raise TypeError(
                f"out is {type(out).__name__}, which cannot be written to by rows; "
                "pass an array, a memory map, or an array of zarr or h5py."
            )
        if tuple(out.shape) != shape or out.dtype != np.float32:
            raise ValueError(
                f"out is of shape {tuple(out.shape)} and {out.dtype}, but the features "
                f"are of shape {shape} and float32; make it anew."
            )
        if isinstance(out, np.ndarray) and not out.flags.writeable:
            raise ValueError(
                "out is read-only; open a memory map with mode 'r+' or 'w+'."
            )
        self.out = out
        n_rows = max(1, WRITTEN_VALUES // max(1, shape[1]))
        chunk = chunk_rows(out) or 1
        self.n_rows = -(-n_rows // chunk) * chunk  # so that no chunk is written twice
        self.start = 0
        self.held: list[np.ndarray] = []

    def write(self, values: np.ndarray) -> None:
        """Write the next rows, or hold them until they are enough."""
        self.held.append(values)
        if sum(map(len, self.held)) >= self.n_rows:
            whole = np.concatenate(self.held)
            self.held = [whole[self.n_rows :]]
            self._put(whole[: self.n_rows])

    def finish(self) -> Any:
        """Write what is held, and return what was written to."""
        if self.held:
            self._put(np.concatenate(self.held))
        return self.out

    def _put(self, values: np.ndarray) -> None:
        self.out[self.start : self.start + len(values)] = values
        self.start += len(values)


class BatchFunction:
    """Add features to batches of any kind that engines for large data pass.

    Parameters
    ----------
    transform : callable
        Samples to features, picklable.
    n_features : int
        Features of a sample.
    column : str or None
        Column of the batch that holds the samples. None takes the only column, or all
        columns as those of a table.
    output : str
        Name of the column of features.
    """

    def __init__(
        self,
        transform: Callable[[Any], Any],
        n_features: int,
        column: str | None,
        output: str,
    ) -> None:
        self.transform = transform
        self.n_features = n_features
        self.column = column
        self.output = output

    def __call__(self, batch: Any) -> Any:
        """Return the features of an array, or a batch with a column of them."""
        package = type(batch).__module__.partition(".")[0]
        if package == "pyarrow":
            return self._add_to_arrow(batch)
        if package == "polars":
            return self._add_to_polars(batch)
        if package == "pandas":
            names = list(batch.columns)
            features = self._of({name: batch[name].to_numpy() for name in names})
            return batch.assign(**{self.output: list(features)})
        if isinstance(batch, Mapping):
            return {**batch, self.output: self._of(batch)}
        return self._encode(np.asarray(batch))

    def _of(self, columns: Mapping[str, Any]) -> np.ndarray:
        """Return the features of the samples in a column, or in all columns."""
        if self.column is not None and self.column not in columns:
            raise ValueError(
                f"the batch has no column {self.column!r}, but {', '.join(columns)}; "
                "name the one that holds the samples."
            )
        names = list(columns) if self.column is None else [self.column]
        if len(names) > 1:
            return self._encode(np.column_stack([columns[name] for name in names]))
        values = columns[names[0]]
        if isinstance(values, np.ndarray) and values.dtype == object:
            values = list(values)
        is_ragged = isinstance(values, list) and len({np.shape(v) for v in values}) > 1
        return self._encode(values if is_ragged else np.asarray(values))

    def _encode(self, samples: Any) -> np.ndarray:
        if len(samples) == 0:
            return np.zeros((0, self.n_features), dtype=np.float32)
        if getattr(samples, "ndim", 2) == 1:  # the only column of a table
            samples = samples[:, None]
        return np.asarray(self.transform(samples), dtype=np.float32)

    def _add_to_arrow(self, batch: Any) -> Any:
        import pyarrow as pa

        names = batch.schema.names
        columns = {name: _from_arrow(batch.column(name)) for name in names}
        values = pa.array(self._of(columns).ravel())
        column = pa.FixedSizeListArray.from_arrays(values, self.n_features)
        return batch.append_column(self.output, column)

    def _add_to_polars(self, batch: Any) -> Any:
        import polars as pl

        columns = {each.name: each.to_numpy() for each in batch.get_columns()}
        return batch.with_columns(pl.Series(self.output, self._of(columns)))


def _from_arrow(column: Any) -> Any:
    """Return a column of pyarrow as an array, or a list where it is nested."""
    import pyarrow as pa

    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if hasattr(column, "to_numpy_ndarray"):  # a tensor in each row
        return column.to_numpy_ndarray()
    if pa.types.is_nested(column.type):
        return column.to_pylist()
    return column.to_numpy(zero_copy_only=False)


def is_dask(X: Any) -> bool:
    """Say whether X is an array of dask, computed when it is asked for."""
    return hasattr(X, "__dask_graph__") and hasattr(X, "map_blocks")


def map_dask(function: BatchFunction, X: Any) -> Any:
    """Return features of a dask array as a dask array that is not computed yet."""
    import dask
    import dask.array as da

    whole = X.rechunk(dict.fromkeys(range(1, X.ndim), -1))
    return da.map_blocks(
        _call,
        whole,
        # One key of the graph, so that each worker gets the model once.
        function=dask.delayed(function, pure=False),
        dtype=np.float32,
        chunks=(whole.chunks[0], (function.n_features,)),
        drop_axis=list(range(2, X.ndim)),
        meta=np.empty((0, function.n_features), dtype=np.float32),
    )


def _call(block: np.ndarray, function: BatchFunction) -> np.ndarray:
    return function(block)
