"""What a critic is shown of a variable, and what counting equal rows tells.

Numbers are brought to a normal distribution by their ranks, which leaves mutual
information as it is, names get an input for each, and images are scaled.
"""

import warnings
from typing import Any

import numpy as np
import torch
from scipy.special import ndtri
from sklearn.compose import ColumnTransformer
from sklearn.metrics import mutual_info_score
from sklearn.preprocessing import OneHotEncoder, QuantileTransformer
from torch import Tensor

from sk_dim._information._columns import Variable, is_whole
from sk_dim._inputs._formats import read_format
from sk_dim._inputs._rows import Rows
from sk_dim._inputs._scaling import Scaling

MAX_NAMES = 256  # of a column, above which the less frequent ones count as one
N_QUANTILES = 1000
MIN_COUNT = (
    2  # rows of each distinct one on average, below which counting tells nothing
)


def continuous_columns(V: Variable, n_rows: int) -> list[np.ndarray]:
    """Columns of numbers that have another value in most of `n_rows` distinct rows.

    Whole numbers that repeat do so by their nature: they need another value in most
    of all rows.
    """
    if V.is_image:
        return []
    return [
        column
        for column, is_name in zip(V.values.T, V.is_name, strict=True)
        if not is_name
        and len(np.unique(column)) > (len(V) if is_whole(column) else n_rows) / 2
    ]


def counted_information(X: Variable, Y: Variable) -> float:
    """Mutual information by counting pairs, in nats; 0 where too few are equal.

    The plug-in estimate, less its bias to the first order (Miller 1955).
    """
    numbers = [number_rows(*each) for each in ((X,), (Y,), (X, Y))]
    n_x, n_y, n_xy = (int(each.max()) + 1 for each in numbers)
    if n_xy * MIN_COUNT > len(X):
        return 0.0
    bias = (n_xy - n_x - n_y + 1) / (2 * len(X))
    return float(mutual_info_score(*numbers[:2])) - bias


def number_rows(*variables: Variable) -> np.ndarray:
    """Give rows numbers from 0, equal ones the same."""
    numbers = np.zeros(len(variables[0]), dtype=np.int64)
    for V in variables:
        rows = np.ascontiguousarray(V.values).reshape(len(V), -1)
        as_bytes = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1])))
        _, own = np.unique(as_bytes.ravel(), return_inverse=True)
        _, numbers = np.unique(numbers * len(V) + own, return_inverse=True)
    return numbers


class Preprocessor:
    """Learns from training rows how to show a variable to a critic.

    Parameters
    ----------
    V : Variable
        Training rows.
    """

    def __init__(self, V: Variable) -> None:
        self.is_image = V.is_image
        if V.is_image:
            self.fmt = read_format(V.values.shape, "image", None, "auto")
            self.shape = self.fmt.shape
            self.is_normal = np.zeros(0, dtype=bool)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # that they are constant
                cpu = torch.device("cpu")
                self.scaling = Scaling.learn(Rows(V.values, self.fmt), cpu)
            return
        ranks = QuantileTransformer(
            n_quantiles=min(N_QUANTILES, len(V)), subsample=None
        )
        # What merges names tells no more than they did: lower bounds stay so.
        names = OneHotEncoder(
            handle_unknown="ignore", sparse_output=False, max_categories=MAX_NAMES
        )
        self.columns = ColumnTransformer(
            [
                ("ranks", ranks, np.flatnonzero(V.is_number)),
                ("names", names, np.flatnonzero(V.is_name)),
            ]
        ).fit(V.values)
        self.shape = (len(self.columns.get_feature_names_out()),)
        # Ranks come first, as in the list above.
        self.is_normal = np.arange(*self.shape) < V.is_number.sum()

    def __call__(self, V: Variable) -> Tensor:
        """Return inputs (n, *shape), float32."""
        if self.is_image:
            rows = Rows(V.values, self.fmt)
            return self.scaling(rows.take(slice(0, len(V))))
        inputs = self.columns.transform(V.values)
        # All at once: QuantileTransformer's own normal quantiles take longer than all
        # else, column by column.
        n_ranks = int(self.is_normal.sum())
        inputs[:, :n_ranks] = ndtri(inputs[:, :n_ranks])
        inputs = np.clip(inputs, -4.0, 4.0)
        return torch.from_numpy(inputs.astype(np.float32))

    # Pickled as arrays, which need no torch to be read.

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        if self.is_image:
            state["scaling"] = self.scaling.mean.numpy(), self.scaling.std.numpy()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.is_image:
            mean, std = (torch.tensor(array) for array in state["scaling"])
            self.scaling = Scaling(mean, std, torch.device("cpu"))
