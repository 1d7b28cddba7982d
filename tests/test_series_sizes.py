"""SeriesSizes: how large series are, and series without it."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from sk_dim import DeepInfomaxTransformer
from sk_dim.encoders import SeriesSizes


def series_of_sizes(decades, n=60, n_channels=2, length=50, level=3.0):
    """Random series around a common level, their sizes spread over so many decades."""
    generator = torch.Generator().manual_seed(0)
    series = torch.randn(n, n_channels, length, generator=generator).double()
    sizes = torch.logspace(-decades / 2, decades / 2, n).double()[:, None, None]
    return (level + sizes * (series + 1.5)).float()


def learnt(series):
    sizes = SeriesSizes(series.shape[1])
    sizes.learn(series)
    return sizes


@pytest.mark.parametrize(("decades", "is_divided"), [(0, False), (3, False), (6, True)])
def test_series_are_divided_where_quartiles_are_a_hundredfold(decades, is_divided):
    series = series_of_sizes(decades)
    sizes = learnt(series)
    assert sizes.is_divided == is_divided
    if is_divided:
        spread = sizes.divide(series).std(dim=2, correction=0).square().mean(dim=1)
        torch.testing.assert_close(spread, torch.ones(60), atol=1e-3, rtol=0)
    else:
        assert sizes.divide(series) is series
        assert (sizes(series) == 0).all()


def test_divided_series_do_not_depend_on_their_size():
    series = series_of_sizes(6)
    sizes = learnt(series)
    torch.testing.assert_close(sizes.level, torch.full((2,), 3.0), atol=1e-3, rtol=0)
    larger = 3 + 40 * (series[20:] - 3)
    torch.testing.assert_close(
        sizes.divide(larger), sizes.divide(series[20:]), atol=0.02, rtol=0
    )


def test_steps_are_those_of_numpy():
    series = series_of_sizes(6)
    sizes = learnt(series)
    values = series.double().numpy()
    numbers = np.hstack([np.log(values.std(axis=2)), values.mean(axis=2)])
    for number, knots, found in zip(
        numbers.T,
        sizes.knots.double(),
        sizes(series).unflatten(1, (4, 32)).unbind(1),
        strict=True,
    ):
        # The number of steps below: linear between knots.
        expected = np.interp(number, knots, np.arange(33))
        np.testing.assert_allclose(found.sum(dim=1), expected, atol=0.05)
        assert (found.diff(dim=1) <= 0).all()


def test_what_is_the_same_in_all_tells_nothing():
    series = series_of_sizes(6)
    series[:, 1] = series[:, 1] * 0 + 2.0  # constant: no spread, and one level
    told = learnt(series)(series).unflatten(1, (4, 32)).amax(dim=(0, 2)) > 0
    assert told.tolist() == [True, False, True, False]


def test_padding_changes_nothing():
    series = series_of_sizes(6)
    padded = torch.nn.functional.pad(series, (0, 7), value=torch.nan)
    sizes, others = learnt(series), learnt(padded)
    for name, value in sizes.state_dict().items():
        torch.testing.assert_close(value, others.state_dict()[name])
    torch.testing.assert_close(sizes(series), sizes(padded), atol=1e-3, rtol=0)
    torch.testing.assert_close(sizes.divide(series), sizes.divide(padded)[..., :-7])


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_and_constant_series_give_numbers(n):
    series = torch.full((n, 1, 20), 0.5)
    for samples in (series, series * torch.logspace(-4, 4, n)[:, None, None]):
        sizes = learnt(samples)
        sizes.is_divided.fill_(True)
        assert sizes(samples).isfinite().all()
        assert sizes.divide(samples).abs().max() <= 11


@pytest.mark.slow
def test_shapes_are_found_whatever_the_size():
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    times = np.arange(100)
    periods = np.array([7, 11, 23])[y][:, None]
    X = np.sin(2 * np.pi * (times / periods + rng.random((120, 1))))
    X = 10 ** rng.uniform(-3, 3, (120, 1)) * (X + 0.3 * rng.normal(size=X.shape))
    dim = DeepInfomaxTransformer(input_type="series", max_iter=1, random_state=0)
    Z = dim.fit_transform(X)
    assert dim.encoder_.sizes.is_divided
    neighbours = KNeighborsClassifier(1).fit(Z[:60], y[:60])
    assert neighbours.score(Z[60:], y[60:]) > 0.95
    # Sizes are told too: the neighbours in one shape are of a similar size.
    of_one = y == 0
    sizes = np.log10(X.std(axis=1))[of_one]
    nearest = KNeighborsClassifier(2).fit(Z[of_one], sizes > np.median(sizes))
    near = nearest.kneighbors(Z[of_one], return_distance=False)[:, 1]
    assert np.corrcoef(sizes, sizes[near])[0, 1] > 0.3
