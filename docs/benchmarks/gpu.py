"""What a GPU makes of it: correctness, throughput, and accuracy where there are images.

The most telling rows come first. Each is a line of a file as soon as it is measured,
and is not measured again: a second call goes on where a short one ended. The sections:

check      whether a fit on the device learns what one on the CPU learns
steps      samples a second of training, steps recorded as CUDA graphs or computed
accuracy   the probe after so many seconds on 50,000 images of CIFAR-10
pairs      seconds that mutual information takes: 10,000 rows, images, 100 columns
labels     the classifier after so many seconds, with 250 and 4,000 labels
input      samples a second with rows that are streamed to the device
compiled   samples a second with torch.compile

Without "compiled" it is to take under eight minutes on an H100::

    python docs/benchmarks/gpu.py --cifar cifar10_jpeg.npz
    python docs/benchmarks/gpu.py --only steps input
    python docs/benchmarks/gpu.py --device cpu --n-rows 1024
"""

import argparse
import json
import platform
import time
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from data_sets import load
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from sk_dim import (
    DeepInfomaxClassifier,
    DeepInfomaxTransformer,
    MutualInformationEstimator,
    PairwiseMutualInformation,
)
from sk_dim._baselines import probe
from sk_dim._inputs import _sources
from sk_dim._training import _net
from sk_dim.datasets import make_class_pairs
from sk_dim.encoders import PatchEncoder

RESULTS = Path(__file__).parent / "results" / "gpu.jsonl"


def check(args):
    """Tell how far the bounds of a fit on the device are from those on the CPU."""

    def digits():
        X = load_digits().images
        params = {"max_iter": 5, "random_state": 0, "precision": "float32"}
        there, here = (
            DeepInfomaxTransformer(device=each, **params).fit(X)
            for each in (args.device, "cpu")
        )
        Z = there.transform(X)
        return {
            "local term there": there.history_[-1]["local"],
            "local term here": here.history_[-1]["local"],
            "features repeat": bool(np.array_equal(Z, there.transform(X))),
        }

    yield "digits, 5 epochs", digits


def steps(args):
    """Measure training with recorded and with computed steps."""
    is_gpu = torch.device(args.device).type == "cuda"
    for batch_size in (128, 512, 2048):
        for precision in ("float32", "bfloat16") if is_gpu else ("float32",):
            params = {"batch_size": batch_size, "precision": precision}
            name = f"{precision}, batches of {batch_size}"
            if is_gpu:
                yield f"{name}, recorded", partial(throughput, args, **params)
            yield f"{name}, computed", computed(partial(throughput, args, **params))
    yield "conv, batches of 512", partial(throughput, args, encoder="conv")


def accuracy(args):
    """Measure the probe on features of a training of some seconds."""
    if args.cifar is None:
        return
    recipes = {
        "patch, batches of 512": {},
        "resnet, batches of 512": {"encoder": "resnet"},
        "patch, batches of 128": {"batch_size": 128},
        "conv, batches of 512": {"encoder": "conv"},
    }
    for name, params in recipes.items():
        yield f"{name}, {args.seconds:g} s", partial(learn, args, **params)


def pairs(args):
    """Measure mutual information of tables, of images, and of single columns."""

    def run():
        rng = np.random.default_rng(0)
        X = rng.normal(size=(10_000, 3))
        Y = X + rng.normal(size=X.shape)
        start = time.perf_counter()
        found = MutualInformationEstimator(device=args.device, random_state=0).fit(X, Y)
        seconds = time.perf_counter() - start
        truth = 1.5 * np.log(2)
        return {"s": seconds, "nats": found.mutual_information_, "truth": truth}

    yield "mutual information, 10,000 rows", run

    def run_images():
        digits = load_digits()
        X, Y, truth = make_class_pairs(
            digits.images, digits.target, 5_000, same=0.5, random_state=0
        )
        start = time.perf_counter()
        found = MutualInformationEstimator(device=args.device, random_state=0).fit(X, Y)
        seconds = time.perf_counter() - start
        return {"s": seconds, "nats": found.mutual_information_, "truth": truth}

    yield "mutual information of 5,000 pairs of images", run_images

    def run_columns():
        X = np.random.default_rng(0).normal(size=(5_000, 100))
        start = time.perf_counter()
        PairwiseMutualInformation(device=args.device, random_state=0).fit(
            X, X[:, 0] ** 2
        )
        return {"s": time.perf_counter() - start}

    yield "mutual information of 100 columns with one", run_columns


