"""What the default view must not make an encoder forget."""

from functools import partial

import numpy as np
import pytest

from sk_dim import DeepInfomaxTransformer
from sk_dim._baselines import probe
from sk_dim.datasets import make_images, make_series

small_images = partial(make_images, side=16)


def accuracy(Z, y):
    return probe(Z[:500], y[:500], Z[500:], y[500:], 20, n_draws=3).mean()


@pytest.mark.parametrize(
    ("make", "factor", "least"),
    [
        (small_images, "hue", 0.9),
        (small_images, "orientation", 0.0),
        (small_images, "position", 0.85),
        (small_images, "size", 0.45),
        (small_images, "defect", 0.0),
        (make_series, "amplitude", 0.75),
        (make_series, "direction", 0.9),
        (make_series, "phase", 0.9),
    ],
)
def test_the_default_keeps_every_factor(make, factor, least):
    """As well as raw values do, and far better than chance where they do not."""
    X, y = make(factor, 900, random_state=0)
    dim = DeepInfomaxTransformer(
        input_type="image" if X.ndim == 4 else "series",
        # Patches of a series have their contrast normalised: amplitude takes longer.
        max_iter=3 if X.ndim == 4 else 10,
        random_state=0,
    ).fit(X[:500])
    raw = X.reshape(len(X), -1).astype(np.float32)
    kept = accuracy(dim.transform(X), y)
    assert kept > max(accuracy(raw, y) - 0.03, least)
