"""Explorers for readers: stored predictions with sliders, drawn in the page itself, offline.

Each is a block of HTML that holds its data as JSON and a script without any library; it works in
JupyterLab and in the book opened from a folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import HTML

#: What the study calls diseased, in percent diameter stenosis.
CUT_POINT = 25


def threshold_explorer(groups: Mapping[str, pd.DataFrame]) -> HTML:
    """ROC curve with a threshold to move: the confusion table and predictive values follow.

    ``groups`` are tables by level with ``score`` (0-1) and ``percent_stenosis`` (0-100).
    """
    return _explorer("threshold", {"cut": CUT_POINT, "groups": _scores(groups)})


def severity_explorer(groups: Mapping[str, pd.DataFrame]) -> HTML:
    """Area under the ROC curve against the severity from which a case of ``threshold_explorer`` counts as diseased."""
    return _explorer("severity", {"cut": CUT_POINT, "groups": _scores(groups)})


def froc_explorer(methods: Mapping[str, Mapping[str, Any]]) -> HTML:
    """Free-response curves with the overlap that counts and the false boxes to move; see ``exploring.box_overlaps``."""
    return _explorer("froc", {"methods": methods})


def _scores(groups: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, list[float]]]:
    """Four digits are kept: finer differences between scores would not show on a page."""
    return {
        name: {"score": table["score"].round(4).tolist(), "percent": table["percent_stenosis"].round(1).tolist()}
        for name, table in groups.items()
    }


def _explorer(kind: str, data: Mapping[str, Any]) -> HTML:
    # "</" would end the script element early
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
    style, script = (Path(__file__).with_suffix(suffix).read_text(encoding="utf-8") for suffix in (".css", ".js"))
    return HTML(
        f"<style>{style}</style>"
        f'<div class="cag-explorer" data-kind="{kind}"><script type="application/json">{text}</script></div>'
        f"<script>{script}</script>"
    )
