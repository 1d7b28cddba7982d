"""Critics of pairs whose inputs are principal components, the largest first."""

import math
from functools import partial

import torch
from torch import Tensor, nn

from sk_dim._information._normal_part import NormalPart

N_UNITS = 256  # of the nets of either side
N_MIXTURES = 4
N_CLASSES = 32  # of each mixture
DROPOUT = 0.5
NO_CLASS = -3.0  # log weight, at first, of what two rows have in common by chance


class NormalCritic(nn.Module):
    """Score pairs by the leading components as if they were normal together.

    Nothing is left to train once the correlations are known.

    Parameters
    ----------
    x_shape, y_shape : tuple of int
        Shapes of the inputs, (d,).
    n_leading : int
        Components of either side that are used.
    """

    is_trained = False

    def __init__(
        self, x_shape: tuple[int, ...], y_shape: tuple[int, ...], *, n_leading: int
    ) -> None:
        super().__init__()
        self.n_leading = n_leading
        self.normal = NormalPart(
            min(n_leading, *x_shape),
            min(n_leading, *y_shape),
        )

    def learn_normal(self, x: Tensor, y: Tensor, of_x: Tensor, of_y: Tensor) -> None:
        """Fit to training rows (n, d_x) and (n, d_y), see `NormalPart.fit`."""
        k = self.n_leading
        self.normal.fit(x[:, :k], y[:, :k], of_x[:k], of_y[:k])

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Score batches (m, d_x) and (n, d_y): (m, n)."""
        return self.normal(x[:, : self.n_leading], y[:, : self.n_leading])


class MixtureCritic(nn.Module):
    r"""Score pairs by hidden classes that both rows may have in common.

    Parameters
    ----------
    x_shape, y_shape : tuple of int
        Shapes of the inputs, (d,).
    is_tied : bool, default=False
        Whether one net serves for both sides, which are of one kind then.

    Notes
    -----
    If X and Y share a hidden class k and nothing else, their density ratio is
    :math:`\sum_k p(k | x) p(k | y) / p(k)`. The score is a weighted sum of the
    logarithms of several such ratios, each with classes of its own, and each with a
    weight for pairs that have no class in common:

    .. math:: \sum_b w_b \log\big(e^{t_b} + \sum_k e^{c_{bk}} f_{bk}(x) g_{bk}(y)\big)

    where a net for either side gives f and g, which sum to 1 over k. So a score is
    never far below that of chance, however sure the nets are: a dot product of two nets
    would be.
    """

    def __init__(
        self,
        x_shape: tuple[int, ...],
        y_shape: tuple[int, ...],
        *,
        is_tied: bool = False,
    ) -> None:
        super().__init__()
        self.of_x = _side(*x_shape)
        self.of_y = self.of_x if is_tied else _side(*y_shape)
        self.log_odds = nn.Parameter(
            torch.full((N_MIXTURES, N_CLASSES), math.log(N_CLASSES))
        )
        self.no_class = nn.Parameter(torch.full((N_MIXTURES,), NO_CLASS))
        self.weights = nn.Parameter(torch.full((N_MIXTURES,), 1 / N_MIXTURES))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Score batches (m, d_x) and (n, d_y): (m, n)."""
        f, g = (
            net(batch).unflatten(1, (N_MIXTURES, N_CLASSES)).softmax(2).movedim(1, 0)
            for net, batch in ((self.of_x, x), (self.of_y, y))
        )
        ratios = (f * self.log_odds.exp().unsqueeze(1)) @ g.mT  # (mixtures, m, n)
        logs = (ratios + self.no_class.exp()[:, None, None]).log()
        return (self.weights[:, None, None] * logs).sum(0)


def _side(n_in: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Dropout(DROPOUT),
        nn.Linear(n_in, N_UNITS),
        nn.LayerNorm(N_UNITS),
        nn.ReLU(),
        nn.Dropout(DROPOUT),
        nn.Linear(N_UNITS, N_MIXTURES * N_CLASSES),
    )


# Components that a normal critic may take. Each one too many costs accuracy; fits cost
# next to nothing.
N_LEADING = (*range(1, 13), 14, 16, 20, 24, 32, 48, 64, 96, 128)

COMPONENT_CRITICS = {
    "mixture": MixtureCritic,
    "tied mixture": partial(MixtureCritic, is_tied=True),
    **{f"normal {k}": partial(NormalCritic, n_leading=k) for k in N_LEADING},
}
