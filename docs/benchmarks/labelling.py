"""Which rows to label first: suggested rows beside random ones and other choices.

One model is fitted to each data set without labels, and its features are kept in a
folder; raw pixels are judged as well. Each of ten draws takes four fifths of the
training rows, at most 2,000, of which each method chooses some to label. Features are
standardised on all of these, and LogisticRegression is fitted to the chosen rows::

    python docs/benchmarks/labelling.py labels digits mnist cifar --cifar FILE

Outliers and near duplicates that were planted, and seconds and memory::

    python docs/benchmarks/labelling.py planted digits mnist cifar --cifar FILE
    python docs/benchmarks/labelling.py speed

"cifar_backbone" are the same images, on features of a pretrained net that was adapted
to them as in backbones.py.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from backbones import adapted
from data_sets import flat, load
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import pairwise_distances, roc_auc_score
from sklearn.neighbors import LocalOutlierFactor
from sklearn.preprocessing import StandardScaler

from sk_dim import DeepInfomaxTransformer
from sk_dim.selection import near_duplicates, outliers, suggest_labels

RESULTS = Path(__file__).parent / "results"
BUDGETS = (10, 20, 50, 100)
PARAMS = {
    "digits": {},
    "mnist": {"max_iter": 4},
    "cifar": {"augment": "natural", "max_iter": 4},
    "cifar_backbone": {"augment": "natural"},
}
OURS = "suggest_labels"
N_CHANGED = 200


def changes(images):
    """Near duplicates of images: moved by a pixel, brighter, noisier."""
    top, rng = images.max(), np.random.default_rng(0)
    noise = rng.normal(scale=0.02 * top, size=images.shape)
    return {
        "moved by a pixel": np.roll(images, 1, axis=2),
        "brighter by 10 %": np.clip(images * 1.1, 0, top).astype(images.dtype),
        "noise of 2 %": np.clip(images + noise, 0, top).astype(images.dtype),
    }


def find_features(name, args):
    """Features of a model without labels, and raw pixels; those kept, if there are."""
    path = Path(args.cache) / f"labelling_{name}.npz"
    if not path.exists():
        data, _, has_net = name.partition("_")
        X, X_test, y, y_test = load(data, args.cifar)
        start = time.monotonic()
        params = PARAMS[name] | ({"encoder": adapted()} if has_net else {})
        dim = DeepInfomaxTransformer(random_state=0, **params).fit(X)
        print(
            f"{name}: features learnt in {time.monotonic() - start:.0f} s", flush=True
        )
        arrays = {"Z": dim.transform(X), "Z_test": dim.transform(X_test)}
        arrays |= {"X": flat(X), "X_test": flat(X_test), "y": y, "y_test": y_test}
        for change, images in changes(X[:N_CHANGED]).items():
            arrays[change] = dim.transform(images)
        np.savez(path, **arrays)
    with np.load(path) as kept:
        return dict(kept)


def squared_distances(A, B):
    return pairwise_distances(A, B, "sqeuclidean")


def random_rows(P, y, n, seed):
    return np.random.default_rng(seed).permutation(len(P))[:n]


def stratified(P, y, n, seed):
    """Draw as many rows of each class, which takes knowing the classes."""
    order = np.random.default_rng(seed).permutation(len(P))
    place = np.empty(len(P))
    for label in np.unique(y):
        rows = order[y[order] == label]
        place[rows] = np.arange(len(rows))
    return order[np.argsort(place[order], kind="stable")][:n]


CLUSTERS = {}  # of the rows that are looked at, by their number


def clusters(P, n, seed):
    """Cluster by k-means, once for all methods."""
    if CLUSTERS.get("P") is not P:
        CLUSTERS.clear()
        CLUSTERS["P"] = P
    if n not in CLUSTERS:
        CLUSTERS[n] = KMeans(n, random_state=seed).fit(P).labels_
    return CLUSTERS[n]


def centres(P, y, n, seed):
    """Choose the row nearest to each centre of k-means."""
    labels = clusters(P, n, seed)
    middles = np.stack([P[labels == cluster].mean(axis=0) for cluster in range(n)])
    apart = squared_distances(P, middles)
    apart[labels[:, None] != np.arange(n)] = np.inf
    return apart.argmin(axis=0)


def typiclust(P, y, n, seed, n_neighbors=20):
    """Choose the row of each cluster of k-means nearest to its 20 neighbours."""
    labels = clusters(P, n, seed)
    chosen = []
    for cluster in range(n):
        rows = np.flatnonzero(labels == cluster)
        apart = np.sort(np.sqrt(squared_distances(P[rows], P[rows])), axis=1)
        chosen.append(rows[apart[:, : n_neighbors + 1].mean(axis=1).argmin()])
    return np.array(chosen)


def core_set(P, y, n, seed):
    """Choose the row that is farthest from those before, from a random one on."""
    chosen = [int(np.random.default_rng(seed).integers(len(P)))]
    nearest = np.full(len(P), np.inf)
    while len(chosen) < n:
        apart = squared_distances(P, P[chosen[-1:]])[:, 0]
        nearest = np.minimum(nearest, apart)
        chosen.append(int(nearest.argmax()))
    return np.array(chosen)


def cover(similar, n):
    """Choose rows that others are similar to, greedily."""
    chosen, covered = [], np.zeros(len(similar), dtype=similar.dtype)
    for _ in range(n):
        gains = np.maximum(similar - covered, 0).sum(axis=1)
        gains[chosen] = -1
        chosen.append(int(gains.argmax()))
        covered = np.maximum(covered, similar[chosen[-1]])
    return np.array(chosen)


def k_medoids(P, y, n, seed):
    """Choose medoids greedily; rows farther away than the mean count as not covered."""
    apart = np.sqrt(squared_distances(P, P))
    return cover(np.maximum(1 - apart / apart.mean(), 0).astype(np.float32), n)


def prob_cover(P, y, n, seed, n_classes=10, purity=0.95):
    """Cover by balls, 95 % of which are within a cluster of k-means."""
    apart = np.sqrt(squared_distances(P, P))
    labels = clusters(P, n_classes, seed)
    other = np.where(labels[:, None] == labels, np.inf, apart).min(axis=1)
    # A ball is pure if it ends before the first row of another cluster.
    return cover((apart < np.quantile(other, 1 - purity)).astype(np.float32), n)


NESTED = {
    "random": random_rows,
    "random, as many of each class": stratified,
    "core-set": core_set,
    "greedy k-medoids": k_medoids,
    "ProbCover": prob_cover,
}
METHODS = NESTED | {"k-means centres": centres, "TypiClust": typiclust, OURS: None}


def judge(Z, P, y, test, seed, only):
    """Accuracy and classes found, by method and number of labels."""
    scaler = StandardScaler().fit(Z)
    Z_scaled, Z_test = scaler.transform(Z), scaler.transform(test[0])
    found = {}
    for name in only:
        if name == OURS:
            longest = suggest_labels(Z, max(BUDGETS), random_state=seed)
        elif name in NESTED:
            longest = NESTED[name](P, y, max(BUDGETS), seed)
        for n in BUDGETS:
            is_nested = name == OURS or name in NESTED
            rows = longest[:n] if is_nested else METHODS[name](P, y, n, seed)
            kinds = np.unique(y[rows])
            if len(kinds) == 1:
                accuracy = float((test[1] == kinds[0]).mean())
            else:
                # What is across the span of the labelled rows has no weight anyway.
                axes = np.linalg.qr(Z_scaled[rows].T)[0]
                model = LogisticRegression(max_iter=500)
                model.fit(Z_scaled[rows] @ axes, y[rows])
                accuracy = model.score(Z_test @ axes, test[1])
            found[name, n] = accuracy, len(kinds)
    return found


def run_labels(name, args):
    data = find_features(name, args)
    report = {}
    for key, title in (("Z", "dim features"), ("X", "raw pixels")):
        Z, test = data[key].astype(np.float32), data[f"{key}_test"].astype(np.float32)
        n_columns = min(128, Z.shape[1])
        P = PCA(n_columns, svd_solver="covariance_eigh").fit_transform(Z)
        draws = []
        for seed in range(args.draws):
            rng = np.random.default_rng(100 + seed)
            rows = rng.permutation(len(Z))[: min(len(Z) * 4 // 5, 2000)]
            draws.append(
                judge(
                    Z[rows],
                    P[rows],
                    data["y"][rows],
                    (test, data["y_test"]),
                    seed,
                    args.only,
                )
            )
            print(name, title, seed, flush=True)
        values = np.array(
            [[[draw[m, n] for draw in draws] for n in BUDGETS] for m in args.only]
        )
        report[title] = {
            "models": list(args.only),
            "budgets": list(BUDGETS),
            "scores": values[..., 0].tolist(),
            "classes": values[..., 1].tolist(),
        }
        print(f"\n{name}, {title}\n{table(report[title])}\n", flush=True)
    return report


def table(part):
    """Accuracy, the gain over random rows in pairs, and classes among ten labels."""
    scores, classes = np.array(part["scores"]), np.array(part["classes"])
    base = scores[part["models"].index("random")]
    lines = [
        "| labels | " + " | ".join(map(str, part["budgets"])) + " | classes in 10 |"
    ]
    lines.append("|---" * (len(part["budgets"]) + 2) + "|")
    for name, each, found in zip(part["models"], scores, classes, strict=True):
        gains = each - base
        errors = gains.std(axis=1, ddof=1) / gains.shape[1] ** 0.5
        cells = [f"{mean:.3f}" for mean in each.mean(axis=1)]
        if name != "random":
            cells = [
                f"{cell} ({gain:+.3f}±{error:.3f})"
                for cell, gain, error in zip(
                    cells, gains.mean(axis=1), errors, strict=True
                )
            ]
        cells.append(f"{found[0].mean():.1f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def run_planted(name, args):
    """Rows of a rare class as outliers, and near duplicates."""
    data = find_features(name, args)
    Z, y = data["Z"], data["y"]
    scores = {"outliers": [], "LocalOutlierFactor": [], "IsolationForest": []}
    for label in np.unique(y):
        others = np.flatnonzero(y != label)
        rows = np.concatenate(
            [others, np.flatnonzero(y == label)[: len(others) // 100]]
        )
        is_rare = y[rows] == label
        lof = LocalOutlierFactor().fit(Z[rows]).negative_outlier_factor_
        forest = IsolationForest(random_state=0).fit(Z[rows]).score_samples(Z[rows])
        found = outliers(Z[rows]), -lof, -forest
        for each, values in zip(scores.values(), found, strict=True):
            each.append(roc_auc_score(is_rare, values))
    for method, values in scores.items():
        error = np.std(values, ddof=1) / len(values) ** 0.5
        print(f"{name}: AUC of {method} {np.mean(values):.3f}±{error:.3f}")
    changed = [change for change in data if " " in change]
    for threshold in (0.05, 0.1, 0.2, 0.3):
        pairs, _ = near_duplicates(Z, threshold, max_pairs=10**6)
        cells = [f"{len(pairs)} pairs of {len(Z)} rows"]
        for change in changed:
            pairs, _ = near_duplicates(np.vstack([Z, data[change]]), threshold)
            share = np.isin(pairs[:, 1] - len(Z), np.arange(N_CHANGED))
            share &= pairs[:, 1] - pairs[:, 0] == len(Z)
            cells.append(f"{change} {share.sum() / N_CHANGED:.2f}")
        print(f"{name}: threshold {threshold}: {', '.join(cells)}", flush=True)


def run_speed(args):
    """Seconds and peak memory for many rows, of some directions and noise."""
    rng = np.random.default_rng(0)
    for n, d in ((20_000, 2_304), (100_000, 64), (100_000, 2_304)):
        Z = rng.normal(size=(n, 32)).astype(np.float32) @ rng.normal(size=(32, d))
        Z = Z.astype(np.float32)
        for block in np.array_split(np.arange(n), 20):
            Z[block] += rng.normal(size=(len(block), d))
        Z[:500] = Z[500:1000] + 0.05 * rng.normal(size=(500, d))
        for call in (lambda Z: suggest_labels(Z, 100), near_duplicates, outliers):
            start = time.monotonic()
            call(Z)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
            seconds = time.monotonic() - start
            name = getattr(call, "__name__", "")
            print(
                f"{n:,} x {d:,}: {name} {seconds:.1f} s, peak {peak:.0f} MB", flush=True
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("labels", "planted", "speed"))
    parser.add_argument("data", nargs="*", help=", ".join(PARAMS))
    parser.add_argument("--cifar", help="file with the images")
    parser.add_argument("--cache", default=tempfile.gettempdir(), help="folder")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--only", nargs="+", choices=METHODS, default=list(METHODS))
    args = parser.parse_args()
    if args.part == "speed":
        run_speed(args)
        return
    for name in args.data:
        if args.part == "planted":
            run_planted(name, args)
            continue
        report = run_labels(name, args)
        path = RESULTS / f"labelling_{name}.json"
        path.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
