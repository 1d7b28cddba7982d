"""Classifiers with few labels, the other rows of the training part without them.

Digits of scikit-learn, values divided by 16, ten draws of the labels (some 25 minutes
on two cores)::

    python docs/benchmarks/few_labels.py digits

and photos from a file, 5,000 unlabelled and 500 labelled, three draws (40 minutes)::

    python docs/benchmarks/few_labels.py cifar --cifar cifar10_jpeg.npz

Features are learnt once, from all training rows, and fine-tuned for each draw.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from data_sets import flat, load_cifar
from digits import copies
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC

from sk_dim import DeepInfomaxClassifier, DeepInfomaxTransformer
from sk_dim._baselines import PatchKMeans
from sk_dim.evaluation import LabelEfficiency, label_efficiency, utility

RESULTS = Path(__file__).parent / "results"


class SVCOnCopies(SVC):
    """An SVC on shifted and rotated copies of the labelled images too."""

    def fit(self, X, y):
        moved, n_copies = copies(X)
        return super().fit(flat(moved), np.tile(y, n_copies))

    def predict(self, X):
        return super().predict(flat(X))


def on_rows(model):
    return make_pipeline(FunctionTransformer(flat), model)


def run_digits(args):
    images, y = load_digits().images / 16, load_digits().target
    X, X_test, y, y_test = train_test_split(
        images, y, test_size=500, stratify=y, random_state=args.seed
    )
    start = time.monotonic()
    dim = DeepInfomaxTransformer(random_state=args.seed).fit(X)
    print(f"features learnt in {time.monotonic() - start:.0f} s", flush=True)
    ours = DeepInfomaxClassifier(FrozenEstimator(dim), random_state=args.seed)
    models = {
        "LogisticRegression": on_rows(LogisticRegression(max_iter=500)),
        "SVC": on_rows(SVC()),
        "SVC on copies": SVCOnCopies(),
        "RandomForest": on_rows(RandomForestClassifier(random_state=0)),
        "patch k-means": PatchKMeans().fit(X),
        "LabelSpreading": on_rows(LabelSpreading(kernel="knn", n_neighbors=7)),
        "SelfTraining": on_rows(
            SelfTrainingClassifier(LogisticRegression(max_iter=500))
        ),
        "frozen features": dim,
        "from scratch": DeepInfomaxClassifier(pretrain=False, random_state=args.seed),
        "DeepInfomaxClassifier": ours,
    }
    return label_efficiency(
        models,
        X,
        y,
        [10, 20, 50, 100],
        X_test=X_test,
        y_test=y_test,
        n_draws=args.draws or 10,
        semi_supervised=["LabelSpreading", "SelfTraining", "DeepInfomaxClassifier"],
        random_state=args.seed,
    )


def run_cifar(args):
    X, X_test, y, y_test = load_cifar(args.cifar, 5500, 2000)
    start = time.monotonic()
    dim = DeepInfomaxTransformer(
        augment="natural", max_time=90, random_state=args.seed
    ).fit(X)
    print(f"features learnt in {time.monotonic() - start:.0f} s", flush=True)
    ours = DeepInfomaxClassifier(
        FrozenEstimator(dim), max_time=200, random_state=args.seed
    )
    scratch = clone(ours).set_params(pretrain=False)
    shorter = clone(scratch).set_params(max_time=60)
    test = {
        "X_test": X_test,
        "y_test": y_test,
        "n_draws": args.draws or 3,
        "random_state": args.seed,
    }
    start = time.monotonic()
    parts = [
        label_efficiency(
            {"DeepInfomaxClassifier": ours},
            X,
            y,
            [500],
            semi_supervised=["DeepInfomaxClassifier"],
            **test,
        )
    ]
    seconds = (time.monotonic() - start) / test["n_draws"]
    print(f"fine-tuned and tested in {seconds:.0f} s", flush=True)
    others = {
        "patch k-means": PatchKMeans(1200).fit(X),
        "frozen features": dim,
        "from scratch": scratch,
    }
    parts.append(label_efficiency(others, X, y, [500], **test))
    print(parts[-1], flush=True)
    # The same draws, of which each holds those of fewer labels.
    curve = label_efficiency(
        {"from scratch, 60 s": shorter}, X, y, [500, 750, 1000, 1500], **test
    )
    models = (*parts[1].models, *curve.models, *parts[0].models)
    scores = [parts[1].scores, curve.scores[:, :1], parts[0].scores]
    found = LabelEfficiency(models, parts[0].budgets, np.concatenate(scores))
    print(found, flush=True)
    return found, curve


def paired(found):
    """Gains of our classifier over each other model, on the same draws of labels."""
    ours = found.scores[found.models.index("DeepInfomaxClassifier")]
    lines = []
    for name, scores in zip(found.models, found.scores, strict=True):
        if name == "DeepInfomaxClassifier":
            continue
        gains = ours - scores
        error = gains.std(axis=1, ddof=1) / gains.shape[1] ** 0.5
        cells = [
            f"{g:+.3f} ± {e:.3f}" for g, e in zip(gains.mean(1), error, strict=True)
        ]
        lines.append(f"{name:24}" + "".join(f"{cell:>18}" for cell in cells))
    return "\n".join(lines)


def as_dict(found):
    return {
        "models": found.models,
        "budgets": found.budgets.tolist(),
        "scores": found.scores.tolist(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=("digits", "cifar"))
    parser.add_argument("--cifar", help="file with the images")
    parser.add_argument("--draws", type=int)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.data == "digits":
        found = run_digits(args)
        report = {"few_labels": as_dict(found)}
        print(found)
    else:
        found, curve = run_cifar(args)
        report = {"few_labels": as_dict(found), "from_scratch": as_dict(curve)}
        print(curve)
        ours = found.scores[found.models.index("DeepInfomaxClassifier")]
        print(utility(curve.budgets, curve.scores[0], found.budgets, ours))
    print("gain of DeepInfomaxClassifier in pairs, with its standard error:")
    print(paired(found))
    path = RESULTS / f"few_labels_{args.data}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
