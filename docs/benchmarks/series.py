"""Series with few labels: Deep InfoMax and others, on the sets that packages carry.

The sets are those with class labels in the wheels of aeon and sktime, without download.
Each is split into stratified halves, with ten seeds. Features are learnt from one half
without labels; then a ridge classifier learns from 2, 5, 20 or all labels a class of
that half, and is tested on the other half::

    python docs/benchmarks/series.py --out series.jsonl
    python docs/benchmarks/series.py --out series.jsonl --table --plot series.png

The file gets a line for each set, row of the table and split, and what is already in it
is not run again. ``--data`` names folders of sets in place of those of the packages,
``--set``, ``--features`` and ``--splits`` select, and ``--draws`` allows fewer draws of
the labels, as for the classifier, which trains for each. ``--list`` shows the sets.
Seconds are those to learn features and to encode both halves, without numba's
compilation, with the training of our classifier on one draw of labels; write null for
those of a machine that was busy, and they count nowhere. Set ``OMP_NUM_THREADS=1`` and
``NUMBA_NUM_THREADS=1`` to compare all on one thread.

``--scale`` measures seconds and memory on up to 100,000 generated series instead.

Series of unequal length go into ours and into time warping as they are; for the others
they are padded with zeros at their end, as aeon's documentation recommends. Distances
by time warping are left out where a split has tables of more than a billion cells. A
set with missing values would be left out, but none has any.
"""

import argparse
import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import peers
import series_tables
from data_sets import find_sets, flat, load_series, package_folders, padded
from features_per_second import machine
from memory import peak
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import RidgeClassifierCV
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading

from sk_dim import DeepInfomaxClassifier, DeepInfomaxTransformer

COUNTS = {"2": 5, "5": 4, "20": 2, "all": 1}  # labels a class: draws of them
MOST_CELLS = 1e9  # of the tables of time warping of a split; above, it is left out
SCALE = ((1_000, 512), (10_000, 512), (100_000, 512), (10_000, 128), (10_000, 2_048))


def as_they_are(samples):
    """One array if all are of one length, else the list."""
    return padded(samples) if len({each.shape[1] for each in samples}) == 1 else samples


def ours(**params):
    return DeepInfomaxTransformer(
        input_type="series", data_format="channels_first", **params
    )


def dim(train, seed, **params):
    return ours(random_state=seed, **params).fit(train).transform


# What is computed once for a split: the form of the samples that it takes, and a
# function of training samples and a seed to a transform.
FEATURES = {
    "DIM": (as_they_are, dim),
    "fixed layer": (as_they_are, partial(dim, output_layer="hidden")),
    "MiniRocket": (padded, partial(peers.aeon_features, "MiniRocket")),
    "MultiRocket": (padded, partial(peers.aeon_features, "MultiRocket")),
    "Hydra": (padded, partial(peers.aeon_features, "HydraTransformer")),
    "QUANT": (padded, partial(peers.aeon_features, "QUANTTransformer")),
    "catch22": (padded, partial(peers.aeon_features, "Catch22")),
    "raw": (padded, lambda train, seed: flat),
    "1-NN DTW": (as_they_are, peers.dtw_distances),
}


class Halves:
    """The halves of a set, and the features of them that several rows share."""

    def __init__(self, samples, y, split):
        self.samples, self.labels, self.split = samples, y, split
        self.rows = train_test_split(
            np.arange(len(y)), test_size=0.5, stratify=y, random_state=split
        )
        self.y, self.y_test = (y[rows] for rows in self.rows)
        self.encoded = {}

    def form(self, form):
        """Training and test samples in the form that a method takes."""
        whole = form(self.samples)
        if isinstance(whole, np.ndarray):
            return [whole[rows] for rows in self.rows]
        return [[whole[i] for i in rows] for rows in self.rows]

    def encode(self, name):
        """Features of both halves, and the seconds that they took."""
        if name not in self.encoded:
            form, fit = FEATURES[name]
            train, test = self.form(form)
            if form is padded:  # numba compiles
                fit(train[:8], self.split)(test[:8])
            start = time.perf_counter()
            transform = fit(train, self.split)
            both = transform(train), transform(test)
            self.encoded[name] = *both, time.perf_counter() - start
        return self.encoded[name]

    def draws(self, at_most):
        """Numbers of labels a class, and the training rows that have labels."""
        classes, counts = np.unique(self.y, return_counts=True)
        for name, n_draws in COUNTS.items():
            n = len(self.y) if name == "all" else int(name)
            if name != "all" and np.median(counts) <= n:
                continue
            for draw in range(min(n_draws, at_most)):
                order = np.random.default_rng([self.split, draw, n]).permutation(
                    len(self.y)
                )
                of_class = (order[self.y[order] == each][:n] for each in classes)
                yield name, np.concatenate(list(of_class))


