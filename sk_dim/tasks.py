"""Tasks: what an encoder can be trained for beside the three terms of the objective.

A task is built as ``task(features, bound, critic)``, from what the encoder made of any
batch, and from the bound and the critic of the estimator. It is a module whose forward
takes the features of the views, a generator and the codes of groups (or None), and
returns one number, in nats, which is larger where the task is done better.

The class :class:`Task` says what else a task may have: the kinds of samples that it
suits, and how many views it needs. A plain ``torch.nn.Module`` has its defaults.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sk_dim._contrast import contrast, draw_locations, locations, mean, one_vector
from sk_dim.augmentations import unwrap
from sk_dim.critics import Bound
from sk_dim.encoders._contract import Features

__all__ = ["TASKS", "Coordinates", "Multiscale", "RelativeCoordinates", "Task"]


class Task(nn.Module):
    """Base class of tasks, with the defaults of all that a task may have.

    Attributes
    ----------
    kinds : tuple of str
        Kinds of samples that it suits, of "table", "series" and "image".
    n_views : {1, 2}
        Views of each sample that it needs.

    Examples
    --------
    >>> import torch
    >>> from sk_dim.encoders import Features
    >>> class Sparse(Task):
    ...     def __init__(self, features, bound, critic):
    ...         super().__init__()
    ...
    ...     def forward(self, views, generator, groups):
    ...         sizes = [view.global_.abs().mean() for view in views]
    ...         return -torch.stack(sizes).mean()
    >>> features = Features(torch.ones(2, 3), None, None, torch.zeros(2, 3, 5))
    >>> float(Sparse(features, None, None)([features], None, None))
    -1.0
    """

    kinds: tuple[str, ...] = ("image", "series", "table")
    n_views: int = 1


class _Places(Task):
    """Read numbers of places along each axis off what each location is joined to."""

    kinds = ("image", "series")

    def __init__(
        self, n_parts: Sequence[int], n_classes: Sequence[int], n_units: int
    ) -> None:
        super().__init__()
        # The first layer on each part, and their sum, equal a layer on the joined ones.
        self.parts = nn.ModuleList(nn.Linear(n, n_units) for n in n_parts)
        self.norm = nn.LayerNorm(n_units)
        self.heads = nn.ModuleList(nn.Linear(n_units, n) for n in n_classes)

    def _surprise(self, parts: Sequence[Tensor], places: Sequence[Tensor]) -> Tensor:
        """Sum the cross-entropies of places (n, l) over the axes, in nats."""
        joined = [part(each) for part, each in zip(self.parts, parts, strict=True)]
        hidden = self.norm(sum(joined[1:], joined[0])).relu()  # (n, l, u)
        losses = [
            cross_entropy(head(hidden).flatten(0, 1).float(), place.flatten())
            for head, place in zip(self.heads, places, strict=True)
        ]
        return torch.stack(losses).sum()


class Coordinates(_Places):
    r"""Predict where each local feature is, from it and the global features.

    The encoder then keeps in either of them where things are.

    Parameters
    ----------
    features : Features
        What the encoder made of any batch; only shapes are read.
    bound, critic : callable
        Not used.
    n_units : int, default=512
        Of the hidden layer.

    Notes
    -----
    .. math:: \mathbb{E}\Big[\sum_a \log p_a(i_a \mid y, c_i)\Big] + \sum_a \log s_a
              \le I(i; y, c_i)

    Location i has the number :math:`i_a` on axis a, which is :math:`s_a` long, its own
    classifier :math:`p_a`, and local features :math:`c_i`; y are the global features of
    the same view, or the mean of several. *Bias*: a lower bound on what these tell of
    the location. *Cap*: the logarithm of the number of locations, which is reached
    where the borders of the sample show.

    References
    ----------
    R. D. Hjelm et al. (2018). Learning deep representations by mutual information
    estimation and maximization. arXiv:1808.06670, section 4.3.

    Examples
    --------
    >>> import torch
    >>> from sk_dim.encoders import ConvEncoder
    >>> features = ConvEncoder((1, 8, 8), n_components=16)(torch.rand(4, 1, 8, 8))
    >>> task = Coordinates(features, None, None)
    >>> bool(task([features], None, None) < torch.tensor(16.0).log())
    True
    """

    def __init__(
        self,
        features: Features,
        bound: Bound | None,
        critic: Callable[[int, int], nn.Module] | None,
        *,
        n_units: int = 512,
    ) -> None:
        sides = _sides(features, "coordinates")
        n_parts = features.local.shape[1], features.code.shape[1]
        super().__init__(n_parts, sides, n_units)
        self.most = torch.tensor(sides).log().sum().item()
        numbers = _numbers(features.local)
        self.register_buffer("places", numbers, persistent=False)

    def forward(
        self,
        views: Sequence[Features],
        generator: torch.Generator | None,
        groups: Tensor | None,
    ) -> Tensor:
        """Return how much is known of the locations, in nats."""
        values = []
        for view in views:
            local = locations(view.local).transpose(1, 2)  # (n, l, c)
            code = one_vector(view.code).unsqueeze(1)
            places = self.get_buffer("places")
            places = places.unsqueeze(1).expand(-1, len(local), -1)  # (a, n, l)
            values.append(self.most - self._surprise((local, code), places.unbind()))
        return mean(values)


class RelativeCoordinates(_Places):
    r"""Predict how far two local features of a sample are from one another, and where.

    Unlike :class:`Coordinates` it does not ask where things are in the whole, but how
    they lie beside one another.

    Parameters
    ----------
    features : Features
        What the encoder made of any batch; only shapes are read.
    bound, critic : callable
        Not used.
    n_units : int, default=512
        Of the hidden layer.

    Notes
    -----
    .. math:: \mathbb{E}\Big[\sum_a \log p_a(i_a - j_a \mid y, c_i, c_j)\Big]
              + \sum_a H(i_a - j_a) \le I(i - j; y, c_i, c_j)

    Each location i has a partner j, any location of the same sample with equal
    probability, drawn anew for each batch; the difference along an axis of length s is
    d with probability :math:`(s - |d|) / s^2`, of which H is the entropy. The other
    symbols are those of :class:`Coordinates`. *Bias*: a lower bound on what the
    features tell of the difference. *Cap*: the sum of the entropies.

    References
    ----------
    R. D. Hjelm et al. (2018). Learning deep representations by mutual information
    estimation and maximization. arXiv:1808.06670, section 4.3.

    Examples
    --------
    >>> import torch
    >>> from sk_dim.encoders import ConvEncoder
    >>> features = ConvEncoder((1, 8, 8), n_components=16)(torch.rand(4, 1, 8, 8))
    >>> task = RelativeCoordinates(features, None, None)
    >>> task([features], None, None).shape
    torch.Size([])
    """

    def __init__(
        self,
        features: Features,
        bound: Bound | None,
        critic: Callable[[int, int], nn.Module] | None,
        *,
        n_units: int = 512,
    ) -> None:
        sides = _sides(features, "relative_coordinates")
        n_channels = features.local.shape[1]
        n_parts = n_channels, n_channels, features.code.shape[1]
        super().__init__(n_parts, [2 * side - 1 for side in sides], n_units)
        self.most = sum(_entropy_of_differences(side) for side in sides)
        self.register_buffer("places", _numbers(features.local), persistent=False)
        # So that no number of a difference is negative.
        self.register_buffer("most_before", torch.tensor(sides) - 1, persistent=False)

    def forward(
        self,
        views: Sequence[Features],
        generator: torch.Generator | None,
        groups: Tensor | None,
    ) -> Tensor:
        """Return how much is known of the differences, in nats."""
        values = []
        places = self.get_buffer("places")  # (a, l)
        shift = self.get_buffer("most_before")[:, None, None]
        for view in views:
            local = locations(view.local).transpose(1, 2)  # (n, l, c)
            code = one_vector(view.code).unsqueeze(1)
            n_places = local.shape[1]
            unit = torch.rand(local.shape[:2], generator=generator, device=local.device)
            # In float32 the largest draw can be rounded up to 1.
            other = (unit * n_places).long().clamp_max(n_places - 1)
            partner = local.take_along_dim(other.unsqueeze(2), dim=1)
            differences = places.unsqueeze(1) - places[:, other] + shift  # (a, n, l)
            parts = local, partner, code
            values.append(self.most - self._surprise(parts, differences.unbind()))
        return mean(values)


class Multiscale(Task):
    r"""Tell maps of different scale from one another: the terms that AMDIM adds.

    The local term is between the global features of one view and the first map of
    small parts in the other. This adds the last map, of larger parts: what the global
    features tell of it, and what its locations in one view tell of those in the other.

    Parameters
    ----------
    features : Features
        What the encoder made of any batch; only shapes are read.
    bound : callable
        ``bound(positive, negative) -> Tensor of shape ()`` in nats.
    critic : callable
        ``critic(n_local_channels, n_components) -> nn.Module``; builds both critics.

    Notes
    -----
    .. math:: \frac{1}{2} \big( I(m'; y) + I(m'; m) \big)

    bounded from below, where y and m are the global features and a location of the
    last map in one view, m' a location of it in the other. *Bias* and *cap* are those
    of the bound.

    References
    ----------
    P. Bachman, R. D. Hjelm, W. Buchwalter (2019). Learning Representations by
    Maximizing Mutual Information Across Views. arXiv:1906.00910.

    Examples
    --------
    >>> import torch
    >>> from sk_dim.bounds import infonce
    >>> from sk_dim.critics import DotCritic
    >>> from sk_dim.encoders import ConvEncoder
    >>> features = ConvEncoder((1, 8, 8), n_components=16)(torch.rand(4, 1, 8, 8))
    >>> task = Multiscale(features, infonce, DotCritic)
    >>> task([features, features], None, None).shape
    torch.Size([])
    """

    kinds = ("image", "series")
    n_views = 2

    def __init__(
        self,
        features: Features,
        bound: Bound,
        critic: Callable[[int, int], nn.Module],
    ) -> None:
        super().__init__()
        if features.conv is None:
            raise ValueError(
                "tasks='multiscale' is between locations of the last map, and this "
                "encoder returns none as conv features; leave the task out, or use "
                "encoder='conv'."
            )
        self.bound = bound
        n_channels = features.conv.shape[1]
        self.by_global = critic(n_channels, features.code.shape[1])
        self.by_place = critic(n_channels, n_channels)

    def forward(
        self,
        views: Sequence[Features],
        generator: torch.Generator | None,
        groups: Tensor | None,
    ) -> Tensor:
        """Return the mean of the two bounds, in nats."""
        # Whoever has no conv features was refused.
        maps = [locations(view.conv) for view in views]  # type: ignore[arg-type]
        codes = [one_vector(view.code) for view in views]
        drawn = draw_locations(self.by_global, maps, generator)
        by_global = contrast(self.by_global, self.bound, drawn, codes[::-1], groups)
        drawn = draw_locations(self.by_place, maps, generator)
        told_by = draw_locations(self.by_place, maps, generator)
        by_place = contrast(self.by_place, self.bound, drawn, told_by[::-1], groups)
        return mean([by_global, by_place])


def _sides(features: Features, name: str) -> list[int]:
    """Return the lengths of the axes that the locations differ on."""
    sides = [side for side in features.local.shape[2:] if side > 1]
    if not sides:
        raise ValueError(
            f"tasks={name!r} asks where local features are, and this encoder returns "
            "them for one location only; leave the task out, or use larger samples."
        )
    return sides


def _numbers(local: Tensor) -> Tensor:
    """Give each location its number on every axis longer than 1: (axes, l)."""
    axes = [torch.arange(side, device=local.device) for side in local.shape[2:]]
    numbers = torch.stack(
        [each.flatten() for each in torch.meshgrid(*axes, indexing="ij")]
    )
    return numbers[[side > 1 for side in local.shape[2:]]]


def _entropy_of_differences(side: int) -> float:
    """Entropy, in nats, of the difference of two places on an axis of this length."""
    probabilities = (side - torch.arange(1 - side, side).abs()) / side**2
    return torch.special.entr(probabilities).sum().item()


TASKS: dict[str, Callable[..., nn.Module]] = {
    "coordinates": Coordinates,
    "multiscale": Multiscale,
    "relative_coordinates": RelativeCoordinates,
}


def trait(task: Any, name: str) -> Any:
    """Return an attribute of what builds a task, else the default."""
    return getattr(unwrap(task), name, getattr(Task, name))
