"""Whether training worked, seen without labels."""

import math

import numpy as np
import pytest
import torch

from sk_dim import DeepInfomaxTransformer
from sk_dim._diagnosis import _look
from sk_dim._model import rows_like
from sk_dim.encoders import ConvEncoder
from sk_dim.evaluation import diagnose, effective_rank


def fit(images, **params):
    defaults = {"n_components": 32, "max_iter": 6, "random_state": 0}
    return DeepInfomaxTransformer(**(defaults | params)).fit(images)


@pytest.fixture(scope="module")
def working(digits):
    return fit(digits[0])


def test_a_training_that_works_is_told_from_one_that_did_not_take_place(
    digits, working
):
    found = diagnose(working, digits[0], random_state=0)
    assert found.verdict.startswith("It works: the bound rose from")
    assert found.alignment < found.untrained.alignment
    assert found.score > found.untrained.score + 0.1
    assert found.n_flat == 0
    still = fit(digits[0], learning_rate=1e-12, max_iter=1)
    assert diagnose(still, digits[0]).verdict.startswith("It learnt next to nothing")


def test_figures_are_what_they_say(digits, working):
    X = digits[0][:100]
    found = diagnose(working, X, random_state=0)
    Z = working.transform(X)
    assert found.rank == pytest.approx(effective_rank(Z))
    assert found.score == pytest.approx(working.score(X))
    assert 0 < found.alignment < 4
    assert -8 < found.uniformity < 0
    assert found.n_components == 32
    again = diagnose(working, X, random_state=0)
    assert str(found) == str(again)
    lines = str(found).splitlines()
    assert lines[0].split() == ["trained", "untrained"]
    assert lines[-1] == found.verdict
    np.testing.assert_array_equal(Z, working.transform(X))


def test_uniformity_and_alignment_by_hand(digits, working):
    X = digits[0][:50]
    rows = rows_like(working, X, working.model_.fmt)
    a, b = (v.astype(float) for v in working.model_.encode_views(rows, 7))
    center = (a.mean(0) + b.mean(0)) / 2
    a, b = ((v - center) / np.linalg.norm(v - center, axis=1)[:, None] for v in (a, b))
    found = _look(working, X, 7)
    assert found.alignment == pytest.approx(np.mean(np.sum((a - b) ** 2, axis=1)))
    pairs = [
        math.exp(-2 * np.sum((a[i] - a[j]) ** 2)) for i in range(50) for j in range(i)
    ]
    assert found.uniformity == pytest.approx(math.log(np.mean(pairs)))


class Flat(ConvEncoder):
    """All but one of the components are always 0."""

    def forward(self, batch):
        features = super().forward(batch)
        mask = torch.zeros(features.global_.shape[1])
        mask[0] = 1
        return features._replace(global_=features.global_ * mask)


def test_collapse_is_seen(digits):
    found = diagnose(fit(digits[0], encoder=Flat, max_iter=1), digits[0])
    assert found.verdict.startswith("It collapsed: 31 of 32 columns hardly vary")


def test_other_samples_and_one_view():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(100, 6)) @ rng.normal(size=(6, 12))
    found = diagnose(fit(rows, augment=None, max_iter=2), rows)
    assert math.isnan(found.alignment)
    found = diagnose(fit(rows, local_weight=0.0, max_iter=2), rows)
    assert math.isnan(found.score)
    assert found.verdict


def test_too_few_samples_are_refused(digits, working):
    with pytest.raises(ValueError, match="minimum of 8 is required"):
        diagnose(working, digits[0][:5])
