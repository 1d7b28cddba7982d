"""Fits that `test_ranks.py` compares, run by each process of a group under torchrun."""

import pickle
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from skorch.callbacks import Callback
from torch import nn

from sk_dim import DeepInfomaxTransformer
from sk_dim._training import _checkpoint_files, _checkpoints
from sk_dim.critics import ConcatCritic, DotCritic
from sk_dim.encoders import ConvEncoder, Features
from sk_dim.tasks import TASKS


def mirror(batch, generator=None):
    """Return one and the same view: what is random differs from rank to rank."""
    return batch.flip(-1) * 1.5 + 0.1


class KeepGradients(Callback):
    """Keep the gradients of the first step and the rows of each batch."""

    def on_train_begin(self, net, **kwargs):
        net.first_gradients = None

    def on_grad_computed(self, net, named_parameters, **kwargs):
        if net.first_gradients is None:
            net.first_gradients = {
                name: parameter.grad.clone()
                for name, parameter in named_parameters
                if parameter.grad is not None
            }


class Dropped(nn.Module):
    """An encoder of the user that draws from torch's global generator."""

    def __init__(self, input_shape, n_components, rate=0.5):
        super().__init__()
        self.map = nn.Linear(*input_shape, n_components)
        self.rate = rate

    def forward(self, batch):
        features = nn.functional.dropout(self.map(batch), self.rate, self.training)
        return Features(features, None, None, features[:, :, None])


class DoubleEncoder(ConvEncoder):
    """Computes in float64 where that is torch's default, so that nothing is rounded."""

    def forward(self, batch):
        return super().forward(batch.double())


class DroppedCritic(DotCritic):
    """A critic of the user that does so too."""

    def forward(self, local, global_):
        dropped = nn.functional.dropout(local, training=self.training)
        return super().forward(dropped, global_)


class KilledError(Exception):
    """Raised on all ranks where a process would have been killed."""


class Kill(Callback):
    """Writes checkpoints after each step, and ends a fit in one of them.

    It counts the steps that it has seen, as a callback that clips gradients may.
    """

    def __init__(self, n_steps):
        self.n_steps = n_steps

    def on_train_begin(self, net, **kwargs):
        _checkpoints.SECONDS = 0.0
        self.seen_ = 0

    def on_grad_computed(self, net, **kwargs):
        self.seen_ += 1
        net.n_seen = self.seen_
        if net.n_steps == self.n_steps:
            self.kill()

    def kill(self):
        raise KilledError


rng = np.random.default_rng(0)
IMAGES = rng.normal(size=(150, 8, 8)).astype(np.float32)
TABLE = rng.normal(size=(151, 9)) @ rng.normal(size=(9, 9))
PHOTOS = rng.integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
SERIES = rng.normal(size=(101, 1, 40)).cumsum(axis=2)
GROUPS = np.arange(150) // 6

# Samples, parameters, and whether there are groups.
JOBS = {
    "one view": (IMAGES, {"augment": None}, False),
    "two views": (IMAGES, {"augment": mirror}, False),
    "jsd": (PHOTOS, {"augment": mirror, "bound": "jsd", "encoder": "conv"}, False),
    "groups": (IMAGES, {"augment": mirror, "validation_fraction": 0.2}, True),
    "held out": (TABLE, {"augment": None, "validation_fraction": 0.2}, False),
    "adversary": (IMAGES, {"augment": None, "prior_weight": 0.5}, False),
    "noise": (TABLE, {"augment": None, "prior": "noise", "prior_weight": 0.3}, False),
    "concat": (
        IMAGES,
        {"augment": mirror, "critic": partial(ConcatCritic, n_units=32)},
        False,
    ),
    "donsker_varadhan": (
        IMAGES,
        {"augment": mirror, "bound": "donsker_varadhan"},
        False,
    ),
    "double, tasks": (
        IMAGES,
        {"augment": mirror, "tasks": tuple(TASKS), "encoder": DoubleEncoder},
        True,
    ),
    "a map": (
        IMAGES,
        {"augment": mirror, "encoder": partial(ConvEncoder, global_map=True)},
        False,
    ),
    "patch": (PHOTOS, {"augment": mirror, "n_components": 32}, False),
    "double": (IMAGES, {"augment": mirror, "encoder": DoubleEncoder}, False),
    "double, jsd": (
        IMAGES,
        {"augment": None, "bound": "jsd", "encoder": DoubleEncoder},
        True,
    ),
    "chunks": (TABLE, {"augment": None}, False),
    "series": (SERIES, {"input_type": "series", "n_components": 32}, False),
    "two epochs before the time": (IMAGES, {"augment": None, "max_time": 99.0}, False),
}
# What differs from rank to rank, or is rounded: fits that are not the same.
OTHERS = {
    "random views": (IMAGES, {}, False),
    "bfloat16": (IMAGES, {"augment": mirror, "precision": "bfloat16"}, False),
    "time": (IMAGES, {"augment": None, "max_iter": "auto", "max_time": 0.5}, False),
}


