"""The search of the book: British and American spelling are one word, and the API's names are left to its pages.

Words are brought to one spelling before they are stemmed, when the index is made and when it is asked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain
from sphinx.search.en import SearchEnglish

#: British ending or stem -> American, in this order. Whether the outcome is a word does not matter, only that both
#: spellings have the same one. Patterns are read by Python and by JavaScript alike.
SPELLINGS = {
    r"^gr[ea]y": "gray",
    r"(..)is(e|ed|es|er|ers|ing|ation|ations)$": r"\1iz\2",
    r"(..)ys(e|ed|es|er|ers|ing)$": r"\1yz\2",
    r"(...)our": r"\1or",
    r"([bt])re(s?)$": r"\1er\2",
    r"^centr(ed|ing)$": r"center\1",
    r"(...)ll(ed|ing|er|ers)$": r"\1l\2",
    r"(.)[ao]e(..)": r"\1e\2",
    r"^oe(..)": r"e\1",
    r"ence$": "ense",
    r"(..)ogue(s?)$": r"\1og\2",
    r"(..)mme(s?)$": r"\1m\2",
    r"artef": "artif",
}
HIDDEN = -1  # what Sphinx calls an object that no search should show


def one_spelling(word: str) -> str:
    """A word in lower case and in the spelling that both are brought to."""
    word = word.lower()
    for pattern, american in SPELLINGS.items():
        word = re.sub(pattern, american, word, count=1)
    return word


class OneSpelling(SearchEnglish):
    """English with one spelling, in Python for the index and in JavaScript for what is asked."""

    js_stemmer_code = (
        SearchEnglish.js_stemmer_code
        + "\nconst spellings = "
        + json.dumps([[pattern, re.sub(r"\\(\d)", r"$\1", american)] for pattern, american in SPELLINGS.items()])
        + ";\nconst PlainStemmer = Stemmer;\nStemmer = function () {\n  const plain = new PlainStemmer();\n"
        "  this.stemWord = (word) => plain.stemWord(spellings.reduce(\n"
        "    (one, [pattern, american]) => one.replace(new RegExp(pattern), american), word.toLowerCase()));\n};\n"
    )

    def stem(self, word: str) -> str:
        """The stem of a word's one spelling."""
        return super().stem(one_spelling(word))


class QuietPythonDomain(PythonDomain):
    """Python's objects, linked and listed as ever, but none of them a result of the search."""

    def get_objects(self) -> Iterator[tuple[str, str, str, str, str, int]]:
        """As they are, out of the search."""
        for name, shown, kind, page, anchor, _ in super().get_objects():
            yield name, shown, kind, page, anchor, HIDDEN


def setup(app: Sphinx) -> dict[str, bool]:
    """Take the place of Sphinx's own."""
    app.add_search_language(OneSpelling)
    app.add_domain(QuietPythonDomain, override=True)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
