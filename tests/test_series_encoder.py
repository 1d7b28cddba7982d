"""SeriesEncoder: what its map is, and that it works on series of any kind."""

import pickle

import numpy as np
import pytest
import torch

from sk_dim import DeepInfomaxTransformer
from sk_dim.augmentations import warp
from sk_dim.encoders import SeriesEncoder
from sk_dim.encoders._series import hadamard
from sk_dim.encoders._view_basis import FLOOR, SIZES, learn_basis


def walks(n, n_channels, length, seed=0):
    return np.random.default_rng(seed).normal(size=(n, n_channels, length)).cumsum(2)


def fitted(X, **params):
    params = {"input_type": "series", "random_state": 0, "max_iter": 1} | params
    return DeepInfomaxTransformer(**params).fit(X)


# The map


def normal_features(n=400, n_noise=6, seed=0):
    """Features whose views differ in the last columns only, standardised."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, 20, generator=generator)
    features -= features.mean(dim=0)
    features /= features.square().sum(dim=1).mean().sqrt()
    view = features.clone()
    view[:, -n_noise:] += 0.2 * torch.randn(n, n_noise, generator=generator)
    return features, view


def test_what_views_change_is_shrunk_as_the_formula_says():
    features, view = normal_features()
    basis, trust = learn_basis(features, 20, 0, [view], 64)
    assert trust == 1.0
    # The plain formula, on all columns: (S + floor)^(-1/2), of unit variance in all.
    x, d = features.double().numpy(), (view - features).double().numpy()
    d = d - d.mean(axis=0)
    between = d.T @ d / len(d) / (x**2).sum(axis=1).mean()
    values, vectors = np.linalg.eigh(between + FLOOR * np.eye(20))
    shrunk = x @ (vectors / np.sqrt(values))
    shrunk /= np.sqrt((shrunk**2).sum(axis=1).mean())
    found = (features @ basis).double().numpy()
    np.testing.assert_allclose(found @ found.T, shrunk @ shrunk.T, atol=1e-4)
    noise, signal = (found.T @ x)[:, -6:], (found.T @ x)[:, :-6]
    assert (noise**2).mean() < 0.5 * (signal**2).mean()
    # Places beside it count little where views are trusted, though they agree.
    both = torch.cat([features, features[:, :3]], dim=1)
    basis, _ = learn_basis(both, 20, 3, [view], 64)
    beside = x[:, :3] / np.sqrt((x[:, :3] ** 2).sum(axis=1).mean())
    expected = (shrunk @ shrunk.T + 0.03 * beside @ beside.T) / 1.03
    found = (both @ basis).double().numpy()
    np.testing.assert_allclose(found @ found.T, expected, atol=1e-4)


def test_directions_are_principal_and_of_variance_one_in_all():
    features, view = normal_features()
    basis, _ = learn_basis(features, 20, 0, [view], 64)
    found = (features @ basis).numpy()
    covariance = found.T @ found / len(found)
    assert np.trace(covariance) == pytest.approx(1.0, abs=1e-4)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-5)
    assert (np.diff(np.diag(covariance)) < 1e-6).all()
    fewer, _ = learn_basis(features, 20, 0, [view], 5)
    assert fewer.shape == (20, 5)
    torch.testing.assert_close(fewer, basis[:, :5])


@pytest.mark.parametrize("views", ["none", "of noise"])
def test_without_views_to_trust_features_keep_their_distances(views):
    features, _ = normal_features()
    given = [] if views == "none" else [torch.randn_like(features)]
    basis, trust = learn_basis(features, 20, 0, given, 64)
    assert trust == 0.0
    torch.testing.assert_close(
        torch.cdist(features @ basis, features @ basis),
        torch.cdist(features, features),
        atol=1e-3,
        rtol=1e-3,
    )


def test_places_count_where_they_find_the_same_neighbours():
    features, _ = normal_features()
    other = torch.randn(features.shape, generator=torch.Generator().manual_seed(5))
    for places, weight in ((features, 1.0), (other, 0.03)):
        both = torch.cat([features, places], dim=1)
        basis, _ = learn_basis(both, 20, 20, [], 64)
        shares = both @ basis
        assert float(shares.square().sum() / len(both)) == pytest.approx(1, abs=1e-3)
        # Distances are those of both kinds of features, each with its weight.
        sizes = [1 / (1 + weight), weight / (1 + weight)]
        expected = sum(
            size * torch.cdist(part, part) ** 2 / part.square().sum(1).mean()
            for size, part in zip(sizes, both.split(20, 1), strict=True)
        )
        torch.testing.assert_close(
            torch.cdist(shares, shares) ** 2, expected, atol=1e-3, rtol=1e-2
        )


def test_sizes_always_count_a_little():
    features, view = normal_features()
    sizes = torch.randn(400, 4, generator=torch.Generator().manual_seed(5))
    both = torch.cat([features, sizes - sizes.mean(dim=0)], dim=1)
    alone = features @ learn_basis(features, 20, 0, [view], 64)[0]
    found = both @ learn_basis(both, 20, 0, [view], 64)[0]
    beside = both[:, 20:] / both[:, 20:].square().sum(dim=1).mean().sqrt()
    expected = (alone @ alone.T + SIZES * beside @ beside.T) / (1 + SIZES)
    torch.testing.assert_close(found @ found.T, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("n", [1, 2, 64, 1024])
def test_the_turn_keeps_distances_and_evens_variances(n):
    matrix = hadamard(n)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(n), atol=1e-5, rtol=0)
    assert (matrix.abs() == matrix.abs()[0, 0]).all()


@pytest.mark.slow
def test_more_components_than_directions_take_no_more_memory_than_their_own():
    matrix = hadamard(100_000)
    assert matrix.shape == (1024, 100_000)
    torch.testing.assert_close(matrix[:, :9], matrix[:, 1024:1033])
    # Wide encoders are built on a device without memory first.
    assert fitted(walks(6, 2, 20), n_components=5000).encoder_.rotation.shape[1] == 5000
    with pytest.raises(ValueError, match=r"can have up to .* with this encoder"):
        fitted(walks(6, 2, 20), n_components=10**7)
    wide = hadamard(4096)
    torch.testing.assert_close(wide @ wide.T, torch.eye(1024), atol=1e-5, rtol=0)


# Series of any kind


@pytest.mark.slow
def test_features_that_vary_at_all_vary_alike():
    X = walks(100, 1, 120)
    Z = fitted(X).transform(X)
    assert Z.shape == (100, 1024)
    spread = Z.std(axis=0)
    assert spread.max() < 1.5 * spread.min()


@pytest.mark.parametrize("shape", [(1, 9), (3, 16), (2, 17), (1, 500), (40, 30)])
def test_any_length_and_any_number_of_channels(shape):
    X = walks(12, *shape)
    dim = fitted(X, n_components=32, data_format="channels_first")
    Z = dim.transform(X)
    assert isinstance(dim.encoder_, SeriesEncoder)
    assert Z.shape == (12, 32)
    assert np.isfinite(Z).all()
    np.testing.assert_allclose(dim.transform(X[3:4]), Z[3:4], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "length", [5_000, pytest.param(120_000, marks=pytest.mark.slow)]
)
def test_long_series(length):
    X = walks(4, 1, length).astype(np.float32)
    assert np.isfinite(fitted(X, n_components=8).transform(X)).all()


@pytest.mark.parametrize(
    "kind", ["constant", "some constant", "repeated", "two", "huge"]
)
def test_odd_series(kind):
    X = walks(2 if kind == "two" else 30, 1, 40)
    if kind == "some constant":
        X[:10] = 3.0
    elif kind == "repeated":
        X[:] = X[:1]
    elif kind == "huge":
        X *= 1e30
    if kind in ("constant", "repeated"):
        X[:] = X.mean() if kind == "constant" else X
    dim = DeepInfomaxTransformer(16, input_type="series", random_state=0, max_iter=1)
    if kind == "constant":
        with pytest.warns(UserWarning, match="X is constant"):
            dim.fit(X)
    else:
        dim.fit(X)
    assert np.isfinite(dim.transform(X)).all()


def test_a_saved_encoder_is_the_same():
    X = walks(30, 2, 50)
    dim = fitted(X)
    again = pickle.loads(pickle.dumps(dim))
    np.testing.assert_array_equal(again.transform(X), dim.transform(X))
    assert again.encoder_.trust == dim.encoder_.trust


@pytest.mark.parametrize(
    "kind",
    [
        "steps",
        pytest.param("rounded walks", marks=pytest.mark.slow),
        pytest.param("8 bits", marks=pytest.mark.slow),
    ],
)
def test_whole_numbers_have_the_same_features_in_every_dtype(kind):
    """Many values and responses are equal there, and must be so whatever is rounded."""
    rng = np.random.default_rng(0)
    X = {
        "steps": np.repeat(100 * rng.integers(0, 5, (40, 3, 8)), 8, axis=2),
        "rounded walks": np.round(3 * walks(40, 1, 64)),
        "8 bits": (40 * walks(40, 2, 64) + 128).clip(0, 255).round(),
    }[kind].astype(np.float32)
    dim = fitted(X)
    Z = dim.transform(X)
    for dtype in (np.float64, np.int16):
        difference = dim.transform(X.astype(dtype)) - Z
        assert np.abs(difference).max() < 1e-3 * Z.std()


def test_the_same_seed_gives_the_same_features_and_another_others():
    X = walks(30, 1, 50)
    Z = fitted(X).transform(X)
    np.testing.assert_array_equal(fitted(X).transform(X), Z)
    assert not np.allclose(fitted(X, random_state=1).transform(X), Z)


@pytest.mark.slow
def test_rows_may_come_in_any_order():
    X = walks(80, 1, 60)
    X[40:] += np.sin(np.arange(60))
    order = np.random.default_rng(1).permutation(80)
    sorted_, shuffled = (fitted(each).transform(X) for each in (X, X[order]))
    # Other samples set the thresholds, so features differ; what is near stays so.
    near = [np.corrcoef(Z @ Z.T)[np.triu_indices(80, 1)] for Z in (sorted_, shuffled)]
    assert np.corrcoef(*near)[0, 1] > 0.9


@pytest.mark.slow
def test_a_user_may_choose_views():
    X = walks(40, 1, 80)
    with_views, without = (fitted(X, augment=a) for a in (warp, None))
    assert float(with_views.encoder_.trust) > 0
    assert float(without.encoder_.trust) == 0


def test_what_happens_matters_more_than_when():
    """A bump at another time is nearer than another bump at the same time."""
    time = np.arange(128)
    rng = np.random.default_rng(0)

    def bumps(width, at):
        return np.exp(-((time - at[:, None]) ** 2) / (2 * width**2))[:, None]

    wide, narrow = (bumps(w, rng.uniform(30, 98, 30)) for w in (12.0, 4.0))
    X = np.concatenate([wide, narrow]) + 0.05 * rng.normal(size=(60, 1, 128))
    Z = fitted(X).transform(X)
    distances = np.linalg.norm(Z[:, None] - Z[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    is_wide = np.arange(60) < 30
    assert (is_wide[distances.argmin(axis=1)] == is_wide).mean() > 0.95
