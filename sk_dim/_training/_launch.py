"""Training by several processes: those of a group, or ones that are started for it."""

import json
import os
import pickle
import signal
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch

from sk_dim._inputs._rows import Rows
from sk_dim._training._callbacks import EpochTasks
from sk_dim._training._group import count_devices, is_in_group, join_group
from sk_dim._training._model import Model
from sk_dim._training._ranks import Alone
from sk_dim._validation import warn

try:
    import cloudpickle
except ImportError:  # joblib before 1.6 brings its own
    from joblib.externals import cloudpickle

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

# Run in each process: it must find the modules that this one finds, and see one device.
BOOT = """
import json, os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the training listens
with open(sys.argv[1] + "/start.json") as file:
    start = json.load(file)
sys.path[:] = start["path"]
os.environ["CUDA_VISIBLE_DEVICES"] = start["devices"][int(os.environ["LOCAL_RANK"])]
from sk_dim._training._worker import main
main(sys.argv[1])
"""


def train(
    model: Model,
    rows: Rows,
    n_epochs: int | None,
    callbacks: list,
    *,
    tasks: list[Any],
    n_devices: int,
    **settings: Any,
) -> bool:
    """Train a model as `Model.train` does, on several devices; whether Ctrl-C ended it.

    Parameters
    ----------
    model : Model
        It is trained in place.
    rows : Rows
        All rows, the same in each process of a group.
    n_epochs, callbacks, **settings
        Of `Model.train`.
    tasks : list of EpochTasks and Checkpoint
        Of the estimator. The checkpoint is sent to the processes that are started.
    n_devices : int
        How many processes, as `count_devices` says.

    Raises
    ------
    ValueError or TypeError
        If the model cannot be trained so.
    KeyboardInterrupt
        At a Ctrl-C before the first step, and at a second one.
    """
    if n_devices > 1 and getattr(model.encoder, "compile_mode", None) is not None:
        raise ValueError(
            f"n_devices={n_devices}, but the encoder is compiled, which does not go "
            "with messages between devices; use compile_mode=None, or n_devices=1."
        )
    if n_devices > 1 and rows.is_streamed:
        raise ValueError(
            f"n_devices={n_devices} draws rows at random from all, but shards and "
            "chunked arrays are read in blocks; write them into a memory map, or use "
            "n_devices=1."
        )
    if n_devices > 1 and not is_in_group():
        tasks_of = [each.estimator for each in tasks if isinstance(each, EpochTasks)]
        if any(getattr(each, "_skl_callbacks", None) for each in tasks_of):
            raise ValueError(
                f"n_devices={n_devices} trains in other processes, where callbacks "
                "given to set_callbacks are not told of epochs; use callbacks of "
                "skorch, verbose=1, or n_devices=1."
            )
        sent = [each for each in tasks if each.is_of_all_ranks]
        return _train_in_new_group(
            model, rows, n_epochs, callbacks, sent, n_devices, settings
        )
    if n_devices > 1:
        _join(model, rows)
    try:
        return model.train(rows, n_epochs, callbacks + tasks, **settings)
    finally:
        model.net.ranks = Alone()


def check_no_launch(name: str, n_devices: Any, device: Any) -> None:
    """Raise a ValueError if a method would start processes each time it is called."""
    if count_devices(n_devices, device) > 1 and not is_in_group():
        raise ValueError(
            f"{name} with n_devices={n_devices!r} would start processes for each "
            "chunk, which takes some seconds; call it within a process group, of "
            "torchrun for one, or use n_devices=1."
        )


def _join(model: Model, rows: Rows) -> None:
    """Make the model of this process the same as that of rank 0."""
    net = model.net
    ranks = join_group()
    ranks.use(model.device)
    scaling = model.scaling
    facts = [float(len(rows)), float(scaling.mean.sum()), float(scaling.std.sum())]
    if not ranks.is_same(facts):
        raise ValueError(
            f"X has {len(rows)} rows in this process, and is not the same in all "
            "processes of the group; give each of them all rows (as a memory map, for "
            "one), which fit divides among them."
        )
    net.ranks = ranks
    seed = torch.tensor([net.seed, net.n_steps])
    states = [each.get_state() for each in (net.shuffler, net.generator)]
    parts = (net.module_.state_dict(), net.criterion_.state_dict())
    ranks.copy_first([seed, *states, *(t for part in parts for t in part.values())])
    net.seed, net.n_steps = seed.tolist()
    for generator, state in zip((net.shuffler, net.generator), states, strict=True):
        generator.set_state(state)


