"""Results are never typed: a number with decimals in the prose comes from a notebook, by glue."""

import re

import nbformat
import pytest

from cag.settings import ROOT

#: What may hold decimals: fenced blocks, roles and code, math, link targets, versions, and headings, which name them.
NOT_PROSE = re.compile(
    r"```.*?```|`[^`]*`|\$[^$]+\$|\]\([^)]*\)|https?://\S+|Python \d+\.\d+|^#+ [^\n]*$", re.DOTALL | re.MULTILINE
)
#: A rule, not a result: "IoU of at least .5", "threshold .75".
RULE = re.compile(
    r"\b(?:IoU|overlap|threshold|cut-point|level|above a score|says|code uses)s?\b[^.\n]{0,24}?\d*\.\d+"
    r"(?:(?:,| and| or| to| instead of)\s\d*\.\d+)*",
    re.I,
)
DECIMAL = re.compile(r"(?<![\w.])\d*\.\d+(?![\w.]*\d)")


def typed_numbers(text: str) -> list[str]:
    """Decimals that stand in the prose itself."""
    return DECIMAL.findall(RULE.sub("", NOT_PROSE.sub(" ", text)))


#: Text of each page on which results may be told, by its name.
FOLDERS = [ROOT / "book" / "study", ROOT / "book" / "scrutiny"]
FILES = [ROOT / "book" / "index.md", *(path for folder in FOLDERS for path in folder.glob("*.md"))]
PROSE = {path.relative_to(ROOT).as_posix(): path.read_text() for path in FILES}
for path in (ROOT / "notebooks").glob("*.ipynb"):
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    # Exercises work with numbers of their own.
    PROSE[path.name] = "\n\n".join(text for text in cells if not text.startswith("## Exercises"))


@pytest.mark.parametrize("name", sorted(PROSE))
def test_no_result_is_typed(name):
    assert typed_numbers(PROSE[name]) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The AUC was 0.86, a sensitivity of 94.1 % in about .5 frames.", ["0.86", "94.1", ".5"]),
        ("{glue:text}`a.ipynb::auc:.2f` frames", []),
        ("matched at an IoU of 0.2 or 0.5", []),
        ("`cag` 0.1.0 and Python 3.11", []),
        ("# Heading 1.0\n\nThe AUC was 0.86.", ["0.86"]),
        ("detections above a score of .35 at an overlap of .1 instead of .5", []),
        ("segments 1-4, 25 % and 230 patients.", []),
    ],
)
def test_rule_tells_results_from_the_rest(text, found):
    assert typed_numbers(text) == found


def test_pages_do_not_run_over_into_machines_or_hosts():
    for path in [ROOT / "README.md", *(ROOT / "book").rglob("*.md")]:
        if "notebooks" not in path.parts:
            assert not re.search(r"/home/|/root/|/work/|/tmp/", path.read_text()), path
