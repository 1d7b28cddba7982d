"""Whether training worked, seen without labels."""

import math
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sk_dim import DeepInfomaxTransformer
from sk_dim._training._preparing import rows_like
from sk_dim.encoders import ConvEncoder
from sk_dim.evaluation import ProbingCallback, diagnose, effective_rank
from sk_dim.evaluation._diagnosis import _measure


def fit(images, **params):
    defaults = {"n_components": 32, "max_iter": 6, "random_state": 0}
    return DeepInfomaxTransformer(**(defaults | params)).fit(images)


@pytest.fixture(scope="module")
def working(digits):
    return fit(digits[0])


@pytest.mark.slow
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
    found = _measure(working, X, 7)
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


def correlated_rows():
    rng = np.random.default_rng(0)
    return rng.normal(size=(100, 6)) @ rng.normal(size=(6, 12))


STILL = {"learning_rate": 1e-12, "max_iter": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("params", "missing", "verdict"),
    [
        ({}, set(), r"It works: the bound rose from -?\d"),
        ({"augment": None}, {"alignment"}, r"It works: the bound rose from -?\d"),
        ({"local_weight": 0.0}, {"score"}, r"It works: the global term rose from -?\d"),
        (
            {"local_weight": 0.0, "augment": None},
            {"score", "alignment"},
            r"It works: the global term rose from -?\d",
        ),
        (
            {"local_weight": 0.0, "global_weight": 0.0, "prior_weight": 1.0},
            {"score"},
            r"It did not collapse, .* cannot be judged without a local or global term",
        ),
        ({"local_weight": 0.0} | STILL, {"score"}, "It learnt next to nothing: the gl"),
        (
            {"local_weight": 0.0, "augment": None} | STILL,
            {"score", "alignment"},
            "It learnt next to nothing: the global term of",
        ),
        ({"augment": None} | STILL, {"alignment"}, "It learnt next to nothing: the bo"),
    ],
    ids=[
        "all", "one view", "no local term", "no local term, one view", "prior alone",
        "no local term, untrained", "no local term, one view, untrained",
        "one view, untrained",
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["images", "table"])
def test_the_verdict_is_of_what_can_be_judged(digits, kind, params, missing, verdict):
    X = digits[0] if kind == "images" else correlated_rows()
    found = diagnose(fit(X, **params), X, random_state=0)
    assert re.match(verdict, found.verdict)
    assert "nan" not in found.verdict
    for figures in (found, found.untrained):
        are_nan = {
            k for k in ("rank", "alignment", "score") if math.isnan(getattr(figures, k))
        }
        assert are_nan == missing


@pytest.mark.slow
def test_an_estimator_without_history_is_judged_too(digits):
    dim = fit(digits[0], local_weight=0.0)
    dim.model_.history = []
    assert "cannot be judged" in diagnose(dim, digits[0]).verdict


@pytest.mark.slow
def test_callbacks_are_left_alone(digits):
    X, y = digits
    probing = ProbingCallback(X, y, every=1)
    dim = DeepInfomaxTransformer(8, max_iter=3, random_state=0).set_callbacks(probing)
    dim.fit(X)
    history = list(probing.history_)
    diagnose(dim, X, random_state=0)
    assert probing.history_ == history
    assert len(history) == 3
    assert dim._skl_callbacks == [probing]


@pytest.mark.parametrize("n_most", [40, 20])
def test_frames_stay_frames(n_most, monkeypatch):
    """Warnings are errors: no feature name is lost on the way."""
    monkeypatch.setattr("sk_dim.evaluation._diagnosis.MAX_ROWS", n_most)
    frame = pd.DataFrame(
        np.random.default_rng(0).normal(size=(40, 6)), columns=[*"abcdef"]
    )
    dim = fit(frame, max_iter=1).set_output(transform="pandas")
    found = diagnose(dim, frame, random_state=0)
    plain = diagnose(
        fit(frame.to_numpy(), max_iter=1), frame.to_numpy(), random_state=0
    )
    assert str(found) == str(plain)


class FrameOfAnotherLibrary:
    """Has the values, and none of the methods of an array."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=dtype)


class WithFrames(DeepInfomaxTransformer):
    def transform(self, X):
        return FrameOfAnotherLibrary(super().transform(X))


@pytest.mark.slow
def test_what_transform_returns_need_not_be_an_array(digits, working):
    X = digits[0]
    found = WithFrames(32, max_iter=6, random_state=0).fit(X)
    assert str(diagnose(found, X, random_state=0)) == str(
        diagnose(working, X, random_state=0)
    )


@pytest.mark.parametrize(
    ("dtype", "n_most"),
    [
        (torch.bfloat16, 100),
        (torch.bfloat16, 60),
        (torch.float16, 100),
        (torch.uint8, 100),
    ],
    ids=str,
)
def test_tensors_and_lists_are_taken_as_they_are(digits, dtype, n_most, monkeypatch):
    monkeypatch.setattr("sk_dim.evaluation._diagnosis.MAX_ROWS", n_most)
    X = torch.tensor(digits[0]).to(dtype)[:100]
    dim = fit(X, max_iter=1)
    found = diagnose(dim, X, random_state=0)
    images = list(X.double().numpy())
    assert str(diagnose(dim, images, random_state=0)) == str(found)


@pytest.mark.slow
def test_frozen_estimators_are_unwrapped(digits, working):
    frozen = FrozenEstimator(FrozenEstimator(working))
    found = diagnose(frozen, digits[0], random_state=0)
    assert str(found) == str(diagnose(working, digits[0], random_state=0))


@pytest.mark.parametrize(
    ("wrap", "advice"),
    [
        (lambda dim: make_pipeline(dim, StandardScaler()), "pass its step 'deepinf"),
        (
            lambda dim: make_pipeline(FunctionTransformer(), FrozenEstimator(dim)),
            r"step 'frozenestimator', and X as pipeline\[:1\].transform\(X\) returns",
        ),
        (lambda dim: PCA(2).fit(np.eye(4)), "its features can be judged by linear_pr"),
        (lambda dim: SimpleNamespace(encoder_=dim), "pass its encoder_"),
        (lambda dim: SimpleNamespace(best_estimator_=dim), "pass its best_estimator_"),
        (lambda dim: FrozenEstimator(PCA(2)), "not a PCA"),
        (lambda dim: None, "not a NoneType"),
    ],
    ids=["pipeline", "last step", "PCA", "classifier", "search", "frozen PCA", "None"],
)
def test_other_estimators_are_refused_with_what_to_pass(digits, working, wrap, advice):
    with pytest.raises(TypeError, match=f"^diagnose takes a fitted Deep.*{advice}"):
        diagnose(wrap(working), digits[0])


def test_an_unfitted_estimator_is_refused(digits):
    with pytest.raises(NotFittedError):
        diagnose(DeepInfomaxTransformer(), digits[0])


def test_too_few_samples_are_refused(digits, working):
    with pytest.raises(ValueError, match="minimum of 8 is required"):
        diagnose(working, digits[0][:5])


@pytest.mark.slow
def test_flattened_rows_are_judged_as_the_images_that_they_are(digits, working):
    X = digits[0]
    found = diagnose(working, X.reshape(len(X), -1), random_state=0)
    assert str(found) == str(diagnose(working, X, random_state=0))


def test_the_untrained_encoder_gets_the_groups_too(digits, monkeypatch):
    X = digits[0][:60]
    dim = DeepInfomaxTransformer(8, max_iter=1, random_state=0).fit(X)
    given = []
    fit = DeepInfomaxTransformer.fit

    def spy(self, X, y=None, **params):
        given.append(params)
        return fit(self, X, y, **params)

    monkeypatch.setattr(DeepInfomaxTransformer, "fit", spy)
    diagnose(dim, X, groups=[f"patient {i // 6}" for i in range(60)], random_state=0)
    diagnose(dim, X, random_state=0)
    np.testing.assert_array_equal(given[0]["groups"], np.arange(60) // 6)
    assert given[1] == {}
