r"""The objective of Deep InfoMax: weighted terms of one or two views.

Equation 8 of the paper maximises

.. math:: \alpha\, I(X; E(X)) + \frac{\beta}{L} \sum_l I(X^{(l)}; E(X))
          - \gamma\, D(V \,\|\, E(X))

over the encoder E and the critics: the *global* term between the whole sample and its
global features, the *local* term between each of L locations and the global features,
and the *prior* term, which brings the global features to a prior V. The weights
:math:`\alpha, \beta, \gamma` are ``global_weight``, ``local_weight`` and
``prior_weight``. DIM(L) is (0, 1, 0.1), DIM(G) is (1, 0, 1).

With two views of each sample, the local features of one go with the global features of
the other, and the global term is between the global features of the two.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from sk_dim import critics
from sk_dim.bounds import ROW_MEANS, BetweenGroups, infonce
from sk_dim.critics import (
    BoundInBlocks,
    CosineCritic,
    Critic,
    DotCritic,
    check_pairs,
    share_of_bound,
)
from sk_dim.encoders._contract import Features
from sk_dim.priors import PRIORS, AdversarialPrior

__all__ = ["Objective"]


class Objective(nn.Module):
    """Terms of the objective, with the critics and the prior that they need.

    Parameters
    ----------
    features : Features
        What the encoder made of any batch; only shapes are read.
    n_views : {1, 2}
        Views of each sample.
    bound : callable
        ``bound(positive, negative) -> Tensor of shape ()`` in nats.
    critic : callable
        ``critic(n_local_channels, n_components) -> nn.Module``. Builds the critic of
        the local term and, with one view, that of the global term, for which the whole
        map is one location. With two views that is a :class:`CosineCritic`.
    prior : {"uniform", "normal", "noise"}
        Distribution of the global features.
    weights : dict of float
        Under "local", "global" and "prior"; a term of weight 0 is not built.
    has_head : bool, default=False
        Whether the global features of two views are compared behind a head.

    Attributes
    ----------
    critics : nn.ModuleDict
        Under "local" and "global", where the weight is not 0.
    prior : nn.Module or None
        None where the weight is 0.

    References
    ----------
    R. D. Hjelm et al. (2018). Learning deep representations by mutual information
    estimation and maximization. arXiv:1808.06670.

    Examples
    --------
    >>> import torch
    >>> from sk_dim.bounds import infonce
    >>> from sk_dim.critics import DotCritic
    >>> from sk_dim.encoders import ConvEncoder
    >>> features = ConvEncoder((1, 8, 8), n_components=16)(torch.rand(4, 1, 8, 8))
    >>> weights = {"local": 1.0, "global": 0.0, "prior": 0.0}
    >>> objective = Objective(features, 1, infonce, DotCritic, "uniform", weights)
    >>> terms = objective([features], None)
    >>> sorted(terms), bool(objective.loss(terms) == -terms["local"])
    (['local'], True)
    """

    def __init__(
        self,
        features: Features,
        n_views: int,
        bound: Callable[[Tensor, Tensor], Tensor],
        critic: Callable[[int, int], nn.Module],
        prior: str,
        weights: dict[str, float],
        *,
        has_head: bool = False,
    ) -> None:
        super().__init__()
        self.bound = bound
        self.weights = {name: weight for name, weight in weights.items() if weight > 0}
        n_components = features.code.shape[1]
        local = locations(features)
        self.critics = nn.ModuleDict()
        if "local" in self.weights:
            self.critics["local"] = critic(local.shape[1], n_components)
        if "global" in self.weights and n_views == 1:
            self.critics["global"] = critic(local[0].numel(), n_components)
        elif "global" in self.weights:
            self.critics["global"] = CosineCritic(n_components, has_head=has_head)
        self.prior = None
        if "prior" in self.weights:
            self.prior = PRIORS[prior](n_components, weights["prior"])

    def forward(
        self,
        views: Sequence[Features],
        generator: torch.Generator | None,
        groups: Tensor | None = None,
        ranks: Any = None,
    ) -> dict[str, Tensor]:
        """Evaluate the terms.

        Parameters
        ----------
        views : sequence of one or two Features
            Of the same n samples.
        generator : torch.Generator or None
            Draws locations and noise, on the device of the features.
        groups : Tensor of shape (n,) or None, default=None
            Codes of groups, whose samples are no negatives of one another.
        ranks : Ranks or None, default=None
            The processes that the batch is divided among: views and groups are those of
            the rows of this one, terms of all rows.

        Returns
        -------
        dict of Tensor of shape ()
            In nats, larger is better, under the names of the weights.
        """
        terms: dict[str, Tensor] = {}
        gather: Callable[[Sequence[Tensor]], list[Tensor]] = list
        if ranks is not None and groups is not None:
            groups = ranks.gather([groups])[0]
        if ranks is not None and not self.is_divisible(groups is not None):
            gather, ranks = ranks.gather, None
        codes = gather([view.code for view in views])
        if self.prior is not None:
            matched = [self.prior(code, generator) for code in codes]
            codes = [code for code, _ in matched]
            terms["prior"] = _mean([term for _, term in matched])
        # Each view's global features with the local ones of the other (or its own).
        partners = codes[::-1]
        if "local" in self.critics:
            local = self._sample_locations([locations(v) for v in views], generator)
            local = gather(local)
            terms["local"] = self._bound("local", local, partners, groups, ranks)
        if "global" in self.critics:
            if len(views) == 2:
                # Both views in one pass through the head, for either direction.
                critic = cast(CosineCritic, self.critics["global"])
                both = critic.embed(torch.cat(codes))
                wholes = list(both.chunk(2))
                partners = wholes[::-1]
            else:
                wholes = gather([view.local.flatten(1) for view in views])
            wholes = [whole.unsqueeze(2) for whole in wholes]
            terms["global"] = self._bound("global", wholes, partners, groups, ranks)
        return terms

    def is_divisible(self, has_groups: bool) -> bool:
        """Say whether each of several processes may score its own rows only.

        So it is for critics that compare embedded features, and means over rows.
        """
        bounds = (infonce,) if has_groups else ROW_MEANS
        is_ours = all(type(each) in EMBEDDING for each in self.critics.values())
        return self.prior is None and self.bound in bounds and is_ours

    def loss(self, terms: dict[str, Tensor]) -> Tensor:
        """Negate the weighted sum of the terms: the only minus sign in the package."""
        return -torch.stack([self.weights[k] * v for k, v in terms.items()]).sum()

    @torch.no_grad()
    def check_groups(self, features: Features) -> None:
        """Check that critics can tell groups apart, on some features.

        Parameters
        ----------
        features : Features
            Of a few samples.

        Raises
        ------
        ValueError
            If it is not known which samples the negatives of a critic are of.
        """
        self.eval()
        codes = self._codes(features)
        wholes = features.local.flatten(1).unsqueeze(2)
        for name, critic in self.critics.items():
            if not isinstance(critic, CosineCritic):
                local = locations(features) if name == "local" else wholes
                check_pairs(critic, local, codes)

    @property
    def has_adversary(self) -> bool:
        """Whether a discriminator is to be trained, by its own optimiser."""
        return isinstance(self.prior, AdversarialPrior)

    def local_scores(self, features: Features) -> Tensor:
        """Score each location of a sample with its own global features, (n, l)."""
        return self.critics["local"](locations(features), self._codes(features))[0]

    def candidate_bound(self, features: Features, n_candidates: int) -> Tensor:
        """Bound the local term for a fixed number of candidates, by infoNCE.

        Parameters
        ----------
        features : Features
            Of n samples, from one view, in evaluation mode.
        n_candidates : int
            What each location is told apart from, itself included: the same location of
            other samples. With fewer samples they count several times, so that values
            can be compared over n.

        Returns
        -------
        Tensor of shape (n,)
            In nats, mean over the locations, at most log of `n_candidates`.
        """
        codes = self._codes(features)
        bounds = []
        for local in locations(features).split(1, dim=2):
            positive, negative = self._score_with_others(local, codes, n_candidates - 1)
            log_mean_exp = negative.logsumexp(1) - (~negative.isneginf()).sum(1).log()
            log_partition = torch.logaddexp(
                positive, log_mean_exp + math.log(n_candidates - 1)
            )
            bounds.append(positive - log_partition + math.log(n_candidates))
        return torch.stack(bounds).mean(0)

    def _score_with_others(
        self, local: Tensor, codes: Tensor, n_others: int
    ) -> tuple[Tensor, Tensor]:
        """Scores (n,) of own pairs and (n, k) of pairs with up to `n_others` others."""
        critic = self.critics["local"]
        positive, negative = critic(local, codes)
        negative = negative.flatten(1)
        n_others = min(n_others, len(codes) - 1)
        if int((~negative.isneginf()).sum(1).min()) < n_others:
            # A critic with few negatives: its positives of other pairs are scores too.
            negative = torch.cat(
                [
                    critic(local.roll(-shift, 0), codes)[0]
                    for shift in range(1, n_others + 1)
                ],
                dim=1,
            )
        return positive[:, 0], negative

    def _codes(self, features: Features) -> Tensor:
        """Return the global features as the critics see them."""
        if self.prior is None:
            return features.code
        return self.prior(features.code, None)[0]

    def _sample_locations(
        self, local: list[Tensor], generator: torch.Generator | None
    ) -> list[Tensor]:
        """Keep as many random locations as the critic wants, in training."""
        n_locations = local[0].shape[2]
        n_wanted = getattr(self.critics["local"], "n_locations", None) or n_locations
        if not self.training or n_wanted >= n_locations:
            return local
        drawn = torch.rand(n_locations, generator=generator, device=local[0].device)
        order = drawn.topk(n_wanted).indices  # randperm may not be recorded on a GPU
        # Where channels are last, whole vectors are copied, and so are gradients.
        return [
            each.transpose(1, 2).index_select(1, order).transpose(1, 2)
            for each in local
        ]

    def _bound(
        self,
        name: str,
        local: list[Tensor],
        codes: list[Tensor],
        groups: Tensor | None,
        ranks: Any,
    ) -> Tensor:
        """Mean bound over the views."""
        critic = self.critics[name]
        evaluate = _method(critic, "evaluate")
        bound = self.bound
        if groups is not None:
            bound = BetweenGroups(bound, groups, _method(critic, "of_negatives"))
        pairs = list(zip(local, codes, strict=True))
        if ranks is not None:
            return _divided(bound, [embed(critic, *pair) for pair in pairs], ranks)
        n_scores = len(pairs) * len(codes[0]) * local[0][:, 0].numel()
        is_small = n_scores <= critics.max_scores(local[0].device)
        if groups is None and is_small and type(critic) in EMBEDDING:
            # All views in one pass: half the calls.
            vectors = torch.cat([each.transpose(1, 2) for each in local])
            both = embed(critic, vectors.transpose(1, 2), torch.cat(codes))
            return critics.bound_of_views(bound, *both, len(pairs))
        return _mean([evaluate(bound, *pair) for pair in pairs])


# Critics whose scores are products of what they embed of either side.
EMBEDDING = (DotCritic, CosineCritic)


def embed(critic: nn.Module, local: Tensor, global_: Tensor) -> tuple[Tensor, Tensor]:
    """Embed local (n, l, u) and global features (n, u), whose products are scores."""
    if isinstance(critic, DotCritic):
        return critic.embed(local, global_)
    temperature = cast(CosineCritic, critic).temperature
    return local.transpose(1, 2), global_ / temperature  # which are embedded already


def _divided(
    bound: Callable[..., Tensor], pairs: list[tuple[Tensor, Tensor]], ranks: Any
) -> Tensor:
    """Mean bound over views of embedded features, of which each rank has some rows."""
    first = ranks.own_rows().start
    values = []
    everywhere = ranks.gather_work([local for local, _ in pairs])
    with torch.autocast(everywhere[0].device.type, enabled=False):
        for local, (_, own) in zip(everywhere, pairs, strict=True):
            n_scores = len(own) * local[..., 0].numel()
            if n_scores > critics.max_scores(own.device):
                values.append(BoundInBlocks.apply(bound, local, own, first))
            else:
                scores = own @ local.flatten(0, 1).T
                values.append(share_of_bound(bound, local, first, scores))
    return ranks.add_work(_mean(values))


def _method(critic: nn.Module, name: str) -> Callable[..., Tensor]:
    """Return a method of a critic; one of the user may be a plain module."""
    default = partial(getattr(Critic, name), cast(Critic, critic))
    return getattr(critic, name, default)


def locations(features: Features) -> Tensor:
    """View the local features as (n, c, l), whatever axes the locations have."""
    return features.local.reshape(*features.local.shape[:2], -1)


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean()
