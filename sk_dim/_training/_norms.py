"""Batch norm over the batches of all ranks; torch's own refuses CPUs."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm
from torch.nn.modules.batchnorm import _BatchNorm

from sk_dim._training._ranks import Alone, Ranks


@contextmanager
def synchronised(modules: Iterable[nn.Module], ranks: Alone | Ranks) -> Iterator[None]:
    """Let the batch norms of modules standardise over all ranks, in training mode."""
    norms = [m for each in modules for m in each.modules() if isinstance(m, _BatchNorm)]
    if not isinstance(ranks, Ranks):
        norms = []
    for norm in norms:
        # On the instance, so that `del` below brings the class's own back; mypy wants
        # methods to be left alone.
        norm.forward = partial(_forward, norm, ranks)  # type: ignore[arg-type, method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _forward(norm: Any, ranks: Ranks, batch: Tensor) -> Tensor:
    """Standardise a batch (m, c, ...), of which each rank has some rows."""
    if not norm.training:
        return type(norm).forward(norm, batch)
    output, mean, var, count = _Normalise.apply(
        batch, norm.weight, norm.bias, norm.eps, ranks
    )
    if norm.running_mean is not None:
        with torch.no_grad():
            norm.num_batches_tracked.add_(1)
            share = norm.momentum
            if share is None:  # of all batches so far
                share = 1 / norm.num_batches_tracked
            unbiased = var * (count / (count - 1))
            norm.running_mean.lerp_(mean, share)
            norm.running_var.lerp_(unbiased, share)
    return output


class _Normalise(torch.autograd.Function):
    """Standardise by mean and variance over all ranks: one message, one for gradients.

    Each rank tells mean and variance of its rows. They are joined by Chan's formula,
    which no mean far from zero spoils.
    """

    @staticmethod
    def forward(
        ctx: Any,
        batch: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
        ranks: Ranks,
    ) -> tuple[Tensor, ...]:
        axes = [0, *range(2, batch.ndim)]
        own_var, own_mean = torch.var_mean(_wide(batch), axes, correction=0)
        own_count = own_mean.new_full((1,), batch.numel() / batch.shape[1])
        told = torch.cat([own_mean, own_var, own_count])
        told = torch.stack(ranks.collect_equal(told, "statistics"))
        n_channels = batch.shape[1]
        means, variances, counts = told.split([n_channels, n_channels, 1], dim=1)
        count = counts.sum()
        mean = (counts * means).sum(0) / count
        var = (counts * (variances + (means - mean).square())).sum(0) / count
        output = batch_norm(batch, mean, var, weight, bias, False, 0.0, eps)
        ctx.ranks, ctx.eps, ctx.axes = ranks, eps, axes
        ctx.save_for_backward(batch, weight, mean, var, count)
        ctx.mark_non_differentiable(mean, var, count)
        return output, mean, var, count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        batch, weight, mean, var, count = ctx.saved_tensors
        shape = (1, -1, *[1] * (batch.ndim - 2))
        of_output = _wide(gradients[0])
        inverse = (var + ctx.eps).rsqrt()
        standard = (_wide(batch) - mean.view(shape)) * inverse.view(shape)
        of_bias = of_output.sum(ctx.axes)
        of_weight = (of_output * standard).sum(ctx.axes)
        sums = torch.cat([of_bias, of_weight])
        sums = ctx.ranks.add_up(sums, "statistics") / count
        shift, slope = (each.view(shape) for each in sums.chunk(2))
        factor = inverse if weight is None else inverse * weight
        of_batch = (of_output - shift - standard * slope) * factor.view(shape)
        of_batch = of_batch.to(batch.dtype)
        if weight is None:
            return of_batch, None, None, None, None
        return of_batch, of_weight, of_bias, None, None


def _wide(values: Tensor) -> Tensor:
    """Return values as float32, or as float64 if they are."""
    return values if values.dtype == torch.float64 else values.float()
