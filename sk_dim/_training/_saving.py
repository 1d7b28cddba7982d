"""Copies of a net: in memory, and as numpy arrays and bytes with the way back."""

import copy
import io
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sk_dim._training._net import InfomaxNet
from sk_dim._training._optimizers import load_moments
from sk_dim.objective import Objective


def copy_net(net: InfomaxNet, memo: dict[int, Any] | None = None) -> InfomaxNet:
    """Return a net of the same state that goes its own way, without callbacks.

    Without the memo of a deep copy, callables that a user gave are shared: they are
    called, not changed.
    """
    if memo is None:
        callables = (net.augment, net.criterion_.bound)
        memo = {id(each): each for each in callables}
    # Tensors that a module computed and keeps, as weight_norm does: torch copies none.
    for module in (*net.module_.modules(), *net.criterion_.modules()):
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    attributes = dict(vars(net))
    attributes["callbacks"], attributes["callbacks_"] = None, []
    attributes["graphs"] = None  # which write to the tensors of this net
    copied = type(net).__new__(type(net))
    memo[id(net)] = copied
    copied.__dict__.update(copy.deepcopy(attributes, memo))
    return copied


def pack_progress(net: InfomaxNet, *, with_moments: bool) -> bytes:
    """Pack what a training needs to go on, as a file of torch."""
    buffer = io.BytesIO()
    torch.save(progress_state(net, with_moments=with_moments), buffer)
    return buffer.getvalue()


def progress_state(net: InfomaxNet, *, with_moments: bool) -> dict[str, Any]:
    """Return what a training needs to go on, beside the weights."""
    state = {
        "shuffler": net.shuffler.get_state(),
        "generator": net.generator.get_state(),
        "device_type": net.generator.device.type,
        "n_steps": net.n_steps,
        "history": plain(net.history.to_list()),
    }
    if with_moments:
        state["optimizer"] = net.optimizer_.state_dict()
        if net.criterion_.has_adversary:
            state["adversary"] = net.optimizers[1].state_dict()
    return state


def unpack_progress(net: InfomaxNet, progress: bytes) -> None:
    """Let a net take up what `pack_progress` packed."""
    load_progress(
        net, torch.load(io.BytesIO(progress), map_location="cpu", weights_only=True)
    )


def plain(value: Any) -> Any:
    """Copy numbers, strings, tensors, and lists, tuples and dicts of them.

    Values of other kinds are left out of dicts, because a file with them could run code
    when it is loaded; elsewhere they raise a TypeError.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        copied = {}
        for name, each in value.items():
            with suppress(TypeError):
                copied[plain(name)] = plain(each)
        return copied
    if type(value) in (list, tuple):
        return type(value)(plain(each) for each in value)
    raise TypeError(f"{type(value).__name__} is not plain")


def load_progress(net: InfomaxNet, state: dict[str, Any]) -> None:
    """Let a net take up a `progress_state`."""
    if "optimizer" in state:
        load_moments(net.optimizer_, state["optimizer"])
    if "adversary" in state:
        load_moments(net.optimizers[1], state["adversary"])
    load_generators(net, state["shuffler"], state["generator"])
    net.n_steps = state["n_steps"]
    net.history.extend(state["history"])


def load_generators(net: InfomaxNet, shuffler: Tensor, generator: Tensor) -> None:
    """Let a net draw on from states, of which that of another device is left out."""
    net.shuffler.set_state(shuffler)
    if generator.shape == net.generator.get_state().shape:
        net.generator.set_state(generator)


def load_objective(objective: Objective, state: dict[str, Tensor]) -> None:
    """Load critics and prior, of which only the adversary may have been left out."""
    own = objective.state_dict()
    lost = [
        name
        for name in own.keys() - state.keys()
        if not (name.startswith("prior.") and objective.has_adversary)
    ]
    if lost:
        raise ValueError(
            f"the saved estimator lacks {', '.join(sorted(lost))}; fit anew."
        )
    objective.load_state_dict(own | state)


def checksum(arrays: dict[str, dict[str, np.ndarray]], progress: bytes) -> int:
    """Checksum of all arrays: pickle notices a lost byte, but not a changed one."""
    checksum = zlib.crc32(progress)
    for group in arrays.values():
        for array in group.values():
            checksum = zlib.crc32(np.ascontiguousarray(array).data, checksum)
    return checksum


def to_arrays(state: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Tensors to arrays; bfloat16, which numpy lacks, as float32, which holds it."""
    tensors = {name: tensor.detach().cpu() for name, tensor in state.items()}
    return {
        name: (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
        for name, tensor in tensors.items()
    }


def to_tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.tensor(array) for name, array in arrays.items()}