def ridge(halves, names, own_scaler=False):
    """Classify by ridge regression on features, standardised by the labelled rows.

    `own_scaler` scales those of Hydra as aeon's classifiers do.
    """
    parts = [halves.encode(name)[:2] for name in names]

    def predict(rows):
        scaled = []
        for name, (Z, Z_test) in zip(names, parts, strict=True):
            of_hydra = own_scaler and name == "Hydra"
            scaler = peers.SparseScaler() if of_hydra else StandardScaler()
            scaled.append((scaler.fit_transform(Z[rows]), scaler.transform(Z_test)))
        Z, Z_test = (np.hstack(part) for part in zip(*scaled, strict=True))
        model = RidgeClassifierCV(alphas=np.logspace(-3, 3, 10))
        return model.fit(Z, halves.y[rows]).predict(Z_test)

    return predict


def spread(halves, names):
    """Spread labels to the unlabelled rows over a graph of neighbours.

    32 principal axes and 5 neighbours, of 16 to 64 and 3 to 8, were best on GunPoint
    and ArrowHead, on other splits.
    """
    parts = [halves.encode(name)[:2] for name in names]
    Z, Z_test = (np.hstack(part) for part in zip(*parts, strict=True))
    axes = PCA(min(32, len(Z)), random_state=halves.split)
    axes = make_pipeline(StandardScaler(), axes)
    Z, Z_test = axes.fit_transform(Z), axes.transform(Z_test)

    def predict(rows):
        y = np.full(len(Z), -1)
        y[rows] = halves.y[rows]
        model = LabelSpreading(kernel="knn", n_neighbors=5, max_iter=200)
        return model.fit(Z, y).predict(Z_test)

    return predict


def fine_tuned(halves, names):
    """Train our classifier on all training rows, those without a label as -1."""
    train, test = halves.form(as_they_are)
    encoder = FrozenEstimator(ours(random_state=halves.split).fit(train))

    def predict(rows):
        y = np.full(len(train), -1)
        y[rows] = halves.y[rows]
        model = DeepInfomaxClassifier(encoder, random_state=halves.split)
        return model.fit(train, y).predict(test)

    return predict


def nearest(halves, names):
    """Take the class of the labelled series that is nearest by time warping."""
    _, distances, _ = halves.encode(*names)
    return lambda rows: halves.y[rows[distances[:, rows].argmin(axis=1)]]


OUR_ROWS = ("DIM", "fixed layer", "DIM classifier")
ROCKETS = ("MultiRocket", "Hydra")
METHODS = {
    "DIM": (ridge, ["DIM"]),
    "fixed layer": (ridge, ["fixed layer"]),
    "DIM classifier": (fine_tuned, []),
    "raw": (ridge, ["raw"]),
    "catch22": (ridge, ["catch22"]),
    "QUANT": (ridge, ["QUANT"]),
    "MiniRocket": (ridge, ["MiniRocket"]),
    "MultiRocket": (ridge, ["MultiRocket"]),
    "Hydra": (ridge, ["Hydra"]),
    "Hydra, own scaler": (partial(ridge, own_scaler=True), ["Hydra"]),
    "MultiRocket-Hydra": (ridge, ROCKETS),
    "MultiRocket-Hydra, own scaler": (partial(ridge, own_scaler=True), ROCKETS),
    "Hydra + LabelSpreading": (spread, ["Hydra"]),
    "MultiRocket-Hydra + LabelSpreading": (spread, ROCKETS),
    "1-NN DTW": (nearest, ["1-NN DTW"]),
}


def cells_of_dtw(samples):
    """Cells of the tables of time warping between the halves, within the window."""
    lengths = np.array([each.shape[1] for each in samples])
    return (lengths.sum() / 2) ** 2 * len(samples[0]) * 0.1


def measure(halves, name, at_most):
    """Accuracies by labels a class, the mean over the draws, and seconds."""
    prepare, names = METHODS[name]
    encoded = [halves.encode(each) for each in names]
    start = time.perf_counter()
    predict = prepare(halves, names)
    prepared = time.perf_counter()
    accuracies: dict = {}
    for count, rows in halves.draws(at_most):
        right = predict(rows) == halves.y_test
        accuracies.setdefault(count, []).append(float(right.mean()))
    n_draws = sum(map(len, accuracies.values()))
    return {
        "accuracies": {count: np.mean(each) for count, each in accuracies.items()},
        "seconds": prepared - start + sum(seconds for *_, seconds in encoded),
        "seconds_a_draw": (time.perf_counter() - prepared) / n_draws,
        "draws": {count: len(each) for count, each in accuracies.items()},
        "width": sum(Z.shape[1] for _, Z, _ in encoded),
    }


def describe(name, samples, y):
    lengths = sorted({each.shape[1] for each in samples})
    length = f"{lengths[0]} to {lengths[-1]}" if len(lengths) > 1 else str(lengths[0])
    return (
        f"{name}: {len(samples)} series of {length} values, "
        f"{len(samples[0])} channels, {y.max() + 1} classes"
    )


