"""How Sphinx builds the documentation, without a network."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
# Some wheels of torchvision are built for CUDA alone and do not load beside the CPU
# build of torch. timm does without it where there is none.
try:
    import torchvision  # noqa: F401
except (ImportError, RuntimeError):
    sys.modules["torchvision"] = None

import warnings

import matplotlib as mpl
from result_tables import write_tables

import sk_dim

mpl.use("Agg")
os.environ["PYTHONWARNINGS"] = "error"
# What runs in an example warns its reader of something, or must not warn.
warnings.filterwarnings("error", module="sk_dim")

HERE = Path(__file__).parent
write_tables(HERE / "benchmarks" / "results", HERE / "results.md")

project = "sk_dim"
author = "the sk_dim developers"
version = release = sk_dim.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx-mathjax-offline",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "examples", "gallery/**/*.ipynb", "benchmarks/*.py"]
templates_path = ["_templates"]
html_theme = "furo"
html_title = "sk_dim"
html_theme_options = {"navigation_with_keys": True}
html_static_path = ["_static"]
html_css_files = ["tables.css"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
autosummary_generate = True
numpydoc_show_class_members = False
add_module_names = False
autodoc_typehints = "none"
python_use_unqualified_type_names = True
sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "abort_on_example_error": True,
    "backreferences_dir": "gallery/backreferences",
    "doc_module": ("sk_dim",),
    "reference_url": {"sk_dim": None},
    "download_all_examples": False,
    "show_signature": False,
    "remove_config_comments": True,
    "within_subsection_order": "FileNameSortKey",
    "copyfile_regex": r".*\.rst",
}
suppress_warnings = ["config.cache"]
