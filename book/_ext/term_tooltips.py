"""Show a glossary entry's definition when the pointer rests on the term, without leaving the page.

Terms marked with the ``term`` role get their definition as a title. On every page outside the reference
part, the first mention of any other term is marked too, so that no chapter has to mark its own.
"""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

_ANCHOR = "#term-"
#: Everyday words whose mentions mean something else as often as not, or that stand in every line.
PLAIN_WORDS = frozenset({"run", "arm", "view", "glue", "manifest", "profile", "segment", "projection", "stenosis"})
_UNMARKED = (nodes.reference, nodes.literal, nodes.title, nodes.raw, nodes.math, nodes.term, nodes.target)
_PROSE = (nodes.paragraph, nodes.caption)


def definitions(glossary: nodes.document) -> dict[str, str]:
    """The text of each entry of a glossary page, by the id of its term."""
    found = {}
    for item in glossary.findall(nodes.definition_list_item):
        text = " ".join(node.astext() for node in item.findall(nodes.definition))
        for term in item.findall(nodes.term):
            found |= dict.fromkeys(term["ids"], " ".join(text.split()))
    return found


def names(glossary: nodes.document) -> dict[str, str]:
    """The id of each term of a glossary page, by its name."""
    return {term.astext(): term["ids"][0] for term in glossary.findall(nodes.term) if term["ids"]}


def pattern_of(known: list[str]) -> re.Pattern[str]:
    """A pattern that finds any of the names, the longest first; words in any case, abbreviations as written."""
    ordered = sorted(known, key=len, reverse=True)
    exact = [" " not in name and name[:2].isupper() for name in ordered]
    words = [f"{re.escape(name)}s?" for name in ordered]
    parts = [word if as_written else f"(?i:{word})" for word, as_written in zip(words, exact, strict=True)]
    return re.compile(rf"(?<![\w-])(?:{'|'.join(parts)})(?![\w-])")


def explain_terms(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Give every link into the glossary its definition as a title, and link first mentions."""
    env: BuildEnvironment = app.env
    page = next((page for page in env.found_docs if page.endswith("glossary")), None)
    if page is None:
        return
    glossary = env.get_doctree(page)
    known = definitions(glossary)
    links = [link for link in doctree.findall(nodes.reference) if _ANCHOR in link.get("refuri", "")]
    for link in links:
        link["reftitle"] = known.get(link["refuri"].partition("#")[2], "")
        link["classes"].append("glossary-term")
    if not docname.startswith("reference/") and app.builder.name == "html":
        marked = {link["refuri"].partition("#")[2] for link in links}
        base = app.builder.get_relative_uri(docname, page)
        free = {n: i for n, i in names(glossary).items() if i not in marked and n not in PLAIN_WORDS}
        link_first_mentions(doctree, free, known, base)


def link_first_mentions(doctree: nodes.document, free: dict[str, str], known: dict[str, str], base: str) -> None:
    """Link the first mention of each name in the prose.

    Parameters
    ----------
    free : dict
        Name -> id of the terms that no link on the page leads to yet; emptied as they are found.
    known : dict
        Id -> definition.
    base : str
        Address of the glossary from this page.
    """
    lowered = {name.lower(): name for name in free}
    for text in [node for node in doctree.findall(nodes.Text) if _is_prose(node)]:
        if not lowered:
            return
        pieces: list[nodes.Node] = []
        rest = str(text)
        while lowered and (match := pattern_of(list(lowered.values())).search(rest)):
            said = match[0].lower()
            name = lowered.pop(said, None) or lowered.pop(said.removesuffix("s"))
            uri = f"{base}#{free[name]}"
            link = nodes.reference("", match[0], refuri=uri, internal=True, reftitle=known[free[name]])
            link["classes"].append("glossary-term")
            pieces += [nodes.Text(rest[: match.start()]), link]
            rest = rest[match.end() :]
        if pieces:
            text.parent.replace(text, [*pieces, nodes.Text(rest)])


def _is_prose(text: nodes.Text) -> bool:
    """Whether a piece of text stands in a paragraph or caption, in no link, code, title or table."""
    prose, node = False, text.parent
    while node is not None:
        if isinstance(node, (*_UNMARKED, nodes.table)) or "sd-card" in " ".join(node.get("classes", [])):
            return False
        prose = prose or isinstance(node, _PROSE)
        node = node.parent
    return prose


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect after references are resolved."""
    app.connect("doctree-resolved", explain_terms, priority=800)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
