"""What was tried to learn more from photos in the same time, and what it gave.

Each recipe changes one thing of the defaults with natural views, for as many epochs on
5,000 images of CIFAR-10; each read-out makes other features of one fit. Both are judged
by the probe with 10 and 100 labels a class (5 and 2 draws) and with all, on 2,000 test
images::

    python docs/benchmarks/attempts.py recipes --cifar FILE --epochs 12 --seeds 0
    python docs/benchmarks/attempts.py readouts --cifar FILE --epochs 24 --seeds 0
    python docs/benchmarks/attempts.py readouts --data mnist --epochs 8 --seeds 0 1
    python docs/benchmarks/attempts.py recipes --cifar FILE --only "batches of 64"

"classifier" fine-tunes features of 5,500 images by 50 labels a class, for each seed
another draw of them, and prints its accuracy on the test images::

    python docs/benchmarks/attempts.py classifier --cifar FILE --epochs 20 --steps 250
"""

import argparse
import math
import time
from contextlib import nullcontext
from functools import partial

import changed_training
import numpy as np
import torch
from data_sets import load
from sklearn.frozen import FrozenEstimator
from torch import nn
from torch.nn.functional import interpolate

from sk_dim import DeepInfomaxClassifier, DeepInfomaxTransformer
from sk_dim import augmentations as views
from sk_dim._baselines import PatchKMeans, probe
from sk_dim.critics import CosineCritic, DotCritic
from sk_dim.encoders import PatchEncoder
from sk_dim.encoders._layers import Residual


class DeeperEncoder(PatchEncoder):
    """PatchEncoder with another 3x3 convolution and residual net on its last map."""

    def __init__(self, input_shape, n_components):
        super().__init__(input_shape, n_components)
        width = self.norm.num_features
        conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        layers = conv, nn.BatchNorm2d(width), nn.ReLU(), Residual(width)
        self.stages.append(nn.Sequential(*layers))


SMALL_CROPS = views.Compose(
    (partial(views.crop, min_area=0.2, max_angle=0.0), views.flip, views.color)
)
RECIPES = {
    "defaults": {},
    "batches of 64": {"batch_size": 64},
    "batches of 256": {"batch_size": 256},
    "learning rate 6e-3": {"learning_rate": 6e-3},
    "temperature 0.2 of the global term": {"temperature": 0.2},
    "temperature 0.5 of the local term": {
        "critic": partial(DotCritic, temperature=0.5)
    },
    "weight 4 of the global term": {"global_weight": 4.0},
    "crops from 0.2 of the area": {"augment": SMALL_CROPS},
    "128 patch filters": {"encoder": partial(PatchEncoder, n_filters=128)},
    "one more convolution": {"encoder": DeeperEncoder},
    "views not shrunk": {"encoder": partial(PatchEncoder, view_scale=1.0)},
    "critics see one mean of each channel": {"encoder": changed_training.MeanEncoder},
    "critics see its largest value": {"encoder": changed_training.MaximaEncoder},
    "two small views more": {"change": changed_training.small_views},
    "one view mixed with another's": {"change": changed_training.mixed_views},
    "an average of the weights": {"change": changed_training.averaged_weights},
    "Muon": {"change": changed_training.muon},
    "Muon at a third of the rate": {"change": partial(changed_training.muon, 0.007)},
    "1,024 units in the head": {"change": partial(changed_training.other_head, 1024)},
    "two hidden layers in it": {"change": partial(changed_training.other_head, 512, 2)},
    "two encoders": {"n_encoders": 2},
    "three encoders": {"n_encoders": 3},
}


CLASSIFIERS = {
    "defaults": {},
    "unlabelled_weight=2": {"unlabelled_weight": 2.0},
    "temperature=0.35": {"temperature": 0.35},
    "infomax_weight=0.3": {"infomax_weight": 0.3},
    "rate_decay=0.7": {"rate_decay": 0.7},
}


def fit(X, seed, epochs, temperature=None, change=nullcontext, **params):
    """Fit with a recipe, whose temperature of the global term is no parameter."""
    init = CosineCritic.__init__

    def changed(self, *args, **kwargs):
        init(self, *args, **kwargs | {"temperature": temperature})

    if temperature is not None:
        CosineCritic.__init__ = changed
    try:
        if X.ndim == 4:  # of photos, not of digits
            params = {"augment": "natural"} | params
        params = {"max_iter": epochs} | params
        with change():
            return DeepInfomaxTransformer(random_state=seed, **params).fit(X)
    finally:
        CosineCritic.__init__ = init


def judge(name, Z, y, Z_test, y_test, seconds=""):
    cells = " | ".join(
        f"{probe(Z, y, Z_test, y_test, n, n_draws=n_draws).mean():.3f}"
        for n, n_draws in ((10, 5), (100, 2), (None, 1))
    )
    print(f"| {name} | {cells} | {Z.shape[1]:,} | {seconds} |", flush=True)


