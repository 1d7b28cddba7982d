"""Which labels survive which view: a probe on generated data, beside raw values.

For each factor of `sk_dim.datasets` and each view, features are learnt from 2,000
samples without labels; a linear model on 20 labels a class then tells how much of the
factor is left. A view makes the encoder forget what it changes::

    python docs/benchmarks/views.py --seeds 0 1 2
"""

import argparse
import platform
import time

import numpy as np
import torch
from data_sets import flat

from sk_dim import DeepInfomaxTransformer
from sk_dim._baselines import PatchKMeans, probe
from sk_dim.datasets import IMAGE_FACTORS, SERIES_FACTORS, make_images, make_series

N_LABELS = 20
IMAGE_VIEWS = ("auto", None, "crop", "noise", "flip", "color", "natural")
SERIES_VIEWS = ("auto", "crop", "noise", "flip", "color")


def accuracy(transform, train, test, y, y_test, seed):
    Z, Z_test = transform(train), transform(test)
    return probe(Z, y, Z_test, y_test, N_LABELS, seed=seed).mean()


def run(make, factor, views, seed, params):
    """Accuracies by method for one factor and one seed."""
    X, y = make(factor, 3000, random_state=seed)
    data = X[:2000], X[2000:], y[:2000], y[2000:]
    table = {"raw": accuracy(flat, *data, seed)}
    if X.ndim == 4:
        k_means = PatchKMeans(random_state=seed).fit(data[0])
        table["patch k-means (400)"] = accuracy(k_means.transform, *data, seed)
    for view in views:
        dim = DeepInfomaxTransformer(
            augment=view,
            random_state=seed,
            input_type="image" if X.ndim == 4 else "series",
            **params,
        )
        table[str(view)] = accuracy(dim.fit(data[0]).transform, *data, seed)
    return table


def report(make, factors, views, args):
    print(f"\n{'':22}" + "".join(f"{factor:>13}" for factor in factors))
    params = {} if args.max_time is None else {"max_time": args.max_time}
    if args.views:
        views = [view for view in views if str(view) in args.views]
    columns = [
        [run(make, factor, views, seed, params) for seed in args.seeds]
        for factor in factors
    ]
    for name in columns[0][0]:
        cells = [np.array([table[name] for table in tables]) for tables in columns]
        print(
            f"{name:22}"
            + "".join(f"  {each.mean():.3f}±{each.std():.3f}" for each in cells),
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--max-time", type=float, help="seconds a fit")
    parser.add_argument("--only", choices=["images", "series"])
    parser.add_argument("--views", nargs="+", help="these alone, 'None' for no view")
    args = parser.parse_args()
    start = time.perf_counter()
    print(
        f"{platform.machine()}, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}; seeds {args.seeds}, {N_LABELS} labels a class"
    )
    if args.only != "series":
        report(make_images, IMAGE_FACTORS, IMAGE_VIEWS, args)
    if args.only != "images":
        report(make_series, SERIES_FACTORS, SERIES_VIEWS, args)
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
