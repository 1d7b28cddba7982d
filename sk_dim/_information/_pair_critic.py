"""Critics of pairs: two batches to scores of each row of one with each of the other."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from sk_dim._information._normal_part import NormalPart
from sk_dim.encoders import ConvEncoder

N_UNITS = 128  # of the nets of either side
N_JOINT = 16  # of the net on both
DROPOUT = 0.1
FEW_COLUMNS = 2  # of a side, up to which nothing is dropped, and the joint net wider
MAX_NORMAL_INPUTS = 256  # of both sides, above which no normal part is fitted


class PairCritic(nn.Module):
    r"""Score all pairs of rows of two batches.

    The score is a sum of up to three parts: a *normal* part, the log density ratio of
    the normal distribution with the correlations of the training rows, in closed form;
    a *separable* part, the dot product of what two nets make of the two rows; and a
    *joint* part, a net on the sum of what they make of them.

    Parameters
    ----------
    of_x, of_y : nn.Module
        Nets of either side, with outputs (n, n_units).
    n_units : int
        Size of their outputs.
    n_inputs : tuple of int or None
        Columns of either side, for the normal part; None leaves it out.
    n_joint : int, default=16
        Units of the joint part; 0 leaves it out.
    """

    def __init__(
        self,
        of_x: nn.Module,
        of_y: nn.Module,
        n_units: int,
        n_inputs: tuple[int, int] | None,
        *,
        n_joint: int = N_JOINT,
    ) -> None:
        super().__init__()
        self.of_x, self.of_y = of_x, of_y
        self.code_x, self.code_y = nn.Linear(n_units, 32), nn.Linear(n_units, 32)
        self.scale = nn.Parameter(torch.tensor(0.1))
        self.is_joint = n_joint > 0
        if n_joint:
            self.joint_x = nn.Linear(n_units, n_joint)
            self.joint_y = nn.Linear(n_units, n_joint)
            last = nn.Linear(n_joint, 1)
            nn.init.zeros_(last.weight)
            self.head = nn.Sequential(nn.Linear(n_joint, n_joint), nn.ReLU(), last)
        self.normal = None if n_inputs is None else NormalPart(*n_inputs)
        if n_inputs is not None:
            self.normal_scale = nn.Parameter(torch.ones(()))

    def learn_normal(self, x: Tensor, y: Tensor, of_x: Tensor, of_y: Tensor) -> None:
        """Fit the normal part to training rows, see `NormalPart.fit`."""
        if self.normal is not None:
            self.normal.fit(x, y, of_x, of_y)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Score batches (m, ...) and (n, ...): (m, n)."""
        of_x, of_y = self.of_x(x), self.of_y(y)
        scores = self.scale * (self.code_x(of_x) @ self.code_y(of_y).T)
        if self.is_joint:
            sums = self.joint_x(of_x).unsqueeze(1) + self.joint_y(
                of_y
            )  # (m, n, n_joint)
            scores = scores + self.head(sums.relu()).squeeze(2)
        if self.normal is not None:
            scores = scores + self.normal_scale * self.normal(x, y)
        return scores


class _Images(nn.Module):
    """Codes of images by a small convolutional net."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = ConvEncoder(shape, N_UNITS, n_hidden=256, n_channels=32)

    def forward(self, batch: Tensor) -> Tensor:
        return self.encoder(batch).global_.relu()


def _side(shape: tuple[int, ...]) -> nn.Module:
    """Net of one side: inputs (n, *shape) to (n, N_UNITS)."""
    if len(shape) > 1:
        return _Images(shape)
    layers: list[nn.Module] = []
    dropout = 0.0 if _has_few_columns(shape) else DROPOUT
    for n_in in (shape[0], N_UNITS):
        layers += [nn.Linear(n_in, N_UNITS), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)


def _has_few_columns(shape: tuple[int, ...]) -> bool:
    """Whether overfitting is no danger, but an edge too sharp for the net may be."""
    return len(shape) == 1 and shape[0] <= FEW_COLUMNS


def build_critic(
    x_shape: tuple[int, ...], y_shape: tuple[int, ...], *, is_joint: bool
) -> PairCritic:
    """Build the critic for inputs of these shapes, with a normal part for columns."""
    n_inputs = None
    if len(x_shape) == len(y_shape) == 1 and x_shape[0] + y_shape[0] <= (
        MAX_NORMAL_INPUTS
    ):
        n_inputs = x_shape[0], y_shape[0]
    sides = _side(x_shape), _side(y_shape)
    n_joint = N_JOINT if is_joint else 0
    if _has_few_columns(x_shape) and _has_few_columns(y_shape):
        n_joint *= 2
    return PairCritic(*sides, N_UNITS, n_inputs, n_joint=n_joint)


PAIR_CRITICS: dict[str, Callable[..., nn.Module]] = {
    "hybrid": partial(build_critic, is_joint=True),
    "separable": partial(build_critic, is_joint=False),
}
