"""From the scores of all pairs to what is learnt, and to what each row tells.

A bound on rows that were held out is a mean over them. What each row adds to it, by the
part that it has in its own pair and in those of others, gives the standard error.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sk_dim.bounds import jsd, nwj, split_scores

MOMENTUM = 0.9  # of the moving average in MINE's gradient


@dataclass(frozen=True)
class ReadOut:
    """How a bound is learnt and read out.

    Parameters
    ----------
    objective : callable
        Scores (n, n) to the number that training raises. Each training takes a copy,
        since it may keep something from batch to batch.
    shares : callable
        Scores (n, n), and numbers of groups (n,) if rows are not all apart, to what
        each row adds, (n,): their mean is the value, or the mean over groups of the
        means in them. Rows of one group are no candidates for one another.
    kind : {"lower", "estimate"}
        Of the value.
    is_capped_by_candidates : bool, default=False
        Whether it cannot exceed the logarithm of the number of candidates.
    n_candidates : int, default=2048
        Rows that are scored with one another.
    """

    objective: Callable[[Tensor], Tensor]
    shares: Callable[..., Tensor]
    kind: str
    is_capped_by_candidates: bool = False
    n_candidates: int = 2048


def _infonce_both_ways(scores: Tensor) -> Tensor:
    """Tell each row of one variable from the others, and each of the other.

    The mean of `infonce` of the rows and of the columns, by a third of its operations:
    no pair is given twice.
    """
    among = (scores.logsumexp(dim=1) + scores.logsumexp(dim=0)) / 2
    n_candidates = (scores > -math.inf).sum(dim=1)
    return (scores.diagonal() - among + n_candidates.log()).mean()


class _Mine:
    """Donsker-Varadhan with the gradient of MINE, whose bias over batches is less.

    The partition function in the gradient's denominator is a moving average over the
    batches, kept as its logarithm (Belghazi et al. 2018, arXiv:1801.04062).
    """

    def __init__(self) -> None:
        self.average: Tensor | None = None

    def __call__(self, scores: Tensor) -> Tensor:
        positive, negative = split_scores(scores)
        log_mean = _log_mean(negative)
        now = log_mean.detach()
        if self.average is None:
            self.average = now.clone()
        # In place, because a step that is recorded finds it where it was.
        parts = self.average + math.log(MOMENTUM), now + math.log(1 - MOMENTUM)
        self.average.copy_(torch.logaddexp(*parts))
        # The value is that of the bound, the gradient that of the ratio to the average.
        ratio = (log_mean - self.average).exp()
        return positive.mean() - ratio + (ratio - log_mean).detach()


def _log_mean(negative: Tensor) -> Tensor:
    """Logarithm of the mean exponential over pairs that are not left out."""
    n_pairs = (negative > -math.inf).sum().clamp_min(1)
    return negative.logsumexp(dim=(0, 1)) - n_pairs.log()


def _jsd(scores: Tensor) -> Tensor:
    return jsd(*split_scores(scores))


def _nwj(scores: Tensor) -> Tensor:
    # Its best score is one plus the log density ratio; critics aim at the ratio.
    return nwj(*split_scores(scores + 1))


def _weights(scores: Tensor, groups: Tensor | None) -> tuple[Tensor, Tensor]:
    """Weigh rows so that each group counts as one, and say which pairs are others.

    Returns
    -------
    weights : Tensor of shape (n,)
        One over the number of rows in its group.
    is_other : Tensor of shape (n, n), bool
        Whether rows are of different groups.
    """
    n = len(scores)
    if groups is None:
        groups = torch.arange(n)
    is_other = groups.unsqueeze(1) != groups
    return 1 / (~is_other).sum(1).to(scores), is_other


def _infonce_shares(scores: Tensor, groups: Tensor | None = None) -> Tensor:
    """Tell each row from one of each other group, in the mean over its rows.

    So there are as many candidates as groups: with all rows of each, one that is alike
    would be beaten many times. The logarithm of a mean over rows is above the mean of
    logarithms, so this is at most what one row of each group, drawn at random, gives.
    """
    weights, is_other = _weights(scores, groups)
    n_groups = weights.sum()
    as_candidates = is_other * weights
    as_candidates.fill_diagonal_(1.0)
    value = torch.zeros_like(weights)
    for each in (scores, scores.T):
        positive = each.diagonal()
        log_weighted = each + as_candidates.log()
        log_partition = log_weighted.logsumexp(dim=1)
        # What it adds to the partitions of others, beyond an equal part in them.
        parts = (log_weighted - log_partition[:, None]).exp() - as_candidates / n_groups
        beyond = (weights[:, None] * parts).sum(dim=0) / weights
        value += (positive - log_partition + n_groups.log() - beyond) / 2
    return value


def _mean_over_pairs(values: Tensor, groups: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the mean of values over other pairs, and what each row adds beyond it.

    Parameters
    ----------
    values : Tensor of shape (n, n)
        Of all pairs; those of one group do not count.
    groups : Tensor of shape (n,) or None
        Numbers of the groups of rows.
    """
    weights, is_other = _weights(values, groups)
    pairs = is_other * weights * weights[:, None]
    pairs = pairs / pairs.sum().clamp_min(torch.finfo(values.dtype).tiny)
    values = values.masked_fill(~is_other, 0.0)
    mean = (pairs * values).sum()
    excess = pairs * (values - mean)
    share = weights / weights.sum()
    return mean, (excess.sum(0) + excess.sum(1)) / share


def _partition_shares(
    scores: Tensor, groups: Tensor | None = None, *, clip: float = math.inf
) -> Tensor:
    """Shares in Donsker-Varadhan's bound, or in SMILE, which clips its partition."""
    clipped = scores.clamp(-clip, clip)
    _, is_other = _weights(scores, groups)
    top = clipped.masked_fill(~is_other, -math.inf).amax().nan_to_num(neginf=0.0)
    mean, beyond = _mean_over_pairs((clipped - top).exp(), groups)
    mean = mean.clamp_min(torch.finfo(scores.dtype).tiny)
    return scores.diagonal() - mean.log() - top - beyond / mean


def _nwj_shares(scores: Tensor, groups: Tensor | None = None) -> Tensor:
    mean, beyond = _mean_over_pairs(scores.exp(), groups)
    return scores.diagonal() + 1 - mean - beyond


def _smile_shares(scores: Tensor, groups: Tensor | None = None) -> Tensor:
    return _partition_shares(scores, groups, clip=5.0)


READ_OUTS = {
    "infonce": ReadOut(
        _infonce_both_ways,
        _infonce_shares,
        "lower",
        is_capped_by_candidates=True,
    ),
    "donsker_varadhan": ReadOut(_Mine(), _partition_shares, "lower"),
    "nwj": ReadOut(_nwj, _nwj_shares, "lower"),
    "smile": ReadOut(_jsd, _smile_shares, "estimate"),
    "jsd": ReadOut(_jsd, _partition_shares, "estimate"),
}
