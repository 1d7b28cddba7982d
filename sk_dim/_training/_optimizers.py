"""The optimisers of a net: of encoder and critics, and of the prior's adversary."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from sk_dim.encoders._contract import trait
from sk_dim.objective import Objective

ADVERSARY_LEARNING_RATE = 1e-3
ON_DEVICE = ("lr", "fused", "capturable", "foreach")  # how it computes


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
    encoder: nn.Module,
    objective: Objective,
    learning_rate: float,
    *,
    device: torch.device,
) -> list[torch.optim.Optimizer]:
    """Build the optimiser of encoder and critics, then the adversary's, if any.

    Those of a GPU can be recorded: they keep their rates on it.
    """
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
    is_gpu = device.type == "cuda"
    how: dict[str, Any] = {"fused": device.type != "mps", "capturable": is_gpu}
    if is_gpu:
        for group in main:
            group["lr"] = torch.tensor(group["lr"], device=device)
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(main, weight_decay=1e-2, **how)
    ]
    adversary = adversary_parameters(objective)
    if adversary:
        rate = ADVERSARY_LEARNING_RATE
        adam = torch.optim.Adam(adversary, lr=rate, betas=(0.5, 0.999), **how)
        optimizers.append(adam)
    return optimizers


def set_rates(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of each group: its factor times this one."""
    for group in optimizer.param_groups:
        own = group["factor"] * rate
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(own)
        else:
            group["lr"] = own


def load_moments(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a state of another device, but not how an optimiser computes on it."""
    groups = optimizer.param_groups
    own = [{name: group[name] for name in ON_DEVICE} for group in groups]
    optimizer.load_state_dict(state)
    for group, settings in zip(optimizer.param_groups, own, strict=True):
        group.update(settings)


def forget_moments(*optimizers: torch.optim.Optimizer) -> None:
    """Free what only a training that goes on needs: three times the weights."""
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
        optimizer.state.clear()
