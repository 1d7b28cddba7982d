"""Collections of the package aeon go in as they are; skipped where it is missing."""

import numpy as np
import pytest

from sk_dim import DeepInfomaxTransformer

conversion = pytest.importorskip("aeon.utils.conversion")
datasets = pytest.importorskip("aeon.datasets")


def fit(X):
    return DeepInfomaxTransformer(
        32, input_type="series", max_iter=1, random_state=0
    ).fit(X)


@pytest.mark.parametrize("form", ["np-list", "df-list"])
def test_forms_of_a_collection_of_one_length(form):
    X, _ = datasets.load_basic_motions(split="train")  # (40, 6, 100)
    model = fit(X)
    converted = conversion.convert_collection(X, form)
    np.testing.assert_array_equal(model.transform(converted), model.transform(X))


def test_forms_of_a_collection_of_unequal_lengths():
    X, _ = datasets.load_japanese_vowels(split="train")  # a list of (12, 7 to 26)
    model = fit(X[:60])
    assert model.input_shape_[0] == 12
    converted = conversion.convert_collection(X[:60], "df-list")
    np.testing.assert_array_equal(model.transform(converted), model.transform(X[:60]))


def test_rows_of_a_wide_frame_are_series():
    X, _ = datasets.load_gunpoint(split="train")
    wide = conversion.convert_collection(X, "pd-wide")
    np.testing.assert_allclose(
        fit(wide).transform(wide), fit(X).transform(X), atol=1e-4
    )


def test_a_frame_in_long_format_goes_in_by_the_recipe():
    X, _ = datasets.load_basic_motions(split="train")
    frame = conversion.convert_collection(X, "pd-multiindex")
    model = fit(X)
    with pytest.raises(ValueError, match="groupby"):
        model.transform(frame)
    series = [part.to_numpy().T for _, part in frame.groupby(level=0)]
    np.testing.assert_array_equal(model.transform(series), model.transform(X))
