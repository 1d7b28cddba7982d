"""Critics of pairs whose inputs are principal components, the largest first."""

import math
from functools import partial

import torch
from torch import Tensor, nn

from sk_dim._information._normal_part import NormalPart

N_UNITS = 256  # of the nets of either side
N_MIXTURES = 4
N_CLASSES = 32  # of each mixture
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

    n_training_steps = 0

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

    n_training_steps = 600  # 1,000 gain .004 nats of .05 that are missed

    def __init__(
        self,
        x_shape: tuple[int, ...],
        y_shape: tuple[int, ...],
        *,
        is_tied: bool = False,
    ) -> None:
        super().__init__()
        self.is_tied = is_tied
        self.of_x = _side(*x_shape)
        self.of_y = self.of_x if is_tied else _side(*y_shape)
        self.log_odds = nn.Parameter(
            torch.full((N_MIXTURES, N_CLASSES), math.log(N_CLASSES))
        )
        self.no_class = nn.Parameter(torch.full((N_MIXTURES,), NO_CLASS))
        self.weights = nn.Parameter(torch.full((N_MIXTURES,), 1 / N_MIXTURES))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Score batches (m, d_x) and (n, d_y): (m, n)."""
        if self.is_tied:  # in one pass
            outputs = self.of_x(torch.cat([x, y])).split([len(x), len(y)])
        else:
            outputs = self.of_x(x), self.of_y(y)
        f, g = (
            output.unflatten(1, (N_MIXTURES, N_CLASSES)).softmax(2).movedim(1, 0)
            for output in outputs
        )
        ratios = (f * self.log_odds.exp().unsqueeze(1)) @ g.mT  # (mixtures, m, n)
        logs = (ratios + self.no_class.exp()[:, None, None]).log()
        return torch.einsum("b,bmn->mn", self.weights, logs)


class _HalfDropout(nn.Module):
    """Set each input to 0 with probability a half, and double the others.

    A random bit is enough for each. To look the eight bits of a byte up takes a third
    of the time of eight random numbers on a CPU.
    """

    factors: Tensor  # of eight inputs, for each byte

    def __init__(self) -> None:
        super().__init__()
        bits = (torch.arange(256).unsqueeze(1) >> torch.arange(8)) & 1
        self.register_buffer("factors", 2.0 * bits, persistent=False)

    def forward(self, batch: Tensor) -> Tensor:
        """Drop inputs of any shape, in training alone."""
        if not self.training:
            return batch
        n = batch.numel()
        random_bytes = torch.randint(256, (-(-n // 8),), device=batch.device)
        return batch * self.factors[random_bytes].flatten()[:n].view(batch.shape)


def _side(n_in: int) -> nn.Sequential:
    return nn.Sequential(
        _HalfDropout(),
        nn.Linear(n_in, N_UNITS),
        nn.LayerNorm(N_UNITS),
        nn.ReLU(),
        _HalfDropout(),
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
