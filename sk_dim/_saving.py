"""A fitted net as numpy arrays, to be pickled without the net."""

import io
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sk_dim._design import Design
from sk_dim._inputs import Scaling
from sk_dim._net import InfomaxNet


def pack_net(net: InfomaxNet, can_resume: bool) -> dict[str, Any]:
    """All that a fitted net knows, as numpy arrays on the CPU.

    Critics are kept for scores; optimisers, adversary and generators only where the
    training may go on.
    """
    objective = net.criterion_.state_dict()
    if net.criterion_.has_adversary and not can_resume:
        objective = {k: v for k, v in objective.items() if not k.startswith("prior.")}
    packed: dict[str, Any] = {
        "encoder": _to_arrays(net.module_.state_dict()),
        "objective": _to_arrays(objective),
        "scaling": (net.scaling.mean.numpy(), net.scaling.std.numpy()),
        "seed": net.seed,
    }
    if can_resume:
        resume = {
            "optimizer": net.optimizer_.state_dict(),
            "shuffler": net.shuffler.get_state(),
            "generator": net.generator.get_state(),
            "n_steps": net.n_steps,
            "history": net.history.to_list(),
        }
        if net.criterion_.has_adversary:
            resume["adversary_optimizer"] = net.adversary_optimizer_.state_dict()
        buffer = io.BytesIO()
        torch.save(resume, buffer)
        packed["resume"] = buffer.getvalue()
    return packed


def unpack_net(
    packed: dict[str, Any], design: Design, device: torch.device, precision: str
) -> InfomaxNet:
    """Build the net that `pack_net` packed, on another device if need be."""
    mean, std = (torch.from_numpy(array) for array in packed["scaling"])
    net = design.build(Scaling(mean, std, device), precision, packed["seed"])
    net.module_.load_state_dict(_to_tensors(packed["encoder"]))
    # Without its adversary, where the training is not to go on.
    net.criterion_.load_state_dict(_to_tensors(packed["objective"]), strict=False)
    if "resume" in packed:
        resume = torch.load(
            io.BytesIO(packed["resume"]), map_location="cpu", weights_only=True
        )
        net.optimizer_.load_state_dict(resume["optimizer"])
        if "adversary_optimizer" in resume:
            net.adversary_optimizer_.load_state_dict(resume["adversary_optimizer"])
        net.shuffler.set_state(resume["shuffler"])
        if device.type == "cpu":
            net.generator.set_state(resume["generator"])
        net.n_steps = resume["n_steps"]
        net.history.extend(resume["history"])
    return net


def _to_arrays(state: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Tensors to arrays; bfloat16, which numpy lacks, as float32, which holds it."""
    tensors = {name: tensor.detach().cpu() for name, tensor in state.items()}
    return {
        name: (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
        for name, tensor in tensors.items()
    }


def _to_tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.tensor(array) for name, array in arrays.items()}
