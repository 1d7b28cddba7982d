"""A grid search by two workers on two cores, beside its fits one after the other.

A grid of four fits, in turns: in this process with all its threads and with one, then
by two workers of loky, threads, Dask and Ray. What is not installed is left out::

    python docs/benchmarks/parallel.py --repeats 3

Start is what new processes take before they can fit: imports for the most part. The
grid begins then; Ray starts its workers once more for it. Scores are to be the same,
since all fits have the same seed.
"""

import argparse
import os
import platform
import statistics
import time
import warnings
from contextlib import contextmanager, nullcontext

import joblib
import numpy as np
import torch
from joblib.externals.loky import get_reusable_executor
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from sklearn.pipeline import make_pipeline

from sk_dim import DeepInfomaxTransformer

N_WORKERS = 2
LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@contextmanager
def one_thread():
    """Compute in this process on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def loky():
    """Start two processes of joblib's default backend."""
    try:
        with joblib.parallel_config("loky", n_jobs=N_WORKERS):
            yield
    finally:
        get_reusable_executor().shutdown(wait=True)


@contextmanager
def threads():
    """Two threads, each with one of torch."""
    with one_thread(), joblib.parallel_config("threading", n_jobs=N_WORKERS):
        yield


@contextmanager
def dask():
    """Start a Dask cluster of two processes."""
    from dask.distributed import Client

    cluster = {"n_workers": N_WORKERS, "threads_per_worker": 1}
    with (
        Client(**cluster, dashboard_address=None),
        joblib.parallel_config("dask", n_jobs=N_WORKERS),
    ):
        yield


@contextmanager
def ray():
    """Start Ray on two cores."""
    import ray as engine
    from ray.util.joblib import register_ray

    engine.init(num_cpus=N_WORKERS, include_dashboard=False, log_to_driver=False)
    register_ray()
    try:
        with joblib.parallel_config("ray", n_jobs=N_WORKERS):
            yield
    finally:
        engine.shutdown()


ENGINES = {
    "one after the other, all threads": nullcontext,
    "one after the other, one thread": one_thread,
    "loky": loky,
    "threading": threads,
    "dask": dask,
    "ray": ray,
}


def ready(delay=0.5):
    """Return the number of threads of a worker, once it has imported the package."""
    import sk_dim  # noqa: F401

    time.sleep(delay)  # so that both workers take one
    return torch.get_num_threads()


def measure(engine, X, y, n_epochs):
    """Seconds to start and to fit the grid, threads a worker has, and scores."""
    dim = DeepInfomaxTransformer(
        max_iter=n_epochs, device="cpu", precision="float32", random_state=0
    )
    search = GridSearchCV(
        make_pipeline(dim, LogisticRegression(max_iter=500)),
        {"deepinfomaxtransformer__n_components": [64, 128, 192, 256]},
        cv=ShuffleSplit(1, test_size=0.2, random_state=0),
        refit=False,
        error_score="raise",
    )
    for limit in LIMITS:  # without them backends divide the cores; Dask sets some
        os.environ.pop(limit, None)
    begin = time.perf_counter()
    with engine():
        tasks = (joblib.delayed(ready)() for _ in range(N_WORKERS))
        n_threads = max(joblib.Parallel()(tasks))
        start = time.perf_counter()
        search.fit(X, y)
        end = time.perf_counter()
    scores = search.cv_results_["mean_test_score"]
    each = search.cv_results_["mean_fit_time"].mean()
    return start - begin, end - start, each, n_threads, scores


def photos(n):
    """Draw images of 3x32x32 pixels in two classes, bars across and upright."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, n)
    bars = np.sin(np.arange(32) / 2)[:, None] * np.ones(32)
    X = np.where(y[:, None, None, None], bars, bars.T) + rng.normal(size=(n, 3, 32, 32))
    return (X * 30 + 128).clip(0, 255).astype(np.uint8), y


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--engines", nargs="+", default=list(ENGINES))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    X, y = photos(args.rows)
    print(
        f"{platform.machine()}, {joblib.cpu_count()} cores, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, joblib "
        f"{joblib.__version__}; 4 fits of {args.rows:,} images of 3x32x32 pixels, "
        f"{args.epochs} epochs each\n"
    )
    print("| engine | round | threads | start, s | grid, s | a fit, s | scores |")
    print("|---|---|---|---|---|---|---|", flush=True)
    measured = {name: [] for name in args.engines}
    for round_ in range(args.repeats):
        for name in args.engines:
            try:
                found = measure(ENGINES[name], X, y, args.epochs)
            except ModuleNotFoundError as error:
                print(f"| {name} | {round_} | {error} | | | | |", flush=True)
                continue
            start, grid, each, n_threads, scores = found
            measured[name].append((start, grid))
            print(
                f"| {name} | {round_} | {n_threads} | {start:.1f} | {grid:.1f} | "
                f"{each:.1f} | {' '.join(f'{score:.3f}' for score in scores)} |",
                flush=True,
            )
    print("\nMedians, and the range of the grid\n")
    print("| engine | start, s | grid, s | both, s |\n|---|---|---|---|")
    for name, rows in measured.items():
        if rows:
            start, grid = (
                statistics.median(column) for column in zip(*rows, strict=True)
            )
            both = statistics.median(map(sum, rows))
            spread = [row[1] for row in rows]
            print(
                f"| {name} | {start:.1f} | {grid:.1f} ({min(spread):.1f} to "
                f"{max(spread):.1f}) | {both:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
