"""What a notebook hands to the book: numbers, figures, tables, and the line that says which run it shows."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

import pandas as pd
from IPython.display import HTML, display
from matplotlib.figure import Figure
from myst_nb import glue

from cag.book.exhibits import keep_figure, keep_table
from cag.book.figures.table_heads import with_heads
from cag.chapters.store import Store, write_atomically
from cag.data.cohort import Cohort
from cag.metrics.intervals import Estimate, interval_text
from cag.networks.training import Runtime
from cag.settings import ROOT, StudySettings
from cag.simulator.cohort import open_cohort as open_any_cohort


@dataclass(frozen=True)
class Page:
    """What a notebook is to the book: the store of its profile and its section in a profile file."""

    store: Store
    section: str

    @property
    def exhibits(self) -> Path:
        """Folder of this notebook's figures and tables."""
        return self.store.root / "exhibits" / self.section


_open_pages: list[Page] = []


def open_study(settings: StudySettings) -> tuple[Cohort, Store]:
    """The cohort a notebook works on, and the store that holds its profile's results.

    From here on, figures and tables of this notebook are kept below the same results.
    """
    store = Store(settings.results)
    _open_pages[:] = [Page(store, settings.section or "unnamed")]
    return open_cohort(settings), store


def current_page() -> Page:
    """The page whose study is open.

    Raises
    ------
    RuntimeError
        Before ``open_study``: figures and tables would belong to no results.
    """
    if not _open_pages:
        raise RuntimeError("call open_study first: it says whose figures and tables these are")
    return _open_pages[0]


def open_cohort(settings: StudySettings) -> Cohort:
    """The cohort of ``settings.manifest``: files by their manifest, or patients rendered on demand.

    A ``.yaml`` file holds the settings of a simulated cohort (``CohortSettings``) whose frames are
    rendered when they are asked for and never written.

    Raises
    ------
    InputError
        If the file is missing or not what it should be.
    """
    Runtime.choose(settings.device)  # a card that is asked for and absent is told before anything is planned
    return open_any_cohort(settings.manifest_path, settings.device, ROOT / "results" / ".cohorts")


def glue_run_line(settings: StudySettings, cohort: Cohort, *, image_size: int | None = None) -> str:
    """Hand the book one line that says which run the page shows, and return it."""
    size = f", {image_size} px" if image_size else ""
    patients, runs = cohort.manifest.patient_id.nunique(), len(cohort.manifest)
    # ARCADE has no patient numbers: its reader groups images that are nearly the same.
    single = cohort.manifest["source"].eq("arcade").all()
    units, films = ("groups of near-duplicates", "images") if single else ("patients", "runs")
    line = (
        f"Run shown: profile {settings.profile}; {cohort.simulated_or_real}: {patients} {units}, {runs} {films}{size}; "
        f"initial weights {settings.weights}; clean arm unless said; {date.today().isoformat()}; "
        f"cag {version('cag')}."
    )
    glue("run_line", line)
    write_atomically(current_page().exhibits / "run_line.txt", lambda path: path.write_text(line))
    return line


def glue_estimates(estimates: Mapping[str, Estimate | float]) -> None:
    """Hand numbers to the prose: ``name``, and for estimates ``name_low``, ``name_high`` and ``name_text``."""
    for name, estimate in estimates.items():
        if isinstance(estimate, Estimate):
            glue(name, float(estimate.value), display=False)
            glue(f"{name}_low", float(estimate.low), display=False)
            glue(f"{name}_high", float(estimate.high), display=False)
            glue(f"{name}_text", interval_text(estimate), display=False)
        else:
            glue(name, estimate, display=False)
    display(pd.DataFrame({"glued": {name: _said(value) for name, value in estimates.items()}}))


def _said(value: Estimate | float | str) -> str:
    return interval_text(value) if isinstance(value, Estimate) else str(value)


def glue_figure(
    name: str, figure: Figure, *, data: pd.DataFrame | None = None, tables: tuple[str, ...] | None = None
) -> None:
    """Hand a figure to the book, which places it with its caption, and keep its downloads.

    Parameters
    ----------
    data : DataFrame, optional
        The data behind it; read back from what was drawn when not given.
    tables : tuple of str, optional
        Tables of rows that it may rest on: those read or written so far, unless given; none for a drawn example.
    """
    glue(name, figure)  # shown in the notebook as well; the book's pages leave the cell's output out
    page = current_page()
    keep_figure(page.exhibits, name, figure, page.store.used if tables is None else tables)


def glue_image(name: str, figure: Figure, alt: str) -> None:
    """Hand a figure as pixels to a page other than the notebook's own, which takes no vector drawing.

    ``alt`` says in words what it shows.
    """
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    source = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    glue(name, HTML(f'<img alt="{html.escape(alt)}" src="{source}" style="max-width: 100%">'), display=False)


def glue_table(name: str, table: pd.DataFrame, *, digits: int = 2) -> pd.DataFrame:
    """Write a table for the book's ``csv-table`` and return it as it will be read.

    Numbers are rounded to ``digits``, missing values shown as a dash, and columns headed by words
    (``figures.table_heads``); the download keeps digits and names.
    """
    shown = with_heads(table)
    for column in shown.select_dtypes("number"):
        whole = (shown[column].dropna() % 1 == 0).all()
        shown[column] = shown[column].map(lambda x, whole=whole: _cell(x, 0 if whole else digits))
    shown = shown.astype(object).where(shown.notna(), "–")
    page = current_page()
    write_atomically(page.store.root / "tables" / f"{name}.csv", lambda path: shown.to_csv(path, index=False))
    keep_table(page.exhibits, name, table, page.store.used)
    display(shown)
    return shown


def _cell(value: float, digits: int) -> str:
    return "–" if pd.isna(value) else f"{value:.{digits}f}"
