"""Critics that compete, and the dropout of those that look for hidden classes."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sk_dim import MutualInformationEstimator
from sk_dim._information._columns import Variable
from sk_dim._information._component_critics import _HalfDropout
from sk_dim._information._critic_training import CriticTraining
from sk_dim._information._held_out import TrainedCritic
from sk_dim._information._judging import PairRows
from sk_dim._information._race import HEATS, is_behind, race
from sk_dim._information._read_outs import READ_OUTS
from sk_dim._information._shown_rows import ShownRows
from sk_dim._information._variables import Preprocessor
from sk_dim._training._optimizers import set_rates
from sk_dim.bounds import infonce, split_scores
from sk_dim.datasets import make_normal_pairs

CPU = torch.device("cpu")


def both_ways(scores):
    return (infonce(*split_scores(scores)) + infonce(*split_scores(scores.T))) / 2


INFONCE = READ_OUTS["infonce"]


class Scaled(nn.Module):
    """Score by a product, whose best scale is known, times what it is given."""

    def __init__(self, *shapes, factor=1.0):
        super().__init__()
        self.factor = factor
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, x, y):
        return self.factor * self.scale * x @ y.T


BUILDS = {
    "right": Scaled,
    "the same": Scaled,
    "nothing": lambda *shapes: Scaled(*shapes, factor=0.0),
    "wrong": lambda *shapes: Scaled(*shapes, factor=float("nan")),
}


def start(*names, n=600):
    X, Y, _ = make_normal_pairs(n, mutual_information=0.5, random_state=0)
    variables = [
        Variable(values, np.zeros(1, dtype=bool), np.ones(1, dtype=bool))
        for values in (X, Y)
    ]
    ways = [Preprocessor(V) for V in variables]
    critics = [TrainedCritic(name, *ways, BUILDS, CPU, seed=0) for name in names]
    rows = np.arange(n)
    return critics, ShownRows(*variables, CPU), rows[: n // 2], rows[n // 2 :]


def run(*names):
    critics, *rows = start(*names)
    best, left_in, history = race(critics, *rows, INFONCE, "auto")
    assert best in left_in
    counts = [sum(row["critic"] == name for row in history) for name in names]
    return best, counts


@pytest.mark.parametrize("names", [("right", "nothing"), ("nothing", "right")])
def test_who_is_clearly_behind_is_left_after_the_heats(names):
    best, counts = run(*names)
    assert best.name == "right"
    assert counts[names.index("nothing")] == HEATS[0][0]
    assert counts[names.index("right")] > HEATS[-1][0]


def test_equals_both_learn_to_the_end():
    _, counts = run("right", "the same")
    assert counts[0] == counts[1] > HEATS[-1][0]


def test_a_race_does_not_change_what_its_winner_learns():
    alone, together = run("right")[0], run("nothing", "right")[0]
    assert alone.best == together.best
    assert torch.equal(alone.stop_shares, together.stop_shares)
    for a, b in zip(
        alone.critic.parameters(), together.critic.parameters(), strict=True
    ):
        assert torch.equal(a, b)


@pytest.mark.filterwarnings("ignore:training diverged")
def test_what_diverges_does_not_win():
    best, _ = run("wrong", "right")
    assert best.name == "right"


def test_a_critic_that_only_chance_sets_back_is_not_behind():
    (first, second), *_ = start("right", "the same")
    rng = np.random.default_rng(0)
    noise = torch.tensor(rng.normal(size=400))
    first.stop_shares, second.stop_shares = noise, noise - 1e-3
    assert is_behind(second, first)  # it is so in each row
    second.stop_shares = torch.tensor(rng.normal(size=400)) + noise.mean()
    second.stop_shares -= second.stop_shares.mean() - noise.mean() + 1e-3
    assert not is_behind(second, first)
    assert not is_behind(first, first)


def test_each_way_to_show_rows_is_computed_once():
    (critic,), shown, *_ = start("right")
    calls = []
    way = critic.of_x
    critic.of_x = lambda V: calls.append(0) or way(V)
    for rows in (np.arange(3), np.arange(5)):
        x, y, _ = shown.rows_for(critic)(rows)
        assert torch.equal(x, way(shown.variables[0])[rows])
        assert torch.equal(y, critic.of_y(shown.variables[1])[rows])
    assert calls == [0]


# Dropout


@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(0, 99))
def test_half_dropout_doubles_or_drops(shape, seed):
    torch.manual_seed(seed)
    dropout, batch = _HalfDropout(), torch.randn(shape)
    dropped = dropout(batch)
    assert dropped.shape == batch.shape
    assert torch.equal(dropped, torch.where(dropped == 0, 0.0, 2 * batch))
    assert dropout.eval()(batch) is batch


def test_half_dropout_drops_each_input_as_often_and_apart():
    torch.manual_seed(0)
    kept = _HalfDropout()(torch.ones(40_000, 17)) / 2
    assert (kept.mean(0) - 0.5).abs().max() < 5 * 0.5 / 200
    correlations = torch.corrcoef(kept.T) - torch.eye(17)
    assert correlations.abs().max() < 5 / 200


# Weights as one vector


class Odd(nn.Module):
    """Weights of several layouts, one frozen, one shared, and a scalar."""

    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.second = nn.Linear(3, 4)
        self.second.weight = self.first.weight
        flipped = torch.randn(4, 3).T
        self.third = nn.Parameter(flipped)
        self.scale = nn.Parameter(torch.ones((), dtype=dtype))
        self.frozen = nn.Parameter(torch.randn(4), requires_grad=False)
        self.conv = nn.Conv2d(2, 4, 3).to(memory_format=torch.channels_last)

    def forward(self, x, y):
        a, b = self.first(x) * self.frozen, self.second(y) + y @ self.third
        images = x[:, :2, None, None].expand(-1, -1, 3, 3)
        return (a + self.conv(images).flatten(1)) @ b.T * self.scale.float()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_vector_of_weights_learns_as_the_weights_do(dtype):
    x, noise = torch.randn(2, 200, 3, generator=torch.Generator().manual_seed(0))
    rows = PairRows(x, x + noise)
    torch.manual_seed(0)
    critic = Odd(dtype)
    slow, frozen = copy.deepcopy(critic), critic.frozen.clone()
    training = CriticTraining(critic, rows, rows, 5, INFONCE, 0)
    assert len(training.weights) == (1 if dtype == torch.float32 else 7)
    batches = [torch.arange(i, i + 60) for i in range(0, 125, 25)]
    weights = [weight for weight in slow.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-2, weight_decay=1e-2)
    set_rates(training.optimiser, 1e-2)
    for batch in batches:
        training.compute_step(batch)
        training.n_done += 1
        optimizer.zero_grad()
        (-both_ways(slow(x[batch], rows.y[batch]))).backward()
        optimizer.step()
    for (name, one), other in zip(
        critic.named_parameters(), slow.parameters(), strict=True
    ):
        torch.testing.assert_close(one, other, msg=name)
        assert one.stride() == other.stride()
    assert torch.equal(critic.frozen, frozen)
    assert critic.first.weight is critic.second.weight


class Lazy(nn.Module):
    """Weights whose shapes are not known before the first batch."""

    def __init__(self, *shapes):
        super().__init__()
        self.of_x, self.of_y = nn.LazyLinear(4), nn.LazyLinear(4)

    def forward(self, x, y):
        return self.of_x(x) @ self.of_y(y).T


class Moved(nn.Module):
    """A weight that does not learn, but is moved in each step."""

    def __init__(self, *shapes):
        super().__init__()
        self.of_x, self.of_y = nn.Linear(1, 4), nn.Linear(1, 4)
        self.scale = nn.Parameter(torch.zeros(()), requires_grad=False)

    def forward(self, x, y):
        if self.training:
            self.scale.data.lerp_(torch.ones(()), 0.2)
        return self.scale * self.of_x(x) @ self.of_y(y).T


@pytest.mark.slow
@pytest.mark.parametrize("critic", [Lazy, Moved])
def test_critics_with_unusual_weights_learn(critic):
    X, Y, _ = make_normal_pairs(600, mutual_information=0.5, random_state=0)
    found = MutualInformationEstimator(critic=critic, max_iter=40, random_state=0)
    assert found.fit(X, Y).mutual_information_ > 0.15


def test_a_net_of_the_user_gets_its_weights_back():
    of_x = nn.Linear(1, 4)

    class Shared(nn.Module):
        def __init__(self, *shapes):
            super().__init__()
            self.of_x, self.of_y = of_x, nn.Linear(1, 4)

        def forward(self, x, y):
            return self.of_x(x) @ self.of_y(y).T

    X, Y, _ = make_normal_pairs(100, mutual_information=0.5, random_state=0)
    MutualInformationEstimator(critic=Shared, max_iter=1, random_state=0).fit(X, Y)
    assert of_x.weight.untyped_storage().nbytes() == 4 * of_x.weight.numel()
    assert of_x.weight.grad is None


@pytest.mark.filterwarnings("ignore:training diverged")
@pytest.mark.filterwarnings("ignore:no dependence was found")
def test_a_critic_that_is_no_number_tells_nothing():
    X, Y, _ = make_normal_pairs(100, mutual_information=0.5, random_state=0)

    def build(*shapes):
        return Scaled(factor=float("nan"))

    found = MutualInformationEstimator(critic=build, max_iter=1, random_state=0)
    assert found.fit(X, Y).p_value_ == 1
