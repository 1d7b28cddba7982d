"""Checkpoints: files that a training goes on from after a kill, to the same bits.

What a file does not hold is built anew of the parameters and of X, which must be those
of the file.
"""

import os
import time
import zlib
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from torch import Tensor

from sk_dim._files import check_writable
from sk_dim._inputs._rows import Rows
from sk_dim._inputs._scaling import Scaling
from sk_dim._training._callbacks import OwnCallback
from sk_dim._training._checkpoint_files import write
from sk_dim._training._model import Model
from sk_dim._training._progress import EpochPart, Position
from sk_dim._training._saving import load_progress, plain, progress_state
from sk_dim._training._schedule import batch_size_of
from sk_dim._validation import warn
from sk_dim._version import __version__
from sk_dim.augmentations import Compose

SECONDS = 300.0  # from one checkpoint to the next within a long epoch
STATES = 3  # of each weight: its value, and two moments of the optimiser
# Parameters beside the design that the bits depend on.
SETTINGS = (
    "max_iter",
    "max_time",
    "batch_size",
    "learning_rate",
    "validation_fraction",
    "precision",
    "random_state",
)


# What it must be of


def describe(part: Any) -> Any:
    """Return plain values that are equal where parts and settings are."""
    if isinstance(part, np.generic):
        part = part.item()
    if part is None or isinstance(part, bool | int | float | str):
        return part
    if is_dataclass(part) and not isinstance(part, type | Compose):
        return {f.name: describe(getattr(part, f.name)) for f in fields(part)}
    if isinstance(part, partial):
        return [describe(each) for each in (part.func, part.args, part.keywords)]
    if isinstance(part, Compose):
        return [describe(each) for each in part.augmentations]
    if isinstance(part, list | tuple):
        return [describe(each) for each in part]
    if isinstance(part, dict):
        return {str(name): describe(value) for name, value in part.items()}
    return getattr(part, "__qualname__", type(part).__qualname__)


def fingerprint(rows: Rows, groups: np.ndarray | None) -> dict[str, Any]:
    """Return numbers that are equal for equal data, and hardly for any other."""
    values = rows.draw(seed=0)[1].contiguous().numpy()
    return {
        "n_samples": len(rows),
        "shape": list(rows.fmt.shape),
        "values": zlib.crc32(values.tobytes()),
        "groups": None if groups is None else zlib.crc32(groups.tobytes()),
    }


def _changes(there: dict[str, Any], here: dict[str, Any]) -> str:
    """Name what differs, with its values where they are short."""
    parts = []
    for name, now in here.items():
        before = there.get(name)
        if before != now:
            is_long = any(isinstance(value, list | dict) for value in (before, now))
            text = "" if is_long else f" ({before!r} there, {now!r} here)"
            parts.append(name.replace("fmt", "the format of samples") + text)
    return ", ".join(parts)


# Callbacks


def callback_state(callback: Any) -> dict[str, Any]:
    """Return what a callback has found out: plain values whose names end in "_"."""
    found = {
        name: value
        for name, value in vars(callback).items()
        if name.endswith("_") and not name.startswith("_")
    }
    return {"type": type(callback).__qualname__, "state": plain(found)}


def _restore(callbacks: list[Any], states: list[dict[str, Any]]) -> None:
    """Give each callback the next state of its type: a rank may not have them all."""
    left = list(states)
    for callback in callbacks:
        own = [each for each in left if each["type"] == type(callback).__qualname__]
        if own:
            vars(callback).update(own[0]["state"])
            left.remove(own[0])


