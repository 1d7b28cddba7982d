import math
import weakref
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import softplus

from sk_dim import critics
from sk_dim._inputs._batches import SliceLoader
from sk_dim.bounds import BOUNDS, ROW_MEANS, BetweenGroups, infonce, split_scores
from sk_dim.critics import (
    CRITICS,
    ConcatCritic,
    CosineCritic,
    DotCritic,
    bound_in_blocks,
    bound_of_views,
    check_pairs,
)


@pytest.fixture(params=CRITICS, name="critic_class")
def _critic_class(request):
    return CRITICS[request.param]


def test_scores_have_the_promised_shapes(critic_class):
    critic = critic_class(5, 3)
    positive, negative = critic(torch.randn(7, 5, 4), torch.randn(7, 3))
    assert positive.shape == (7, 4)
    assert negative.shape[0] == 7
    assert negative.shape[2] in (1, 4)


@torch.no_grad()
def test_dot_scores_are_those_of_single_pairs():
    critic = DotCritic(5, 3, n_units=8, temperature=0.5)
    local, global_ = torch.randn(4, 5, 6), torch.randn(4, 3)
    positive, negative = critic(local, global_)
    negative = negative.view(4, 4, 6)
    for i in range(4):
        for j in range(4):
            for location in range(6):
                score = critic.local(local[j, :, location]) @ critic.global_(global_[i])
                score = score / (0.5 * math.sqrt(8))
                if i == j:
                    assert negative[i, j, location] == -math.inf
                    torch.testing.assert_close(positive[i, location], score)
                else:
                    torch.testing.assert_close(negative[i, j, location], score)


@torch.no_grad()
def test_concat_scores_are_those_of_a_net_on_joined_features():
    critic = ConcatCritic(5, 3, n_units=8, n_negatives=2)
    local, global_ = torch.randn(4, 5, 6), torch.randn(4, 3)
    positive, negative = critic(local, global_)
    first = torch.nn.Linear(8, 8)
    first.weight.copy_(torch.cat([critic.local.weight, critic.global_.weight], dim=1))
    first.bias.copy_(critic.local.bias)

    def score(i, j, location):
        joined = torch.cat([local[j, :, location], global_[i]])
        return critic.head(first(joined))[0]

    for i in range(4):
        for location in range(6):
            torch.testing.assert_close(positive[i, location], score(i, i, location))
            for k in range(2):
                other = score(i, (i + k + 1) % 4, location)
                torch.testing.assert_close(negative[i, k, location], other)


def test_concat_in_a_small_batch_has_as_many_negatives_as_others():
    _, negative = ConcatCritic(5, 3)(torch.randn(2, 5, 1), torch.randn(2, 3))
    assert negative.shape == (2, 1, 1)


@pytest.mark.parametrize("n_units", [64, 2048])
def test_dot_scores_of_random_pairs_have_variance_near_one(n_units):
    critic = DotCritic(32, 16, n_units=n_units)
    _, negative = critic(torch.randn(64, 32, 4), torch.randn(64, 16))
    assert 0.7 < float(negative.detach()[~negative.isneginf()].std()) < 1.4


def test_scores_are_float32_under_reduced_precision(critic_class):
    critic = critic_class(5, 3)
    with torch.autocast("cpu", torch.bfloat16):
        positive, negative = critic(torch.randn(4, 5, 2), torch.randn(4, 3))
    assert positive.dtype == negative.dtype == torch.float32


def test_dot_gradients_reach_both_sides():
    local = torch.randn(4, 5, 2, requires_grad=True)
    global_ = torch.randn(4, 3, requires_grad=True)
    positive, negative = DotCritic(5, 3)(local, global_)
    (positive.sum() + negative[~negative.isneginf()].square().sum()).backward()
    assert local.grad.abs().sum() > 0
    assert global_.grad.abs().sum() > 0
    assert local.grad.isfinite().all()


