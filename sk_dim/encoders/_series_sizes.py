"""How large series are: numbers that say it, and series without it.

This module imports nothing of its own package.
"""

import torch
from torch import Tensor, nn

N_STEPS = 32  # that a spread or a level is told in
UNLIKE = 100.0  # factor between the quartiles of the spreads, for an own scale
LEAST_SPREAD = 1e-7  # of scaled series: below are only rounding errors
NEGLIGIBLE = 0.01  # difference of spreads or levels that tells nothing
TINY = 1e-30
MOST_LEVEL = 10.0  # own spreads that a series on its own scale is off its level


class SeriesSizes(nn.Module):
    """Divide series by their spread if spreads differ much, and tell what that takes.

    Where series differ in size a hundredfold and more, a scale for all leaves nothing
    of the small ones. `divide` then gives each series a scale of its own. What that
    takes away, the spread (logarithm of the standard deviation) and the level (mean) of
    each channel, `forward` tells in 32 steps each. Elsewhere it tells 0.

    Parameters
    ----------
    n_channels : int
        Of a series.

    Notes
    -----
    Steps are the piecewise linear encoding of a number: the share of each step between
    quantiles of the samples that lies below it. Spreads, or levels, that are the same
    in all samples are told as 0.

    References
    ----------
    Y. Gorishniy, I. Rubachev, A. Babenko (2022). On embeddings for numerical features
    in tabular deep learning. arXiv:2203.05556.

    Examples
    --------
    >>> import torch
    >>> series = torch.randn(50, 1, 100) * torch.logspace(-4, 4, 50)[:, None, None]
    >>> sizes = SeriesSizes(1)
    >>> sizes.learn(series)
    >>> sizes(series).shape
    torch.Size([50, 64])
    >>> sizes.divide(series).std(dim=2, correction=0).allclose(torch.ones(50, 1))
    True
    """

    knots: Tensor
    level: Tensor
    is_divided: Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.register_buffer("knots", torch.zeros(2 * n_channels, N_STEPS + 1))
        self.register_buffer("level", torch.zeros(n_channels))
        self.register_buffer("is_divided", torch.tensor(False))

    @property
    def n_features(self) -> int:
        """Features of a series: the steps of its spreads and levels."""
        return N_STEPS * len(self.knots)

    @torch.no_grad()
    def learn(self, series: Tensor) -> None:
        """Learn steps, and whether series are divided, from samples.

        Parameters
        ----------
        series : Tensor of shape (n, c, l)
            Scaled; behind the last value of each may be NaN.
        """
        numbers = _measure(series)
        shares = torch.linspace(0, 1, N_STEPS + 1, device=series.device)
        places = (shares * (len(series) - 1)).round().long()
        self.knots.copy_(numbers.sort(dim=0).values[places].T)
        spread = _own_spread(series).flatten()
        ordered = spread.sort().values[places]
        low, high = ordered[N_STEPS // 4], ordered[-N_STEPS // 4 - 1]
        self.is_divided.fill_(high > UNLIKE * low)
        # Means are the common level and a multiple of the spread. The level is found by
        # regression on spreads, with weights 1 / spread**2 as means scatter with them.
        inverse = 1 / spread.clamp_min(ordered[1]).double()
        means = numbers.chunk(2, dim=1)[1].double() * inverse[:, None]
        inverse = inverse - inverse.mean()
        self.level.copy_(inverse @ means / (inverse @ inverse).clamp_min(TINY))

    @torch.no_grad()
    def forward(self, series: Tensor) -> Tensor:
        """Map scaled series (n, c, l) to (n, n_features), from 0 to 1."""
        if not self.is_divided:
            return series.new_zeros(series.shape[0], self.n_features)
        start, end = self.knots[:, :-1], self.knots[:, 1:]
        above = _measure(series)[:, :, None] - start
        steps = torch.where(end > start, above / (end - start), (above > 0).float())
        is_varied = self.knots[:, -1:] - self.knots[:, :1] > NEGLIGIBLE
        return torch.where(is_varied, steps.clamp(0, 1), 0.0).flatten(1)

    @torch.no_grad()
    def divide(self, series: Tensor) -> Tensor:
        """Return series by their own spread, if `learn` found that it is needed.

        Channels of a series share a scale. Their distance from the common level stays,
        up to 3 spreads.
        """
        if not self.is_divided:
            return series
        spread = _own_spread(series)
        means = series.nanmean(dim=2, keepdim=True)
        level = (means - self.level[:, None]) / spread
        return (series - means) / spread + level.clamp(-MOST_LEVEL, MOST_LEVEL)


def _measure(series: Tensor) -> Tensor:
    """Return logarithms of the spread of each channel, then their means, (n, 2c)."""
    means = series.nanmean(dim=2)
    squares = (series - means[:, :, None]).square().nanmean(dim=2)
    return torch.cat([squares.sqrt().clamp_min(LEAST_SPREAD).log(), means], dim=1)


def _own_spread(series: Tensor) -> Tensor:
    """Return the spread of series around the means of their channels, (n, 1, 1)."""
    centred = series - series.nanmean(dim=2, keepdim=True)
    squares = centred.square().nanmean(dim=(1, 2), keepdim=True)
    return squares.sqrt().clamp_min(LEAST_SPREAD)
