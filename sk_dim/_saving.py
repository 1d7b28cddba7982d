"""A fitted net as numpy arrays, to be pickled without the net."""

import io
import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sk_dim._design import Design
from sk_dim._inputs import Scaling
from sk_dim._net import InfomaxNet
from sk_dim._validation import warn
from sk_dim._version import __version__


def pack_net(net: InfomaxNet, keeps_moments: bool) -> dict[str, Any]:
    """All that a fitted net knows, as numpy arrays on the CPU.

    Critics are kept for scores; optimisers and adversary only where the training may go
    on as if it had not stopped.
    """
    objective = net.criterion_.state_dict()
    if net.criterion_.has_adversary and not keeps_moments:
        objective = {k: v for k, v in objective.items() if not k.startswith("prior.")}
    resume = {
        "shuffler": net.shuffler.get_state(),
        "generator": net.generator.get_state(),
        "device_type": net.generator.device.type,
        "n_steps": net.n_steps,
        "history": net.history.to_list(),
    }
    if keeps_moments:
        resume["optimizer"] = net.optimizer_.state_dict()
        if net.criterion_.has_adversary:
            resume["adversary_optimizer"] = net.adversary_optimizer_.state_dict()
    buffer = io.BytesIO()
    torch.save(resume, buffer)
    packed = {
        "encoder": _to_arrays(net.module_.state_dict()),
        "objective": _to_arrays(objective),
        "scaling": (net.scaling.mean.numpy(), net.scaling.std.numpy()),
        "seed": net.seed,
        "resume": buffer.getvalue(),
    }
    return packed | {"version": __version__, "checksum": _checksum(packed)}


def unpack_net(
    packed: dict[str, Any], design: Design, device: torch.device, precision: str
) -> InfomaxNet:
    """Build the net that `pack_net` packed, on another device if need be.

    Raises
    ------
    ValueError
        If the arrays are not those that were packed.
    """
    if packed.get("version") != __version__:
        warn(
            f"this estimator was saved by sk_dim {packed.get('version')} and is loaded "
            f"by {__version__}, whose features of the same samples may differ."
        )
    if packed.get("checksum") != _checksum(packed):
        raise ValueError(
            "the saved estimator is damaged: its weights are not those that were "
            "saved; load another copy of the file, or fit anew."
        )
    mean, std = (torch.from_numpy(array) for array in packed["scaling"])
    net = design.build(Scaling(mean, std, device), precision, packed["seed"])
    net.module_.load_state_dict(_to_tensors(packed["encoder"]))
    _load_objective(net, packed["objective"])
    resume = torch.load(
        io.BytesIO(packed["resume"]), map_location="cpu", weights_only=True
    )
    if "optimizer" in resume:
        net.optimizer_.load_state_dict(resume["optimizer"])
    if "adversary_optimizer" in resume:
        net.adversary_optimizer_.load_state_dict(resume["adversary_optimizer"])
    net.shuffler.set_state(resume["shuffler"])
    if device.type == resume["device_type"]:
        net.generator.set_state(resume["generator"])
    net.n_steps = resume["n_steps"]
    net.history.extend(resume["history"])
    return net


def _load_objective(net: InfomaxNet, arrays: dict[str, np.ndarray]) -> None:
    """Load critics and prior, of which only the adversary may have been left out."""
    state = net.criterion_.state_dict() | _to_tensors(arrays)
    lost = [
        name
        for name in net.criterion_.state_dict().keys() - arrays.keys()
        if not (name.startswith("prior.") and net.criterion_.has_adversary)
    ]
    if lost:
        raise ValueError(
            f"the saved estimator lacks {', '.join(sorted(lost))}; fit anew."
        )
    net.criterion_.load_state_dict(state)


def _checksum(packed: dict[str, Any]) -> int:
    """Checksum of all arrays: pickle notices a lost byte, but not a changed one."""
    parts = [
        *packed["scaling"],
        *packed["encoder"].values(),
        *packed["objective"].values(),
    ]
    checksum = zlib.crc32(packed["resume"])
    for part in parts:
        checksum = zlib.crc32(np.ascontiguousarray(part).data, checksum)
    return checksum


def _to_arrays(state: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Tensors to arrays; bfloat16, which numpy lacks, as float32, which holds it."""
    tensors = {name: tensor.detach().cpu() for name, tensor in state.items()}
    return {
        name: (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
        for name, tensor in tensors.items()
    }


def _to_tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.tensor(array) for name, array in arrays.items()}
