"""Estimates of mutual information on tasks whose answer is known.

The tasks are those of the package benchmark-mi (Czyz et al. 2023, arXiv:2306.11078),
which is judged beside. Its versions of numpy and jax need an environment of their own,
so it draws the samples and estimates there, and both tables are joined here::

    python docs/benchmarks/mutual_information.py --theirs 10000.npz     # in its own
    python docs/benchmarks/mutual_information.py 10000.npz --json figures.json
    python docs/benchmarks/mutual_information.py --tables figures.json --plot errors.png

The first command draws ``--seeds`` samples of ``--rows`` rows of each task and writes
them with the estimates of its InfoNCE, MINE, NWJ, Donsker-Varadhan, KSG and CCA; the
second adds ours, and scikit-learn's of single columns, and goes on where an earlier run
ended; the third prints errors and seconds of one or more such files, and draws the
errors over the rows.
"""

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np

TASKS = (
    "1v1-additive-0.1",
    "wiggly-1v1-normal-0.75",
    "student-identity-1-1-1",
    "swissroll_x-normal_cdf-1v1-normal-0.75",
    "multinormal-dense-5-5-0.5",
    "multinormal-dense-25-25-0.5",
    "multinormal-sparse-5-5-2-2.0",
    "student-identity-5-5-2",
    "normal_cdf-multinormal-sparse-25-25-2-2.0",
    "half_cube-multinormal-sparse-25-25-2-2.0",
    "spiral-multinormal-sparse-5-5-2-2.0",
    "spiral-normal_cdf-multinormal-sparse-5-5-2-2.0",
)
MEANS = ("mean absolute error", "seconds, median")  # rows of the table over all tasks


def timed(estimate, X, Y):
    start = time.perf_counter()
    value = float(estimate(X, Y))
    return value, time.perf_counter() - start


def theirs(args):
    """Draw the samples, estimate, and write both."""
    import bmi
    from bmi import estimators

    methods = {
        "InfoNCE": estimators.InfoNCEEstimator,
        "MINE": estimators.MINEEstimator,
        "NWJ": estimators.NWJEstimator,
        "Donsker-Varadhan": estimators.DonskerVaradhanEstimator,
        "KSG": lambda: estimators.KSGEnsembleFirstEstimator(neighborhoods=(10,)),
        "CCA": estimators.CCAMutualInformationEstimator,
    }
    if args.only is not None:
        methods = {name: methods[name] for name in args.only}
    out = {}
    for name in TASKS:
        task = bmi.benchmark.BENCHMARK_TASKS[name]
        out[f"{name}|truth"] = task.mutual_information
        for seed in args.seeds:
            X, Y = map(np.asarray, task.sample(args.rows, seed=seed + 1))
            out[f"{name}|{seed}|X"], out[f"{name}|{seed}|Y"] = X, Y
            for method, build in methods.items():
                found = timed(build().estimate, X, Y)
                out[f"{name}|{seed}|benchmark-mi, {method}"] = found
                print(f"{name:50} seed {seed} {method:18}{found[0]:7.3f}", flush=True)
    np.savez(args.files[0], **out)


def ours(args):
    """Add our estimates to those in the files, and write what each found."""
    from sklearn.feature_selection import mutual_info_regression

    from sk_dim import MutualInformationEstimator

    path = Path(args.json)
    rows = json.loads(path.read_text())["results"] if path.exists() else []
    done = {(row["task"], str(row["seed"]), row["rows"]) for row in rows}
    with np.load(args.files[0]) as data:
        keys = [key.split("|") for key in data.files if key.endswith("|X")]
        for name, seed, _ in sorted(keys, key=lambda key: int(key[1])):
            if (name, seed, len(data[f"{name}|{seed}|X"])) in done:
                continue
            X, Y = data[f"{name}|{seed}|X"], data[f"{name}|{seed}|Y"]
            found = {
                key.split("|")[2]: data[key]
                for key in data.files
                if key.startswith(f"{name}|{seed}|benchmark-mi")
            }
            intervals = {}
            for bound in args.bounds:
                estimator = MutualInformationEstimator(bound, random_state=int(seed))
                found[f"sk_dim, {bound}"] = timed(
                    lambda X, Y, e=estimator: e.fit(X, Y).mutual_information_, X, Y
                )
                intervals[f"sk_dim, {bound}"] = estimator.interval_
            if X.shape[1] == Y.shape[1] == 1:
                found["mutual_info_regression"] = timed(
                    lambda X, Y: mutual_info_regression(X, Y[:, 0])[0], X, Y
                )
            truth = float(data[f"{name}|truth"])
            for method, (value, seconds) in found.items():
                rows.append(
                    {
                        "task": name,
                        "rows": len(X),
                        "seed": int(seed),
                        "truth": truth,
                        "method": method,
                        "value": round(float(value), 4),
                        "seconds": round(float(seconds), 2),
                        "interval": intervals.get(method),
                    }
                )
            print(
                f"{name:50} seed {seed} truth {truth:.3f}  "
                + "  ".join(f"{m} {v:.3f}" for m, (v, _) in found.items()),
                flush=True,
            )
            machine = f"{platform.machine()}, numpy {np.__version__}"
            figures = {"machine": machine, "results": rows}
            path.write_text(json.dumps(figures, indent=1) + "\n")


