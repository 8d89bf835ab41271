"""Settings of Sphinx; `make docs` gathers the pages (`scripts/build_docs.py`) and builds build/docs."""

from surpass import __version__

project = "Surpass"
author = "The Surpass developers"
release = __version__

extensions = ["myst_parser"]
myst_enable_extensions = ["html_image"]
myst_heading_anchors = 3
exclude_patterns: list[str] = []
highlight_language = "none"
nitpicky = False
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = "Surpass"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
