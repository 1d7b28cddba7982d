"""Bounds between maps of features, whoever asks for them: over views and in parts.

A *map* is (n, c, l), one vector of c channels for each of l locations. *Codes* are what
each location is told by: (n, d), one vector for each sample, or (n, d, g), g of them.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from sk_dim import critics
from sk_dim.bounds import BetweenGroups
from sk_dim.critics import (
    Bound,
    BoundInBlocks,
    CosineCritic,
    Critic,
    DotCritic,
    share_of_bound,
)

# Critics whose scores are products of what they embed of either side.
EMBEDDING = (DotCritic, CosineCritic)


def contrast(
    critic: nn.Module,
    bound: Bound,
    maps: Sequence[Tensor],
    codes: Sequence[Tensor],
    groups: Tensor | None = None,
    ranks: Any = None,
) -> Tensor:
    """Bound what codes tell of maps: mean over the views, and over all codes of each.

    Parameters
    ----------
    critic : nn.Module
        Scores pairs.
    bound : callable
        ``bound(positive, negative) -> Tensor of shape ()`` in nats.
    maps : sequence of Tensor of shape (n, c, l)
        Of each view.
    codes : sequence of Tensor of shape (n, d) or (n, d, g)
        What goes with each of the maps.
    groups : Tensor of shape (n,) or None, default=None
        Codes of groups, whose samples are no negatives of one another.
    ranks : Ranks or None, default=None
        The processes that the batch is divided among: maps and codes are those of the
        rows of this one, the bound is of all rows.

    Returns
    -------
    Tensor of shape ()
        In nats.
    """
    evaluate = method(critic, "evaluate")
    if groups is not None:
        bound = BetweenGroups(bound, groups, method(critic, "of_negatives"))
    pairs = [
        (each, vector)
        for each, several in zip(maps, codes, strict=True)
        for vector in vectors(several)
    ]
    if ranks is not None:
        return _divided(bound, [embed(critic, *pair) for pair in pairs], ranks)
    n_scores = len(pairs) * len(codes[0]) * maps[0][:, 0].numel()
    is_small = n_scores <= critics.max_scores(maps[0].device)
    if groups is None and is_small and type(critic) in EMBEDDING:
        # All views in one pass: half the calls.
        places = torch.cat([each.transpose(1, 2) for each in maps])
        told_by = torch.cat([vector for _, vector in pairs])
        embedded, by = embed(critic, places.transpose(1, 2), told_by)
        n_codes = len(pairs) // len(maps)
        if n_codes > 1:  # of which each meets the whole map
            each_map = embedded.unflatten(0, (len(maps), -1))
            embedded = each_map.repeat_interleave(n_codes, dim=0).flatten(0, 1)
        return critics.bound_of_views(bound, embedded, by, len(pairs))
    return mean([evaluate(bound, *pair) for pair in pairs])


def embed(critic: nn.Module, local: Tensor, global_: Tensor) -> tuple[Tensor, Tensor]:
    """Embed local (n, l, u) and global features (n, u), whose products are scores."""
    if isinstance(critic, DotCritic):
        return critic.embed(local, global_)
    temperature = cast(CosineCritic, critic).temperature
    return local.transpose(1, 2), global_ / temperature  # which are embedded already


def _divided(bound: Bound, pairs: list[tuple[Tensor, Tensor]], ranks: Any) -> Tensor:
    """Mean bound over pairs of embedded features, of which each rank has some rows."""
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
    return ranks.add_work(mean(values))


def method(critic: nn.Module, name: str) -> Callable[..., Tensor]:
    """Return a method of a critic; one of the user may be a plain module."""
    default = partial(getattr(Critic, name), cast(Critic, critic))
    return getattr(critic, name, default)


def locations(layer: Tensor) -> Tensor:
    """View a layer of features as a map (n, c, l), whatever axes its locations have."""
    return layer.reshape(*layer.shape[:2], -1)


def vectors(code: Tensor) -> tuple[Tensor, ...]:
    """Return the vectors (n, d) of a code, one or several."""
    return (code,) if code.ndim == 2 else locations(code).unbind(2)


def one_vector(code: Tensor) -> Tensor:
    """Return a code as one vector (n, d), the mean of several."""
    return code if code.ndim == 2 else locations(code).mean(2)


def draw_locations(
    critic: nn.Module, maps: list[Tensor], generator: torch.Generator | None
) -> list[Tensor]:
    """Keep as many random locations of maps (n, c, l) as a critic wants, in training.

    They are the same in all of the maps, which have equal sizes.
    """
    n_locations = maps[0].shape[2]
    n_wanted = getattr(critic, "n_locations", None) or n_locations
    if not critic.training or n_wanted >= n_locations:
        return maps
    drawn = torch.rand(n_locations, generator=generator, device=maps[0].device)
    order = drawn.topk(n_wanted).indices  # randperm may not be recorded on a GPU
    # Where channels are last, whole vectors are copied, and so are gradients.
    return [
        each.transpose(1, 2).index_select(1, order).transpose(1, 2) for each in maps
    ]


def mean(values: list[Tensor]) -> Tensor:
    """Return the mean of tensors of equal shapes."""
    return torch.stack(values).mean(0)
