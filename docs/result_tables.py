"""Tables of the benchmarks' results, from the files that the scripts wrote."""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np

HEAD = """# Results in full

Made from the files in `docs/benchmarks/results`, which the scripts wrote; how each was
run, and what it means, is in [benchmarks](benchmarks.md).

"""


def _row(cells):
    return "| " + " | ".join(map(str, cells)) + " |"


def _table(header, rows):
    return "\n".join([_row(header), _row(["---"] * len(header)), *map(_row, rows)])


def _spread(values):
    """Mean, with the standard deviation where there is more than one."""
    mean = f"{np.mean(values):.3f}"
    return mean if len(values) == 1 else f"{mean}±{np.std(values):.3f}"


def features_per_second(records):
    """One table a data set: accuracy by labels, seconds, columns."""
    by_data = defaultdict(lambda: defaultdict(list))
    for record in records:
        budget = "" if record["budget"] is None else f", {record['budget']:.0f} s"
        by_data[record["data"]][record["method"] + budget].append(record)
    for data, methods in by_data.items():
        labels = list(next(iter(methods.values()))[0]["accuracies"])
        header = [
            data,
            *("all" if n == "None" else f"{n} a class" for n in labels),
            "seconds",
            "columns",
            "peak MB",
            "seeds",
        ]
        rows = [
            [
                name,
                *(_spread([r["accuracies"][n] for r in found]) for n in labels),
                f"{np.mean([r['seconds'] for r in found]):.1f}",
                found[0]["width"],
                f"{np.mean([r['peak_mb'] for r in found]):.0f}",
                len(found),
            ]
            for name, found in methods.items()
        ]
        yield f"## {data}\n\n{_table(header, rows)}\n\n{records[0]['machine']}\n"


def mutual_information(report):
    """Mean absolute error by method and number of rows."""
    errors = defaultdict(lambda: defaultdict(list))
    for record in report["results"]:
        error = abs(record["value"] - record["truth"])
        errors[record["method"]][record["rows"]].append(error)
    counts = sorted({n for by_rows in errors.values() for n in by_rows})
    header = ["mean absolute error in nats", *(f"{n:,} rows" for n in counts)]
    rows = [
        [name, *(f"{np.mean(by_rows[n]):.3f}" if by_rows[n] else "" for n in counts)]
        for name, by_rows in errors.items()
    ]
    table = _table(header, rows)
    yield f"## Mutual information\n\n{table}\n\n{report['machine']}\n"


def intervals(report):
    """Errors of our estimates by task, and the intervals that hold the truth."""
    by_task = defaultdict(list)
    for record in report["results"]:
        if record["interval"]:
            by_task[record["task"], record["rows"]].append(record)
    header = ["", "rows", "draws", "truth", "mean error", "hold the truth", "width"]
    rows = []
    for (task, n_rows), found in by_task.items():
        truth = found[0]["truth"]
        low, high = np.transpose([record["interval"] for record in found])
        rows.append(
            [
                task,
                f"{n_rows:,}",
                len(found),
                f"{truth:.3f}",
                _spread([record["value"] - truth for record in found]),
                int(np.sum((low <= truth) & (truth <= high))),
                f"{np.mean(high - low):.2f}",
            ]
        )
    title = "Intervals of mutual information, in nats"
    yield f"## {title}\n\n{_table(header, rows)}\n\n{report['machine']}\n"


def many_columns(records):
    """Estimates of images, series and wide tables."""
    header = ["in nats", "truth", "method", "found", "interval", "seconds"]
    rows = [
        [
            record["task"],
            f"{record['truth']:.3f}",
            record["method"],
            f"{record['value']:.3f}",
            " to ".join(f"{end:.3f}" for end in record["interval"] or ()),
            f"{record['seconds']:.0f}",
        ]
        for record in records
    ]
    title = "Mutual information of images, series and wide tables"
    yield f"## {title}\n\n{_table(header, rows)}\n"


def few_labels(name, report):
    """Accuracy of classifiers by the number of labels."""
    for title, part in report.items():
        header = [title.replace("_", " "), *(f"{n} labels" for n in part["budgets"])]
        rows = [
            [model, *(_spread(draws) for draws in scores)]
            for model, scores in zip(part["models"], part["scores"], strict=True)
        ]
        table = _table(header, rows)
        yield f"## {title.replace('_', ' ').capitalize()}, {name}\n\n{table}\n"


def write_tables(results: Path, page: Path) -> None:
    """Write the page of all tables."""
    parts = []
    for path in sorted(results.glob("*.json")):
        report = json.loads(path.read_text())
        if path.stem.startswith(("few_labels_", "labelling_")):
            name = path.stem.rpartition("_")[2]
            parts += few_labels(name, report)
        elif path.stem == "mutual_information":
            parts += mutual_information(report)
        elif path.stem == "intervals":
            parts += intervals(report)
        elif path.stem == "many_columns":
            parts += many_columns(report)
        else:
            parts += features_per_second(report)
    page.write_text(HEAD + "\n".join(parts))
