"""What a notebook hands to its page: text with numbers, figures, tables, and values that other pages quote.

Each is an output in two forms: HTML for JupyterLab, MyST Markdown for the book. Figures, tables and a figure's points
are files to download too, in ``exhibits/<section>``, with a ``.json`` that names the tables they were computed from.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
from IPython.display import display
from markdown_it import MarkdownIt
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from myst_nb import glue
from nbconvert import HTMLExporter
from traitlets.config import Config

from cag.book.figures.style import apply_style, words
from cag.chapters.store import Store
from cag.data.cohort import Cohort
from cag.metrics.intervals import Estimate, interval_text
from cag.networks.training import Runtime
from cag.settings import ROOT, InputError, StudySettings, write_atomically
from cag.simulator.cohort import open_cohort

SHOWN_DPI = 90  #: Dots an inch of a figure inside the notebook, where the book shows its vector drawing.
#: A number with its interval, as the study prints them.
INTERVAL = r"^(?P<value>-?\d+\.?\d*) \((?P<low>-?\d+\.?\d*) to (?P<high>-?\d+\.?\d*)\)"
#: MyST roles as JupyterLab's readers see them: ``{numref}`fig-roc``` is "fig-roc".
_ROLE = re.compile(r"\{[\w:]+\}`(?:([^`<]+?)\s*<[^`>]*>|([^`]+))`")
#: Kind of what a plot draws -> its name in the figure's CSV; bars have two corners, other boxes of a plot are none.
_MARKS = {"Line2D": "line", "LineCollection": "interval", "PathCollection": "point"}
#: Column of a result table -> its head where people read it; other columns get a capital letter.
HEADS = words("head")
#: Names of image statistics as they are read.
STATISTICS = words("statistic")
#: Names that begin a cell, or are all of it -> what people read there.
WORDS = words("cell") | STATISTICS
#: Truth values, by column; elsewhere yes and no.
TRUTH_VALUES = {"redundancy": {True: "with", False: "without"}}
#: What a line may not break inside of: ``(0.79 to 0.88)`` and ``0.84 ± 0.02``.
_HELD_TOGETHER = re.compile(r"\(-?[\d.]+ to -?[\d.]+\)|-?[\d.]+ ± [\d.]+|\(no interval\)|not defined")


@dataclass(frozen=True)
class Page:
    """A notebook's page: its cohort, the store of its profile, and the name under which its exhibits lie."""

    cohort: Cohort
    store: Store
    section: str

    def text(self, markdown: str) -> None:
        """Show a paragraph whose numbers were computed: ``page.text(f"The area is {auc}.")``."""
        _show(markdown, MarkdownIt("commonmark").render(_without_roles(markdown)))

    def figure(self, name: str, figure: Figure, caption: str, *, rows: tuple[str, ...] = ()) -> None:
        """Show a figure and keep its picture, points and record; ``rows`` are the tables it was computed from."""
        self._keep(name, "svg", lambda path: figure.savefig(path, metadata={"Date": None}))
        points, files = plotted_points(figure), ["svg"]
        if len(points):
            self._keep(name, "csv", lambda path: points.to_csv(path, index=False, float_format="%.4g"))
            files.append("csv")
        self._keep(name, "json", lambda path: path.write_text(json.dumps({"files": files, "rows": rows})))
        picture = BytesIO()
        figure.savefig(picture, format="png", dpi=SHOWN_DPI)
        source = "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode()
        words = " ".join(_without_roles(caption).replace("*", "").split())
        image = f'<img src="{source}" alt="{html.escape(words, quote=True)}"/>'
        shown = f"<figure>{image}<figcaption>{_inline(caption)}</figcaption></figure>"
        path = f"/_exhibits/{self.section}/{name}.svg"
        _show(f"```{{figure}} {path}\n:name: {name}\n:alt: {words}\n\n{caption}\n```\n", shown)

    def table(
        self, name: str, table: pd.DataFrame, caption: str, *,
        digits: int = 2, rows: tuple[str, ...] = (), download: pd.DataFrame | None = None,
    ) -> None:  # fmt: skip
        """Show a table as ``figure`` does, rounded to ``digits``; ``download`` is its CSV where that holds more."""
        whole = with_interval_columns(table if download is None else download)
        self._keep(name, "csv", lambda path: whole.to_csv(path, index=False, float_format="%.6g"))
        self._keep(name, "json", lambda path: path.write_text(json.dumps({"files": ["csv"], "rows": rows})))
        shown = readable_table(table, digits)
        cells = shown.astype(str).to_numpy().tolist()
        lines = [[str(head) for head in shown.columns], ["---"] * shown.shape[1], *cells]
        text = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        grid = shown.to_html(index=False, escape=True, border=0)
        _show(f"````{{table}} {caption}\n:name: {name}\n\n{text}\n````\n", f"<p>{_inline(caption)}</p>{grid}")

    def keep(self, **values: Estimate | float | str) -> None:
        """Keep values for other pages: as ``name``, and estimates with their intervals as ``name_text`` too."""
        for name, value in values.items():
            if isinstance(value, Estimate):
                glue(f"{name}_text", interval_text(value), display=False)
            glue(name, float(value.value) if isinstance(value, Estimate) else value, display=False)

    def run_line(self, settings: StudySettings, *, image_size: int | None = None, shown: str = "") -> None:
        """Show and keep the line that says which execution the page shows, of ``shown`` or else of the cohort."""
        size = f", {image_size} px" if image_size else ""
        line = (
            f"Execution shown: profile {settings.profile}; {shown or self._cohort_in_words()}{size}; initial weights "
            f"{settings.weights}; clean arm unless said; {date.today().isoformat()}; cag {version('cag')}."
        )
        glue("run_line", line, display=False)
        self._keep("run_line", "txt", lambda path: path.write_text(line))
        self.text(line)

    def _cohort_in_words(self) -> str:
        runs = self.cohort.manifest
        single = runs["source"].eq("arcade").all()  # without patient numbers
        units, films = ("groups of near-duplicates", "images") if single else ("patients", "runs")
        return f"{self.cohort.simulated_or_real}: {runs.patient_id.nunique()} {units}, {len(runs)} {films}"

    def _keep(self, name: str, kind: str, write: Callable[[Path], object]) -> None:
        write_atomically(self.store.root / "exhibits" / self.section / f"{name}.{kind}", write)


