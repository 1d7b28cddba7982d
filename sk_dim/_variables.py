"""From what a user calls a variable to the inputs of a critic.

Columns are brought to a normal distribution by their ranks, which leaves mutual
information as it is, values of discrete ones are told apart by columns of their own,
and images are scaled.
"""

import warnings
from typing import Any

import numpy as np
import torch
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder, QuantileTransformer
from sklearn.utils import check_array
from torch import Tensor

from sk_dim._formats import read_format
from sk_dim._inputs import Rows, Scaling

MAX_VALUES = 50  # distinct ones of integers that are taken for names
MAX_NAMES = 256  # of a column, above which the less frequent ones count as one
N_QUANTILES = 1000


def check_variable(name: str, V: Any) -> np.ndarray:
    """Return a variable as an array (n, ...) of at least two axes.

    Raises
    ------
    ValueError or TypeError
        For what is empty, not finite or sparse.
    """
    V = check_array(
        V,
        dtype=None,
        ensure_2d=False,
        allow_nd=True,
        input_name=name,
        ensure_min_samples=0,
    )
    if V.ndim == 0:
        raise ValueError(f"{name} is a single value; pass an array of one row each.")
    return V[:, None] if V.ndim == 1 else V


def is_discrete(column: np.ndarray) -> bool:
    """Whether the values of a column are names, or few integers that may be."""
    if column.dtype.kind in "fc":
        return False
    if column.dtype.kind in "iu":
        return len(np.unique(column)) <= MAX_VALUES
    if column.dtype.kind == "O":
        try:
            column.astype(float)
        except (TypeError, ValueError):
            return True
        return False
    return True


def continuous_columns(V: np.ndarray, n_rows: int) -> list[np.ndarray]:
    """Columns as float64 that have another value in most of `n_rows` distinct rows."""
    if V.ndim > 2:
        return []
    columns = [column.astype(float) for column in V.T if not is_discrete(column)]
    return [each for each in columns if len(np.unique(each)) > n_rows / 2]


def group_equal_rows(X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """Give rows numbers, equal ones the same where any of their values are continuous.

    Discrete values repeat by their nature, and are not grouped.
    """
    numbers: dict[tuple[bytes, bytes], int] = {}
    groups = np.array(
        [
            numbers.setdefault((_key(x), _key(y)), len(numbers))
            for x, y in zip(X, Y, strict=True)
        ]
    )
    if any(V.ndim > 2 or continuous_columns(V, len(numbers)) for V in (X, Y)):
        return groups
    return np.arange(len(X))


def _key(row: np.ndarray) -> bytes:
    # The bytes of objects are where they lie in memory.
    return str(row.tolist()).encode() if row.dtype.kind == "O" else row.tobytes()


class Variable:
    """One of the two variables, as a critic is to see it.

    Parameters
    ----------
    V : ndarray of shape (n, d) or of images (n, ...)
        Training rows.
    """

    def __init__(self, V: np.ndarray) -> None:
        self.is_image = V.ndim > 2
        if self.is_image:
            self.fmt = read_format(V.shape, "image", None, "auto")
            self.shape = self.fmt.shape
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # that they are constant
                self.scaling = Scaling.learn(Rows(V, self.fmt), torch.device("cpu"))
            return
        discrete = [i for i, column in enumerate(V.T) if is_discrete(column)]
        continuous = [i for i in range(V.shape[1]) if i not in discrete]
        ranks = QuantileTransformer(
            n_quantiles=min(N_QUANTILES, len(V)),
            output_distribution="normal",
            subsample=None,
        )
        # What merges names tells no more than they did: lower bounds stay so.
        names = OneHotEncoder(
            handle_unknown="ignore", sparse_output=False, max_categories=MAX_NAMES
        )
        self.columns = ColumnTransformer(
            [("ranks", ranks, continuous), ("names", names, discrete)]
        ).fit(V)
        self.shape = (self.columns.transform(V[:1]).shape[1],)

    def __call__(self, V: np.ndarray) -> Tensor:
        """Return inputs (n, *shape), float32."""
        if self.is_image:
            rows = Rows(V, self.fmt)
            return self.scaling(rows.take(slice(0, len(V))))
        inputs = np.clip(self.columns.transform(V), -4.0, 4.0)
        return torch.from_numpy(inputs.astype(np.float32))
