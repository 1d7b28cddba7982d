"""Conditional mutual information: closed forms, contracts, wrong input."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from sk_dim import conditional_mutual_information
from sk_dim.datasets import make_class_pairs

RNG = np.random.default_rng(0)
X60, Y60, Z60 = RNG.normal(size=(3, 60))
NOTHING = pytest.mark.filterwarnings("ignore:no dependence was found")


def quick(X, Y, Z, **params):
    params = {"max_iter": 20, "random_state": 0} | params
    return conditional_mutual_information(X, Y, Z, **params)


def draw_normal(n, partial, seed=0):
    """X and Y with a common cause Z, and a partial correlation beyond it."""
    rng = np.random.default_rng(seed)
    Z, a, b = rng.normal(size=(3, n))
    return Z + a, Z + partial * a + math.sqrt(1 - partial**2) * b, Z


@pytest.mark.slow
@pytest.mark.parametrize("partial", [0.0, 0.8])
def test_normal_variables_with_a_common_cause(partial):
    truth = -math.log(1 - partial**2) / 2
    assert quick(*draw_normal(1200, partial)) == pytest.approx(truth, abs=0.1)


@pytest.mark.slow
def test_two_coins_tell_together_whether_they_are_equal():
    X, Z = np.random.default_rng(0).integers(2, size=(2, 600))
    assert quick(X, X == Z, Z) == pytest.approx(math.log(2), abs=0.08)


@pytest.mark.slow
@NOTHING
@pytest.mark.parametrize("shape", [(8, 8), (1, 40)])
def test_samples_as_Y_and_as_Z(shape):
    samples = RNG.normal(size=(60, *shape))
    assert 0 <= quick(X60, samples, Z60, max_iter=1) < 0.5
    assert 0 <= quick(X60, Y60, samples, max_iter=1) < 0.5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*are copies of others")
def test_what_an_image_tells_beyond_another():
    digits, classes = load_digits(return_X_y=True)
    pairs = make_class_pairs(
        np.arange(len(digits))[:, None], classes, 3000, same=0.5, random_state=0
    )
    y, z = pairs[0][:, 0], pairs[1][:, 0]
    images, names = digits.reshape(-1, 8, 8), classes.astype(str)
    found = conditional_mutual_information(
        names[y], images[y], images[z], random_state=0
    )
    assert found == pytest.approx(math.log(10) - pairs[2], abs=0.25)


@NOTHING
def test_frames_of_mixed_columns_and_their_kinds():
    frame = pd.DataFrame({"a": X60, "b": ["u", "v"] * 30})
    every = quick(Y60, frame, Z60, max_iter=1)
    assert every >= 0
    told = ("auto", [False, True, False])
    assert quick(Y60, frame, Z60, max_iter=1, discrete=told) == every


@NOTHING
def test_names_of_joined_columns_say_whose_they_are():
    twice = pd.DataFrame([[1.5, 2.5], [2.5, 3.5]] * 30, columns=["q", "q"])
    assert quick(X60, Y60, twice, max_iter=1, discrete=np.False_) >= 0
    named = pd.DataFrame({"who": [f"n{i}" for i in range(60)]})
    with pytest.warns(UserWarning, match="'who' of Z.* has 60 different names"):
        quick(X60, Y60, named, max_iter=1)


@pytest.mark.slow
@NOTHING
def test_the_same_seed_gives_the_same_value():
    a, b = (quick(X60, Y60 + X60, Z60, max_iter=2) for _ in range(2))
    assert a == b


@pytest.mark.slow
@NOTHING
@pytest.mark.parametrize("kind", ["Y", "Z"])
def test_pixels_in_columns_are_the_images_that_they_look_like(kind):
    digits, classes = load_digits(n_class=3, return_X_y=True)
    names = classes.astype(str)
    other = np.random.default_rng(0).normal(size=len(digits))

    def value(images):
        pair = (images, other) if kind == "Y" else (other, images)
        return quick(names, *pair, max_iter=1)

    assert value(digits) == value(digits.reshape(-1, 8, 8))


@pytest.mark.filterwarnings("error")
def test_a_constant_condition_is_no_news():
    assert quick(X60, X60 + Y60, np.ones(60), max_iter=5) > 0


def test_a_constant_target_is_said_once():
    with pytest.warns(UserWarning, match="X is constant") as said:
        assert quick(np.ones(60), Y60, Z60) == 0
    assert len(said) == 1


@pytest.mark.filterwarnings("ignore:a continuous column is in both")
def test_a_copy_of_X():
    assert quick(X60, np.stack([X60, Y60], axis=1), Z60, max_iter=1) == math.inf
    assert math.isnan(quick(X60, Y60, X60, max_iter=1))


@pytest.mark.parametrize(
    ("Y", "Z", "params", "message"),
    [
        (Y60[:9], Z60, {}, "inconsistent numbers of samples"),
        (Y60, Z60[:9], {}, "inconsistent numbers of samples"),
        (np.zeros((60, 2, 2)), Z60, {}, r"Y has rows of shape \(2, 2\), which cannot"),
        (RNG.random((9, 8, 8)), Z60, {}, "inconsistent numbers of samples"),
        (Y60, np.full((60, 8, 8), np.nan), {}, "Input Z contains NaN"),
        (Y60, Z60 * np.nan, {}, "Input Z contains NaN"),
        (Y60, Z60 * np.inf, {}, r"Input Z contains infinity, or"),
        (
            Y60,
            pd.DataFrame({"a": Z60, "b": Z60 * np.inf}),
            {},
            r"Input Z contains infinity \(column 'b'\)",
        ),
        (Y60, Z60, {"representation": PCA(1)}, "=PCA for Y, which is joined with Z"),
        (Y60, Z60, {"bound": "mine"}, "bound='mine' is not known"),
        (Y60, Z60, {"discrete": ("auto", [True])}, "discrete has 1 entries for Y"),
    ],
)
def test_bad_input(Y, Z, params, message):
    with pytest.raises(ValueError, match=message):
        quick(X60, Y, Z, **params)
