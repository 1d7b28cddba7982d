"""Priors: give the global features a distribution that is known beforehand.

A prior is a module. Its forward takes the global features of a batch, ``codes`` of
shape (n, d), and a generator. It returns the codes that the critics see, and one
number: the term that the objective adds, larger where the codes look more like the
prior. A new entry in ``PRIORS`` is a callable ``(n_components, weight) -> module``.

This module imports nothing of its own package.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

__all__ = ["PRIORS", "AdversarialPrior", "NoisePrior", "normal", "uniform"]


def uniform(codes: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw samples uniform on [0, 1].

    Parameters
    ----------
    codes : Tensor of shape (n, d)
        Gives shape and device.
    generator : torch.Generator or None
        On that device.

    Returns
    -------
    Tensor of shape (n, d), float32
        Of the independent uniform distribution.

    Examples
    --------
    >>> import torch
    >>> uniform(torch.zeros(5, 2), None).shape
    torch.Size([5, 2])
    """
    return torch.rand(codes.shape, generator=generator, device=codes.device)


def normal(codes: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw standard normal samples.

    Parameters
    ----------
    codes : Tensor of shape (n, d)
        Gives shape and device.
    generator : torch.Generator or None
        On that device.

    Returns
    -------
    Tensor of shape (n, d), float32
        Of the independent standard normal distribution.

    Examples
    --------
    >>> import torch
    >>> normal(torch.zeros(5, 2), None).shape
    torch.Size([5, 2])
    """
    return torch.randn(codes.shape, generator=generator, device=codes.device)


class AdversarialPrior(nn.Module):
    r"""Match codes to a prior through a discriminator, the paper's equation 7.

    The discriminator learns to tell samples of the prior from codes; the encoder learns
    to be taken for the prior. The encoder's own critics see the codes unchanged.

    Parameters
    ----------
    n_components : int
        Size of the codes.
    draw : callable
        ``draw(codes, generator)`` returns samples of the prior: :func:`uniform` or
        :func:`normal`.
    squash : callable, default=None
        Applied to the codes before the discriminator sees them; for the uniform prior
        the sigmoid, as in the authors' code, which leaves what the user gets alone.

    Notes
    -----
    With discriminator D, codes y and prior samples v, the discriminator minimises
    :math:`\mathbb{E}[\mathrm{sp}(-D(v))] + \mathbb{E}[\mathrm{sp}(D(y))]` on detached
    codes, by its own optimiser, and the term the encoder maximises is the
    non-saturating :math:`\mathbb{E}[\log \sigma(D(y))]`, in nats: log 1/2 where the two
    cannot be told apart, and at most 0.

    References
    ----------
    A. Makhzani et al. (2015). Adversarial Autoencoders. arXiv:1511.05644.

    Examples
    --------
    >>> import torch
    >>> prior = AdversarialPrior(2, normal)
    >>> codes, term = prior(torch.zeros(5, 2), None)
    >>> term.shape, bool(term < 0)
    (torch.Size([]), True)
    """

    def __init__(
        self,
        n_components: int,
        draw: Callable[[Tensor, torch.Generator | None], Tensor],
        squash: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.draw = draw
        self.squash = squash
        self.discriminator = nn.Sequential(
            nn.Linear(n_components, 1000),
            nn.ReLU(),
            nn.Linear(1000, 200),
            nn.ReLU(),
            nn.Linear(200, 1),
        )

    def _discriminate(self, codes: Tensor) -> Tensor:
        codes = codes.float()
        squashed = self.squash(codes) if self.squash else codes
        # In bfloat16 the term of all samples would be rounded as one of them is.
        return self.discriminator(squashed).float()

    def forward(
        self, codes: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Return the codes as they are, and how much they are taken for the prior."""
        return codes, logsigmoid(self._discriminate(codes)).mean()

    def discriminator_loss(
        self, codes: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """Loss of the discriminator on `codes`, which get no gradient, in nats."""
        codes = codes.detach()
        real = self.discriminator(self.draw(codes, generator))
        return softplus(-real).mean() + softplus(self._discriminate(codes)).mean()


class NoisePrior(nn.Module):
    r"""Make codes normal by adding noise to them, without an adversary.

    Of all standardised codes, normal ones carry the most information through a noisy
    channel, so the objective itself drives the codes to the normal distribution.

    Parameters
    ----------
    n_components : int
        Size of the codes.
    std : float
        Standard deviation of the noise, in units of that of the codes.

    Notes
    -----
    The critics see codes standardised over the batch plus noise; the term is always 0.
    With noise of standard deviation s the codes carry at most
    :math:`\frac{d}{2} \log(1 + 1 / s^2)` nats. In evaluation mode no noise is added.

    References
    ----------
    I. Butakov et al. (2024). Efficient Distribution Matching of Representations via
    Noise-Injected Deep InfoMax. arXiv:2410.06993.

    Examples
    --------
    >>> import torch
    >>> codes, term = NoisePrior(2, std=0.1)(torch.randn(50, 2), None)
    >>> codes.shape, float(term)
    (torch.Size([50, 2]), 0.0)
    """

    def __init__(self, n_components: int, std: float) -> None:
        super().__init__()
        self.std = std
        self.standardise = nn.BatchNorm1d(n_components, affine=False)

    def forward(
        self, codes: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Return the codes standardised and, in training, with noise."""
        codes = self.standardise(codes.float())
        term = codes.new_zeros(())
        if self.training:
            codes = codes + self.std * normal(codes, generator)
        return codes, term


# Each builds the prior from the size of the codes and the weight of the term. The
# adversary's weight is a factor of its term; the noise's is its standard deviation.
PRIORS: dict[str, Callable[[int, float], nn.Module]] = {
    "uniform": lambda n, weight: AdversarialPrior(n, uniform, torch.sigmoid),
    "normal": lambda n, weight: AdversarialPrior(n, normal),
    "noise": NoisePrior,
}