def labels(args):
    """Measure the classifier on features that were learnt before."""
    if args.cifar is None:
        return

    @cache
    def learnt():
        train, test, y, y_test = load("cifar", args.cifar, 50_000, 10_000)
        dim = DeepInfomaxTransformer(
            augment="natural", device=args.device, max_time=args.seconds, random_state=0
        )
        return dim.fit(train), train, test, y, y_test

    def run(n_labels):
        dim, train, test, y, y_test = learnt()
        given = np.full(len(y), -1)
        for each in np.unique(y):  # as many of each class, the first ones
            rows = np.flatnonzero(y == each)[: n_labels // 10]
            given[rows] = each
        model = DeepInfomaxClassifier(dim, max_time=args.seconds, random_state=0)
        found = model.fit(train, given)
        steps = found.history_[-1]["step"]
        return {"steps": steps, "accuracy": found.score(test, y_test)}

    for n_labels in (250, 4_000):
        yield (
            f"classifier, {n_labels:,} labels, {args.seconds:g} s",
            partial(run, n_labels),
        )


def streamed(args):
    """Measure training on rows that stay on the CPU."""

    def run():
        with patch.object(_sources, "SHARE_OF_FREE_MEMORY", 0.0):
            return throughput(args)

    yield "streamed, batches of 512", run


def compiled(args):
    """Measure training with torch.compile, which takes minutes."""
    if torch.device(args.device).type != "cuda":
        return
    for mode in ("default", "reduce-overhead"):
        encoder = partial(PatchEncoder, compile_mode=mode)
        yield f"compiled, {mode}", partial(throughput, args, encoder=encoder)


SECTIONS = {
    "check": check,
    "steps": steps,
    "accuracy": accuracy,
    "pairs": pairs,
    "labels": labels,
    "input": streamed,
    "compiled": compiled,
}


def computed(run):
    """Have no step recorded."""

    def without_graphs():
        with patch.object(_net, "graphs_of", lambda *_: None):
            return run()

    return without_graphs


@contextmanager
def peak_memory(device, found):
    """Note the peak of memory on a GPU."""
    device = torch.device(device)
    if device.type != "cuda":
        yield
        return
    torch.cuda.reset_peak_memory_stats(device)
    yield
    found["MB"] = round(torch.cuda.max_memory_allocated(device) / 2**20)


def throughput(args, **params):
    """Measure samples a second of the later epochs, and of transform."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (args.n_rows, 32, 32, 3), dtype=np.uint8)
    params = {"batch_size": 512, "augment": "natural", "max_iter": 8} | params
    found = {}
    with peak_memory(args.device, found):
        dim = DeepInfomaxTransformer(device=args.device, random_state=0, **params)
        dim.fit(X)
    rates = [row["samples_per_second"] for row in dim.history_]
    found["training, images/s"] = round(np.median(rates[len(rates) // 2 :]))
    dim.transform(X)  # compiles for the batches that there are in it
    start = time.perf_counter()
    dim.transform(X)
    found["transform, images/s"] = round(len(X) / (time.perf_counter() - start))
    return found


def learn(args, **params):
    """Fit for some seconds, and probe with 100, 1,000 and all labels."""
    train, test, y, y_test = load("cifar", args.cifar, 50_000, 10_000)
    params = {"batch_size": 512, "augment": "natural"} | params
    dim = DeepInfomaxTransformer(
        device=args.device, max_time=args.seconds, random_state=0, **params
    ).fit(train)
    Z, Z_test = dim.transform(train), dim.transform(test)
    found = {"epochs": dim.n_iter_}
    for n, n_draws in ((10, 3), (100, 2)):
        found[f"{10 * n:,}"] = probe(Z, y, Z_test, y_test, n, n_draws=n_draws).mean()
    scaler = StandardScaler().fit(Z)
    Z, Z_test = scaler.transform(Z), scaler.transform(Z_test)
    found["all"] = linear(Z, y, Z_test, y_test, args.device)
    if args.mlp:
        mlp = MLPClassifier((200,), early_stopping=True, random_state=0).fit(Z, y)
        found["all, MLP"] = mlp.score(Z_test, y_test)
    return found


def linear(Z, y, Z_test, y_test, device):
    """Score softmax regression on the device, which scikit-learn takes minutes for."""
    Z, y = torch.from_numpy(Z).to(device), torch.from_numpy(y).long().to(device)
    layer = torch.nn.Linear(Z.shape[1], 10).to(device)
    torch.nn.init.zeros_(layer.weight)
    optimizer = torch.optim.LBFGS(
        layer.parameters(), max_iter=100, line_search_fn="strong_wolfe"
    )

    def loss():
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(layer(Z), y)
        value = value + 0.5 * layer.weight.square().sum() / (0.01 * len(Z))
        value.backward()
        return value

    optimizer.step(loss)
    with torch.inference_mode():
        found = layer(torch.from_numpy(Z_test).to(device)).argmax(dim=1).cpu().numpy()
    return float((found == y_test).mean())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--cifar", help="file with the images, for the accuracy")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--n-rows", type=int, default=16_384, help="of random images")
    parser.add_argument("--seconds", type=float, default=50)
    parser.add_argument("--mlp", action="store_true", help="200 units too: minutes")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    machine = platform.machine()
    if torch.device(args.device).type == "cuda":
        machine = torch.cuda.get_device_name(args.device)
    machine = f"{machine}, torch {torch.__version__}"
    print(machine)
    lines = args.results.read_text().splitlines() if args.results.exists() else []
    known = {(row["machine"], row["row"]): row for row in map(json.loads, lines)}
    for section in args.only:
        for name, run in SECTIONS[section](args):
            row = known.get((machine, name))
            if row is None:
                row = {"machine": machine, "row": name} | run()
                with args.results.open("a") as file:
                    file.write(json.dumps(row, default=float) + "\n")
            cells = (
                f"{key} {value:,.3f}"
                if isinstance(value, float)
                else f"{key} {value:,}"
                for key, value in row.items()
                if key not in ("machine", "row")
            )
            print(f"{name:40}{'; '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
