import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_digits

from sk_dim import DeepInfomaxTransformer
from sk_dim._inputs._formats import read_format, warn_if_pixels, warn_if_series


def read(shape, input_type="auto", input_shape=None, data_format="auto"):
    return read_format((10, *shape), input_type, input_shape, data_format)


@pytest.mark.parametrize(
    ("shape", "options", "kind", "expected"),
    [
        ((64,), {}, "table", (64,)),
        ((8, 8), {}, "image", (1, 8, 8)),
        ((8, 32), {}, "image", (1, 8, 32)),
        ((3, 32, 32), {}, "image", (3, 32, 32)),
        ((32, 48, 3), {}, "image", (3, 32, 48)),
        ((32, 32, 1), {}, "image", (1, 32, 32)),
        ((64,), {"input_shape": (8, 8)}, "image", (1, 8, 8)),
        ((192,), {"input_shape": (3, 8, 8)}, "image", (3, 8, 8)),
        ((192,), {"input_shape": (8, 8, 3)}, "image", (3, 8, 8)),
        ((192,), {"input_shape": np.array([8, 8, 3])}, "image", (3, 8, 8)),
        ((5, 8, 8), {"data_format": "channels_first"}, "image", (5, 8, 8)),
        ((8, 8, 5), {"data_format": "channels_last"}, "image", (5, 8, 8)),
        ((4, 8, 4), {"data_format": "channels_last"}, "image", (4, 4, 8)),
        ((100,), {"input_type": "series"}, "series", (1, 100)),
        ((3, 100), {"input_type": "series"}, "series", (3, 100)),
        ((100, 3), {"input_type": "series"}, "series", (3, 100)),
        ((6, 100), {"input_type": "series"}, "series", (6, 100)),
        ((41, 160), {"input_type": "series"}, "series", (41, 160)),
        ((50, 50), {"input_type": "series"}, "series", (50, 50)),
        ((3, 4), {"input_type": "series"}, "series", (3, 4)),
        ((5, 4), {"input_type": "series"}, "series", (4, 5)),
        (
            (306, 200),
            {"input_type": "series", "data_format": "channels_first"},
            "series",
            (306, 200),
        ),
        (
            (100, 9),
            {"input_type": "series", "data_format": "channels_last"},
            "series",
            (9, 100),
        ),
        ((60,), {"input_type": "series", "input_shape": (6, 10)}, "series", (6, 10)),
        ((8, 8), {"input_type": "image"}, "image", (1, 8, 8)),
        ((8, 100), {"input_type": "image"}, "image", (1, 8, 100)),
    ],
)
def test_what_shapes_mean(shape, options, kind, expected):
    fmt = read(shape, **options)
    assert (fmt.kind, fmt.shape) == (kind, expected)
    assert fmt.n_features == math.prod(shape)


@pytest.mark.parametrize(
    ("shape", "options", "match"),
    [
        ((3, 100), {}, r"grey images of 3x100 pixels or series with 3 channels"),
        ((8, 33), {}, r"input_type='image' or input_type='series'"),
        ((5, 8, 8), {}, r"neither of the first and the last"),
        ((4, 8, 4), {}, r"both of the first and the last"),
        (
            (100, 9),
            {"input_type": "series"},
            r"may be 100 channels of length 9 or 9 channels .* data_format='channels_f",
        ),
        ((306, 200), {"input_type": "series"}, r"data_format='channels_first' or"),
        ((4, 3), {"input_type": "series"}, r"data_format='channels_first' or"),
        ((60,), {"input_shape": (8, 8)}, r"X has 60 features, but .* needs 64"),
        (
            (8, 8),
            {"input_shape": (4, 16)},
            r"samples of shape \(8, 8\), but input_shape",
        ),
        ((64,), {"input_shape": 64}, r"input_shape=64 is not a sample shape"),
        ((64,), {"input_shape": (64,)}, r"input_shape=\(64,\) is not a sample shape"),
        ((64,), {"input_shape": (-8, -8)}, r"is not a sample shape"),
        ((64,), {"input_type": "image"}, r"pass input_shape as \(H, W\)"),
        ((8, 8), {"input_type": "table"}, r"takes X of two axes"),
        ((2, 3, 8, 8), {}, r"has 5 axes; expected"),
        ((1, 3, 8), {}, r"too small: each side must be at least 4"),
        ((8, 8), {"input_type": "picture"}, r"input_type='picture' is not known"),
        ((8, 8), {"data_format": "NCHW"}, r"data_format='NCHW' is not known"),
    ],
)
def test_what_shapes_cannot_mean(shape, options, match):
    with pytest.raises(ValueError, match=match):
        read(shape, **options)


