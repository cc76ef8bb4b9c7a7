"""The drawn examples of notebook 08 say what a hand calculation says."""

import numpy as np
import pytest
from notebook_cells import page_of, run_cells


def test_measures_of_the_frames_are_those_of_a_hand_calculation():
    two, sure, each, none = run_cells("08_scorecard", "cell-17")["measured"].values()
    assert two["global_sensitivity"] == 1 and two["sens_s"] == pytest.approx(1 / 2), "B is missed"
    assert two["spec_s"] == pytest.approx(2 / 3), "the duplicate is forgiven"
    assert none["sens_s"] == 0 and np.isnan(none["spec_s"]) and np.isnan(none["mse"])
    assert sure["mse"] < each["mse"] and sure["sens_s"] < each["sens_s"], "one sure box looks nearer"


def test_growing_boxes_raises_their_overlap():
    page = page_of()
    run_cells("08_scorecard", "cell-17", "cell-17b", "cell-17c", page=page)
    titles = [ax.get_title() for ax in page.shown["fig-audit-overlap"].axes]
    overlaps = np.array([float(title.split()[1].rstrip(",")) for title in titles]).reshape(2, 4)
    assert (overlaps[1] > overlaps[0]).all() and (np.diff(overlaps) < 0).all()


def test_intervals_are_called_by_the_limits_of_3_and_10():
    page = page_of()
    run_cells("08_scorecard", "cell-19", page=page)
    words = [text.get_text() for text in page.shown["fig-audit-intervals"].axes[0].texts]
    assert {"begin 2 (accepted),\nend 2 (accepted)", "begin 6 (neither),\nend 6 (neither)"} <= set(words)
    assert {"begin 15 (an error),\nend 20 (an error)", "missed: counted as an error"} <= set(words)
