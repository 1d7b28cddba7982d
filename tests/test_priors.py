import math

import pytest
import torch

from sk_dim.priors import AdversarialPrior, NoisePrior, normal, uniform


def match(sign, draw, squash=None, n_steps=250):
    """Move free codes by the prior term; `sign` -1 is the wrong way round."""
    torch.manual_seed(0)
    codes = torch.nn.Parameter(3 + 0.3 * torch.randn(128, 2))
    prior = AdversarialPrior(2, draw, squash)
    optimizer = torch.optim.Adam([codes], lr=0.03)
    adversary = torch.optim.Adam(prior.parameters(), lr=1e-3, betas=(0.5, 0.999))
    generator = torch.Generator().manual_seed(0)
    for _ in range(n_steps):
        optimizer.zero_grad()
        (-sign * prior(codes, generator)[1]).backward()
        optimizer.step()
        adversary.zero_grad()
        prior.discriminator_loss(codes, generator).backward()
        adversary.step()
    return codes.detach()


@pytest.mark.slow
def test_codes_move_to_the_normal_prior():
    codes = match(+1, normal)
    assert codes.mean(dim=0).abs().max() < 0.5
    assert 0.5 < codes.std() < 1.5


@pytest.mark.slow
def test_with_the_sign_flipped_codes_move_away():
    codes = match(-1, normal, n_steps=80)
    assert codes.mean(dim=0).abs().min() > 3.5


@pytest.mark.slow
def test_squashed_codes_move_to_the_uniform_prior():
    squashed = torch.sigmoid(match(+1, uniform, torch.sigmoid))
    start = torch.sigmoid(torch.tensor(3.0))
    assert (squashed.mean() - 0.5).abs() < 0.15 < start - 0.5


def test_an_undecided_discriminator_gives_log_one_half():
    prior = AdversarialPrior(3, normal)
    torch.nn.init.zeros_(prior.discriminator[-1].weight)
    torch.nn.init.zeros_(prior.discriminator[-1].bias)
    with torch.no_grad():
        codes, term = prior(torch.randn(5, 3), None)
        loss = prior.discriminator_loss(codes, None)
    assert float(term) == pytest.approx(math.log(0.5))
    assert float(loss) == pytest.approx(math.log(4))


def test_the_discriminator_trains_on_detached_codes():
    prior = AdversarialPrior(3, normal)
    codes = torch.randn(5, 3, requires_grad=True)
    prior.discriminator_loss(codes, None).backward()
    assert codes.grad is None


def test_samples_are_those_of_their_distribution():
    codes = torch.empty(20_000, 2)
    generator = torch.Generator().manual_seed(0)
    u, z = uniform(codes, generator), normal(codes, generator)
    assert 0 <= u.min() < u.max() <= 1
    assert float(u.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(z.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(z.std()) == pytest.approx(1.0, abs=0.02)


def test_noise_has_the_asked_for_size_and_only_in_training():
    prior = NoisePrior(4, std=0.5)
    codes = 3 + 7 * torch.randn(5000, 4)
    noisy, term = prior(codes, torch.Generator().manual_seed(0))
    standardised = (codes - codes.mean(0)) / codes.std(0)
    assert float((noisy - standardised).std()) == pytest.approx(0.5, abs=0.02)
    assert float(term) == 0
    prior.eval()
    first, second = prior(codes, None)[0], prior(codes, None)[0]
    assert torch.equal(first, second)
