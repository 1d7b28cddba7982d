"""Seconds and memory of data larger than memory, and of many rows.

Each row of the table runs in a process of its own, which prints the most memory that it
holds beside what it holds before it begins; pages of mapped files do not count, since
the system takes them back when it needs them. Seconds are those of an epoch after
the first, where there is time for several, up to 100,000 rows::

    python docs/benchmarks/scale.py
    python docs/benchmarks/scale.py --plot scale.png

"20 GB" is a sparse file of uint8 images of 32x32 pixels in three colours, 6.5 million,
of which an epoch would take hours on a CPU: training ends after ``--seconds``. All its
values are 0 but those of a few rows, so that the file takes no room on the disk; what
is read and held is the same.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np

SHAPE = (3, 32, 32)
N_BIG = 20 * 10**9 // 3072
N_ROWS = (10_000, 30_000, 100_000, 300_000, 1_000_000)
N_COLUMNS = 20


class Peak(threading.Thread):
    """Watches the most memory of this process that is not of files, in MB."""

    def __init__(self):
        super().__init__(daemon=True)
        self.is_over = threading.Event()
        self.before = self.most = self.now()

    @staticmethod
    def now():
        status = Path("/proc/self/status").read_text()
        return int(status.partition("RssAnon:")[2].split()[0]) / 1024

    def run(self):
        while not self.is_over.wait(0.01):
            self.most = max(self.most, self.now())

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self.is_over.set()
        self.join()
        self.above = max(self.most, self.now()) - self.before


def big(folder, seconds):
    """Train on a memory map of 20 GB; encode a part of it into another."""
    from sk_dim import DeepInfomaxTransformer

    path = Path(folder) / "big.npy"
    shape = (N_BIG, *SHAPE)
    X = np.lib.format.open_memmap(path, "w+", "uint8", shape)
    X[:: N_BIG // 5000] = np.random.default_rng(0).integers(0, 256, SHAPE)
    X = np.load(path, mmap_mode="r")
    small = np.array(X[:2000])
    small[:] = np.random.default_rng(0).integers(0, 256, small.shape)
    # What is allocated once, and the model.
    DeepInfomaxTransformer(max_iter=1, random_state=0).fit(small)
    start = time.perf_counter()
    with Peak() as in_fit:
        dim = DeepInfomaxTransformer(max_time=seconds, random_state=0).fit(X)
    fitted = time.perf_counter()
    n_out = 20_000
    Z = np.lib.format.open_memmap(
        Path(folder) / "Z.npy", "w+", "float32", (n_out, dim._n_features_out)
    )
    with Peak() as in_transform:
        dim.transform(X[:n_out], out=Z)
    return {
        "case": f"uint8 memory map of {X.nbytes / 1e9:.0f} GB",
        "preparation_s": fitted - start - seconds,
        "fit_mb": in_fit.above,
        "transform_s": time.perf_counter() - fitted,
        "transform_mb": in_transform.above,
    }


def rows(n, kind):
    """Train a small net for one epoch on a table of so many rows."""
    from sk_dim import DeepInfomaxTransformer
    from sk_dim.critics import DotCritic
    from sk_dim.encoders import MLPEncoder

    X = np.random.default_rng(0).standard_normal((n, N_COLUMNS), dtype=np.float32)
    X[:, 1:] += X[:, :1]
    if kind == "memory map":
        folder = tempfile.mkdtemp()
        np.save(f"{folder}/X.npy", X)
        X = np.load(f"{folder}/X.npy", mmap_mode="r")
    given = X
    if kind == "shards":
        given = partial(np.array_split, X, max(1, n // 10_000))
    # A small net, so that what depends on the rows is most of the time.
    params = {
        "encoder": partial(MLPEncoder, n_hidden=64, n_subsets=2),
        "critic": partial(DotCritic, n_units=16, n_locations=2),
        "n_components": 16,
        "batch_size": 256,
        "random_state": 0,
    }
    DeepInfomaxTransformer(max_iter=1, **params).fit(np.array(X[:2000]))
    n_epochs = 3 if n <= 100_000 else 1
    start = time.perf_counter()
    with Peak() as in_fit:
        dim = DeepInfomaxTransformer(max_iter=n_epochs, **params).fit(given)
    return {
        "case": kind,
        "rows": n,
        "fit_s": time.perf_counter() - start,
        "epoch_s": np.median([row["seconds"] for row in dim.history_[-2:]]),
        "fit_mb": in_fit.above,
    }


def plot(found, path):
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for kind in dict.fromkeys(row["case"] for row in found):
        own = [row for row in found if row["case"] == kind]
        n = [row["rows"] for row in own]
        axes[0].loglog(n, [row["epoch_s"] for row in own], "o-", label=kind)
        axes[1].semilogx(n, [row["fit_mb"] for row in own], "o-", label=kind)
    axes[0].set(xlabel="rows", ylabel="seconds an epoch")
    axes[1].set(xlabel="rows", ylabel="MB above the data", ylim=(0, None))
    axes[1].legend()
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seconds", type=float, default=30, help="of training on 20 GB"
    )
    parser.add_argument("--most", type=int, default=N_ROWS[-1], help="rows at most")
    parser.add_argument("--kinds", nargs="+", default=["array", "memory map", "shards"])
    parser.add_argument("--plot", help="file for a picture of seconds and memory")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        kind, *rest = args.one
        found = big(*rest, args.seconds) if kind == "big" else rows(int(rest[0]), kind)
        print(json.dumps(found))
        return

    def measure(*case):
        command = [sys.executable, __file__, "--seconds", str(args.seconds), "--one"]
        done = subprocess.run(
            [*command, *case], check=True, stdout=subprocess.PIPE, text=True
        )
        return json.loads(done.stdout)

    with tempfile.TemporaryDirectory() as folder:
        row = measure("big", folder)
    print(
        f"{row['case']}: {row['preparation_s']:.0f} s before training, "
        f"{row['fit_mb']:.0f} MB in fit; 20,000 rows encoded in "
        f"{row['transform_s']:.1f} s, {row['transform_mb']:.0f} MB more",
        flush=True,
    )
    print("| X | rows | s an epoch | us a row | s in all | MB above X |")
    print("|---|---|---|---|---|---|", flush=True)
    found = []
    for kind in args.kinds:
        for n in N_ROWS:
            if n > args.most:
                continue
            row = measure(kind, str(n))
            found.append(row)
            print(
                f"| {kind} | {n:,} | {row['epoch_s']:.1f} | "
                f"{1e6 * row['epoch_s'] / n:.0f} | {row['fit_s']:.1f} | "
                f"{row['fit_mb']:.0f} |",
                flush=True,
            )
    if args.plot:
        plot(found, args.plot)


if __name__ == "__main__":
    main()
