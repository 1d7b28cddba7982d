"""Mutual information of single columns, beside scikit-learn's nearest neighbours.

``answers`` estimates pairs whose mutual information is known; ``ranking`` looks for 20
columns that tell a little of a target among 180 that tell nothing::

    python docs/benchmarks/columns.py answers
    python docs/benchmarks/columns.py ranking
"""

import argparse
import math
import time

import numpy as np
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression
from sklearn.metrics import roc_auc_score

from sk_dim import PairwiseMutualInformation


def integral(density, x_range, y_range):
    """Mutual information of a joint density, by a fine grid."""
    x, y = (np.linspace(*limits, 1501) for limits in (x_range, y_range))
    joint = density(x[:, None], y[None])
    cell = (x[1] - x[0]) * (y[1] - y[0])
    joint = joint / (joint.sum() * cell)
    of_x = joint.sum(1, keepdims=True) * (y[1] - y[0])
    of_y = joint.sum(0, keepdims=True) * (x[1] - x[0])
    ratio = np.log(np.maximum(joint, 1e-300) / np.maximum(of_x * of_y, 1e-300))
    return float((joint * ratio).sum() * cell)


def normal_density(x, y, r):
    """Joint density of standard normal variables of correlation r."""
    square = (x**2 - 2 * r * x * y + y**2) / (2 * (1 - r**2))
    return np.exp(-square) / (2 * math.pi * math.sqrt(1 - r**2))


def draw_pairs(n, rng):
    """Yield a name, a column, a target, whether that is a class, and the truth."""
    for r in (0.0, 0.3, 0.6, 0.9, 0.99):
        x = rng.normal(size=n)
        y = r * x + math.sqrt(1 - r**2) * rng.normal(size=n)
        yield f"normal, correlation {r}", x, y, False, abs(math.log(1 - r**2)) / 2
    for width, truth in ((0.1, 0.1 - math.log(0.2)), (0.75, 1 / 3)):
        x = rng.uniform(size=n)
        y = x + rng.uniform(-width, width, size=n)
        yield f"uniform noise, half width {width}", x, y, False, truth
    sign, x = rng.choice([-1, 1], size=n), rng.normal(size=n)
    y = sign * 0.9 * x + math.sqrt(0.19) * rng.normal(size=n)
    truth = integral(
        lambda x, y: normal_density(x, y, 0.9) + normal_density(x, y, -0.9),
        (-6, 6),
        (-6, 6),
    )
    yield "cross of two normal ones", x, y, False, truth
    classes = rng.integers(4, size=n)
    x = 1.5 * classes + rng.normal(size=n)
    grid = np.linspace(-6, 11, 20001)[:, None]
    density = np.exp(-((grid - 1.5 * np.arange(4)) ** 2) / 2) / math.sqrt(2 * math.pi)
    ratio = np.log(np.maximum(density / density.mean(1, keepdims=True), 1e-300))
    truth = float((density / 4 * ratio).sum() * (grid[1] - grid[0])[0])
    yield "four classes, normal with other means", x, classes, True, truth


def neighbours(X, y, *, is_class):
    """scikit-learn's estimate."""
    estimate = mutual_info_classif if is_class else mutual_info_regression
    return estimate(X, y, random_state=0)


def answers(args):
    """Print the mean error of both, and how many intervals hold the truth."""
    print("| | truth |", end="")
    for n in args.rows:
        print(f" {n:,} rows: sk_dim | neighbours | interval |", end="")
    print("\n|---|---|" + "---|" * 3 * len(args.rows))
    found = {}
    for n in args.rows:
        for seed in range(args.draws):
            rng = np.random.default_rng([seed, n])
            for name, x, y, is_class, truth in draw_pairs(n, rng):
                ours = PairwiseMutualInformation(random_state=seed).fit(x, y)
                low, high = ours.interval_[0, 0]
                theirs = neighbours(x[:, None], y, is_class=is_class)[0]
                row = found.setdefault((name, truth), {}).setdefault(n, [])
                value = ours.mutual_information_[0, 0]
                row.append((value - truth, theirs - truth, low <= truth <= high))
    totals = {n: [] for n in args.rows}
    for (name, truth), rows in found.items():
        cells = []
        for n, errors in rows.items():
            ours, theirs, hits = np.mean(errors, 0)
            cells += [f"{ours:+.3f}", f"{theirs:+.3f}", f"{hits:.0%}"]
            ours, theirs, hits = np.transpose(errors)
            totals[n].append((np.abs(ours).mean(), np.abs(theirs).mean(), hits.mean()))
        print(f"| {name} | {truth:.3f} | {' | '.join(cells)} |")
    cells = []
    for values in totals.values():
        ours, theirs, hits = np.mean(values, 0)
        cells += [f"{ours:.3f}", f"{theirs:.3f}", f"{hits:.0%}"]
    print(f"| mean absolute error | | {' | '.join(cells)} |")


def ranking(args):
    """Print how well each puts columns that tell something before the others."""
    titles = "rows", "", "area under the ROC curve", "of the first 20", "seconds"
    print(f"| {' | '.join(titles)} |\n{'|---' * len(titles)}|")
    for n in args.rows:
        results = {}
        for seed in range(args.draws):
            rng = np.random.default_rng([seed, n, 1])
            X = rng.normal(size=(n, 200))
            y = rng.normal(size=n)
            X[:, :5] += 0.25 * y[:, None]  # means
            X[:, 5:10] *= np.exp(0.2 * y)[:, None]  # spreads
            X[:, 10:15] += 0.25 * (y**2)[:, None]
            X[:, 15:20] += 0.4 * np.sin(3 * y)[:, None]
            truth = np.arange(200) < 20
            start = time.perf_counter()
            ours = PairwiseMutualInformation(random_state=seed).fit(X, y)
            middle = time.perf_counter()
            scores = {
                "sk_dim": ours.mutual_information_[:, 0],
                "neighbours": neighbours(X, y, is_class=False),
            }
            seconds = {
                "sk_dim": middle - start,
                "neighbours": time.perf_counter() - middle,
            }
            for name, score in scores.items():
                first = np.argsort(-score, kind="stable")[:20]
                results.setdefault(name, []).append(
                    (roc_auc_score(truth, score), truth[first].sum(), seconds[name])
                )
        for name, rows in results.items():
            area, first, seconds = np.mean(rows, 0)
            print(f"| {n:,} | {name} | {area:.3f} | {first:.1f} | {seconds:.1f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("answers", "ranking"))
    parser.add_argument("--rows", type=int, nargs="+", default=[200, 1000, 5000])
    parser.add_argument("--draws", type=int, default=10)
    args = parser.parse_args()
    {"answers": answers, "ranking": ranking}[args.what](args)


if __name__ == "__main__":
    main()
