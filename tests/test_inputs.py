import functools
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sk_dim import DeepInfomaxTransformer
from sk_dim._inputs._batches import rows_that_fit
from sk_dim._inputs._formats import InputFormat
from sk_dim._inputs._rows import Rows
from sk_dim._inputs._scaling import Scaling
from sk_dim._inputs._sources import ResidentRows, StreamedRows, to_device

CPU = torch.device("cpu")


def table(X):
    return Rows(X, InputFormat("table", X.shape[1:]))


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("uint8", torch.uint8),
        ("bool", torch.uint8),
        ("int8", torch.float32),
        ("uint16", torch.float32),
        ("float16", torch.float32),
        ("float32", torch.float32),
        ("int32", torch.float64),
        ("uint64", torch.float64),
        ("float64", torch.float64),
        (">f4", torch.float32),
        (">f8", torch.float64),
    ],
)
def test_batches_have_a_dtype_that_holds_the_values(dtype, expected):
    X = np.array([[0, 1], [1, 1], [1, 0]]).astype(dtype)
    batch = table(X).take(torch.tensor([2, 0]))
    assert batch.dtype == expected
    assert batch.tolist() == [[1, 0], [0, 1]]


def test_batches_share_no_memory_with_read_only_data():
    X = np.arange(6, dtype=np.float32).reshape(3, 2)
    X.flags.writeable = False
    for rows in (slice(0, 2), torch.tensor([0, 1])):
        table(X).take(rows).zero_()
    assert X.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_a_memory_map_is_read_by_the_batch(tmp_path):
    path = tmp_path / "X.npy"
    np.save(path, np.arange(24, dtype=np.uint8).reshape(4, 2, 3))
    X = np.load(path, mmap_mode="r")
    batch = Rows(X, InputFormat("image", (2, 3))).take(torch.tensor([1, 3]))
    assert batch.shape == (2, 1, 2, 3)
    assert batch[0, 0, 0].tolist() == [6, 7, 8]


