"""Training throughput of the estimator against a hand-written loop.

Both train the same modules with the same views, batches and threads, in turns within
one run; the ratio of their throughputs is the median over the rounds::

    python docs/benchmarks/training_overhead.py
"""

import argparse
import platform
import statistics
import time

import numpy as np
import torch
from torch.nn.functional import interpolate

from sk_dim import DeepInfomaxTransformer
from sk_dim.encoders import Features


def hand_loop(estimator, X, n_epochs):
    """Train the estimator's modules for some epochs, with nothing around the loop."""
    net = estimator.net_
    encoder, objective, augment = net.module_, net.criterion_, net.augment
    parameters = [*encoder.parameters(), *objective.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=1e-2, fused=True)
    X = torch.from_numpy(X)
    scaling = estimator.model_.scaling
    mean, std = scaling.mean.float(), scaling.std.float()
    generator = torch.Generator().manual_seed(0)
    encoder.train(), objective.train()
    scale = getattr(encoder, "view_scale", None)
    n_batches = round(len(X) / estimator.batch_size)
    for _ in range(n_epochs):
        for rows in torch.randperm(len(X), generator=generator).tensor_split(n_batches):
            batch = (X[rows].float() - mean) / std
            if batch.ndim == 4:
                batch = batch.contiguous(memory_format=torch.channels_last)
            if augment is None:
                views = [encoder(batch)]
            else:
                both = torch.cat([augment(batch, generator) for _ in range(2)])
                if scale is not None:
                    sides = [round(scale * side) for side in both.shape[2:]]
                    both = interpolate(both, sides, mode="bilinear", antialias=True)
                parts = [
                    (None, None) if part is None else part.split(len(batch))
                    for part in encoder(both)
                ]
                views = [Features(*part) for part in zip(*parts, strict=True)]
            optimizer.zero_grad(set_to_none=True)
            objective.loss(objective(views, generator)).backward()
            optimizer.step()


def measure(name, X, n_rounds, n_epochs, **params):
    """Print the ratio for one kind of data."""
    estimator = DeepInfomaxTransformer(
        random_state=0,
        max_iter=n_epochs,
        warm_start=True,
        precision="float32",
        **params,
    ).fit(X)
    seconds = {"estimator": [], "hand": []}
    for _ in range(n_rounds):
        start = time.perf_counter()
        estimator.fit(X)
        seconds["estimator"].append(time.perf_counter() - start)
        start = time.perf_counter()
        hand_loop(estimator, X, n_epochs)
        seconds["hand"].append(time.perf_counter() - start)
    ratios = [
        hand / ours
        for hand, ours in zip(seconds["hand"], seconds["estimator"], strict=True)
    ]
    rate = len(X) * n_epochs / statistics.median(seconds["estimator"])
    print(
        f"{name:28} ratio {statistics.median(ratios):.3f} "
        f"({min(ratios):.3f} to {max(ratios):.3f}), {rate:,.0f} samples/s",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    print(
        f"{platform.machine()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}; throughput of the estimator over that of a loop"
    )
    images = rng.random((1024, 3, 32, 32), dtype=np.float32)
    measure("conv, 1,024 images 3x32x32", images, args.rounds, 1)
    digits = rng.random((1280, 1, 8, 8), dtype=np.float32)
    measure("conv, 1,280 images 1x8x8", digits, args.rounds, 2)
    rows = rng.random((20_000, 50), dtype=np.float32)
    measure("mlp, 20,000 rows of 50", rows, args.rounds, 1)


if __name__ == "__main__":
    main()