@given(
    sides=st.lists(st.integers(8, 20), min_size=2, max_size=2),
    n_channels=st.integers(1, 4),
    is_last=st.booleans(),
)
def test_rows_become_channels_first_whether_flattened_or_not(
    sides, n_channels, is_last
):
    image = torch.randn(2, n_channels, *sides)
    X = image.movedim(1, -1) if is_last else image
    fmt = read(tuple(X.shape[1:]))
    assert torch.equal(fmt.to_channels_first(X), image)
    assert torch.equal(fmt.to_channels_first(X.reshape(2, -1)), image)


def test_another_shape_than_in_fit_is_refused():
    fmt = read((3, 32, 32))
    fmt.check((5, 3, 32, 32))
    fmt.check((5, 3072))
    with pytest.raises(
        ValueError, match=r"samples of shape \(3, 16, 16\), but fit saw"
    ):
        fmt.check((5, 3, 16, 16))


def test_flattened_images_draw_a_warning_that_names_input_shape():
    with pytest.warns(UserWarning, match=r"8x8 images; pass input_shape=\(8, 8\)"):
        warn_if_pixels(load_digits().data)


@pytest.mark.parametrize("is_last", [True, False])
def test_flattened_colour_images_are_told_apart_by_layout(is_last):
    rng = np.random.default_rng(0)
    small = rng.normal(size=(50, 3, 3, 3))
    images = np.kron(small, np.ones((1, 1, 4, 4)))  # smooth 12x12 colour images
    if is_last:
        images = images.transpose(0, 2, 3, 1)
    expected = r"\(12, 12, 3\)" if is_last else r"\(3, 12, 12\)"
    with pytest.warns(UserWarning, match=f"input_shape={expected}"):
        warn_if_pixels(images.reshape(50, -1))


@pytest.mark.parametrize(
    "X",
    [
        np.random.default_rng(0).normal(size=(100, 64)),
        np.random.default_rng(0).normal(size=(100, 1)) * np.ones((100, 64)),
        np.zeros((100, 64)),
        load_breast_cancer().data,
    ],
)
def test_other_tables_draw_no_warning(X):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_pixels(X)


def smooth_series(n, n_channels, length, seed=0):
    """Return series of waves, the channels independent of one another."""
    rng = np.random.default_rng(seed)
    phase, rate = rng.uniform(0, 2 * np.pi, (2, n, n_channels, 1))
    waves = np.sin(phase + (0.05 + 0.05 * rate) * np.arange(length))
    return waves + 0.1 * rng.normal(size=waves.shape)


@pytest.mark.parametrize("shape", [(6, 24), (24, 51), (41, 160), (16, 16)], ids=str)
def test_smooth_series_that_are_read_as_images_draw_a_warning(shape):
    X = smooth_series(60, *shape)
    with pytest.warns(UserWarning, match=r"looks like series .*pass input_type='serie"):
        warn_if_series(X)
    with pytest.warns(
        UserWarning, match=r"input_type='series', data_format='channels_l"
    ):
        warn_if_series(X.transpose(0, 2, 1).astype(np.float32))


@pytest.mark.parametrize(
    "X",
    [
        load_digits().images,
        load_digits().images[:, 1:],
        np.random.default_rng(0).normal(size=(100, 28, 28)),
        np.random.default_rng(0).random((100, 24, 51)),
        np.kron(np.random.default_rng(0).normal(size=(60, 8, 6)), np.ones((1, 8, 8))),
        np.zeros((20, 64, 48)),
        np.cumsum(np.random.default_rng(0).normal(size=(60, 24, 51)), axis=0),
        smooth_series(60, 24, 51).astype(np.uint8),
        smooth_series(9, 24, 51),
    ],
    ids=["digits", "cut-digits", "noise", "oblong-noise", "blocks", "zeros", "walk",
         "uint8", "few"],
)  # fmt: skip
def test_images_draw_no_warning_about_series(X):
    warn_if_series(X)


def test_the_warning_about_series_is_silenced_by_saying_what_they_are():
    X = smooth_series(30, 16, 20)
    with pytest.warns(UserWarning, match="input_type='image' to silence this"):
        DeepInfomaxTransformer(8, max_iter=1).fit(X)
    DeepInfomaxTransformer(8, max_iter=1, input_type="image").fit(X)
    fitted = DeepInfomaxTransformer(8, max_iter=1, input_type="series").fit(X)
    assert fitted.input_shape_ == (16, 20)
