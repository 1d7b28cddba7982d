"""What critics are shown of images, series and wide tables: components of features."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array
from torch import Tensor

from sk_dim._deep_infomax import DeepInfomaxTransformer
from sk_dim._information._columns import Variable
from sk_dim._information._variables import Preprocessor

WIDE = 64  # columns from which on a table is shown by its components
N_COMPONENTS = 128
N_POWERS = 4  # iterations of the randomised SVD, of 7 by default
POWER = 0.5  # of the variances of components: 1 leaves them, 0 makes them equal
CLIP = 10.0  # standard deviations of features, and of inputs
MAX_LEARNT = 1_500  # rows that an encoder learns from
N_EPOCHS = 1  # of the encoder
AS_GIVEN = " (If it is fitted before, it is shown samples as they are given.)"


class Components:
    """Learns from training rows the principal components of a variable.

    Columns are brought to a normal distribution by their ranks at first, features only
    to a common variance. The variances of the components are brought to their square
    roots, so that a critic sees small ones too.

    Parameters
    ----------
    rows : Tensor or Variable
        Training rows: what `first` has made of them, or features.
    first : Preprocessor or None, default=None
        What columns are shown by; None for features.
    """

    def __init__(
        self, rows: Tensor | Variable, first: Preprocessor | None = None
    ) -> None:
        self.first = first
        if isinstance(rows, Variable):
            self.scaler = StandardScaler().fit(rows.values)
        table = self._table(rows)
        n_components = min(N_COMPONENTS, *table.shape)
        # A seed of its own: the same rows give the same components.
        pca = PCA(
            n_components,
            svd_solver="randomized",
            iterated_power=N_POWERS,
            random_state=0,
        )
        with np.errstate(invalid="ignore"):  # a single row has no variance
            self.pca = pca.fit(table)
        variances = np.maximum(np.nan_to_num(self.pca.explained_variance_), 1e-6)
        scale = variances ** ((POWER - 1) / 2)
        self.scale = scale / math.sqrt(np.mean(variances * scale**2))
        self.shape = (n_components,)
        self.is_normal = np.ones(n_components, dtype=bool)

    def _table(self, V: Variable | Tensor) -> np.ndarray:
        if isinstance(V, Tensor):
            return V.numpy()
        return np.clip(self.scaler.transform(V.values), -CLIP, CLIP).astype(np.float32)

    def __call__(self, V: Variable | Tensor) -> Tensor:
        """Return inputs (n, n_components), float32, whose mean variance is 1.

        Of features, or of what `first` has made of columns.
        """
        inputs = self.pca.transform(self._table(V)) * self.scale
        return torch.from_numpy(np.clip(inputs, -CLIP, CLIP).astype(np.float32))


class Encoder:
    """Turns a variable into features, by a transformer that learns from its rows.

    Parameters
    ----------
    label : {"X", "Y"}
        For messages.
    transformer : transformer of scikit-learn or None, default=None
        Not fitted. None takes a small DeepInfomaxTransformer.
    kind : {"image", "series"}, default="image"
        What the samples are, for the latter.
    """

    def __init__(
        self, label: str, transformer: Any = None, *, kind: str = "image"
    ) -> None:
        self.label = label
        self.transformer = transformer
        self.kind = kind

    def is_like(self, other: "Encoder") -> bool:
        """Whether one net can serve for both."""
        return self.transformer is other.transformer is None and self.kind == other.kind

    def fit(self, values: np.ndarray, seed: int) -> "Encoder":
        """Learn from rows of values, and return what has learnt."""
        transformer = self.transformer
        if transformer is None:
            rows = np.random.RandomState(seed).permutation(len(values))[:MAX_LEARNT]
            transformer = DeepInfomaxTransformer(
                input_type=self.kind, max_iter=N_EPOCHS, random_state=seed
            )
            transformer.fit(values[rows])
        else:
            transformer = clone(transformer)
            with refusals(transformer, "be fitted on", self.label, AS_GIVEN):
                transformer.fit(values)
        return Encoder(self.label, transformer, kind=self.kind)

    def __call__(self, V: Variable) -> Variable:
        """Return features as a table of numbers."""
        features = transformed(self.transformer, self.label, V.values)
        with refusals(self.transformer, "make numbers of", self.label):
            table = np.asarray(features, dtype=np.float64)
        d = table.shape[1]
        return Variable(table, np.zeros(d, dtype=bool), np.ones(d, dtype=bool))


def transformed(transformer: Any, label: str, V: Any) -> Any:
    """Return finite features (n, d) of samples."""
    with refusals(transformer, "transform", label):
        features = transformer.transform(V)
        return check_array(features, dtype=None, ensure_all_finite=True)


@contextmanager
def refusals(transformer: Any, verb: str, label: str, hint: str = "") -> Iterator[None]:
    """Say which transformer does not suit which variable, where one fails."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"representation={type(transformer).__name__} cannot {verb} {label}: "
            f"{error}{hint}"
        ) from error


class Encoded:
    """Shows a variable by components of what an encoder makes of it.

    Parameters
    ----------
    encoder : Encoder
        Fitted.
    features : Variable
        What it makes of training rows.
    """

    def __init__(self, encoder: Encoder, features: Variable) -> None:
        self.first = encoder
        self.then = show_features(features)
        self.shape, self.is_normal = self.then.shape, self.then.is_normal

    def __call__(self, features: Variable) -> Tensor:
        """Return inputs (n, d), float32, of what `first` has made of samples."""
        return self.then(features)


def show_features(features: Variable) -> Components | Preprocessor:
    """Learn to show features: many by components, few by their ranks."""
    if features.values.shape[1] < WIDE:
        return Preprocessor(features)
    return Components(features)
