"""Features that go into files, lazy arrays and batches of engines for large data."""

import pickle

import numpy as np
import pytest
from sklearn import config_context

from sk_dim import DeepInfomaxTransformer

X = np.random.default_rng(0).normal(size=(70, 4)).astype(np.float32)
IMAGES = np.random.default_rng(0).integers(0, 256, (40, 3, 8, 8), dtype=np.uint8)


@pytest.fixture(scope="module")
def dim():
    return DeepInfomaxTransformer(8, max_iter=1, random_state=0).fit(X)


@pytest.fixture(scope="module")
def of_images():
    params = {"encoder": "conv", "max_iter": 1, "random_state": 0}
    return DeepInfomaxTransformer(8, **params).fit(IMAGES)


# Into what is given


def in_memory(folder, shape):
    return np.empty(shape, dtype=np.float32)


def memmap(folder, shape):
    return np.lib.format.open_memmap(folder / "Z.npy", "w+", "float32", shape)


def h5(folder, shape):
    file = pytest.importorskip("h5py").File(folder / "Z.h5", "w")
    return file.create_dataset("Z", shape, "float32", chunks=(16, shape[1]))


def zarr_array(folder, shape):
    zarr = pytest.importorskip("zarr")
    return zarr.create_array(
        store=str(folder / "Z.zarr"), shape=shape, dtype="float32", chunks=(16, 8)
    )


@pytest.mark.parametrize(
    "make", [in_memory, memmap, h5, zarr_array], ids=lambda make: make.__name__
)
def test_features_are_written_into_out(dim, make, tmp_path, monkeypatch):
    monkeypatch.setattr("sk_dim._inputs._outputs.WRITTEN_VALUES", 8 * 20)
    monkeypatch.setattr("sk_dim._training._model.ENCODED_AT_ONCE", 13)
    out = make(tmp_path, (70, 8))
    assert dim.transform(X, out=out) is out
    np.testing.assert_allclose(np.asarray(out[:]), dim.transform(X), atol=1e-6)


class Chunked:
    """Remembers which rows were written together."""

    shape, dtype, chunks = (70, 8), np.dtype("float32"), (16, 8)

    def __init__(self):
        self.written = []

    def __setitem__(self, rows, values):
        self.written.append((rows.start, rows.stop))


def test_whole_chunks_are_written(dim, monkeypatch):
    monkeypatch.setattr("sk_dim._inputs._outputs.WRITTEN_VALUES", 8 * 20)
    monkeypatch.setattr("sk_dim._training._model.ENCODED_AT_ONCE", 13)
    out = Chunked()
    dim.transform(X, out=out)
    assert out.written == [(0, 32), (32, 64), (64, 70)]


@pytest.mark.parametrize(
    ("out", "error", "match"),
    [
        (
            np.zeros((70, 9), np.float32),
            ValueError,
            r"shape \(70, 9\) and float32, but",
        ),
        (np.zeros((70, 8)), ValueError, r"\(70, 8\) and float64, but .* and float32"),
        (
            [[0.0] * 8] * 70,
            TypeError,
            "out is list, which cannot be written to by rows",
        ),
        (np.broadcast_to(np.float32(0), (70, 8)), ValueError, "ndarray, is read-only"),
    ],
    ids=["shape", "dtype", "list", "read-only"],
)
def test_what_cannot_be_written_to(dim, out, error, match):
    with pytest.raises(error, match=match):
        dim.transform(X, out=out)
    assert not np.any(out)


@pytest.mark.parametrize("kind", [memmap, h5, zarr_array], ids=lambda k: k.__name__)
def test_files_that_are_only_read_are_refused_before_anything_is_computed(
    dim, kind, tmp_path, monkeypatch
):
    out = kind(tmp_path, (70, 8))
    if kind is memmap:
        out = np.load(tmp_path / "Z.npy", mmap_mode="r")
    elif kind is h5:
        out.file.close()
        out = pytest.importorskip("h5py").File(tmp_path / "Z.h5")["Z"]
    else:
        out = pytest.importorskip("zarr").open_array(tmp_path / "Z.zarr", mode="r")
    monkeypatch.setattr(type(dim.model_), "encode", None)
    with pytest.raises(ValueError, match="is read-only; open files and memory maps"):
        dim.transform(X, out=out)


