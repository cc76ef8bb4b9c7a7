"""Which run a page shows, the command that remakes it, how long that took and on what; and what the run cost.

Times and hardware come from the records written when the notebooks were executed. ``run-costs`` is a
directive that adds them up.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from exhibits import catalog
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

#: Pages that show no result: how the package is called does not depend on a run.
_WITHOUT_RESULTS = ("reference/", "genindex", "search")


def duration(seconds: float) -> str:
    """Seconds as a reader would say them."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"


def hardware(record: dict[str, Any]) -> str:
    """The machine of a record in words."""
    card = f", {record['card']}" if record["card"] else ", no graphics card"
    shared = f" shared by {record['lanes']} notebooks" if record["lanes"] > 1 else ""
    return f"{record['processor']}, {record['cores']} cores{shared}, {record['memory_gb']:.0f} GB{card}"


def commands(stem: str, record: Mapping[str, Any]) -> list[str]:
    """The two lines that make a page's results again: in the same profile, and beside it."""
    profile, given = record["profile"], record["overrides"]
    pairs = "".join(f" -p {name}={value}" for name, value in given.items())
    words = "".join(f" -p {name} {value}" for name, value in given.items() if name != "profile")
    return [
        f".venv/bin/python -m cag study --profile {profile} --only {stem[:2]}{pairs}",
        f".venv/bin/papermill notebooks/{stem}.ipynb results/my_run.ipynb"
        f" -f notebooks/parameters/{profile}.yaml -p profile my_run{words}",
    ]


def remake(stem: str, record: dict[str, Any]) -> str:
    """HTML of the box that tells how a page of results is made again."""
    took = f"Executed on {record['date']} in {duration(record['seconds'])} on {hardware(record)}"
    told = f"{took}; at most {record['peak_memory_gb']:.1f} GB of memory. What was stored before was found again."
    return (
        '<details class="remake"><summary>Make this page again</summary>'
        f"<pre><code>{html.escape(chr(10).join(commands(stem, record)))}</code></pre>"
        f"<p>{html.escape(told)} The first command keeps the result in the same profile, the second beside it; "
        "<code>.venv/bin/python -m cag page results/my_run.ipynb</code> then shows it as a page.</p></details>"
    )


def mark_page(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put the line of the execution under the title of every page, and the command on pages of results."""
    if app.builder.format != "html":
        return
    found = catalog(app)
    stem = Path(docname).name
    title = next(iter(doctree.findall(nodes.title)), None)
    if title is None:
        return
    if docname.startswith("notebooks/"):
        box = nodes.raw("", remake(stem, found.run["notebooks"][stem]), format="html")
        title.parent.append(box)
    elif not docname.startswith(_WITHOUT_RESULTS) and "clean arm unless said" not in doctree.astext():
        line = nodes.paragraph("", found.run_line(), classes=["run-line"])
        title.parent.insert(title.parent.index(title) + 1, line)


class RunCosts(SphinxDirective):
    """Time, energy and carbon of the study shown, from its records and stated assumptions."""

    option_spec: ClassVar[dict] = {
        "watts-a-core": directives.positive_int,
        "watts-card": directives.positive_int,
        "grams-a-kwh": directives.positive_int,
    }

    def run(self) -> list[nodes.Node]:
        """A table of the notebooks' executions, and one of the stored work of the profile."""
        self.env.note_reread()
        records = json.loads((Path(self.env.srcdir) / "_exhibits" / "run.json").read_text())["notebooks"]
        rows = [[stem, *self._costs(record["seconds"], record)] for stem, record in records.items()]
        whole = sum(record["seconds"] * self._share(record) for record in records.values())
        last = max(records.values(), key=lambda record: sum(kind["pieces"] for kind in record["stored_work"].values()))
        rows.append(["All, by the share of the cores", *self._costs(whole, last | {"lanes": 1})])
        stored = [
            [kind, f"{told['pieces']:.0f}", *self._costs(told["seconds"], last)]
            for kind, told in last["stored_work"].items()
        ]
        tables = [_table(["Notebook", "This execution", "Energy (kWh)", "CO₂ (g)"], rows)]
        return tables + [_table(["Stored work", "Pieces", "Time", "Energy (kWh)", "CO₂ (g)"], stored)] * bool(stored)

    def _share(self, record: Mapping[str, Any]) -> float:
        return 1 / record["lanes"]

    def _costs(self, seconds: float, record: Mapping[str, Any]) -> list[str]:
        watts = record["cores"] * self._share(record) * self.options["watts-a-core"]
        kwh = (watts + (self.options["watts-card"] if record["card"] else 0)) * seconds / 3.6e6
        return [duration(seconds), f"{kwh:.4f}", f"{kwh * self.options['grams-a-kwh']:.2f}"]


def _table(header: list[str], rows: list[list[str]]) -> nodes.table:
    """A plain table of words."""
    group = nodes.tgroup("", cols=len(header))
    group += [nodes.colspec(colwidth=1) for _ in header]
    head, body = nodes.thead(), nodes.tbody()
    for target, lines in ((head, [header]), (body, rows)):
        for line in lines:
            entries = [nodes.entry("", nodes.paragraph("", text)) for text in line]
            target += nodes.row("", *entries)
    group += [head, body]
    return nodes.table("", group)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive and connect after references are resolved."""
    app.add_directive("run-costs", RunCosts)
    app.connect("doctree-resolved", mark_page, priority=840)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
