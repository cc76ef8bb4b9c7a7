"""A cine run to step through in the book, with its contrast probability moving along."""

from __future__ import annotations

import base64
import json
from io import BytesIO

import numpy as np
import plotly.graph_objects as go
import torch
from IPython.display import display
from jaxtyping import Float, UInt8
from PIL import Image
from plotly.subplots import make_subplots
from torch.nn.functional import interpolate

from cag.book.figures.style import FOUND, PALETTE, TRUTH


def cine_player(
    frames: UInt8[np.ndarray, "t h w"],
    probability: Float[np.ndarray, " t"],
    truth: tuple[int, int] | None,
    found: tuple[int, int] | None,
    *,
    shown: int = 24,
    side: int = 160,
) -> go.Figure:
    """A self-contained player: a slider over up to ``shown`` frames, the curve and its position beside them.

    Parameters
    ----------
    frames : grey levels 0-255
    probability : contrast probability of each frame, 0-1
    truth, found : (begin, end), inclusive frames; None without contrast or label
    side : int
        Pixels of the shown frames; each is stored as a small JPEG inside the figure.
    """
    steps = np.unique(np.linspace(0, len(frames) - 1, shown).round().astype(int))
    pictures = [_jpeg(frames[step], side) for step in steps]
    figure = make_subplots(rows=1, cols=2, column_widths=[0.42, 0.58], horizontal_spacing=0.1)
    figure.add_trace(go.Image(source=pictures[0], hoverinfo="skip"), row=1, col=1)
    curve = {"x": np.arange(len(frames)), "y": np.round(probability, 3)}
    line = go.Scatter(**curve, mode="lines", line={"color": PALETTE["blue"]}, name="contrast probability")
    figure.add_trace(line, row=1, col=2)
    figure.add_trace(_position(steps[0], probability), row=1, col=2)
    for interval, color, name in ((truth, TRUTH, "true"), (found, FOUND, "found")):
        if interval is not None:
            _mark(figure, interval, color, name)
    figure.frames = [
        go.Frame(name=str(step), data=[go.Image(source=picture), _position(step, probability)], traces=[0, 2])
        for step, picture in zip(steps, pictures, strict=True)
    ]
    _arrange(figure, steps)
    return figure


def show_interactive(figure: go.Figure) -> None:
    """Show a plotly figure so that both JupyterLab and the offline book can draw it.

    The JSON serves JupyterLab, the HTML (without plotly's own script, which the book's pages
    load from beside them) the rendered page.
    """
    html = figure.to_html(include_plotlyjs=False, full_html=False, auto_play=False)
    bundle = {"application/vnd.plotly.v1+json": json.loads(figure.to_json()), "text/html": html}
    display(bundle, raw=True)


def _jpeg(frame: UInt8[np.ndarray, "h w"], side: int) -> str:
    image = torch.from_numpy(np.ascontiguousarray(frame))[None, None].float()
    small = interpolate(image, size=(side, side), mode="area")[0, 0].round().clamp(0, 255).byte().numpy()
    buffer = BytesIO()
    Image.fromarray(small).save(buffer, format="JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _position(step: int, probability: Float[np.ndarray, " t"]) -> go.Scatter:
    marker = {"color": PALETTE["vermilion"], "size": 11}
    return go.Scatter(
        x=[int(step)], y=[round(float(probability[step]), 3)], mode="markers", marker=marker, name="this frame"
    )


def _mark(figure: go.Figure, interval: tuple[int, int], color: str, name: str) -> None:
    """Shade an interval: the true one over the whole height, the found one as a bar at the top."""
    low, high = (0.0, 1.0) if name == "true" else (1.0, 1.06)
    x = [interval[0] - 0.5, interval[1] + 0.5]
    figure.add_trace(
        go.Scatter(
            x=[x[0], x[1], x[1], x[0]],
            y=[low, low, high, high],
            fill="toself",
            fillcolor=color,
            opacity=0.25 if name == "true" else 0.9,
            mode="none",
            hoverinfo="skip",
            name=f"{name} interval",
        ),
        row=1,
        col=2,
    )


def _arrange(figure: go.Figure, steps: np.ndarray) -> None:
    """Axes, slider and the play button."""
    now = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    play = {"fromcurrent": True, "frame": {"duration": 150, "redraw": True}, "transition": {"duration": 0}}
    slides = [{"label": str(step), "method": "animate", "args": [[str(step)], now]} for step in steps]
    buttons = [
        {"label": "play", "method": "animate", "args": [None, play]},
        {"label": "pause", "method": "animate", "args": [[None], now]},
    ]
    figure.update_xaxes(visible=False, row=1, col=1)
    figure.update_yaxes(visible=False, row=1, col=1)
    figure.update_xaxes(title="frame", range=[-0.5, int(steps[-1]) + 0.5], row=1, col=2)
    figure.update_yaxes(title="P(contrast)", range=[0, 1.08], row=1, col=2)
    figure.update_layout(
        template="simple_white",
        height=400,
        margin={"l": 10, "r": 10, "t": 50, "b": 10},
        legend={"orientation": "h", "y": 1.18, "x": 0.48},
        sliders=[{"steps": slides, "currentvalue": {"prefix": "frame "}, "pad": {"t": 25}, "x": 0.22, "len": 0.78}],
        updatemenus=[
            {
                "type": "buttons",
                "direction": "left",
                "buttons": buttons,
                "x": 0.0,
                "y": -0.12,
                "yanchor": "top",
                "xanchor": "left",
                "pad": {"t": 25},
            }
        ],
    )
