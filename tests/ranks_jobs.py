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

from sk_dim import DeepInfomaxTransformer
from sk_dim.critics import ConcatCritic


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
    "patch": (PHOTOS, {"augment": mirror, "n_components": 32}, False),
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
    if name == "chunks":
        dim.partial_fit(X[:90]).partial_fit(X[90:])
    else:
        dim.fit(X, groups=GROUPS if has_groups else None)
    return {
        "history": dim.history_,
        "features": dim.transform(X),
        "gradients": dim.net_.first_gradients,
        "weights": {k: v.clone() for k, v in dim.encoder_.state_dict().items()},
    }


def refusal(n_devices, X):
    """Return what a fit that is refused says."""
    try:
        DeepInfomaxTransformer(8, n_devices=n_devices, device="cpu").fit(X)
    except ValueError as error:
        return str(error)


def main(folder):
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # where bfloat16 is emulated
    results = {name: fit(name, "all") for name in JOBS | OTHERS}
    results["refused"] = [
        refusal(n_devices="all", X=IMAGES[dist.get_rank() :]),
        refusal(n_devices=3, X=IMAGES),
    ]
    path = Path(folder) / f"rank-{dist.get_rank()}"
    path.write_bytes(pickle.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1])
