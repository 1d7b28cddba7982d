"""The drawing of the package: layers, sizes, one minus sign."""

import ast
import graphlib
from pathlib import Path

import pytest

import sk_dim

PACKAGE = Path(sk_dim.__file__).parent

# Modules and folders. An import from another one goes to a lower layer, never up or
# sideways. Within a folder it is free, as long as it makes no circle.
LAYERS = {
    "bounds": 0,
    "priors": 0,
    "arrays": 0,
    "augmentations": 0,
    "encoders": 0,
    "datasets": 0,
    "_baselines": 0,
    "_files": 0,
    "_labels": 0,
    "_threads": 0,
    "_validation": 0,
    "_version": 0,
    "_devices": 1,
    "_images": 1,
    "_inputs": 1,
    "critics": 1,
    "selection": 1,
    "_contrast": 2,
    "recipes": 2,
    "tasks": 3,
    "objective": 4,
    "_training": 5,
    "_deep_infomax": 6,
    "_information": 7,
    "_mutual_information": 8,
    "_pairwise_information": 8,
    "_conditional_information": 9,
    "evaluation": 9,
    "_classifier": 10,
    "plotting": 10,
    "export": 11,
    "__init__": 11,
    "__main__": 12,
}
MODULES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = sorted({path.parent for path in MODULES} - {PACKAGE})
NAMES = {
    path: ".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in MODULES
}


def imports(path):
    """Names, within the package, of the modules that a module imports."""
    known = {name.removesuffix(".__init__") for name in NAMES.values()}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            first, _, rest = (node.module or "").partition(".")
            if first != "sk_dim":
                continue
            inner = [f"{rest}.{alias.name}".strip(".") for alias in node.names]
            modules = [name for name in inner if name in known]
            yield from modules or [rest or "__init__"]
        elif isinstance(node, ast.Import):
            assert not any(alias.name.startswith("sk_dim") for alias in node.names)


def place(name):
    """Return the module at the top, or the folder, that a module is in."""
    return name.partition(".")[0]


def test_every_place_has_its_layer():
    assert {place(name) for name in NAMES.values()} == LAYERS.keys()


@pytest.mark.parametrize("path", MODULES, ids=NAMES.get)
def test_imports_go_down(path):
    own = place(NAMES[path])
    for name in imports(path):
        other = place(name)
        assert other == own or LAYERS[other] < LAYERS[own], f"{own} imports {other}"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_imports_within_a_folder_make_no_circle(folder):
    graph = {}
    for path in folder.glob("*.py"):
        name = NAMES[path].removesuffix(".__init__")
        graph[name] = [each for each in imports(path) if place(each) == folder.name]
    graphlib.TopologicalSorter(graph).prepare()  # raises a CycleError
    assert not [name for name, used in graph.items() if folder.name in used]


@pytest.mark.parametrize("path", MODULES, ids=NAMES.get)
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
