"""One fit on several devices: throughput, start-up, and what a step sends.

Throughput is that of one process and of two on the CPU, with the same batch in all and
one thread each, beside one process of two threads. Seconds around the epochs are those
of the whole `fit` less those of its epochs. Bytes are counted by each process, and
computed from the net::

    python docs/benchmarks/ranks.py

Without processes, only what steps of the default nets send and compute::

    python docs/benchmarks/ranks.py --model
"""

import argparse
import time

import numpy as np
import torch
from skorch.callbacks import Callback
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from sk_dim import DeepInfomaxTransformer, critics
from sk_dim.encoders import Features

ROWS_EACH = 128  # of a step, on each device
PARAMS = {"device": "cpu", "precision": "float32", "random_state": 0}


class CountBytes(Callback):
    """Record, in skorch's history, what the first rank has sent a step so far."""

    def on_epoch_end(self, net, **kwargs):
        for name, n_bytes in getattr(net.ranks, "n_bytes", {}).items():
            net.history.record(f"sent_{name}", n_bytes / net.n_steps)


def throughput(name, X, n_epochs, batch_sizes, **params):
    print(f"\n{name}, {len(X):,} samples, {n_epochs} epochs")
    for batch_size in batch_sizes:
        for n_devices, n_threads in ((1, 1), (1, 2), (2, 2)):
            torch.set_num_threads(n_threads)
            dim = DeepInfomaxTransformer(
                max_iter=n_epochs,
                batch_size=batch_size,
                n_devices=n_devices,
                callbacks=[CountBytes()],
                warm_start=True,
                **PARAMS,
                **params,
            )
            start = time.perf_counter()
            dim.fit(X)
            seconds = time.perf_counter() - start
            epochs = [row["seconds"] for row in dim.history_]
            rate = np.median([row["samples_per_second"] for row in dim.history_])
            print(
                f"  batch {batch_size}, {n_devices} processes of "
                f"{n_threads // n_devices} threads: {rate:7,.0f} samples a second, "
                f"{seconds - sum(epochs):5.1f} s around the epochs",
                flush=True,
            )
            last = dim.net_.history[-1]
            for what in ("gradients", "features", "statistics"):
                if n_devices > 1:
                    counted = last[f"sent_{what}"]
                    print(f"    {what}: {counted / 1e6:.3f} MB of tensors a step")
            if n_devices > 1:
                computed = sizes(dim, batch_size // n_devices, n_devices)
                print(f"    computed: {', '.join(f'{v / 1e6:.3f}' for v in computed)}")


def views(dim, n_rows):
    """Features of two views of random samples, as training makes them."""
    shape = dim.input_shape_
    dim.encoder_.train()
    batch = torch.randn(n_rows, *shape)
    return dim.net_.make_views(batch, dim.net_.generator)


def sizes(dim, n_rows, n_devices):
    """Bytes of gradients, features and statistics that a rank of so many rows sends."""
    net = dim.net_
    trained = [*net.module_.parameters(), *net.criterion_.parameters()]
    critics = net.criterion_.critics
    view = views(dim, 4)[0]
    n_locations = min(view.local[0, 0].numel(), critics["local"].n_locations)
    n_units = critics["local"].local.second.out_features
    n_values = n_locations * n_units
    n_values += critics["global"].embed(view.code).shape[1]
    # Its own rows forward, the gradients of all rows backward; of two views.
    n_features = 2 * n_values * (n_rows + n_devices * n_rows)
    norms = [
        m
        for part in (net.module_, net.criterion_)
        for m in part.modules()
        if isinstance(m, _BatchNorm)
    ]
    n_statistics = sum(4 * norm.num_features + 1 for norm in norms) + 2
    n_weights = sum(each.numel() for each in trained)
    return 4 * n_weights, 4 * n_features, 4 * n_statistics


class OneOf:
    """A rank as the objective sees it, which tells the others nothing."""

    def __init__(self, n_rows, n_devices):
        self.n_rows, self.n_devices = n_rows, n_devices

    def own_rows(self):
        return slice(0, self.n_rows)

    def gather_work(self, tensors):
        return [torch.cat([each] * self.n_devices) for each in tensors]

    def add_work(self, value):
        return value


def operations(dim, n_rows, n_devices):
    """Floating-point operations of a step: the encoder's, and the objective's."""
    net = dim.net_
    net.criterion_.train()
    with FlopCounterMode(display=False) as encoder:
        made = views(dim, n_rows)
        sum(v.code.sum() + v.local.sum() for v in made).backward()
    parts = [
        Features(*(None if x is None else x.detach().requires_grad_() for x in view))
        for view in made
    ]
    with FlopCounterMode(display=False) as objective:
        ranks = OneOf(n_rows, n_devices)
        net.criterion_.loss(net.criterion_(parts, None, None, ranks)).backward()
    return encoder.get_total_flops(), objective.get_total_flops()


def model():
    """Print what a step of the default nets sends and computes, by devices."""
    critics.MAX_SCORES = 2**40  # PyTorch cannot count what is computed in blocks
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 256, (64, 32, 32, 3), dtype=np.uint8)
    kinds = {
        "photos of 32x32, patch": (photos, {"augment": "natural"}),
        "photos of 128x128, patch": (
            rng.integers(0, 256, (64, 128, 128, 3), dtype=np.uint8),
            {"augment": "natural"},
        ),
        "photos of 32x32, conv": (photos, {"augment": "natural", "encoder": "conv"}),
        "images of 8x8, conv": (rng.random((64, 8, 8)), {}),
        "tables of 30 columns, mlp": (rng.random((64, 30)), {}),
    }
    print(f"\n{ROWS_EACH} rows a device; MB are of tensors, sent by each device")
    print("| net | devices | gradients | features | statistics | encoder | objective |")
    print("|---|---|---|---|---|---|---|")
    for name, (X, params) in kinds.items():
        dim = DeepInfomaxTransformer(max_iter=1, **PARAMS, **params).fit(X)
        for n_devices in (1, 2, 8, 64):
            sent = sizes(dim, ROWS_EACH, n_devices) if n_devices > 1 else (0, 0, 0)
            done = operations(dim, ROWS_EACH, n_devices)
            megabytes = " | ".join(f"{each / 1e6:.2f} MB" for each in sent)
            flops = " | ".join(f"{each / 1e9:.1f} GFLOP" for each in done)
            print(f"| {name} | {n_devices} | {megabytes} | {flops} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="store_true")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 512])
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    if not args.model:
        rng = np.random.default_rng(0)
        colour = rng.integers(0, 256, (args.rows, 32, 32, 3), dtype=np.uint8)
        how = {"n_epochs": args.epochs, "batch_sizes": args.batches}
        throughput("32x32 colour, patch", colour, **how, augment="natural")
        throughput("32x32 colour, conv", colour, **how, encoder="conv")
    model()


if __name__ == "__main__":
    main()
