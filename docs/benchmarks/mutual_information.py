"""Estimates of mutual information on tasks whose answer is known.

The tasks are those of the package benchmark-mi (Czyz et al. 2023, arXiv:2306.11078),
which is judged beside. Its versions of numpy and jax need an environment of their own,
so it draws the samples and estimates there, and both tables are joined here::

    python docs/benchmarks/mutual_information.py --theirs samples.npz   # in its own
    python docs/benchmarks/mutual_information.py samples.npz            # in ours

The first command draws ``--seeds`` samples of ``--rows`` rows of each task and writes
them with the estimates of its InfoNCE, MINE, NWJ, Donsker-Varadhan, KSG and CCA; the
second adds ours, and scikit-learn's of single columns, and prints errors and seconds.
"""

import argparse
import time

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
    if args.only:
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
    np.savez(args.samples, **out)


def ours(args):
    """Add our estimates to those in the file, and print the table."""
    from sklearn.feature_selection import mutual_info_regression

    from sk_dim import MutualInformationEstimator

    errors, seconds = {}, {}
    with np.load(args.samples) as data:
        truths = {name: float(data[f"{name}|truth"]) for name in TASKS}
        keys = [key.split("|") for key in data.files if key.endswith("|X")]
        for name, seed, _ in keys:
            X, Y = data[f"{name}|{seed}|X"], data[f"{name}|{seed}|Y"]
            found = {
                key.split("|")[2]: data[key]
                for key in data.files
                if key.startswith(f"{name}|{seed}|benchmark-mi")
            }
            for bound in args.bounds:
                estimator = MutualInformationEstimator(bound, random_state=int(seed))
                found[f"sk_dim, {bound}"] = timed(
                    lambda X, Y, e=estimator: e.fit(X, Y).mutual_information_, X, Y
                )
            if X.shape[1] == Y.shape[1] == 1:
                found["mutual_info_regression"] = timed(
                    lambda X, Y: mutual_info_regression(X, Y[:, 0])[0], X, Y
                )
            for method, (value, spent) in found.items():
                errors.setdefault(method, {}).setdefault(name, []).append(
                    value - truths[name]
                )
                seconds.setdefault(method, []).append(spent)
            print(
                f"{name:50} seed {seed} truth {truths[name]:.3f}  "
                + "  ".join(f"{m} {v:.3f}" for m, (v, _) in found.items()),
                flush=True,
            )
    print(f"\n{len(X)} rows; mean error, and spread over seeds where there are several")
    for method, by_task in errors.items():
        print(f"\n{method}: {np.median(seconds[method]):.1f} s (median)")
        for name, each in by_task.items():
            print(f"  {name:50}{np.mean(each):+.3f} ± {np.std(each):.3f}")
        every = np.abs(np.concatenate(list(by_task.values())))
        print(f"  {'mean absolute error':50} {every.mean():.3f} (to {every.max():.3f})")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("samples", help="file of samples and of their estimates")
    parser.add_argument(
        "--theirs", action="store_true", help="draw, and estimate there"
    )
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", help="these of their estimators")
    parser.add_argument("--bounds", nargs="+", default=["infonce"], help="of ours")
    args = parser.parse_args()
    if args.theirs:
        theirs(args)
    else:
        ours(args)


if __name__ == "__main__":
    main()