def open_page(settings: StudySettings) -> Page:
    """The page of a notebook; a cohort that cannot be opened and a card that is absent are an `InputError`."""
    apply_style()
    Runtime.choose(settings.device)  # told before anything is planned
    cohort = open_cohort(settings.manifest_path, settings.device, ROOT / "results" / ".cohorts")
    store = Store(settings.results, settings.device, settings.scheduler)
    return Page(cohort, store, settings.section or "unnamed")


def render_page(notebook: Path) -> Path:
    """Write an executed notebook as HTML beside it, without its hidden code; no such notebook is an `InputError`."""
    if not notebook.is_file():
        raise InputError("there is no such notebook", file=notebook.name, remedy="Name one that papermill has written")
    content = nbformat.read(notebook, as_version=4)
    for cell in content.cells:
        if cell.cell_type == "markdown":
            cell.source = _without_roles(cell.source)
    hidden = Config({"TagRemovePreprocessor": {"enabled": True, "remove_input_tags": {"hide-input"}}})
    text, _ = HTMLExporter(config=hidden, theme="light").from_notebook_node(content)
    out = notebook.with_suffix(".html")
    return write_atomically(out, lambda path: path.write_text(text, encoding="utf-8"))


def plotted_points(figure: Figure) -> pd.DataFrame:
    """What plots without a picture draw, in units of their axes: ``panel, title, series, mark, x, y``."""
    rows = list[tuple[object, ...]]()
    for panel, ax in enumerate((ax for ax in figure.axes if ax.axison and not ax.images), 1):
        names = {part: str(group.get_label()) for group in ax.containers for part in group.get_children()}
        marks: dict[Any, Any] = {line: line.get_xydata() for line in ax.lines if line.get_transform() == ax.transData}
        drawn = {own: own.get_segments() for own in ax.collections if isinstance(own, LineCollection)}
        drawn = {own: [part for part in parts if len(part)] for own, parts in drawn.items()}  # none of an undefined bar
        marks |= {own: np.concatenate(parts) for own, parts in drawn.items() if parts}
        marks |= {own: own.get_offsets() for own in ax.collections if isinstance(own, PathCollection)}
        bars = (group for group in ax.containers if isinstance(group, BarContainer))
        marks |= {bar: bar.get_corners()[::2] for group in bars for bar in group}
        for mark, points in marks.items():
            name = names.get(mark, str(mark.get_label()))
            said = panel, ax.get_title(loc="left") or ax.get_title(), "" if name.startswith("_") else name
            rows += [(*said, _MARKS.get(type(mark).__name__, "bar"), *map(float, point)) for point in points]
    return pd.DataFrame(rows, columns=["panel", "title", "series", "mark", "x", "y"])


def readable_table(table: pd.DataFrame, digits: int = 2) -> pd.DataFrame:
    """A table as people read it: words as heads and truth values, unbroken intervals, rounded numbers, dashes."""
    shown = table.copy()
    for name in shown.select_dtypes("bool"):
        shown[name] = shown[name].map(TRUTH_VALUES.get(str(name), {True: "yes", False: "no"}))
    for name in shown.select_dtypes(["object", "string"]):
        shown[name] = shown[name].map(_in_words)
    for name in shown.select_dtypes("number"):
        places = 0 if (shown[name].dropna() % 1 == 0).all() else digits
        # Adding zero takes the sign from a zero that was rounded to.
        texts = ["–" if pd.isna(x) else f"{round(x, places) + 0.0:.{places}f}" for x in shown[name]]
        shown[name] = pd.Series(texts, shown.index)
    shown = shown.rename(columns=lambda name: HEADS.get(name, str(name)[:1].upper() + str(name)[1:].replace("_", " ")))
    return shown.astype(object).where(shown.notna(), "–")


def _in_words(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    name, _, rest = cell.partition(", ")
    words = ": ".join(filter(None, (WORDS[name], rest))) if name in WORDS else cell
    return _HELD_TOGETHER.sub(lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), words)


def with_interval_columns(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose texts such as ``0.84 (0.79 to 0.88)`` are followed by columns ``value``, ``low`` and ``high``."""
    parts = []
    for name in table.columns:
        numbers = table[name].astype(str).str.extract(INTERVAL).astype(float).add_prefix(f"{name}, ")
        parts += [table[[name]], numbers.dropna(axis=1, how="all")]
    return pd.concat(parts, axis=1) if parts else table


def _show(markdown: str, shown: str) -> None:
    display({"text/html": shown, "text/markdown": markdown, "text/plain": _without_roles(markdown)}, raw=True)


def _without_roles(markdown: str) -> str:
    return _ROLE.sub(lambda found: (found[1] or found[2]).split("/")[-1], markdown)


def _inline(markdown: str) -> str:
    return MarkdownIt("commonmark").renderInline(_without_roles(markdown))
