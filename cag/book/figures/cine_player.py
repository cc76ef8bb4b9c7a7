"""A run to step through beside its contrast probability, as plain HTML, and the frames chosen from a run."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from IPython.display import HTML
from jaxtyping import UInt8
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from cag.book.figures.frame_selection import ShownRun
from cag.chapters.reading.study import SHOWN_SIDE, RunReading
from cag.data.frames import shrink

#: Frames of a run that its player shows, at most.
SHOWN_FRAMES = 48


def template(name: str) -> Any:
    """A page template of the book; what it is given is escaped, and a name that it is not given is an error."""
    loader = FileSystemLoader(Path(__file__).parents[1])
    own = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    own.filters["cell"] = _cell
    return own.get_template(name)


def cine_player(run: ShownRun) -> HTML:
    """A self-contained player: a slider over up to 48 frames, and its position on the curve beside them."""
    module = template("player.html.j2").module
    shown = module.player(player_values(run))
    return HTML(f"<style>{module.player_style()}</style>{shown}<script>{{{module.player_script()}}}</script>")


def player_values(run: ShownRun) -> dict[str, Any]:
    """What the template of the player is given; candidate frames get a tick on the curve."""
    index = np.unique(np.linspace(0, len(run.frames) - 1, SHOWN_FRAMES).round().astype(int))
    small = shrink(torch.from_numpy(run.frames[index]), SHOWN_SIDE).numpy()
    return {
        **{"count": len(run.frames), "index": index.tolist(), "pictures": [picture(frame) for frame in small]},
        **{"probability": list(run.probability), "truth": run.truth, "found": run.found},
        "chosen": list(run.candidates),
    }


def shown_run(run: RunReading) -> ShownRun:
    """A run as it is drawn; its title tells number, artery, view and stenosis probability."""
    number = f"Run {run.number}, plane {run.cine.plane}" if run.cine.plane else f"Run {run.number}"
    parts = [number, f"{run.artery} {run.view.removeprefix(run.artery).strip()}" if run.artery else "artery not told"]
    if "score" in run.images:
        parts.append(f"P(≥25 %) {run.images.score.max():.2f}")
    own = run.finding
    return ShownRun(", ".join(parts), run.cine.frames, own.probability, None, own.interval, own.candidates)


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
