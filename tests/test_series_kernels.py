"""Fixed features of series, against loops that do what the papers say."""

import numpy as np
import pytest
import torch

from sk_dim.encoders._series_kernels import (
    SIZE,
    CompetingKernels,
    Proportions,
    plan_dilations,
    windows,
)


def walks(n, n_channels, length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, n_channels, length, generator=generator).cumsum(-1)


def response(series, kernel, time, dilation):
    """Product of a kernel with what it sees around a time, with 0 beyond the ends."""
    total = 0.0
    for place, weight in enumerate(kernel):
        at = time + (place - SIZE // 2) * dilation
        if 0 <= at < len(series):
            total += float(weight) * float(series[at])
    return total


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (9, [1]),
        (16, [1]),
        (17, [1, 2]),
        (33, [1, 2, 4]),
        (513, [2**i for i in range(7)]),
    ],
)
def test_dilated_kernels_are_within_the_series(length, expected):
    assert plan_dilations(length) == expected


@pytest.mark.parametrize("dilation", [1, 2, 8])
def test_windows_hold_what_a_kernel_sees(dilation):
    series = walks(2, 3, 20)
    found = windows(series, dilation)
    assert found.shape == (2, SIZE, 3 * 20)
    kernel = torch.randn(SIZE, generator=torch.Generator().manual_seed(1))
    kernel -= kernel.mean()
    for time in (0, 7, 19):
        expected = response(series[1, 2], kernel, time, dilation)
        assert float(kernel @ found[1, :, 2 * 20 + time]) == pytest.approx(
            expected, abs=1e-4
        )


@pytest.mark.parametrize("n_channels", [1, 3])
def test_the_best_kernel_gets_its_response_and_the_worst_a_count(n_channels):
    torch.manual_seed(0)
    competition = CompetingKernels(n_channels, 20, n_groups=2, n_kernels=3)
    series = walks(2, n_channels, 20)
    expected = []
    for d, dilation in enumerate(competition.dilations):
        best = np.zeros((2, 2, 3))
        worst = np.zeros((2, 2, 3))
        for n in range(2):
            for group in range(2):
                mixed = competition.mixing[d, group] @ series[n]
                for time in range(20):
                    values = [
                        response(mixed, kernel, time, dilation)
                        for kernel in competition.kernels[d, group]
                    ]
                    best[n, group, np.argmax(values)] += max(values) / 20
                    worst[n, group, np.argmin(values)] += 1 / 20
        expected += [best.reshape(2, -1), worst.reshape(2, -1)]
    found = competition(series)
    assert found.shape == (2, competition.n_features)
    expected = np.hstack(expected).clip(min=0)
    np.testing.assert_allclose(found**2, expected, atol=1e-5)


@pytest.mark.parametrize("n_channels", [1, 3])
def test_where_a_series_is_flat_no_kernel_wins(n_channels):
    torch.manual_seed(0)
    competition = CompetingKernels(n_channels, 60)
    flat = 0.1 + walks(4, n_channels, 1).expand(-1, -1, 60)
    ends = competition(torch.zeros(4, n_channels, 60)), competition(flat)
    assert (ends[0] == 0).all()
    # Only near the ends, where kernels see zeros beside it, does anything count.
    groups = ends[1].view(4, -1, 2, 32, 8)[:, :, 1].square().sum(dim=3)
    for i, dilation in enumerate(competition.dilations):
        torch.testing.assert_close(
            groups[:, i], torch.full((4, 32), 2 * 4 * dilation / 60)
        )


@pytest.mark.parametrize("n_channels", [1, 3])
def test_proportions_are_shares_of_time_above_thresholds(n_channels):
    torch.manual_seed(0)
    proportions = Proportions(n_channels, 40, n_thresholds=4)
    series = walks(5, n_channels, 40)
    proportions.learn(series)
    found = proportions(series)[0].view(5, -1, 84)
    row = 0
    for d, dilation in enumerate(proportions.dilations):
        for t in range(proportions.thresholds.shape[2]):
            threshold = float(proportions.thresholds[d, 50, t])
            scale = float(proportions.scales[d, 50, t])
            mixed = proportions.mixing[d, 50] @ series[2]
            share = 0.0
            for time in range(40):
                value = response(mixed, proportions.kernels[50], time, dilation)
                share += min(1.0, max(0.0, (value - threshold) * scale + 0.5)) / 40
            assert float(found[2, row, 50]) == pytest.approx(share, abs=1e-4)
            row += 1


@pytest.mark.parametrize("kind", ["alike", "of many sizes"])
def test_ramps_hold_few_responses_whatever_the_sizes(kind):
    proportions = Proportions(1, 200)
    series = walks(16, 1, 200)
    if kind == "of many sizes":
        series *= 10.0 ** torch.arange(16).view(16, 1, 1)
    proportions.learn(series)
    on_ramp = []
    for i, responses in enumerate(proportions._responses(series)):
        ramps = zip(proportions.thresholds[i].T, proportions.scales[i].T, strict=True)
        for threshold, scale in ramps:
            height = (responses.flatten(1) - threshold[:, None]) * scale[:, None]
            on_ramp.append((height.abs() < 0.5).float().mean(dim=1))
    assert float(torch.cat(on_ramp).median()) == pytest.approx(0.04, abs=0.02)


def test_of_a_series_that_is_mostly_zero_shares_are_those_of_steps():
    proportions = Proportions(1, 100)
    series = torch.zeros(16, 1, 100)
    series[:, 0, 40:45] = walks(16, 1, 5)[:, 0]
    proportions.learn(series)
    whole, _ = proportions(series)
    assert whole.isfinite().all()
    assert float(whole.std(dim=0).max()) > 0.01


def test_thresholds_split_the_responses_evenly():
    proportions = Proportions(1, 200)
    series = walks(50, 1, 200)
    proportions.learn(series)
    means = proportions(series)[0].mean(dim=0)
    # Quantiles of an even sequence: the shares above them are spread evenly too.
    assert float(means.mean()) == pytest.approx(0.5, abs=0.03)
    np.testing.assert_allclose(
        np.quantile(means, [0.1, 0.25, 0.75, 0.9]), [0.1, 0.25, 0.75, 0.9], atol=0.05
    )
