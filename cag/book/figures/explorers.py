"""Explorers for readers: stored predictions with sliders, drawn in the page itself, offline.

Each is a block of HTML that holds its data as JSON and a script without any library; it works in
JupyterLab and in the book opened from a folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from IPython.display import HTML


def explorer(kind: Literal["threshold", "severity", "froc"], data: Mapping[str, Any]) -> HTML:
    """A curve to move along.

    ``threshold`` and ``severity`` take ``cut``, the percent from which a case is diseased, ``threshold``, where the
    slider of scores opens, and ``groups``, by name ``score`` (0-1) beside ``percent`` (0-100). ``froc`` takes
    ``methods``, by name how many ``images`` and ``lesions`` there are, and ``boxes``, best first: image, score, and a
    pair for each lesion touched, of its number and overlap.
    """
    # "</" would end the script element early
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
    style, script = (Path(__file__).with_suffix(suffix).read_text(encoding="utf-8") for suffix in (".css", ".js"))
    return HTML(
        f"<style>{style}</style>"
        f'<div class="cag-explorer" data-kind="{kind}"><script type="application/json">{text}</script></div>'
        f"<script>{script}</script>"
    )
