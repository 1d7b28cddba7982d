import colorsys

import numpy as np
import pytest

from sk_dim.datasets import IMAGE_FACTORS, SERIES_FACTORS, make_images, make_series


@pytest.mark.parametrize(
    ("make", "factor"),
    [(make_images, factor) for factor in IMAGE_FACTORS]
    + [(make_series, factor) for factor in SERIES_FACTORS],
)
def test_classes_are_balanced_and_data_repeat_with_the_seed(make, factor):
    X, y = make(factor, 60, random_state=3)
    counts = np.bincount(y)
    assert counts.min() == counts.max()
    again, y_again = make(factor, 60, random_state=3)
    np.testing.assert_array_equal(X, again)
    np.testing.assert_array_equal(y, y_again)
    assert not np.array_equal(X, make(factor, 60, random_state=4)[0])


def is_colored(image):
    """Pixels of the wedge: the background is grey."""
    spread = image.max(axis=-1).astype(int) - image.min(axis=-1)
    return spread > 80


def hue(image):
    red, green, blue = image[is_colored(image)].mean(axis=0) / 255
    return colorsys.rgb_to_hsv(red, green, blue)[0]


def test_hue_tells_the_third_of_the_color_circle():
    X, y = make_images("hue", 90, random_state=0)
    for image, label in zip(X, y, strict=True):
        assert label / 3 - 0.02 < hue(image) < (label + 0.8) / 3 + 0.02


def test_orientation_tells_which_half_of_the_wedge_is_higher():
    X, y = make_images("orientation", 90, random_state=0)
    for image, label in zip(X, y, strict=True):
        heights = is_colored(image).sum(axis=0)
        columns = np.flatnonzero(heights)
        left = heights[columns[: len(columns) // 2]].sum()
        right = heights[columns[-(len(columns) // 2) :]].sum()
        assert (left > right) == (label == 1)  # the tip is where it is low


def test_position_tells_the_quarter():
    X, y = make_images("position", 90, random_state=0)
    for image, label in zip(X, y, strict=True):
        rows, columns = np.nonzero(is_colored(image))
        quarter = 2 * (rows.mean() > 15.5) + (columns.mean() > 15.5)
        assert quarter == label


def test_size_tells_how_many_pixels_the_wedge_has():
    X, y = make_images("size", 90, random_state=0)
    n_pixels = np.array([is_colored(image).sum() for image in X])
    for small in (0, 1):
        assert n_pixels[y == small].max() < n_pixels[y == small + 1].min()


def test_three_pixels_of_the_wedge_are_dark_where_there_is_a_defect():
    X, y = make_images("defect", 90, random_state=0)
    n_dark = (X.max(axis=-1) < 30).sum(axis=(1, 2))
    np.testing.assert_array_equal(n_dark, 3 * y)


def test_amplitude_tells_the_spread_of_the_series():
    X, y = make_series("amplitude", 90, random_state=0)
    spread = X.std(axis=(1, 2))
    for small in (0, 1):
        assert spread[y == small].max() < spread[y == small + 1].min()


def test_direction_tells_whether_steps_up_or_down_are_the_large_ones():
    X, y = make_series("direction", 90, random_state=0)
    smooth = X[:, 0].reshape(90, -1, 2).mean(axis=2)
    steps = np.diff(smooth)
    rises_fast = (steps**3).mean(axis=1) > 0
    assert (rises_fast == (y == 1)).mean() > 0.97


def test_phase_tells_where_in_its_period_a_series_starts():
    X, y = make_series("phase", 90, random_state=0)
    wave = np.exp(-2j * np.pi * 4 * np.arange(128) / 128)
    phase = np.angle(X[:, 0] @ wave) / (2 * np.pi)
    off = (phase - (y + 0.3) / 4 + 0.5) % 1 - 0.5
    assert (np.abs(off) < 1 / 8).all()


def test_the_label_is_about_its_factor_only():
    """The other factors vary alike in all classes."""
    X, y = make_images("orientation", 600, random_state=0)
    hues = np.array([hue(image) for image in X])
    n_pixels = np.array([is_colored(image).sum() for image in X])
    for values in (hues, n_pixels):
        means = [values[y == label].mean() for label in (0, 1)]
        error = values.std() * np.sqrt(4 / len(values))
        assert abs(means[0] - means[1]) < 4 * error


def test_unknown_factors_and_sizes_are_refused():
    with pytest.raises(ValueError, match="factor='color' is unknown; choose"):
        make_images("color")
    with pytest.raises(ValueError, match="choose one of amplitude, direction, phase"):
        make_series("hue")
    with pytest.raises(ValueError, match="side=8, but a wedge needs 16 pixels"):
        make_images("hue", side=8)
    with pytest.raises(ValueError, match="length=16, but four periods need 32"):
        make_series("phase", length=16)