def recipes(X, T, y, y_test, args):
    for name in args.only or RECIPES:
        for seed in args.seeds:
            start = time.monotonic()
            params = dict(RECIPES[name])
            seeds = range(seed, seed + params.pop("n_encoders", 1))
            fitted = [fit(X, each, args.epochs, **params) for each in seeds]
            seconds = f"{time.monotonic() - start:.0f}"
            Z, Z_test = (
                np.hstack([dim.transform(each) for dim in fitted]) for each in (X, T)
            )
            judge(name, Z, y, Z_test, y_test, seconds)


@torch.inference_mode()
def encode(dim, images, make):
    """Join what is made of scaled images, 500 at a time."""
    parts = []
    for start in range(0, len(images), 500):
        batch = torch.from_numpy(images[start : start + 500])
        batch = batch.movedim(-1, 1) if batch.ndim == 4 else batch.unsqueeze(1)
        parts.append(make(dim.model_.scaling(batch)))
    return torch.cat(parts).numpy()


def mean_over_sizes(encoder, make, batch):
    """Mean of what is made of the image as it is, and as small as training views."""
    small = [round(encoder.view_scale * side) for side in batch.shape[2:]]
    shrunk = interpolate(batch, small, mode="bilinear", antialias=True)
    return (make(encoder(batch)) + make(encoder(shrunk))) / 2


def means_of_neighbours(rows, known, n=10):
    """Means of the known rows that are most alike in direction, but not equal."""
    a, b = (
        torch.nn.functional.normalize(torch.from_numpy(each)) for each in (rows, known)
    )
    found = []
    for part in a.split(500):
        likeness = part @ b.T
        likeness[likeness > 1 - 1e-5] = -1
        found.append(known[likeness.topk(n).indices.numpy()].mean(axis=1))
    return np.concatenate(found)


def readouts_of(dim, X, T):
    """Return what makes features of training and test images, by name."""
    images = np.concatenate([X, T])
    encoder, head = dim.encoder_.eval(), dim.model_.objective.eval().critics["global"]

    def global_():
        Z = encode(dim, images, lambda batch: encoder(batch).global_)
        return (Z - Z[: len(X)].mean(axis=0)) / Z[: len(X)].std(axis=0)

    def maxima(features):
        n_channels = features.conv.shape[1]
        return features.hidden[:, -n_channels * math.prod(encoder.grid) :]

    def with_neighbours():
        Z = global_()
        return np.hstack([Z, means_of_neighbours(Z, Z[: len(X)])])

    def with_k_means():
        k_means = PatchKMeans(random_state=0).fit(X)
        return np.hstack([global_(), k_means.transform(images)])

    return {
        "largest values of the last map": partial(
            encode, dim, images, lambda batch: maxima(encoder(batch))
        ),
        "averaged with those of the image as small as views": partial(
            encode, dim, images, partial(mean_over_sizes, encoder, maxima)
        ),
        "and means of the patch map in quadrants (hidden features)": partial(
            encode, dim, images, lambda batch: encoder(batch).hidden
        ),
        "global features": global_,
        "global, averaged with those of the image as small as views": partial(
            encode, dim, images, partial(mean_over_sizes, encoder, lambda f: f.global_)
        ),
        "behind the head of the global term": partial(
            encode, dim, images, lambda batch: head.embed(encoder(batch).code)
        ),
        "and means of the ten nearest": with_neighbours,
        "and patch k-means (400)": with_k_means,
    }


def readouts(X, T, y, y_test, args):
    for seed in args.seeds:
        known = readouts_of(fit(X, seed, args.epochs), X, T)
        for name in args.only or known:
            Z = known[name]()
            judge(name, Z[: len(X)], y, Z[len(X) :], y_test)


def classifier(X, T, y, y_test, args):
    learnt = FrozenEstimator(fit(X, 0, args.epochs))
    Z, Z_test = learnt.transform(X), learnt.transform(T)
    frozen = probe(Z, y, Z_test, y_test, 50, n_draws=3).mean()
    print(f"| frozen features, the probe, three draws | {frozen:.3f} |")
    for name in args.only or CLASSIFIERS:
        for seed in args.seeds:
            rng, given = np.random.default_rng(seed), np.full(len(y), -1)
            for each in np.unique(y):
                rows = rng.choice(np.flatnonzero(y == each), 50, replace=False)
                given[rows] = each
            model = DeepInfomaxClassifier(
                learnt, n_steps=args.steps, random_state=seed, **CLASSIFIERS[name]
            )
            score = model.fit(X, given).score(T, y_test)
            print(f"| {name}, draw {seed} | {score:.3f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("recipes", "readouts", "classifier"))
    parser.add_argument("--data", choices=("cifar", "mnist"), default="cifar")
    parser.add_argument("--cifar", help="file, see data_sets.py")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--steps", type=int, default=250, help="of fine-tuning")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--only", nargs="*")
    args = parser.parse_args()
    if args.what == "classifier":
        classifier(*load(args.data, args.cifar, 5500), args)
        return
    print(
        "| | 100 labels | 1,000 | all | columns | fit, s |\n|---|---|---|---|---|---|"
    )
    run = {"recipes": recipes, "readouts": readouts}[args.what]
    run(*load(args.data, args.cifar), args)


if __name__ == "__main__":
    main()
