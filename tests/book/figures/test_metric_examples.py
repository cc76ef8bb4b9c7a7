"""The drawn examples say what a hand calculation says."""

from __future__ import annotations

import numpy as np
import pytest

from cag.book.figures import metric_examples as examples


def test_two_boxes_on_one_lesion_and_one_on_nothing():
    scores = examples.box_scores(examples.FRAMES["two on A, one on nothing"])
    assert scores["global_sensitivity"] == 1
    assert scores["sens_s"] == pytest.approx(1 / 2)  # B is missed
    assert scores["spec_s"] == pytest.approx(2 / 3)  # the duplicate is forgiven


def test_a_frame_without_boxes_has_no_precision_and_no_distance():
    scores = examples.box_scores(examples.FRAMES["none"])
    assert scores["sens_s"] == 0 and np.isnan(scores["spec_s"]) and np.isnan(scores["mse"])


def test_one_sure_box_looks_nearer_than_one_on_each():
    sure, each = (examples.box_scores(examples.FRAMES[name]) for name in ("one sure box", "one on each"))
    assert sure["mse"] < each["mse"] and sure["sens_s"] < each["sens_s"]


def test_growing_boxes_raises_their_overlap():
    titles = [ax.get_title() for ax in examples.overlap_examples().axes]
    overlaps = np.array([float(title.split()[1].rstrip(",")) for title in titles]).reshape(2, 4)
    assert (overlaps[1] > overlaps[0]).all() and (np.diff(overlaps) < 0).all()


def test_intervals_are_called_by_the_limits_of_3_and_10():
    words = [text.get_text() for text in examples.interval_examples().axes[0].texts]
    assert "begin 2 (accepted),\nend 2 (accepted)" in words
    assert "begin 6 (neither),\nend 6 (neither)" in words
    assert "begin 15 (an error),\nend 20 (an error)" in words
