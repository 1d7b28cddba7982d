"""Series of unequal length, with gaps, and of another length than in fit."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from sk_dim import DeepInfomaxClassifier, DeepInfomaxTransformer
from sk_dim._inputs._formats import InputFormat
from sk_dim._inputs._rows import Rows
from sk_dim._inputs._scaling import Scaling
from sk_dim._inputs._series import fill_gaps
from sk_dim._training._pseudo_labels import erase_box
from sk_dim.augmentations import flip
from sk_dim.encoders._lengths import map_lengths, view_lengths

FAST = {"input_type": "series", "n_components": 32, "max_iter": 1, "random_state": 0}


def draw_series(n=24, n_channels=2, lengths=(20, 33, 40), seed=0):
    """Random walks of random lengths as a list of (channels, length)."""
    rng = np.random.default_rng(seed)
    return [
        rng.normal(size=(n_channels, length)).cumsum(axis=1)
        for length in rng.choice(lengths, size=n)
    ]


def pad(series, axis=-1):
    """Stack series, NaN behind the last value of each."""
    longest = max(each.shape[axis] for each in series)
    widths = [longest - each.shape[axis] for each in series]
    axes = range(series[0].ndim)
    return np.stack(
        [
            np.pad(
                each,
                [(0, w if i == axis % each.ndim else 0) for i in axes],
                constant_values=np.nan,
            )
            for each, w in zip(series, widths, strict=True)
        ]
    )


@pytest.fixture(scope="module")
def series():
    return draw_series()


@pytest.fixture(scope="module")
def fitted(series):
    return DeepInfomaxTransformer(**FAST).fit(series)


def test_features_are_those_of_each_series_alone(fitted, series):
    together = fitted.transform(series)
    for i in (0, 7, 23):
        np.testing.assert_allclose(
            fitted.transform([series[i]])[0], together[i], atol=1e-5
        )
        np.testing.assert_allclose(
            fitted.transform(series[i][None])[0], together[i], atol=1e-5
        )
    assert len(np.unique(together.round(4), axis=0)) == len(series)


def as_objects(series):
    array = np.empty(len(series), dtype=object)
    array[:] = series
    return array


def as_nested_frame(series):
    columns = range(len(series[0]))
    return pd.DataFrame({f"c{j}": [pd.Series(s[j]) for s in series] for j in columns})


FORMS = {
    "padded": pad,
    "objects": as_objects,
    "tensors": lambda series: [torch.from_numpy(each) for each in series],
    "frames": lambda series: [pd.DataFrame(each) for each in series],
    "nested frame": as_nested_frame,
    "column of a frame": lambda series: pd.DataFrame({"x": series}),
    "pandas series": pd.Series,
    "lists": lambda series: [each.tolist() for each in series],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_all_forms_of_a_collection_are_one(form, fitted, series):
    np.testing.assert_array_equal(
        fitted.transform(form(series)), fitted.transform(series)
    )


@pytest.mark.parametrize("data_format", ["auto", "channels_last"])
def test_time_may_come_first(data_format, fitted, series):
    turned = [each.T for each in series]
    model = DeepInfomaxTransformer(**FAST, data_format=data_format).fit(turned)
    expected = fitted.transform(series)
    np.testing.assert_allclose(model.transform(turned), expected, atol=1e-6)
    np.testing.assert_allclose(
        model.transform(pad(turned, axis=0)), expected, atol=1e-6
    )


def test_series_of_one_channel_may_be_rows(series):
    rows = [each[0] for each in series]
    model = DeepInfomaxTransformer(**FAST).fit(rows)
    assert model.input_shape_ == (1, max(map(len, rows)))
    np.testing.assert_array_equal(model.transform(pad(rows)), model.transform(rows))
    other = DeepInfomaxTransformer(**FAST).fit([row[None] for row in rows])
    np.testing.assert_array_equal(
        model.transform(rows), other.transform([row[None] for row in rows])
    )


def test_padding_does_not_count_in_the_scaling(series):
    model = DeepInfomaxTransformer(**FAST).fit(series)
    joined = np.concatenate(series, axis=1)
    scaling = model.model_.scaling
    np.testing.assert_allclose(scaling.mean.flatten(), joined.mean(axis=1))
    np.testing.assert_allclose(scaling.std.flatten(), joined.std(axis=1))


def test_an_unequal_fit_counts_in_time_and_an_equal_one_in_shares():
    wave = np.sin(np.arange(160) / 3)[None]
    unequal = [wave[:, :length] for length in range(40, 80, 2)]
    equal = [wave[:, i : i + 60] for i in range(20)]
    once, twice = wave[:, :57], wave[:, :114]  # three and six periods
    for train, factor in ((unequal, 2.0), (equal, 1.0)):
        model = DeepInfomaxTransformer(**FAST).fit(train)
        n_counts, n_shares, *_ = model.encoder_.n_each
        hidden = [model.features([each])["hidden"][0] for each in (once, twice)]
        shares = [each[n_counts : n_counts + n_shares] for each in hidden]
        assert np.median(shares[1].sum() / shares[0].sum()) == pytest.approx(
            factor, rel=0.1
        )


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_gaps_are_filled_as_numpy_interpolates(data):
    n_channels, length = data.draw(st.integers(1, 3)), data.draw(st.integers(2, 12))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    series = rng.normal(size=(2, n_channels, length))
    series[rng.random(series.shape) < data.draw(st.sampled_from([0.0, 0.3, 0.7]))] = (
        np.nan
    )
    series[:, :, 0] = 1.0  # every channel has a value
    filled = fill_gaps(torch.from_numpy(series.copy())).numpy()
    for before, after in zip(series, filled, strict=True):
        last = np.flatnonzero(~np.isnan(before).all(axis=0))[-1]
        times = np.arange(last + 1)
        for channel, values in zip(before, after, strict=True):
            known = np.flatnonzero(~np.isnan(channel))
            expected = np.interp(times, known, channel[known])
            np.testing.assert_array_equal(values[: last + 1], expected)
            assert np.isnan(values[last + 1 :]).all()


def test_gaps_leave_features_nearly_as_they_are(fitted, series):
    with_gaps = [each.copy() for each in series]
    for each in with_gaps:
        each[0, 5] = np.nan
    expected = [each.copy() for each in series]
    for each in expected:
        each[0, 5] = (each[0, 4] + each[0, 6]) / 2
    np.testing.assert_allclose(
        fitted.transform(with_gaps), fitted.transform(expected), atol=1e-5
    )


def test_functions_of_equal_lengths_are_mapped_over_all():
    batch = torch.from_numpy(pad(draw_series(9, lengths=(3, 4, 6))))
    sums, ends = map_lengths(lambda x: (x.sum(dim=2), x[:, :, -1]), batch)
    torch.testing.assert_close(sums, batch.nansum(dim=2))
    known = [row[:, ~row[0].isnan()] for row in batch]
    torch.testing.assert_close(ends, torch.stack([row[:, -1] for row in known]))


def test_views_keep_the_padding_of_each_series():
    batch = torch.from_numpy(pad(draw_series(40, lengths=(3, 5, 8))))
    view = view_lengths(flip, batch, torch.Generator().manual_seed(0))
    assert torch.equal(view.isnan(), batch.isnan())
    known = [
        (b[:, ~b[0].isnan()], v[:, ~v[0].isnan()])
        for b, v in zip(batch, view, strict=True)
    ]
    is_flipped = [torch.equal(v, b.flip(1)) for b, v in known]
    is_same = [torch.equal(v, b) for b, v in known]
    assert all(a or b for a, b in zip(is_flipped, is_same, strict=True))
    assert 0 < sum(is_flipped) < 40


def test_a_box_is_not_erased_from_the_padding():
    batch = torch.from_numpy(pad(draw_series(20)))
    erased = erase_box(batch, 3, torch.Generator().manual_seed(0))
    assert torch.equal(erased.isnan(), batch.isnan())
    assert (erased[3:] == 0).any()
    assert not (erased[:3] == 0).any()


def test_another_length_can_be_encoded(series):
    X = np.stack([each[:, :20] for each in series])
    model = DeepInfomaxTransformer(**FAST).fit(X)
    for other in (X[:, :, :2], X[:, :, :13], np.tile(X, 5), series):
        Z = model.transform(other)
        assert Z.shape == (len(X), 32)
        assert np.isfinite(Z).all()
    assert np.isfinite(model.score(series))
    rows = DeepInfomaxTransformer(**FAST).fit(X[:, 0])
    np.testing.assert_allclose(
        rows.transform(X[:, 0, :15]), rows.transform(X[:, :1, :15][:, 0]), atol=1e-6
    )
    model.partial_fit(series)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(model)).transform(series), model.transform(series)
    )


def test_collections_go_through_all_of_scikit_learn(series):
    y = np.arange(len(series)) % 2
    series = [each + 5 * label for each, label in zip(series, y, strict=True)]
    pipeline = make_pipeline(DeepInfomaxTransformer(**FAST), LogisticRegression())
    assert cross_val_score(pipeline, series, y, cv=2).mean() > 0.7
    given = np.where(np.arange(len(y)) < 6, y, -1)
    model = DeepInfomaxClassifier(
        DeepInfomaxTransformer(**FAST), n_steps=5, random_state=0
    ).fit(series, given)
    assert model.score(series, y) > 0.7


def replace_row(series, row, value):
    return [value if i == row else each for i, each in enumerate(series)]


def frame_in_long_format():
    index = pd.MultiIndex.from_product([range(5), range(20)])
    return pd.DataFrame(np.zeros((100, 2)), index=index)


BAD = {
    "channels": (
        lambda s: replace_row(s, 3, np.ones((3, 30))),
        "row 3 of X has shape .3, 30. and row 0 .* 3 and 2 channels",
    ),
    "empty": (lambda s: replace_row(s, 3, np.ones((2, 0))), "row 3 of X has no value"),
    "all NaN": (
        lambda s: replace_row(s, 4, np.full((2, 9), np.nan)),
        "row 4 of X has no value",
    ),
    "a channel": (
        lambda s: replace_row(s, 4, np.stack([np.ones(9), np.full(9, np.nan)])),
        "row 4 of X has no value in channel 1",
    ),
    "infinite": (
        lambda s: replace_row(s, 5, np.full((2, 9), np.inf)),
        "X contains infinity in 1 of 24 rows, the first of them row 5",
    ),
    "one value": (
        lambda s: replace_row(s, 6, np.ones((2, 1))),
        "row 6 of X has one value",
    ),
    "too short": (lambda s: [each[:, :5] for each in s], "at least 9"),
    "too short and unequal": (
        lambda s: [each[:, : 5 + i % 3] for i, each in enumerate(s)],
        "at least 9",
    ),
    "long format by columns": (
        lambda s: pd.DataFrame({"id": range(40), "time": 0, "value": 0.5}),
        r"long format, .* column 'id'; pass one .* X.groupby\('id'\)",
    ),
    "long format": (lambda s: frame_in_long_format(), r"groupby\(level=0\)"),
    "more axes": (
        lambda s: replace_row(s, 1, np.ones((2, 3, 30))),
        "row 1 of X has shape",
    ),
    "dates": (
        lambda s: replace_row(s, 2, np.zeros((2, 9), dtype="M8[s]")),
        "row 2 of X holds datetime64",
    ),
    "text": (lambda s: replace_row(s, 1, "a.csv"), "X holds strings"),
}


@pytest.mark.parametrize(("make", "match"), BAD.values(), ids=BAD)
def test_bad_series(make, match, series):
    with pytest.raises((ValueError, TypeError), match=match):
        DeepInfomaxTransformer(**FAST, encoder="series").fit(make(series))


@pytest.mark.parametrize("encoder", ["patch", "conv"])
def test_other_encoders_need_equal_lengths(encoder, series):
    model = DeepInfomaxTransformer(**FAST, encoder=encoder)
    with pytest.raises(ValueError, match="unequal length"):
        model.fit(series)
    X = np.stack([each[:, :20] for each in series])
    model.fit(X)
    with pytest.raises(ValueError, match=r"unequal length|samples of shape"):
        model.transform(series)
    with pytest.raises(ValueError, match="samples of shape"):
        model.transform(X[:, :, :15])


def test_unequal_samples_are_series_only_where_they_are_said_to_be(series):
    with pytest.raises(ValueError, match="input_type='series'"):
        DeepInfomaxTransformer().fit(series)


def test_channels_must_be_those_of_the_fit(fitted, series):
    with pytest.raises(ValueError, match="only the length may be another"):
        fitted.transform([each[:1] for each in series])
    X = np.zeros((3, 2, 1))
    with pytest.raises(ValueError, match="at least 2 values"):
        fitted.transform(X)


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_data_format_and_shape_must_agree(data_format, series):
    turned = [each.T if data_format == "channels_first" else each for each in series]
    with pytest.raises(ValueError, match="data_format says which axis"):
        DeepInfomaxTransformer(**FAST, data_format=data_format).fit(turned)


def test_a_memory_map_with_gaps_is_left_as_it_is(tmp_path, series):
    padded = pad(series)
    padded[0, 0, 4] = np.nan
    np.save(tmp_path / "x.npy", padded)
    X = np.load(tmp_path / "x.npy", mmap_mode="r")
    rows = Rows(X, InputFormat("series", X.shape[1:], 0, any_length=True))
    assert rows.has_gaps
    assert rows.is_padded
    Scaling.learn(rows, torch.device("cpu"))
    np.testing.assert_array_equal(X, padded)
