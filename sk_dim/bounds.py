"""Lower bounds on the dependence of two variables, from scores to nats.

A bound is a pure function of two tensors of scores that a critic returned:
``positive`` for pairs drawn from the joint distribution (the two parts of one sample)
and ``negative`` for pairs drawn from the product of the marginals (parts of different
samples). It returns one number, in nats unless it says otherwise, which is larger where
the critic tells the two kinds of pairs apart better. Bounds go up; whoever wants a loss
negates.

Shapes are the same for all bounds: ``positive`` is ``(n, ...)`` and ``negative`` is
``(n, k, ...)``, where row i holds the k candidates that positive i competes with. The
trailing axes (locations, say) are broadcast against each other, so that negatives
shared by all locations are written once, as ``(n, k, 1)``. A candidate that is no
negative (a sample paired with itself) is masked with ``-inf``.

This module imports nothing of its own package.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

__all__ = [
    "BOUNDS",
    "ROW_MEANS",
    "chi_squared",
    "donsker_varadhan",
    "hellinger",
    "infonce",
    "jsd",
    "kl",
    "nwj",
    "reverse_kl",
    "smile",
    "split_scores",
]


def split_scores(scores: Tensor, first: int = 0) -> tuple[Tensor, Tensor]:
    """Cut the scores of all pairs into positive and negative ones.

    Parameters
    ----------
    scores : Tensor of shape (m, n, ...)
        Score of m samples with all n.
    first : int, default=0
        Index, among the n samples, of the first of the m; the others follow in order.

    Returns
    -------
    positive : Tensor of shape (m, ...)
        Those of each sample with itself.
    negative : Tensor of shape (m, n, ...)
        All scores, that of each sample with itself replaced by ``-inf``.

    Examples
    --------
    >>> import torch
    >>> positive, negative = split_scores(torch.tensor([[5.0, 1.0], [2.0, 6.0]]))
    >>> positive
    tensor([5., 6.])
    >>> negative
    tensor([[-inf, 1.],
            [2., -inf]])
    """
    m, n = scores.shape[:2]
    positive = scores.diagonal(first, dim1=0, dim2=1).movedim(-1, 0)
    sample = torch.arange(n, device=scores.device)
    own = (sample[first : first + m].unsqueeze(1) == sample).view(
        m, n, *[1] * (scores.ndim - 2)
    )
    return positive, scores.masked_fill(own, -math.inf)


def _mean_unmasked(values: Tensor, scores: Tensor) -> Tensor:
    """Mean of `values`, which are 0 where `scores` are masked, over the others."""
    return values.sum() / (scores > -math.inf).sum()


def infonce(positive: Tensor, negative: Tensor) -> Tensor:
    r"""Tell the positive from all its negatives: the noise-contrastive bound.

    The bound of choice for learning representations: low variance, and gradients that
    concentrate on the negatives which are hard to tell from the positive.

    Parameters
    ----------
    positive : Tensor of shape (n, ...)
        Scores of pairs from the joint distribution.
    negative : Tensor of shape (n, k, ...)
        Scores of the k candidates that compete with each positive; masked ones -inf.

    Returns
    -------
    Tensor of shape ()
        In nats.

    See Also
    --------
    jsd : Needs fewer negatives.

    Notes
    -----
    .. math:: \mathbb{E}\Big[\log \frac{e^{T(x, y)}}
              {\frac{1}{K} \big(e^{T(x, y)} + \sum_{j} e^{T(x_j, y)}\big)}\Big]
              \le I(X; Y)

    T is the critic's score and K the number of candidates, the positive included.
    *Bias*: a lower bound in expectation, for any critic; tight only while
    :math:`I(X; Y) \ll \log K`. *Variance*: low. *Cap*: never above log K, whatever the
    truth. *Cost*: n k exponentials; adding a constant to the scores of a row changes
    nothing.

    References
    ----------
    A. van den Oord, Y. Li, O. Vinyals (2018). Representation Learning with Contrastive
    Predictive Coding. arXiv:1807.03748.

    Examples
    --------
    >>> import torch
    >>> round(float(infonce(torch.tensor([9.0, 9.0]), torch.zeros(2, 3))), 2)
    1.39
    """
    n_candidates = 1 + (negative > -math.inf).sum(dim=1)
    log_partition = torch.logaddexp(positive, negative.logsumexp(dim=1))
    return (positive - log_partition + n_candidates.log()).mean()


def jsd(positive: Tensor, negative: Tensor) -> Tensor:
    r"""Tell positives from negatives one by one: the Jensen-Shannon bound.

    Robust where a batch offers few negatives, since each pair is judged alone.

    Parameters
    ----------
    positive : Tensor of shape (n, ...)
        Scores of pairs from the joint distribution.
    negative : Tensor of shape (n, k, ...)
        Scores of pairs from the product of the marginals; masked ones -inf.

    Returns
    -------
    Tensor of shape ()
        In nats.

    See Also
    --------
    infonce : Better features where negatives are many.

    Notes
    -----
    .. math:: \mathbb{E}_J[\log 2 - \mathrm{sp}(-T)]
              - \mathbb{E}_M[\mathrm{sp}(T) - \log 2]
              \le 2\, \mathrm{JSD}(J \,\|\, M)

    T is the critic's score, J the joint distribution, M the product of the marginals
    and :math:`\mathrm{sp}(t) = \log(1 + e^t)`. This is equation 4 of the paper plus
    2 log 2, so that scores of zero give zero. *Bias*: a lower bound on twice the
    Jensen-Shannon divergence, **not** on mutual information, which it follows
    monotonically. *Variance*: low. *Cap*: 2 log 2, about 1.386. *Cost*: n k softplus.

    References
    ----------
    S. Nowozin, B. Cseke, R. Tomioka (2016). f-GAN: Training Generative Neural Samplers
    using Variational Divergence Minimization. arXiv:1606.00709.

    R. D. Hjelm et al. (2018). Learning deep representations by mutual information
    estimation and maximization. arXiv:1808.06670.

    Examples
    --------
    >>> import torch
    >>> float(jsd(torch.zeros(4), torch.zeros(4, 3)))
    0.0
    """
    joint = (math.log(2) - softplus(-positive)).mean()
    marginal = _mean_unmasked(softplus(negative), negative) - math.log(2)
    return joint - marginal


def donsker_varadhan(positive: Tensor, negative: Tensor) -> Tensor:
    r"""Bound the Kullback-Leibler divergence after Donsker and Varadhan.

    The tightest of the bounds on mutual information, and the one to report; as an
    objective it is noisier than the others.

    Parameters
    ----------
    positive : Tensor of shape (n, ...)
        Scores of pairs from the joint distribution.
    negative : Tensor of shape (n, k, ...)
        Scores of pairs from the product of the marginals; masked ones -inf.

    Returns
    -------
    Tensor of shape ()
        In nats.

    See Also
    --------
    nwj : Unbiased in small batches, looser for the same critic.

    Notes
    -----
    .. math:: \mathbb{E}_J[T] - \log \mathbb{E}_M[e^T] \le I(X; Y)

    T is the critic's score, J the joint distribution and M the product of the
    marginals. The partition term is taken for each trailing index (location) and then
    averaged, as in equation 6 of the paper. *Bias*: exact expectations give a lower
    bound; the logarithm of a mean over few pairs makes it too large by about half the
    relative variance of that mean. *Variance*: grows exponentially with the true
    value. *Cap*: none by itself; no estimate from n samples holds above log n.
    *Cost*: n k exponentials; adding a constant to all scores changes nothing.

    References
    ----------
    M. D. Donsker, S. R. S. Varadhan (1983). Asymptotic evaluation of certain Markov
    process expectations for large time, IV.

    M. I. Belghazi et al. (2018). MINE: Mutual Information Neural Estimation.
    arXiv:1801.04062.

    D. McAllester, K. Stratos (2018). Formal Limitations on the Measurement of Mutual
    Information. arXiv:1811.04251.

    Examples
    --------
    >>> import torch
    >>> float(donsker_varadhan(torch.full((4,), 7.0), torch.full((4, 3), 5.0)))
    2.0
    """
    n_negatives = (negative > -math.inf).sum(dim=(0, 1))
    log_mean_exp = negative.logsumexp(dim=(0, 1)) - n_negatives.log()
    return positive.mean() - log_mean_exp.mean()


def nwj(positive: Tensor, negative: Tensor) -> Tensor:
    r"""Bound the Kullback-Leibler divergence after Nguyen, Wainwright and Jordan.

    An honest lower bound even in the smallest batch, paid for with variance.

    Parameters
    ----------
    positive : Tensor of shape (n, ...)
        Scores of pairs from the joint distribution.
    negative : Tensor of shape (n, k, ...)
        Scores of pairs from the product of the marginals; masked ones -inf.

    Returns
    -------
    Tensor of shape ()
        In nats.

    See Also
    --------
    donsker_varadhan : Tighter for the same critic.

    Notes
    -----
    .. math:: \mathbb{E}_J[T] - \mathbb{E}_M[e^{T - 1}] \le I(X; Y)

    T is the critic's score, J the joint distribution and M the product of the
    marginals. The optimal score is one plus the log density ratio, so unlike the other
    bounds on mutual information this one does depend on a constant added to the
    scores. *Bias*: none beyond the gap of the critic; the mean over batches is a lower
    bound. *Variance*: grows exponentially with the true value. *Cap*: none by itself;
    no estimate from n samples holds above log n. *Cost*: n k exponentials, which
    overflow for scores above 88.

    References
    ----------
    X. Nguyen, M. J. Wainwright, M. I. Jordan (2010). Estimating divergence functionals
    and the likelihood ratio by convex risk minimization. arXiv:0809.0853.

    B. Poole et al. (2019). On Variational Bounds of Mutual Information.
    arXiv:1905.06922.

    Examples
    --------
    >>> import torch
    >>> float(nwj(torch.ones(4), torch.ones(4, 3)))
    0.0
    """
    return positive.mean() - _mean_unmasked((negative - 1).exp(), negative)


def kl(positive: Tensor, negative: Tensor) -> Tensor:
    r"""Bound the Kullback-Leibler divergence as f-GAN does.

    It is `nwj` of scores that are larger by one, so that the best score is the log
    density ratio, as for the other bounds.

    Parameters
    ----------
    positive : Tensor of shape (n, ...)
        Scores of pairs from the joint distribution.
    negative : Tensor of shape (n, k, ...)
        Scores of pairs from the product of the marginals; masked ones -inf.

    Returns
    -------
    Tensor of shape ()
        In nats.

    See Also
    --------
    nwj : The same bound of other scores.

    Notes
    -----
    .. math:: \mathbb{E}_J[T + 1] - \mathbb{E}_M[e^T] \le I(X; Y)

    T is the critic's score, J the joint distribution and M the product of the
    marginals. *Bias*, *variance*, *cap* and *cost* are those of `nwj`; exponentials
    overflow for scores above 88.

    References
    ----------
    S. Nowozin, B. Cseke, R. Tomioka (2016). f-GAN: Training Generative Neural Samplers
    using Variational Divergence Minimization. arXiv:1606.00709.

    Examples
    --------
    >>> import torch
    >>> float(kl(torch.zeros(4), torch.zeros(4, 3)))
    0.0
    """
    return nwj(positive + 1, negative + 1)


def reverse_kl(positive: Tensor, negative: Tensor) -> Tensor:
    r"""Bound the Kullback-Leibler divergence of the marginals from the joint.

    It punishes low scores of positives most, where infoNCE and `kl` punish high ones of
    negatives.

    Parameters
    ----------
    positive : Tensor of shape (n, ...)
        Scores of pairs from the joint distribution.
    negative : Tensor of shape (n, k, ...)
        Scores of pairs from the product of the marginals; masked ones -inf.

    Returns
    -------
    Tensor of shape ()
        In nats.

    See Also
    --------
    kl : The divergence the other way round, which is mutual information.

    Notes
    -----
    .. math:: \mathbb{E}_J[1 - e^{-T}] - \mathbb{E}_M[T]
              \le \mathrm{KL}(M \,\|\, J)

    T is the critic's score, J the joint distribution and M the product of the
    marginals. The optimal score is the log density ratio. *Bias*: a lower bound on the
    reverse divergence, **not** on mutual information. *Variance*: grows with
    :math:`\mathbb{E}_J[e^{-2T}]`. *Cap*: none. *Cost*: n exponentials, which overflow
    for scores below -88.

    References
    ----------
    S. Nowozin, B. Cseke, R. Tomioka (2016). f-GAN: Training Generative Neural Samplers
    using Variational Divergence Minimization. arXiv:1606.00709.

    Examples
    --------
    >>> import torch
    >>> float(reverse_kl(torch.zeros(4), torch.full((4, 3), -2.0)))
    2.0
    """
    unmasked = negative.masked_fill(negative.isneginf(), 0.0)
    return (1 - (-positive).exp()).mean() - _mean_unmasked(unmasked, negative)


def hellinger(positive: Tensor, negative: Tensor) -> Tensor:
    r"""Bound the squared Hellinger distance of the joint and the marginals.

    Treats both kinds of pairs alike, as `jsd` does, but punishes wrong scores
    exponentially.

    Parameters
    ----------
    positive : Tensor of shape (n, ...)
        Scores of pairs from the joint distribution.
    negative : Tensor of shape (n, k, ...)
        Scores of pairs from the product of the marginals; masked ones -inf.

    Returns
    -------
    Tensor of shape ()
        A number without unit, at most 2.

    See Also
    --------
    jsd : Punishes wrong scores in proportion to them.

    Notes
    -----
    .. math:: \mathbb{E}_J[1 - e^{-T / 2}] - \mathbb{E}_M[e^{T / 2} - 1]
              \le \int \big(\sqrt{J} - \sqrt{M}\big)^2

    T is the critic's score, J the joint distribution and M the product of the
    marginals. The optimal score is the log density ratio. *Bias*: a lower bound on the
    squared Hellinger distance, **not** on mutual information. *Variance*: finite
    wherever the distributions are, at the optimal score. *Cap*: 2. *Cost*: n k
    exponentials, which overflow for scores of 177 and more to either side.

    References
    ----------
    S. Nowozin, B. Cseke, R. Tomioka (2016). f-GAN: Training Generative Neural Samplers
    using Variational Divergence Minimization. arXiv:1606.00709.

    Examples
    --------
    >>> import torch
    >>> float(hellinger(torch.zeros(4), torch.zeros(4, 3)))
    0.0
    """
    joint = (1 - (-positive / 2).exp()).mean()
    return joint - _mean_unmasked((negative / 2).exp(), negative) + 1


def chi_squared(positive: Tensor, negative: Tensor) -> Tensor:
    r"""Bound the chi-squared divergence of the joint from the marginals.

    A least-squares fit of the density ratio: no exponentials, so scores of any size
    are finite.

    Parameters
    ----------
    positive : Tensor of shape (n, ...)
        Scores of pairs from the joint distribution.
    negative : Tensor of shape (n, k, ...)
        Scores of pairs from the product of the marginals; masked ones -inf.

    Returns
    -------
    Tensor of shape ()
        A number without unit.

    See Also
    --------
    kl : Where density ratios are large, of less variance.

    Notes
    -----
    .. math:: \mathbb{E}_J[T] - \mathbb{E}_M\Big[T + \frac{T^2}{4}\Big]
              \le \chi^2(J \,\|\, M)

    T is the critic's score, J the joint distribution and M the product of the
    marginals. The optimal score is :math:`2 (r - 1)` for the density ratio r. The
    authors' code squares the scores of the positives instead, which has no maximum.
    *Bias*: a lower bound on the chi-squared divergence, **not** on mutual information.
    *Variance*: large where density ratios are. *Cap*: none. *Cost*: n k products.

    References
    ----------
    S. Nowozin, B. Cseke, R. Tomioka (2016). f-GAN: Training Generative Neural Samplers
    using Variational Divergence Minimization. arXiv:1606.00709.

    Examples
    --------
    >>> import torch
    >>> float(chi_squared(torch.full((4,), 2.0), torch.full((4, 3), -2.0)))
    3.0
    """
    unmasked = negative.masked_fill(negative.isneginf(), 0.0)
    marginal = _mean_unmasked(unmasked + unmasked.square() / 4, negative)
    return positive.mean() - marginal


def smile(positive: Tensor, negative: Tensor, *, clip: float = 5.0) -> Tensor:
    r"""Estimate mutual information by clipped density ratios: no bound.

    `donsker_varadhan` whose partition term is made of clipped scores, for a critic that
    was trained by `jsd`. Less variance, paid for with bias to either side.

    Parameters
    ----------
    positive : Tensor of shape (n, ...)
        Scores of pairs from the joint distribution.
    negative : Tensor of shape (n, k, ...)
        Scores of pairs from the product of the marginals; masked ones -inf.
    clip : float, default=5.0
        Scores of the partition term are clipped to this, to both sides.

    Returns
    -------
    Tensor of shape ()
        In nats.

    See Also
    --------
    donsker_varadhan : The same without clipping, a lower bound.

    Notes
    -----
    .. math:: \mathbb{E}_J[T] - \log \mathbb{E}_M[e^{\max(-c, \min(c, T))}]

    *Bias*: not a bound; with the optimal critic it exceeds the truth where density
    ratios beyond the clip matter. *Variance*: that of the mean of numbers up to
    :math:`e^c`. *Cap*: none. *Cost*: n k exponentials.

    References
    ----------
    J. Song, S. Ermon (2020). Understanding the Limitations of Variational Mutual
    Information Estimators. arXiv:1910.06222.

    Examples
    --------
    >>> import torch
    >>> float(smile(torch.full((4,), 7.0), torch.full((4, 3), 9.0)))
    2.0
    """
    masked = negative.isneginf()
    clipped = negative.clamp(-clip, clip).masked_fill(masked, -math.inf)
    return donsker_varadhan(positive, clipped)


BOUNDS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "infonce": infonce,
    "jsd": jsd,
    "donsker_varadhan": donsker_varadhan,
    "nwj": nwj,
    "kl": kl,
    "reverse_kl": reverse_kl,
    "hellinger": hellinger,
    "chi_squared": chi_squared,
}

# Means of what each row of the scores gives alone, so they can be taken block by block
# where all rows have as many negatives; infonce where they have not, too.
ROW_MEANS = (infonce, jsd, nwj, kl, reverse_kl, hellinger, chi_squared)


class BetweenGroups:
    """A bound for which pairs of samples of one group are no negatives.

    A row that has none left is left out. A batch that is all of one group counts as 0,
    with gradients of 0.

    Parameters
    ----------
    bound : callable
        ``bound(positive, negative) -> Tensor of shape ()``, which gets the scores with
        those of pairs within a group masked.
    groups : Tensor of shape (n,)
        Codes of the groups of the samples.
    of_negatives : callable
        That of the critic, see :meth:`sk_dim.critics.Critic.of_negatives`.
    """

    def __init__(
        self,
        bound: Callable[[Tensor, Tensor], Tensor],
        groups: Tensor,
        of_negatives: Callable[[Tensor, int], Tensor],
    ) -> None:
        self.bound = bound
        self.groups = groups
        self.of_negatives = of_negatives

    def __call__(self, positive: Tensor, negative: Tensor, first: int = 0) -> Tensor:
        """Compute the bound of the scores of the samples from `first` on."""
        own = self.groups[first : first + len(positive)].unsqueeze(1)
        others = self.of_negatives(self.groups, negative.shape[1])
        is_own = own == others  # (m, k)
        # Without a negative in the whole batch the value is that of the pairs within
        # the group, times 0: the bound of no pairs may be NaN.
        has_negatives = ~is_own.all()
        is_own = is_own & has_negatives
        if len(others) > 1:  # a row of all samples has negatives if any row has
            kept = ~is_own.all(dim=1)
            positive, negative, is_own = positive[kept], negative[kept], is_own[kept]
        is_own = is_own.view(*is_own.shape, *[1] * (negative.ndim - 2))
        value = self.bound(positive, negative.masked_fill(is_own, -math.inf))
        return value * has_negatives if isinstance(value, Tensor) else value


def is_row_mean(bound: Callable[[Tensor, Tensor], Tensor]) -> bool:
    """Say whether blocks of rows can be averaged to the bound of all rows."""
    if isinstance(bound, BetweenGroups):
        # Rows have different numbers of negatives, over all of which the others take
        # one mean.
        return bound.bound is infonce
    return bound in ROW_MEANS
