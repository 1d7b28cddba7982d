import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sk_dim.bounds import (
    BOUNDS,
    chi_squared,
    donsker_varadhan,
    infonce,
    jsd,
    nwj,
    split_scores,
)

# What must hold of each bound; a new one fails here until it has its row.
#   optimal: added to the log density ratio to get the optimal score
#   is_mutual_information: whether it bounds mutual information
#   shift: what adding a constant to all scores of a row changes nothing of
PROPERTIES = {
    "infonce": {"optimal": 0.0, "is_mutual_information": True, "shift": "row"},
    "donsker_varadhan": {"optimal": 0.0, "is_mutual_information": True, "shift": "all"},
    "nwj": {"optimal": 1.0, "is_mutual_information": True, "shift": None},
    "jsd": {"optimal": 0.0, "is_mutual_information": False, "shift": None},
    "kl": {"optimal": 0.0, "is_mutual_information": True, "shift": None},
    "reverse_kl": {"optimal": 0.0, "is_mutual_information": False, "shift": None},
    "hellinger": {"optimal": 0.0, "is_mutual_information": False, "shift": None},
    "chi_squared": {"optimal": None, "is_mutual_information": False, "shift": None},
}


def optimal(name, ratios):
    """The best scores of pairs with these log density ratios."""
    if name == "chi_squared":
        return 2 * (ratios.exp() - 1)
    return ratios + PROPERTIES[name]["optimal"]


@pytest.fixture(params=BOUNDS, name="name")
def _name(request):
    return request.param


