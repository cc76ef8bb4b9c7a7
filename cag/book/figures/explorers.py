"""Explorers for readers: stored predictions with sliders, drawn in the page itself, offline.

Each is a block of HTML that holds its data as JSON and a script without any library; it works in
JupyterLab and in the book opened from a folder.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import HTML

from cag.chapters.exploring import Overlaps

#: What the study calls diseased, in percent diameter stenosis.
CUT_POINT = 25


def threshold_explorer(groups: Mapping[str, pd.DataFrame]) -> HTML:
    """ROC curve with a threshold to move: the confusion table and predictive values follow.

    Parameters
    ----------
    groups : mapping
        Level -> table with ``score`` (0-1) and ``percent_stenosis`` (0-100).
    """
    return _explorer("threshold", {"cut": CUT_POINT, "groups": _scores(groups)})


def severity_explorer(groups: Mapping[str, pd.DataFrame]) -> HTML:
    """Area under the ROC curve against the severity from which a case counts as diseased.

    Parameters
    ----------
    groups : mapping
        As for ``threshold_explorer``.
    """
    return _explorer("severity", {"cut": CUT_POINT, "groups": _scores(groups)})


def froc_explorer(methods: Mapping[str, Overlaps]) -> HTML:
    """Free-response curves with the overlap that counts and the false boxes allowed to move.

    Parameters
    ----------
    methods : mapping
        Name as shown -> what the method found.
    """
    return _explorer("froc", {"methods": {name: _boxes(found) for name, found in methods.items()}})


def _scores(groups: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, list[float]]]:
    """Four digits are kept: finer differences between scores would not show on a page."""
    return {
        name: {"score": table["score"].round(4).tolist(), "percent": table["percent_stenosis"].round(1).tolist()}
        for name, table in groups.items()
    }


def _boxes(found: Overlaps) -> dict[str, Any]:
    boxes = found.boxes.sort_values(["score", "image"], ascending=[False, True])
    rows = [[row.image, _short(row.score), row.pairs] for row in boxes.itertuples()]
    return {"images": found.images, "lesions": found.lesions, "boxes": rows}


def _short(value: Any) -> float:
    """Five significant digits."""
    value = float(value)
    return round(value, 4 - math.floor(math.log10(abs(value)))) if value else 0.0


def _explorer(kind: str, data: Mapping[str, Any]) -> HTML:
    # "</" would end the script element early
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
    return HTML(
        f"<style>{_asset('css')}</style>"
        f'<div class="cag-explorer" data-kind="{kind}"><script type="application/json">{text}</script></div>'
        f"<script>{_asset('js')}</script>"
    )


@cache
def _asset(suffix: str) -> str:
    return Path(__file__).with_suffix(f".{suffix}").read_text(encoding="utf-8")
