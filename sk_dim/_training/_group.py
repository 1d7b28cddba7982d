"""Which processes train together: those of a group that there is, or new ones."""

import atexit
import multiprocessing
import os
from typing import Any

import joblib
import torch
import torch.distributed as dist
from joblib.parallel import get_active_backend

from sk_dim._training._ranks import Alone, Ranks
from sk_dim._validation import check_integer

# What torchrun and other launchers tell each process of the group to be.
VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

_ranks: Ranks | None = None


def is_in_group() -> bool:
    """Whether a launcher made this process one of several that belong together."""
    if not dist.is_available():
        return False
    return dist.is_initialized() or all(name in os.environ for name in VARIABLES)


def enter_group() -> None:
    """Make the group that a launcher told this process of, unless there is one."""
    if dist.is_initialized():
        return
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend)
    atexit.register(leave_group)


def leave_group() -> None:
    """Leave the group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def ranks_here(n_devices: int) -> Alone | Ranks:
    """Return this process among those that called `fit` with it, as counted."""
    return join_group() if n_devices > 1 and is_in_group() else Alone()


def join_group() -> Ranks:
    """Return this process among those of the group."""
    global _ranks
    enter_group()
    if _ranks is None or _ranks.world is not dist.group.WORLD:
        _ranks = Ranks()
    return _ranks


def count_devices(n_devices: Any, device: Any) -> int:
    """Return how many processes are to train.

    Parameters
    ----------
    n_devices : int or "all"
        As the user gave it.
    device : str or torch.device
        As the user gave it.

    Returns
    -------
    int
        1, or the size of the group that this process belongs to, or how many processes
        are to be started.

    Raises
    ------
    ValueError or TypeError
        If there are not so many, or no processes can be started here.
    """
    is_all = isinstance(n_devices, str) and n_devices == "all"
    if isinstance(n_devices, str) and not is_all:
        raise ValueError(
            f"n_devices={n_devices!r} is not known; expected 'all', or an integer of "
            "at least 1."
        )
    wanted = 0 if is_all else check_integer("n_devices", n_devices, 1)
    if wanted == 1:
        return 1
    if is_in_group():
        enter_group()
        size = dist.get_world_size()
        if wanted not in (0, size):
            raise ValueError(
                f"n_devices={wanted}, but this process belongs to a group of {size}, "
                "whose processes train together; use n_devices='all', or 1 to train in "
                "each by itself."
            )
        return size
    kind, there = _count_here(device)
    if wanted > there:
        raise ValueError(
            f"n_devices={wanted}, but this machine has {there} {kind}; use "
            "n_devices='all' to train on all there are."
        )
    n = wanted or there
    if n > 1:
        _check_startable(n_devices)
    return n


def _count_here(device: Any) -> tuple[str, int]:
    """Name the devices of a kind, and count them."""
    kind = device if isinstance(device, str) else torch.device(device).type
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
        if kind == "cpu" and torch.backends.mps.is_available():
            kind = "mps"
    if torch.device(kind).index is not None:
        raise ValueError(
            f"device={str(device)!r} is one device, but n_devices asks for more; use "
            f"device={torch.device(kind).type!r}, or n_devices=1."
        )
    if kind == "cpu":
        return "CPU cores", joblib.cpu_count()
    if kind == "cuda":
        return "CUDA devices", torch.cuda.device_count()
    return f"{kind} device that training can be divided over", 1


def _check_startable(n_devices: Any) -> None:
    """Raise a ValueError where processes would be too many, or would be left over."""
    backend, _ = get_active_backend()
    if (backend.nesting_level or 0) > 0:
        raise ValueError(
            f"n_devices={n_devices!r} starts processes, but this fit is one of several "
            "that run in parallel already and share the devices; use n_devices=1, or "
            "n_jobs=1."
        )
    if multiprocessing.current_process().daemon:
        raise ValueError(
            f"n_devices={n_devices!r} starts processes, but this fit runs in a "
            "daemonic process, whose end would leave them running; use n_devices=1, or "
            "fit in another process."
        )