def tables(args):
    """Print errors and seconds of each method, and draw the errors over the rows."""
    results = []
    for path in args.files:
        results += json.loads(Path(path).read_text())["results"]
    methods = list(dict.fromkeys(each["method"] for each in results))
    counts = sorted({each["rows"] for each in results})
    errors = {}
    for n_rows in counts:
        print(f"\n{n_rows} rows: mean error in nats, and its spread over seeds\n")
        print(f"| | {' | '.join(methods)} |\n|{'---|' * (len(methods) + 1)}")
        for task in (*TASKS, "mean absolute error", "seconds, median"):
            cells = []
            for method in methods:
                chosen = [
                    each
                    for each in results
                    if (each["rows"], each["method"]) == (n_rows, method)
                    and task in (each["task"], *MEANS)
                ]
                found = np.array([each["value"] - each["truth"] for each in chosen])
                if not chosen:
                    cells.append("")
                elif task == "mean absolute error":
                    errors[method, n_rows] = np.abs(found).mean()
                    cells.append(f"{errors[method, n_rows]:.3f}")
                elif task == "seconds, median":
                    cells.append(f"{np.median([e['seconds'] for e in chosen]):.1f}")
                else:
                    spread = f"±{found.std():.3f}" * (len(found) > 1)
                    cells.append(f"{found.mean():+.3f}{spread}")
            print(f"| {task} | {' | '.join(cells)} |")
        print_coverage([each for each in results if each["rows"] == n_rows])
    if args.plot:
        draw(errors, methods, counts, args.plot)


def print_coverage(results):
    """Print how many intervals of each task hold the truth, and their mean width."""
    with_one = [each for each in results if each.get("interval")]
    for task in TASKS:
        of_task = [each for each in with_one if each["task"] == task]
        for method in dict.fromkeys(each["method"] for each in of_task):
            own = [each for each in of_task if each["method"] == method]
            low, high = np.transpose([each["interval"] for each in own])
            truth = own[0]["truth"]
            n_held = int(((low <= truth) & (truth <= high)).sum())
            print(
                f"{task}, {method}: {n_held} of {len(own)} intervals hold {truth:.3f}, "
                f"mean width {np.mean(high - low):.3f}"
            )


def draw(errors, methods, counts, path):
    """Draw the mean absolute error over the rows, of the methods that do all tasks."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for method in methods:
        if method == "mutual_info_regression":
            continue
        known = [n for n in counts if (method, n) in errors]
        style = {"linewidth": 2.5} if method.startswith("sk_dim") else {"alpha": 0.7}
        ax.plot(known, [errors[method, n] for n in known], "o-", label=method, **style)
    ax.set(
        xscale="log", yscale="log", xlabel="rows", ylabel="mean absolute error, nats"
    )
    ax.set_xticks(counts, [f"{n:,}" for n in counts])
    ax.minorticks_off()
    ax.legend(bbox_to_anchor=(1.02, 1), loc="upper left", frameon=False)
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", help="of samples, with --tables of figures")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--theirs", action="store_true", help="draw, and estimate there")
    mode.add_argument("--tables", action="store_true", help="print what was found")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="*", help="these of their estimators")
    parser.add_argument("--bounds", nargs="+", default=["infonce"], help="of ours")
    parser.add_argument("--json", default="figures.json", help="file for the figures")
    parser.add_argument("--plot", help="file for the picture")
    args = parser.parse_args()
    if args.theirs:
        theirs(args)
    elif args.tables:
        tables(args)
    else:
        ours(args)


if __name__ == "__main__":
    main()
