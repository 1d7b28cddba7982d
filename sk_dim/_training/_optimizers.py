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
    optimizers: list[torch.optim.Optimizer] = [adam_w(main, device)]
    adversary = adversary_parameters(objective)
    if adversary:
        rate = ADVERSARY_LEARNING_RATE
        betas = 0.5, 0.999
        adam = torch.optim.Adam(adversary, lr=rate, betas=betas, **_how(device))
        optimizers.append(adam)
    return optimizers


def build_layered_optimizer(
    encoder: nn.Module,
    head: nn.Module,
    critics: nn.Module,
    decay: float,
    device: torch.device,
) -> torch.optim.AdamW:
    """Build AdamW with a factor of the learning rate for each layer.

    Each layer of the encoder has `decay` times that of the next one, the last one
    `decay` times that of the head. Critics sit beside the head.
    """
    layers: list[nn.Module] = []
    for child in encoder.children():
        layers += list(child) if isinstance(child, nn.ModuleList) else [child]
    trained = [list(layer.parameters()) for layer in layers]
    trained = [parameters for parameters in trained if parameters]
    trained.append(list(head.parameters()))
    in_layers = {id(p) for parameters in trained for p in parameters}
    # Parameters of the encoder itself, and critics.
    rest = [*encoder.parameters(), *critics.parameters()]
    trained[-1] += [p for p in rest if id(p) not in in_layers]
    rate_factor = trait(encoder, "rate_factor")
    own = {id(each): rate_factor(name) for name, each in encoder.named_parameters()}
    groups: dict[float, list[Tensor]] = {}
    for depth, parameters in enumerate(reversed(trained)):
        for each in parameters:
            factor = decay**depth * own.get(id(each), 1.0)
            groups.setdefault(factor, []).append(each)
    return adam_w(
        [{"params": group, "factor": factor} for factor, group in groups.items()],
        device,
    )


def adam_w(groups: list[dict[str, Any]], device: torch.device) -> torch.optim.AdamW:
    """Build AdamW that can be recorded: on a GPU it keeps its rates there."""
    if device.type == "cuda":
        for group in groups:
            group["lr"] = torch.tensor(group.get("lr", 0.0), device=device)
    return torch.optim.AdamW(groups, weight_decay=1e-2, **_how(device))


def _how(device: torch.device) -> dict[str, Any]:
    return {"fused": device.type != "mps", "capturable": device.type == "cuda"}


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
