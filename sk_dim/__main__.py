"""The main job: Deep InfoMax on scikit-learn's digits, beside simpler features.

Run it with ``python -m sk_dim``. It learns features of 1,297 images without their
labels, and prints how many of 500 other images a linear model on them gets right, with
few labels and with many.
"""

import importlib.util
import time
from collections.abc import Callable

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from sk_dim import DeepInfomaxTransformer
from sk_dim._baselines import PatchKMeans, probe

N_LABELS = (2, 5, 10, 30, None)
N_COMPONENTS = 256  # enough for digits, and probed in less time than the default
PICTURE = "sk_dim_digits.png"


def main(n_draws: int = 3, max_iter: int | str = "auto") -> dict[str, list[float]]:
    """Print the table and save the curves; return the mean accuracies by method."""
    start = time.monotonic()
    X, y = load_digits(return_X_y=True)
    images = X.reshape(-1, 8, 8)
    train, test, y_train, y_test = train_test_split(
        images, y, test_size=500, stratify=y, random_state=0
    )
    print(f"{len(train)} images to learn from, {len(test)} to test on.\n")
    features = {
        "raw pixels": _flat,
        "PCA": _Flattened(PCA(n_components=32, random_state=0).fit(_flat(train))),
        "patch k-means": PatchKMeans().fit(train).transform,
        "untrained encoder": _untrained(train),
        "Deep InfoMax": DeepInfomaxTransformer(
            N_COMPONENTS, max_iter=max_iter, random_state=0, verbose=1
        )
        .fit(train)
        .transform,
    }
    print("\nAccuracy of a linear model, with labels a class (mean of the draws):\n")
    print(f"{'':20}" + "".join(f"{n or 'all':>8}" for n in N_LABELS))
    table = {}
    for name, transform in features.items():
        Z, Z_test = transform(train), transform(test)
        table[name] = [
            float(probe(Z, y_train, Z_test, y_test, n, n_draws=n_draws).mean())
            for n in N_LABELS
        ]
        print(f"{name:20}" + "".join(f"{value:8.3f}" for value in table[name]))
    if importlib.util.find_spec("matplotlib"):
        _save_curves(table, len(train) // 10)
        print(f"\nThe curves are in {PICTURE}.")
    print(f"Done in {time.monotonic() - start:.0f} s.")
    return table


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)


class _Flattened:
    """Transforms flattened images."""

    def __init__(self, fitted: PCA) -> None:
        self.fitted = fitted

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self.fitted.transform(_flat(images))


def _untrained(images: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return the features of an encoder as it is initialised, with its scaling."""
    dim = DeepInfomaxTransformer(
        N_COMPONENTS, max_iter=1, learning_rate=1e-12, random_state=0
    )
    return dim.fit(images).transform


def _save_curves(table: dict[str, list[float]], n_all: int) -> None:
    """Draw accuracy over labels a class, one curve a method."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    x = [n or n_all for n in N_LABELS]
    for name, accuracies in table.items():
        is_ours = name == "Deep InfoMax"
        ax.plot(x, accuracies, marker="o", label=name, linewidth=3 if is_ours else 1.5)
    ax.set_xscale("log")
    ax.set_xticks(x, [str(n) for n in x[:-1]] + [f"all\n(about {n_all})"])
    ax.minorticks_off()
    ax.set_xlabel("labels a class")
    ax.set_ylabel("accuracy on 500 test images")
    ax.set_title("Digits, 8x8: a linear model on features learnt without labels")
    ax.grid(alpha=0.3)
    ax.legend()
    fig.savefig(PICTURE, dpi=120)
    plt.close(fig)


if __name__ == "__main__":
    main()
