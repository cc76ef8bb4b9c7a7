"""The place prior: hand-worked cases."""

from __future__ import annotations

import numpy as np
import pytest

from cag.chapters.localization.prior import centre_prior


def test_the_commonest_place_comes_first_with_its_rate() -> None:
    boxes = np.array([[0, 0, 10, 10]] * 3 + [[50, 50, 70, 70]])
    found = centre_prior(boxes, n_images=4)
    assert found == pytest.approx(np.array([[0, 0, 10, 10, 0.75], [50, 50, 70, 70, 0.25 * 0.999]]))


def test_a_box_is_chosen_for_the_lesions_it_matches() -> None:
    middle = [2, 0, 12, 10]  # IoU with each neighbour 8/12; of the neighbours with each other 6/14
    found = centre_prior(np.array([[0, 0, 10, 10], middle, [4, 0, 14, 10]]), n_images=3)
    assert found.tolist() == [[*middle, 1.0]]


def test_boxes_that_match_alike_are_still_ordered() -> None:
    boxes = np.array([[i * 20, 0, i * 20 + 10, 10] for i in range(5)])
    assert (np.diff(centre_prior(boxes, 5)[:, 4]) < 0).all()


def test_count_and_empty() -> None:
    boxes = np.array([[i * 20, 0, i * 20 + 10, 10] for i in range(5)])
    assert len(centre_prior(boxes, 5, count=2)) == 2
    assert centre_prior(np.zeros((0, 4)), 1).shape == (0, 5)