def run(sets, args):
    """Measure what the file does not have yet, and append it."""
    done = {(r["set"], r["features"], r["split"]) for r in series_tables.read(args.out)}
    if not args.list and set(OUR_ROWS) & set(args.features):
        dim(generated(8, 64), 0)  # what torch sets up once
    for set_name, folder in sets.items():
        samples, y = load_series(set_name, folder)
        print(describe(set_name, samples, y), flush=True)
        if any(np.isnan(each).any() for each in samples):
            print("left out: values are missing")
            continue
        names = list(args.features)
        if cells_of_dtw(samples) > MOST_CELLS and "1-NN DTW" in names:
            names.remove("1-NN DTW")
            print("1-NN DTW is left out: it would take too long")
        for split in () if args.list else range(args.splits):
            halves = Halves(samples, y, split)
            for name in names:
                if (set_name, name, split) in done:
                    continue
                key = {"set": set_name, "features": name, "split": split}
                row = key | measure(halves, name, args.draws) | {"machine": machine()}
                with Path(args.out[0]).open("a") as file:
                    file.write(json.dumps(row) + "\n")
                cells = "".join(f"{c:>5} {a:.3f}" for c, a in row["accuracies"].items())
                seconds = f"{row['seconds']:8.2f} s, {row['seconds_a_draw']:.2f} a draw"
                print(f"  {split} {name:36}{cells}{seconds}", flush=True)


def generated(n, length):
    """Noisy sines of random frequency and phase, (n, 1, length), without copies."""
    rng = np.random.default_rng(0)
    times = np.linspace(0, 2 * np.pi, length)
    series = np.empty((n, 1, length), dtype=np.float32)
    for start in range(0, n, 1000):
        block = series[start : start + 1000]
        frequency = rng.uniform(2, 20, (len(block), 1, 1))
        phase = rng.uniform(0, 2 * np.pi, (len(block), 1, 1))
        noise = rng.standard_normal(block.shape)
        block[:] = np.sin(frequency * times + phase) + 0.5 * noise
    return series


def measure_scale(name, n, length):
    """Print seconds and the peak of memory above the series, in this process."""
    _, fit = FEATURES[name]
    small = generated(200, length)
    fit(small, 0)(small)  # what is compiled or allocated once
    series = generated(n, length)
    start = time.perf_counter()
    before = peak()
    transform = fit(series, 0)
    fitted = time.perf_counter()
    width = transform(series).shape[1]
    seconds = f"{fitted - start:.1f} | {time.perf_counter() - fitted:.1f}"
    memory = f"{series.nbytes / 2**20:.0f} | {n * width / 2**18:.0f}"
    row = f"{name} | {n:,} | {length:,} | {seconds} | {peak() - before:.0f} | {memory}"
    print(f"| {row} |", flush=True)


def scale(args):
    """Measure each size in a process of its own, so that each has its own peak."""
    head = "| | series | length | s fit | s transform | MB above them | MB of series "
    print(head + "| MB of features |\n" + "|---" * 8 + "|", flush=True)
    for name in args.features:
        for n, length in SCALE:
            sizes = [str(round(n * args.part)), str(length)]
            subprocess.run(
                [sys.executable, __file__, "--one", name, *sizes], check=True
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", help="folders of sets in .ts files")
    parser.add_argument("--set", nargs="+", help="names of sets, by default all")
    parser.add_argument("--features", nargs="+", choices=METHODS, metavar="NAME")
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--draws", type=int, default=5, help="at most, of the labels")
    parser.add_argument("--list", action="store_true", help="only name the sets")
    parser.add_argument(
        "--out", nargs="+", help="file to append to, and others to read"
    )
    parser.add_argument("--table", action="store_true", help="print it, run nothing")
    parser.add_argument("--plot", help="file for the picture; run nothing")
    parser.add_argument("--scale", action="store_true")
    parser.add_argument("--part", type=float, default=1, help="of the sizes of --scale")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        measure_scale(args.one[0], *map(int, args.one[1:]))
    elif args.scale:
        args.features = args.features or ["DIM"]
        scale(args)
    elif args.table or args.plot:
        rows = series_tables.select(
            series_tables.read(args.out), args.set, args.features
        )
        rows.sort(key=lambda row: list(METHODS).index(row["features"]))
        if args.table:
            print(series_tables.tables(rows, OUR_ROWS))
        if args.plot:
            series_tables.plot(rows, OUR_ROWS, args.plot)
    else:
        if not (args.out or args.list):
            parser.error("--out names the file to append to")
        args.features = args.features or list(METHODS)
        sets = find_sets(args.data or package_folders())
        if unknown := set(args.set or ()) - sets.keys():
            parser.error(f"no sets {sorted(unknown)}; there are {list(sets)}")
        run({n: path for n, path in sets.items() if n in (args.set or sets)}, args)


if __name__ == "__main__":
    main()