class Checkpoint(OwnCallback):
    """Writes a training to a file after each epoch, and every 5 minutes within one.

    It is the last callback, so that what others do at the end of an epoch is in the
    file too. Where several processes train, it is one of each: rank 0 alone reads and
    writes, and what it reads is told to all. What it writes is the same on all ranks,
    or drawn by seed, step and rank, so that nothing need be gathered.

    Parameters
    ----------
    estimator : estimator
        Whose parameters and callbacks of scikit-learn these are.
    model : Model
        That is trained; in another process, which this is sent to, the model there.
    rows : Rows
        That it is trained on.
    groups : ndarray of int, of shape (n,), or None
        Codes of their groups.
    n_devices : int
        Processes that train together.
    """

    is_of_all_ranks = True

    def __init__(
        self,
        estimator: Any,
        model: Model,
        rows: Rows,
        groups: np.ndarray | None,
        n_devices: int,
    ) -> None:
        # Whatever becomes the current folder, a fit writes to one file.
        self.path = Path(estimator.checkpoint).absolute()
        self.model = model
        self.n_devices = n_devices
        self.is_first = True
        self.sklearn_callbacks = list(getattr(estimator, "_skl_callbacks", []))
        given = {name: describe(getattr(estimator, name)) for name in SETTINGS}
        given["batch_size"] = batch_size_of(estimator, model, len(rows))
        design = describe(model.design)
        weights = design.pop("weights")
        weights = {f"{term}_weight": weight for term, weight in weights.items()}
        self.settings = given | weights | design
        self.data = fingerprint(rows, groups)
        self.resumed: dict[str, Any] = {}
        self.has_failed = False

    def __getstate__(self) -> dict[str, Any]:
        """Without what stays in the process of the estimator."""
        return vars(self) | {"model": None, "sklearn_callbacks": []}

    def check_room(self) -> None:
        """Raise a ValueError if the disk has no room for the file."""
        net = self.model.net
        parts = [*net.module_.parameters(), *net.criterion_.parameters()]
        n_bytes = STATES * sum(each.nbytes for each in parts)
        check_writable("checkpoint", self.path, n_bytes)

    def restore(self, state: dict[str, Any]) -> Position | None:
        """Let the model take up a state, and return where its training was.

        That is None where it was finished.

        Raises
        ------
        ValueError
            If the state is of other parameters or data, or of another net.
        """
        self._check(state)
        model, net = self.model, self.model.net
        try:
            net.module_.load_state_dict(state["encoder"])
            net.criterion_.load_state_dict(state["objective"])
            load_progress(net, state["progress"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise ValueError(
                f"checkpoint={os.fspath(self.path)!r} holds the weights of another net "
                "than the parameters build here; set back what was changed, or take "
                "warm_start=False to begin anew."
            ) from error
        device = model.device
        model.scaling = Scaling(state["mean"], state["std"], device)
        net.seed = state["seed"]
        model.history, model.keeps_moments = state["history"], state["keeps_moments"]
        taken_up_later = ("random", "callbacks", "sklearn_callbacks")
        self.resumed = {name: state[name] for name in taken_up_later}
        training = state["training"]
        if training is None:
            return None
        for what, there, here in (
            ("n_devices", state["n_devices"], self.n_devices),
            ("device", state["device_type"], device.type),
            ("precision", state["precision"], net.precision),
        ):
            if there != here:
                warn(
                    f"the checkpoint was written in a training with {what} {there!r} "
                    f"and goes on with {here!r}, so not to the same bits."
                )
        part = training.pop("part")
        return Position(**training, part=None if part is None else EpochPart(**part))

    def _check(self, state: dict[str, Any]) -> None:
        given = f"checkpoint={os.fspath(self.path)!r}"
        changed = _changes(state["data"], self.data)
        training = state["training"]
        # One that went on in memory may have the scaling of other rows before.
        if not changed and training is not None and training["n_steps"] == 0:
            scaling = self.model.scaling
            means = state["mean"] / scaling.std, scaling.mean / scaling.std
            is_same = torch.allclose(*means, rtol=1e-6, atol=1e-6)
            if not (is_same and torch.allclose(state["std"], scaling.std, rtol=1e-6)):
                changed = "mean or spread"
        if changed:
            raise ValueError(
                f"{given} is of other data: {changed}; give those data, another path, "
                "or warm_start=False to begin anew."
            )
        changed = _changes(state["settings"], self.settings)
        if changed:
            raise ValueError(
                f"{given} is of a fit with other parameters: {changed}; set them back, "
                "give another path, or warm_start=False to begin anew."
            )
        if state["version"] != __version__:
            warn(
                f"the checkpoint was written by sk_dim {state['version']} and goes on "
                f"with {__version__}, so perhaps not to the same bits."
            )

    # Writing

    def finish(self) -> None:
        """Write the finished model."""
        self._write(None)

    def on_train_begin(self, net: NeuralNet, *_: Any, **__: Any) -> None:
        """Give callbacks what they had found out, and start the clock."""
        self.written = time.monotonic()
        self.is_first = net.ranks.rank == 0
        if self.resumed and net.part is None:
            self.restore_callbacks()

    def on_epoch_begin(self, net: NeuralNet, *_: Any, **__: Any) -> None:
        """Do so within the first epoch, if that had begun; take up random numbers."""
        if not self.resumed:
            return
        if net.part is not None:
            self.restore_callbacks()
        random = self.resumed["random"]
        if "cpu" in random:
            torch.set_rng_state(random["cpu"])
        if "cuda" in random and self.model.device.type == "cuda":
            torch.cuda.set_rng_state(random["cuda"], self.model.device)
        self.resumed = {}

    def on_batch_end(
        self, net: NeuralNet, *_: Any, training: bool = False, **__: Any
    ) -> None:
        """Write within a long epoch, unless this was its last step."""
        if not training or time.monotonic() - self.written < SECONDS:
            return
        is_last = len(net.part.values) == net.part.n_steps
        if not is_last and net.schedule.progress(net.n_steps) < 1:
            self._write(self._training(net))

    def on_epoch_end(self, net: NeuralNet, *_: Any, **__: Any) -> None:
        """Write."""
        self._write(self._training(net))

    def _training(self, net: NeuralNet) -> dict[str, Any]:
        training = dict(vars(net.position)) | {"part": None}
        training["seconds"] = time.monotonic() - net.schedule.start
        if net.part is not None:
            training["part"] = dict(vars(net.part))
        return training

    def _write(self, training: dict[str, Any] | None) -> None:
        if not self.is_first:
            return
        try:
            write(self.path, self._state(training))
        except OSError as error:
            if not self.has_failed:
                warn(
                    f"the checkpoint could not be written ({error}); the training goes "
                    "on, and the file is the last one that could."
                )
            self.has_failed = True
        self.written = time.monotonic()

    def _state(self, training: dict[str, Any] | None) -> dict[str, Any]:
        model, net = self.model, self.model.net
        is_over = training is None
        progress = progress_state(net, with_moments=model.keeps_moments or not is_over)
        if training is not None and training["part"]:
            # An epoch that had begun is begun again.
            progress["history"] = progress["history"][:-1]
        return {
            "version": __version__,
            "settings": self.settings,
            "data": self.data,
            "training": training,
            "encoder": net.module_.state_dict(),
            "objective": net.criterion_.state_dict(),
            "mean": model.scaling.mean,
            "std": model.scaling.std,
            "history": model.history,
            "keeps_moments": model.keeps_moments,
            "progress": progress,
            "seed": net.seed,
            "precision": net.precision,
            "n_devices": self.n_devices,
            "device_type": model.device.type,
            "random": self._random_states() if net.has_own_parts else {},
            "callbacks": [callback_state(each) for each in self._own_callbacks()],
            "sklearn_callbacks": [callback_state(c) for c in self.sklearn_callbacks],
        }

    def _random_states(self) -> dict[str, Tensor]:
        """States of torch's global generators, which a part of the user may use."""
        states = {"cpu": torch.get_rng_state()}
        if self.model.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.model.device)
        return states

    def _own_callbacks(self) -> list[Any]:
        """Return the user's callbacks of skorch, as copied for this fit."""
        pairs = self.model.net.callbacks_
        return [each for _, each in pairs if not isinstance(each, OwnCallback)]

    def restore_callbacks(self) -> None:
        """Give callbacks what they had found out when the file was written."""
        _restore(self._own_callbacks(), self.resumed["callbacks"])
        _restore(self.sklearn_callbacks, self.resumed["sklearn_callbacks"])
