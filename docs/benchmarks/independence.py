"""Estimates and p-values where X and Y are independent, over many draws.

p-values should be uniform, and estimates near 0. A run goes on where an earlier one
ended::

    python docs/benchmarks/independence.py run --json independence.jsonl
    python docs/benchmarks/independence.py table --json independence.jsonl
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np


def draw(n_rows, n_columns, seed):
    """Return X and Y, normal with correlated columns each, independent of one another.

    Tables of 64 columns and more have a few directions that most of the variance is in,
    as real ones do.
    """
    rng = np.random.default_rng([seed, n_rows, n_columns])
    return [
        rng.normal(size=(n_rows, n_columns))
        + rng.normal(size=(n_rows, 5)) @ rng.normal(size=(5, n_columns))
        for _ in range(2)
    ]


def run(args):
    """Estimate each draw, and write what comes out."""
    from sk_dim import MutualInformationEstimator

    path = Path(args.json)
    lines = path.read_text().splitlines() if path.exists() else []
    done = {tuple(json.loads(line)[k] for k in ("n", "d", "seed")) for line in lines}
    warnings.filterwarnings("ignore", "no dependence was found", UserWarning)
    for seed in range(args.draws):
        for n in args.rows:
            for d in args.columns:
                if (n, d, seed) in done:
                    continue
                start = time.perf_counter()
                found = MutualInformationEstimator(random_state=seed)
                found.fit(*draw(n, d, seed))
                row = {
                    "n": n,
                    "d": d,
                    "seed": seed,
                    "value": round(found.mutual_information_, 5),
                    "p_value": round(found.p_value_, 4),
                    "low": round(found.interval_[0], 5),
                    "seconds": round(time.perf_counter() - start, 2),
                }
                with path.open("a") as file:
                    file.write(json.dumps(row) + "\n")


def table(args):
    """Print means and the largest estimate, and how far p-values are from uniform."""
    from scipy.stats import kstest

    rows = [json.loads(line) for line in Path(args.json).read_text().splitlines()]
    print(
        "| rows | columns | draws | mean estimate | largest | lower end above 0 | "
        "p < .05 | p < .1 | Kolmogorov-Smirnov | seconds |\n" + "|---" * 10 + "|"
    )
    for n, d in sorted({(row["n"], row["d"]) for row in rows}):
        own = [row for row in rows if (row["n"], row["d"]) == (n, d)]
        value, p, low, seconds = (
            np.array([row[key] for row in own])
            for key in ("value", "p_value", "low", "seconds")
        )
        print(
            f"| {n:,} | {d} | {len(own)} | {value.mean():.4f} | {value.max():.3f} | "
            f"{np.mean(low > 0):.0%} | {np.mean(p < 0.05):.0%} | "
            f"{np.mean(p < 0.1):.0%} | {kstest(p, 'uniform').pvalue:.2f} | "
            f"{np.median(seconds):.1f} |"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--json", default="independence.jsonl")
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--rows", type=int, nargs="+", default=[200, 1000, 5000])
    parser.add_argument("--columns", type=int, nargs="+", default=[2, 64, 784])
    args = parser.parse_args()
    {"run": run, "table": table}[args.what](args)


if __name__ == "__main__":
    main()
