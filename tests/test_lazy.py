"""Samples that are read by rows: memory maps, h5py, zarr, dask, data sets, shards."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    TensorDataset,
)

from sk_dim import DeepInfomaxClassifier, DeepInfomaxTransformer
from sk_dim._inputs._formats import InputFormat
from sk_dim._inputs._rows import Rows
from sk_dim._inputs._scaling import Scaling
from sk_dim._inputs._shards import ShardedRows
from sk_dim._inputs._streams import cut, shuffle
from sk_dim.arrays import DatasetArray, LazyArray, chunk_rows, is_lazy, read

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(300, 5)).astype(np.float32)
IMAGES = RNG.integers(0, 256, (120, 3, 8, 8), dtype=np.uint8)
FAST = {"n_components": 8, "max_iter": 1, "random_state": 0, "batch_size": 32}


class Recorded:
    """An array that is read by rows, and remembers which."""

    def __init__(self, X, chunks=None):
        self.X, self.shape, self.dtype = X, X.shape, X.dtype
        self.seen = []
        if chunks:
            self.chunks = (chunks, *X.shape[1:])

    def __getitem__(self, rows):
        if not isinstance(rows, slice):
            assert (np.diff(rows) > 0).all(), "rows rise, without repeats"
        self.seen.append(np.arange(len(self.X))[rows])
        return self.X[rows]


class Announced(Recorded):
    """An array that is told which rows come next, and remembers whether they came."""

    def __init__(self, X, chunks=None):
        super().__init__(X, chunks)
        self.told, self.came = None, []

    def read_ahead(self, rows):
        self.told = np.unique(np.arange(len(self.X))[rows])

    def __getitem__(self, rows):
        found = super().__getitem__(rows)
        self.came.append(np.array_equal(self.seen[-1], self.told))
        self.told = None
        return found


def memmap(X, folder):
    np.save(folder / "X.npy", X)
    return np.load(folder / "X.npy", mmap_mode="r")


def h5(X, folder):
    h5py = pytest.importorskip("h5py")
    return h5py.File(folder / "X.h5", "w").create_dataset("X", data=X)


def h5_chunked(X, folder):
    h5py = pytest.importorskip("h5py")
    file = h5py.File(folder / "X.h5", "w")
    return file.create_dataset("X", data=X, chunks=(50, *X.shape[1:]), compression=1)


def zarr_array(X, folder):
    zarr = pytest.importorskip("zarr")
    array = zarr.create_array(
        store=str(folder / "X.zarr"),
        shape=X.shape,
        dtype=X.dtype,
        chunks=(50, *X.shape[1:]),
    )
    array[:] = X
    return array


def dask_array(X, folder):
    return pytest.importorskip("dask.array").from_array(X, chunks=(50, *X.shape[1:]))


def dataset(X, folder):
    return TensorDataset(torch.from_numpy(X), torch.zeros(len(X)))


KINDS = [memmap, h5, h5_chunked, zarr_array, dask_array, dataset]


# Reading


@pytest.mark.parametrize("kind", KINDS[:-1], ids=lambda kind: kind.__name__)
def test_rows_are_read_in_any_order_and_with_repeats(kind, tmp_path):
    X = kind(IMAGES, tmp_path)
    assert is_lazy(X)
    rows = RNG.integers(0, 120, 40)
    np.testing.assert_array_equal(read(X, rows), IMAGES[rows])
    np.testing.assert_array_equal(read(X, slice(10, 90)), IMAGES[10:90])
    assert read(X, slice(0, 2)).flags.writeable


@pytest.mark.parametrize(
    "X",
    [TABLE, TABLE.tolist(), torch.zeros(3, 2), np.float32(3), "text", None],
    ids=["array", "list", "tensor", "number", "string", "none"],
)
def test_what_lies_in_memory_is_not_lazy(X):
    assert not is_lazy(X)


def test_frames_are_not_lazy():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(TABLE)
    assert not is_lazy(frame)
    assert not is_lazy(frame[0])
    assert isinstance(Recorded(TABLE), LazyArray)


@pytest.mark.parametrize(
    ("kind", "n_rows"),
    [(memmap, None), (h5, None), (h5_chunked, 50), (zarr_array, 50), (dask_array, 50)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_chunks_are_told(kind, n_rows, tmp_path):
    assert chunk_rows(kind(IMAGES, tmp_path)) == n_rows


# Fit and transform


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "data",
    [TABLE, pytest.param(IMAGES, marks=pytest.mark.slow)],
    ids=["table", "images"],
)
def test_features_are_those_of_the_array(kind, data, tmp_path):
    X = kind(data, tmp_path)
    fitted = DeepInfomaxTransformer(**FAST).fit(X)
    assert fitted.n_features_in_ == data[0].size
    assert fitted.history_[-1]["loss"] < 10
    expected = fitted.transform(data)
    np.testing.assert_allclose(fitted.transform(X), expected, atol=1e-5)
    assert fitted.score(X) == pytest.approx(fitted.score(data), abs=0.3)
    if chunk_rows(X) is None:  # the same batches, so the same bits
        other = DeepInfomaxTransformer(**FAST).fit(data)
        np.testing.assert_array_equal(other.transform(data), expected)
    else:
        again = DeepInfomaxTransformer(**FAST).fit(X)
        np.testing.assert_array_equal(again.transform(data), expected)


@pytest.mark.slow
def test_series_and_classifier_and_partial_fit_read_by_rows():
    series = RNG.normal(size=(60, 2, 20)).astype(np.float32)
    series[3, :, 15:] = np.nan  # the end of a shorter one
    X = Recorded(series, chunks=16)
    dim = DeepInfomaxTransformer(input_type="series", **FAST).fit(X)
    np.testing.assert_allclose(dim.transform(X), dim.transform(series), atol=1e-5)
    y = np.where(np.arange(300) < 20, TABLE[:, 0] > 0, -1)
    model = DeepInfomaxClassifier(DeepInfomaxTransformer(**FAST), n_steps=3)
    assert model.fit(Recorded(TABLE), y).predict(Recorded(TABLE)).shape == (300,)
    partial = DeepInfomaxTransformer(**FAST)
    for start in (0, 100):
        partial.partial_fit(Recorded(TABLE[start : start + 100]))
    assert partial.n_iter_ == 2


@pytest.mark.parametrize(
    "params", [{"fine_tune": "head"}, {"fine_tune": "spread"}, {"pretrain": False}]
)
def test_a_classifier_reads_the_rows_that_it_needs(params):
    y = np.where(np.arange(300) < 20, TABLE[:, 0] > 0, -1)
    dim = DeepInfomaxTransformer(**FAST).fit(TABLE)
    found, expected = (
        DeepInfomaxClassifier(dim, n_steps=3, random_state=0, **params).fit(X, y)
        for X in (Recorded(TABLE), TABLE)
    )
    np.testing.assert_allclose(found.coef_, expected.coef_, atol=1e-4)
    assert found.score(Recorded(TABLE), y) == expected.score(TABLE, y)


def test_only_batches_are_read_in_training():
    X = Recorded(IMAGES)
    DeepInfomaxTransformer(encoder="conv", **FAST).fit(X)
    batches = X.seen[-4:]
    assert [len(rows) for rows in batches[:3]] != [120] * 3
    assert max(map(len, batches)) <= 48


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_scaling_reads_ahead(share, monkeypatch):
    monkeypatch.setattr("sk_dim._inputs._rows.BLOCK_VALUES", 40 * 5)
    monkeypatch.setattr("sk_dim._inputs._rows.MOST_VALUES", int(share * TABLE.size))
    monkeypatch.setattr("sk_dim._inputs._rows.N_SLICES", 10)
    X = Announced(TABLE)
    scaling = Scaling.learn(Rows(X, InputFormat("table", (5,))), torch.device("cpu"))
    n_blocks = 8 if share == 1 else 10
    assert X.came[:n_blocks] == [False] + [True] * (n_blocks - 1)
    read = np.concatenate(X.seen[:n_blocks])
    assert len(np.unique(read)) == len(read) == share * 300
    np.testing.assert_allclose(scaling.mean, TABLE[read].mean(axis=0), atol=1e-6)


def test_shuffled_chunks_are_read_ahead(monkeypatch):
    monkeypatch.setattr("sk_dim._inputs._rows.BLOCK_VALUES", 30 * 3 * 8 * 8)
    X = Announced(IMAGES, chunks=7)
    rows = Rows(X, InputFormat("image", (3, 8, 8), 0))
    blocks = rows.shuffled_blocks(torch.Generator().manual_seed(0))
    for numbers, samples in blocks:
        np.testing.assert_array_equal(samples, IMAGES[numbers])
    assert X.came == [False, True, True, True, True]


@pytest.mark.slow
@pytest.mark.parametrize("unlabelled", [True, False])
def test_fine_tuning_reads_ahead_and_changes_no_bit_by_it(unlabelled):
    n_steps = 8
    y = (TABLE[:, 0] > 0).astype(int)
    if unlabelled:
        y[20:] = -1
    options = {"n_steps": n_steps, "fine_tune": "all", "random_state": 0}
    dim = DeepInfomaxTransformer(**FAST).fit(TABLE)
    X = Announced(TABLE)
    model = DeepInfomaxClassifier(dim, **options).fit(X, y)
    # Behind the steps, one row is looked at, and all standardise the features.
    sizes = [len(rows) for rows in X.seen[-2 - n_steps :]]
    assert max(sizes[:-2]) <= 160
    assert sizes[-2:] == [1, 300]
    assert X.came[-2 - n_steps : -2] == [False] + [True] * (n_steps - 1)
    expected = DeepInfomaxClassifier(dim, **options).fit(TABLE, y)
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    checked = options | {"early_stopping": True}
    found, expected = (
        DeepInfomaxClassifier(dim, **checked).fit(each, y).coef_ for each in (X, TABLE)
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("chunks", [None, 7], ids=["rows", "chunks"])
def test_scaling_of_large_files_is_learnt_from_slices_all_over(chunks, monkeypatch):
    monkeypatch.setattr("sk_dim._inputs._rows.MOST_VALUES", 30 * 5)
    monkeypatch.setattr("sk_dim._inputs._rows.N_SLICES", 20)
    X = Recorded(TABLE + np.linspace(0, 50, 300, dtype=np.float32)[:, None], chunks)
    dim = DeepInfomaxTransformer(**FAST)
    dim.fit(X)
    mean, std = dim.model_.scaling.mean.flatten(), dim.model_.scaling.std.flatten()
    np.testing.assert_allclose(mean, X.X.mean(axis=0), atol=2)
    np.testing.assert_allclose(std, X.X.std(axis=0), rtol=0.1)


def test_chunks_are_read_once_an_epoch_and_as_a_whole():
    X = Recorded(IMAGES, chunks=50)
    dim = DeepInfomaxTransformer(encoder="conv", **FAST | {"max_iter": 1}).fit(X)
    X.seen.clear()
    dim.set_params(warm_start=True).fit(X)
    passes = np.concatenate(X.seen)
    counts = np.bincount(passes)
    # Some first rows are looked at too.
    assert counts[8:].tolist() == [1] * 112
    X.seen.clear()
    dim.transform(X)
    assert np.bincount(np.concatenate(X.seen)).tolist() == [1] * 120


@pytest.mark.slow
def test_held_out_rows_and_groups_go_with_their_rows():
    groups = np.repeat(np.arange(30), 10)
    kinds = [TABLE, Recorded(TABLE), Recorded(TABLE, chunks=50), lambda: [TABLE]]
    for X in kinds:
        dim = DeepInfomaxTransformer(validation_fraction=0.3, **FAST)
        dim.fit(X, groups=groups)
        assert np.isfinite(dim.history_[-1]["valid_loss"])


# Shards


def sliced(X, *edges):
    """A function that yields an array in parts."""
    return lambda: iter(np.split(X, edges))


def test_shards_train_on_all_their_rows():
    dim = DeepInfomaxTransformer(**FAST).fit(sliced(TABLE, 40, 41, 200))
    np.testing.assert_allclose(
        dim.model_.scaling.mean.flatten(), TABLE.mean(axis=0), atol=1e-5
    )
    np.testing.assert_allclose(
        dim.model_.scaling.std.flatten(), TABLE.std(axis=0), atol=1e-5
    )
    assert dim.transform(TABLE).shape == (300, 8)
    # Where the shards are cut does not matter.
    other = DeepInfomaxTransformer(**FAST).fit(sliced(TABLE, 150))
    assert other.history_[-1]["loss"] == pytest.approx(dim.history_[-1]["loss"], 0.1)


def test_shards_of_images_series_and_frames():
    pd = pytest.importorskip("pandas")
    images = DeepInfomaxTransformer(encoder="conv", **FAST)
    assert images.fit(sliced(IMAGES, 50)).transform(IMAGES).shape == (120, 8)
    walks = RNG.normal(size=(50, 1, 30)).cumsum(axis=2)
    series = DeepInfomaxTransformer(input_type="series", **FAST)
    assert series.fit(sliced(walks, 20)).transform(walks).shape == (50, 8)
    frame = pd.DataFrame(TABLE, columns=list("abcde"))
    table = DeepInfomaxTransformer(**FAST).fit(lambda: [frame[:150], frame[150:]])
    assert list(table.feature_names_in_) == list("abcde")


def test_samples_that_are_kept_of_shards_come_with_their_numbers():
    X = np.arange(6000.0)[:, None]
    cuts = [0, 0, 10, 2500, 2501, 4000]
    rows = ShardedRows(DeepInfomaxTransformer(), lambda: np.split(X, cuts))
    numbers, samples = rows.draw(seed=0)
    assert len(numbers.unique()) == 2000
    assert torch.equal(samples[:, 0].long(), numbers)


def test_a_data_loader_gives_shards():
    loader = DataLoader(TensorDataset(torch.from_numpy(TABLE), torch.zeros(300)), 64)
    dim = DeepInfomaxTransformer(**FAST).fit(lambda: (batch for batch, _ in loader))
    assert dim.n_features_in_ == 5


def test_training_goes_on_with_shards():
    dim = DeepInfomaxTransformer(warm_start=True, **FAST)
    dim.fit(sliced(TABLE, 100))
    dim.fit(sliced(TABLE, 200))
    assert dim.n_iter_ == 2


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=8),
    n_buffer=st.integers(1, 40),
    seed=st.integers(0, 9),
    data=st.data(),
)
def test_a_stream_holds_every_row_once(lengths, n_buffer, seed, data):
    n = sum(lengths)
    ends = np.cumsum(lengths)
    blocks = [
        (torch.arange(end - length, end), torch.arange(end - length, end) * 10)
        for length, end in zip(lengths, ends, strict=True)
    ]
    n_cuts = data.draw(st.integers(0, 5))
    edges = sorted(data.draw(st.integers(0, n)) for _ in range(n_cuts))
    sizes = np.diff([0, *edges, n]).tolist()
    mixed = shuffle(blocks, n_buffer, torch.Generator().manual_seed(seed))
    batches = list(cut(mixed, [size for size in sizes if size]))
    assert [len(numbers) for numbers, _ in batches] == [size for size in sizes if size]
    if batches:
        numbers, samples = (torch.cat(part) for part in zip(*batches, strict=True))
        assert numbers.sort().values.tolist() == list(range(n))
        assert (samples == numbers * 10).all()


def test_a_buffer_mixes_neighbours_apart():
    blocks = [(torch.arange(i, i + 100), torch.zeros(100)) for i in range(0, 3000, 100)]
    mixed = shuffle(blocks, 1000, torch.Generator().manual_seed(0))
    numbers = torch.cat([rows for rows, _ in mixed])
    assert (numbers.diff().abs() > 100).float().mean() > 0.6


# What cannot be read


@pytest.mark.parametrize(
    ("X", "match"),
    [
        (Recorded(np.zeros(5)), "Expected 2D array, got 1D array instead: X is Record"),
        (Recorded(np.zeros((1, 4))), r"1 sample\(s\) .* while a minimum of 2"),
        (Recorded(np.zeros((9, 0))), r"0 feature\(s\)"),
        (Recorded(np.full((9, 2), "a")), "is Recorded of dtype <U1, but only numbers"),
        (Recorded(TABLE * 1j), "Complex data not supported"),
        (lambda: [], r"Found shards with 0 sample\(s\)"),
        (lambda: [TABLE[:1]], r"Found shards with 1 sample\(s\)"),
        (lambda: [TABLE, TABLE[:, :4]], "shard 1: X has 4 features, but .* 5 features"),
        (lambda: [IMAGES, IMAGES[:, :, :4]], "shard 1: X has samples of shape"),
        (lambda: [TABLE, TABLE * np.inf], "shard 1: X contains .*infinity in"),
    ],
    ids=["axis", "one", "empty", "strings", "complex", "no-shards", "one-in-shards",
         "columns", "shape", "infinite"],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_what_cannot_be_read_is_told_before_training(X, match):
    with pytest.raises(ValueError, match=match):
        DeepInfomaxTransformer(**FAST).fit(X)


@pytest.mark.parametrize("chunks", [None, 50], ids=["rows", "chunks"])
def test_what_is_not_finite_is_told_with_its_row(chunks):
    X = TABLE.copy()
    X[123, 2] = np.nan
    match = "X contains NaN in 1 of .* read together, the first of them row 123"
    dim = DeepInfomaxTransformer(**FAST)
    with pytest.raises(ValueError, match=match):
        dim.fit(Recorded(X, chunks))
    assert not hasattr(dim, "model_")
    dim.fit(TABLE)
    with pytest.raises(ValueError, match=match):
        dim.transform(Recorded(X, chunks))


def test_an_array_that_changes_size_is_told():
    X = Recorded(TABLE)
    X.X = TABLE[:200]
    with pytest.raises(ValueError, match=r"of shape \(300, 5\), but cannot be read"):
        DeepInfomaxTransformer(**FAST).fit(X)


def test_shards_that_change_are_told():
    given = iter([[TABLE], [TABLE], [TABLE[:200]]])
    with pytest.raises(ValueError, match="the shards gave fewer rows than the 300"):
        DeepInfomaxTransformer(**FAST).fit(lambda: next(given))
    given = iter([[TABLE[:200]], [TABLE]])
    with pytest.raises(ValueError, match="the shards gave more rows than the 200"):
        DeepInfomaxTransformer(**FAST).fit(lambda: next(given))
    with pytest.raises(ValueError, match="groups has 20 values for 300 rows"):
        DeepInfomaxTransformer(**FAST).fit(sliced(TABLE, 50), groups=np.arange(20))
    with pytest.raises(TypeError, match="a function that returned int, which is no"):
        DeepInfomaxTransformer(**FAST).fit(lambda: 3)


@pytest.mark.parametrize(
    "one",
    [IMAGES, torch.zeros(9, 4), "a.npy", {"a": TABLE}, Recorded(TABLE)],
    ids=lambda one: type(one).__name__,
)
def test_a_function_that_returns_one_array_is_told(one):
    name = type(one).__name__
    with pytest.raises(TypeError, match=f"a function that returned one {name}, whose"):
        DeepInfomaxTransformer(**FAST).fit(lambda: one)


def test_shards_without_rows_are_left_out():
    whole = DeepInfomaxTransformer(**FAST).fit(sliced(TABLE, 150))
    parts = [TABLE[:0], TABLE[:150], [], TABLE[:0, :3], TABLE[150:]]
    dim = DeepInfomaxTransformer(**FAST).fit(lambda: parts)
    np.testing.assert_array_equal(dim.transform(TABLE), whole.transform(TABLE))


def test_functions_that_need_arguments_are_told_before_training():
    with pytest.raises(TypeError, match=r"X is called with no arg.* \(folder\)"):
        DeepInfomaxTransformer(**FAST).fit(lambda folder: [TABLE])
    for name in ("augment", "bound", "critic", "encoder"):
        dim = DeepInfomaxTransformer(**FAST | {name: lambda batch: batch})
        with pytest.raises(TypeError, match=rf"{name} is called with .* \(batch\) \("):
            dim.fit(TABLE)


def test_shards_are_refused_before_training_where_features_are_asked_for():
    dim = DeepInfomaxTransformer(**FAST)
    model = make_pipeline(dim, LogisticRegression())
    for method in (dim.fit_transform, model.fit):
        with pytest.raises(TypeError, match="X is a function, which only fit takes"):
            method(sliced(TABLE, 50), np.arange(300) % 2)
    assert not hasattr(dim, "model_")


def test_only_fit_takes_shards():
    dim = DeepInfomaxTransformer(**FAST).fit(TABLE)
    for method in (dim.transform, dim.score, dim.partial_fit):
        with pytest.raises(TypeError, match="only fit takes a function that yields"):
            method(sliced(TABLE, 50))
    with pytest.raises(TypeError, match="only fit takes a function"):
        DeepInfomaxClassifier().fit(sliced(TABLE, 50), np.arange(300) % 2)


class Flawed(Recorded):
    """An array that lacks something."""

    def __init__(self, X, lacks=(), read=None, **attributes):
        super().__init__(X)
        for name in lacks:
            delattr(self, name)
        self.__dict__.update(attributes)
        self.read = read

    def __getitem__(self, rows):
        return super().__getitem__(rows) if self.read is None else self.read(rows)


class Unreadable:
    shape, dtype = (300, 5), np.dtype("float32")


def by_slices(rows):
    if not isinstance(rows, slice):
        raise TypeError("slices only")
    return TABLE[rows]


@pytest.mark.parametrize(
    ("X", "error", "match"),
    [
        (Flawed(TABLE, lacks=["dtype"]), TypeError, "for it has no dtype; give it a"),
        (Unreadable(), TypeError, "Unreadable, which cannot .* has no __getitem__"),
        (Flawed(TABLE, shape=[300, 5]), TypeError, "its shape is a list; give it a"),
        (Flawed(TABLE, read=by_slices), ValueError, r"an index array \(slices only\)"),
        (Flawed(TABLE, dtype=torch.float32), ValueError, "of dtype torch.float32, but"),
        (Flawed(TABLE, dtype="c8"), ValueError, "Complex data not supported: X is c8"),
    ],
    ids=["dtype", "getitem", "shape", "slices", "torch-dtype", "complex"],
)
def test_small_flaws_of_arrays_are_told(X, error, match):
    with pytest.raises(error, match=match):
        DeepInfomaxTransformer(**FAST).fit(X)


def test_a_dtype_may_be_a_string():
    X = Flawed(IMAGES[:, 0] / 255, dtype="float64")
    assert DeepInfomaxTransformer(**FAST).fit(X).transform(X).shape == (120, 8)


def test_groups_of_arrays_are_told(tmp_path):
    group = pytest.importorskip("zarr").create_group(store=str(tmp_path / "X.zarr"))
    group.create_array("train", shape=(9, 3), dtype="f4")
    with pytest.raises(TypeError, match=r"X is Group, .*as in X\['train'\]"):
        DeepInfomaxTransformer().fit(group)


class Endless(IterableDataset):
    def __iter__(self):
        return iter(TABLE)


class Ragged(TensorDataset):
    def __getitem__(self, i):
        return np.full((3, 8, 8 + (i == 7)), i)


class Items(Dataset):
    """A data set of what a function makes of a number."""

    def __init__(self, item):
        self.item = item

    def __len__(self):
        return 20

    def __getitem__(self, i):
        return self.item(i)


class WithoutLength(Dataset):
    def __getitem__(self, i):
        return TABLE[i]


@pytest.mark.parametrize(
    ("item", "match"),
    [
        (
            lambda i: {"image": TABLE, "y": 0},
            "is a dict with the keys 'image', 'y'; it",
        ),
        (
            lambda i: ("a.png", 0),
            r"is tuple, \('a.png', 0\); items must be samples, ar",
        ),
        (lambda i: None, "item 0 of the data set is NoneType"),
        (lambda i: (1.5, 0), r"is tuple, \(1.5, 0\); items must be samples"),
    ],
    ids=["dict", "paths", "none", "numbers"],
)
def test_items_that_are_no_samples_are_told(item, match):
    with pytest.raises(TypeError, match=match):
        DeepInfomaxTransformer(**FAST).fit(Items(item))


def test_data_sets_that_cannot_be_read():
    with pytest.raises(TypeError, match=r"WithoutLength, .*; define its __len__"):
        DeepInfomaxTransformer(**FAST).fit(WithoutLength())
    uneven = Items(lambda i: np.zeros((1, 20 + i)))
    with pytest.raises(ValueError, match="of unequal length can be a list of arrays"):
        DeepInfomaxTransformer(input_type="series", **FAST).fit(uneven)
    with pytest.raises(TypeError, match="Endless, a data set without a length"):
        DeepInfomaxTransformer(**FAST).fit(Endless())
    with pytest.raises(ValueError, match="item 7 of the data set is of shape"):
        DeepInfomaxTransformer(**FAST).fit(Ragged(torch.zeros(20)))
    with pytest.raises(ValueError, match="a data set without items"):
        DeepInfomaxTransformer(**FAST).fit(TensorDataset(torch.zeros(0, 2)))


def test_items_of_data_sets_may_be_images_and_come_by_the_batch():
    Image = pytest.importorskip("PIL.Image")

    class Photos(TensorDataset):
        def __getitem__(self, i):
            return Image.fromarray(IMAGES[i].transpose(1, 2, 0)), 0

    X = DatasetArray(Photos(torch.zeros(120)))
    assert X.shape == (120, 8, 8, 3)
    assert X.dtype == np.uint8
    np.testing.assert_array_equal(X[:3], IMAGES[:3].transpose(0, 2, 3, 1))
    both = DatasetArray(ConcatDataset([Photos(torch.zeros(120))] * 2))
    np.testing.assert_array_equal(both[np.array([0, 120])], X[np.array([0, 0])])
