import math

import pytest
import torch

from sk_dim._contrast import locations
from sk_dim.bounds import BOUNDS, infonce, split_scores
from sk_dim.critics import CRITICS, ConcatCritic, DotCritic
from sk_dim.encoders import Features
from sk_dim.objective import Objective

WEIGHTS = {"local": 1.0, "global": 0.5, "prior": 0.1}


def draw_features(n=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Features(
        torch.randn(n, 4, generator=generator),
        None,
        None,
        torch.randn(n, 5, 2, 3, generator=generator),
    )


def build(n_views=2, bound=infonce, critic=DotCritic, **weights):
    torch.manual_seed(0)
    weights = dict.fromkeys(WEIGHTS, 0.0) | weights
    return Objective(draw_features(), n_views, bound, critic, "uniform", weights)


@torch.no_grad()
def test_local_term_of_two_views_crosses_them():
    objective = build(local=1.0).eval()
    a, b = draw_features(seed=1), draw_features(seed=2)
    critic = objective.critics["local"]
    expected = 0.5 * (
        infonce(*critic(locations(a.local), b.global_))
        + infonce(*critic(locations(b.local), a.global_))
    )
    torch.testing.assert_close(objective([a, b], None)["local"], expected)


@torch.no_grad()
def test_local_term_of_one_view_is_that_of_the_paper():
    objective = build(n_views=1, local=1.0).eval()
    a = draw_features()
    expected = infonce(*objective.critics["local"](locations(a.local), a.global_))
    torch.testing.assert_close(objective([a], None)["local"], expected)


@torch.no_grad()
def test_a_head_has_the_global_term_compare_what_it_makes():
    torch.manual_seed(0)
    weights = {"local": 0.0, "global": 1.0, "prior": 0.0}
    objective = Objective(
        draw_features(), 2, infonce, DotCritic, "uniform", weights, has_head=True
    )
    a, b = draw_features(seed=1), draw_features(seed=2)
    critic = objective.critics["global"]
    # Batch statistics of the head are over both views.
    both = critic.head(torch.cat([a.global_, b.global_]))
    x, y = torch.nn.functional.normalize(both, dim=1).chunk(2)
    scores = x @ y.T / critic.temperature
    expected = 0.5 * sum(
        infonce(*split_scores(s.unsqueeze(2))) for s in (scores, scores.T)
    )
    torch.testing.assert_close(objective([a, b], None)["global"], expected)


@torch.no_grad()
def test_a_summary_takes_the_place_of_wide_global_features():
    views = [draw_features(seed=seed) for seed in (1, 2)]
    wide = [
        view._replace(global_=torch.randn(6, 99), summary=view.global_)
        for view in views
    ]
    for n_views in (1, 2):
        objective = build(n_views=n_views, **WEIGHTS).eval()
        terms = [objective(each[:n_views], None) for each in (views, wide)]
        assert terms[0].keys() == WEIGHTS.keys()
        torch.testing.assert_close(*terms)
    torch.testing.assert_close(
        objective.local_scores(views[0]), objective.local_scores(wide[0])
    )
    Objective(wide[0], 2, infonce, DotCritic, "uniform", WEIGHTS)(wide, None)


@torch.no_grad()
def test_global_term_is_between_global_features_or_with_the_whole_map():
    a, b = draw_features(seed=1), draw_features(seed=2)
    two = build(**{"global": 1.0}).eval()
    critic = two.critics["global"]
    x, y = critic.embed(a.global_), critic.embed(b.global_)
    expected = 0.5 * (
        infonce(*critic(x.unsqueeze(2), y)) + infonce(*critic(y.unsqueeze(2), x))
    )
    torch.testing.assert_close(two([a, b], None)["global"], expected)
    one = build(n_views=1, **{"global": 1.0})
    expected = infonce(*one.critics["global"](a.local.view(6, 30, 1), a.global_))
    torch.testing.assert_close(one([a], None)["global"], expected)


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("critic", CRITICS)
def test_loss_is_minus_the_weighted_sum_of_finite_terms(bound, critic):
    objective = build(2, BOUNDS[bound], CRITICS[critic], **WEIGHTS)
    terms = objective([draw_features(), draw_features(seed=1)], None)
    assert terms.keys() == WEIGHTS.keys()
    loss = objective.loss(terms)
    expected = -sum(WEIGHTS[name] * term for name, term in terms.items())
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert all(p.grad.isfinite().all() for p in objective.critics.parameters())


def test_terms_of_weight_zero_are_not_built():
    objective = build(local=1.0)
    assert list(objective.critics) == ["local"]
    assert objective.prior is None
    assert not objective.has_adversary
    assert list(objective([draw_features()] * 2, None)) == ["local"]


def test_training_samples_as_many_locations_as_the_critic_wants():
    seen = []

    class Spy(DotCritic):
        def forward(self, local, global_):
            seen.append(local.shape[2])
            return super().forward(local, global_)

    for n_locations in (4, None, 100):
        objective = build(
            critic=lambda c, d, n=n_locations: Spy(c, d, n_locations=n), local=1.0
        )
        objective([draw_features()] * 2, None)
        objective.eval()([draw_features()] * 2, None)
    assert seen == [4, 4, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6]


def test_gradients_of_sampled_locations_have_the_layout_of_the_map():
    features = draw_features()
    local = features.local.to(memory_format=torch.channels_last).requires_grad_()
    objective = build(critic=lambda c, d: DotCritic(c, d, n_locations=4), local=1.0)
    loss = objective.loss(objective([features._replace(local=local)], None))
    (gradient,) = torch.autograd.grad(loss, local)
    assert gradient.is_contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def test_local_scores_are_the_positive_scores_of_the_critic():
    objective = build(local=1.0).eval()
    a = draw_features()
    expected = objective.critics["local"](locations(a.local), a.global_)[0]
    torch.testing.assert_close(objective.local_scores(a), expected)


@torch.no_grad()
@pytest.mark.parametrize("critic", [DotCritic, ConcatCritic])
def test_candidate_bound_is_infonce_over_the_same_location_of_other_samples(critic):
    n = 12
    features = draw_features(n)
    objective = build(critic=critic, local=1.0).eval()
    total = 0.0
    for i in range(n):
        for location in range(6):
            local = features.local.flatten(2)[:, :, [location]]
            codes = features.global_[[i]].expand(n, -1)
            scores = objective.critics["local"](local, codes)[0][:, 0]
            total += scores[i] - scores.logsumexp(0) + math.log(n)
    bound = objective.candidate_bound(features, n_candidates=n)
    assert bound.shape == (n,)
    assert float(bound.mean()) == pytest.approx(float(total) / (6 * n), abs=1e-5)


@torch.no_grad()
def test_candidate_bound_with_too_few_samples_repeats_them():
    features = draw_features(12)
    objective = build(local=1.0).eval()
    few = objective.candidate_bound(features, n_candidates=256)
    assert (few <= math.log(256)).all()
    # 255 others drawn from 11 with repeats: as if each counted 255 / 11 times.
    critic = objective.critics["local"]
    local = locations(features.local)
    expected = []
    for location in range(6):
        positive, negative = critic(local[:, :, [location]], features.global_)
        partition = positive[:, 0].exp() + negative[:, :, 0].exp().sum(1) * 255 / 11
        expected.append(positive[:, 0] - partition.log() + math.log(256))
    torch.testing.assert_close(few, torch.stack(expected).mean(0))


@pytest.mark.parametrize(
    ("critic", "match"),
    [
        (lambda c, d: _Constant(None), "critic must return"),
        (
            lambda c, d: _Constant((torch.zeros(6, 1), torch.zeros(6, 3))),
            r"positive \(6, 6\)",
        ),
    ],
)
def test_critics_that_return_something_else_are_refused(critic, match):
    objective = build(critic=critic, local=1.0).eval()
    with pytest.raises(ValueError, match=match):
        objective([draw_features()] * 2, None)


class _Constant(torch.nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, local, global_):
        return self.value


def test_bounds_that_return_something_else_are_refused():
    objective = build(bound=lambda positive, negative: positive, local=1.0)
    with pytest.raises(ValueError, match="a bound must return one number"):
        objective([draw_features()] * 2, None)


@pytest.mark.parametrize("n_views", [1, 2])
@pytest.mark.parametrize("critic", [DotCritic, ConcatCritic])
def test_terms_between_groups_are_bounds_without_pairs_of_one_group(critic, n_views):
    groups = torch.tensor([0, 1, 0, 2, 1, 3])
    objective = build(n_views, critic=critic, **WEIGHTS | {"prior": 0.0}).eval()
    views = [draw_features(seed=seed) for seed in range(n_views)]
    # The same features, where every sample of another group scores as it did.
    seen = []

    def spy(positive, negative):
        seen.append(negative)
        return infonce(positive, negative)

    objective.bound = spy
    with_groups = objective(views, None, groups)
    masked = list(seen)
    seen.clear()
    objective(views, None)
    assert len(masked) == len(seen) == 2 * n_views
    for some, every in zip(masked, seen, strict=True):
        k = every.shape[1]
        if critic is ConcatCritic and every.shape[1:] != (6, 1):
            index = (torch.arange(6)[:, None] + torch.arange(1, k + 1)) % 6
        else:
            index = torch.arange(k).expand(6, k) // (k // 6)
        is_other = groups[index] != groups[:, None]
        expected = every.masked_fill(~is_other.unsqueeze(2), -math.inf)
        torch.testing.assert_close(some, expected)
    assert all(term.isfinite() for term in with_groups.values())


def test_an_evaluate_of_the_user_needs_to_know_nothing_of_groups():
    class Twice(DotCritic):
        def evaluate(self, bound, local, global_):
            return 2 * bound(*self(local, global_))

    groups = torch.tensor([0, 1, 0, 2, 1, 3])
    once, twice = (
        build(critic=c, local=1.0).eval()([draw_features()], None, groups)["local"]
        for c in (DotCritic, Twice)
    )
    torch.testing.assert_close(2 * once, twice)


@pytest.mark.parametrize("weights", [{"local": 1.0}, {"global": 1.0}])
def test_a_critic_of_a_few_negatives_says_which_they_are(weights):
    class Next(torch.nn.Module):
        def forward(self, local, global_):
            near = [
                (local.roll(-s, 0)[:, :4] * global_[..., None]).sum(1) for s in (0, 1)
            ]
            return near[0], near[1].unsqueeze(1)

    class Known(Next):
        def of_negatives(self, groups, n_negatives):
            return groups.roll(-1).unsqueeze(1)

    objective = build(n_views=1, critic=lambda c, d: Next(), **weights)
    with pytest.raises(ValueError, match="give it a method of_negatives"):
        objective.check_groups(draw_features())
    build(n_views=1, critic=lambda c, d: Known(), **weights).check_groups(
        draw_features()
    )
    groups = torch.tensor([0, 0, 1, 1, 2, 2])
    objective = build(n_views=1, critic=lambda c, d: Known(), **weights).eval()
    features = draw_features()
    (name,) = objective.critics
    local = (
        locations(features.local)
        if name == "local"
        else features.local.flatten(1)[..., None]
    )
    positive, negative = objective.critics[name](local, features.global_)
    kept = torch.tensor([1, 3, 5])  # whose next is of another group
    torch.testing.assert_close(
        objective([features], None, groups)[name],
        infonce(positive[kept], negative[kept]),
    )
