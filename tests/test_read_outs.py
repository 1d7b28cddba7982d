"""What rows tell, against the bounds themselves and against the spread over draws."""

import copy
import math

import numpy as np
import pytest
import torch

from sk_dim._information._read_outs import READ_OUTS, _Mine
from sk_dim.bounds import donsker_varadhan, infonce, nwj, smile, split_scores


def both_ways(scores):
    return (infonce(*split_scores(scores)) + infonce(*split_scores(scores.T))) / 2


VALUES = {
    "infonce": both_ways,
    "donsker_varadhan": lambda scores: donsker_varadhan(*split_scores(scores)),
    "nwj": lambda scores: nwj(*split_scores(scores + 1)),
    "smile": lambda scores: smile(*split_scores(scores)),
    "jsd": lambda scores: donsker_varadhan(*split_scores(scores)),
}


def log_ratio(x, y, correlation):
    """Log density ratio of all pairs of two normal variables."""
    r = correlation
    x, y = x[:, None], y[None, :]
    quadratic = (2 * r * x * y - r**2 * (x**2 + y**2)) / (2 * (1 - r**2))
    return quadratic - 0.5 * math.log(1 - r**2)


@pytest.mark.parametrize("name", READ_OUTS)
def test_the_shares_of_rows_have_the_bound_as_their_mean(name):
    torch.manual_seed(0)
    scores = 3 * torch.randn(30, 30, dtype=torch.float64)
    value = READ_OUTS[name].shares(scores).mean()
    torch.testing.assert_close(value, VALUES[name](scores))


@pytest.mark.parametrize("name", READ_OUTS)
def test_the_spread_of_shares_is_that_over_draws(name):
    rng = np.random.default_rng(0)
    values, errors = [], []
    for _ in range(150):
        x, noise = torch.from_numpy(rng.normal(size=(2, 300)))
        y = 0.8 * x + 0.6 * noise
        shares = READ_OUTS[name].shares(log_ratio(x, y, 0.8))
        values.append(shares.mean())
        errors.append(shares.std() / math.sqrt(len(shares)))
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.2)
    truth = -0.5 * math.log(1 - 0.8**2)
    assert np.mean(values) == pytest.approx(truth, abs=0.02)


def test_mine_has_the_value_of_the_bound_and_at_first_its_gradient():
    torch.manual_seed(0)
    scores = torch.randn(20, 20, dtype=torch.float64, requires_grad=True)
    value = _Mine()(scores)
    bound = donsker_varadhan(*split_scores(scores))
    torch.testing.assert_close(value, bound)
    ours, theirs = (torch.autograd.grad(each, scores)[0] for each in (value, bound))
    torch.testing.assert_close(ours, theirs)


def test_mine_divides_its_gradient_by_the_average_over_batches():
    mine = _Mine()
    first = torch.zeros(10, 10, dtype=torch.float64)
    mine(first)
    second = torch.full((10, 10), 2.0, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(mine(second), second)
    average = 0.9 * 1 + 0.1 * math.exp(2)
    off_diagonal = gradient[0, 1]
    assert float(off_diagonal) == pytest.approx(-math.exp(2) / average / 90)


@pytest.mark.parametrize("name", READ_OUTS)
def test_objectives_and_shares_of_two_rows_are_finite(name):
    scores = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64)
    assert READ_OUTS[name].shares(scores).isfinite().all()
    assert copy.copy(READ_OUTS[name].objective)(scores).isfinite()
