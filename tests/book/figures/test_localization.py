"""Frames with boxes show what the tables say."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch

from cag.book.figures.localization import examples
from cag.book.figures.style import Panel, gallery
from cag.chapters.localization.scores import Scored, scoring_rule

FRAME = np.zeros((16, 16), "uint8")
TRUE, FOUND = np.array([[1, 1, 5, 5], [8, 8, 12, 12]]), np.array([[1, 1, 5, 5]])


def test_a_gallery_draws_every_box_and_the_heatmap_over_the_frame():
    figure = gallery([Panel(FRAME, "seen", TRUE, FOUND, np.ones((4, 4))), Panel(FRAME, "", TRUE, FOUND)] * 2)
    assert len(figure.axes) == 4
    for ax, images in zip(figure.axes, (2, 1, 2, 1), strict=True):
        assert (len(ax.images), len(ax.patches)) == (images, 3)
    true, found = figure.axes[1].patches[0], figure.axes[1].patches[-1]
    assert found.get_linestyle() == "--" and true.get_linewidth() > found.get_linewidth(), "a box on a lesion hides it"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["true lesion", "found"]
    assert not any(ax.images or ax.axison for ax in gallery([]).axes), "nothing to show is an empty figure"


def frames(run_id: str, indices: list[int]) -> torch.Tensor:
    return torch.full((len(indices), 32, 32), int(run_id[1:]), dtype=torch.uint8)


def test_examples_show_the_boxes_that_count():
    images = pd.DataFrame({"image_id": ["a", "b"], "run_id": ["R1", "R2"], "frame": 3, "width": 32, "patient_id": "P"})
    corners = {"x1": 1.0, "y1": 1.0, "x2": 9.0, "y2": 9.0}
    truth = pd.DataFrame({"image_id": ["a", "b", "b"], **corners})
    found = truth.assign(score=0.5, operating=[True, False, True])
    cohort = SimpleNamespace(frames_of_runs=lambda wanted: (frames(*own) for own in wanted))
    chosen = pd.DataFrame({"image_id": ["b"], "sentence": "a long sentence about a lesion that goes on over the width"})
    side = Scored(images, found, truth, scoring_rule("clean", "fpn", 0.5, 0))
    (own,) = examples(chosen, side, cohort, {"b": np.ones((4, 4))})
    assert (own.frame == 2).all() and own.frame.shape == (32, 32)
    assert (len(own.truth), len(own.found)) == (2, 1)
    assert "\n" in own.title and own.heat is not None
