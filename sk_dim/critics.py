"""Critics: local and global features to the scores of positive and negative pairs.

A critic is a module whose forward takes ``local`` (n, c, l), one vector of c channels
for each of l locations, and ``global_`` (n, d). It returns ``positive`` (n, l), the
score of each global feature with every location of its own sample, and ``negative``
(n, k, ...), its scores with k local features of other samples, masked with ``-inf``
where a candidate is no negative. Scores are float32 whatever the features are.

The base class :class:`Critic` says what else a critic may have: how many locations it
is trained on, how a bound of its scores is computed, and which samples its negatives
are of, by which those of one group are masked. A plain ``torch.nn.Module`` has its
defaults.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from sk_dim.bounds import BetweenGroups, is_row_mean, split_scores

__all__ = [
    "CRITICS",
    "ConcatCritic",
    "CosineCritic",
    "Critic",
    "DotCritic",
    "bound_in_blocks",
]

Bound = Callable[[Tensor, Tensor], Tensor]

MAX_SCORES = 2**22  # of a step, some copies of them held: 16 MB each
BLOCK_SCORES = 2**18  # where they would be more
BLOCK_LOCATIONS = 2**11


class Critic(nn.Module):
    """Base class of critics, with the defaults of all that a critic may have.

    A critic need not be one: any ``torch.nn.Module`` with the right forward will do.

    Attributes
    ----------
    n_locations : int or None
        Locations a sample to train on, drawn anew for each batch; None takes all.

    Examples
    --------
    >>> import torch
    >>> from sk_dim.bounds import infonce
    >>> class Product(Critic):
    ...     def forward(self, local, global_):
    ...         scores = torch.einsum("md,ndl->mnl", global_, local)
    ...         return split_scores(scores)
    >>> value = Product().evaluate(infonce, torch.randn(5, 3, 9), torch.randn(5, 3))
    >>> value.shape
    torch.Size([])
    """

    n_locations: int | None = None

    def evaluate(self, bound: Bound, local: Tensor, global_: Tensor) -> Tensor:
        """Compute a bound of the scores of a batch.

        Parameters
        ----------
        bound : callable
            ``bound(positive, negative) -> Tensor of shape ()`` in nats.
        local : Tensor of shape (n, c, l)
            Local features.
        global_ : Tensor of shape (n, d)
            Global features.

        Returns
        -------
        Tensor of shape ()
            In nats.

        Raises
        ------
        ValueError
            If the scores or the bound are not what they must be.
        """
        scores = self(local, global_)
        shape = (len(local), local.shape[2])
        if not isinstance(scores, tuple) or scores[0].shape != shape:
            raise ValueError(
                "a critic must return (positive, negative) scores of shapes (n, l) and "
                f"(n, k, ...) with positive {shape} here; it returned "
                f"{describe(scores)}."
            )
        return _value(bound, *scores)

    def of_negatives(self, groups: Tensor, n_negatives: int) -> Tensor:
        """Say which groups the local features of the negatives are of.

        The default is for a critic that scores all pairs, as `split_scores` returns
        them: the candidates of each row are all n samples in order, or all locations of
        the first sample, of the second, and so on. Any other critic needs its own, or
        it cannot be fitted with groups.

        Parameters
        ----------
        groups : Tensor of shape (n,)
            Codes of the groups of the samples.
        n_negatives : int
            How many candidates k each row of ``negative`` has.

        Returns
        -------
        Tensor of shape (n, k) or (1, k)
            Codes of the groups of the negatives of each row, or of all rows.

        Raises
        ------
        ValueError
            If k is no multiple of n.
        """
        if n_negatives % len(groups):
            raise ValueError(
                f"groups were given, but a critic returned {n_negatives} negatives a "
                f"row for {len(groups)} samples, which are not those of all samples; "
                "give it a method of_negatives that says which samples they are of, "
                "see sk_dim.critics.Critic."
            )
        return groups.repeat_interleave(n_negatives // len(groups)).unsqueeze(0)


def _value(bound: Bound, positive: Tensor, negative: Tensor) -> Tensor:
    """Compute a bound, which may be the user's own."""
    value = bound(positive, negative)
    if not isinstance(value, Tensor) or value.shape != ():
        raise ValueError(
            "a bound must return one number, a Tensor of shape (); it returned "
            f"{describe(value)}."
        )
    return value


