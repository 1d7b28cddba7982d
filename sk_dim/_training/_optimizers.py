"""The optimisers of a net: of encoder and critics, and of the prior's adversary."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from sk_dim.encoders._contract import trait
from sk_dim.objective import Objective

ADVERSARY_LEARNING_RATE = 1e-3


def adversary_parameters(objective: Objective) -> list[Tensor]:
    """Return what the adversary's own optimiser trains."""
    prior = objective.prior if objective.has_adversary else None
    return [] if prior is None else list(prior.parameters())


def main_parameters(
    named: Iterable[tuple[str, Tensor]], objective: Objective
) -> Iterator[tuple[str, Tensor]]:
    """Yield those of some named parameters that the main optimiser trains."""
    theirs = {id(parameter) for parameter in adversary_parameters(objective)}
    for name, parameter in named:
        if id(parameter) not in theirs:
            yield name, parameter


def build_optimizers(
    encoder: nn.Module, objective: Objective, learning_rate: float, *, is_fused: bool
) -> list[torch.optim.Optimizer]:
    """Build the optimiser of encoder and critics, then the adversary's, if any."""
    named = [*encoder.named_parameters(), *objective.named_parameters()]
    factor_of = trait(encoder, "rate_factor")
    groups: dict[float, list[Tensor]] = {1.0: []}
    own = {id(parameter) for parameter in encoder.parameters()}
    for name, parameter in main_parameters(named, objective):
        if parameter.requires_grad:
            factor = factor_of(name) if id(parameter) in own else 1.0
            groups.setdefault(factor, []).append(parameter)
    main = [
        {"params": parameters, "lr": factor * learning_rate, "factor": factor}
        for factor, parameters in groups.items()
        if parameters
    ]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(main, weight_decay=1e-2, fused=is_fused)
    ]
    adversary = adversary_parameters(objective)
    if adversary:
        rate = ADVERSARY_LEARNING_RATE
        optimizers.append(torch.optim.Adam(adversary, lr=rate, betas=(0.5, 0.999)))
    return optimizers


def forget_moments(*optimizers: torch.optim.Optimizer) -> None:
    """Free what only a training that goes on needs: three times the weights."""
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
        optimizer.state.clear()