# Dask


def test_a_dask_array_gives_one_that_is_not_computed(dim, monkeypatch):
    da = pytest.importorskip("dask.array")
    calls = []
    encode = DeepInfomaxTransformer._encode_batch

    def recorded(self, X):
        calls.append(len(X))
        return encode(self, X)

    monkeypatch.setattr(DeepInfomaxTransformer, "_encode_batch", recorded)
    Z = dim.transform(da.from_array(X, chunks=(20, 3)))
    assert isinstance(Z, da.Array)
    assert (Z.shape, Z.dtype, Z.chunks[0]) == ((70, 8), np.float32, (20, 20, 20, 10))
    assert calls == [], "nothing was computed, not even of no rows"
    np.testing.assert_allclose(Z.compute(), dim.transform(X), atol=1e-6)
    assert sorted(calls) == [10, 20, 20, 20]


def test_dask_arrays_of_images(of_images):
    da = pytest.importorskip("dask.array")
    lazy = da.from_array(IMAGES, chunks=(16, 1, 8, 4))
    Z = of_images.transform(lazy)
    np.testing.assert_allclose(Z.compute(), of_images.transform(IMAGES), atol=1e-5)
    of_unknown = of_images.transform(lazy[lazy[:, 0, 0, 0] < 200])
    kept = IMAGES[IMAGES[:, 0, 0, 0] < 200]
    np.testing.assert_allclose(
        of_unknown.compute(), of_images.transform(kept), atol=1e-5
    )
    with pytest.raises(ValueError, match="samples of shape"):
        of_images.transform(lazy[:, :2])
    with pytest.raises(ValueError, match=r"compute_chunk_sizes\(\) counts them"):
        DeepInfomaxTransformer().fit(lazy[lazy[:, 0, 0, 0] < 200])


def test_the_model_is_in_a_dask_graph_once(dim):
    da = pytest.importorskip("dask.array")
    Z = dim.transform(da.from_array(X, chunks=(5, 4)))
    few = dim.transform(da.from_array(X, chunks=(35, 4)))
    size, of_few = (len(pickle.dumps(each.__dask_graph__())) for each in (Z, few))
    assert size < 1.5 * of_few


# Batches of engines


def stack(column):
    return np.stack([np.asarray(each) for each in column])


def test_batches_of_all_kinds_get_a_column_of_features(dim):
    pa, pl = pytest.importorskip("pyarrow"), pytest.importorskip("polars")
    pd = pytest.importorskip("pandas")
    add = pickle.loads(pickle.dumps(dim.batch_function("sample", output="z")))
    expected = dim.transform(X)
    name = [str(i) for i in range(70)]
    table = pa.table({"sample": list(X), "name": name})
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), 4)
    for batch in (
        {"sample": X, "name": name},
        {"sample": X.tolist(), "name": name},
        table,
        table.to_batches()[0],
        pa.table({"sample": fixed, "name": name}),
        pl.DataFrame({"sample": X, "name": name}),
        pl.DataFrame({"sample": X.tolist(), "name": name}),
        pd.DataFrame({"sample": list(X), "name": name}),
    ):
        found = add(batch)
        assert isinstance(found, type(batch))
        is_arrow = hasattr(found, "schema") and hasattr(found, "column")
        values = found["z"].to_pylist() if is_arrow else found["z"]
        np.testing.assert_allclose(stack(values), expected, atol=1e-6)
        assert list(found["name"].to_pylist() if is_arrow else found["name"]) == name