def fit(name, n_devices):
    """Fit as a job says, and return what is compared."""
    X, params, has_groups = (JOBS | OTHERS)[name]
    params = {"n_components": 16, "precision": "float32", "max_iter": 2} | params
    dim = DeepInfomaxTransformer(
        batch_size=50,
        n_devices=n_devices,
        device="cpu",
        random_state=0,
        callbacks=[KeepGradients()],
        learning_rate=1e-4,
        **params,
    )
    if name.startswith("double"):
        torch.set_default_dtype(torch.float64)
    try:
        if name == "chunks":
            dim.partial_fit(X[:90]).partial_fit(X[90:])
        else:
            dim.fit(X, groups=GROUPS if has_groups else None)
    finally:
        torch.set_default_dtype(torch.float32)
    return {
        "history": dim.history_,
        "features": dim.transform(X),
        "gradients": dim.net_.first_gradients,
        "weights": {k: v.clone() for k, v in dim.encoder_.state_dict().items()},
    }


def refusal(n_devices, X, **params):
    """Return what a fit that is refused says."""
    try:
        DeepInfomaxTransformer(8, n_devices=n_devices, device="cpu", **params).fit(X)
    except ValueError as error:
        return str(error)


# Fits that are killed. The first draws in all ways, the other in none.
DRAWS = {"encoder": Dropped, "critic": partial(DroppedCritic, n_units=8)}
DRAWS |= {"validation_fraction": 0.2}
DRAWS_NOTHING = {"encoder": partial(Dropped, rate=0.0), "augment": None}
DRAWS_NOTHING |= {"critic": partial(DotCritic, n_units=8), "precision": "float32"}


def make(path=None, n_steps=None, n_devices="all", **params):
    """Make an estimator of four epochs, of which a step may be the last."""
    return DeepInfomaxTransformer(
        8,
        batch_size=50,
        max_iter=4,
        learning_rate=1e-4,
        n_devices=n_devices,
        device="cpu",
        random_state=0,
        callbacks=[Kill(n_steps)],
        checkpoint=path,
        warm_start=path is not None,
        **params,
    )


def kill(*args, **params):
    """Fit until a step, which leaves a checkpoint of the step before."""
    try:
        make(*args, **params).fit(TABLE)
    except KilledError:
        return
    raise AssertionError("the fit was to be killed")


def result(dim):
    """Return what is compared of a fit."""
    return {
        "history": dim.history_,
        "features": dim.transform(TABLE),
        "weights": dim.encoder_.state_dict() | dim.net_.criterion_.state_dict(),
        "seen": getattr(dim.net_, "n_seen", None),
    }


def fits_that_are_killed(folder):
    """Kill fits and go on; only the first process has the folder of the file."""
    rank = dist.get_rank()
    here = folder if rank == 0 else folder / "nowhere"
    path = here / "draws"
    results = {"whole": result(make(**DRAWS).fit(TABLE))}
    # In the middle of an epoch, and in the first step of one.
    for n_steps in (1, 4, 6):
        kill(path, n_steps, **DRAWS)
    results["resumed"] = result(make(path, **DRAWS).fit(TABLE))
    results["finished"] = result(make(path, **DRAWS).fit(TABLE))
    (folder / "foreign").write_text("a file of the user")
    name = str(here / "foreign")
    results["refused"] = refusal("all", TABLE, checkpoint=name)
    # Where the time was over before the kill, no epoch follows.
    kill(here / "time", 4, max_time=1e5, **DRAWS_NOTHING)
    if rank == 0:
        state = _checkpoint_files.read(here / "time", with_state=True)
        state["training"]["seconds"] = 1e6
        _checkpoint_files.write(here / "time", state)
    late = make(here / "time", max_time=1e5, **DRAWS_NOTHING).fit(TABLE)
    results["out of time"] = result(late)
    # By another number of processes.
    kill(here / "to one", 4, **DRAWS_NOTHING)
    path = folder / f"from one {rank}"
    kill(path, 4, 1, **DRAWS_NOTHING)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results["from one"] = result(make(path, **DRAWS_NOTHING).fit(TABLE))
    results["warned"] = [str(each.message) for each in caught]
    return results


def main(folder):
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # where bfloat16 is emulated
    results = {name: fit(name, "all") for name in JOBS | OTHERS}
    results["refused"] = [
        refusal(n_devices="all", X=IMAGES[dist.get_rank() :]),
        refusal(n_devices=3, X=IMAGES),
    ]
    results["killed"] = fits_that_are_killed(Path(folder))
    path = Path(folder) / f"rank-{dist.get_rank()}"
    path.write_bytes(pickle.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1])
