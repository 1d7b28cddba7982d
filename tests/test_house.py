"""The drawing of the package: layers, sizes, one minus sign."""

import ast
from pathlib import Path

import pytest

import sk_dim

PACKAGE = Path(sk_dim.__file__).parent

# An import goes from a higher layer to a lower one, never up and never sideways.
LAYERS = {
    "bounds": 0,
    "_layers": 0,
    "_features": 0,
    "_pictures": 2,
    "plotting": 3,
    "priors": 0,
    "augmentations": 0,
    "_pairs": 0,
    "_validation": 0,
    "_version": 0,
    "_interrupts": 0,
    "_devices": 1,
    "_schedule": 0,
    "_batches": 0,
    "_callbacks": 0,
    "_columns": 1,
    "_baselines": 0,
    "_targets": 1,
    "_probes": 2,
    "_utility": 0,
    "_label_efficiency": 3,
    "_probing": 3,
    "_diagnosis": 7,
    "_arrays": 0,
    "_formats": 1,
    "patches": 1,
    "datasets": 1,
    "critics": 1,
    "encoders": 2,
    "objective": 2,
    "_inputs": 2,
    "_read_outs": 1,
    "_pair_critic": 3,
    "_variables": 3,
    "_net": 3,
    "_fold": 4,
    "_design": 4,
    "_mutual_information": 5,
    "_dependence": 6,
    "evaluation": 8,
    "_model": 6,
    "_saving": 5,
    "_fine_tuning": 4,
    "_labels": 0,
    "_head": 0,
    "_recipe": 1,
    "_pseudo_labels": 0,
    "_deep_infomax": 7,
    "_classifier": 8,
    "__init__": 9,
    "__main__": 10,
}
MODULES = sorted(PACKAGE.glob("*.py"))


def imports(path):
    """Names of the modules of the package that a module imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            first, _, rest = (node.module or "").partition(".")
            if first == "sk_dim":
                names = [alias.name for alias in node.names]
                modules = [name for name in names if name in LAYERS]
                yield from [rest] if rest else modules or ["__init__"]
        elif isinstance(node, ast.Import):
            assert not any(alias.name.startswith("sk_dim") for alias in node.names)


def test_every_module_has_its_layer():
    assert {path.stem for path in MODULES} == LAYERS.keys()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_imports_go_down(path):
    for name in imports(path):
        assert LAYERS[name] < LAYERS[path.stem], f"{path.stem} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_files_and_functions_stay_small(path):
    """Docstrings aside, which users read and which grow with the parameters."""
    text = path.read_text()
    tree = ast.parse(text)
    documented = ast.Module | ast.ClassDef | ast.FunctionDef
    nodes = [node for node in ast.walk(tree) if isinstance(node, documented)]
    docs = {node: doc_lines(node) for node in nodes}
    assert len(text.splitlines()) - sum(docs.values()) <= 350
    for node in nodes:
        if isinstance(node, ast.FunctionDef):
            size = node.end_lineno - node.lineno + 1 - docs[node]
            assert size <= 60, f"{node.name}: {size} lines"


def doc_lines(node):
    if ast.get_docstring(node) is None:
        return 0
    return node.body[0].end_lineno - node.body[0].lineno + 1
