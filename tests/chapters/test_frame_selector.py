"""Grey-level curves, and the frames that go on to classification."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cag.chapters.frames.selector import choose_candidates, frame_curves, image_quality, middle_frames


@given(st.integers(8, 200), st.integers(5, 10), st.data())
def test_candidates_lie_inside_and_are_as_many_as_fit(n, count, data):
    begin = data.draw(st.integers(0, n - 1))
    end = data.draw(st.integers(begin, n - 1))
    generator = np.random.default_rng(n)
    frames = choose_candidates(generator.random(n), generator.random(n), (begin, end), count)
    assert len(frames) == min(count, end - begin + 1)
    assert frames[0] >= begin and frames[-1] <= end
    assert (np.diff(frames) > 0).all()


def test_sharp_frames_of_full_contrast_win():
    probability, quality = np.full(100, 0.9), np.full(100, 0.1)
    best = [30, 40, 50, 60, 70]
    quality[best] = 1.0
    assert choose_candidates(probability, quality, (20, 79), 5).tolist() == best
    assert choose_candidates(probability, quality, None, 5).size == 0


@pytest.mark.parametrize(
    ("interval", "chosen"), [((10, 20), [13, 14, 15, 16, 17]), ((10, 12), [10, 11, 12]), (None, [])]
)
def test_middle_frames_are_centered(interval, chosen):
    assert middle_frames(interval, 5).tolist() == chosen


def test_a_dark_tube_raises_both_curves_and_quality_spans_zero_to_one():
    frames = torch.full((3, 192, 192), 180, dtype=torch.uint8)
    frames[1, 40:150, 90:96] = 60
    for _, curve in frame_curves(frames).items():
        assert curve.idxmax() == 1 and curve[0] == pytest.approx(curve[2])
        assert image_quality(curve.to_numpy()) == pytest.approx([0, 1, 0], abs=1e-6)
    assert image_quality(np.array([2.0, 2.0])).tolist() == [1, 1]
