"""Which run a page shows, the command that remakes it, how long that took and on what; and what the run cost.

Times and hardware come from the records written when the notebooks were executed. ``run-costs`` is a
directive that adds them up.
"""

from __future__ import annotations

import html
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
    """The machine of a record in words; empty for records of an older form."""
    if "cores" not in record:
        return ""
    card = f", {record['card']}" if record["card"] else ", no graphics card"
    shared = f" shared by {record['lanes']} notebooks" if record.get("lanes", 1) > 1 else ""
    return f"{record['processor']}, {record['cores']} cores{shared}, {record['memory_gb']:.0f} GB{card}"


def remake(command: str, stem: str, record: dict[str, Any]) -> str:
    """HTML of the box that tells how a page of results is made again."""
    profile = record.get("profile", "demo")
    parameters = f"-f notebooks/parameters/{profile}.yaml -p profile my_run"
    papermill = f".venv/bin/papermill notebooks/{stem}.ipynb my_run.ipynb {parameters}"
    place = hardware(record)
    took = f"Executed on {record['date']} in {duration(record['seconds'])} on {place}" if place else ""
    memory = f"; at most {record['peak_memory_gb']:.1f} GB of memory" if record.get("peak_memory_gb") else ""
    shared = " What earlier chapters had computed was found again." if stem[:2] not in ("01", "02", "03") else ""
    return (
        '<details class="remake"><summary>Make this page again</summary>'
        f"<pre><code>{html.escape(command)}\n{html.escape(papermill)}</code></pre>"
        f"<p>{html.escape(took + memory)}.{shared} The first command keeps the result in the same profile, "
        "the second beside it.</p></details>"
    )


def mark_page(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put the run's line under the title of every page, and the command on pages of results."""
    if app.builder.format != "html":
        return
    found = catalog(app)
    stem = Path(docname).name
    title = next(iter(doctree.findall(nodes.title)), None)
    if title is None:
        return
    if docname.startswith("notebooks/"):
        box = nodes.raw("", remake(found.command(stem), stem, found.run["notebooks"][stem]), format="html")
        title.parent.append(box)
    elif not docname.startswith(_WITHOUT_RESULTS) and "Run shown:" not in doctree.astext():
        line = nodes.paragraph("", found.run_line(), classes=["run-line"])
        title.parent.insert(title.parent.index(title) + 1, line)


class RunCosts(SphinxDirective):
    """Time, energy and carbon of the run shown, from its records and stated assumptions."""

    option_spec: ClassVar[dict] = {
        "watts-a-core": directives.positive_int,
        "watts-card": directives.positive_int,
        "grams-a-kwh": directives.positive_int,
    }

    def run(self) -> list[nodes.Node]:
        """A table, one row a notebook and one for all."""
        self.env.note_reread()
        import json

        records = json.loads((Path(self.env.srcdir) / "_exhibits" / "run.json").read_text())["notebooks"]
        rows = [(stem, record) for stem, record in records.items()]
        cells = [self._cells(stem, record) for stem, record in rows]
        total = ["All", duration(sum(record["seconds"] for _, record in rows))]
        total += [f"{sum(float(row[column]) for row in cells):.{digits}f}" for column, digits in ((2, 3), (3, 1))]
        return [_table(["Notebook", "Time", "Energy (kWh)", "CO₂ (g)"], [*cells, total])]

    def _cells(self, stem: str, record: dict[str, Any]) -> list[str]:
        watts = record.get("cores", 2) / record.get("lanes", 1) * self.options["watts-a-core"]
        watts += self.options["watts-card"] if record.get("card") else 0
        kwh = watts * record["seconds"] / 3.6e6
        return [stem, duration(record["seconds"]), f"{kwh:.4f}", f"{kwh * self.options['grams-a-kwh']:.2f}"]


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
