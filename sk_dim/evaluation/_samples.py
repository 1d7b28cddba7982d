"""Samples as a transformer reads them, to be looked at or compared with."""

from typing import Any

import numpy as np

from sk_dim._inputs._arrays import as_array
from sk_dim._inputs._formats import InputFormat
from sk_dim._inputs._rows import Rows
from sk_dim._training._preparing import rows_like


def as_samples(X: Any, estimator: Any) -> tuple[str, np.ndarray]:
    """View samples as `read_samples` does, images from 0 to 1."""
    kind, samples = read_samples(X, estimator)
    if kind != "image":
        return kind, samples
    low, high = samples.min(), samples.max()
    return kind, (samples - low) / max(high - low, 1e-12)


def read_samples(X: Any, estimator: Any) -> tuple[str, np.ndarray]:
    """View samples as "image" (n, h, w) or (n, h, w, 3), "series" (n, c, l) or "table".

    Behind the last value of a series is NaN, if they are of unequal length.

    Raises
    ------
    ValueError
        If they are images whose channels are no colours.
    """
    if hasattr(estimator, "model_"):
        rows = rows_like(estimator, X, estimator.model_.fmt)
    else:
        X = np.asarray(as_array(X))
        rows = Rows(X, _guess_format(X.shape))
    kind = rows.fmt.kind
    samples = rows.take(slice(None)).numpy()
    if kind != "image":
        return kind, samples
    pictures = np.moveaxis(samples, 1, -1)
    if pictures.shape[3] not in (1, 3):
        raise ValueError(
            f"images of {pictures.shape[3]} channels have no colours; pass those of "
            "one or three."
        )
    return kind, pictures.squeeze(3) if pictures.shape[3] == 1 else pictures


def _guess_format(shape: tuple[int, ...]) -> InputFormat:
    """Guess what samples are that a transformer takes which is none of ours."""
    if len(shape) == 3:
        return InputFormat("image", shape[1:])
    if len(shape) == 4:
        return InputFormat("image", shape[1:], 0 if shape[1] in (1, 3) else 2)
    return InputFormat("table", shape[1:])
