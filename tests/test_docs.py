"""The documentation: complete, and its helpers right."""

import importlib.util
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from test_docstrings import MODULES

DOCS = Path(__file__).parents[1] / "docs"


def load(name):
    """Import a module of the documentation, which is no package."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_has_every_public_name():
    listed = set()
    module = None
    for line in (DOCS / "api.rst").read_text().splitlines():
        if line.startswith(".. currentmodule:: "):
            module = line.removeprefix(".. currentmodule:: ")
        elif re.fullmatch(r"   \w+", line):
            listed.add(f"{module}.{line.strip()}")
    public = {}
    for module in map(importlib.import_module, MODULES):
        for name in module.__all__:
            item = getattr(module, name)
            if inspect.isclass(item) or inspect.isfunction(item):
                public.setdefault(item, set()).add(f"{module.__name__}.{name}")
    for names in public.values():
        assert names & listed, names
    assert listed <= set().union(*public.values())


# Less training for the blocks of pages, replaced in this order.
QUICK = {
    "DeepInfomaxClassifier(random_state=0)": "DeepInfomaxClassifier("
    "DeepInfomaxTransformer(32, max_iter=2), n_steps=10, random_state=0)",
    "n_steps=120": "n_steps=10",
    "FrozenEstimator(dim), random": "FrozenEstimator(dim), n_steps=10, random",
    "pretrain=False, random": "pretrain=False, n_steps=10, random",
    "Transformer(64, random": "Transformer(64, max_iter=2, random",
    'augment="natural", max_time=20': "n_components=32, max_iter=1",
    'augment="natural", max_iter=2': "n_components=32, max_iter=1",
    "Transformer(random": "Transformer(32, max_iter=2, random",
    "Estimator(random": "Estimator(max_iter=1, random",
    "(X, Y, random": "(X, Y, max_iter=1, random",
    "every=5": "every=1",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        "index",
        "judge_and_see",
        "mutual_information",
        "guide/few_labels",
        "guide/keep",
        "guide/long_runs",
        "guide/parallel",
        pytest.param(
            "guide/photos",
            marks=pytest.mark.filterwarnings(
                "ignore:2 of 320 rows of X cannot be read"
            ),
        ),
    ],
)
def test_blocks_of_a_page_run_one_after_the_other(page, tmp_path, monkeypatch):
    if page == "guide/photos":
        pytest.importorskip("skimage")
    monkeypatch.chdir(tmp_path)
    text = (DOCS / f"{page}.md").read_text()
    for long, short in QUICK.items():
        text = text.replace(long, short)
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert blocks
    scope: dict = {}
    for block in blocks:
        exec(block, scope)
    plt.close("all")


def test_links_that_lead_nowhere_are_found(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "index.html").write_text(
        '<h1 id="top">x</h1><a href="#top">a</a><a href="sub/b.html#part">b</a>'
        '<a href="https://example.org/none">c</a><img src="none.png">'
    )
    (tmp_path / "sub" / "b.html").write_text(
        '<p id="part"><a href="../index.html#nowhere">d</a><a href="../index.html">'
    )
    broken = load("check_links").broken_links(tmp_path)
    assert sorted(broken) == [
        "index.html: none.png",
        "sub/b.html: ../index.html#nowhere",
    ]


def test_tables_have_means_and_spreads():
    tables = load("result_tables")
    report = {
        "few_labels": {
            "models": ["a", "b"],
            "budgets": [10, 20],
            "scores": [[[0.5, 0.7], [0.8, 0.8]], [[1.0, 1.0], [0.25, 0.75]]],
        }
    }
    (table,) = tables.few_labels("digits", report)
    assert "| few labels | 10 labels | 20 labels |" in table
    assert "| a | 0.600±0.100 | 0.800±0.000 |" in table
    assert "| b | 1.000±0.000 | 0.500±0.250 |" in table
    record = {
        "data": "x",
        "method": "ours",
        "budget": 30.0,
        "accuracies": {"10": 0.5, "None": 0.9},
        "seconds": 31.0,
        "width": 64,
        "peak_mb": 100.4,
        "machine": "this",
    }
    other = record | {"accuracies": {"10": 0.7, "None": 0.9}, "seconds": 33.0}
    (table,) = tables.features_per_second([record, other])
    assert "| ours, 30 s | 0.600±0.100 | 0.900±0.000 | 32.0 | 64 | 100 | 2 |" in table
    errors = [
        {"method": "m", "rows": n, "value": v, "truth": 1.0}
        for n, v in ((100, 0.5), (100, 1.25), (1000, 1.0))
    ]
    (table,) = tables.mutual_information({"machine": "this", "results": errors})
    assert "| m | 0.375 | 0.000 |" in table


def test_tables_of_series_compare_with_the_best_peer_of_each_set(tmp_path):
    tables = load("benchmarks/series_tables")

    def lines(name, features, accuracies, seconds):
        for split, accuracy in enumerate(accuracies):
            row = {"set": name, "features": features, "split": split}
            row |= {"accuracies": {"2": accuracy, "all": 1.0}, "seconds": seconds}
            yield row | {"width": 8, "seconds_a_draw": 0.5, "machine": "this"}

    rows = [
        *lines("a", "ours", [0.5, 0.75], 2.0),
        *lines("a", "peer", [0.5, 0.5, 1.0], 1.0),  # a third split, which ours lacks
        *lines("a", "other", [0.25], 1.0),
        *lines("b", "ours", [0.75], 4.0),
        *lines("b", "peer", [0.5], 3.0),
    ]
    path = tmp_path / "series.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = tables.read([path, tmp_path / "none"])
    assert read == rows
    text = tables.tables(tables.select(read, None, None), ("ours",))
    assert (
        "| mean over sets | 2 labels a class (2 sets) | all labels (2 sets) |" in text
    )
    assert "| ours | **0.688** | **1.000** | 3.00 | 4.00 |" in text
    assert "| other | 0.250 (1 sets) | 1.000 (1 sets) | 1.00 | 1.00 |" in text
    assert "| peer | **0.667** | 0.500 |  |" in text
    assert "| ours: gain over it | +0.125±0.125 | +0.250 | +0.188, +0.125 |" in text
    assert text.endswith("Splits: a 1 or 2 or 3, b 1. this")
    of_one = tables.tables(tables.select(read, ["b"], ["peer"]), ("ours",))
    assert "ours" not in of_one


@pytest.mark.slow
def test_the_benchmark_of_a_gpu_runs_and_goes_on(tmp_path):
    results = tmp_path / "gpu.jsonl"
    command = [sys.executable, "gpu.py", "--device", "cpu", "--n-rows", "96"]

    def rows_of(*sections):
        subprocess.run(
            [*command, "--results", results, "--only", *sections],
            check=True,
            cwd=DOCS / "benchmarks",
        )
        return [json.loads(line) for line in results.read_text().splitlines()]

    (first,) = rows_of("check")
    assert first["local term there"] == first["local term here"]
    both = rows_of("check", "input")
    assert both[0] == first
    assert both[1]["training, images/s"] > 0
    assert rows_of("check", "input") == both


@pytest.mark.slow
@pytest.mark.parametrize("table", ["1", "2", "options"])
def test_tables_of_the_paper_are_reproduced_cell_by_cell(table, tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 3
    images = rng.integers(0, 256, (80, 32, 32, 3), dtype=np.uint8)
    parts = {"X_train": images[:60], "y_train": labels[:60]}
    parts |= {"X_test": images[60:], "y_test": labels[60:]}
    np.savez(tmp_path / "data.npz", **parts)
    row = {"1": "DIM(L) JSD", "2": "DIM(G)"}.get(table, "DIM(L)")
    command = [sys.executable, "reproduce.py", "--table", table, "--epochs", "1"]
    command += ["--data", tmp_path / "data.npz", "--out", tmp_path / "runs"]
    command += ["--critic-units", "16", "--fine-tuning-seconds", "1", "--only", row]

    def printed(*arguments):
        return subprocess.run(
            [*command, *arguments],
            check=True,
            cwd=DOCS / "benchmarks",
            capture_output=True,
            text=True,
        ).stdout

    first = printed()
    (run,) = map(json.loads, (tmp_path / "runs").read_text().splitlines())
    assert all(np.isfinite(value) for value in run["values"].values())
    assert f"| {row} | {run['values']['conv']:.3f} |" in first
    assert "not run" in first
    again = printed("--budget-minutes", "0")  # where all is done, nothing is run
    assert again == first[first.index("\nTable") :]
    assert len((tmp_path / "runs").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    "path", sorted((DOCS / "benchmarks" / "results").glob("*.json"))
)
def test_every_file_of_results_makes_a_table(path, tmp_path):
    (tmp_path / path.name).write_text(path.read_text())
    page = tmp_path / "results.md"
    load("result_tables").write_tables(tmp_path, page)
    rows = [line for line in page.read_text().splitlines() if line.startswith("|")]
    assert len(rows) >= 4  # with two of values
    for row in rows:
        assert "nan" not in row
    assert len({row.count("|") for row in rows}) <= 3


def test_examples_have_a_title_and_an_end():
    examples = sorted((DOCS / "examples").glob("plot_*.py"))
    assert len(examples) >= 6
    for path in examples:
        title, line = path.read_text().splitlines()[1:3]
        assert line == "=" * len(title), path.name
    assert np.all([path.name[5].isdigit() for path in examples])
