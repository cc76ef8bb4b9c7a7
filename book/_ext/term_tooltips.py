"""Show a glossary entry's definition when the pointer rests on the term, without leaving the page."""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

_ANCHOR = "#term-"


def definitions(glossary: nodes.document) -> dict[str, str]:
    """The text of each entry of a glossary page, by the id of its term."""
    found = {}
    for item in glossary.findall(nodes.definition_list_item):
        text = " ".join(node.astext() for node in item.findall(nodes.definition))
        for term in item.findall(nodes.term):
            found |= dict.fromkeys(term["ids"], " ".join(text.split()))
    return found


def explain_terms(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Give every link into the glossary its definition as a title."""
    links = [link for link in doctree.findall(nodes.reference) if _ANCHOR in link.get("refuri", "")]
    if not links:
        return
    env: BuildEnvironment = app.env
    known = {
        key: text
        for page in env.found_docs
        if page.endswith("glossary")
        for key, text in definitions(env.get_doctree(page)).items()
    }
    for link in links:
        link["reftitle"] = known.get(link["refuri"].partition("#")[2], "")
        link["classes"].append("glossary-term")


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect after references are resolved."""
    app.connect("doctree-resolved", explain_terms, priority=800)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
