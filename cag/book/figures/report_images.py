"""Pictures of the reading report, as data inside the page."""

from __future__ import annotations

import base64
from collections.abc import Callable
from io import BytesIO

import matplotlib as mpl
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cag.book.figures.style import FOUND
from cag.chapters.reading.run import RunReading

#: Size of the curve's drawing area in its own units, and the space around it.
_WIDTH, _HEIGHT, _LEFT, _TOP, _BELOW = 440, 150, 38, 26, 38


def jpeg(frame: UInt8[np.ndarray, "h w"], *, quality: int = 82) -> str:
    """A frame as a ``data:`` address."""
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(frame)).save(buffer, format="JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def heat_png(heatmap: UInt8[np.ndarray, "s s"], *, side: int = 64) -> str:
    """A heatmap as a small colored picture that is the more transparent the less it says."""
    small = np.asarray(Image.fromarray(heatmap).resize((side, side), Image.Resampling.BILINEAR))
    colored = (mpl.colormaps["inferno"](small) * 255).round().astype(np.uint8)
    colored[..., 3] = (small * 0.6).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(colored).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def curve(run: RunReading) -> str:
    """Contrast probability over the frames as SVG: interval shaded, chosen frames ticked, a cursor for the player."""
    finding, last = run.finding, max(run.n_frames - 1, 1)
    if not len(finding.probability):
        return ""

    def x(frame: float) -> float:
        return _LEFT + _WIDTH * frame / last

    def y(value: float) -> float:
        return _TOP + _HEIGHT * (1 - value)

    points = " ".join(f"{x(frame):.1f},{y(value):.1f}" for frame, value in enumerate(finding.probability))
    shapes = [_grid(x, y, last)]
    if finding.interval:
        begin, end = finding.interval
        span = f"x='{x(begin):.1f}' width='{x(end) - x(begin):.1f}' y='{_TOP}' height='{_HEIGHT}'"
        shapes.append(f"<rect {span} fill='{FOUND}' opacity='.16'/>")
    shapes.append(f"<polyline points='{points}' fill='none' stroke-width='2.2'/>")
    for frame in finding.candidates:
        place = f"x1='{x(frame):.1f}' x2='{x(frame):.1f}' y1='{y(0):.1f}' y2='{y(0.07):.1f}'"
        shapes.append(f"<line {place} stroke='currentColor' stroke-width='2'/>")
    shapes.append(
        f"<line class='cursor' y1='{_TOP}' y2='{y(0):.1f}' x1='{_LEFT}' x2='{_LEFT}' data-left='{_LEFT}' "
        f"data-width='{_WIDTH}' stroke='currentColor' opacity='.7' stroke-dasharray='3 3'/>"
    )
    box = f"0 0 {_LEFT + _WIDTH + 12} {_TOP + _HEIGHT + _BELOW}"
    return f"<svg class='curve' viewBox='{box}' role='img' aria-label='contrast probability'>{''.join(shapes)}</svg>"


def _grid(x: Callable[[float], float], y: Callable[[float], float], last: int) -> str:
    """Axes, the line at one half, and a few numbers."""
    lines = [
        f"<line x1='{x(0)}' x2='{x(last)}' y1='{y(v)}' y2='{y(v)}' "
        f"stroke='currentColor' opacity='.35' stroke-dasharray='{d}'/>"
        f"<text x='{x(0) - 6}' y='{y(v) + 4}' text-anchor='end'>{v:g}</text>"
        for v, d in ((0, "none"), (0.5, "2 3"), (1, "2 3"))
    ]
    step = max(round(last / 6 / 5) * 5, 5)
    ticks = [f"<text x='{x(f):.1f}' y='{y(0) + 16}' text-anchor='middle'>{f}</text>" for f in range(0, last + 1, step)]
    name = f"<text x='{x(last / 2)}' y='{y(0) + 33}' text-anchor='middle'>frame</text>"
    title = f"<text x='{x(0)}' y='14'>probability of contrast</text>"
    return "".join([*lines, *ticks, name, title])
