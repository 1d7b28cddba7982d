"""Tables and the picture of the benchmark of series, from the files that it wrote."""

import json
from collections import defaultdict
from itertools import cycle
from pathlib import Path

import numpy as np
from scipy.stats import sem

COUNTS = ("2", "5", "20", "all")  # labels a class


def read(paths):
    """All rows of the files that exist."""
    texts = [Path(p).read_text() for p in paths or () if Path(p).exists()]
    return [json.loads(line) for text in texts for line in text.splitlines()]


def select(rows, sets, features):
    """Rows of these sets and features, all if None."""
    return [
        row
        for row in rows
        if row["set"] in (sets or [row["set"]])
        and row["features"] in (features or [row["features"]])
    ]


class Results:
    """Accuracies and seconds by set and features, of each split."""

    def __init__(self, rows):
        self.sets = list(dict.fromkeys(row["set"] for row in rows))
        self.features = list(dict.fromkeys(row["features"] for row in rows))
        self.rows = defaultdict(dict)
        for row in rows:
            self.rows[row["set"], row["features"]][row["split"]] = row

    def scores(self, name, features, count):
        """Accuracy of each split: a dict."""
        return {
            split: row["accuracies"][count]
            for split, row in self.rows[name, features].items()
            if count in row["accuracies"]
        }

    def mean(self, name, features, count):
        """Mean over the splits; NaN if there is none."""
        scores = list(self.scores(name, features, count).values())
        return np.mean(scores) if scores else np.nan

    def sets_with(self, *counts):
        """Name the sets of which some features have these numbers of labels."""
        return [
            name
            for name in self.sets
            if all(
                any(self.scores(name, f, count) for f in self.features)
                for count in counts
            )
        ]

    def seconds(self, name, features):
        """Mean over the splits; None if none was timed, as on a busy machine."""
        rows = self.rows[name, features].values()
        rows = [row for row in rows if row["seconds"] is not None]
        # With its fine-tuning, a classifier of our own takes what a draw takes.
        extra = [r["seconds_a_draw"] if r["width"] == 0 else 0 for r in rows]
        return np.mean([r["seconds"] for r in rows]) + np.mean(extra) if rows else None

    def all_seconds(self, features):
        found = [self.seconds(name, features) for name in self.sets]
        return [seconds for seconds in found if seconds is not None]

    def pairs(self, name, ours, peer, count):
        """Differences of ours and a peer on the splits that both have."""
        a, b = (self.scores(name, f, count) for f in (ours, peer))
        return [a[split] - b[split] for split in sorted(a.keys() & b.keys())]

    def best(self, name, features, count):
        """Features with the highest mean on a set; None if there is none."""
        means = {f: self.mean(name, f, count) for f in features}
        means = {f: mean for f, mean in means.items() if not np.isnan(mean)}
        return max(means, key=means.get) if means else None


def table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, cells)) + " |" for cells in lines)


def title(count):
    return "all labels" if count == "all" else f"{count} labels a class"


def number(value, best=False):
    if np.isnan(value):
        return ""
    return f"**{value:.3f}**" if best else f"{value:.3f}"


def summary(results):
    """Mean over the sets by labels a class, and seconds."""
    columns = []
    for count in filter(results.sets_with, COUNTS):
        sets = results.sets_with(count)
        found = np.array(
            [[results.mean(n, f, count) for n in sets] for f in results.features]
        )
        missing = np.isnan(found)
        whole = found[~missing.any(axis=1)].mean(axis=1)  # only these are comparable
        cells = [f"{title(count)} ({len(sets)} sets)"]
        for row, no in zip(found, missing, strict=True):
            mean = row[~no].mean() if not no.all() else np.nan
            if no.any() and not no.all():
                cells.append(f"{mean:.3f} ({(~no).sum()} sets)")
            else:
                cells.append(number(mean, mean == max(whole, default=0)))
        columns.append(cells)
    seconds = [results.all_seconds(f) or [np.nan] for f in results.features]
    for name, of in (("median", np.median), ("most", max)):
        cells = ["" if np.isnan(of(s)) else f"{of(s):.2f}" for s in seconds]
        columns.append([f"{name} seconds", *cells])
    header, *rows = zip(["mean over sets", *results.features], *columns, strict=True)
    return table(header, rows)


