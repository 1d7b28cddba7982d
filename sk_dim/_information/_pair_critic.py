"""Critics of pairs: two batches to scores of each row of one with each of the other."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

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

    Notes
    -----
    With canonical variables :math:`a, b` of correlations :math:`r`, the normal part is
    :math:`\sum r a b / (1 - r^2) - r^2 (a^2 + b^2) / 2 (1 - r^2) - \log(1 - r^2) / 2`.
    Correlations are lowered by what chance adds to them in so many columns and rows
    (Bao et al. 2019, arXiv:1704.02408), those that chance alone may give to 0.
    """

    normal_xy: Tensor
    normal_xx: Tensor
    normal_yy: Tensor
    normal_constant: Tensor

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
        self.has_normal = n_inputs is not None
        if n_inputs is not None:
            d_x, d_y = n_inputs
            self.register_buffer("normal_xy", torch.zeros(d_x, d_y))
            self.register_buffer("normal_xx", torch.zeros(d_x, d_x))
            self.register_buffer("normal_yy", torch.zeros(d_y, d_y))
            self.register_buffer("normal_constant", torch.zeros(()))
            self.normal_scale = nn.Parameter(torch.ones(()))

    @torch.no_grad()
    def learn_normal(self, x: Tensor, y: Tensor, of_x: Tensor, of_y: Tensor) -> None:
        """Fit the normal part to training rows (n, d_x) and (n, d_y).

        `of_x` (d_x,) and `of_y` (d_y,) are 1 for inputs that are normal, and 0 for
        others, such as those of names, which get no weight.
        """
        if not self.has_normal:
            return
        x, y = x * of_x, y * of_y
        d_x = x.shape[1]
        both = torch.cat([x, y], dim=1).double()
        covariance = torch.cov(both.T, correction=0).reshape(2 * [both.shape[1]])
        covariance += 1e-6 * torch.eye(len(covariance)).to(covariance)
        white_x = _inverse_root(covariance[:d_x, :d_x])
        white_y = _inverse_root(covariance[d_x:, d_x:])
        u, r, vt = torch.linalg.svd(
            white_x @ covariance[:d_x, d_x:] @ white_y, full_matrices=False
        )
        r2 = _without_chance(
            r.square(), float(of_x.sum()) / len(x), float(of_y.sum()) / len(x)
        )
        a, b = u.T @ white_x, vt @ white_y
        self.normal_constant.copy_(-torch.log1p(-r2).sum() / 2)
        self.normal_xy.copy_((a.T * (r2.sqrt() / (1 - r2))) @ b)
        weight = r2 / (2 - 2 * r2)
        self.normal_xx.copy_((a.T * weight) @ a)
        self.normal_yy.copy_((b.T * weight) @ b)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Score batches (m, ...) and (n, ...): (m, n)."""
        of_x, of_y = self.of_x(x), self.of_y(y)
        scores = self.scale * (self.code_x(of_x) @ self.code_y(of_y).T)
        if self.is_joint:
            sums = self.joint_x(of_x).unsqueeze(1) + self.joint_y(
                of_y
            )  # (m, n, n_joint)
            scores = scores + self.head(sums.relu()).squeeze(2)
        if self.has_normal:
            ratio = self.normal_constant + x @ self.normal_xy @ y.T
            ratio = ratio - ((x @ self.normal_xx) * x).sum(dim=1, keepdim=True)
            ratio = ratio - ((y @ self.normal_yy) * y).sum(dim=1)
            scores = scores + self.normal_scale * ratio
        return scores


def _without_chance(r2: Tensor, c_x: float, c_y: float) -> Tensor:
    """Squared canonical correlations behind those found, with c columns a row.

    Where there are many of both, found ones tend to
    (t (1 - c_x) + c_x) (t (1 - c_y) + c_y) / t for a true t, and are at most at an edge
    where there is none.
    """
    if c_x + c_y >= 1:
        return torch.zeros_like(r2)
    edge = (math.sqrt(c_x * (1 - c_y)) + math.sqrt(c_y * (1 - c_x))) ** 2
    a, b = (1 - c_x) * (1 - c_y), r2 - c_x * (1 - c_y) - c_y * (1 - c_x)
    root = (b.square() - 4 * a * c_x * c_y).clamp_min(0.0).sqrt()
    t = (b + root) / (2 * a)
    return t.masked_fill(r2 <= edge, 0.0).clamp(0.0, 1 - 1e-5)


def _inverse_root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors / values.sqrt()) @ vectors.T


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
