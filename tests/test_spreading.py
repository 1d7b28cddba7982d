"""Labels that spread over a graph of nearest neighbours."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.preprocessing import normalize

from sk_dim import DeepInfomaxClassifier, DeepInfomaxTransformer
from sk_dim._training import _spreading
from sk_dim._training._spreading import choose_rows, spread_labels

EVEN = np.full(3, 1 / 3)


def draw_blobs(n=150, spread=4.0):
    return make_blobs(n, n_features=20, centers=3, cluster_std=spread, random_state=0)


def one_label_a_class(y):
    given = np.full(len(y), -1)
    for label in range(3):
        given[np.flatnonzero(y == label)[0]] = label
    return given


def test_labels_fill_the_cluster_that_they_are_in():
    X, y = draw_blobs()
    found = spread_labels(X, one_label_a_class(y), EVEN)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (found.argmax(axis=1) == y).mean() > 0.95


def test_it_solves_the_equation_of_the_spreading():
    X, y = draw_blobs(40)
    given = one_label_a_class(y)
    Z = normalize(X - X.mean(axis=0))
    cosines = Z @ Z.T
    n = len(Z)
    weights = np.zeros((n, n))
    for i in range(n):
        others = [j for j in range(n) if j != i]
        for j in sorted(others, key=lambda j: -cosines[i, j])[:5]:
            weights[i, j] += max(cosines[i, j], 1e-6)
            weights[j, i] += max(cosines[i, j], 1e-6)
    degree = weights.sum(axis=1)
    smooth = weights / np.sqrt(np.outer(degree, degree))
    first = np.where((given >= 0)[:, None], np.eye(3)[given], 0.0)
    expected = np.linalg.solve(np.eye(n) - 0.9 * smooth, 0.1 * first)
    expected /= expected.sum(axis=1, keepdims=True)
    expected /= expected.sum(axis=0)
    expected /= expected.sum(axis=1, keepdims=True)
    found = spread_labels(X, given, EVEN)
    rest = given < 0
    np.testing.assert_allclose(found[rest], expected[rest], atol=0.02)
    np.testing.assert_array_equal(found[~rest], np.eye(3)[given[~rest]])


def test_a_frequent_class_takes_more():
    X, y = draw_blobs(spread=15.0)
    mass = [
        spread_labels(X, one_label_a_class(y), np.array(frequencies)).sum(axis=0)
        for frequencies in ([0.6, 0.2, 0.2], [0.2, 0.6, 0.2])
    ]
    assert mass[0][0] > mass[1][0]
    assert mass[0][1] < mass[1][1]


def test_samples_without_a_way_to_a_label_get_the_frequencies():
    rng = np.random.default_rng(0)
    near = np.eye(4)[0] * 5 + rng.normal(size=(10, 4)) * [0, 1, 0, 0] * 0.01
    far = -near  # the centre is between the two
    given = np.full(20, -1)
    given[[0, 1]] = 0, 1
    found = spread_labels(np.concatenate([near, far]), given, np.array([0.7, 0.3]))
    np.testing.assert_allclose(found[10:], [[0.7, 0.3]] * 10)


@pytest.mark.parametrize("n", [2, 3, 6])
def test_as_few_samples_as_can_be(n):
    X = np.random.default_rng(0).normal(size=(n, 3))
    given = np.array([0, 1, *[-1] * (n - 2)])
    found = spread_labels(X, given, np.array([0.5, 0.5]))
    assert found.shape == (n, 2)
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_repeated_samples_get_the_label_of_their_twins():
    X, y = draw_blobs(30)
    given = one_label_a_class(y)
    found = spread_labels(np.repeat(X, 2, axis=0), np.repeat(given, 2), EVEN)
    assert np.isfinite(found).all()
    assert (found.argmax(axis=1)[np.repeat(given, 2) >= 0] >= 0).all()


def test_the_graph_is_of_all_labelled_rows_and_some_others(monkeypatch):
    monkeypatch.setattr(_spreading, "MOST", 10)
    class_ids = np.where(np.arange(100) % 20 == 0, 1, -1)
    rows = choose_rows(class_ids, seed=0)
    assert len(rows) == 15
    assert (np.diff(rows) > 0).all()
    assert set(np.flatnonzero(class_ids == 1)) <= set(rows)


def draw_waves(n=80, seed=0):
    """Waves of two frequencies in noise, and which it is."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n)
    time = np.arange(64) + rng.uniform(0, 64, size=(n, 1))
    waves = np.sin(time * np.where(y, 0.4, 0.6)[:, None])
    return waves + rng.normal(size=(n, 64)), y


def test_a_classifier_of_series_spreads_its_labels():
    X, y = draw_waves()
    given = np.full(len(y), -1)
    given[:6] = y[:6]
    encoder = DeepInfomaxTransformer(input_type="series", max_iter=1, random_state=0)
    model = DeepInfomaxClassifier(encoder.fit(X), random_state=0).fit(X, given)
    assert model.history_ == []
    X_test, y_test = draw_waves(60, seed=1)
    by_labels = clone(model).set_params(encoder=encoder, fine_tune="head")
    by_labels.fit(X, given)
    assert model.score(X_test, y_test) > by_labels.score(X_test, y_test)


@pytest.mark.slow
@pytest.mark.parametrize("fine_tune", ["auto", "spread", "head", "all"])
@pytest.mark.parametrize("has_others", [True, False])
@pytest.mark.filterwarnings("ignore:fine_tune='all' cannot train this encoder")
def test_every_way_works_with_series(fine_tune, has_others):
    X, y = draw_waves(24)
    given = np.where(np.arange(24) < 12, y, -1) if has_others else y
    model = DeepInfomaxClassifier(
        DeepInfomaxTransformer(64, input_type="series", max_iter=1),
        fine_tune=fine_tune,
        n_steps=2,
        class_weight="balanced",
        random_state=0,
    ).fit(X, np.array(["no", "yes"])[y] if not has_others else given)
    probabilities = model.predict_proba(X)
    assert probabilities.shape == (24, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_training_an_encoder_that_cannot_be_trained_is_said():
    X, y = draw_waves(24)
    encoder = DeepInfomaxTransformer(8, input_type="series", max_iter=1).fit(X)
    model = DeepInfomaxClassifier(encoder, fine_tune="all", n_steps=1)
    with pytest.warns(UserWarning, match="only the head learns, from new views in eac"):
        model.fit(X, y)
    np.testing.assert_array_equal(model.encoder_.transform(X), encoder.transform(X))