def of_count(results, count, ours):
    """Make a column a set, and show what ours gain over the best peer there."""
    sets = results.sets_with(count)
    peers = [f for f in results.features if f not in ours]
    columns = {}
    for name in sets:
        means = [results.mean(name, f, count) for f in results.features]
        top = np.nanmax(means)
        columns[name] = [number(mean, mean == top) for mean in means]
    rows = [
        [f, *(columns[name][i] for name in sets), ""]
        for i, f in enumerate(results.features)
    ]
    best = {name: results.best(name, peers, count) for name in sets}
    rows.append(["best peer", *(best[name] or "" for name in sets), ""])
    for features in results.features:
        if features not in ours:
            continue
        gains, cells = [], []
        for name in sets:
            pairs = results.pairs(name, features, best[name], count)
            error = f"±{sem(pairs):.3f}" if len(pairs) > 1 else ""
            cells.append(f"{np.mean(pairs):+.3f}{error}" if pairs else "")
            gains += [np.mean(pairs)] if pairs else []
        if gains:
            over_all = f"{np.mean(gains):+.3f}, {min(gains):+.3f}"
            rows.append([f"{features}: gain over it", *cells, over_all])
    return table([title(count), *sets, "mean, worst"], rows)


def splits(results):
    """How many splits each set has, of each number that some of the rows have."""
    numbers = {
        name: sorted({len(results.rows[name, f]) for f in results.features} - {0})
        for name in results.sets
    }
    return "Splits: " + ", ".join(
        f"{name} {' or '.join(map(str, each))}" for name, each in numbers.items()
    )


def tables(rows, ours):
    """All tables in Markdown."""
    results = Results(rows)
    counts = list(filter(results.sets_with, COUNTS))
    machines = "; ".join(sorted({row["machine"] for row in rows}))
    parts = [summary(results), *(of_count(results, count, ours) for count in counts)]
    return "\n\n".join([*parts, f"{splits(results)}. {machines}"])


def plot(rows, ours, path):
    """Draw accuracy by labels a class, and with five against seconds."""
    import matplotlib.pyplot as plt

    results = Results(rows)
    sets = results.sets_with(*COUNTS)
    means = {
        f: [np.mean([results.mean(n, f, c) for n in sets]) for c in COUNTS]
        for f in results.features
    }
    means = {f: found for f, found in means.items() if not np.isnan(found).any()}
    peers = [f for f in means if f not in ours]
    muted = ["0.6", "tab:brown", "tab:pink", "tab:cyan", "tab:blue", "tab:green"]
    muted += ["yellowgreen", "tab:purple", "violet", "0.3", "gold", "teal"]
    colours = dict(zip(peers, cycle(muted), strict=False))
    colours |= dict(
        zip((f for f in means if f in ours), ("red", "orange", "black"), strict=False)
    )
    markers = dict(zip(means, cycle("oDs^v<>PphX*d8H"), strict=False))
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6))
    for f, found in means.items():
        timed = [results.seconds(n, f) for n in sets]
        timed = [each for each in timed if each is not None]
        seconds = max(0.01, np.median(timed)) if timed else np.nan
        style = {"marker": markers[f], "color": colours[f], "zorder": 2 + (f in ours)}
        size = 1 + (f in ours) * 0.5
        left.plot(COUNTS, found, label=f, lw=1.2 * size, ms=5 * size, **style)
        right.plot(seconds, found[1], ls="", ms=8 * size, **style)
    left.set(xlabel="labels a class", ylabel=f"accuracy, mean over {len(sets)} sets")
    right.set(
        xlabel="seconds to learn and encode, median over the sets",
        ylabel="the same with 5 labels a class",
        xscale="log",
    )
    for ax in (left, right):
        ax.grid(alpha=0.3)
    handles, labels = left.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: -means[labels[i]][1])
    right.legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        fontsize=8,
        bbox_to_anchor=(1.02, 1),
        loc="upper left",
        title="best with 5 labels first",
    )
    figure.tight_layout()
    figure.savefig(path, dpi=110)
