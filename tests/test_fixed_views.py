"""Views that are encoded once, where what encodes them is not trained."""

import numpy as np
import pytest
import torch

from sk_dim import DeepInfomaxTransformer
from sk_dim._training import _views
from sk_dim._training._views import FixedViews
from sk_dim.encoders import SeriesEncoder


class Numbers:
    """A source of the numbers of its rows."""

    device = torch.device("cpu")

    def __init__(self, n, groups=None):
        self.n, self.groups = n, groups

    def __len__(self):
        return self.n

    def take(self, rows):
        return torch.arange(self.n)[rows].float()[:, None]


def fix(source):
    return FixedViews(
        source,
        draw=lambda batch: [batch, -batch],
        encode=lambda view: 2 * view,
        generator=torch.Generator().manual_seed(0),
    )


def test_all_views_of_each_sample_are_there():
    views = fix(Numbers(300))
    assert len(views) == 300
    expected = torch.tensor([[[0.0], [0.0]], [[2.0], [-2.0]]])
    assert torch.equal(views.take(slice(0, 2)), expected)
    assert torch.equal(views.take(torch.tensor([1])), expected[1:])
    views.take(slice(0, 2)).zero_()
    assert torch.equal(views.take(slice(0, 2)), expected)


def test_of_many_samples_some_are_drawn_with_their_groups(monkeypatch):
    monkeypatch.setattr(_views, "MOST_VIEWED", 10)
    views = fix(Numbers(40, groups=torch.arange(40) // 2))
    drawn = views.take(slice(None))[:, 0, 0] / 2
    assert len(drawn) == len(drawn.unique()) == 10
    own, group = (drawn // 2).unique(return_inverse=True)
    assert torch.equal(views.groups, group)
    assert views.groups.max() == len(own) - 1


@pytest.fixture(scope="module")
def series():
    return np.random.default_rng(0).normal(size=(30, 2, 70)).cumsum(axis=2)


@pytest.mark.parametrize("augment", ["auto", None])
def test_a_training_encodes_no_sample_twice(augment, series, monkeypatch):
    """Of each sample its views; the number of epochs does not matter."""
    counts = []
    encode = SeriesEncoder._encode_first

    def count(self, batch):
        counts.append(len(batch))
        return encode(self, batch)

    monkeypatch.setattr(SeriesEncoder, "_encode_first", count)
    totals = []
    for max_iter in (1, 5):
        counts.clear()
        model = DeepInfomaxTransformer(
            32,
            input_type="series",
            augment=augment,
            max_iter=max_iter,
            validation_fraction=0.2,
            random_state=0,
        ).fit(series)
        assert len(model.history_) == max_iter
        totals.append(sum(counts))
    assert totals[0] == totals[1]


def test_training_teaches_the_critics_and_leaves_the_features(series):
    model = DeepInfomaxTransformer(32, input_type="series", max_iter=1, random_state=0)
    before = model.fit(series).transform(series)
    first = model.history_[0]["local"]
    model.set_params(max_iter=30).fit(series)
    np.testing.assert_array_equal(model.transform(series), before)
    assert model.history_[-1]["local"] > first + 0.3


def test_what_is_fixed_and_finished_is_the_forward(series):
    model = DeepInfomaxTransformer(32, input_type="series", max_iter=2, random_state=0)
    encoder = model.fit(series).encoder_.eval()
    batch = torch.from_numpy(series).float()
    with torch.inference_mode():
        whole, finished = encoder(batch), encoder.finish(encoder.encode_fixed(batch))
    assert finished.hidden is None
    for name in ("global_", "local", "summary"):
        torch.testing.assert_close(getattr(whole, name), getattr(finished, name))
