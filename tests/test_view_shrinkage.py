import pytest
import torch

from sk_dim import DeepInfomaxTransformer
from sk_dim.encoders import PatchEncoder
from sk_dim.encoders._view_shrinkage import FLOOR, N_SAMPLES, ViewShrinkage


def noisy(n_samples=400, n_features=12, n_directions=3, noise=5.0, seed=0):
    """Features, views that differ in a few directions only, and these directions."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(n_features, n_directions, generator=generator)
    directions = torch.linalg.qr(draws)[0].T
    features = torch.randn(n_samples, n_features, generator=generator)
    change = torch.randn(n_samples, n_directions, generator=generator)
    return features, features + noise * change @ directions, directions


def test_the_map_is_that_of_the_covariance_of_differences():
    features, views, _ = noisy()
    learnt = ViewShrinkage(12)
    learnt.learn(features, views)
    spread = features.std(dim=0, correction=0)
    standard = (features - features.mean(dim=0)) / spread
    differences = (views - features) / spread
    covariance = differences.T.cov(correction=0).double()
    values, vectors = torch.linalg.eigh(covariance / covariance.trace())
    factors = (FLOOR / (values.clamp_min(0) + FLOOR)).sqrt()
    expected = standard.double() @ (vectors * factors) @ vectors.T
    torch.testing.assert_close(learnt(features), expected.float(), atol=1e-3, rtol=1e-3)


def test_what_views_change_becomes_small_and_the_rest_stays():
    features, views, directions = noisy()
    learnt = ViewShrinkage(12)
    learnt.learn(features, views)
    with torch.no_grad():
        before, after = learnt._standardise(features), learnt(features)
    inside = torch.linalg.qr((directions * learnt.scale).T)[0]
    assert (after @ inside).std() < 0.1 * (before @ inside).std()
    outside = torch.eye(12) - inside @ inside.T
    torch.testing.assert_close(after @ outside, before @ outside, atol=0.05, rtol=0)


def test_a_map_that_has_not_learnt_changes_nothing():
    features = torch.randn(5, 7)
    assert torch.equal(ViewShrinkage(7)(features), features)


def test_without_views_features_are_standardised():
    features = torch.randn(50, 7) * 3 + 2
    learnt = ViewShrinkage(7)
    learnt.learn(features, None)
    mapped = learnt(features)
    torch.testing.assert_close(mapped.mean(dim=0), torch.zeros(7), atol=1e-5, rtol=0)
    spread = mapped.std(dim=0, correction=0)
    torch.testing.assert_close(spread, torch.ones(7), atol=1e-5, rtol=0)


def test_units_of_features_do_not_matter():
    features, views, _ = noisy()
    units = torch.logspace(-3, 3, 12)
    one, other = ViewShrinkage(12), ViewShrinkage(12)
    one.learn(features, views)
    other.learn(features * units, views * units)
    torch.testing.assert_close(
        one(features), other(features * units), atol=1e-3, rtol=1e-3
    )


@pytest.mark.parametrize("n_samples", [1, 2, 3])
@pytest.mark.parametrize("kind", ["equal", "constant", "unchanged"])
def test_features_that_tell_nothing_stay_finite(kind, n_samples):
    features = torch.randn(n_samples, 9)
    if kind == "equal":
        features = features[:1].expand(n_samples, 9)
    if kind == "constant":
        features = features.index_fill(1, torch.arange(4), 1e6)
    views = features if kind == "unchanged" else features + torch.randn_like(features)
    learnt = ViewShrinkage(9)
    learnt.learn(features, views)
    assert learnt(features).isfinite().all()
    assert learnt(views).abs().max() < 1e7


def test_chunks_together_tell_what_all_samples_do():
    features, views, _ = noisy(n_samples=800)
    whole, chunked = ViewShrinkage(12), ViewShrinkage(12)
    whole.learn(features, views)
    for start in range(0, 800, 100):
        chunk = slice(start, start + 100)
        chunked.learn(features[chunk], views[chunk], n_steps=start)
    assert int(chunked.n_learnt) == 800
    a, b = whole(features), chunked(features)
    assert (a - b).norm() < 0.1 * a.norm()


def test_a_map_of_enough_samples_forgets_earlier_ones():
    features, views, _ = noisy(n_samples=N_SAMPLES)
    fresh, used = ViewShrinkage(12), ViewShrinkage(12)
    used.learn(*noisy(n_samples=300, seed=1)[:2])
    for each in (fresh, used):
        each.learn(features, views)
    torch.testing.assert_close(fresh(features), used(features), atol=1e-3, rtol=1e-3)


def test_small_chunks_are_learnt_from_after_enough_steps():
    learnt = ViewShrinkage(12)
    assert learnt.is_due(10, 1)  # the first
    features, views, _ = noisy(n_samples=500)
    learnt.learn(features, views, n_steps=1)
    assert not learnt.is_due(100, 16)
    assert learnt.is_due(100, 17)  # half of 32 steps, for half of the samples
    assert learnt.is_due(N_SAMPLES, 2)


def test_training_ends_with_a_map_and_partial_fit_keeps_it(digits):
    X = digits[0][:60].repeat(2, axis=1).repeat(2, axis=2)
    quick = DeepInfomaxTransformer(
        encoder=lambda shape, n: PatchEncoder(shape, n, n_filters=8),
        n_components=20,
        device="cpu",
        random_state=0,
    )
    dim = quick.set_params(max_iter=2).fit(X)
    shrinkage = dim.encoder_.shrinkage
    assert int(shrinkage.n_learnt) == 60
    assert shrinkage.shares.max() > 0
    before = shrinkage.directions.clone()
    dim.partial_fit(X[:30])
    assert torch.equal(shrinkage.directions, before)  # after a single step
    for _ in range(2):
        dim.partial_fit(X[:30])
    assert not torch.equal(shrinkage.directions, before)
    assert int(shrinkage.n_learnt) == 90
