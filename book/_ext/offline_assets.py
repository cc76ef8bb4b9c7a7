"""Keep the built book whole on its own: it asks no other host for anything, also when opened from a folder.

The live-code scripts of sphinx-thebe, which would fetch theirs from a server, are dropped.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

_THEBE_MARK = "thebe"


def is_thebe(script: Any) -> bool:
    """Whether a script entry of a page belongs to sphinx-thebe."""
    body = getattr(script, "attributes", {}).get("body") or ""
    return _THEBE_MARK in str(getattr(script, "filename", script)) or _THEBE_MARK in body


def prepare_page(app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: nodes.document) -> None:
    """Give a page the scripts it needs and no other, and no list whose entries are none."""
    if "body" in context:  # docutils calls a bibliography a list, but its entries carry another role
        context["body"] = context["body"].replace(
            '<div role="list" class="citation-list">', '<div class="citation-list">'
        )
    context["script_files"] = [script for script in context["script_files"] if not is_thebe(script)]
    context["css_files"] = [style for style in context["css_files"] if not is_thebe(style)]


def drop_thebe_settings(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Remove the thebe configuration that sphinx-thebe appends to each page."""
    for node in list(doctree.findall(nodes.raw)):
        if "text/x-thebe-config" in node.astext():
            node.parent.remove(node)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to the build, after every extension that adds scripts."""
    app.connect("html-page-context", prepare_page, priority=900)
    app.connect("doctree-resolved", drop_thebe_settings, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
