import math
import weakref

import pytest
import torch

from sk_dim import critics
from sk_dim._inputs._batches import SliceLoader
from sk_dim.bounds import ROW_MEANS, infonce
from sk_dim.critics import CRITICS, ConcatCritic, DotCritic, bound_in_blocks


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
        device = torch.device("cpu")

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
