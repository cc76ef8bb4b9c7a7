"""One setting, ``repository_address``, from which every link to the project's repository is made.

It stands in ``_config.yml`` and is empty by default: then no page has a button for repository, edit, issue, Binder,
Colab or the whole book as PDF, and citations carry no address.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

LAUNCH = {
    "binderhub_url": "https://mybinder.org",
    "colab_url": "https://colab.research.google.com",
    "notebook_interface": "jupyterlab",
}
BRANCH = "main"


def set_theme(app: Sphinx, config: Config) -> None:
    """Hand the address to the theme, which makes the buttons of source and launch from it."""
    address = config.repository_address.rstrip("/")
    if address:
        buttons = dict.fromkeys(("use_repository_button", "use_edit_page_button", "use_issues_button"), True)
        place = {"repository_url": address, "repository_branch": BRANCH, "path_to_docs": "book"}
        config.html_theme_options |= buttons | place | {"launch_buttons": LAUNCH}


def place_source(app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: nodes.document) -> None:
    """Say where a page's source lies: notebooks in their folder, executed copies of which the book shows."""
    if app.config.repository_address:
        folder = "" if pagename.startswith("notebooks/") else "book"
        app.config.html_theme_options["path_to_docs"] = context["doc_path"] = folder


def link_pdf(app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: nodes.document) -> None:
    """A button for the whole book as one file, which lies beside the published pages."""
    if app.config.repository_address and "header_buttons" in context:
        told = {"tooltip": "The whole book as PDF", "text": "", "icon": "fas fa-book", "label": "whole-book-pdf"}
        context["header_buttons"].append({"type": "link", "url": context["pathto"]("book.pdf", 1), **told})


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect before the theme makes its buttons, and after."""
    app.add_config_value("repository_address", "", "html", [str])
    app.connect("config-inited", set_theme)
    app.connect("html-page-context", place_source, priority=500)
    app.connect("html-page-context", link_pdf, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
