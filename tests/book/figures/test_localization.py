"""Figures of the localization chapter draw what the tables say."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cag.book.figures.localization import (
    box_gallery,
    heatmap_gallery,
    recall_by_group,
    recall_curve,
    where_boxes_lie,
)
from cag.book.figures.style import panels
from cag.chapters.localization.examples import Example

CASE = Example(
    kind="missed",
    sentence="Missed: a long sentence about a lesion that goes on over the width of the panel",
    frame=np.zeros((16, 16), "uint8"),
    truth=np.array([[1, 1, 5, 5], [8, 8, 12, 12]]),
    found=np.array([[1, 1, 5, 5]]),
    cam_boxes=np.zeros((0, 4)),
    heatmap=np.ones((4, 4)),
)


def curve(**columns: list) -> pd.DataFrame:
    rows = len(next(iter(columns.values())))
    return pd.DataFrame({"method": ["fpn"] * rows, **columns, "low": 0.1, "high": 0.9})


def test_gallery_draws_every_box() -> None:
    figure = box_gallery([CASE] * 3)
    shown = [ax for ax in figure.axes if ax.axison or ax.images]
    assert len(shown) == 3
    assert all(len(ax.patches) == 3 for ax in shown)
    assert "\n" in shown[0].get_title() + shown[0].get_title(loc="left")


def test_heatmap_lies_over_the_frame() -> None:
    left, right = heatmap_gallery([CASE]).axes
    assert (len(left.images), len(right.images)) == (2, 1)
    assert (len(left.patches), len(right.patches)) == (2, 3)
    true, found = right.patches[0], right.patches[-1]
    assert found.get_linestyle() == "--" and true.get_linewidth() > found.get_linewidth(), "a box on a lesion hides it"


def test_curves_show_one_line_a_method() -> None:
    _, axes = panels(1, 2)
    recall_curve(axes[0, 0], curve(at=[0.5, 1, 2], value=[0.3, 0.4, 0.6]), "false boxes", doubling=True)
    recall_curve(axes[0, 1], curve(at=[0.1, 0.5], value=[0.7, 0.4]), "overlap")
    for ax in axes.flat:
        assert len(ax.lines) == 1
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["FPN"]
    assert [label.get_text() for label in axes[0, 0].get_xticklabels()] == ["0.5", "1", "2"]


def test_recall_by_group_names_the_lesions_counted() -> None:
    _, axes = panels(1, 1)
    table = pd.DataFrame(
        {"method": ["fpn", "fpn", "cam"], "group": ["25-49", "50-69", "25-49"], "lesions": [5, 7, 5], "value": 0.5}
    ).assign(low=0.4, high=0.7)
    recall_by_group(axes[0, 0], table, "percent stenosis")
    labels = [label.get_text() for label in axes[0, 0].get_xticklabels()]
    assert labels == ["25-49\n5", "50-69\n7"]


def test_unknown_groups_are_said_to_be_unknown() -> None:
    _, axes = panels(1, 1)
    recall_by_group(axes[0, 0], pd.DataFrame(columns=["method", "group", "lesions", "value", "low", "high"]), "percent")
    assert axes[0, 0].texts[0].get_text() == "not known in this cohort"


def test_segments_stand_below_one_another_with_their_lesions() -> None:
    _, axes = panels(1, 1)
    table = pd.DataFrame(
        {"method": ["fpn", "fpn", "cam"], "group": ["mid RCA", "mid LAD", "mid RCA"], "lesions": [5, 7, 5]}
    ).assign(value=0.5, low=0.4, high=0.7)
    ax = recall_by_group(axes[0, 0], table, "segment", downwards=True)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["mid RCA (n = 5)", "mid LAD (n = 7)"]
    assert ax.yaxis_inverted()
    _, axes = panels(1, 1)
    assert recall_by_group(axes[0, 0], table.iloc[:0], "segment").texts[0].get_text() == "not known in this cohort"


def test_an_empty_gallery_says_so() -> None:
    (ax,) = box_gallery([]).axes
    assert ax.texts[0].get_text() == "nothing to show in this run"


def test_where_boxes_lie_keeps_image_orientation() -> None:
    _, axes = panels(1, 1)
    where_boxes_lie(axes[0, 0], pd.DataFrame({"x1": [3], "y1": [4], "x2": [5], "y2": [8]}), 64, "true", "green")
    assert axes[0, 0].collections[0].get_offsets().tolist() == [[4, 6]]
    assert axes[0, 0].get_ylim() == (64, 0)