def test_batches_of_columns_are_tables(dim):
    pa, pl = pytest.importorskip("pyarrow"), pytest.importorskip("polars")
    columns = dict(zip("abcd", X.T, strict=True))
    add = dim.batch_function()
    expected = dim.transform(X)
    np.testing.assert_allclose(add(X), expected, atol=1e-6)
    np.testing.assert_allclose(add(columns)["features"], expected, atol=1e-6)
    found = add(pa.table(columns))["features"].to_pylist()
    np.testing.assert_allclose(stack(found), expected, atol=1e-6)
    frame = add(pl.DataFrame(columns))
    np.testing.assert_allclose(frame["features"].to_numpy(), expected, atol=1e-6)
    assert add(X[:0]).shape == (0, 8)


def test_images_and_series_in_batches(of_images):
    add = of_images.batch_function("image")
    expected = of_images.transform(IMAGES)
    for images in (IMAGES, IMAGES.tolist(), list(IMAGES)):
        found = add({"image": images})["features"]
        np.testing.assert_allclose(found, expected, atol=1e-5)
    walks = [np.random.default_rng(i).normal(size=(1, 20 + i)) for i in range(30)]
    series = DeepInfomaxTransformer(8, input_type="series", max_iter=1, random_state=0)
    found = series.fit(walks).batch_function("walk")({"walk": walks})["features"]
    np.testing.assert_allclose(found, series.transform(walks), atol=1e-5)


def batches(columns):
    """Batches of these columns, of every kind that has names."""
    pa, pl = pytest.importorskip("pyarrow"), pytest.importorskip("polars")
    pd = pytest.importorskip("pandas")
    table = pa.table(columns)
    frames = [pl.DataFrame(columns), pd.DataFrame(columns)]
    return [table, table.to_batches()[0], *frames, columns]


COLUMNS = dict(zip("abcd", X.T, strict=True))


@pytest.fixture(scope="module")
def of_names():
    frame = pytest.importorskip("pandas").DataFrame(COLUMNS)
    return DeepInfomaxTransformer(8, max_iter=1, random_state=0).fit(frame)


def features_of(batch):
    features = batch["features"]
    return stack(features.to_pylist() if hasattr(features, "to_pylist") else features)


def test_columns_are_taken_by_the_names_that_fit_saw(dim, of_names):
    expected = dim.transform(X)
    others = {"id": [str(i) for i in range(70)], "label": np.arange(70)}
    turned = dict(reversed(COLUMNS.items()))
    for batch in batches(others | turned):
        found = of_names.batch_function()(batch)
        np.testing.assert_allclose(features_of(found), expected, atol=1e-6)
    renamed = dict(zip("Abcd", X.T, strict=True))
    for batch in batches(renamed):
        with pytest.raises(ValueError, match=r"no column 'a', but 'A', .* fit saw, or"):
            of_names.batch_function()(batch)
    # Samples that are no frame have no names, which nobody needs to be warned of.
    np.testing.assert_allclose(of_names.batch_function()(X), expected, atol=1e-6)
    found = of_names.batch_function("x")({"x": list(X)})
    np.testing.assert_allclose(features_of(found), expected, atol=1e-6)


def test_record_batches_keep_their_names(of_names):
    pa = pytest.importorskip("pyarrow")
    turned = dict(reversed(COLUMNS.items()))
    right, wrong = pa.record_batch(COLUMNS), pa.record_batch(turned)
    expected = of_names.transform(pa.table(COLUMNS))
    np.testing.assert_array_equal(of_names.transform(right), expected)
    model = DeepInfomaxTransformer(8, max_iter=1, random_state=0).fit(right)
    assert model.feature_names_in_.tolist() == list("abcd")
    with pytest.raises(ValueError, match="must be in the same order"):
        of_names.transform(wrong)
    with pytest.raises(ValueError, match=r"shard 1: .*feature names should match"):
        model.fit(lambda: [right, wrong])


