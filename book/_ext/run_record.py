"""Which run a page shows, the command that remakes it, how long that took and on what; and what the run cost.

Times and hardware come from the records written when the notebooks were executed. ``run-costs`` is a
directive that adds them up.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Cost:
    """What a notebook's results took, the computing of what its execution found stored among it.

    Attributes
    ----------
    seconds : float
        Of this execution, and of the tasks that it found and for which no other notebook of the run is charged.
    unknown : bool
        Whether the seconds of some are not recorded: then ``seconds`` is a lower limit.
    note : str
        The same as sentences for a page; empty where it found none.
    """

    seconds: float
    unknown: bool
    note: str

    @property
    def text(self) -> str:
        """Such as ``at least 17 minutes``."""
        return ("at least " if self.unknown else "") + duration(self.seconds)


def costs(records: Mapping[str, dict[str, Any]]) -> dict[str, Cost]:
    """The cost of each notebook of a run; a task is charged once, to who made it or else to the first that found it."""
    charged = {name for record in records.values() for name in record.get("tasks", {}).get("made", [])}
    result = {}
    for stem, record in records.items():
        found = {name: took for name, took in record.get("tasks", {}).get("found", {}).items() if name not in charged}
        charged |= found.keys()
        result[stem] = _cost(record, list(found.values()))
    return result


def _cost(record: dict[str, Any], found: list[float | None]) -> Cost:
    """``found``: what each task took that this notebook is charged for."""
    own, before = float(record["seconds"]), record.get("before")
    whole = own + sum(took for took in found if took is not None)
    if "tasks" not in record:
        note = "Trainings that an execution before had stored were found again; their time is not included."
        return Cost(own, True, note)
    if None in found:
        note = f"Found again: {len(found)} stored pieces of work, not all with their time; a first run takes longer."
        if before:
            whole = max(whole, before["seconds"])
            note += f" The longest execution before, on {before['date']}, took {duration(before['seconds'])}."
        return Cost(whole, True, note)
    note = f"Found again: {len(found)} stored pieces of work; with the time that they took, {duration(whole)} in all."
    return Cost(whole, False, note if found else "")


def remake(command: str, stem: str, record: dict[str, Any], cost: Cost) -> str:
    """HTML of the box that tells how a page of results is made again."""
    profile = record.get("profile", "demo")
    parameters = f"-f notebooks/parameters/{profile}.yaml -p profile my_run"
    papermill = f".venv/bin/papermill notebooks/{stem}.ipynb my_run.ipynb {parameters}"
    place = hardware(record)
    took = f"Executed on {record['date']} in {duration(record['seconds'])} on {place}" if place else ""
    memory = f"; at most {record['peak_memory_gb']:.1f} GB of memory" if record.get("peak_memory_gb") else ""
    earlier = "" if stem[:2] in ("01", "02", "03") else "What earlier chapters had computed was read."
    told = " ".join(text for text in (f"{took}{memory}." if took else "", cost.note, earlier) if text)
    return (
        '<details class="remake"><summary>Make this page again</summary>'
        f"<pre><code>{html.escape(command)}\n{html.escape(papermill)}</code></pre>"
        f"<p>{html.escape(told)} The first command keeps the result in the same profile, "
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
        records = found.run["notebooks"]
        box = nodes.raw("", remake(found.command(stem), stem, records[stem], costs(records)[stem]), format="html")
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
        """A table, one row a notebook and one for all, and what it leaves out."""
        self.env.note_reread()
        records = json.loads((Path(self.env.srcdir) / "_exhibits" / "run.json").read_text())["notebooks"]
        of_each = costs(records)
        energy = {stem: self._kwh(record, of_each[stem]) for stem, record in records.items()}
        rows = [
            [stem, duration(record["seconds"]), of_each[stem].text, *self._numbers(energy[stem], 4, 2)]
            for stem, record in records.items()
        ]
        whole = of_each.values()
        every = Cost(sum(one.seconds for one in whole), any(one.unknown for one in whole), "")
        executed = duration(sum(record["seconds"] for record in records.values()))
        rows.append(["All", executed, every.text, *self._numbers(sum(energy.values()), 3, 1)])
        table = _table(["Notebook", "This execution", "With what it found", "Energy (kWh)", "CO₂ (g)"], rows)
        return [table, *_left_out(of_each)]

    def _kwh(self, record: dict[str, Any], cost: Cost) -> float:
        watts = record.get("cores", 2) / record.get("lanes", 1) * self.options["watts-a-core"]
        watts += self.options["watts-card"] if record.get("card") else 0
        return watts * cost.seconds / 3.6e6

    def _numbers(self, kwh: float, *digits: int) -> list[str]:
        values = (kwh, kwh * self.options["grams-a-kwh"])
        return [f"{value:.{count}f}" for value, count in zip(values, digits, strict=True)]


def _left_out(of_each: Mapping[str, Cost]) -> list[nodes.Node]:
    """Which notebooks found work again whose time nobody recorded, as a sentence."""
    unknown = [stem for stem, cost in of_each.items() if cost.unknown]
    if not unknown:
        return []
    text = (
        "At least: what had been computed before was found again, and the time that it took was not recorded or not "
        f"in full. Time, energy and carbon of a first run are higher for {', '.join(unknown)}."
    )
    return [nodes.paragraph("", text)]


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