def gaussian_ratios(mutual_information, n, seed):
    """Log density ratios of all pairs of n draws of two correlated Gaussians."""
    rho = math.sqrt(1 - math.exp(-2 * mutual_information))
    x, noise = torch.randn(
        2, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    y = rho * x + math.sqrt(1 - rho**2) * noise
    x, y = x[:, None], y[None, :]
    quadratic = rho**2 * (x**2 + y**2) - 2 * rho * x * y
    return -quadratic / (2 * (1 - rho**2)) - 0.5 * math.log(1 - rho**2)


def loop(name, positive, negative):
    """The bound by its formula, one pair at a time, for (n, l) and (n, k, l)."""
    positive, negative = positive.double().numpy(), negative.double().numpy()
    n, n_locations = positive.shape
    negative = np.broadcast_to(negative, (n, negative.shape[1], n_locations))

    def softplus(t):
        return math.log1p(math.exp(-abs(t))) + max(t, 0)

    joint, marginal, per_location = [], [], []
    for location in range(n_locations):
        exponentials = []
        for i in range(n):
            t = positive[i, location]
            others = [s for s in negative[i, :, location] if s > -math.inf]
            if name == "infonce":
                total = math.exp(t) + sum(math.exp(s) for s in others)
                joint.append(math.log(math.exp(t) / (total / (1 + len(others)))))
            elif name == "jsd":
                joint.append(math.log(2) - softplus(-t))
                marginal += [softplus(s) - math.log(2) for s in others]
            elif name == "nwj":
                joint.append(t)
                marginal += [math.exp(s - 1) for s in others]
            elif name == "kl":
                joint.append(t + 1)
                marginal += [math.exp(s) for s in others]
            elif name == "reverse_kl":
                joint.append(1 - math.exp(-t))
                marginal += others
            elif name == "hellinger":
                joint.append(1 - math.exp(-t / 2))
                marginal += [math.exp(s / 2) - 1 for s in others]
            elif name == "chi_squared":
                joint.append(t)
                marginal += [s + s**2 / 4 for s in others]
            elif name == "donsker_varadhan":
                joint.append(t)
                exponentials += [math.exp(s) for s in others]
        if exponentials:
            per_location.append(math.log(np.mean(exponentials)))
    return np.mean(joint) - np.mean(marginal or [0.0]) - np.mean(per_location or [0.0])


def test_every_bound_has_its_properties_stated():
    assert PROPERTIES.keys() == BOUNDS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("truth", [0.5, 1.0])
@pytest.mark.parametrize(
    "name", [n for n, p in PROPERTIES.items() if p["is_mutual_information"]]
)
def test_optimal_scores_give_the_mutual_information_of_gaussians(name, truth):
    values = []
    for seed in range(20):
        scores = optimal(name, gaussian_ratios(truth, 1000, seed))
        values.append(float(BOUNDS[name](*split_scores(scores))))
    assert np.mean(values) == pytest.approx(truth, abs=0.03)


@pytest.mark.slow
def test_jsd_at_its_optimum_is_twice_the_jensen_shannon_divergence():
    # E_J[log 2 - log(1 + e^-r)] - E_M[log(1 + e^r) - log 2] for the log ratio r, by
    # quadrature: J has density p(x) p(y|x), M has p(x) p(y).
    rho = math.sqrt(1 - math.exp(-2.0))
    x, y = np.meshgrid(*[np.linspace(-7, 7, 1401)] * 2, indexing="ij")
    product = np.exp(-(x**2 + y**2) / 2) / (2 * np.pi)
    ratio = np.exp(
        -(rho**2 * (x**2 + y**2) - 2 * rho * x * y) / (2 * (1 - rho**2))
    ) / math.sqrt(1 - rho**2)
    joint = product * ratio
    cell = (14 / 1400) ** 2
    truth = cell * np.sum(
        joint * np.log(2 * ratio / (1 + ratio)) + product * np.log(2 / (1 + ratio))
    )
    values = [
        float(jsd(*split_scores(gaussian_ratios(1.0, 1000, seed))))
        for seed in range(20)
    ]
    assert np.mean(values) == pytest.approx(truth, abs=0.03)
    assert truth < 2 * math.log(2)


# Of the joint density p of two normal variables with correlation rho and the product q
# of its marginals, in closed form: each is a Gaussian integral.
DIVERGENCES = {
    "reverse_kl": lambda rho: rho**2 / (1 - rho**2) + math.log(1 - rho**2) / 2,
    "hellinger": lambda rho: 2 - 2 * (1 - rho**2) ** 0.25 / (1 - rho**2 / 4) ** 0.5,
    "chi_squared": lambda rho: rho**2 / (1 - rho**2),
}


@pytest.mark.parametrize("name", DIVERGENCES)
def test_optimal_scores_give_the_divergence_of_gaussians(name):
    rho = 0.4
    mutual_information = -math.log(1 - rho**2) / 2
    values = []
    for seed in range(20):
        ratios = gaussian_ratios(mutual_information, 1000, seed)
        values.append(float(BOUNDS[name](*split_scores(optimal(name, ratios)))))
    error = np.std(values) / math.sqrt(20)
    assert np.mean(values) == pytest.approx(DIVERGENCES[name](rho), abs=4 * error)
    assert error < 0.02


@pytest.mark.parametrize("name", DIVERGENCES)
def test_no_score_exceeds_the_divergence_by_quadrature(name):
    """Perturbed best scores, with exact expectations."""
    rho = 0.4
    x, y = np.meshgrid(*[np.linspace(-8, 8, 401)] * 2, indexing="ij")
    q = np.exp(-(x**2 + y**2) / 2)
    quadratic = rho**2 * (x**2 + y**2) - 2 * rho * x * y
    log_ratio = -quadratic / (2 * (1 - rho**2)) - math.log(1 - rho**2) / 2
    q /= q.sum()
    p = q * np.exp(log_ratio)
    best = optimal(name, torch.from_numpy(log_ratio)).numpy()
    parts = {  # of a score, for pairs of either kind
        "reverse_kl": (lambda t: 1 - np.exp(-t), lambda t: t),
        "hellinger": (lambda t: 1 - np.exp(-t / 2), lambda t: np.exp(t / 2) - 1),
        "chi_squared": (lambda t: t, lambda t: t + t**2 / 4),
    }[name]
    rng = np.random.default_rng(0)
    truth = DIVERGENCES[name](rho)
    for noise in (0.0, 0.1, 0.5):
        scores = best + noise * rng.normal(size=best.shape)
        value = (p * parts[0](scores)).sum() - (q * parts[1](scores)).sum()
        assert value == pytest.approx(truth, abs=1e-3) if noise == 0 else value < truth


def test_the_kullback_leibler_bound_is_nwj_of_scores_that_are_larger_by_one():
    positive, negative = split_scores(torch.randn(6, 6, 2))
    expected = nwj(positive + 1, negative + 1)
    torch.testing.assert_close(BOUNDS["kl"](positive, negative), expected)


def test_infonce_never_exceeds_log_of_its_candidates():
    scores = gaussian_ratios(4.0, 16, seed=0)
    positive, negative = split_scores(100 * scores)
    assert float(infonce(positive, negative)) <= math.log(16)
    assert float(infonce(positive + 1e4, negative)) == pytest.approx(math.log(16))


@given(
    n=st.integers(2, 5),
    k=st.integers(1, 4),
    n_locations=st.integers(1, 3),
    is_shared=st.booleans(),
    seed=st.integers(0, 100),
)
def test_bounds_agree_with_a_loop_over_pairs(n, k, n_locations, is_shared, seed):
    generator = torch.Generator().manual_seed(seed)
    positive = torch.randn(n, n_locations, generator=generator)
    negative = torch.randn(n, k, 1 if is_shared else n_locations, generator=generator)
    if k > 1:
        negative[:, 0] = -math.inf  # one candidate of each is masked
    for name, bound in BOUNDS.items():
        assert float(bound(positive, negative)) == pytest.approx(
            loop(name, positive, negative), abs=1e-5
        )


def test_masked_candidates_count_for_nothing(name):
    positive, negative = split_scores(torch.randn(6, 6, 2))
    own = torch.eye(6, dtype=torch.bool)
    without = negative[~own].view(6, 5, 2)
    torch.testing.assert_close(
        BOUNDS[name](positive, negative), BOUNDS[name](positive, without)
    )


def test_shifting_scores_changes_only_what_it_may(name):
    scores = torch.randn(6, 6, 2, dtype=torch.float64)
    kind = PROPERTIES[name]["shift"]
    shift = torch.randn(6, 1, 1, dtype=torch.float64) if kind == "row" else 3.0
    before, after = (
        float(BOUNDS[name](*split_scores(s))) for s in (scores, scores + shift)
    )
    assert (before == pytest.approx(after)) == (kind is not None)


def test_order_of_samples_and_candidates_does_not_matter(name):
    positive, negative = split_scores(torch.randn(6, 6, 2, dtype=torch.float64))
    order = torch.randperm(6)
    torch.testing.assert_close(
        BOUNDS[name](positive, negative),
        BOUNDS[name](positive[order], negative[order][:, torch.randperm(6)]),
    )


def test_gradients_are_those_of_finite_differences(name):
    scores = torch.randn(4, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: BOUNDS[name](*split_scores(s)), (scores,))


def test_large_scores_stay_finite():
    positive, negative = split_scores(torch.randn(4, 4) * 1e4)
    for bound in (infonce, jsd, donsker_varadhan, chi_squared):
        assert bound(positive, negative).isfinite()


def test_better_critics_get_higher_bounds(name):
    ratios = gaussian_ratios(1.0, 500, seed=3)
    values = [
        float(BOUNDS[name](*split_scores(optimal(name, share * ratios))))
        for share in (0.0, 0.5, 1.0)
    ]
    assert values == sorted(values)


def test_nwj_is_below_donsker_varadhan_for_any_scores():
    for seed in range(5):
        scores = split_scores(gaussian_ratios(1.0, 200, seed))
        assert nwj(*scores) <= donsker_varadhan(*scores) + 1e-9
