"""The data behind a figure, read back from what was drawn: one table a figure, and a description in words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.category import StrCategoryLocator
from matplotlib.collections import Collection, LineCollection, PathCollection
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedFormatter, FixedLocator

COLUMNS = ["panel", "x_axis", "y_axis", "series", "kind", "x", "y", "x_to", "y_to", "name", "value"]

#: Images of at most this many cells (cross-tabulations) are data; larger ones are pictures.
LARGEST_GRID = 400

Row = dict[str, Any]


def figure_table(figure: Figure) -> pd.DataFrame:
    """Everything that carries data in a figure, one row a point, bar, interval, box, cell or word.

    Returns
    -------
    DataFrame
        ``panel`` (title, or its number), ``x_axis, y_axis`` (labels), ``series``, ``kind``, ``x, y`` in
        the units of the axes, ``x_to, y_to`` for what reaches from one point to another, ``name`` (the
        tick label at a point, or the words drawn), ``value`` (of a cell). Pictures appear as one row
        with their size; their pixels are in the SVG and PNG.
    """
    rows: list[Row] = []
    for number, ax in enumerate(figure.axes, start=1):
        shared = {"panel": _title(ax) or str(number), "x_axis": ax.get_xlabel(), "y_axis": ax.get_ylabel()}
        rows += [shared | row for row in _named(ax, _rows(ax))]
    return pd.DataFrame(rows, columns=COLUMNS).dropna(axis="columns", how="all")


def describe(figure: Figure) -> str:
    """A figure in words, for those who cannot see it: its panels, their axes and their series."""
    parts = [text for number, ax in enumerate(figure.axes, start=1) if (text := _describe_axes(ax, number))]
    count = len(figure.axes)
    head = "One panel" if count == 1 else f"{count} panels"
    return f"{head}. " + " ".join(parts[:8]) + (" And others alike." if len(parts) > 8 else "")


def _describe_axes(ax: Axes, number: int) -> str:
    kinds = sorted({row["kind"] for row in _rows(ax)} - {"word", "rule", "band"})
    series = list(dict.fromkeys(row["series"] for row in _rows(ax) if row["series"]))
    text = f"{_title(ax) or f'Panel {number}'}: {', '.join(kinds) or 'words'}"
    if ax.get_xlabel() or ax.get_ylabel():
        text += f"; {ax.get_ylabel() or 'rows'} against {ax.get_xlabel() or 'columns'}"
    if series:
        text += f"; {', '.join(series[:6])}"
    return " ".join(text.split()) + "."


def _title(ax: Axes) -> str:
    return " ".join((ax.get_title() or ax.get_title("left") or ax.get_title("right")).split())


def _rows(ax: Axes) -> Iterator[Row]:
    names, caps = _errorbars(ax)
    for line in ax.lines:
        if line not in caps:  # the strokes at the ends of an interval, which stands as a row of its own
            yield from _line(ax, line, names.get(line) or _label(line))
    for collection in ax.collections:
        yield from _collection(collection, names.get(collection) or _label(collection))
    for patch in ax.patches:
        if isinstance(patch, Rectangle):
            x, y = patch.get_xy()
            to = {"x_to": x + patch.get_width(), "y_to": y + patch.get_height()}
            kind = "box" if ax.images else "bar"
            yield {"series": _label(patch), "kind": kind, "x": x, "y": y} | to
    for image in ax.images:
        yield from _image(np.ma.asarray(image.get_array()))
    for text in ax.texts:
        x, y = text.get_position()
        if text.get_text().strip():
            yield {"series": "", "kind": "word", "x": x, "y": y, "name": " ".join(text.get_text().split())}


def _errorbars(ax: Axes) -> tuple[dict[Artist, str], set[Artist]]:
    """What the parts of error bars are called, which only the whole knows, and their end strokes."""
    names: dict[Artist, str] = {}
    caps: set[Artist] = set()
    for container in ax.containers:
        if isinstance(container, ErrorbarContainer):
            points, strokes, bars = container.lines
            names |= dict.fromkeys([part for part in (points, *bars) if part is not None], _label(container))
            caps |= set(strokes)
    return names, caps


def _label(artist: Any) -> str:
    label = str(artist.get_label() or "")
    return "" if label.startswith("_") else " ".join(label.split())


def _line(ax: Axes, line: Line2D, series: str) -> Iterator[Row]:
    """Points of a line; straight rules across the axes (zero lines, limits) are told apart."""
    data = all(line.get_transform().contains_branch_seperately(ax.transData))
    marked = line.get_linestyle() in ("None", "none", "", " ")
    kind = ("point" if marked else "line") if data else "rule"
    for x, y in zip(np.ravel(line.get_xdata()), np.ravel(line.get_ydata()), strict=True):
        yield {"series": series, "kind": kind, "x": x, "y": y}


def _collection(collection: Collection, series: str) -> Iterator[Row]:
    if isinstance(collection, LineCollection):
        for segment in collection.get_segments():
            if not len(segment):  # matplotlib's interval whose ends are not defined
                continue
            (x, y), (x_to, y_to) = segment[0], segment[-1]
            yield {"series": series, "kind": "interval", "x": x, "y": y, "x_to": x_to, "y_to": y_to}
    elif isinstance(collection, PathCollection):
        for x, y in np.ma.filled(np.ma.asarray(collection.get_offsets()), np.nan):
            yield {"series": series, "kind": "point", "x": x, "y": y}
    else:
        for path in collection.get_paths():
            for x, y in np.asarray(path.vertices):
                yield {"series": series, "kind": "band", "x": x, "y": y}


def _image(values: np.ndarray) -> Iterator[Row]:
    if values.ndim == 2 and values.size <= LARGEST_GRID:
        for (row, column), value in np.ndenumerate(values):
            yield {"series": "", "kind": "cell", "x": column, "y": row, "value": value}
    else:
        size = f"picture of {values.shape[1]} x {values.shape[0]} pixels"
        yield {"series": "", "kind": "picture", "x": 0, "y": 0, "name": size}


def _named(ax: Axes, rows: Iterator[Row]) -> Iterator[Row]:
    """Add the words of the tick nearest to a point, where an axis carries names instead of numbers.

    Series that stand beside each other at one tick are drawn a little off it.
    """
    names = {"x": _tick_names(ax.xaxis), "y": _tick_names(ax.yaxis)}
    for row in rows:
        found = [_nearest(names[axis], row[axis]) for axis in ("y", "x")] if row["kind"] != "rule" else []
        words = ", ".join(word for word in found if word)
        yield row | ({"name": words} if words and "name" not in row else {})


def _nearest(names: dict[float, str], place: float) -> str:
    """The word of the tick that is nearest and less than half the way to its neighbor; empty where none is."""
    if not names:
        return ""
    places = np.array(list(names))
    apart = np.diff(np.sort(places)).min() if len(places) > 1 else 1.0
    nearest = places[np.abs(places - place).argmin()]
    return names[float(nearest)] if abs(nearest - place) < apart / 2 else ""


def _tick_names(axis: Any) -> dict[float, str]:
    fixed = isinstance(axis.get_major_locator(), FixedLocator | StrCategoryLocator)
    if not (fixed or isinstance(axis.get_major_formatter(), FixedFormatter)):
        return {}
    labels = [" ".join(text.get_text().split()) for text in axis.get_ticklabels()]
    if all(_is_number(label) for label in labels):
        return {}
    return {float(at): label for at, label in zip(axis.get_ticklocs(), labels, strict=False) if label}


def _is_number(label: str) -> bool:
    """Whether a tick's words only repeat a number, as on axes with chosen or logarithmic ticks."""
    plain = re.sub(r"\\mathdefault|\\times|[${}^%\s]", "", label).replace("−", "-")
    return not plain or re.fullmatch(r"-?[\d.]+", plain) is not None