@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(2, 30), st.integers(1, 4)),
        elements=st.floats(-1e6, 1e6),
    )
)
def test_scaling_of_tables_is_that_of_numpy(X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of constant X
        scaling = Scaling.learn(table(X), CPU)
    mean, std = X.mean(axis=0), X.std(axis=0)
    np.testing.assert_allclose(scaling.mean, mean, atol=1e-6 * np.abs(X).max())
    varies = std > 1e-6 * (1e-3 + np.abs(mean))
    np.testing.assert_allclose(scaling.std[varies], std[varies], rtol=1e-5)


def test_scaling_of_images_is_by_channel_and_in_blocks(monkeypatch):
    X = np.random.default_rng(0).normal(
        [[[[1]], [[5]]]], [[[[2]], [[9]]]], (50, 2, 8, 8)
    )
    monkeypatch.setattr("sk_dim._inputs._rows.BLOCK_VALUES", 1000)
    rows = Rows(X, InputFormat("image", (2, 8, 8), channel_axis=0))
    scaling = Scaling.learn(rows, CPU)
    np.testing.assert_allclose(scaling.mean.flatten(), X.mean(axis=(0, 2, 3)))
    np.testing.assert_allclose(scaling.std.flatten(), X.std(axis=(0, 2, 3)))
    scaled = scaling(rows.take(slice(0, 50)))
    assert scaled.dtype == torch.float32
    torch.testing.assert_close(
        scaled.mean(dim=(0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        scaled.var(dim=(0, 2, 3)), torch.ones(2), atol=1e-3, rtol=0
    )


def test_large_offsets_do_not_eat_the_digits_that_vary():
    X = 1.7e9 + np.arange(100.0)[:, None]  # seconds since 1970
    rows = table(X)
    scaled = Scaling.learn(rows, CPU)(rows.take(slice(0, 100)))
    expected = (np.arange(100.0) - 49.5) / np.arange(100.0).std()
    np.testing.assert_allclose(scaled[:, 0], expected, atol=1e-5)


def test_integers_and_floats_of_the_same_values_are_scaled_to_the_same_bits():
    X = np.random.default_rng(0).integers(0, 256, (40, 3), dtype=np.uint8)
    scaled = []
    for dtype in (np.uint8, np.float32):
        rows = table(X.astype(dtype))
        scaled.append(Scaling.learn(rows, CPU)(rows.take(slice(0, 40))))
    assert torch.equal(*scaled)


def test_constant_columns_are_centred_and_a_constant_table_draws_a_warning():
    X = np.column_stack([np.full(20, 0.1), np.arange(20.0)])
    scaled = Scaling.learn(table(X), CPU)(table(X).take(slice(0, 20)))
    assert scaled.isfinite().all()
    assert scaled[:, 0].abs().max() < 1e-6
    with pytest.warns(UserWarning, match="X is constant"):
        Scaling.learn(table(X[:, :1]), CPU)


def test_values_too_large_to_be_squared():
    X = np.array([[1e200], [-1e200]])
    with pytest.raises(ValueError, match="too large to be scaled"):
        Scaling.learn(table(X), CPU)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64"])
def test_resident_rows_are_those_of_the_array(dtype, monkeypatch):
    # Copied in blocks of two.
    monkeypatch.setattr("sk_dim._inputs._rows.BLOCK_VALUES", 50)
    X = np.random.default_rng(0).integers(0, 256, (9, 4, 5, 1)).astype(dtype)
    rows = Rows(X, InputFormat("image", (4, 5, 1), channel_axis=2))
    scaling = Scaling.learn(rows, CPU)
    resident, streamed = ResidentRows(rows, scaling), StreamedRows(rows, scaling)
    assert len(resident) == len(streamed) == 9
    for part in (slice(2, 5), torch.tensor([8, 0, 3])):
        assert torch.equal(resident.take(part), streamed.take(part))
        resident.take(part).zero_()
    everything = resident.take(slice(0, 9))
    assert torch.equal(everything, streamed.take(slice(0, 9)))
    assert everything.dtype == torch.float32
    # No wider than what the device computes with.
    assert resident.samples.element_size() == min(4, X.itemsize)


def test_groups_stay_with_the_rows_wherever_these_are():
    X, groups = np.arange(6.0).reshape(3, 2), np.array([1, 0, 1])
    scaling = Scaling.learn(table(X), CPU)
    for source in (StreamedRows, ResidentRows):
        assert source(table(X), scaling, groups).groups.tolist() == [1, 0, 1]
        assert source(table(X), scaling).groups is None
    assert to_device(table(X), scaling, groups).groups.tolist() == [1, 0, 1]


def test_on_the_cpu_rows_stay_where_they_are():
    X = np.arange(6.0).reshape(3, 2)
    source = to_device(table(X), Scaling.learn(table(X), CPU))
    assert isinstance(source, StreamedRows)
    assert source.rows.X is X


def test_a_drawn_sample_is_of_different_rows_and_bounded():
    X = np.arange(3000)[:, None]
    numbers, drawn = table(X).draw(seed=0)
    assert torch.equal(table(X).take(numbers), drawn)
    drawn = drawn[:, 0]
    assert len(drawn) == len(drawn.unique()) == 2000
    assert not torch.equal(drawn, table(X).draw(seed=1)[1][:, 0])
    assert len(table(np.zeros((200, 2**17), dtype=np.uint8)).draw(0)[0]) == 64
    # Two samples of 2**25 values are enough to cut patches from.
    large = Rows(
        np.broadcast_to(np.uint8(0), (3, 2**25)), InputFormat("table", (2**25,))
    )
    large.take = lambda drawn: drawn
    assert len(large.draw(0)[0]) == 2


@pytest.mark.parametrize(
    ("n_features", "expected"),
    [(1, 512), (3 * 32 * 32, 512), (2**13, 512), (2**14, 256), (2**22, 1), (2**30, 1)],
)
def test_large_samples_are_encoded_a_few_at_a_time(n_features, expected):
    assert rows_that_fit(n_features, most=512) == expected


FILL_VALUES = [9.96921e36, -3.4028235e38, 1e20, -1e30]


@functools.cache
def fitted(shape):
    X = np.random.default_rng(0).normal(size=shape)
    return DeepInfomaxTransformer(8, max_iter=1, random_state=0).fit(X), X


def ones_at(X, where, value):
    X = X.copy()
    X[where] = value
    return X


@pytest.mark.parametrize("value", [*FILL_VALUES, 1e300, -1e308, 1e19])
@pytest.mark.parametrize("shape", [(30, 12), (30, 8, 9), (30, 3, 8, 8)], ids=str)
def test_values_too_large_for_the_scaling_are_refused_in_transform(value, shape):
    model, X = fitted(shape)
    bad = ones_at(X, (4, 1), value)
    for method in (model.transform, model.features, model.score):
        with pytest.raises(ValueError, match=r"the value .*e\+\d+, which is more than"):
            method(bad)
    if abs(value) < 3e38:
        with pytest.raises(ValueError, match="X holds the value"):
            model.transform(bad.astype(np.float32))
    assert np.isfinite(model.transform(ones_at(X, (4, 1), 1e6))).all()


def test_rows_are_checked_block_by_block_before_training_goes_on(monkeypatch):
    monkeypatch.setattr("sk_dim._inputs._rows.BLOCK_VALUES", 8)
    X = np.random.default_rng(0).normal(size=(30, 4))
    scaling = Scaling.learn(table(X), CPU)
    scaling.check(table(X))
    with pytest.raises(ValueError, match=r"X holds the value 1e\+200"):
        scaling.check(table(ones_at(X, (29, 3), 1e200)))


def test_training_never_asks_for_the_size_of_values():
    X = np.random.default_rng(0).normal(size=(30, 4))
    scaled = Scaling.learn(table(X), CPU)(torch.full((1, 4), 1e30))
    assert (scaled > 1e20).all()  # refused only where no gradients are computed


@pytest.mark.parametrize("value", FILL_VALUES)
@pytest.mark.parametrize("n_filled", [1, 5, 300])
def test_a_spread_that_comes_from_fill_values_draws_a_warning(value, n_filled):
    X = np.random.default_rng(0).normal(100, 20, size=(1000, 3))
    X[:n_filled, 1] = value
    with pytest.warns(UserWarning, match=r"spread of column 1 of X .*e\+\d\d, be"):
        Scaling.learn(table(X), CPU)
    images = np.random.default_rng(0).normal(100, 20, size=(100, 6, 5, 2))
    images[: max(1, n_filled // 30), :, 2, 1] = value
    rows = Rows(images.astype(np.float32), InputFormat("image", (6, 5, 2), 2))
    with pytest.warns(UserWarning, match=r"spread of channel 1 of X"):
        Scaling.learn(rows, CPU)


@pytest.mark.parametrize(
    "column",
    [
        lambda rng: rng.normal(size=1000),
        lambda rng: np.exp(6 * rng.normal(size=1000)),
        lambda rng: (np.arange(1000) == 7).astype(float),
        lambda rng: (rng.random(1000) < 0.3) * 1e9,
        lambda rng: rng.poisson(0.01, 1000) * rng.normal(1e5, 1, 1000),
        lambda rng: rng.standard_cauchy(1000),
        lambda rng: 1.7e9 + rng.random(1000),
        lambda rng: np.where(rng.random(1000) < 0.2, 0, 1.7e9 + 1e6 * rng.random(1000)),
        lambda rng: 1e-30 * rng.normal(size=1000),
    ],
    ids=["normal", "lognormal", "one-on", "binary", "sparse-prices", "cauchy",
         "offset", "dates-or-zero", "tiny"],
)  # fmt: skip
def test_other_spreads_draw_no_warning(column):
    rng = np.random.default_rng(0)
    Scaling.learn(table(np.column_stack([column(rng), rng.normal(size=1000)])), CPU)


def test_columns_that_vary_by_less_than_a_float_holds_are_no_larger_than_others():
    start = 1_700_000_000_000_000_000  # nanoseconds since 1970
    X = start + np.random.default_rng(0).integers(0, 10**6, (50, 2))
    scaling = Scaling.learn(table(X), CPU)
    assert scaling(table(X).take(slice(0, 50))).abs().max() < 2


def test_huge_constants_are_scaled_to_nearly_nothing():
    X = np.column_stack([np.full(7, 1e100), np.arange(7)])
    scaled = Scaling.learn(table(X), CPU)(table(X).take(slice(0, 7)))
    assert scaled[:, 0].abs().max() < 0.01


def test_statistics_are_not_moved_at_each_step(monkeypatch):
    X = np.random.default_rng(0).normal(size=(30, 4))
    scaling = Scaling.learn(table(X), CPU)
    moved = []
    move = torch.Tensor.to
    monkeypatch.setattr(
        torch.Tensor,
        "to",
        lambda self, *a, **k: moved.append(self) or move(self, *a, **k),
    )
    scaling(table(X).take(slice(0, 4)))
    assert not any(t is s for t in moved for s in (scaling.mean, scaling.std))
