"""Decoders of features, and how like their images are."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sk_dim import DeepInfomaxTransformer
from sk_dim.evaluation import ms_ssim, reconstruct
from sk_dim.evaluation._similarity import WEIGHTS
from sk_dim.plotting import ReconstructionDisplay

RNG = np.random.default_rng(0)
DIGITS = load_digits().images


def blurred(shape, seed=0):
    """Images with some structure, and noisy ones."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(size=shape)
    images = (images + np.roll(images, 1, 1) + np.roll(images, 1, 2)) / 3
    return images, np.clip(images + 0.2 * rng.normal(size=shape), 0, 1)


# Similarity


@pytest.mark.parametrize("side", [11, 16, 21])
def test_one_scale_is_structural_similarity(side):
    images, others = blurred((4, side, side))
    expected = [
        structural_similarity(
            a,
            b,
            data_range=1.0,
            gaussian_weights=True,
            use_sample_covariance=False,
            sigma=1.5,
            full=True,
        )[1][5 : side - 5, 5 : side - 5].mean()
        for a, b in zip(images, others, strict=True)
    ]
    np.testing.assert_allclose(ms_ssim(images, others), expected, rtol=1e-6)


def halved(image):
    height, width = (side // 2 for side in image.shape)
    return image[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean((1, 3))


def similarities(a, b):
    """Contrast and whole similarity, one window after the other."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    found = []
    for i, j in itertools.product(range(a.shape[0] - 10), range(a.shape[1] - 10)):
        x, y = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
        mx, my = (window * x).sum(), (window * y).sum()
        vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
        cov = (window * (x - mx) * (y - my)).sum()
        contrast = (2 * cov + 0.03**2) / (vx + vy + 0.03**2)
        means = (2 * mx * my + 0.01**2) / (mx**2 + my**2 + 0.01**2)
        found.append((contrast, means * contrast))
    return np.mean(found, axis=0)


def test_scales_are_multiplied_window_by_window():
    images, others = blurred((2, 46, 50))
    weights = np.array(WEIGHTS[:3]) / sum(WEIGHTS[:3])
    for a, b, found in zip(images, others, ms_ssim(images, others), strict=True):
        expected = 1.0
        scales = [(a, b)]
        for _ in range(2):
            scales.append(tuple(halved(each) for each in scales[-1]))
        for scale, weight in enumerate(weights):
            contrast, whole = similarities(*scales[scale])
            expected *= max(whole if scale == 2 else contrast, 0) ** weight
        assert found == pytest.approx(expected)


@settings(max_examples=20, deadline=None)
@given(
    height=st.integers(2, 40),
    width=st.integers(2, 40),
    colours=st.sampled_from([(), (1,), (3,)]),
    seed=st.integers(0, 9),
)
def test_similarity_of_any_shape(height, width, colours, seed):
    images, others = blurred((3, height, width, *colours), seed)
    found = ms_ssim(images, others)
    assert found.shape == (3,)
    assert (found >= 0).all()
    assert (found <= 1 + 1e-9).all()
    np.testing.assert_allclose(ms_ssim(images, images), 1)
    np.testing.assert_allclose(ms_ssim(others, images), found)
    scaled = ms_ssim(255 * images, 255 * others, data_range=255)
    np.testing.assert_allclose(scaled, found)


def test_colours_are_averaged_and_batches_do_not_matter():
    images, others = blurred((300, 16, 16, 3))
    found = ms_ssim(images, others)
    of_each = [ms_ssim(images[..., c], others[..., c]) for c in range(3)]
    np.testing.assert_allclose(found, np.mean(of_each, axis=0))
    np.testing.assert_allclose(found[280:], ms_ssim(images[280:], others[280:]))


def test_more_noise_is_less_like():
    image = blurred((1, 64, 64))[0]
    values = [
        float(ms_ssim(image, image + level * RNG.normal(size=image.shape))[0])
        for level in (0.0, 0.05, 0.2, 0.8)
    ]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize(
    ("a", "b"),
    [((2, 8, 8), (2, 8, 9)), ((2, 8, 8), (3, 8, 8)), ((8, 8), (8, 8))],
)
def test_other_shapes_are_refused(a, b):
    with pytest.raises(ValueError, match="cannot be compared"):
        ms_ssim(np.zeros(a), np.zeros(b))


# Decoders


def flat(images):
    return images.reshape(len(images), -1)


class Nothing(TransformerMixin, BaseEstimator):
    """Features that tell nothing."""

    def transform(self, X):
        return np.random.default_rng(0).normal(size=(len(X), 16))

    def __sklearn_is_fitted__(self):
        return True


@pytest.mark.slow
def test_features_that_keep_more_are_reconstructed_better():
    images = DIGITS[:600]
    values = []
    for model in (
        Nothing(),
        make_pipeline(FunctionTransformer(flat), PCA(4)).fit(images),
        make_pipeline(FunctionTransformer(flat), PCA(40)).fit(images),
    ):
        found = reconstruct(model, images, n_epochs=12, random_state=0)
        assert found.images.shape == found.reconstructed.shape == (120, 8, 8)
        error = np.square(found.images - found.reconstructed).mean()
        assert found.mean_squared_error == pytest.approx(error)
        similar = ms_ssim(found.images, found.reconstructed).mean()
        assert found.ms_ssim == pytest.approx(similar)
        values.append(found)
    assert values[0].ms_ssim < values[1].ms_ssim < values[2].ms_ssim
    # Of what tells nothing, the mean of all images is the best reconstruction.
    spread = np.square(images / 16 - (images / 16).mean(0)).mean()
    assert values[0].mean_squared_error > 0.95 * spread
    assert values[0].mean_squared_error < 1.3 * spread
    assert values[2].mean_squared_error < 0.1 * spread
    assert values[2].ms_ssim > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(16, 12, 3), (3, 16, 20), (20, 9)])
def test_layers_of_images_of_any_kind(shape):
    images = RNG.integers(0, 256, (60, *shape), dtype=np.uint8)
    dim = DeepInfomaxTransformer(8, encoder="conv", max_iter=1, random_state=0)
    dim.fit(images)
    found = [
        reconstruct(dim, images[:40], X_test=images[40:], layer=layer, n_epochs=1)
        for layer in ("local", None)
    ]
    sides = [side for side in shape if side != 3]
    expected = (20, *sides, 3) if len(shape) == 3 else (20, *sides)
    for each in found:
        assert each.images.shape == each.reconstructed.shape == expected
        assert each.reconstructed.dtype == np.float32
        assert 0 <= each.reconstructed.min() <= each.reconstructed.max() <= 1
    assert "MS-SSIM" in str(found[0])


def test_both_parts_are_in_the_range_of_the_first():
    images = np.concatenate([DIGITS[:80], DIGITS[:20] / 2])
    model = make_pipeline(FunctionTransformer(flat), PCA(4)).fit(images)
    found = reconstruct(model, images[:80], X_test=images[80:], n_epochs=1)
    np.testing.assert_allclose(found.images, DIGITS[:20] / 32, atol=1e-6)


@pytest.mark.slow
def test_seeds_repeat_and_the_model_stays_as_it_was():
    images = DIGITS[:200]
    dim = DeepInfomaxTransformer(8, max_iter=1, random_state=0).fit(images)
    before = dim.transform(images)
    first, again, other = (
        reconstruct(dim, images, n_epochs=2, random_state=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.reconstructed, again.reconstructed)
    assert not np.array_equal(first.images, other.images)
    np.testing.assert_array_equal(dim.transform(images), before)


def test_what_cannot_be_reconstructed_is_refused():
    table = RNG.normal(size=(60, 9))
    dim = DeepInfomaxTransformer(8, max_iter=1).fit(table)
    with pytest.raises(ValueError, match="samples are read as table"):
        reconstruct(dim, table)
    dim = DeepInfomaxTransformer(8, max_iter=1).fit(DIGITS[:60])
    with pytest.raises(ValueError, match="layer='depth' is not a layer of this model"):
        reconstruct(dim, DIGITS[:60], layer="depth")
    with pytest.raises(ValueError, match="n_epochs=0"):
        reconstruct(dim, DIGITS[:60], n_epochs=0)
    with pytest.raises(TypeError, match="neither transform nor features"):
        reconstruct(object(), DIGITS[:60])
    many = RNG.uniform(size=(60, 2, 8, 8))
    dim = DeepInfomaxTransformer(8, max_iter=1).fit(many)
    with pytest.raises(ValueError, match="2 channels have no colours"):
        reconstruct(dim, many)


def test_the_display_has_images_above_and_reconstructions_below():
    pytest.importorskip("matplotlib").use("agg")
    images = DIGITS[:60]
    dim = DeepInfomaxTransformer(8, max_iter=1, random_state=0).fit(images)
    display = ReconstructionDisplay.from_estimator(
        dim, images, n_epochs=1, random_state=0
    )
    assert display.axes_.shape == (2, 10)
    found = display.reconstruction
    for row, pictures in zip(
        display.axes_, (found.images, found.reconstructed), strict=True
    ):
        for ax, picture in zip(row, pictures, strict=False):
            np.testing.assert_array_equal(ax.images[0].get_array(), picture)
    again = ReconstructionDisplay.from_results(found, ax=display.axes_)
    assert again.figure_ is display.figure_
