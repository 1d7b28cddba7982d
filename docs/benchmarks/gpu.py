"""What a GPU makes of it: correctness, throughput, and accuracy where there are images.

One call, under eight minutes, prints a table: whether a fit on the device learns what
one on the CPU learns; samples a second of training with rows on the device and streamed
to it, in float32 and bfloat16, compiled or not; samples a second of `transform`; and,
with a file of CIFAR-10 images, the probe after a minute of training on all 50,000::

    python docs/benchmarks/gpu.py --cifar cifar10_jpeg.npz
    python docs/benchmarks/gpu.py --device cpu --n-train 2000
"""

import argparse
import platform
import time
from functools import partial

import numpy as np
import torch
from features_per_second import load
from sklearn.datasets import load_digits

from sk_dim import DeepInfomaxTransformer
from sk_dim._baselines import probe
from sk_dim._inputs._rows import Rows
from sk_dim.encoders import PatchEncoder


def check(device):
    """Print how far the bounds of a fit on the device are from those on the CPU."""
    X = load_digits().images
    params = {"max_iter": 5, "random_state": 0, "precision": "float32"}
    on_device, on_cpu = (
        DeepInfomaxTransformer(device=each, **params).fit(X) for each in (device, "cpu")
    )
    local = [dim.history_[-1]["local"] for dim in (on_device, on_cpu)]
    print(
        f"digits, local term after 5 epochs: {local[0]:.3f} there, {local[1]:.3f} here"
    )
    Z = on_device.transform(X)
    moved = on_device.set_params(device="cpu").transform(X)
    print(
        f"features repeat: {np.array_equal(Z, moved)}; finite: {np.isfinite(Z).all()}"
    )


def throughput(name, X, device, *, is_resident=True, **params):
    """Print samples a second of the later epochs, and of transform."""
    original = Rows.to
    if not is_resident:
        Rows.to = lambda rows, device: rows
    try:
        dim = DeepInfomaxTransformer(
            device=device, augment="natural", max_iter=4, random_state=0, **params
        ).fit(X)
    finally:
        Rows.to = original
    rates = [row["samples_per_second"] for row in dim.history_[1:]]
    dim.transform(X)  # compiles for the batches that there are in it
    start = time.perf_counter()
    dim.transform(X)
    seconds = time.perf_counter() - start
    memory = ""
    if torch.device(device).type == "cuda":
        memory = f"{torch.cuda.max_memory_allocated(device) / 2**20:8,.0f} MB"
        torch.cuda.reset_peak_memory_stats(device)
    print(
        f"{name:40}{np.median(rates):12,.0f}/s{len(X) / seconds:12,.0f}/s{memory}",
        flush=True,
    )


def accuracy(args):
    """Print the probe on the features of one minute."""
    train, test, y, y_test = load("cifar", args.cifar, args.n_train, 10_000)
    dim = DeepInfomaxTransformer(
        device=args.device,
        augment="natural",
        max_time=args.seconds,
        batch_size=512,
        random_state=0,
    ).fit(train)
    rows = np.random.default_rng(0).permutation(len(train))[:5000]
    Z, Z_test = dim.transform(train[rows]), dim.transform(test)
    cells = " / ".join(
        f"{probe(Z, y[rows], Z_test, y_test, n, n_draws=3).mean():.3f}"
        for n in (None, 100, 10)
    )
    print(
        f"{len(train)} images, {args.seconds:g} s, {dim.n_iter_} epochs; 5,000 / 1,000 "
        f"/ 100 labels: {cells}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--cifar", help="file with the images, for the accuracy")
    parser.add_argument("--n-train", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--compile", nargs="*", default=["default", "reduce-overhead"])
    args = parser.parse_args()
    device = torch.device(args.device)
    name = platform.machine()
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    print(f"{name}, torch {torch.__version__}")
    check(device)
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (args.n_train, 32, 32, 3), dtype=np.uint8)
    print(f"{len(X)} images of 32x32x3, batch 512{'':12}training   transform")
    common = {"batch_size": 512}
    for precision in ("float32", "bfloat16"):
        params = common | {"precision": precision}
        throughput(f"{precision}, rows on the device", X, device, **params)
        throughput(f"{precision}, streamed", X, device, is_resident=False, **params)
        for mode in args.compile:
            params |= {"encoder": partial(PatchEncoder, compile_mode=mode)}
            throughput(f"{precision}, compiled ({mode})", X, device, **params)
    if args.cifar:
        accuracy(args)


if __name__ == "__main__":
    main()
