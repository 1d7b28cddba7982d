"""Features that go elsewhere than into one array in memory."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Number
from typing import Any

import numpy as np
from sklearn import get_config

from sk_dim._inputs._refusals import as_table
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
        if _is_read_only(out):
            raise ValueError(
                f"out, of type {type(out).__name__}, is read-only; open files and "
                "memory maps with mode 'r+'."
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
            self.held = []
        return self.out

    def erase(self, rows: Iterable[int]) -> None:
        """Make written rows NaN."""
        self.finish()
        for row in rows:
            self.out[row] = np.nan

    def _put(self, values: np.ndarray) -> None:
        self.out[self.start : self.start + len(values)] = values
        self.start += len(values)


def _is_read_only(out: Any) -> bool:
    """Whether an array of NumPy, h5py or zarr says that it cannot be written to."""
    if isinstance(out, np.ndarray):
        return not out.flags.writeable
    mode = getattr(getattr(out, "file", None), "mode", "")
    return mode == "r" or bool(getattr(out, "read_only", False))


def write_layer(model: Any, layer: str, rows: Any, out: Any = None) -> Any:
    """Return the features of a layer of a Model, or write them into `out`."""
    output = None
    if out is not None:
        n_features = math.prod(model.net.layer_shapes[layer])
        output = Output(out, (len(rows), n_features))
    found = model.encode(
        rows, lambda features: {layer: features.layers()[layer].flatten(1)}, output
    )
    return found[layer] if output is None else output.finish()


def refuse_frames(estimator: Any) -> None:
    """Raise a ValueError where scikit-learn is to make a frame of what transform gives.

    It would compute a dask array, and read back what was written into `out`.
    """
    own = getattr(estimator, "_sklearn_output_config", {})
    wanted = own.get("transform", get_config()["transform_output"])
    if wanted != "default":
        raise ValueError(
            f"set_output(transform={wanted!r}) makes a frame in memory, but features "
            "of a dask array, and those that are written into `out`, are to stay out "
            "of it; call set_output(transform='default') first."
        )


class BatchFunction:
    """Add features to batches of any kind that engines for large data pass.

    Parameters
    ----------
    encode : callable
        Samples to features, whatever the names of their columns are; picklable.
    n_features : int
        Features of a sample.
    column : str or None
        Column of the batch that holds the samples. None takes the columns `names`;
        without these the only column, or all columns as those of a table.
    output : str
        Name of the column of features, which the batch must not have yet.
    names : sequence of str or None, default=None
        Columns of the table that fit saw.

    Raises
    ------
    TypeError
        If `column` or `output` is no string.
    ValueError
        If both are the same; when called, if the batch lacks a column, or has `output`.
    """

    def __init__(
        self,
        encode: Callable[[Any], Any],
        n_features: int,
        column: str | None,
        output: str,
        names: Sequence[str] | None = None,
    ) -> None:
        for parameter, value in (("column", column), ("output", output)):
            is_none = parameter == "column" and value is None
            if not isinstance(value, str) and not is_none:
                raise TypeError(
                    f"{parameter}={value!r} must be a string, the name of one column"
                    f"{', or None' if parameter == 'column' else ''}."
                )
        if output == column:
            raise ValueError(
                f"output={output!r} is the column of the samples, which the features "
                "would replace; give them another name by output=."
            )
        self.encode = encode
        self.n_features = n_features
        self.column = column
        self.output = output
        self.names = None if names is None else list(names)

    def __call__(self, batch: Any) -> Any:
        """Return the features of an array, or a batch with a column of them."""
        package = type(batch).__module__.partition(".")[0]
        if isinstance(batch, Mapping):
            return {**batch, self.output: self._encode(self._of_dict(batch))}
        if package == "pyarrow" and hasattr(batch, "schema"):
            import pyarrow as pa

            part = batch.select(self._choose(batch.schema.names))
            features = pa.FixedSizeListArray.from_arrays(
                pa.array(self._encode(part).ravel()), self.n_features
            )
            return batch.append_column(self.output, features)
        if package == "polars" and hasattr(batch, "get_columns"):
            import polars as pl

            features = self._encode(batch.select(self._choose(batch.columns)))
            return batch.with_columns(pl.Series(self.output, features))
        if package == "pandas" and hasattr(batch, "columns"):
            features = self._encode(batch[self._choose(list(batch.columns))])
            return batch.assign(**{self.output: list(features)})
        return self._encode(np.asarray(batch)[:, None] if _is_flat(batch) else batch)

    def _choose(self, present: list[str]) -> list[str]:
        """Return the names of the columns that hold the samples, of those there are."""
        if not present:
            raise ValueError("the batch has no columns; pass one that holds samples.")
        if self.output in present:
            raise ValueError(
                f"the batch has a column {self.output!r} already, which the features "
                "would replace; give them another name by output=."
            )
        if self.column is None and self.names is None:
            return present
        names = (self.names or []) if self.column is None else [self.column]
        lacking = [name for name in names if name not in present]
        if not lacking:
            return names
        what = "name the one that holds the samples"
        if self.column is None:
            what = "pass all columns of the table that fit saw, or name the one that "
            what += "holds whole samples, by column="
        raise ValueError(
            f"the batch has no column {_listed(lacking)}, but {_listed(present)}; "
            f"{what}."
        )

    def _of_dict(self, batch: Mapping[str, Any]) -> Any:
        """Return the samples of a dict of columns."""
        names = self._choose(list(batch))
        if len(names) > 1 or _is_flat(batch[names[0]]):
            return as_table({name: batch[name] for name in names})
        return batch[names[0]]

    def _encode(self, samples: Any) -> np.ndarray:
        if hasattr(samples, "__len__") and len(samples) == 0:
            return np.zeros((0, self.n_features), dtype=np.float32)
        return np.asarray(self.encode(samples), dtype=np.float32)


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:10])) + (", ..." if names[10:] else "")


def _is_flat(values: Any) -> bool:
    """Whether values are single numbers, those of one column of a table."""
    if hasattr(values, "ndim"):
        return values.ndim == 1 and values.dtype != object
    if not isinstance(values, list | tuple):
        return False
    return all(isinstance(each, Number) for each in values[:1])


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
