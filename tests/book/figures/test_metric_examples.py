"""The drawn examples say what a hand calculation says."""

from __future__ import annotations

import numpy as np
import pytest

from cag.book.figures import metric_examples as examples


def test_measures_of_the_frames_are_those_of_a_hand_calculation():
    two, sure, each, none = (examples.box_scores(boxes) for boxes in examples.FRAMES.values())
    assert two["global_sensitivity"] == 1 and two["sens_s"] == pytest.approx(1 / 2), "B is missed"
    assert two["spec_s"] == pytest.approx(2 / 3), "the duplicate is forgiven"
    assert none["sens_s"] == 0 and np.isnan(none["spec_s"]) and np.isnan(none["mse"])
    assert sure["mse"] < each["mse"] and sure["sens_s"] < each["sens_s"], "one sure box looks nearer"


def test_growing_boxes_raises_their_overlap():
    titles = [ax.get_title() for ax in examples.overlap_examples().axes]
    overlaps = np.array([float(title.split()[1].rstrip(",")) for title in titles]).reshape(2, 4)
    assert (overlaps[1] > overlaps[0]).all() and (np.diff(overlaps) < 0).all()


def test_intervals_are_called_by_the_limits_of_3_and_10():
    words = [text.get_text() for text in examples.interval_examples().axes[0].texts]
    assert "begin 2 (accepted),\nend 2 (accepted)" in words
    assert "begin 6 (neither),\nend 6 (neither)" in words
    assert "begin 15 (an error),\nend 20 (an error)" in words
