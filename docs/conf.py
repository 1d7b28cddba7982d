"""How Sphinx builds the documentation, without a network."""

import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import matplotlib as mpl
import torch
from result_tables import write_tables

import sk_dim

# timm imports torchvision, of which some wheels are built for CUDA alone. Beside the
# CPU build of torch their operators are missing, and the import looks for two of them
# that nothing here calls. Declared, they are there to be found.
try:
    import torchvision  # noqa: F401
except RuntimeError:
    operators = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        operators.define(
            f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )

mpl.use("Agg")
# An example that draws a warning of ours would teach what is not meant.
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
html_show_copyright = False
html_theme_options = {"navigation_with_keys": True}
html_static_path = ["_static"]
html_css_files = ["style.css"]

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
    "capture_repr": ("_repr_html_",),
    "backreferences_dir": "gallery/backreferences",
    "doc_module": ("sk_dim",),
    "reference_url": {"sk_dim": None},
    "download_all_examples": False,
    "show_signature": False,
    "remove_config_comments": True,
    "within_subsection_order": "example_order.ByNumber",
    "copyfile_regex": r".*\.rst",
}
suppress_warnings = ["config.cache"]