@pytest.mark.parametrize("bound", ROW_MEANS)
def test_blocks_give_the_value_and_the_gradients_of_the_plain_form(bound, monkeypatch):
    critic = DotCritic(5, 3, n_units=8)
    local, global_ = torch.randn(7, 5, 6), torch.randn(7, 3)

    def evaluate(function):
        inputs = [each.clone().requires_grad_() for each in (local, global_)]
        value = function(*inputs)
        return value, *torch.autograd.grad(value, [*inputs, *critic.parameters()])

    plain = evaluate(lambda *inputs: bound(*critic(*inputs)))
    # Blocks of two samples, the last of one; locations of three samples at a time.
    monkeypatch.setattr(critics, "BLOCK_SCORES", 2 * 7 * 6)
    monkeypatch.setattr(critics, "BLOCK_LOCATIONS", 3 * 6)
    in_blocks = evaluate(lambda *inputs: bound_in_blocks(critic, bound, *inputs))
    for each, expected in zip(in_blocks, plain, strict=True):
        torch.testing.assert_close(each, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("bound", ROW_MEANS)
def test_row_means_are_means_of_rows(bound):
    positive, negative = torch.randn(6, 4), torch.randn(6, 9, 1)
    rows = [bound(positive[i : i + 1], negative[i : i + 1]) for i in range(6)]
    torch.testing.assert_close(bound(positive, negative), torch.stack(rows).mean())


def test_the_backward_pass_holds_what_belongs_to_one_block(monkeypatch):
    monkeypatch.setattr(critics, "BLOCK_SCORES", 64)
    critic = DotCritic(5, 3, n_units=8)
    local, global_ = torch.randn(16, 5, 4), torch.randn(16, 3, requires_grad=True)
    alive = weakref.WeakSet()
    counts = []

    class Saved:
        def __init__(self, tensor):
            self.tensor = tensor
            alive.add(self)

    def bound(positive, negative):
        counts.append(len(alive))
        return infonce(positive, negative)

    value = bound_in_blocks(critic, bound, local, global_)
    n_forward = len(counts)
    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        value.backward()
    assert len(counts) == 2 * n_forward == 32
    assert len(set(counts[n_forward:])) == 1


def test_concat_negatives_of_sorted_data_are_of_all_classes():
    """Rows in the order of ten classes, in batches as training takes them."""
    critic = ConcatCritic(1, 1, n_units=8, n_negatives=4)
    # Scores are differences of classes: 0 where a negative is of the own class.
    classes = torch.arange(10).repeat_interleave(300)
    generator = torch.Generator().manual_seed(0)
    own_class = []

    class Labels:
        device, groups = torch.device("cpu"), None

        def __len__(self):
            return len(classes)

        def take(self, rows):
            return classes[rows]

    critic.local = critic.global_ = critic.head = torch.nn.Identity()
    for batch in SliceLoader(Labels(), 100, generator):
        codes = batch.float()[:, None]
        _, negative = critic(codes[:, :, None], -codes)
        own_class.append((negative == 0).float().mean())
    assert float(torch.stack(own_class).mean()) == pytest.approx(0.1, abs=0.02)


# Groups

OF_GROUPS = torch.tensor([0, 0, 0, 1, 2, 1, 0])  # concat has no negative in row 0


def build_critic(name):
    """A critic, and its inputs for seven samples."""
    torch.manual_seed(0)
    if name == "cosine":
        critic = CosineCritic(3)
        a, b = critic.embed(torch.randn(7, 3)), critic.embed(torch.randn(7, 3))
        return critic, (a.unsqueeze(2), b)
    more = {"n_negatives": 2} if name == "concat" else {}
    critic = CRITICS[name](5, 3, n_units=8, **more)
    return critic, (torch.randn(7, 5, 2), torch.randn(7, 3))


# What a score of a pair of either kind adds, in bounds that are differences of means.
PARTS = {
    "jsd": (
        lambda t: math.log(2) - softplus(-t),
        lambda t: softplus(t) - math.log(2),
    ),
    "nwj": (lambda t: t, lambda t: (t - 1).exp()),
    "kl": (lambda t: t + 1, torch.exp),
    "reverse_kl": (lambda t: 1 - (-t).exp(), lambda t: t),
    "hellinger": (lambda t: 1 - (-t / 2).exp(), lambda t: (t / 2).exp() - 1),
    "chi_squared": (lambda t: t, lambda t: t + t**2 / 4),
}


def loop_between_groups(name, critic_name, critic, local, global_):
    """The bound, one pair of samples at a time, without pairs of one group."""

    def score(i, j):
        return critic(local[[j]], global_[[i]])[0][0]  # (l,)

    joint, marginal, exponentials = [], [], []
    for i, group in enumerate(OF_GROUPS):
        near = [(i + 1) % 7, (i + 2) % 7]
        others = near if critic_name == "concat" else [j for j in range(7) if j != i]
        others = [score(i, j) for j in others if OF_GROUPS[j] != group]
        if not others:
            continue
        for location, t in enumerate(score(i, i)):
            if critic_name == "concat":
                negatives = torch.stack([each[location] for each in others])
            else:  # all locations compete
                negatives = torch.cat(others)
            if name == "infonce":
                total = t.exp() + negatives.exp().sum()
                joint.append(t - total.log() + math.log(1 + len(negatives)))
            elif name in PARTS:
                of_joint, of_marginal = PARTS[name]
                joint.append(of_joint(t))
                marginal.append(of_marginal(negatives))
            else:
                joint.append(t)
                exponentials.append((location, negatives.exp()))
    value = torch.stack(joint).mean()
    if marginal:
        value = value - torch.cat(marginal).mean()
    if exponentials:
        n_locations = 1 + max(location for location, _ in exponentials)
        means = [
            torch.cat([e for at, e in exponentials if at == location]).mean()
            for location in range(n_locations)
        ]
        value = value - torch.stack(means).log().mean()
    return value


def with_gradients(function, critic, inputs):
    """The value, and its gradients by inputs and parameters."""
    inputs = [each.detach().clone().requires_grad_() for each in inputs]
    value = function(*inputs)
    by = [*inputs, *critic.parameters()]
    return value, *torch.autograd.grad(value, by, materialize_grads=True)


def assert_all_close(found, expected):
    for each, other in zip(found, expected, strict=True):
        torch.testing.assert_close(each, other, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("critic_name", [*CRITICS, "cosine"])
@pytest.mark.parametrize("name", BOUNDS)
def test_between_groups_a_bound_is_that_of_a_loop_without_own_pairs(name, critic_name):
    critic, inputs = build_critic(critic_name)
    bound = BetweenGroups(BOUNDS[name], OF_GROUPS, critic.of_negatives)
    found = with_gradients(lambda *each: critic.evaluate(bound, *each), critic, inputs)
    expected = with_gradients(
        lambda *each: loop_between_groups(name, critic_name, critic, *each),
        critic,
        inputs,
    )
    assert_all_close(found, expected)


@pytest.mark.parametrize("name", BOUNDS)
def test_between_groups_many_scores_give_the_same_bound(name, monkeypatch):
    """In blocks where they may be, which rows of unequal numbers allow infonce only."""
    critic, inputs = build_critic("dot")
    bound = BetweenGroups(BOUNDS[name], OF_GROUPS, critic.of_negatives)
    plain = with_gradients(lambda *each: critic.evaluate(bound, *each), critic, inputs)
    monkeypatch.setattr(critics, "MAX_SCORES", 1)
    monkeypatch.setattr(critics, "BLOCK_SCORES", 2 * 7 * 2)
    taken = []
    in_blocks = bound_in_blocks
    monkeypatch.setattr(
        critics, "bound_in_blocks", lambda *a: taken.append(name) or in_blocks(*a)
    )
    many = with_gradients(lambda *each: critic.evaluate(bound, *each), critic, inputs)
    assert_all_close(many, plain)
    assert taken == (["infonce"] if name == "infonce" else [])


def test_on_a_gpu_its_memory_decides_what_is_computed_in_blocks(monkeypatch):
    of_80_gb = SimpleNamespace(total_memory=80 * 10**9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: of_80_gb)
    # A batch of 8,192 with 8 locations of each sample in one piece, of 16,384 not.
    assert 8_192**2 * 8 < critics.max_scores(torch.device("cuda")) < 16_384**2 * 8
    assert critics.max_scores(torch.device("cpu")) == critics.MAX_SCORES


@pytest.mark.parametrize("critic_name", [*CRITICS, "cosine"])
@pytest.mark.parametrize("name", BOUNDS)
def test_a_batch_of_one_group_teaches_nothing(name, critic_name):
    critic, inputs = build_critic(critic_name)
    groups = torch.full((7,), 3)
    bound = BetweenGroups(BOUNDS[name], groups, critic.of_negatives)
    found = with_gradients(lambda *each: critic.evaluate(bound, *each), critic, inputs)
    for each in found:
        assert (each == 0).all()


@pytest.mark.parametrize("critic_name", [*CRITICS, "cosine"])
@pytest.mark.parametrize("name", BOUNDS)
def test_groups_of_one_sample_each_change_nothing(name, critic_name):
    critic, inputs = build_critic(critic_name)
    bound = BetweenGroups(BOUNDS[name], torch.randperm(7), critic.of_negatives)
    found, expected = (
        with_gradients(lambda *each, b=b: critic.evaluate(b, *each), critic, inputs)
        for b in (bound, BOUNDS[name])
    )
    assert_all_close(found, expected)


class Shift(torch.nn.Module):
    """Scores the next samples, and says nothing of it."""

    def __init__(self, n_negatives):
        super().__init__()
        self.n_negatives = n_negatives

    def forward(self, local, global_):
        shifts = range(self.n_negatives + 1)
        pairs = [(local.roll(-s, 0) * global_[:, :, None]).sum(1) for s in shifts]
        return pairs[0], torch.stack(pairs[1:], dim=1)


class AllPairs(torch.nn.Module):
    """Scores all pairs in the plainest way."""

    def forward(self, local, global_):
        return split_scores(torch.einsum("md,ndl->mnl", global_, local))


def test_it_must_be_known_which_samples_negatives_are_of():
    features = torch.randn(6, 3, 2), torch.randn(6, 3)
    check_pairs(AllPairs(), *features)
    for name in CRITICS:
        check_pairs(CRITICS[name](3, 3), *features)
    with pytest.raises(ValueError, match="returned 4 negatives a row for 6 samples"):
        check_pairs(Shift(4), *features)
    with pytest.raises(ValueError, match="not those of all samples in order"):
        check_pairs(Shift(6), *features)


@pytest.mark.parametrize("bound", [*BOUNDS.values(), lambda p, n: p.sum()])
@pytest.mark.parametrize("n_views", [1, 2, 3])
def test_the_bound_of_views_is_the_mean_of_theirs(bound, n_views):
    critic = DotCritic(5, 3).double()
    local = torch.randn(n_views, 7, 5, 4, dtype=torch.double)
    codes = torch.randn(n_views, 7, 3, dtype=torch.double)
    expected = sum(map(critic.evaluate, [bound] * n_views, local, codes)) / n_views
    embedded = critic.embed(local.flatten(0, 1), codes.flatten(0, 1))
    found = bound_of_views(bound, *embedded, n_views)
    torch.testing.assert_close(found, expected)