def test_single_columns_are_tables_of_one():
    pd = pytest.importorskip("pandas")
    column = X[:, 0]
    one = DeepInfomaxTransformer(8, max_iter=1, random_state=0).fit(column[:, None])
    expected = one.transform(column[:, None])
    add = one.batch_function()
    for batch in (column, pd.Series(column)):
        np.testing.assert_array_equal(add(batch), expected)
    for batch in ({"a": column}, {"a": column.tolist()}, pd.DataFrame({"a": column})):
        np.testing.assert_allclose(features_of(add(batch)), expected, atol=1e-6)


def test_a_column_that_is_not_there_is_told(dim):
    with pytest.raises(ValueError, match="no column 'x', but 'image', 'y'; name"):
        dim.batch_function("x")({"image": X, "y": X[:, 0]})
    with pytest.raises(ValueError, match="the batch has no columns"):
        dim.batch_function("x")({})
    with pytest.raises(ValueError, match=r"different lengths: {'a': 70, 'b': 3}"):
        dim.batch_function()({"a": X[:, 0], "b": X[:3, 0]})


def test_no_column_is_replaced_by_features(dim):
    for batch in batches(COLUMNS | {"features": X[:, 0]}):
        with pytest.raises(ValueError, match=r"has a column 'features' already"):
            dim.batch_function()(batch)
    with pytest.raises(ValueError, match="output='x' is the column of the samples"):
        dim.batch_function("x", output="x")


@pytest.mark.parametrize("column", [3, ["a", "b"]], ids=str)
def test_names_of_columns_are_strings(dim, column):
    with pytest.raises(TypeError, match=r"column=.* must be a string, .*, or None"):
        dim.batch_function(column)
    with pytest.raises(TypeError, match=r"output=.* must be a string, the name of one"):
        dim.batch_function(output=column)


def test_batches_that_are_not_computed_are_told(dim):
    frame = pytest.importorskip("polars").DataFrame(COLUMNS).lazy()
    with pytest.raises(TypeError, match=r"X is LazyFrame, .*; as in X.collect\(\)"):
        dim.batch_function()(frame)


def test_pandas_output_stays_that_of_the_estimator_alone(dim):
    pd = pytest.importorskip("pandas")
    model = DeepInfomaxTransformer(8, max_iter=1).fit(X).set_output(transform="pandas")
    assert isinstance(model.batch_function()(X), np.ndarray)
    assert isinstance(model.transform(X), pd.DataFrame)


def test_frames_are_not_made_of_what_stays_out_of_memory(dim):
    da = pytest.importorskip("dask.array")
    lazy = da.from_array(X, chunks=(20, 4))
    model = DeepInfomaxTransformer(8, max_iter=1).fit(X).set_output(transform="pandas")
    out = np.empty((70, 8), np.float32)
    match = r"set_output\(transform='pandas'\) makes a frame in memory"
    with pytest.raises(ValueError, match=match):
        model.transform(lazy)
    with pytest.raises(ValueError, match=match):
        model.transform(X, out=out)
    new = DeepInfomaxTransformer(8, max_iter=1)
    with (
        config_context(transform_output="pandas"),
        pytest.raises(ValueError, match=match),
    ):
        new.fit_transform(lazy)
    assert not hasattr(new, "model_"), "it is refused before the training"
    model.set_output(transform="default")
    assert model.transform(X, out=out) is out
    assert isinstance(model.transform(lazy), da.Array)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")  # of Ray about itself
def test_ray_data_maps_batches(dim):
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        data = ray.data.from_numpy(X).map_batches(dim.batch_function("data"))
        found = stack([row["features"] for row in data.take_all()])
    finally:
        ray.shutdown()
    np.testing.assert_allclose(found, dim.transform(X), atol=1e-6)


@pytest.mark.slow
def test_data_sets_of_hugging_face_map_batches(dim):
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"sample": X.tolist()})
    found = data.map(dim.batch_function("sample"), batched=True, batch_size=32)
    np.testing.assert_allclose(stack(found["features"]), dim.transform(X), atol=1e-6)
