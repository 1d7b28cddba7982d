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


def _infonce_shares(scores: Tensor) -> Tensor:
    value = torch.zeros(len(scores), dtype=scores.dtype)
    for each in (scores, scores.T):
        is_candidate = each > -math.inf
        n_candidates = is_candidate.sum(dim=1)
        positive = each.diagonal()
        log_partition = each.logsumexp(dim=1)
        # What it adds to the partitions of others, beyond an equal part in them.
        as_candidate = (each - log_partition[:, None]).exp().sum(dim=0)
        as_candidate -= (is_candidate / n_candidates[:, None]).sum(dim=0)
        value += (positive - log_partition + n_candidates.log() - as_candidate) / 2
    return value


def _beyond_the_mean(weights: Tensor, negative: Tensor) -> Tensor:
    """Return what each row adds to a mean over pairs, by its part in either variable.

    `weights` (n, n) are what pairs have; those that are left out have none.
    """
    is_pair = negative > -math.inf
    n_pairs = is_pair.sum().clamp_min(1)
    excess = (weights - is_pair * (weights.sum() / n_pairs)) * len(weights) / n_pairs
    return excess.sum(0) + excess.sum(1)


def _partition_shares(scores: Tensor, *, clip: float = math.inf) -> Tensor:
    """Shares in Donsker-Varadhan's bound, or in SMILE, which clips its partition."""
    positive, negative = split_scores(scores)
    clipped = negative.clamp(-clip, clip)
    negative = clipped.masked_fill(negative.isneginf(), -math.inf)
    log_mean = _log_mean(negative)
    return positive - log_mean - _beyond_the_mean((negative - log_mean).exp(), negative)


def _nwj_shares(scores: Tensor) -> Tensor:
    positive, negative = split_scores(scores + 1)
    weights = (negative - 1).exp()
    n_pairs = (negative > -math.inf).sum().clamp_min(1)
    return positive - weights.sum() / n_pairs - _beyond_the_mean(weights, negative)


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
