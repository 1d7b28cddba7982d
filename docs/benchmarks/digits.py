"""Digits with few labels: Deep InfoMax with defaults beside what one could have.

For each seed: 500 test images held out, features learnt from the others without labels,
then the probe (five stratified draws, all labels once). An SVC is trained on the drawn
images alone, and on these with copies shifted by a pixel and rotated by 10 degrees::

    python docs/benchmarks/digits.py --seeds 0 1 2
"""

import argparse
import platform
import time

import numpy as np
import torch
from scipy import ndimage
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from sk_dim import DeepInfomaxTransformer
from sk_dim._baselines import PatchKMeans, draw_rows, probe

N_LABELS = (2, 5, 10, 30, None)


def flat(images):
    return images.reshape(len(images), -1)


def copies(images):
    """Return the images, shifted in four directions and rotated both ways."""
    moved = [images]
    for shift in [(0, 1), (0, -1), (1, 0), (-1, 0)]:
        moved.append(ndimage.shift(images, (0, *shift), order=1))
    for angle in (-10, 10):
        moved.append(ndimage.rotate(images, angle, axes=(1, 2), reshape=False, order=1))
    return np.concatenate(moved), len(moved)


def svc(train, y_train, test, y_test, n_labels, seed, *, with_copies):
    """Mean accuracy of an SVC on the same draws as the probe's."""
    accuracies = []
    for draw in range(1 if n_labels is None else 5):
        rows = draw_rows(y_train, n_labels, seed, draw)
        images, n_copies = copies(train[rows]) if with_copies else (train[rows], 1)
        model = SVC(C=10, gamma="scale").fit(
            flat(images), np.tile(y_train[rows], n_copies)
        )
        accuracies.append(model.score(flat(test), y_test))
    return np.mean(accuracies)


def run(seed, params):
    """Rows of the table for one seed, and the seconds that the fit took."""
    X, y = load_digits(return_X_y=True)
    train, test, y_train, y_test = train_test_split(
        X.reshape(-1, 8, 8), y, test_size=500, stratify=y, random_state=seed
    )
    untrained = DeepInfomaxTransformer(
        random_state=seed, max_iter=1, learning_rate=1e-12
    )
    untrained.fit(train)
    start = time.perf_counter()
    dim = DeepInfomaxTransformer(random_state=seed, **params).fit(train)
    seconds = time.perf_counter() - start
    pca = PCA(n_components=32, random_state=seed).fit(flat(train))
    transforms = {
        "raw pixels": flat,
        "PCA": lambda images: pca.transform(flat(images)),
        "patch k-means (400)": PatchKMeans(random_state=seed).fit(train).transform,
        "untrained encoder": untrained.transform,
        "Deep InfoMax": dim.transform,
    }
    table = {
        name: [
            probe(f(train), y_train, f(test), y_test, n, seed=seed).mean()
            for n in N_LABELS
        ]
        for name, f in transforms.items()
    }
    for name, with_copies in (("SVC", False), ("SVC on copies", True)):
        table[name] = [
            svc(train, y_train, test, y_test, n, seed, with_copies=with_copies)
            for n in N_LABELS
        ]
    return table, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    tables, seconds = zip(*[run(seed, {}) for seed in args.seeds], strict=True)
    print(
        f"{platform.machine()}, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}; seeds {args.seeds}; fit "
        f"{', '.join(f'{s:.1f}' for s in seconds)} s"
    )
    print(f"{'labels a class':22}" + "".join(f"{n or 'all':>15}" for n in N_LABELS))
    for name in tables[0]:
        values = np.array([table[name] for table in tables])
        cells = zip(values.mean(axis=0), values.std(axis=0), strict=True)
        print(f"{name:22}" + "".join(f"  {m:.4f}±{s:.4f}" for m, s in cells))


if __name__ == "__main__":
    main()
