"""A cine run to step through beside its contrast probability: plain HTML for notebook, book and report."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from IPython.display import HTML
from jaxtyping import Float, Int, UInt8
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from cag.chapters.reading.study import SHOWN_SIDE
from cag.data.frames import shrink

#: Frames of a run that its player shows, at most.
SHOWN_FRAMES = 48


def template(name: str) -> Any:
    """A page template of the book; what it is given is escaped, and a name that it is not given is an error."""
    loader = FileSystemLoader(Path(__file__).parents[1])
    own = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    own.filters["cell"] = _cell
    return own.get_template(name)


def cine_player(
    frames: UInt8[np.ndarray, "t h w"],
    probability: Float[np.ndarray, " t"],
    truth: tuple[int, int] | None,
    found: tuple[int, int] | None,
) -> HTML:
    """A self-contained player: a slider over up to 48 frames, and its position on the curve beside them.

    ``frames`` are grey levels 0-255, ``probability`` that of contrast in each; ``truth`` and ``found`` are inclusive
    frames (begin, end), None without contrast or label.
    """
    module = template("player.html.j2").module
    shown = module.player(player_values(frames, probability, truth, found))
    return HTML(f"<style>{module.player_style()}</style>{shown}<script>{{{module.player_script()}}}</script>")


def player_values(
    frames: UInt8[np.ndarray, "t h w"],
    probability: Float[np.ndarray, " t"],
    truth: tuple[int, int] | None,
    found: tuple[int, int] | None,
    chosen: Int[np.ndarray, " k"] | tuple[()] = (),
) -> dict[str, Any]:
    """What the template of the player is given; ``chosen`` frames get a tick on the curve."""
    index = np.unique(np.linspace(0, len(frames) - 1, SHOWN_FRAMES).round().astype(int))
    small = shrink(torch.from_numpy(frames[index]), SHOWN_SIDE).numpy()
    return {
        **{"count": len(frames), "index": index.tolist(), "pictures": [picture(frame) for frame in small]},
        **{"probability": list(probability), "truth": truth, "found": found, "chosen": list(chosen)},
    }


def picture(pixels: UInt8[np.ndarray, "h w"] | UInt8[np.ndarray, "h w 4"]) -> str:
    """A grey frame (JPEG) or a colored layer (PNG) as a ``data:`` address."""
    kind, buffer = ("jpeg" if pixels.ndim == 2 else "png"), BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format=kind, quality=80, optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _cell(value: object) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and pd.isna(value)):
        return "–"
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) > 1 else f"{value:.2f}"
    return str(value)
