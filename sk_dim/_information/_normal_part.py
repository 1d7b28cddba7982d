"""The log density ratio of correlated normal variables, in closed form."""

import math

import torch
from torch import Tensor, nn


class NormalPart(nn.Module):
    r"""Score pairs as if both variables were normal together.

    Parameters
    ----------
    d_x, d_y : int
        Inputs of either side.

    Notes
    -----
    With canonical variables :math:`a, b` of correlations :math:`r`, the score is
    :math:`\sum r a b / (1 - r^2) - r^2 (a^2 + b^2) / 2 (1 - r^2) - \log(1 - r^2) / 2`.
    Correlations are lowered by what chance adds to them in so many columns and rows
    (Bao et al. 2019, arXiv:1704.02408), those that chance alone may give to 0.
    """

    xy: Tensor
    xx: Tensor
    yy: Tensor
    constant: Tensor

    def __init__(self, d_x: int, d_y: int) -> None:
        super().__init__()
        self.register_buffer("xy", torch.zeros(d_x, d_y))
        self.register_buffer("xx", torch.zeros(d_x, d_x))
        self.register_buffer("yy", torch.zeros(d_y, d_y))
        self.register_buffer("constant", torch.zeros(()))

    @torch.no_grad()
    def fit(self, x: Tensor, y: Tensor, of_x: Tensor, of_y: Tensor) -> None:
        """Fit to training rows (n, d_x) and (n, d_y).

        `of_x` (d_x,) and `of_y` (d_y,) are 1 for inputs that are used, and 0 for
        others, such as those of names, which get no weight.
        """
        x, y = x * of_x, y * of_y
        d_x = x.shape[1]
        both = torch.cat([x, y], dim=1).cpu().double()  # which some devices lack
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
        self.constant.copy_(-torch.log1p(-r2).sum() / 2)
        self.xy.copy_((a.T * (r2.sqrt() / (1 - r2))) @ b)
        weight = r2 / (2 - 2 * r2)
        self.xx.copy_((a.T * weight) @ a)
        self.yy.copy_((b.T * weight) @ b)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Score batches (m, d_x) and (n, d_y): (m, n)."""
        ratio = self.constant + x @ self.xy @ y.T
        ratio = ratio - ((x @ self.xx) * x).sum(dim=1, keepdim=True)
        return ratio - ((y @ self.yy) * y).sum(dim=1)


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
