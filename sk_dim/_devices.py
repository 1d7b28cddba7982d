"""Which device and precision to compute in, and torch's global state on the way."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from sk_dim._validation import check_name, warn

PRECISIONS = ("auto", "float32", "bfloat16")

# torch's global generator, which initialises weights, belongs to one thread at a time,
# which may come back for it: a callback of a fit may build, load or copy another net.
_GLOBAL_GENERATOR = threading.RLock()

_computed_in: int | None = None  # the process whose threads torch computes on


def check_fork() -> None:
    """Raise a RuntimeError in a fork of a process that computed on several threads.

    A fork lacks those threads, and torch would wait for them without end.
    """
    global _computed_in
    if torch.get_num_threads() == 1:
        return
    if _computed_in not in (None, os.getpid()):
        raise RuntimeError(
            "this process is a fork of one that computed on several threads, and would "
            "wait without end for those it lacks; use joblib's backend 'loky' or the "
            "start method 'spawn', or call torch.set_num_threads(1) here first."
        )
    _computed_in = os.getpid()


def choose_device(device: Any) -> torch.device:
    """Return the device to compute on: the fastest there is, or the one asked for."""
    if isinstance(device, str) and device == "auto":
        if torch.cuda.is_available():
            # With its number: "cuda" alone is another device in another context.
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"device={device!r} is not known; expected 'auto', 'cpu', 'cuda', "
            "'cuda:1', 'mps' or a torch.device."
        ) from error
    n_devices = _count_devices(chosen.type)
    if (chosen.index or 0) >= n_devices:
        there_are = f", which has {n_devices} of that type" if n_devices else ""
        raise ValueError(
            f"device={str(device)!r} is not available on this machine{there_are}; use "
            "device='auto' to take the fastest device there is, or 'cpu'."
        )
    if chosen.type != "cuda":
        return torch.device(chosen.type)
    index = torch.cuda.current_device() if chosen.index is None else chosen.index
    return torch.device("cuda", index)


def _count_devices(kind: str) -> int:
    """Count the devices of a type that this package computes on."""
    if kind == "cuda":
        return torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    return int(kind == "cpu")


@contextmanager
def exact_float32(device: torch.device) -> Iterator[None]:
    """Multiply float32 in full on a CUDA device, not in the 10 bits of TF32."""
    if device.type != "cuda":
        yield
        return
    backends: list[Any] = [torch.backends.cudnn, torch.backends.cuda.matmul]
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    try:
        yield
    finally:
        for backend, is_allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = is_allowed


def available_device(device: torch.device) -> torch.device:
    """Return the device if this machine has it, else, with a warning, the next best.

    That is another device of the same type, or the CPU.
    """
    try:
        return choose_device(device)
    except ValueError:
        has_same_type = _count_devices(device.type) > 0
        other = choose_device(device.type if has_same_type else "cpu")
        name = "the CPU" if other.type == "cpu" else str(other)
        warn(
            f"this estimator was fitted on {device}, which is not available here; it "
            f"will compute on {name}.",
        )
        return other


def has_bfloat16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 itself; emulation does not count."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(f"{kind}_bf16") for kind in ("avx512", "amx"))
    return False


def choose_precision(precision: Any, device: torch.device) -> str:
    """Return the precision to train in, warning where the hardware emulates it."""
    check_name("precision", precision, PRECISIONS)
    if precision == "auto":
        return "bfloat16" if has_bfloat16(device) else "float32"
    if precision == "bfloat16" and not has_bfloat16(device):
        warn(
            f"precision='bfloat16' is emulated on this {device.type}, which makes "
            "training slower than float32; use precision='auto' to silence this.",
        )
    return precision


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators, and give them back as they were."""
    devices = [device] if device.type == "cuda" else []
    with _GLOBAL_GENERATOR, torch.random.fork_rng(devices):
        reseed(seed, device)
        yield


def reseed(seed: int, device: torch.device) -> None:
    """Seed torch's global generators, of the CPU and of one device."""
    torch.default_generator.manual_seed(seed)  # manual_seed would seed all GPUs too
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def reduced_precision(device: torch.device, precision: str) -> torch.autocast:
    """Compute in bfloat16 where that is the precision.

    Without torch's cache of cast weights, which all threads share: a fit that leaves it
    empties it under another one.
    """
    is_reduced = precision == "bfloat16"
    return torch.autocast(
        device.type, torch.bfloat16, enabled=is_reduced, cache_enabled=False
    )
