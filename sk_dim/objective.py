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
the other, and the global term is between the global features of the two. Tasks, see
:mod:`sk_dim.tasks`, add terms of their own.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from sk_dim._contrast import (
    EMBEDDING,
    contrast,
    draw_locations,
    locations,
    mean,
    one_vector,
    vectors,
)
from sk_dim.bounds import ROW_MEANS, infonce
from sk_dim.critics import CosineCritic, check_pairs
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
        Under "local", "global" and "prior", and the names of tasks; a term of weight 0
        is not built.
    has_head : bool, default=False
        Whether the global features of two views are compared behind a head.
    tasks : mapping of str to callable, default=None
        ``task(features, bound, critic) -> nn.Module``, see :mod:`sk_dim.tasks`.

    Attributes
    ----------
    critics : nn.ModuleDict
        Under "local" and "global", where the weight is not 0.
    prior : nn.Module or None
        None where the weight is 0.
    tasks : nn.ModuleDict
        By name.

    Raises
    ------
    ValueError
        If the prior is of one vector for each sample and the encoder makes several, or
        if a task cannot be done with these features.

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
        tasks: Mapping[str, Callable[..., nn.Module]] | None = None,
    ) -> None:
        super().__init__()
        self.bound = bound
        self.weights = {name: weight for name, weight in weights.items() if weight > 0}
        n_components = features.code.shape[1]
        local = locations(features.local)
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
        if self.has_adversary and features.code.ndim > 2:
            raise ValueError(
                f"prior={prior!r} is of one vector for each sample, and this encoder "
                "has a map of global features; use prior='noise', or prior_weight=0."
            )
        self.tasks = nn.ModuleDict(
            {
                name: task(features, bound, critic)
                for name, task in (tasks or {}).items()
                if name in self.weights
            }
        )

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
        if ranks is not None and groups is not None:
            groups = ranks.gather([groups])[0]
        if ranks is not None and not self.is_divisible(groups is not None):
            views, ranks = self._gather(views, ranks), None
        codes = [view.code for view in views]
        if self.prior is not None:
            matched = [self.prior(code, generator) for code in codes]
            codes = [code for code, _ in matched]
            terms["prior"] = mean([term for _, term in matched])
        # Each view's global features with the local ones of the other (or its own).
        partners = codes[::-1]
        if "local" in self.critics:
            critic = self.critics["local"]
            maps = [locations(view.local) for view in views]
            maps = draw_locations(critic, maps, generator)
            if codes[0].ndim > 2:
                several = [locations(code) for code in partners]
                partners = draw_locations(critic, several, generator)
            terms["local"] = contrast(critic, self.bound, maps, partners, groups, ranks)
        if "global" in self.critics:
            terms["global"] = self._global_term(views, codes, groups, ranks)
        for name, task in self.tasks.items():
            terms[name] = task(views, generator, groups)
        return terms

    def _global_term(
        self,
        views: Sequence[Features],
        codes: list[Tensor],
        groups: Tensor | None,
        ranks: Any,
    ) -> Tensor:
        critic = self.critics["global"]
        if len(views) == 2:
            # Both views in one pass through the head, for either direction.
            both = cast(CosineCritic, critic).embed(
                torch.cat(list(map(one_vector, codes)))
            )
            wholes = list(both.chunk(2))
            codes = wholes[::-1]
        else:
            wholes = [view.local.flatten(1) for view in views]
        wholes = [whole.unsqueeze(2) for whole in wholes]
        return contrast(critic, self.bound, wholes, codes, groups, ranks)

    def _gather(self, views: Sequence[Features], ranks: Any) -> list[Features]:
        """Return what the terms need of views of all rows, whichever rank has them."""
        found = []
        for view in views:
            code, local = ranks.gather([view.code, view.local])
            conv = view.conv if self.tasks else None
            if conv is not None:
                conv = ranks.gather([conv])[0]
            found.append(Features(code, None, conv, local))
        return found

    def is_divisible(self, has_groups: bool) -> bool:
        """Say whether each of several processes may score its own rows only.

        So it is for critics that compare embedded features, and means over rows.
        """
        bounds = (infonce,) if has_groups else ROW_MEANS
        is_ours = all(type(each) in EMBEDDING for each in self.critics.values())
        has_parts = self.prior is not None or len(self.tasks) > 0
        return not has_parts and self.bound in bounds and is_ours

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
        code = self._codes(features)[0]
        wholes = features.local.flatten(1).unsqueeze(2)
        for name, critic in self.critics.items():
            if not isinstance(critic, CosineCritic):
                local = locations(features.local) if name == "local" else wholes
                check_pairs(critic, local, code)

    @property
    def has_adversary(self) -> bool:
        """Whether a discriminator is to be trained, by its own optimiser."""
        return isinstance(self.prior, AdversarialPrior)

    def local_scores(self, features: Features) -> Tensor:
        """Score each location of a sample with its own global features, (n, l)."""
        local, critic = locations(features.local), self.critics["local"]
        return mean([critic(local, code)[0] for code in self._codes(features)])

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
            In nats, mean over the locations (and over several global vectors), at most
            log of `n_candidates`.
        """
        bounds = []
        for code in self._codes(features):
            for local in locations(features.local).split(1, dim=2):
                positive, negative = self._score_with_others(
                    local, code, n_candidates - 1
                )
                n_negatives = (~negative.isneginf()).sum(1)
                log_mean_exp = negative.logsumexp(1) - n_negatives.log()
                log_partition = torch.logaddexp(
                    positive, log_mean_exp + math.log(n_candidates - 1)
                )
                bounds.append(positive - log_partition + math.log(n_candidates))
        return mean(bounds)

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

    def _codes(self, features: Features) -> tuple[Tensor, ...]:
        """Return the global features as the critics see them, one vector or several."""
        code = features.code
        if self.prior is not None:
            code = self.prior(code, None)[0]
        return vectors(code)
