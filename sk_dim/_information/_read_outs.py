"""From the scores of all pairs to what is learnt, and to what each row tells.

A bound on rows that were held out is a mean over them. What each row adds to it, by the
part that it has in its own pair and in those of others, gives the standard error.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sk_dim.bounds import infonce, jsd, nwj, split_scores

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
        Scores (n, n) to what each row adds, (n,): their mean is the value.
    kind : {"lower", "estimate"}
        Of the value.
    is_capped_by_candidates : bool, default=False
        Whether it cannot exceed the logarithm of the number of candidates.
    n_candidates : int, default=2048
        Rows that are scored with one another.
    """

    objective: Callable[[Tensor], Tensor]
    shares: Callable[[Tensor], Tensor]
    kind: str
    is_capped_by_candidates: bool = False
    n_candidates: int = 2048


def _infonce_both_ways(scores: Tensor) -> Tensor:
    """Tell each row of one variable from the others, and each of the other."""
    ways = [infonce(*split_scores(each)) for each in (scores, scores.T)]
    return (ways[0] + ways[1]) / 2


class _Mine:
    """Donsker-Varadhan with the gradient of MINE, whose bias over batches is less.

    The partition function in the gradient's denominator is a moving average over the
    batches, kept as its logarithm (Belghazi et al. 2018, arXiv:1801.04062).
    """

    def __init__(self) -> None:
        self.average: Tensor | None = None

    def __call__(self, scores: Tensor) -> Tensor:
        positive, negative = split_scores(scores)
        log_mean = negative.logsumexp(dim=(0, 1)) - math.log(_n_pairs(scores))
        now = log_mean.detach()
        if self.average is None:
            self.average = now.clone()
        # In place, because a step that is recorded finds it where it was.
        parts = self.average + math.log(MOMENTUM), now + math.log(1 - MOMENTUM)
        self.average.copy_(torch.logaddexp(*parts))
        # The value is that of the bound, the gradient that of the ratio to the average.
        ratio = (log_mean - self.average).exp()
        return positive.mean() - ratio + (ratio - log_mean).detach()


def _n_pairs(scores: Tensor) -> int:
    """How many pairs of different rows there are, at least one."""
    return max(1, len(scores) * (len(scores) - 1))


def _jsd(scores: Tensor) -> Tensor:
    return jsd(*split_scores(scores))


def _nwj(scores: Tensor) -> Tensor:
    # Its best score is one plus the log density ratio; critics aim at the ratio.
    return nwj(*split_scores(scores + 1))


def _infonce_shares(scores: Tensor) -> Tensor:
    n = len(scores)
    value = torch.zeros(n, dtype=scores.dtype)
    for each in (scores, scores.T):
        positive = each.diagonal()
        log_partition = each.logsumexp(dim=1)
        as_candidate = (each - log_partition[:, None]).exp().sum(dim=0)
        value += (positive - log_partition + math.log(n) - (as_candidate - 1)) / 2
    return value


def _partition_shares(scores: Tensor, *, clip: float = math.inf) -> Tensor:
    """Shares in Donsker-Varadhan's bound, or in SMILE, which clips its partition."""
    positive, negative = split_scores(scores)
    clipped = negative.clamp(-clip, clip)
    negative = clipped.masked_fill(negative.isneginf(), -math.inf)
    n = len(scores)
    log_mean = negative.logsumexp(dim=(0, 1)) - math.log(_n_pairs(scores))
    weights = (negative - log_mean).exp() / max(1, n - 1)
    return positive - log_mean - (weights.sum(0) - 1) - (weights.sum(1) - 1)


def _nwj_shares(scores: Tensor) -> Tensor:
    positive, negative = split_scores(scores + 1)
    weights = (negative - 1).exp() / max(1, len(scores) - 1)
    mean = weights.sum() / len(scores)
    return positive - mean - (weights.sum(0) - mean) - (weights.sum(1) - mean)


def _smile_shares(scores: Tensor) -> Tensor:
    return _partition_shares(scores, clip=5.0)


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