def _train_in_new_group(
    model: Model,
    rows: Rows,
    n_epochs: int | None,
    callbacks: list,
    tasks: list[Any],
    n_devices: int,
    settings: dict[str, Any],
) -> bool:
    """Start processes that train, and take over what the first of them has learnt."""
    with tempfile.TemporaryDirectory(prefix="sk_dim_") as name:
        folder = Path(name)
        model.keeps_moments = True  # of a model that goes on, and the adversary
        task = {
            "model": model.__getstate__() | {"device": model.device.type},
            "rows": vars(rows) | {"X": _stored(rows.X, folder / "X.joblib")},
            "n_epochs": n_epochs,
            "callbacks": callbacks,
            "tasks": tasks,
            "settings": settings,
            "n_threads": max(1, torch.get_num_threads() // n_devices),
        }
        try:
            (folder / "task").write_bytes(cloudpickle.dumps(task))
        except (TypeError, pickle.PicklingError, AttributeError) as error:
            raise TypeError(
                f"n_devices={n_devices} sends parts and callbacks to other processes, "
                f"and one of them cannot be pickled ({error}); use functions and "
                "classes that can, or n_devices=1."
            ) from error
        start = {"path": sys.path, "devices": _visible_devices(n_devices)}
        (folder / "start.json").write_text(json.dumps(start))
        _launch(folder, n_devices)
        result = pickle.loads((folder / "result").read_bytes())
    own = {"design": model.design, "device": str(model.device)}
    model.__setstate__(result["model"] | own)
    for message, category in result["warnings"]:
        warn(message, category)
    return result["is_interrupted"]


def _visible_devices(n_devices: int) -> list[str]:
    """Name a GPU for each process, of those that this one sees."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = seen.split(",") if seen else [str(k) for k in range(n_devices)]
    return (names + [""] * n_devices)[:n_devices]


def _stored(X: Any, path: Path) -> Any:
    """Return what `loaded` reads an array from, in pages that all processes share."""
    if not isinstance(X, np.ndarray):
        return X
    root: Any = X
    while isinstance(root.base, np.ndarray):
        root = root.base
    is_mapped = isinstance(root, np.memmap) and root.filename is not None
    if is_mapped and X.flags.c_contiguous:
        offset = root.offset + X.ctypes.data - root.ctypes.data
        return "memmap", str(root.filename), X.dtype, offset, X.shape
    joblib.dump(np.asarray(X), path)
    return "joblib", str(path)


def loaded(stored: Any) -> Any:
    """Return the array that was stored, as a memory map."""
    if not isinstance(stored, tuple):
        return stored
    kind, *how = stored
    if kind == "joblib":
        return joblib.load(how[0], mmap_mode="r")
    filename, dtype, offset, shape = how
    return np.memmap(filename, dtype, "r", offset, shape)


def _launch(folder: Path, n_devices: int) -> None:
    """Run the processes to their end, and raise what one of them raised."""
    from torch.distributed.elastic.multiprocessing import (
        DefaultLogsSpecs,
        SignalException,
    )
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=n_devices,
        logs_specs=DefaultLogsSpecs(log_dir=str(folder / "logs")),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id=uuid.uuid4().hex,
        max_restarts=0,
        local_addr="localhost",
    )
    with _signals_given_back():
        try:
            elastic_launch(config, sys.executable)("-u", "-c", BOOT, str(folder))
        except SignalException as error:
            if error.sigval == signal.SIGINT:
                if (folder / "result").exists():
                    return  # Ctrl-C ended the training, and the model of it is kept
                raise KeyboardInterrupt from None
            raise SystemExit(128 + error.sigval) from None
        except ChildFailedError as error:
            _raise_failure(folder, error, n_devices)
        finally:
            _end_processes(folder)


def _raise_failure(folder: Path, error: Any, n_devices: int) -> None:
    """Raise what the first process raised that failed."""
    failures = [pickle.loads(path.read_bytes()) for path in folder.glob("failure-*")]
    first = min(failures, key=lambda failure: failure["time"], default=None)
    cause = cloudpickle.loads(first["error"]) if first else error
    codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
    # The others are ended by SIGTERM, or fail because one does not answer any more.
    killed = [rank for rank, code in codes.items() if code not in (1, -signal.SIGTERM)]
    if first and not (killed and isinstance(cause, RuntimeError)):
        cause.add_note(
            f"Raised by the process of rank {first['rank']} of {n_devices}:\n"
            f"{first['traceback']}"
        )
        raise cause from None
    rank = min(killed or codes)
    raise RuntimeError(
        f"the process of rank {rank} of {n_devices} ended with exit code "
        f"{codes[rank]}; -9 often means that memory ran out: use fewer devices, a "
        "smaller batch_size or a smaller encoder."
    ) from cause


def _end_processes(folder: Path) -> None:
    """Kill what a second Ctrl-C may have left running."""
    for path in folder.glob("process-*"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(int(path.name.split("-")[1]), signal.SIGKILL)


@contextmanager
def _signals_given_back() -> Iterator[None]:
    """Give back the handlers and the variable that the launcher sets."""
    is_main = threading.current_thread() is threading.main_thread()
    handlers = {each: signal.getsignal(each) for each in SIGNALS} if is_main else {}
    name = "TORCHELASTIC_SIGNALS_TO_HANDLE"
    before = os.environ.get(name)
    try:
        yield
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
