"""The documentation as web pages: `python -m sphinx -q -W --keep-going docs build/docs`."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_extensions"), str(HERE.parent)]

from gpn import __version__  # noqa: E402

project = "gpn"
author = copyright = "the gpn authors"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "docstrings",
    "links",
    "literals",
    "mathematics",
    "names",
    "notebooks",
]
exclude_patterns = ["_extensions", "Thumbs.db"]
nitpicky = False  # types of NumPy, SymPy and Typer have no pages here; what our own pages name is checked by `links`

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
myst_dmath_double_inline = True
suppress_warnings = ["misc.highlighting_failure"]

default_role = "py:obj"  # single backticks in docstrings: a link where the name is known, code where not
autodoc_mock_imports = ["torch", "jax"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
python_maximum_signature_line_length = 90
python_use_unqualified_type_names = True
add_module_names = False

html_theme = "furo"
html_title = f"gpn {release}"
html_static_path = ["_static"]
html_css_files = ["mathematics.css"]
html_copy_source = False
html_show_sourcelink = False
pygments_style = "default"
