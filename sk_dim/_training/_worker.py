"""What each process runs that `_launch` starts."""

import os
import pickle
import sys
import threading
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from sk_dim._inputs._rows import Rows
from sk_dim._training._group import enter_group, leave_group
from sk_dim._training._launch import cloudpickle, loaded, train
from sk_dim._training._model import Model


def main(name: str) -> None:
    """Train together with the other processes; the first leaves the model behind."""
    folder = Path(name)
    rank = int(os.environ["RANK"])
    (folder / f"process-{os.getpid()}").touch()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        _train(folder, rank)
    except KeyboardInterrupt:
        sys.exit(1)
    except Exception as error:
        _leave_behind(folder, rank, error)
        # Without what closes the group, for which others may be waiting.
        os._exit(1)
    leave_group()


def _train(folder: Path, rank: int) -> None:
    task: dict[str, Any] = pickle.loads((folder / "task").read_bytes())
    torch.set_num_threads(task["n_threads"])
    enter_group()
    model = Model.__new__(Model)
    with warnings.catch_warnings(record=True) as caught:
        model.__setstate__(task["model"])
        rows = Rows.__new__(Rows)
        vars(rows).update(task["rows"] | {"X": loaded(task["rows"]["X"])})
        for each in task["tasks"]:
            each.model = model
        is_interrupted = train(
            model,
            rows,
            task["n_epochs"],
            task["callbacks"],
            tasks=task["tasks"],
            n_devices=dist.get_world_size(),
            **task["settings"],
        )
    if rank == 0:
        state = model.__getstate__()
        del state["design"]  # which the other process has, with the classes of its own
        told = [(str(each.message), each.category) for each in caught]
        written = folder / "result.part"
        result = {"model": state, "warnings": told, "is_interrupted": is_interrupted}
        written.write_bytes(pickle.dumps(result))
        written.replace(folder / "result")


def _leave_behind(folder: Path, rank: int, error: Exception) -> None:
    """Tell the process that started this one what was raised."""
    try:
        pickled = cloudpickle.dumps(error)
        pickle.loads(pickled)
    except Exception:  # of an error with arguments of its own
        pickled = pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    failure = {
        "time": time.time_ns(),
        "rank": rank,
        "error": pickled,
        "traceback": "".join(traceback.format_exception(error)),
    }
    written = folder / f"part-{rank}"
    written.write_bytes(pickle.dumps(failure))
    written.replace(folder / f"failure-{rank}")


def _end_with(parent: int) -> None:
    """End this process if the one that started it has ended."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
