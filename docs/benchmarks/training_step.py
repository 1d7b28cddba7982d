"""Where the time of a training step goes, and how far it is from the machine's peak.

The step of the estimator is taken apart on 1,024 random images: batches, views,
encoder and objective forward, all of it backward, optimiser; what an epoch takes beyond
these is skorch's and ours. Its floating-point operations are counted by PyTorch and
compared with what the same threads reach in a large matrix product::

    python docs/benchmarks/training_step.py
"""

import argparse
import platform
import statistics
import time
from collections import defaultdict

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from sk_dim import DeepInfomaxTransformer
from sk_dim._inputs._batches import SliceLoader
from sk_dim._inputs._rows import Rows


def peak(precision, n=2048, n_rounds=7):
    """Floating-point operations a second of a matrix product of this size."""
    a, b = torch.randn(2, n, n, dtype=getattr(torch, precision))
    seconds = []
    for _ in range(n_rounds):
        start = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - start)
    return 2 * n**3 / min(seconds)


def one_epoch(dim, rows, seconds):
    """Train an epoch by hand, and add up the seconds of its parts."""
    net = dim.net_
    net.module_.train(), net.criterion_.train()
    now = time.perf_counter()

    def lap(name):
        nonlocal now
        before, now = now, time.perf_counter()
        seconds[name] += now - before

    original = net.module_.forward

    def timed(batch):
        lap("views")
        features = original(batch)
        lap("encoder forward")
        return features

    net.module_.forward = timed
    for batch in SliceLoader(rows, dim.batch_size, net.shuffler):
        lap("batches")
        is_reduced = net.precision == "bfloat16"
        with torch.autocast("cpu", torch.bfloat16, enabled=is_reduced):
            views = net.make_views(batch, net.generator)
            lap("views")
            terms = net.criterion_(views, net.generator)
        loss = net.criterion_.loss(terms)
        lap("objective forward")
        net.optimizer_.zero_grad(set_to_none=True)
        loss.backward()
        lap("backward")
        net.optimizer_.step()
        lap("optimiser")
    del net.module_.forward


def report(name, images, **params):
    dim = DeepInfomaxTransformer(max_iter=1, device="cpu", random_state=0, **params)
    dim.set_params(warm_start=True).fit(images)
    rows = dim.model_.source(Rows(images, dim.model_.fmt))
    parts, epochs = defaultdict(float), []
    n_rounds = 5
    for _ in range(n_rounds):
        one_epoch(dim, rows, parts)
        dim.fit(images)
        epochs.append(dim.history_[-1]["seconds"])
    epoch = statistics.median(epochs)
    with FlopCounterMode(display=False) as counter:
        one_epoch(dim, rows, defaultdict(float))
    rate = counter.get_total_flops() / epoch
    print(
        f"\n{name}: {len(images) / epoch:,.0f} samples a second, "
        f"{counter.get_total_flops() / len(images) / 1e6:.0f} MFLOP a sample, "
        f"{rate / 1e9:.0f} GFLOP/s, {rate / peak(dim.precision_):.2f} of the peak in "
        f"{dim.precision_}"
    )
    for part, value in parts.items():
        print(f"  {part:20} {value / n_rounds / epoch:6.1%}")
    print(f"  {'around the loop':20} {1 - sum(parts.values()) / n_rounds / epoch:6.1%}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args()
    print(
        f"{platform.machine()}, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}; matrix products reach {peak('float32') / 1e9:.0f} "
        f"GFLOP/s, and {peak('bfloat16') / 1e9:.0f} in bfloat16"
    )
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (1024, 32, 32, 3), dtype=np.uint8)
    for precision in ("float32", "auto"):
        params = {"augment": "natural", "precision": precision}
        report("32x32 colour, natural views", colour, **params)
    report("32x32 colour, encoder='conv'", colour, augment="natural", encoder="conv")
    report("8x8 grey", rng.random((1280, 8, 8), dtype=np.float32))


if __name__ == "__main__":
    main()
