"""The frames that go on to classification."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cag.chapters.frames.candidates import choose_candidates, image_quality, middle_frames


@given(st.integers(8, 200), st.integers(5, 10), st.data())
def test_candidates_lie_inside_and_are_as_many_as_fit(n: int, count: int, data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, n - 1))
    end = data.draw(st.integers(begin, n - 1))
    generator = np.random.default_rng(n)
    frames = choose_candidates(generator.random(n), generator.random(n), (begin, end), count)
    assert len(frames) == min(count, end - begin + 1)
    assert frames[0] >= begin and frames[-1] <= end
    assert (np.diff(frames) > 0).all()


def test_sharp_frames_of_full_contrast_win() -> None:
    probability, quality = np.full(100, 0.9), np.full(100, 0.1)
    best = [30, 40, 50, 60, 70]
    quality[best] = 1.0
    assert choose_candidates(probability, quality, (20, 79), 5).tolist() == best


def test_nothing_is_chosen_without_an_interval() -> None:
    assert choose_candidates(np.ones(9), np.ones(9), None, 5).size == 0
    assert middle_frames(None, 5).size == 0


def test_middle_frames_are_centered() -> None:
    assert middle_frames((10, 20), 5).tolist() == [13, 14, 15, 16, 17]
    assert middle_frames((10, 12), 5).tolist() == [10, 11, 12]


def test_quality_spans_zero_to_one() -> None:
    assert image_quality(np.array([2.0, 4.0, 3.0])).tolist() == [0, 1, 0.5]
    assert image_quality(np.array([2.0, 2.0])).tolist() == [1, 1]
