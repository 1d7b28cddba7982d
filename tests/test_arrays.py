"""What a user may pass as X, and the sentence for what is no array of numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from sk_dim import DeepInfomaxClassifier, DeepInfomaxTransformer
from sk_dim._inputs._arrays import as_array, check_finite

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 9, 3), dtype=np.uint8)

DAYS = pd.date_range("2020", periods=2)


def objects(items):
    """Return a one-dimensional array of objects."""
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


class Picture:
    """What numpy makes an array of, as of images of PIL."""

    def __init__(self, array):
        self.__array_interface__ = array.__array_interface__
        self.array = array


@pytest.mark.parametrize(
    "pack",
    [
        list,
        tuple,
        lambda images: images.tolist(),
        lambda images: objects(list(images)),
        lambda images: objects(list(images))[:, None],
        lambda images: pd.Series(list(images)),
        lambda images: pd.DataFrame({"image": list(images)}),
        lambda images: pd.Series([image.tolist() for image in images]),
        lambda images: [Picture(image) for image in images],
        lambda images: [torch.from_numpy(image) for image in images],
        lambda images: [torch.tensor(image).float().requires_grad_() for image in images],
        lambda images: [torch.from_numpy(image).bfloat16() for image in images],
        torch.from_numpy,
        lambda images: np.ma.masked_array(images, mask=False),
        pl.Series,
        lambda images: pl.DataFrame({"image": images.tolist()}),
        lambda images: pa.table({"image": images.tolist()}),
        lambda images: pa.record_batch({"image": pa.FixedShapeTensorArray.from_numpy_ndarray(images)}),
    ],
    ids=["list", "tuple", "nested-list", "objects", "column-of-objects", "series",
         "frame", "series-of-lists", "pictures", "tensors", "tensors-with-grad",
         "bfloat16", "tensor", "nothing-masked", "polars-arrays", "polars-lists",
         "arrow-lists", "arrow-tensors"],
)  # fmt: skip
def test_samples_of_one_shape_are_stacked(pack):
    np.testing.assert_array_equal(as_array(pack(IMAGES)), IMAGES)


@pytest.mark.parametrize(
    "X",
    [[1.0, 2.0], np.arange(3.0), objects([1, 2.5]), [np.float64(1), np.float64(2)]],
    ids=["list", "array", "objects", "numpy-scalars"],
)
def test_single_numbers_are_no_samples(X):
    assert np.shape(as_array(X)) == (len(X),)


@pytest.fixture
def refused(monkeypatch):
    """Return a check that fit refuses X before it trains anything."""

    def train(*_, **__):
        raise AssertionError("training began")

    monkeypatch.setattr("sk_dim._training._net.InfomaxNet.train", train)

    def check(X, match, error=ValueError, **params):
        with pytest.raises(error, match=match) as caught:
            DeepInfomaxTransformer(**params).fit(X)
        assert "\n" not in str(caught.value)

    return check


@pytest.mark.parametrize(
    ("X", "match"),
    [
        (None, r"X is None, which is no array; pass one array of numbers"),
        ({"images": IMAGES}, r"X is dict, .*as in X\['images'\]"),
        ((image for image in IMAGES), r"X is generator, .*np.stack\(list\(X\)\)"),
        (map(np.sqrt, IMAGES), r"X is map, .*np.stack\(list\(X\)\)"),
        ({1, 2}, r"X is set, which is no array"),
        (DataLoader(TensorDataset(torch.zeros(4, 3))), r"X is DataLoader, .*for sample"),
        ("images.npy", r"X is 'images.npy', a string or path, .*; read the file first"),
        (Path("images.npy"), r"X is 'images.npy', a string or path"),
        (b"images", r"a string or path"),
        ([{"a": 1}, {"a": 2}], r"row 0 of X is dict"),
        (torch.eye(3).to_sparse(), r"Sparse data was passed for X"),
        (object(), r"X is object, which is no array"),
    ],
    ids=["none", "dict", "generator", "map", "set", "loader", "path-string",
         "path", "bytes", "records", "sparse-tensor", "object"],
)  # fmt: skip
def test_what_is_no_array(refused, X, match):
    refused(X, match, TypeError)
    with pytest.raises(TypeError, match=match):
        DeepInfomaxClassifier().fit(X, [0, 1, 0])
    with pytest.raises(TypeError, match=match):
        DeepInfomaxTransformer().partial_fit(X)


@pytest.mark.parametrize(
    ("X", "match"),
    [
        (["a.png", "b.png"], r"strings, such as 'a.png', .*read the files first"),
        ([Path("a.png"), Path("b.png")], r"strings, such as 'a.png'"),
        (np.array(["a.png", "b.png"]), r"strings, such as 'a.png'"),
        (objects(["a.png", "b.png"]), r"strings, such as 'a.png'"),
        (pd.Series(["a.png", "b.png"]), r"strings, such as 'a.png'"),
        (pd.DataFrame({"file": ["a.png", "b.png"]}), r"strings, such as 'a.png'"),
        (pd.DataFrame({"x": [1, 2], "y": ["u", "v"]}), r"strings, such as 'u' \(column 'y'\), .*encode"),
        (np.array([["u", "v"], ["w", "x"]]), r"strings, such as 'u'"),
        (IMAGES + 1j, r"Complex data not supported: X is complex128; pass real"),
        (torch.zeros(3, 8, 8, dtype=torch.cfloat), r"X is complex64"),
        ([np.zeros((20, 24)), np.zeros((21, 24))], r"different shapes: \(20, 24\), \(21, 24\); bring all to one shape first: images by"),
        ([Picture(IMAGES[0]), Picture(IMAGES[1, ..., :2].copy())], r"different shapes: \(8, 9, 3\), \(8, 9, 2\); .*ImageLoader"),
        ([np.zeros(n) for n in (5, 6, 7, 8, 9)], r"\(5,\), \(6,\), \(7,\) and 2 more"),
        ([[1.0, 2.0], [3.0]], r"different shapes: \(2,\), \(1,\)"),
        (objects([np.zeros((8, 8)), np.zeros((9, 8))]), r"different shapes"),
        (pd.DataFrame({"image": [np.zeros((8, 8)), np.zeros((9, 8))]}), r"different shapes"),
        (pd.DataFrame({"image": [np.zeros((8, 8)), None]}), r"row 1 of X is (None|nan), where"),
        (pd.DataFrame({"a": list(IMAGES), "b": list(IMAGES)}), r"X has several columns, and cells"),
        (np.zeros(3, dtype=[("a", float), ("b", float)]), r"X is a structured array"),
        (np.ma.masked_greater(IMAGES, 250), r"masked array with \d+ of 1080 values masked, .*X.filled"),
        ([np.ma.masked_less(image, 9) for image in IMAGES], r"masked array with"),
        (pd.DataFrame({"x": [1, 2], "day": DAYS}), r"dates or durations .* \(column 'day'\); convert"),
        (pa.table({"x": [1, 2], "day": DAYS}), r"dates or durations .* \(column 'day'\)"),
        (pl.DataFrame({"x": [1, 2], "day": DAYS}), r"dates or durations .* \(column 'day'\)"),
        (pd.DataFrame({"x": [1, 2], "day": DAYS.tz_localize("UTC")}), r"holds Timestamp objects, such as 2020-01-01 .* \(column 'day'\)"),
        (pd.DataFrame({"month": pd.period_range("2020", periods=2, freq="M")}), r"holds Period objects, such as 2020-01, where"),
        ([[day.date(), 1.0] for day in DAYS], r"holds date objects, such as 2020-01-01 \(column 0\)"),
        (pd.Categorical(["u", "v"]), r"strings, such as 'u', .*encode"),
        (pd.DataFrame({"x": [1, 2], "y": pd.Categorical(["u", "v"])}), r"strings, such as 'u' \(column 'y'\), .*encode"),
        (pl.DataFrame({"x": [1, 2], "y": ["u", "v"]}), r"strings, such as 'u' \(column 'y'\)"),
        (pd.DataFrame({"x": [1, 2], "y": np.array([1, pd.NA], dtype=object)}), r"missing values, such as <NA> \(column 'y'\); leave"),
    ],
    ids=["list-of-files", "paths", "array-of-files", "objects-of-files",
         "series-of-files", "frame-of-files", "mixed-frame", "strings", "complex",
         "complex-tensor", "sizes", "channels", "lengths", "ragged-lists",
         "objects-of-sizes", "frame-of-sizes", "missing-image", "two-image-columns",
         "structured", "masked", "list-of-masked", "pandas-dates", "arrow-dates",
         "polars-dates", "time-zone", "periods", "dates", "categories",
         "frame-of-categories", "polars-strings", "na"],
)  # fmt: skip
def test_what_is_no_array_of_numbers(refused, X, match):
    refused(X, match)


@pytest.mark.parametrize("shape", [(20, 12), (20, 4, 9), (20, 3, 8, 8)], ids=str)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "object"])
def test_missing_and_infinite_values_are_counted(refused, shape, dtype):
    X = np.zeros(shape).astype(dtype)
    X[3, 2] = X[7, 0] = np.nan
    refused(X, r"X contains NaN in 2 of 20 rows, the first of them row 3; leave such")
    X[1, 1] = -np.inf
    refused(X, r"contains NaN in 2 of 20 rows and infinity in 1 of 20 rows, .* row 1;")


def test_missing_values_of_frames_are_counted(refused):
    frame = pd.DataFrame({"a": pd.array([1, 2, None, 4], dtype="Int64"), "b": range(4)})
    refused(frame, r"X contains NaN in 1 of 4 rows, the first of them row 2")


def test_rows_are_found_in_whatever_block_they_lie(monkeypatch):
    monkeypatch.setattr("sk_dim._inputs._arrays.BLOCK_VALUES", 30)  # three rows
    X = np.zeros((20, 10), dtype=np.float32)
    check_finite(X)
    X[[5, 6, 17], 4] = np.nan
    with pytest.raises(
        ValueError, match="NaN in 3 of 20 rows, the first of them row 5"
    ):
        check_finite(X)


def test_large_finite_values_whose_sum_overflows_are_finite():
    check_finite(np.full((4, 5), 1.7e308))


@pytest.mark.parametrize("dtype", ["M8[ns]", "M8[D]", "M8[s]", "m8[ns]", "m8[h]"])
def test_missing_dates_are_refused_and_others_are_numbers(refused, dtype):
    X = np.arange(12).reshape(6, 2).astype(dtype)
    X[4, 1] = "NaT"
    refused(X, r"X contains NaT \(a missing date\) in 1 of 6 rows, .* row 4")
    refused(pd.DataFrame(X), r"X contains NaT")


def test_dates_mean_the_same_in_every_unit():
    days = np.arange("2020-01-01", "2020-03-01", dtype="M8[D]").reshape(-1, 2)
    model = DeepInfomaxTransformer(8, max_iter=1, random_state=0).fit(days)
    expected = model.transform(days)
    for unit in ("s", "ms", "us", "ns"):
        same = days.astype(f"M8[{unit}]")
        np.testing.assert_array_equal(model.transform(same), expected)
    months = np.array([["2020-01", "2020-02"]], dtype="M8[M]")
    model.transform(months)


def test_images_in_a_column_of_a_frame_are_images():
    frame = pd.DataFrame({"image": list(IMAGES)})
    model = DeepInfomaxTransformer(8, max_iter=1, random_state=0).fit(frame)
    assert model.input_shape_ == (3, 8, 9)
    np.testing.assert_array_equal(model.transform(frame), model.transform(IMAGES))
