"""Figures and tables as things of their own: files to download, and a record of what they were computed from.

Below a profile's results, ``exhibits/<section>/<label>``: ``.svg`` and ``.png`` of a figure, ``.csv`` of a table at
full precision, and ``.json`` with the record. The book links them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from cag.settings import write_atomically

#: Dots an inch of the downloadable pictures, as journals ask.
PRINT_DPI = 300

#: A number with its interval, as the study prints them.
INTERVAL = r"^(?P<value>-?\d+\.?\d*) \((?P<low>-?\d+\.?\d*) to (?P<high>-?\d+\.?\d*)\)"


def keep_figure(folder: Path, name: str, figure: Figure, rows: tuple[str, ...]) -> None:
    """Write a figure's SVG, its PNG for print and its record below ``folder``.

    ``rows`` are the published tables (``<profile>/<name>.parquet``) that it was computed from.
    """
    write_atomically(folder / f"{name}.svg", lambda path: figure.savefig(path, metadata={"Date": None}))
    write_atomically(folder / f"{name}.png", lambda path: figure.savefig(path, dpi=PRINT_DPI))
    _keep_record(folder / f"{name}.json", ("svg", "png"), rows)


def keep_table(folder: Path, name: str, table: pd.DataFrame, rows: tuple[str, ...]) -> None:
    """Write a table at full precision and its record below ``folder``; intervals in numbers beside their text."""
    whole = with_interval_columns(table)
    write_atomically(folder / f"{name}.csv", lambda path: whole.to_csv(path, index=False, float_format="%.6g"))
    _keep_record(folder / f"{name}.json", ("csv",), rows)


def _keep_record(path: Path, files: tuple[str, ...], rows: tuple[str, ...]) -> None:
    text = json.dumps({"files": files, "rows": rows}, indent=1)
    write_atomically(path, lambda temporary: temporary.write_text(text))


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
