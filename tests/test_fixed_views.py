"""Views that are encoded once, where what encodes them is not trained."""

from functools import partial

import numpy as np
import pytest
import torch

from sk_dim import DeepInfomaxTransformer
from sk_dim._training._views import ViewedRows
from sk_dim.augmentations import warp
from sk_dim.encoders import ConvEncoder, SeriesEncoder
from sk_dim.encoders._lengths import view_lengths


def test_viewed_rows_are_new_tensors():
    values = torch.arange(12.0).view(3, 2, 2)
    rows = ViewedRows(values.clone(), groups=None)
    assert len(rows) == 3
    assert torch.equal(rows.take(torch.tensor([2, 0])), values[[2, 0]])
    rows.take(slice(0, 2)).zero_()
    assert torch.equal(rows.take(slice(0, 2)), values[:2])


def test_codes_of_groups_have_no_gaps():
    rows = ViewedRows(torch.zeros(4, 2, 1), groups=torch.tensor([7, 2, 7, 5]))
    assert rows.groups.tolist() == [2, 0, 2, 1]


@pytest.fixture(scope="module")
def series():
    return np.random.default_rng(0).normal(size=(30, 2, 70)).cumsum(axis=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("augment", "n_passes"),
    # Samples, and two views of each; without views samples are their own.
    [("auto", 3), (None, 2)],
)
@pytest.mark.parametrize("max_iter", [1, 5])
def test_a_fit_encodes_each_view_once(augment, n_passes, max_iter, series, monkeypatch):
    """The critics see the views that the map was learnt from, in all epochs."""
    counts = []
    encode = SeriesEncoder._encode_first

    def count(self, batch):
        counts.append(len(batch))
        return encode(self, batch)

    monkeypatch.setattr(SeriesEncoder, "_encode_first", count)
    model = DeepInfomaxTransformer(
        32,
        input_type="series",
        augment=augment,
        max_iter=max_iter,
        validation_fraction=0.2,
        random_state=0,
    ).fit(series)
    assert len(model.history_) == max_iter
    tried = [n for n in counts if n < len(series)]  # the first few samples
    assert sum(counts) - sum(tried) == n_passes * len(series)
    assert len(tried) <= 4


@pytest.mark.slow
def test_training_teaches_the_critics_and_leaves_the_features(series):
    model = DeepInfomaxTransformer(32, input_type="series", max_iter=1, random_state=0)
    before = model.fit(series).transform(series)
    first = model.history_[0]["local"]
    model.set_params(max_iter=30).fit(series)
    np.testing.assert_array_equal(model.transform(series), before)
    assert model.history_[-1]["local"] > first + 0.3


@pytest.mark.parametrize("is_unequal", [False, True])
def test_views_are_those_that_the_map_was_learnt_from(series, is_unequal):
    batch = torch.from_numpy(series).float()
    if is_unequal:
        batch[::3, :, 50:] = torch.nan
    encoder = SeriesEncoder((2, 70), 32)
    learnt = encoder.learn_first(batch, 3, partial(view_lengths, warp))
    again = encoder.view_fixed(batch, 3, partial(view_lengths, warp))
    assert learnt.values.shape[:2] == (30, 2)
    assert torch.equal(learnt.rows, again.rows)
    assert torch.equal(learnt.values, again.values)
    other = encoder.view_fixed(batch, 4, partial(view_lengths, warp))
    assert not torch.equal(other.rows, again.rows)


def test_a_view_that_is_finished_is_the_forward(series):
    model = DeepInfomaxTransformer(32, input_type="series", max_iter=2, random_state=0)
    encoder = model.fit(series).encoder_.eval()
    batch = torch.from_numpy(series).float()
    viewed = encoder.view_fixed(batch, 0, None)
    with torch.inference_mode():
        whole = encoder(batch[viewed.rows])
        finished = encoder.finish(viewed.values[:, 0])
    assert finished.hidden is None
    for name in ("global_", "local", "summary"):
        torch.testing.assert_close(getattr(whole, name), getattr(finished, name))


def test_groups_are_those_of_the_samples_that_are_viewed(series, monkeypatch):
    seen = []
    make = ViewedRows.__init__

    def look(self, values, groups):
        seen.append(groups)
        make(self, values, groups)

    monkeypatch.setattr(ViewedRows, "__init__", look)
    groups = np.arange(30) // 3
    params = {"input_type": "series", "max_iter": 1, "random_state": 0}
    whole = DeepInfomaxTransformer(32, **params).fit(series, groups=groups)
    shards = DeepInfomaxTransformer(32, **params).fit(
        lambda: np.split(series, [7, 20]), groups=groups
    )
    for model, codes in zip((whole, shards), seen, strict=True):
        assert codes.bincount().tolist() == [3] * 10
        assert np.isfinite(model.transform(series)).all()


class LearnsFirst(ConvEncoder):
    """An encoder of the user, which returns itself as scikit-learn's `fit` does."""

    def learn_first(self, batch, seed, augment):
        self.n_seen = len(batch)
        return self


def test_what_learn_first_returns_matters_only_with_a_fixed_part(digits):
    model = DeepInfomaxTransformer(8, encoder=LearnsFirst, max_iter=1, random_state=0)
    assert model.fit(digits[0][:40]).encoder_.n_seen == 40
