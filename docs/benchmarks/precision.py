"""What bfloat16 costs in accuracy and gains in speed, paired over data sets and seeds.

Each fit is done in float32 and in bfloat16, as long, from the same seed; the probe then
judges the features of both on the same draws of labels. Differences are of a pair. It
says something only where the hardware multiplies bfloat16 itself::

    python docs/benchmarks/precision.py --data digits mnist cells osuleaf --seeds 0 1 2
"""

import argparse
import platform

import numpy as np
import torch
from data_sets import IMAGES, NAMES, fit_dim, load

from sk_dim._baselines import probe

PRECISIONS = ("float32", "bfloat16")


def pair(data, seed, labels):
    """Accuracies (precision, labels) of both fits, and their samples a second."""
    train, test, y, y_test = data
    accuracies, rates = [], []
    for precision in PRECISIONS:
        dim = fit_dim(train, seed, precision=precision)
        Z, Z_test = dim.transform(train), dim.transform(test)
        accuracies.append([probe(Z, y, Z_test, y_test, n).mean() for n in labels])
        rates.append(np.median([row["samples_per_second"] for row in dim.history_]))
    return np.array(accuracies), rates[1] / rates[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=NAMES, nargs="+", required=True)
    parser.add_argument("--cifar", help="file with the images; without it, OpenML")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    print(
        f"{platform.machine()}, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}; few, some and all labels; bfloat16 after float32"
    )
    differences = []
    for name in args.data:
        labels = [*([10, 100] if name in IMAGES else [5, 20]), None]
        data = load(name, args.cifar)
        for seed in args.seeds:
            accuracies, ratio = pair(data, seed, labels)
            differences.append(accuracies[1] - accuracies[0])
            cells = "".join(f"  {a:.3f} -> {b:.3f}" for a, b in accuracies.T)
            print(f"{name:14} seed {seed}{cells}   {ratio:.2f} x", flush=True)
    differences = np.array(differences)
    print(f"\n{'mean difference':21}", end="")
    for column in differences.T:
        error = column.std(ddof=1) / np.sqrt(len(column))
        print(f"  {column.mean():+.4f}±{error:.4f}", end="")
    print("\n± one standard error over the pairs")


if __name__ == "__main__":
    main()
