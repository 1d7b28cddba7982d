"""Features as they are given, and what all selections make of them."""

from hashlib import blake2b
from typing import Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.random import sample_without_replacement

Seed = int | np.random.RandomState | None

MANY_ROWS = 10_000  # that all rows are compared with, at most
BLOCK_ROWS = 2_048
BLOCK_VALUES = 2**23


def read(Z: Any) -> tuple[np.ndarray, np.ndarray, int]:
    """Return features (m, d) of the rows without NaN, their numbers, and all n."""
    shape = np.shape(Z)
    if len(shape) < 2:
        raise ValueError(
            f"Z has shape {shape}; it must be features of shape (n_samples, "
            "n_features), such as those that transform returns."
        )
    array = check_array(
        Z, dtype="numeric", allow_nd=True, ensure_all_finite="allow-nan", input_name="Z"
    )
    array = array.reshape(len(array), -1)
    # In float32 where that is exact, as for pixels.
    is_small = np.can_cast(array.dtype, np.float32)
    array = array.astype(np.float32 if is_small else np.float64, copy=False)
    blocks = slices(len(array), BLOCK_ROWS)
    has_nan = np.concatenate([np.isnan(array[block]).any(axis=1) for block in blocks])
    rows = np.flatnonzero(~has_nan)
    return array if len(rows) == len(array) else array[rows], rows, len(array)


def slices(n: int, step: int) -> list[slice]:
    return [slice(start, start + step) for start in range(0, n, step)]


def draw(rows: np.ndarray, n: int, rng: np.random.RandomState) -> np.ndarray:
    """Return the rows, or if there are more than n as many of them, in their order."""
    if len(rows) <= n:
        return rows
    return rows[np.sort(sample_without_replacement(len(rows), n, random_state=rng))]


def find_owners(features: np.ndarray) -> np.ndarray:
    """Return, for each row, the number of the first row of the same values, (n,)."""
    first: dict[bytes, int] = {}
    owners = np.empty(len(features), dtype=int)
    for i, row in enumerate(features):
        values = (row + 0).tobytes()  # of -0.0 makes 0.0
        owners[i] = first.setdefault(blake2b(values, digest_size=16).digest(), i)
    return owners


def centre(features: np.ndarray) -> tuple[np.ndarray, float]:
    """Return centred features of at most 1 as float32, and what divided them."""
    first = _largest(features)
    centred = features / features.dtype.type(first)
    centred -= centred.mean(axis=0, dtype=np.float64).astype(centred.dtype)
    second = _largest(centred)
    centred /= centred.dtype.type(second)
    return centred.astype(np.float32, copy=False), first * second


def _largest(values: np.ndarray) -> float:
    """Return the largest absolute value, or 1 where all are 0."""
    return float(max(-values.min(), values.max())) or 1.0


def mean_square(centred: np.ndarray) -> float:
    """Return the mean squared length of rows."""
    return float(squares(centred).mean(dtype=np.float64))


def squares(rows: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", rows, rows)


def squared_distances(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    found = rows @ others.T
    found *= -2
    found += squares(rows)[:, None]
    found += squares(others)
    return np.maximum(found, 0, out=found)
