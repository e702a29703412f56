"""Configuration of the documentation site: `make docs` builds it."""

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from ser_batch.version import __version__  # noqa: E402

project = "ser"
author = "the ser contributors"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"ser {__version__}"
html_show_copyright = False
exclude_patterns = ["_build"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"
# Headings of the changelog repeat by design.
suppress_warnings = ["myst.header"]
