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
    "_pictures": 0,
    "plotting": 1,
    "priors": 0,
    "augmentations": 0,
    "_pairs": 0,
    "_validation": 0,
    "_batches": 0,
    "_callbacks": 0,
    "_columns": 1,
    "_baselines": 0,
    "_probes": 1,
    "_label_efficiency": 2,
    "_probing": 2,
    "_diagnosis": 2,
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
    "_saving": 5,
    "_dependence": 6,
    "evaluation": 7,
    "_net_holder": 6,
    "_fine_tuning": 4,
    "_labels": 0,
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
                yield from [rest] if rest else ["__init__"]
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
    text = path.read_text()
    assert len(text.splitlines()) <= 450
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[0]
            doc = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) else 0
            size = node.end_lineno - node.lineno + 1 - doc
            assert size <= 60, f"{node.name}: {size} lines"