def max_scores(device: torch.device) -> int:
    """Return how many scores are computed in one piece, more in blocks.

    On a CPU, blocks that its cache keeps are faster. On a GPU they cost nearly all of
    the speed, so there the memory of the device decides: a score for each 128 bytes,
    of which the copies that a step holds take about a quarter.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory // 128
    return MAX_SCORES


def block_scores(device: torch.device) -> int:
    """Return how many scores a block has."""
    return max_scores(device) // 16 if device.type == "cuda" else BLOCK_SCORES


def check_pairs(critic: nn.Module, local: Tensor, global_: Tensor) -> None:
    """Raise a ValueError unless it is known which samples a critic's negatives are of.

    Parameters
    ----------
    critic : nn.Module
        In evaluation mode.
    local, global_ : Tensor of shape (n, c, l), (n, d)
        Features to try it on.
    """
    own_way = getattr(type(critic), "of_negatives", Critic.of_negatives)
    if own_way is not Critic.of_negatives:
        return
    scores = critic(local, global_)
    if not isinstance(scores, tuple):
        return  # which evaluate refuses
    negative = scores[1]
    samples = torch.arange(len(local), device=local.device)
    others = Critic.of_negatives(cast(Critic, critic), samples, negative.shape[1])
    is_own = samples.unsqueeze(1) == others
    if not bool(negative[is_own].isneginf().all()):
        raise ValueError(
            "groups were given, but the negatives of a critic are not those of all "
            "samples in order, the sample itself masked; give it a method of_negatives "
            "that says which samples they are of, see sk_dim.critics.Critic."
        )


def describe(value: Any) -> str:
    """Say what a callable of the user returned."""
    if isinstance(value, Tensor):
        return f"a Tensor of shape {tuple(value.shape)}"
    if isinstance(value, tuple):
        return f"({', '.join(map(describe, value))})"
    return type(value).__name__


class _Projection(nn.Module):
    """Residual map to critic space: LayerNorm(two-layer net + linear shortcut)."""

    def __init__(self, n_in: int, n_units: int) -> None:
        super().__init__()
        # First layer and shortcut in one, so that the features are read once.
        self.first = nn.Linear(n_in, 2 * n_units)
        self.second = nn.Linear(n_units, n_units, bias=False)
        self.norm = nn.LayerNorm(n_units)

    def forward(self, features: Tensor) -> Tensor:
        block, shortcut = self.first(features).chunk(2, dim=-1)
        return self.norm(self.second(block.relu()) + shortcut)


class _InBlocks(torch.autograd.Function):
    """Apply a module to blocks of rows, and once more to each of them for gradients.

    What lies between input and output is never held for more than one block, and the
    gradients of the blocks are written where they belong, which those of slices or
    splits are not.
    """

    @staticmethod
    def forward(
        ctx: Any, module: nn.Module, n_rows: int, batch: Tensor, *parameters: Tensor
    ) -> Tensor:
        ctx.module, ctx.n_rows = module, n_rows
        ctx.save_for_backward(batch, *parameters)
        with torch.autocast(batch.device.type, enabled=False):
            first = module(batch[:n_rows].float())
            output = first.new_empty(len(batch), *first.shape[1:])
            output[:n_rows] = first
            rest = zip(batch.split(n_rows)[1:], output.split(n_rows)[1:], strict=True)
            for part, of_part in rest:
                of_part.copy_(module(part.float()))
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        batch, *parameters = ctx.saved_tensors
        of_batch = torch.empty_like(batch)
        of_parameters = [torch.zeros_like(parameter) for parameter in parameters]
        parts = (each.split(ctx.n_rows) for each in (batch, of_batch, *gradients))
        for part, of_part, gradient in zip(*parts, strict=True):
            with torch.enable_grad():
                inputs = part.float().detach().requires_grad_()
                output = ctx.module(inputs)
            found = torch.autograd.grad(output, [inputs, *parameters], gradient)
            of_part.copy_(found[0])
            for so_far, each in zip(of_parameters, found[1:], strict=True):
                so_far.add_(each)
        return None, None, of_batch, *of_parameters


def _split_pairs(
    scores: Tensor, n_locations: int, first: int = 0
) -> tuple[Tensor, Tensor]:
    """Cut the scores (m, n l) of samples from `first` on, negatives (m, n l, 1)."""
    scores = scores.view(len(scores), -1, n_locations)
    positive, negative = split_scores(scores, first)
    return positive, negative.flatten(1).unsqueeze(2)


class DotCritic(Critic):
    r"""Encode-and-dot-product: the inner product of both features in a common space.

    Every pair of a batch is scored by one matrix product, so each positive competes
    with all locations of all other samples.

    Parameters
    ----------
    n_local_channels : int
        Channels c of the local features.
    n_components : int
        Size d of the global features.
    n_units : int, default=128
        Dimensions of the common space.
    n_locations : int or None, default=8
        Locations a sample to train on, drawn anew for each batch; None takes all.
    temperature : float, default=1.0
        Divides the scores.

    Notes
    -----
    .. math:: T(x, y) = \frac{\phi(x)^\top \psi(y)}{\tau \sqrt{u}}

    where :math:`\phi` and :math:`\psi` are residual nets ending in a LayerNorm, u is
    `n_units` and :math:`\tau` the temperature. The square root keeps the scores of
    random pairs near variance 1 at any width. ``negative`` is (n, n l, 1): the
    locations of all samples, shared by the positives of one sample, its own masked.

    References
    ----------
    R. D. Hjelm et al. (2018). Learning deep representations by mutual information
    estimation and maximization. arXiv:1808.06670.

    P. Bachman, R. D. Hjelm, W. Buchwalter (2019). Learning Representations by
    Maximizing Mutual Information Across Views. arXiv:1906.00910.

    Examples
    --------
    >>> import torch
    >>> critic = DotCritic(n_local_channels=32, n_components=16)
    >>> positive, negative = critic(torch.randn(5, 32, 9), torch.randn(5, 16))
    >>> positive.shape, negative.shape
    (torch.Size([5, 9]), torch.Size([5, 45, 1]))
    """

    def __init__(
        self,
        n_local_channels: int,
        n_components: int,
        *,
        n_units: int = 128,
        n_locations: int | None = 8,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.n_locations = n_locations
        self.scale = 1 / (temperature * math.sqrt(n_units))
        self.local = _Projection(n_local_channels, n_units)
        self.global_ = _Projection(n_components, n_units)

    def forward(self, local: Tensor, global_: Tensor) -> tuple[Tensor, Tensor]:
        """Score all pairs of the batch."""
        local, global_ = self.embed(local, global_)
        with torch.autocast(global_.device.type, enabled=False):
            scores = global_ @ local.flatten(0, 1).T  # (n, n l)
        return _split_pairs(scores, local.shape[1])

    def evaluate(self, bound: Bound, local: Tensor, global_: Tensor) -> Tensor:
        """Compute a bound, of many scores in blocks where it is a mean over rows."""
        n_scores = len(global_) * local[:, 0].numel()
        if n_scores > max_scores(local.device) and is_row_mean(bound):
            return bound_in_blocks(self, bound, local, global_)
        return super().evaluate(bound, local, global_)

    def embed(
        self, local: Tensor, global_: Tensor, *, in_blocks: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Map both to the common space: (n, l, u) and (n, u), float32."""
        local = local.transpose(1, 2)  # (n, l, c)
        if in_blocks:
            n_rows = max(1, BLOCK_LOCATIONS // local.shape[1])
            parameters = self.local.parameters()
            embedded = _InBlocks.apply(self.local, n_rows, local, *parameters)
        else:
            embedded = self.local(local)
        return embedded.float(), self.global_(global_).float() * self.scale


class ConcatCritic(Critic):
    """Concat-and-convolve: a small net on each local feature joined to a global one.

    More flexible than the inner product and much dearer: each pair needs a pass of its
    own, so a positive competes with the same location of a few other samples only.
    Goes well with ``bound="jsd"``, which needs few negatives.

    Parameters
    ----------
    n_local_channels : int
        Channels c of the local features.
    n_components : int
        Size d of the global features.
    n_units : int, default=512
        Units of the two hidden layers, as in the paper.
    n_negatives : int, default=4
        Other samples that each sample competes with, fewer in smaller batches.
    n_locations : int or None, default=8
        Locations a sample to train on, drawn anew for each batch; None takes all.

    Notes
    -----
    The first layer is applied to either side once and added, which equals a layer on
    the joined features. ``negative`` is (n, k, l).

    References
    ----------
    R. D. Hjelm et al. (2018). Learning deep representations by mutual information
    estimation and maximization. arXiv:1808.06670.

    Examples
    --------
    >>> import torch
    >>> critic = ConcatCritic(n_local_channels=32, n_components=16)
    >>> positive, negative = critic(torch.randn(5, 32, 9), torch.randn(5, 16))
    >>> positive.shape, negative.shape
    (torch.Size([5, 9]), torch.Size([5, 4, 9]))
    """

    def __init__(
        self,
        n_local_channels: int,
        n_components: int,
        *,
        n_units: int = 512,
        n_negatives: int = 4,
        n_locations: int | None = 8,
    ) -> None:
        super().__init__()
        self.n_locations = n_locations
        self.n_negatives = n_negatives
        self.local = nn.Linear(n_local_channels, n_units)
        self.global_ = nn.Linear(n_components, n_units, bias=False)
        self.head = nn.Sequential(
            nn.ReLU(), nn.Linear(n_units, n_units), nn.ReLU(), nn.Linear(n_units, 1)
        )

    def forward(self, local: Tensor, global_: Tensor) -> tuple[Tensor, Tensor]:
        """Score the pairs of each sample with itself and some others."""
        local = self.local(local.transpose(1, 2)).unsqueeze(1)  # (n, 1, l, u)
        global_ = self.global_(global_)[:, None, None]  # (n, 1, 1, u)
        # Batches are shuffled, so the next samples are random ones.
        n_negatives = min(self.n_negatives, len(global_) - 1)
        partners = [local.roll(-shift, dims=0) for shift in range(n_negatives + 1)]
        scores = self.head(torch.cat(partners, dim=1) + global_)[..., 0].float()
        return scores[:, 0], scores[:, 1:]  # (n, l), (n, k, l)

    def of_negatives(self, groups: Tensor, n_negatives: int) -> Tensor:
        """Say which groups the negatives are of: those of the next samples."""
        shifts = range(1, n_negatives + 1)
        return torch.stack([groups.roll(-shift) for shift in shifts], dim=1)


class CosineCritic(Critic):
    r"""Cosine of the global features of two views, behind a projection head if needed.

    The head may discard what the two views do not share; the features before it keep
    that. Encoders that end in a trained linear layer need no head.

    Parameters
    ----------
    n_components : int
        Size d of the global features.
    has_head : bool, default=False
        Whether to compare the features behind a head with one hidden layer.
    n_hidden : int, default=512
        Units of the hidden layer of the head.
    n_units : int, default=128
        Dimensions of the space that the head maps to.
    temperature : float, default=0.5
        Divides the similarities.

    Notes
    -----
    .. math:: T(x, y) = \frac{h(x)^\top h(y)}{\tau \, \|h(x)\| \, \|h(y)\|}

    with the temperature :math:`\tau` and the head h, or h(x) = x without one. `embed`
    returns ``h(x) / |h(x)|``, (n, u); forward takes as ``local`` that of one view as
    (n, u, 1), one location, and as ``global_`` that of the other. ``negative`` is
    (n, n, 1).

    References
    ----------
    T. Chen, S. Kornblith, M. Norouzi, G. Hinton (2020). A Simple Framework for
    Contrastive Learning of Visual Representations. arXiv:2002.05709.

    Examples
    --------
    >>> import torch
    >>> critic = CosineCritic(n_components=16, has_head=True)
    >>> a, b = critic.embed(torch.randn(3, 16)), critic.embed(torch.randn(3, 16))
    >>> positive, negative = critic(a.unsqueeze(2), b)
    >>> positive.shape, negative.shape, bool(positive.abs().max() <= 2)
    (torch.Size([3, 1]), torch.Size([3, 3, 1]), True)
    """

    def __init__(
        self,
        n_components: int,
        *,
        has_head: bool = False,
        n_hidden: int = 512,
        n_units: int = 128,
        temperature: float = 0.5,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.head: nn.Module = nn.Identity()
        if not has_head:
            return
        self.head = nn.Sequential(
            nn.Linear(n_components, n_hidden, bias=False),
            nn.BatchNorm1d(n_hidden),
            nn.ReLU(),
            nn.Linear(n_hidden, n_units, bias=False),
            nn.BatchNorm1d(n_units, affine=False),
        )

    def embed(self, global_: Tensor) -> Tensor:
        """Map global features (n, d) to unit vectors (n, u)."""
        return normalize(self.head(global_).float(), dim=1)

    def forward(self, local: Tensor, global_: Tensor) -> tuple[Tensor, Tensor]:
        """Score all pairs of the batch, both sides embedded."""
        with torch.autocast(global_.device.type, enabled=False):
            scores = global_ @ local[:, :, 0].T / self.temperature
        return split_scores(scores.unsqueeze(2))


class BoundInBlocks(torch.autograd.Function):
    """Bound of all pairs of embedded features, some rows of the scores at a time.

    The rows are those of all samples, or of the share of them that begins at `first`.
    """

    @staticmethod
    def forward(
        ctx: Any, bound: Bound, local: Tensor, global_: Tensor, first: int = 0
    ) -> Tensor:
        ctx.bound, ctx.first = bound, first
        ctx.save_for_backward(local, global_)
        blocks = _score_rows(local, global_, first)
        values = [share_of_bound(bound, local, *block) for block in blocks]
        return torch.stack(values).sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        # Detached, or the sums below would record a graph that holds all scores.
        local, global_ = (saved.detach() for saved in ctx.saved_tensors)
        flat = local.flatten(0, 1)
        of_flat = torch.zeros_like(flat)
        of_global = torch.empty_like(global_)
        for first, scores in _score_rows(local, global_, ctx.first):
            with torch.enable_grad():
                value = share_of_bound(ctx.bound, local, first, scores.requires_grad_())
            (of_scores,) = torch.autograd.grad(value, [scores], gradients)
            rows = slice(first - ctx.first, first - ctx.first + len(scores))
            of_flat.addmm_(of_scores.T, global_[rows])
            of_global[rows] = of_scores @ flat
        return None, of_flat.view_as(local), of_global, None


def _score_rows(
    local: Tensor, global_: Tensor, first: int
) -> Iterator[tuple[int, Tensor]]:
    """Yield blocks of rows of the scores: the number of the first, and (m, n l)."""
    n_rows = max(1, block_scores(local.device) // local[..., 0].numel())
    for start in range(0, len(global_), n_rows):
        yield first + start, global_[start : start + n_rows] @ local.flatten(0, 1).T


def share_of_bound(bound: Bound, local: Tensor, first: int, scores: Tensor) -> Tensor:
    """Return what a block of rows adds to the bound, which is a mean over rows."""
    positive, negative = _split_pairs(scores, local.shape[1], first)
    if isinstance(bound, BetweenGroups):
        bound = partial(bound, first=first)
    return bound(positive, negative) * (len(scores) / len(local))


def bound_in_blocks(
    critic: DotCritic, bound: Bound, local: Tensor, global_: Tensor
) -> Tensor:
    """Evaluate ``bound(*critic(local, global_))`` without holding all scores.

    Parameters
    ----------
    critic : DotCritic
        Its scores of a pair do not depend on other pairs.
    bound : callable
        One of `sk_dim.bounds.ROW_MEANS`; between groups only `infonce`.
    local : Tensor of shape (n, c, l)
        Local features.
    global_ : Tensor of shape (n, d)
        Global features.

    Returns
    -------
    Tensor of shape ()
        The same value and gradients, in memory for a few blocks of `BLOCK_SCORES`.

    Examples
    --------
    >>> import torch
    >>> from sk_dim.bounds import infonce
    >>> critic = DotCritic(n_local_channels=32, n_components=16)
    >>> features = torch.randn(5, 32, 9), torch.randn(5, 16)
    >>> plain = infonce(*critic(*features))
    >>> in_blocks = bound_in_blocks(critic, infonce, *features)
    >>> torch.testing.assert_close(in_blocks, plain)
    """
    local, global_ = critic.embed(local, global_, in_blocks=True)
    with torch.autocast(global_.device.type, enabled=False):
        return BoundInBlocks.apply(bound, local, global_)


def bound_of_views(
    bound: Bound, local: Tensor, global_: Tensor, n_views: int
) -> Tensor:
    """Compute the mean bound over views, each of which has negatives of its own.

    Parameters
    ----------
    bound : callable
        ``bound(positive, negative) -> Tensor of shape ()`` in nats.
    local : Tensor of shape (v n, l, u)
        Embedded local features of n samples in the first view, in the second, and so
        on.
    global_ : Tensor of shape (v n, u)
        Embedded global features that they go with.
    n_views : int
        How many views v there are.

    Returns
    -------
    Tensor of shape ()
        In nats.
    """
    n, n_locations = len(local) // n_views, local.shape[1]
    with torch.autocast(local.device.type, enabled=False):
        keys = local.view(n_views, n * n_locations, -1).transpose(1, 2)
        scores = torch.bmm(global_.view(n_views, n, -1), keys)  # (v, n, n l)
    scores = scores.view(n_views, n, n, n_locations)
    positive = scores.diagonal(dim1=1, dim2=2).transpose(1, 2).flatten(0, 1)
    own = torch.eye(n, dtype=torch.bool, device=scores.device).unsqueeze(2)
    negative = scores.masked_fill(own, -math.inf).view(len(local), -1, 1)
    if is_row_mean(bound):  # and all rows have as many negatives
        return _value(bound, positive, negative)
    parts = zip(positive.split(n), negative.split(n), strict=True)
    return torch.stack([_value(bound, *part) for part in parts]).mean()


CRITICS: dict[str, Callable[[int, int], nn.Module]] = {
    "dot": DotCritic,
    "concat": ConcatCritic,
}
