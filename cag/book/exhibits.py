"""Figures and tables as things of their own: files to download, and a record of what they rest on.

Below a profile's results, ``exhibits/<section>/<name>``: ``.svg`` and ``.png`` of a figure, ``.csv`` with
the data of a figure or table at full precision, and ``.json`` with the record. The book links them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd
from matplotlib.figure import Figure

from cag.book.figures.figure_data import describe, figure_table
from cag.chapters.store import write_atomically

#: Dots an inch of the downloadable pictures, as journals ask.
PRINT_DPI = 300

#: A number with its interval, as the study prints them.
INTERVAL = r"^(?P<value>-?\d+\.?\d*) \((?P<low>-?\d+\.?\d*) to (?P<high>-?\d+\.?\d*)\)"


@dataclass(frozen=True)
class Exhibit:
    """What is known of one figure or table when it is made.

    Attributes
    ----------
    kind : {'figure', 'table'}
    name : str
        As glued, such as ``fig_roc``.
    section : str
        Section of the notebook in a profile file, such as ``classification``.
    alt : str
        The figure in words.
    tables : tuple of str
        Parquet tables below the profile's results that the notebook had written or read by then; it may show less.
    files : tuple of str
        Suffixes of what can be downloaded.
    """

    kind: Literal["figure", "table"]
    name: str
    section: str
    alt: str = ""
    tables: tuple[str, ...] = ()
    files: tuple[str, ...] = field(default=())


def keep_figure(folder: Path, name: str, figure: Figure, data: pd.DataFrame | None, tables: tuple[str, ...]) -> Exhibit:
    """Write a figure's SVG, its PNG for print, its data and its record below ``folder``."""
    write_atomically(folder / f"{name}.svg", lambda path: figure.savefig(path, metadata={"Date": None}))
    write_atomically(folder / f"{name}.png", lambda path: figure.savefig(path, dpi=PRINT_DPI))
    behind = figure_table(figure) if data is None else data
    _keep_data(folder / f"{name}.csv", behind)
    return _keep_record(folder, Exhibit("figure", name, folder.name, describe(figure), tables, ("svg", "png", "csv")))


def keep_table(folder: Path, name: str, table: pd.DataFrame, tables: tuple[str, ...]) -> Exhibit:
    """Write a table at full precision and its record below ``folder``; intervals in numbers beside their text."""
    _keep_data(folder / f"{name}.csv", with_interval_columns(table))
    return _keep_record(folder, Exhibit("table", name, folder.name, "", tables, ("csv",)))


def with_interval_columns(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose texts such as ``0.84 (0.79 to 0.88)`` are followed by columns ``value``, ``low`` and ``high``.

    The numbers are those of the text, with its digits; the metric tables (parquet) hold all of them.
    """
    parts = []
    for name in table.columns:
        parts.append(table[name])
        texts = table[name].map(lambda cell: cell if isinstance(cell, str) else "")
        numbers = texts.str.extract(INTERVAL).astype(float).add_prefix(f"{name}, ")
        if numbers.notna().any(axis=None):
            parts += [numbers[column] for column in numbers]
    return pd.concat(parts, axis=1) if parts else table


def _keep_data(path: Path, table: pd.DataFrame) -> None:
    write_atomically(path, lambda temporary: table.to_csv(temporary, index=False, float_format="%.6g"))


def _keep_record(folder: Path, exhibit: Exhibit) -> Exhibit:
    text = json.dumps(asdict(exhibit), indent=1)
    write_atomically(folder / f"{exhibit.name}.json", lambda path: path.write_text(text))
    return exhibit
